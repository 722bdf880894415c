//! What is asked of a fleet: arrival processes, request mixes and traces.
//!
//! Everything yields [`Arrival`]s in order of time. Time is the [`Duration`] since the load's start, chance is a
//! generator that the caller seeds: the same seed gives the same load, on every machine. Only [`trace`] reads, and only
//! from what it is given.
//!
//! ```
//! use windlass_workload::{Length, Lengths, Process, seeded};
//!
//! let process: Process = "2:30s,20:60s,2:60s".parse()?;
//! let lengths = Lengths::Independent { prompt: "lognormal(512,1.0)".parse()?, output: Length::Fixed(128) };
//! let arrivals = process.arrivals(&lengths, seeded(7));
//! assert!(arrivals.count() > 1000);
//! # Ok::<_, windlass_workload::BadText>(())
//! ```

mod length;
mod process;
mod shape;
mod text;
pub mod trace;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

pub use length::{Length, Lengths};
pub use process::{Arrivals, Process, Stage};
pub use shape::{OutOfRange, Shape};
pub use text::{BadText, parse_duration};
pub use trace::{Trace, TraceError};

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    /// When it arrives, since the load's start.
    pub at: Duration,
    /// Tokens of its prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens to generate, at least 1.
    pub output_tokens: u32,
}

/// A generator that gives the same numbers for the same seed on every machine (xoshiro256++).
pub fn seeded(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}
