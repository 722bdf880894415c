//! One vocabulary for every engine: each canonical metric as Windlass reads it from the pages of live mock engines, beside what
//! the engine model itself knows. Engines and requests are simulated; sockets, pages and reading are real.

mod engine;

use anyhow::bail;
use windlass_testbed::mock_engine::EngineKind;

/// The canonical metrics, with the name of the truth they are compared with. Rates are compared with what was counted.
const METRICS: [(&str, &str); 18] = [
    ("running", "running"),
    ("waiting", "waiting"),
    ("inflight", "inflight"),
    ("kv_util", "kv_util"),
    ("kv_tokens", "kv_tokens"),
    ("kv_capacity_tokens", "kv_capacity_tokens"),
    ("prompt_tokens_rate", "prompt_tokens"),
    ("generation_tokens_rate", "generation_tokens"),
    ("cached_tokens_rate", "cached_tokens"),
    ("request_rate", "requests"),
    ("preemption_rate", "preemptions"),
    ("ttft", "ttft"),
    ("tpot", "tpot"),
    ("itl", "itl"),
    ("e2e", "e2e"),
    ("queue_time", "queue_time"),
    ("prompt_length", "prompt_length"),
    ("generation_length", "generation_length"),
];
/// Where the catalogue reads a stand-in and says so, the truth is what the stand-in is of.
const STAND_INS: [(EngineKind, &str, &str); 4] = [
    (EngineKind::VllmV0, "tpot", "itl"),
    (EngineKind::Sglang, "tpot", "itl"),
    (EngineKind::Tgi, "tpot", "time_per_token"),
    (EngineKind::Tgi, "kv_tokens", "batch_tokens"),
];
const ENGINES: [EngineKind; 5] =
    [EngineKind::VllmV0, EngineKind::VllmV1, EngineKind::Sglang, EngineKind::Tgi, EngineKind::TrtllmServe];
/// How far a value may be from the truth: pages round, and capacities are whole blocks.
const TOLERANCE: f64 = 0.01;
/// The same for means of the engine's own last five seconds, whose end nobody outside sees to the millisecond.
const TOLERANCE_OF_MEANS: f64 = 0.05;

/// One canonical metric of one engine.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    /// What was read, between which values the truth was, and in what way it is a stand-in.
    Read { value: f64, truth: (f64, f64), tolerance: f64, derived: Option<String> },
    /// Why there is no reading.
    Missing(String),
}

impl Cell {
    fn is_right(&self) -> bool {
        match self {
            Self::Missing(_) => true,
            Self::Read { value, truth: (low, high), tolerance, .. } => {
                let room = tolerance * high.abs();
                (low - room..=high + room).contains(value)
            }
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Missing(_) => "–".to_owned(),
            Self::Read { value, truth: (low, high), derived, .. } => {
                let sign = if self.is_right() { "=" } else { "≠" };
                let mark = if derived.is_some() { "*" } else { "" };
                let spread = high - low > TOLERANCE * high.abs();
                let truth =
                    if spread { format!("{low:.0}–{high:.0}") } else { number(f64::midpoint(*low, *high)) };
                format!("{}{mark} {sign} {truth}", number(*value))
            }
        };
        f.pad(&text)
    }
}

/// Four digits that count.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 3 - value.abs().log10().floor() as i32 };
    format!("{value:.*}", usize::try_from(digits.clamp(0, 6)).unwrap_or(0))
}

/// The cells of one engine, in the order of [`METRICS`].
struct Column {
    kind: EngineKind,
    /// What the catalogue takes it for.
    engine: String,
    cells: Vec<Cell>,
}

/// Serves requests from all engines, reads them, prints the table.
///
/// # Errors
/// If a value differs from the truth by more than is stated.
pub(crate) async fn run() -> anyhow::Result<()> {
    let columns = measure().await?;
    print(&columns);
    let wrong = columns.iter().flat_map(|column| &column.cells).filter(|cell| !cell.is_right()).count();
    if wrong > 0 {
        bail!("{wrong} values differ from the truth; they are marked ≠ in the table");
    }
    Ok(())
}

