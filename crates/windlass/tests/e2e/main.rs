//! End to end: the real binary against a real control plane, with simulated nodes and engines.
//!
//! One control plane and one controller per run (the tests of leadership have their own), a namespace per test. The tests mostly wait, so they run side by
//! side.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod coming_from_aibrix;
mod conflicts;
mod engines;
mod fixture;
mod holds;
mod hpa;
mod leadership;
mod load;
mod observability;
mod rbac;
mod requests;
mod schedules;
mod sources;
mod targets;
mod verify;
mod vocabulary;
mod walkthrough;
