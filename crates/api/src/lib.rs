//! The `PodAutoscaler` API: what a manifest says, in whichever generation, as one policy.
//!
//! Two stages. [`PodAutoscaler`] is what is written, [`resolve`] makes it into a [`Resolved`]: a
//! [`Policy`](windlass_scaling::Policy) with all numbers, where each signal is read, where each number comes from,
//! and a sentence for everything that its author may not expect. [`explain`] goes the other way: from a decision
//! to sentences. [`hpa`] maps the strategy that the cluster carries out itself. [`crd`] and [`rbac`] are what the API
//! server is told. [`verify`] judges manifests, and [`differences`] says where an object fares otherwise than under AIBrix.

pub mod crd;
pub mod dialect;
pub mod differences;
pub mod explain;
mod go;
mod holds;
pub mod hpa;
pub mod image;
mod metric;
mod podautoscaler;
pub mod quantity;
pub mod rbac;
mod resolve;
pub mod rules;
pub mod schedule;
mod settings;
mod signals;
mod source;
pub mod status;
mod target;
mod validate;
pub mod verify;
mod warning;

pub use holds::{Override, held};
pub use podautoscaler::{
    MetricSource, ObjectReference, PodAutoscaler, PodAutoscalerSpec, Predictive, Schedule, SecretKey,
    SubTargetSelector, Tls,
};
pub use resolve::{Resolved, resolve, resolve_by};
pub use settings::{Origin, Setting, precedence_table};
pub use source::{
    Access, Address, EndpointSource, PathRule, PodSource, PortRule, PrometheusSource, Resource, Source,
};
pub use status::PodAutoscalerStatus;
pub use target::{Part, TargetRef};
pub use validate::SpecError;
pub use warning::Warning;
