//! The testbed: simulated nodes and engines for a real control plane on loopback, load for them, and what is needed to
//! show and to measure a controller on it.

pub mod audit;
pub mod chart;
mod controller_process;
mod file_limit;
pub mod load;
mod load_generator;
pub mod mock_engine;
pub mod node_agent;
pub mod plane;
mod processor;
mod replica_history;
mod web_server;

pub use controller_process::{ControllerProcess, Usage};
pub use replica_history::{Change, ReplicaHistory};