/// All engines, side by side.
async fn measure() -> anyhow::Result<Vec<Column>> {
    futures::future::try_join_all(ENGINES.map(engine::column)).await
}

fn print(columns: &[Column]) {
    println!(
        "What Windlass reads = what the engine model knows (simulated engines, the same requests for each):\n"
    );
    print!("{:<23}", "");
    for column in columns {
        print!(" {:<21}", column.kind.name());
    }
    print!("\n{:<23}", "taken for");
    for column in columns {
        print!(" {:<21}", column.engine);
    }
    println!();
    for (at, (name, _)) in METRICS.iter().enumerate() {
        print!("{name:<23}");
        for column in columns {
            print!(" {:<21}", column.cells[at]);
        }
        println!();
    }
    println!(
        "\nGauges at one moment under load, rates over the whole run, latencies and lengths as means over it. Equal is within {:.0} %, \
         for vLLM v0's gauges of throughput (means of its last 5 s) {:.0} %.",
        TOLERANCE * 100.0,
        TOLERANCE_OF_MEANS * 100.0
    );
    println!("\n* is a stand-in, compared with what it is of; – is not there:");
    for column in columns {
        for ((name, _), cell) in METRICS.iter().zip(&column.cells) {
            match cell {
                Cell::Missing(why) => println!("  {:<13} – {why}", column.kind.name()),
                Cell::Read { derived: Some(derived), .. } => {
                    println!("  {:<13} * {name}: {derived}", column.kind.name());
                }
                Cell::Read { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_seen() {
        let cell =
            |value, low, high| Cell::Read { value, truth: (low, high), tolerance: 0.01, derived: None };
        for (value, low, high, right) in [
            (100.0, 100.0, 100.0, true),
            (100.9, 100.0, 100.0, true),
            (102.0, 100.0, 100.0, false),
            (98.0, 100.0, 110.0, false),
            (105.0, 100.0, 110.0, true),
            (0.0, 0.0, 0.0, true),
            (0.1, 0.0, 0.0, false),
            (f64::NAN, 0.0, 1.0, false),
        ] {
            assert_eq!(cell(value, low, high).is_right(), right, "{value} in {low}..{high}");
        }
        assert_eq!(cell(102.0, 100.0, 100.0).to_string(), "102.0 ≠ 100.0");
    }

    /// Every engine is read as the truth has it, and lacks what the catalogue says it lacks.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_engine_is_read_right() {
        let columns = measure().await.unwrap();
        for column in &columns {
            let named = || METRICS.iter().zip(&column.cells);
            let wrong: Vec<_> = named().filter(|(_, cell)| !cell.is_right()).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", column.kind.name());
            let missing: Vec<_> = named()
                .filter(|(_, cell)| matches!(cell, Cell::Missing(_)))
                .map(|((name, _), _)| *name)
                .collect();
            let lacks: &[&str] = match column.kind {
                EngineKind::VllmV0 => &["cached_tokens_rate"],
                EngineKind::Tgi => {
                    &["kv_util", "kv_capacity_tokens", "cached_tokens_rate", "preemption_rate", "ttft", "itl"]
                }
                EngineKind::TrtllmServe => {
                    &["cached_tokens_rate", "preemption_rate", "itl", "prompt_length", "generation_length"]
                }
                _ => &[],
            };
            assert_eq!(missing, lacks, "{}", column.kind.name());
            // A load under which nothing happens would prove nothing.
            let idle: Vec<_> = named()
                .filter(|(_, cell)| matches!(cell, Cell::Read { value, .. } if *value <= 0.0))
                .collect();
            assert!(idle.is_empty(), "{}: {idle:?}", column.kind.name());
        }
    }
}
