//! A thousand targets of ten pods each on one machine: what it costs the controller, how often each pod is really read,
//! how fast a step is answered; calmly, with attention, and with pods that hang and refuse.
//!
//! The control plane, the controller, its connections and the text it reads are real. The pods are simulated as crudely
//! as can be (see `cluster` and `engines`), by two processes that are not counted.

mod cluster;
pub(crate) mod engines;
mod page;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use windlass_testbed::Usage;

use crate::cold_start::observed;
use crate::stage::{Controller, Stage};
use crate::statistics::Quantiles;
use engines::Asked;

/// What one replica is to carry, in requests.
const TARGET: f64 = 20.0;
/// What each pod carries: nothing is to be changed.
const LOAD: f64 = 19.0;
/// A load steps up to this many times what it was.
const STEP: f64 = 3.0;
/// After the controller knows everything: its first writes and full pages are behind.
const WARM: Duration = Duration::from_secs(70);
/// How long is measured.
const MEASURED: Duration = Duration::from_mins(1);
/// Steps at once, and from one batch to the next.
const BATCH: usize = 10;
const APART: Duration = Duration::from_millis(1370);
/// Nothing is awaited for longer after the last step.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many processes play the pods.
const PROCESSES: usize = 2;

/// How much there is.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Targets.
    #[arg(long, default_value_t = 1000)]
    pub(crate) targets: usize,
    /// Pods of each.
    #[arg(long, default_value_t = 10)]
    pub(crate) pods: usize,
    /// Steps per line of the table.
    #[arg(long, default_value_t = 100)]
    pub(crate) steps: usize,
}

/// One line of the table.
struct Line {
    what: &'static str,
    cores: f64,
    usage: Usage,
    asked: Asked,
    reaction: Quantiles,
    /// Steps that were not answered.
    none: usize,
}

/// Runs the trial and prints the table.
pub(crate) async fn run(stage: &Stage, size: Size) -> anyhow::Result<()> {
    ensure!(size.targets * size.pods <= 60_000, "there are not so many addresses");
    let begun = Instant::now();
    let mut engines = Vec::new();
    let all = size.targets * size.pods;
    for process in 0..PROCESSES {
        let first = all * process / PROCESSES;
        let next = all * (process + 1) / PROCESSES;
        engines.push(Engines::start(stage, first, next - first, size.pods).await?);
    }
    cluster::create_all(stage, size).await?;
    println!("{all} pods of {} targets after {:.0} s", size.targets, begun.elapsed().as_secs_f64());

    let mut trial = Trial { stage, size, engines, stepped: 0 };
    let mut lines = Vec::new();
    let settings: [(&str, &[&str], bool); 3] = [
        ("every 2 s", &["--engine-cpu-share=0.0001%"], false),
        ("with attention", &[], false),
        ("attention, 1 % hang, 1 % refuse", &[], true),
    ];
    for (what, arguments, faults) in settings {
        let line = trial.line(what, arguments, faults).await?;
        print_line(&line);
        lines.push(line);
    }
    print(size, &lines);
    Ok(())
}

struct Trial<'a> {
    stage: &'a Stage,
    size: Size,
    engines: Vec<Engines>,
    /// Targets that were used up by steps: nobody gives them more pods.
    stepped: usize,
}

