//! The traces for development, against what their README says of them. They are no part of the repository.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use windlass_workload::{Shape, Trace, seeded};

/// The folder of `WINDLASS_TRACES`, else the one beside the repository; a file of it, if it is there.
fn file(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("WINDLASS_TRACES").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    println!("traces: {name} SKIPPED, not in {}; set WINDLASS_TRACES", folder.display());
    None
}

/// Rows, seconds from the first to the last, and sums of tokens, all exactly; the rate to the digits that are told.
#[track_caller]
fn check(name: &str, rows: usize, span_secs: std::ops::Range<f64>, rate: f64, tokens: (u64, u64)) {
    let Some(path) = file(name) else {
        return;
    };
    let trace = Trace::open(&path).unwrap();
    let arrivals = trace.arrivals();
    assert_eq!(arrivals.len(), rows);
    let span = trace.span().as_secs_f64();
    assert!(span_secs.contains(&span), "{span}");
    let mean = rows as f64 / span;
    assert!((mean / rate - 1.0).abs() < 0.001, "{mean}");
    let prompt: u64 = arrivals.iter().map(|row| u64::from(row.prompt_tokens)).sum();
    let output: u64 = arrivals.iter().map(|row| u64::from(row.output_tokens)).sum();
    assert_eq!((prompt, output), tokens);
    println!("traces: {name} rows={rows} span_s={span} rate={mean:.3}");
}

#[test]
fn azure_2023() {
    check("azure_conv_2023.csv", 19_366, 3480.0..3540.0, 5.53, (22_361_870, 4_088_665));
}

#[test]
fn mooncake() {
    check("mooncake_conversation.csv", 12_031, 3530.0..3540.0, 3.401, (144_793_823, 4_122_048));
}

#[test]
fn servegen_burst() {
    let tokens = (265_592_652, 22_986_961);
    check("servegen_mlarge_burst_a.csv.gz", 350_376, 86_390.0..86_400.0, 4.055, tokens);
}

#[test]
fn servegen_r1() {
    let tokens = (1_754_915_385, 2_113_466_778);
    check("servegen_r1_24h.csv.gz", 1_383_669, 86_390.0..86_400.0, 16.015, tokens);
}

#[test]
fn azure_2024_week() {
    let tokens = (878_389_070, 52_985_171);
    check("azure_conv_2024_week.csv.gz", 545_481, 604_790.0..604_800.0, 0.902, tokens);
}

/// The README: gaps have a coefficient of variation of 3.03 only because times are quantised to 3 s.
#[test]
fn mooncake_spread_over_its_quantum_is_near_poisson() {
    let Some(path) = file("mooncake_conversation.csv") else {
        return;
    };
    let trace = Trace::open(&path).unwrap();
    let cv = |times: Vec<f64>| {
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        variance.sqrt() / mean
    };
    let recorded = cv(trace.arrivals().iter().map(|row| row.at.as_secs_f64()).collect());
    assert!((3.0..3.06).contains(&recorded), "{recorded}");
    let rows = trace.arrivals().iter().copied().spread(Duration::from_secs(3), seeded(1));
    let spread = cv(rows.map(|row| row.at.as_secs_f64()).collect());
    assert!((0.9..1.15).contains(&spread), "{spread}");
}
