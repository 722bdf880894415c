//! A simulated inference server: vLLM's in several versions, `SGLang`'s, TGI's or `TensorRT-LLM`'s.
//!
//! Nothing is inferred here and no GPU is touched: the server answers the way these do, with a [page](EngineKind) of their
//! names, labels, units and quirks. Behind all of them is the same engine. It has two modes.
//!
//! *Scripted*: the numbers of its metrics page come from outside; a [`Script`] says what the chosen gauges report.
//!
//! *Engine*: it serves `/v1/completions` and `/v1/chat/completions`, streaming, with made-up words, at the pace that the
//! [engine model](windlass_engine_model) computes for a model on a GPU; gauges, counters and histograms are consequences
//! of the requests served. See [`Serving`].
//!
//! In both modes the script says which fault, if any, the server shows; it may change at any time and acts at once,
//! also on connections already open.

mod answer;
mod completions;
mod fault;
mod filter;
mod gauge;
mod kind;
mod number;
mod page;
mod scripted;
mod server;
mod serving;
mod spoil;
mod tally;
mod truth;

pub use fault::{Fault, FaultScope, UnknownFault};
pub use gauge::{Gauge, ScriptedGauges, UnknownGauge};
pub use kind::{EngineKind, Engines, Exporter, UnknownEngine};
pub use server::serve;
pub use serving::Serving;

/// The model that a scripted engine claims to serve; its series carries the scripted numbers.
pub const MODEL: &str = "llama2-70b";
/// The `LoRA` adapter beside it: a second series in every family, always 0, so that a sum over series is the share.
pub const ADAPTER: &str = "text2sql-lora-2";

/// What one engine reports and how it misbehaves, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Script {
    /// This engine's share of the total, in the unit of the scripted gauges (tokens per second by default).
    pub share: f64,
    /// How far each answer's share may be off, either way: 0.2 is a fifth.
    pub noise: f64,
    /// Which gauges report the share; the others follow from it (see [`Gauge`]).
    pub gauges: ScriptedGauges,
    /// The fault shown to requests.
    pub fault: Fault,
    /// Which requests see the fault.
    pub fault_scope: FaultScope,
    /// Which engine it is. Another one is a restart.
    pub engine: EngineKind,
    /// How its exporter answers `?name[]=…`, if it is one of the Python client and not the engine's usual one.
    pub exporter: Option<Exporter>,
}

impl Script {
    /// How many requests the page says are running, without noise.
    pub(crate) fn running(&self) -> f64 {
        self.gauges.values(self.share)[Gauge::Running as usize]
    }
}
