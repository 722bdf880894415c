//! Asynchronous polling of metrics pages, politely: one kept connection and at most one request in flight per server,
//! a deadline below the interval, a limit on the page, names instead of whole pages where that is answered rightly, and ever
//! longer pauses for who does not answer. Pods, endpoints of a name, and Prometheus; http or https.
//!
//! Every poll gives an [`Outcome`]: values, or why there are none. What is missing is never a number.

mod access;
mod backoff;
mod client;
mod connection;
mod detection;
mod error;
mod filtering;
mod http1;
mod meters;
mod percent;
mod poller;
mod pool;
mod prometheus;
mod schedule;
pub mod survey;

use std::time::Duration;

pub use access::{Access, Credentials, TlsOptions};
pub use client::{Endpoint, Host};
pub use detection::{Detection, Vocabulary};
pub use error::{NoValue, ScrapeError};
pub use http1::Faulty;
pub use meters::{Observed, Value, WINDOW};
pub use poller::{Outcome, PolledPod, Poller};
pub use prometheus::InstantQuery;
pub use schedule::{Pacemaker, Schedule};

/// The largest page that is read, in bytes.
pub const PAGE_LIMIT: usize = 4 << 20;
/// The longest wait for an answer.
const LONGEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long an answer is waited for, where it is asked for every `interval`: nine tenths of it, at most 10 s.
pub fn deadline(interval: Duration) -> Duration {
    (interval * 9 / 10).min(LONGEST_DEADLINE)
}
