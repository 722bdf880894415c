//! Asynchronous polling of metrics pages, politely: one kept connection and at most one request in flight per pod,
//! a deadline below the interval, a limit on the page.
//!
//! Every poll gives an [`Outcome`]: values, or why there are none. What is missing is never a number.

mod client;
mod error;
mod poller;

pub use error::ScrapeError;
pub use poller::{Endpoint, Outcome, PolledPod, Poller, Schedule, Value};

/// The largest page that is read, in bytes.
pub const PAGE_LIMIT: usize = 4 << 20;
