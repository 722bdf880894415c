//! The testbed: simulated nodes and engines for a real control plane on loopback.

pub mod mock_engine;
pub mod node_agent;
pub mod plane;
