//! A simulated vLLM server.
//!
//! Nothing is inferred here and no GPU is touched: the server answers `/metrics`, `/health` and `/v1/models` the way
//! vLLM does, with numbers that are *scripted* from outside. A [`Script`] says what the chosen gauges report and which
//! fault, if any, the server shows; it may change at any time and acts at once, also on connections already open.

mod answer;
mod fault;
mod gauge;
mod number;
mod page;
mod server;

pub use fault::{Fault, UnknownFault};
pub use gauge::{Gauge, ScriptedGauges, UnknownGauge};
pub use server::serve;

/// The model that the engine claims to serve; its series carries the scripted numbers.
pub const MODEL: &str = "llama2-70b";
/// The `LoRA` adapter beside it: a second series in every family, always 0, so that a sum over series is the share.
pub const ADAPTER: &str = "text2sql-lora-2";

/// What one engine reports and how it misbehaves, at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Script {
    /// This engine's share of the total, in the unit of the scripted gauges (tokens per second by default).
    pub share: f64,
    /// Which gauges report the share; the others follow from it (see [`Gauge`]).
    pub gauges: ScriptedGauges,
    /// The fault shown to every request.
    pub fault: Fault,
}
