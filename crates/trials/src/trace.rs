//! Half an hour of a real trace, stretched to fit, through simulated engines that serve every request of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::jiff::Timestamp;
use windlass_testbed::chart::{chart, time_axis};
use windlass_testbed::load::{Load, Spec, Summary, Target, Traffic};
use windlass_testbed::{ReplicaHistory, Usage};
use windlass_workload::{Shape, Trace, parse_duration, seeded};

use crate::stage::{Fleet, Stage};
use crate::trajectory;

const NAMESPACE: &str = "trace";
const NAME: &str = "llama-8b";
/// Its KV cache has room for the longest request of the trace.
const MODEL: &str = "llama-3.1-8b@a10g";
/// Requests in flight per replica: about half of what fits into the KV cache at the trace's lengths.
const INFLIGHT: f64 = 10.0;
const COLUMN: Duration = Duration::from_secs(20);
/// A line this often.
const LINE_EVERY: usize = 6;

/// Which part of which trace, and how it is made to fit.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The trace; default the bursty one in `$WINDLASS_TRACES`, else in `../shared/traces` beside the repository.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Where the part begins.
    #[arg(long, default_value = "12h", value_parser = parse_duration)]
    from: Duration,
    /// How much of the trace is replayed.
    #[arg(long, default_value = "6h", value_parser = parse_duration)]
    span: Duration,
    /// How long the replay lasts.
    #[arg(long, default_value = "30m", value_parser = parse_duration)]
    lasts: Duration,
    /// Which share of the requests is kept, as one of several cells would see them.
    #[arg(long, default_value_t = 0.12)]
    keep: f64,
    /// KPA or APA.
    #[arg(long, default_value = "KPA")]
    strategy: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            file: None,
            from: Duration::from_hours(12),
            span: Duration::from_hours(6),
            lasts: Duration::from_mins(30),
            keep: 0.12,
            strategy: "KPA".to_owned(),
        }
    }
}

fn default_file() -> PathBuf {
    let folder = std::env::var_os("WINDLASS_TRACES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces"), PathBuf::from);
    folder.join("servegen_mlarge_burst_a.csv.gz")
}

struct Moment {
    rate: f64,
    in_flight: u64,
    ttft: Option<f64>,
    asked: i32,
    ready: i32,
}

/// Replays the trace; prints what became of it.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let file = arguments.file.clone().unwrap_or_else(default_file);
    if !file.is_file() {
        println!("\n── SKIPPED: {} is not here; set WINDLASS_TRACES or --file", file.display());
        return Ok(());
    }
    let stage = Stage::up("trace").await?;
    let outcome = replay(&stage, &file, arguments).await;
    stage.down().await?;
    outcome
}

async fn replay(stage: &Stage, file: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let factor = arguments.lasts.as_secs_f64() / arguments.span.as_secs_f64();
    println!(
        "\n── Trace: {} from {} h, {} h in {} min, {} % of the requests, {} on inflight",
        file.file_name().unwrap_or_default().display(),
        arguments.from.as_secs() / 3600,
        arguments.span.as_secs() / 3600,
        arguments.lasts.as_secs() / 60,
        arguments.keep * 100.0,
        arguments.strategy,
    );
    let arrivals = Trace::open(file)?
        .arrivals()
        .to_vec()
        .into_iter()
        .window(arguments.from, arguments.from + arguments.span)
        .thin(arguments.keep, seeded(1))?
        .stretch(factor)?;
    let annotations = [("mode", "engine"), ("model", MODEL), ("start", "lognormal(25s,0.25)")];
    let fleet = [Fleet {
        name: NAME,
        replicas: 2,
        engines: &annotations,
        strategy: &arguments.strategy,
        metric: "inflight",
        target: INFLIGHT,
        bounds: (2, 24),
    }];
    let history = stage.engines(NAMESPACE, &fleet).await?;
    let mut controller = stage.controller("controller")?;
    stage.autoscale(NAMESPACE, &fleet).await?;
    let (from, began) = (Timestamp::now(), Instant::now());
    let spec = Spec::new(Traffic::open(arrivals));
    let load = Load::start(stage.client.clone(), Target::deployment(NAMESPACE, NAME), spec).await?;
    let (moments, summary) = follow(load, &history).await?;
    let usage = controller.process.usage().context("the controller has ended")?;
    controller.process.terminate().await?;
    print(&moments, &summary);
    println!("  replicas {}", trajectory::text(&history.asked_since(NAME, began), began));
    let writes = stage.writes(from)?;
    let scales = writes.iter().filter(|write| write.object_ref.subresource == "scale").count();
    cost(&usage, began.elapsed(), writes.len(), scales);
    ensure!(summary.failed() + summary.unfinished == 0, "requests were lost: {:?}", summary.failures);
    Ok(())
}

