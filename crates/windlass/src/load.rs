//! `windlass load`: requests to the pods of a target, and what became of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use windlass_testbed::load::{Load, Policy, PromptAs, Selection, Spec, Target, Traffic};
use windlass_workload::{Arrival, Length, Lengths, Process, Shape, Trace, parse_duration, seeded};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Send at given rates, whatever becomes of the requests before.
    Open(Box<Open>),
    /// Send as users do who wait for their answers.
    Closed(Box<Closed>),
    /// Send as was recorded.
    Trace(Box<Replay>),
}

#[derive(clap::Args)]
pub(crate) struct Open {
    #[command(flatten)]
    rates: Rates,
    /// Coefficient of variation of the gaps between arrivals: 1 is Poisson, more is bursty, 0 is evenly spaced.
    #[arg(long, value_name = "CV")]
    burstiness: Option<f64>,
    #[command(flatten)]
    lengths: LengthArguments,
    /// When to end; otherwise after the last stage, or never.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Rates {
    /// Requests per second.
    #[arg(long)]
    rate: Option<Process>,
    /// Rates one after the other, such as 2:30s,20:60s,2:60s.
    #[arg(long)]
    stages: Option<Process>,
}

#[derive(clap::Args)]
pub(crate) struct Closed {
    /// How many users there are.
    #[arg(long)]
    users: usize,
    /// From an answer to the user's next request.
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    think_time: Duration,
    #[command(flatten)]
    lengths: LengthArguments,
    /// When to end; otherwise never.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// From which lengths are drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
pub(crate) struct Replay {
    /// A CSV file with the header `arrival_s,prompt_tokens,output_tokens`, plain or gzip.
    file: PathBuf,
    /// Where in the trace to begin.
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    from: Duration,
    /// Where in the trace to end.
    #[arg(long, value_parser = parse_duration)]
    to: Option<Duration>,
    /// Make all times longer by this factor: 0.5 doubles the rate.
    #[arg(long, default_value_t = 1.0)]
    stretch: f64,
    /// The share of requests to keep, by chance.
    #[arg(long, default_value_t = 1.0)]
    thin: f64,
    /// Spread requests of one moment over this time: undoes a coarse clock.
    #[arg(long, value_parser = parse_duration)]
    spread: Option<Duration>,
    /// By which requests are chosen and spread.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct LengthArguments {
    /// Tokens of a prompt: 512, lognormal(512,1.0) (median, sigma) or uniform(100,900).
    #[arg(long, default_value = "512", value_name = "LENGTH")]
    prompt: Length,
    /// Tokens of an answer, as for --prompt.
    #[arg(long, default_value = "128", value_name = "LENGTH")]
    output: Length,
    /// Draw prompt and answer together from a trace instead.
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["prompt", "output"])]
    lengths_from: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Where the pods are.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Where they listen; otherwise the pod's first container port, else 8000.
    #[arg(long)]
    port: Option<u16>,
    /// Which pod gets a request: least-inflight or round-robin.
    #[arg(long, default_value = "least-inflight")]
    policy: Policy,
    /// The model that requests name; otherwise whichever the pods serve.
    #[arg(long)]
    model: Option<String>,
    /// How a prompt's length is conveyed: count (understood by the mock engine), words or ids.
    #[arg(long, default_value = "count")]
    prompt_as: PromptAs,
    /// How long an answer may take.
    #[arg(long, value_parser = parse_duration, default_value = "10m")]
    timeout: Duration,
    /// How often a request that failed before its first token is sent again.
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// How many requests may be in flight; those beyond are sent late.
    #[arg(long, default_value_t = 10_000)]
    max_in_flight: usize,
    /// How long the requests in flight are waited for when the load is interrupted.
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    drain: Duration,
    /// How often a line is printed.
    #[arg(long, value_parser = parse_duration, default_value = "1s")]
    every: Duration,
    /// Write the summary to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct SelectionArguments {
    /// Send to the pods of this Deployment.
    #[arg(long)]
    deployment: Option<String>,
    /// Send to the pods with these labels, such as app=llama2-70b.
    #[arg(long)]
    selector: Option<String>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (traffic, common) = match command {
        Command::Open(open) => (open.traffic()?, open.common),
        Command::Closed(closed) => (closed.traffic()?, closed.common),
        Command::Trace(replay) => (replay.traffic()?, replay.common),
    };
    // What the load itself has to tell, such as a watch that fails.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).with_ansi(false).init();
    common.run(traffic).await
}

