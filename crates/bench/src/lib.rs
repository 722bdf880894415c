//! Benchmarks of the pure crates; see `benches/`. Each prints a baseline in the same run.
