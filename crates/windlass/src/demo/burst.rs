//! Real requests that burst, against engines that need 20 s to start.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use windlass_testbed::chart::{chart, time_axis};
use windlass_testbed::load::{Load, Spec, Summary, Target, Traffic};
use windlass_testbed::plane::Plane;
use windlass_testbed::{Change, ReplicaHistory};
use windlass_workload::{Lengths, Process, seeded};

use super::{say, show};

const ENGINES: &str = "docs/development/app/engine.yaml";
const AUTOSCALER: &str = "config/samples/autoscaling_v1alpha1_engine_kpa.yaml";
const NAME: &str = "llama-7b";
/// Requests per second, and for how long.
const LOAD: &str = "1:15s,10:50s,1:80s";
/// Tokens of prompts and answers.
const PROMPT: &str = "lognormal(400,0.5)";
const OUTPUT: &str = "lognormal(100,0.5)";
/// A column of the chart.
const COLUMN: Duration = Duration::from_secs(2);
/// Every fifth column is printed as a line while it runs.
const LINE_EVERY: usize = 5;
/// Engines need 20 s; what takes longer than this has failed.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What was seen during one column of the chart.
struct Moment {
    rate: f64,
    ttft: Option<f64>,
    replicas: Change,
}

pub(super) async fn run(plane: &Plane) -> anyhow::Result<()> {
    say(
        "Third act. Engines that serve real requests, 20 s from start to ready; a model of one GPU each sets their pace",
    );
    show(plane, &format!("kubectl apply -f {ENGINES}")).await?;
    show(plane, &format!("kubectl apply -f {AUTOSCALER}")).await?;
    println!(
        "  (at most 16 requests in flight per replica; its down window is 30 s by annotation, the default is 300 s)"
    );
    let deployments: Api<Deployment> = Api::namespaced(plane.client()?, "default");
    let history = ReplicaHistory::follow(deployments);
    let applied = Instant::now();
    while history.now(NAME).is_none_or(|now| now.ready < 2) {
        if applied.elapsed() > READY_WITHIN {
            bail!("no engine was ready after {} s", READY_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("  {:5.1} s  2 engines ready", applied.elapsed().as_secs_f64());

    say(&format!("Requests: {LOAD} (per second : for), prompts of about 400 tokens, answers of about 100"));
    let began = Instant::now();
    let (moments, summary) = drive(plane, &history).await?;
    say("What happened");
    draw(&moments);
    say("Why");
    let history_of = "kubectl get podautoscaler llama-7b \
                      -o jsonpath='{range .status.scalingHistory[*]}{.previousScale} → {.newScale}: {.reason}{\"\\n\"}{end}'";
    show(plane, history_of).await?;
    close(&history, began, &summary)
}

/// Sends the load; a moment per column until the load has ended and the fleet is small again.
async fn drive(plane: &Plane, history: &ReplicaHistory) -> anyhow::Result<(Vec<Moment>, Summary)> {
    let process: Process = LOAD.parse()?;
    let lengths = Lengths::Independent { prompt: PROMPT.parse()?, output: OUTPUT.parse()? };
    let traffic = Traffic::open(process.arrivals(&lengths, seeded(7)));
    let load = Load::start(plane.client()?, Target::deployment("default", NAME), Spec::new(traffic)).await?;
    let (mut moments, mut sent) = (Vec::new(), 0);
    println!(
        "  {:>7}  {:>9} {:>9} {:>7} {:>13} {:>9}",
        "time", "requests", "in flight", "failed", "first token", "replicas"
    );
    loop {
        let over = tokio::time::timeout(COLUMN, load.finished()).await.is_ok();
        let snapshot = load.snapshot();
        let replicas = history.now(NAME).context("the Deployment is gone")?;
        let rate = (snapshot.sent - sent) as f64 / COLUMN.as_secs_f64();
        sent = snapshot.sent;
        let ttft = snapshot.ttft.as_ref().map(|ttft| ttft.p50_s);
        moments.push(Moment { rate, ttft, replicas });
        if moments.len().is_multiple_of(LINE_EVERY) {
            let first = ttft.map_or("-".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3));
            println!(
                "  {:>5.0} s  {sent:>9} {:>9} {:>7} {first:>13} {:>5}/{}",
                snapshot.elapsed.as_secs_f64(),
                snapshot.in_flight,
                snapshot.failed(),
                replicas.ready,
                replicas.asked,
            );
        }
        if over {
            return Ok((moments, load.stop().await));
        }
    }
}

fn draw(moments: &[Moment]) {
    let of = |value: &dyn Fn(&Moment) -> Option<f64>| moments.iter().map(value).collect::<Vec<_>>();
    print!("{}", chart("requests per second", "/s", &of(&|moment| Some(moment.rate)), 4));
    print!("{}", chart("replicas asked for", "", &of(&|moment| Some(f64::from(moment.replicas.asked))), 4));
    print!("{}", chart("replicas ready", "", &of(&|moment| Some(f64::from(moment.replicas.ready))), 4));
    print!("{}", chart("median time to first token", "s", &of(&|moment| moment.ttft), 4));
    print!("{}", time_axis(moments.len(), COLUMN.as_secs_f64(), 15));
}

/// One sentence of figures; fails when the fleet did not follow, or lost requests.
fn close(history: &ReplicaHistory, began: Instant, summary: &Summary) -> anyhow::Result<()> {
    let asked: Vec<i32> =
        history.asked_since(NAME, began).into_iter().map(|(_, replicas)| replicas).collect();
    let most = asked.iter().copied().max().unwrap_or(0);
    let last = asked.last().copied().unwrap_or(0);
    let ttft = summary.ttft.as_ref().context("no request was answered")?;
    println!(
        "\n{} requests, {} failed; time to first token p50 {:.2} s, p99 {:.2} s; replicas from {} up to {most} and down to \
         {last}, in {} writes.",
        summary.done,
        summary.failed() + summary.unfinished,
        ttft.p50_s,
        ttft.p99_s,
        asked.first().copied().unwrap_or(0),
        asked.len().saturating_sub(1),
    );
    if summary.failed() + summary.unfinished > 0 {
        bail!("requests were lost: {:?}", summary.failures);
    }
    if most < 4 || last >= most {
        bail!("the replicas did not follow the load: {asked:?}");
    }
    Ok(())
}
