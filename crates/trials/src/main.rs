//! Long and timed runs of the real controller on a testbed of its own: what `make bench` and `make soak` print.
//!
//! Control plane, sockets and requests are real; nodes and engines are simulated. Every run takes its measures from
//! outside the controller: the API server's watch and audit, `/proc`, the load generator.

mod attentive;
mod budget;
mod cold_start;
mod filtered;
mod kills;
mod outage;
mod quiet;
mod reaction;
mod scale;
mod slow_start;
mod stage;
mod statistics;
mod takeover;
mod trace;
mod trajectory;
mod vocabulary;
mod walk_back;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use stage::Stage;

/// Runs trials of the controller beside this program on a testbed.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Reaction, cold start and calm, and the table of all budgets.
    Bench {
        /// Trials per strategy and step.
        #[arg(long, default_value_t = 20)]
        trials: usize,
        /// Targets of the cold start.
        #[arg(long, default_value_t = 1000)]
        targets: usize,
    },
    /// Reaction of KPA, in batches, and what the engines pay for it.
    Reaction {
        /// Trials per step.
        #[arg(long, default_value_t = 100)]
        trials: usize,
        /// Every page once a second, for the comparison.
        #[arg(long)]
        no_attention: bool,
    },
    /// The controller starts and finds this many targets.
    ColdStart {
        #[arg(long, default_value_t = 1000)]
        targets: usize,
    },
    /// Everything below, one after the other.
    Soak,
    /// Engines that need two minutes to start.
    SlowStart,
    /// All engines of a target fail for a while.
    Outage,
    /// The leader is killed under load.
    Takeover,
    /// The controller is killed 50 times while the load jumps.
    Kills,
    /// The HPA walk-through, and the way back.
    WalkBack,
    /// 200 targets under noisy but sufficient load for five minutes.
    Quiet,
    /// 1,000 targets of 10 pods: cost, pace, reaction.
    Scale(scale::Size),
    /// The pods of the trial `scale`, played by a process of their own.
    #[command(hide = true)]
    EnginesAtScale(scale::engines::Arguments),
    /// Every canonical metric as it is read from each engine's page, beside the truth. Needs no control plane.
    Vocabulary,
    /// What a scrape of the real Python exporter costs it, in full and by name.
    Filtered(filtered::Arguments),
    /// Half an hour of a real trace through simulated engines.
    Trace(trace::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt().with_env_filter("warn,kube_client=off").with_writer(std::io::stderr).init();
    let begun = Instant::now();
    let outcome = run(Arguments::parse().trial).await;
    println!("\n{:.0} s in all.", begun.elapsed().as_secs_f64());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("windlass-trials: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(trial: Trial) -> anyhow::Result<()> {
    match trial {
        Trial::Bench { trials, targets } => bench(trials, targets).await,
        Trial::Reaction { trials, no_attention } => {
            let arguments: &[&str] = if no_attention { &["--no-attention"] } else { &[] };
            with_controller_of("reaction", arguments, async |stage, controller| {
                attentive::run(stage, controller, trials).await
            })
            .await
        }
        Trial::ColdStart { targets } => {
            alone("cold-start", async |stage| {
                cold_start::print(&cold_start::run(stage, targets).await?);
                Ok(())
            })
            .await
        }
        Trial::Soak => {
            // The first two do not disturb each other; the others want the machine for themselves.
            with_controller("soak", async |stage, _| {
                tokio::try_join!(slow_start::run(stage), outage::run(stage)).map(drop)
            })
            .await?;
            calm().await?;
            alone("takeover", async |stage| takeover::run(stage).await).await?;
            alone("kills", async |stage| kills::run(stage).await).await?;
            with_controller("walk-back", async |stage, _| walk_back::run(stage).await).await?;
            trace::run(&trace::Arguments::default()).await
        }
        Trial::SlowStart => {
            with_controller("slow-start", async |stage, _| slow_start::run(stage).await).await
        }
        Trial::Outage => with_controller("outage", async |stage, _| outage::run(stage).await).await,
        Trial::Takeover => alone("takeover", async |stage| takeover::run(stage).await).await,
        Trial::Kills => alone("kills", async |stage| kills::run(stage).await).await,
        Trial::WalkBack => with_controller("walk-back", async |stage, _| walk_back::run(stage).await).await,
        Trial::Quiet => calm().await,
        Trial::Scale(size) => alone("scale", async |stage| scale::run(stage, size).await).await,
        Trial::EnginesAtScale(arguments) => scale::engines::run(arguments).await,
        Trial::Vocabulary => vocabulary::run().await,
        Trial::Filtered(arguments) => filtered::run(&arguments).await,
        Trial::Trace(arguments) => trace::run(&arguments).await,
    }
}

async fn bench(trials: usize, targets: usize) -> anyhow::Result<()> {
    let mut measured = budget::Measured::default();
    with_controller("bench-reaction", async |stage, controller| {
        let reactions = reaction::run(stage, trials).await?;
        reaction::print(&reactions);
        measured.reactions = reactions;
        measured.write = Some(reaction::reading_to_write(controller.process.log())?);
        Ok(())
    })
    .await?;
    with_controller("bench-quiet", async |stage, controller| {
        let quiet = quiet::run(stage, &controller.process, 200, Duration::from_mins(1)).await?;
        quiet::print(&quiet)?;
        measured.quiet = Some(quiet);
        Ok(())
    })
    .await?;
    alone("bench-cold", async |stage| {
        let cold = cold_start::run(stage, targets).await?;
        cold_start::print(&cold);
        measured.cold = Some(cold);
        Ok(())
    })
    .await?;
    budget::print(&measured);
    Ok(())
}

async fn calm() -> anyhow::Result<()> {
    with_controller("quiet", async |stage, controller| {
        quiet::print(&quiet::run(stage, &controller.process, 200, Duration::from_mins(5)).await?)
    })
    .await
}

/// A stage without a controller.
async fn alone(name: &str, trial: impl AsyncFnOnce(&Stage) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let stage = Stage::up(name).await?;
    let outcome = trial(&stage).await;
    stage.down().await?;
    outcome
}

/// A stage with one controller.
async fn with_controller(
    name: &str,
    trial: impl AsyncFnOnce(&Stage, &mut stage::Controller) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_controller_of(name, &[], trial).await
}

/// A stage with one controller that has these arguments, too.
async fn with_controller_of(
    name: &str,
    arguments: &[&str],
    trial: impl AsyncFnOnce(&Stage, &mut stage::Controller) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stage = Stage::up(name).await?;
    let mut controller = stage.controller_that("controller", arguments)?;
    let outcome = trial(&stage, &mut controller).await;
    controller.process.terminate().await?;
    stage.down().await?;
    outcome
}
