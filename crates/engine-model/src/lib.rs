//! How an LLM engine serves requests: continuous batching in steps whose time follows from what is in them.
//!
//! [`Engine`] is driven by events and takes time as an argument, so that a server can run it in real time and a simulator
//! in virtual time. [`StepCosts`] says how long a step takes, [`Limits`] what fits into it; a [`Preset`] has both for a
//! model on a kind of GPU. [`steady_state`] and [`capacity`] are the same model's mean behaviour in closed form.
//!
//! The constants are a roofline of published hardware figures. Idle step, peak prefill and KV-bound capacity are within
//! about 10 % of measurements on current stacks, the cost of a further sequence is up to 90 % high, and stacks of 2022
//! were half as fast (`tests/cross_check.rs` prints the comparison): good for relative statements, not for planning.
//!
//! ```
//! use std::time::Duration;
//! use windlass_engine_model::{Engine, Event, Preset, Request};
//!
//! let mut engine = Engine::of(Preset::named("llama-3.1-8b@h100")?);
//! let request = Request { id: 1, prompt_tokens: 512, output_tokens: 100, cached_tokens: 0 };
//! engine.submit(Duration::ZERO, request)?;
//! let mut finished = None;
//! while let Some(next) = engine.next_event() {
//!     engine.advance(next, &mut |event| {
//!         if let Event::Finished(record) = event {
//!             finished = Some(record);
//!         }
//!     });
//! }
//! let record = finished.expect("it ends");
//! assert!(record.finished < Duration::from_secs(1));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod cost;
mod engine;
mod hardware;
mod preset;
mod steady;

pub use cost::{Limits, StepCosts};
pub use engine::{Engine, Event, Finished, Refused, Request, Steps, Totals};
pub use hardware::{Gpu, Model};
pub use preset::{Preset, UnknownPreset, presets};
pub use steady::{Mix, Steady, capacity, steady_state};
