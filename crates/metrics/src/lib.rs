//! From a pod's metrics page to typed readings. Pure: no I/O, no clock, no Kubernetes.
//!
//! - [`exposition`]: zero-copy parser of Prometheus text 0.0.4 and OpenMetrics 1.0, in full or for a few names only.
//! - [`catalogue`]: which metric of which engine means what. Data, not code.
//! - [`reading`]: several metrics of one page in one pass, one value per metric and pod.
//! - [`selector`]: matchers on labels, as PromQL has them.
//! - [`rate`]: counters as rates per second, and ratios of them.
//! - [`histogram`]: what histograms observed between two readings, merged over pods; quantiles.
//! - [`window`]: what a pod's histogram observed within the last seconds.
//! - [`promql`]: rates as a Prometheus query has them.
//! - [`suggest`]: what is there instead of a name that is not.
//!
//! One rule runs through all of it: what is missing, cut, garbled, NaN or infinite is *no reading*. It is never 0.

pub mod catalogue;
pub mod exposition;
pub mod histogram;
pub mod promql;
pub mod rate;
pub mod reading;
pub mod selector;
pub mod suggest;
pub mod window;

pub use catalogue::{Aggregation, Alias, Catalogue, Detected, Engine, Kind, Metric, Resolution, Statistic};
pub use exposition::{Format, PageError};
pub use histogram::{Histogram, Merged};
pub use rate::{CounterRate, Meter, RATE_SPAN};
pub use reading::{Reading, Readings, Sample, Wanted};
pub use selector::{Selector, SelectorError};
pub use window::HistogramWindow;
