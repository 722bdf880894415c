//! How an LLM engine serves requests: a simulated engine with continuous batching in the manner of vLLM V1.
//!
//! - [`Engine`] is driven by events: requests go in with the time they arrive, what happened comes out. It has no clock, so
//!   the mock engine drives it in real time, the simulator in virtual time.
//! - [`StepCosts`] and [`Limits`] say how long a step takes and what there is room for, [`Preset`] names published
//!   pairs of model and GPU.
//! - [`steady_state`] and [`capacity`] are the same model without the queue, in closed form.
//!
//! The constants are roofline estimates: good for comparing policies, not for sizing a purchase. Of what was published,
//! idle steps and peak prefill are met within 10 %; what a sequence adds to a step is 20 to 90 % too high, so a capacity that
//! the KV cache bounds comes out 12 to 18 % too low. The test `cross_check` prints the table.
//!
//! ```
//! use std::time::Duration;
//! use windlass_engine_model::*;
//!
//! let preset: Preset = "llama-3.1-8b@h100".parse()?;
//! let mut engine = preset.engine();
//! let request = Request { id: 1, prompt_tokens: 512, output_tokens: 100, cached_tokens: 0 };
//! engine.submit(Duration::ZERO, request)?;
//! let mut finished = None;
//! while let Some(at) = engine.next_event() {
//!     engine.advance(at, &mut |event| {
//!         if let Event::Finished(record) = event {
//!             finished = Some(record);
//!         }
//!     });
//! }
//! let finished = finished.ok_or("not finished")?;
//! assert_eq!(finished.ttft().as_millis(), 23);
//! assert_eq!(finished.tpot().map(|tpot| tpot.as_micros()), Some(7_052));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod costs;
mod engine;
mod group;
mod limits;
mod presets;
mod request;
pub mod roofline;
mod sequences;
mod steady;

pub use costs::{Batch, StepCosts};
pub use engine::Engine;
pub use limits::Limits;
pub use presets::{Preset, UnknownPreset, presets};
pub use request::{Event, Finished, Refused, Request, Steps, Totals};
pub use steady::{Bound, Capacity, Steady, Workload, capacity, steady_state};

/// Why costs or limits make no engine.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidModel {
    /// A cost that is not a number of seconds, 0 or more; or an idle step below a microsecond.
    #[error("{name} is {value}: needs seconds, 0 or more (idle_seconds at least 1e-6)")]
    Cost {
        /// The field.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// A limit that lets nothing run.
    #[error("{name} is 0: nothing could run")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// A watermark that is no share.
    #[error("watermark is {value}: needs a share of the KV cache, from 0 to below 1")]
    Watermark {
        /// What it is.
        value: f64,
    },
}
