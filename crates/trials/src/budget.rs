//! The table of DESIGN's budgets: what was measured, and what the peers were measured at.
//!
//! Figures of criterion are read from what `cargo bench` left behind; a line that was not measured says so. The peers'
//! figures are those of AIBrix (current and classic) and Prometheus, measured on the machine the budgets were set on.

use std::path::Path;

use crate::cold_start::ColdStart;
use crate::quiet::Quiet;
use crate::reaction::Reaction;
use crate::statistics::Quantiles;

/// What the trials measured in this run.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) reactions: Vec<Reaction>,
    /// Seconds from the reading that changed a decision to the acknowledged write.
    pub(crate) write: Option<Quantiles>,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) cold: Option<ColdStart>,
}

struct Line {
    what: &'static str,
    budget: &'static str,
    measured: String,
    met: Option<bool>,
    peers: &'static str,
}

/// Prints a line per budget.
pub(crate) fn print(measured: &Measured) {
    println!("\n{:<46} {:<18} {:<34} {:<4} peers", "what (one core)", "budget", "measured", "met");
    for line in criterion().into_iter().chain(trials(measured)) {
        let met = match line.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        println!("{:<46} {:<18} {:<34} {met:<4} {}", line.what, line.budget, line.measured, line.peers);
    }
}

/// The means that criterion estimated, in microseconds.
fn criterion() -> Vec<Line> {
    let line = |what, budget, limit: f64, folder: &str, peers| {
        let mean = estimate(folder);
        Line {
            what,
            budget,
            measured: mean.map_or_else(|| "not run (make bench)".to_owned(), |us| format!("{us:.1} µs")),
            met: mean.map(|us| us <= limit),
            peers,
        }
    };
    vec![
        line(
            "parse of a 55 KB page, names filtered",
            "10 µs",
            10.0,
            "page/filtered",
            "naive parser: see above",
        ),
        line("parse of a 55 KB page, full", "40 µs", 40.0, "page/full", "other Rust parser 167 µs"),
        line(
            "one scrape, keep-alive, 55 KB, client costs",
            "50 µs",
            50.0,
            "scrape/kept connection",
            "AIBrix 1,900 µs, Prometheus 460-740 µs",
        ),
        line(
            "observe + decide, 10 pods, two signals, KPA",
            "2 µs",
            2.0,
            "KPA_ record, observe, decide",
            "Knative's decision function alone 28 µs",
        ),
        line("observe + decide, 10 pods, two signals, APA", "2 µs", 2.0, "APA_ record, observe, decide", "-"),
    ]
}

fn estimate(folder: &str) -> Option<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let path = Path::new(&target).join("criterion").join(folder).join("new/estimates.json");
    let text = std::fs::read_to_string(path).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(estimates["mean"]["point_estimate"].as_f64()? / 1000.0)
}

fn trials(measured: &Measured) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(write) = &measured.write {
        lines.push(Line {
            what: "reading that changes the decision → written",
            budget: "p99 20 ms",
            measured: format!(
                "p50 {:.1} ms, p99 {:.1} ms, n {}",
                write.at(0.5) * 1e3,
                write.at(0.99) * 1e3,
                write.count()
            ),
            met: Some(write.at(0.99) <= 0.020),
            peers: "-",
        });
    }
    for reaction in &measured.reactions {
        let limit = (reaction.strategy == "KPA" && reaction.step >= 3.0).then_some(3.1);
        let (what, peers) = match (reaction.strategy, reaction.step) {
            ("KPA", 1.5) => ("step ×1.5 → first write, KPA", "-"),
            ("KPA", 3.0) => ("step ×3 → first write, KPA", "-"),
            ("KPA", _) => ("step ×10 → first write, KPA", "AIBrix classic 3.7 s (worst 7.9), current 23.7 s"),
            (_, 1.5) => ("step ×1.5 → first write, APA", "-"),
            (_, 3.0) => ("step ×3 → first write, APA", "-"),
            _ => ("step ×10 → first write, APA", "AIBrix classic 6.2 s (worst 9.5), current 26.5 s"),
        };
        lines.push(Line {
            what,
            budget: if limit.is_some() { "p99 3.1 s" } else { "its window" },
            measured: format!(
                "p50 {:.2} s, p99 {:.2} s, n {}",
                reaction.seconds.at(0.5),
                reaction.seconds.at(0.99),
                reaction.seconds.count()
            ),
            met: limit.map(|limit| reaction.none == 0 && reaction.seconds.at(0.99) <= limit),
            peers,
        });
    }
    if let Some(quiet) = &measured.quiet {
        lines.push(Line {
            what: "API writes while nothing changes",
            budget: "0 besides Leases",
            measured: format!(
                "{} by {} targets in {} s",
                quiet.writes,
                quiet.targets,
                quiet.lasted.as_secs()
            ),
            met: Some(quiet.writes == 0),
            peers: "AIBrix current: a status write per reconcile",
        });
    }
    if let Some(cold) = &measured.cold {
        lines.push(Line {
            what: "cold start until every target is decided",
            budget: "-",
            measured: format!("{:.1} s for {} targets", cold.decided.as_secs_f64(), cold.targets),
            met: None,
            peers: "AIBrix: one lap, 20 s (current), 50 s (classic)",
        });
    }
    lines
}
