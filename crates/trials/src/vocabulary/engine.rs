//! One live mock engine: its load, its pages, its truth.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use windlass_metrics::{
    Catalogue, Format, Histogram, HistogramWindow, Meter, Metric, Readings, Sample, Wanted,
};
use windlass_testbed::mock_engine::{self, EngineKind, Script, Serving};

use super::{Cell, Column, METRICS, STAND_INS, TOLERANCE, TOLERANCE_OF_MEANS};

/// Small enough that the load below fills its KV cache: requests wait and are preempted.
const PRESET: &str = "llama-2-7b@a10g";
const USERS: u32 = 72;
/// For how long users send requests; then the last ones are waited for.
const LOAD: Duration = Duration::from_millis(6500);
/// When the gauges are read.
const MOMENT: Duration = Duration::from_millis(5800);
/// Between two looks at the truth.
const LOOK: Duration = Duration::from_millis(50);
/// vLLM v0's gauges of throughput are means over this long.
const SPAN: Duration = Duration::from_secs(5);
/// Readings of the gauges: the truth moves while a page is made, so that one reading may be beside it.
const ATTEMPTS: usize = 20;
/// Longer than any run.
const WINDOW: Duration = Duration::from_hours(1);

/// What the engine model knows, by name.
#[derive(Clone)]
struct Truth(Value);

impl Truth {
    fn of(&self, name: &str) -> Option<f64> {
        self.0["metrics"][name]["value"].as_f64()
    }
}

/// A page, and when it was received since the beginning.
struct Page {
    at: Duration,
    body: Bytes,
    readings: Readings,
}

/// Starts the engine, serves requests, reads it.
pub(super) async fn column(kind: EngineKind) -> anyhow::Result<Column> {
    let listener = TcpListener::bind("127.77.9.1:0").await?;
    let address = listener.local_addr()?;
    // The sender stays until the end, as the script does.
    let (_script, receiver) = watch::channel(Script { engine: kind, ..Script::default() });
    let serving = Serving::new(PRESET.parse()?);
    tokio::select! {
        ended = mock_engine::serve(listener, receiver, Some(serving)) => match ended? {},
        column = Run::new(kind, address)?.column() => column,
    }
}

struct Run {
    kind: EngineKind,
    address: SocketAddr,
    begun: Instant,
    metrics: Vec<Metric>,
    wanted: Wanted,
}

impl Run {
    fn new(kind: EngineKind, address: SocketAddr) -> anyhow::Result<Self> {
        let metrics: Result<Vec<_>, _> =
            METRICS.iter().map(|(name, _)| Catalogue::builtin().resolve(name)).collect();
        let metrics = metrics?;
        Ok(Self { kind, address, begun: Instant::now(), wanted: Wanted::new(&metrics), metrics })
    }

