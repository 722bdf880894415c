//! The testbed: simulated nodes and engines for a real control plane on loopback, and load for them.

pub mod load;
pub mod mock_engine;
pub mod node_agent;
pub mod plane;
