//! The `PodAutoscaler` API: what a manifest says, in whichever generation, as one policy.
//!
//! Two stages. [`PodAutoscaler`] is what is written, [`resolve`] makes it into a [`Resolved`]: a
//! [`Policy`](windlass_scaling::Policy) with all numbers, where each signal is read, where each number comes from,
//! and a sentence for everything that its author may not expect. [`explain`] goes the other way: from a decision
//! to sentences. [`crd`] is what the API server is told.

pub mod crd;
pub mod explain;
mod go;
mod holds;
mod podautoscaler;
mod resolve;
pub mod rules;
pub mod schedule;
mod settings;
mod signals;
mod source;
pub mod status;
mod validate;
mod warning;

pub use holds::{Override, held};
pub use podautoscaler::{
    MetricSource, ObjectReference, PodAutoscaler, PodAutoscalerSpec, Predictive, Schedule, SecretKey,
    SubTargetSelector, Tls,
};
pub use resolve::{Resolved, TargetRef, resolve};
pub use settings::{Origin, Setting};
pub use source::{
    Access, Address, EndpointSource, PathRule, PodSource, PortRule, PrometheusSource, Resource, Source,
};
pub use status::PodAutoscalerStatus;
pub use validate::SpecError;
pub use warning::Warning;