impl Open {
    fn traffic(&self) -> anyhow::Result<Traffic> {
        let process = self.rates.rate.clone().or(self.rates.stages.clone()).context("no rate")?;
        let process = match self.burstiness {
            Some(cv) => process.with_cv(cv).context("--burstiness")?,
            None => process,
        };
        let arrivals = process.arrivals(&self.lengths.read()?, seeded(self.seed));
        let end = self.duration.unwrap_or(Duration::MAX);
        Ok(Traffic::open(arrivals.window(Duration::ZERO, end)))
    }
}

impl Closed {
    fn traffic(&self) -> anyhow::Result<Traffic> {
        let Self { users, think_time, seed, duration, .. } = *self;
        Ok(Traffic::Closed { users, think_time, lengths: self.lengths.read()?, seed, duration })
    }
}

impl Replay {
    fn traffic(&self) -> anyhow::Result<Traffic> {
        let rows = open(&self.file)?.into_arrivals();
        let arrivals: Box<dyn Iterator<Item = Arrival> + Send> = match self.spread {
            Some(quantum) => Box::new(rows.spread(quantum, seeded(self.seed))),
            None => Box::new(rows),
        };
        let end = self.to.unwrap_or(Duration::MAX);
        // Another generator than that of the spread, or where a request lies would decide whether it is kept.
        let kept = arrivals.window(self.from, end).thin(self.thin, seeded(!self.seed)).context("--thin")?;
        Ok(Traffic::open(kept.stretch(self.stretch).context("--stretch")?))
    }
}

fn open(file: &std::path::Path) -> anyhow::Result<Trace> {
    Trace::open(file).with_context(|| format!("trace {}", file.display()))
}

impl LengthArguments {
    fn read(&self) -> anyhow::Result<Lengths> {
        match &self.lengths_from {
            Some(file) => Ok(open(file)?.lengths()),
            None => Ok(Lengths::Independent { prompt: self.prompt, output: self.output }),
        }
    }
}

impl Common {
    async fn run(self, traffic: Traffic) -> anyhow::Result<()> {
        let selection = match (self.selection.deployment, self.selection.selector) {
            (Some(name), _) => Selection::Deployment(name),
            (None, labels) => Selection::Labels(labels.unwrap_or_default()),
        };
        let target = Target { namespace: self.namespace, selection, port: self.port };
        let spec = Spec {
            traffic,
            model: self.model,
            prompt_as: self.prompt_as,
            policy: self.policy,
            timeout: self.timeout,
            retries: self.retries,
            max_in_flight: self.max_in_flight,
            drain: self.drain,
        };
        let client = kube::Client::try_default().await.context("no cluster: set KUBECONFIG")?;
        let load = Load::start(client, target, spec).await?;
        // A period of nothing would print without end.
        let mut lines = tokio::time::interval(self.every.max(Duration::from_millis(100)));
        lines.tick().await;
        loop {
            tokio::select! {
                _ = lines.tick() => println!("{}", load.snapshot()),
                () = load.finished() => break,
                outcome = crate::interrupted() => {
                    outcome?;
                    println!("no more requests; waiting for those in flight");
                    break;
                }
            }
        }
        let summary = load.stop().await;
        println!("{summary}");
        if let Some(file) = self.json {
            let text = serde_json::to_string_pretty(&summary)?;
            std::fs::write(&file, text + "\n")
                .with_context(|| format!("{} cannot be written", file.display()))?;
        }
        Ok(())
    }
}