    async fn column(self) -> anyhow::Result<Column> {
        let mut client = Client::connect(self.address).await?;
        let first = self.page(&mut client).await?;
        let begun = Instant::now();
        let users: JoinSet<_> = (0..USERS).map(|user| answered(self.address, user, begun + LOAD)).collect();
        let mut looks = Vec::new();
        while begun.elapsed() < MOMENT {
            looks.push((begun.elapsed(), self.truth(&mut client).await?));
            tokio::time::sleep(LOOK).await;
        }
        let mut cells: Vec<Option<Cell>> = vec![None; METRICS.len()];
        for _ in 0..ATTEMPTS {
            let before = self.truth(&mut client).await?;
            let page = self.page(&mut client).await?;
            let after = self.truth(&mut client).await?;
            looks.push((begun.elapsed(), after.clone()));
            for (at, cell) in cells.iter_mut().enumerate() {
                if !cell.as_ref().is_some_and(Cell::is_right) {
                    *cell = self.gauge(at, &page, (&before, &after), &looks).or(cell.take());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        for user in users.join_all().await {
            user?;
        }
        // The engine has closed the connection that was idle meanwhile.
        let mut client = Client::connect(self.address).await?;
        let (last, truth) = (self.page(&mut client).await?, self.truth(&mut client).await?);
        let cells = cells.into_iter().enumerate();
        let cells = cells.map(|(at, gauge)| match gauge {
            Some(gauge) => Ok(gauge),
            None => self.over_the_run(at, (&first, &last), &truth),
        });
        Ok(Column { kind: self.kind, engine: engine_of(&last), cells: cells.collect::<Result<_, _>>()? })
    }

    async fn page(&self, client: &mut Client) -> anyhow::Result<Page> {
        let body = client.send(Method::GET, self.kind.path(), Bytes::new()).await?;
        let mut readings = Readings::default();
        self.wanted.read(&body, Format::Text, &mut readings)?;
        Ok(Page { at: self.begun.elapsed(), body, readings })
    }

    async fn truth(&self, client: &mut Client) -> anyhow::Result<Truth> {
        Ok(Truth(serde_json::from_slice(&client.send(Method::GET, "/truth", Bytes::new()).await?)?))
    }

    /// The name of the truth that a metric is compared with.
    fn compared_with(&self, at: usize) -> &'static str {
        let (name, truth) = METRICS[at];
        let stand_in = STAND_INS.iter().find(|(kind, metric, _)| *kind == self.kind && *metric == name);
        stand_in.map_or(truth, |(.., truth)| truth)
    }

    fn cell(&self, at: usize, alias: usize, value: f64, truth: (f64, f64), tolerance: f64) -> Cell {
        let derived = self.metrics[at].aliases.get(alias).and_then(|alias| alias.derived.clone());
        Cell::Read { value, truth, tolerance, derived }
    }

    /// What the page says now, if it is a gauge.
    fn gauge(
        &self,
        at: usize,
        page: &Page,
        truths: (&Truth, &Truth),
        looks: &[(Duration, Truth)],
    ) -> Option<Cell> {
        let reading = page.readings[at].as_ref()?;
        let Sample::Gauge(value) = reading.sample else { return None };
        let name = self.compared_with(at);
        if METRICS[at].0.ends_with("_rate") {
            let truth = rates(looks, name)?;
            return Some(self.cell(at, reading.alias, value, truth, TOLERANCE_OF_MEANS));
        }
        let (before, after) = (truths.0.of(name)?, truths.1.of(name)?);
        Some(self.cell(at, reading.alias, value, (before.min(after), before.max(after)), TOLERANCE))
    }

    /// What the two pages say of the time between, which was idle at both ends; why they do not.
    fn over_the_run(&self, at: usize, (first, last): (&Page, &Page), truth: &Truth) -> anyhow::Result<Cell> {
        let metric = &self.metrics[at];
        let (Some(then), Some(now)) = (&first.readings[at], &last.readings[at]) else {
            let lacking = Catalogue::builtin().why_lacking(metric, &engine_of(last));
            let missing = || self.wanted.missing(&last.body, Format::Text, at);
            let why = lacking.or_else(missing).unwrap_or_else(|| "is not on the page at first".to_owned());
            return Ok(Cell::Missing(format!("{}: {why}", metric.name)));
        };
        let known = truth.of(self.compared_with(at));
        let known = known.with_context(|| format!("no truth about {}", metric.name))?;
        let (value, truth) =
            if let (Sample::Histogram(then_seen), Sample::Histogram(seen)) = (&then.sample, &now.sample) {
                let mut window = HistogramWindow::new(WINDOW);
                window.push(first.at, then.alias, then_seen);
                window.push(last.at, now.alias, seen);
                let mut fleet = Histogram::default();
                window.add_to(&mut fleet, last.at);
                (fleet.mean(), known)
            } else {
                let mut meter = Meter::default();
                meter.push(then, first.at);
                let elapsed = last.at.saturating_sub(first.at).as_secs_f64();
                (meter.push(now, last.at), known / elapsed)
            };
        let value = value.with_context(|| format!("{} has no value", metric.name))?;
        Ok(self.cell(at, now.alias, value, (truth, truth), TOLERANCE))
    }
}

fn engine_of(page: &Page) -> String {
    let found = Catalogue::builtin().detect(|_| None, (&page.body, Format::Text));
    found.map_or_else(|| "nothing".to_owned(), |found| found.engine)
}

/// The least and the greatest mean rate over a span that ended within the last span.
fn rates(looks: &[(Duration, Truth)], name: &str) -> Option<(f64, f64)> {
    let now = looks.last()?.0;
    let mut rates = (f64::INFINITY, f64::NEG_INFINITY);
    for (end, after) in looks.iter().filter(|(end, _)| *end + SPAN >= now) {
        let Some((start, before)) = looks.iter().rev().find(|(start, _)| *start + SPAN <= *end) else {
            continue;
        };
        let rate = (after.of(name)? - before.of(name)?) / end.saturating_sub(*start).as_secs_f64();
        rates = (rates.0.min(rate), rates.1.max(rate));
    }
    rates.0.is_finite().then_some(rates)
}

/// A user's requests, one after the other, until it is late.
async fn answered(address: SocketAddr, user: u32, until: Instant) -> anyhow::Result<()> {
    let mut client = Client::connect(address).await?;
    let mut round = 0;
    while Instant::now() < until {
        let body = json!({
            "prompt": "x",
            "windlass_prompt_tokens": 150 + 7 * user % 150,
            "windlass_cached_tokens": user % 64,
            "max_tokens": 30 + (37 * user + 61 * round) % 100,
        });
        client.send(Method::POST, "/v1/completions", body.to_string().into()).await?;
        round += 1;
    }
    Ok(())
}

/// A kept connection.
struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        self.sender.ready().await?;
        let request = Request::builder().method(method).uri(path).header("host", "engine");
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path} is answered with {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