async fn follow(load: Load, history: &ReplicaHistory) -> anyhow::Result<(Vec<Moment>, Summary)> {
    let (mut moments, mut sent) = (Vec::new(), 0);
    loop {
        let over = tokio::time::timeout(COLUMN, load.finished()).await.is_ok();
        let snapshot = load.snapshot();
        let now = history.now(NAME).context("the Deployment is gone")?;
        let moment = Moment {
            rate: (snapshot.sent - sent) as f64 / COLUMN.as_secs_f64(),
            in_flight: snapshot.in_flight,
            ttft: snapshot.ttft.as_ref().map(|ttft| ttft.p99_s),
            asked: now.asked,
            ready: now.ready,
        };
        sent = snapshot.sent;
        if moments.len() % LINE_EVERY == 0 {
            println!(
                "  {:>5.0} s  {:>5.1} requests/s, {:>3} in flight, {} failed, TTFT p99 {}, replicas {}/{}",
                snapshot.elapsed.as_secs_f64(),
                moment.rate,
                moment.in_flight,
                snapshot.failed(),
                moment.ttft.map_or("-".to_owned(), |seconds| format!("{seconds:.2} s")),
                moment.ready,
                moment.asked,
            );
        }
        moments.push(moment);
        if over {
            return Ok((moments, load.stop().await));
        }
    }
}

fn print(moments: &[Moment], summary: &Summary) {
    let of = |value: &dyn Fn(&Moment) -> Option<f64>| moments.iter().map(value).collect::<Vec<_>>();
    print!("{}", chart("requests per second", "/s", &of(&|moment| Some(moment.rate)), 4));
    print!("{}", chart("requests in flight", "", &of(&|moment| Some(moment.in_flight as f64)), 4));
    print!("{}", chart("replicas asked for", "", &of(&|moment| Some(f64::from(moment.asked))), 4));
    print!("{}", chart("replicas ready", "", &of(&|moment| Some(f64::from(moment.ready))), 4));
    print!("{}", chart("99th percentile of time to first token", "s", &of(&|moment| moment.ttft), 4));
    print!("{}", time_axis(moments.len(), COLUMN.as_secs_f64(), 15));
    let quantiles = |quantiles: Option<&windlass_testbed::load::Quantiles>| {
        quantiles.map_or("none".to_owned(), |q| format!("p50 {:.2} s, p99 {:.2} s", q.p50_s, q.p99_s))
    };
    println!(
        "  {} requests, {} failed, {} unfinished; TTFT {}; end to end {}; sent late by {}",
        summary.sent,
        summary.failed(),
        summary.unfinished,
        quantiles(summary.ttft.as_ref()),
        quantiles(summary.e2e.as_ref()),
        quantiles(summary.lateness.as_ref()),
    );
}

fn cost(usage: &Usage, lasted: Duration, writes: usize, scales: usize) {
    println!(
        "  controller: {:.1} s of CPU in {:.0} s ({:.2} % of a core), {} MB (peak {} MB), {writes} API writes, {scales} of them of \
         /scale",
        usage.cpu.as_secs_f64(),
        lasted.as_secs_f64(),
        usage.cpu.as_secs_f64() / lasted.as_secs_f64() * 100.0,
        usage.resident_bytes >> 20,
        usage.peak_bytes >> 20,
    );
}
