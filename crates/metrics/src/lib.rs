//! From a pod's metrics page to typed readings. Pure: no I/O, no clock, no Kubernetes.
//!
//! - [`exposition`]: zero-copy parser of Prometheus text 0.0.4 and OpenMetrics 1.0, in full or for a few names only.
//! - [`catalogue`]: which metric of which engine means what. Data, not code.
//! - [`reading`]: several metrics of one page in one pass, one value per metric and pod.
//! - [`rate`]: counters as rates per second.
//! - [`suggest`]: what is there instead of a name that is not.
//!
//! One rule runs through all of it: what is missing, cut, garbled, NaN or infinite is *no reading*. It is never 0.

pub mod catalogue;
pub mod exposition;
pub mod rate;
pub mod reading;
pub mod suggest;

pub use catalogue::{Aggregation, Catalogue, Kind, Metric, Resolution, ResolveError};
pub use exposition::{Format, PageError};
pub use rate::CounterRate;
pub use reading::{Reading, Sample, Wanted};
