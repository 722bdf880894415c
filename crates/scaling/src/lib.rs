//! What a target needs, and why.
//!
//! [`observe()`] turns facts and readings into an [`Observation`]; [`decide()`] turns an observation into a
//! [`Decision`] with the account of how it came about. Both are pure: no clock, no I/O, they cannot fail,
//! and all that they remember between two calls is in [`Memory`]. The controller, the simulator, replay and the
//! property tests call these same two functions.
//!
//! ```
//! use std::time::Duration;
//! use windlass_scaling::*;
//!
//! let policy = Policy::kpa("avg_prompt_throughput_toks_per_s", Kind::Additive, 20.0, 1..=10);
//! let mut memory = Memory::new(&policy);
//! let now = Instant::ZERO + Duration::from_secs(5);
//! let mut facts = Facts::new(3, Instant::ZERO);
//! let mut readings = Readings::default();
//! for pod in 1..=3 {
//!     facts.insert(Pod { uid: PodUid(pod), state: PodState::Ready { since: Instant::ZERO } });
//!     readings.record(PodUid(pod), 0, 100.0 / 3.0, now);
//! }
//! let observation = observe(&policy, &facts, &readings, &mut memory, now);
//! let mut decision = Decision::default();
//! decide(&policy, &observation, &mut memory, now, &mut decision);
//! assert_eq!(decision.replicas, 5);
//! ```

pub mod apa;
pub mod attention;
mod capacity;
mod decide;
mod decision;
mod events;
mod facts;
mod instant;
pub mod invariants;
pub mod kpa;
mod memory;
mod numbers;
mod observe;
mod policy;
mod starts;
mod window;

pub use capacity::Capacity;
pub use decide::{RESPECT, decide};
pub use decision::{Basis, Decision, LoweringOff, Proposal, Reason, Stage, Step};
pub use facts::{Facts, Pod, PodState, PodUid, Reading, Readings, SetByHand, Told, inflight_beside};
pub use instant::Instant;
pub use memory::Memory;
pub use numbers::significant;
pub use observe::{Health, Observation, SignalObservation, observe};
pub use policy::{
    ApaPolicy, Hold, KpaPolicy, MAX_SIGNALS, Mode, Order, Pace, Policy, Scheduled, Scope, SignalPolicy,
    Strategy,
};
pub use starts::Starts;
pub use windlass_metrics::Statistic;
pub use windlass_metrics::catalogue::Kind;
pub use window::{MeanWindow, SlidingExtreme};