impl Trial<'_> {
    async fn line(&mut self, what: &'static str, arguments: &[&str], faults: bool) -> anyhow::Result<Line> {
        let mut controller = self.stage.controller_that(&what.replace(' ', "-"), arguments)?;
        observed(&controller, self.size.targets).await?;
        self.order(&format!("faults {}", if faults { "on" } else { "off" })).await?;
        tokio::time::sleep(WARM).await;
        self.order("measure").await?;
        let before = controller.process.usage().context("the controller has ended")?;
        tokio::time::sleep(MEASURED).await;
        let usage = controller.process.usage().context("the controller has ended")?;
        let mut asked = Asked::default();
        for engines in &mut self.engines {
            let report = engines.order("report").await?;
            asked.merge(&serde_json::from_str(&report)?);
        }
        let (reaction, none) = self.steps().await?;
        end(&mut controller).await?;
        let cores = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / MEASURED.as_secs_f64();
        Ok(Line { what, cores, usage, asked, reaction, none })
    }

    async fn order(&mut self, order: &str) -> anyhow::Result<()> {
        for engines in &mut self.engines {
            engines.order(order).await?;
        }
        Ok(())
    }

    /// Steps of so many targets that had none yet: seconds until each was answered, and how many were not.
    async fn steps(&mut self) -> anyhow::Result<(Quantiles, usize)> {
        let changes = cluster::Changes::default();
        let last = (self.stepped + self.size.steps).min(self.size.targets);
        let targets: Vec<usize> = (self.stepped..last).collect();
        self.stepped = last;
        let stage = self.stage;
        let pods = self.size.pods;
        let stepping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut begun = Vec::new();
            for batch in targets.chunks(BATCH) {
                for target in batch {
                    self.order(&format!("load {target} {}", LOAD * STEP)).await?;
                    begun.push((cluster::target(*target), Instant::now()));
                }
                tokio::time::sleep(APART).await;
            }
            tokio::time::sleep(PATIENCE).await;
            anyhow::Ok(begun)
        };
        let begun = tokio::select! {
            begun = stepping => begun?,
            ended = cluster::follow(stage, &changes, pods) => return Err(ended.err().context("unreachable")?),
        };
        let changes = changes.lock().map_err(|_| anyhow::anyhow!("a watch panicked"))?;
        let took = |(name, at): &(String, Instant)| {
            changes.get(name).map(|changed| changed.saturating_duration_since(*at).as_secs_f64())
        };
        let seconds: Vec<f64> = begun.iter().filter_map(took).collect();
        let none = begun.len() - seconds.len();
        Ok((Quantiles::of(seconds), none))
    }
}

async fn end(controller: &mut Controller) -> anyhow::Result<()> {
    controller.process.terminate().await?;
    Ok(())
}

/// One process that plays pods.
struct Engines {
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Engines {
    async fn start(stage: &Stage, first: usize, count: usize, group: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("engines-at-scale")
            .args(["--network", &stage.plane.network().to_string()])
            .args(["--first", &first.to_string(), "--count", &count.to_string()])
            .args(["--group", &group.to_string(), "--load", &LOAD.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = process.stdin.take().context("no input")?;
        let answers = BufReader::new(process.stdout.take().context("no output")?).lines();
        let mut engines = Self { _process: process, orders, answers };
        let ready = engines.answers.next_line().await?;
        ensure!(ready.as_deref() == Some("ready"), "the simulated pods cannot be served");
        Ok(engines)
    }

    async fn order(&mut self, order: &str) -> anyhow::Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.answers.next_line().await?.context("the simulated pods have ended")
    }
}

fn print(size: Size, lines: &[Line]) {
    println!(
        "\n── {} targets × {} pods, KPA by inflight; engines in {PROCESSES} processes beside it",
        size.targets, size.pods
    );
    println!(
        "{:<32} {:>6} {:>5} {:>5} {:>9} {:>5} {:>6} {:>20} {:>18}",
        "",
        "cores",
        "MB",
        "peak",
        "scrapes/s",
        "by na",
        "KB/s",
        "interval s 50/99/max",
        "step ×3 s 50/99 (-)"
    );
    lines.iter().for_each(print_line);
}

fn print_line(line: &Line) {
    let Line { what, cores, usage, asked, reaction, none } = line;
    let seconds = MEASURED.as_secs_f64();
    let interval = |share| asked.interval(share).map_or(f64::NAN, |ms| ms as f64 / 1e3);
    println!(
        "{what:<32} {cores:>6.2} {:>5} {:>5} {:>9.0} {:>4.0}% {:>6.0} {:>6.2} {:>6.2} {:>6.2} {:>7.2} {:>6.2} ({none})",
        usage.resident_bytes >> 20,
        usage.peak_bytes >> 20,
        asked.scrapes as f64 / seconds,
        100.0 * asked.filtered as f64 / asked.scrapes.max(1) as f64,
        asked.bytes as f64 / 1e3 / seconds,
        interval(0.5),
        interval(0.99),
        interval(1.0),
        reaction.at(0.5),
        reaction.at(0.99),
    );
}
