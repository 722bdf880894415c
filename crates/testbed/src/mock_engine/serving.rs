//! The engine model in real time: requests go in, tokens come out when the model says so.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use windlass_engine_model::{Engine, Event, Finished, Preset, Refused, Request, Totals};

use super::gauge::Gauge;
use super::page::{Level, Meter, Numbers};
use super::tally::{Histogram, Tallies};
use super::truth::{self, Known, Sums};

/// vLLM's throughput gauges are means over this long.
const THROUGHPUT_SPAN: Duration = Duration::from_secs(5);

/// A simulated engine that serves requests. Made for one server and run by it; it outlives a restart of the engine's process.
#[derive(Debug)]
pub struct Serving {
    preset: Preset,
    epoch: Instant,
    state: Mutex<State>,
    /// The next event may be another one than the driver sleeps for.
    changed: Notify,
    /// A request ended.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    next_id: u64,
    counts: Counts,
    throughput: Throughput,
}

/// Requests under way, and what was counted of them.
#[derive(Debug, Default)]
struct Counts {
    clients: HashMap<u64, Client>,
    tallies: Tallies,
    sums: Sums,
    received: u64,
    prefills: u64,
    /// Answered, by API.
    completions: u64,
    chat_completions: u64,
}

/// Who waits for a request.
#[derive(Debug)]
struct Client {
    api: Api,
    arrived: Duration,
    /// The most tokens that it may come to.
    budget: u64,
    running: bool,
    news: mpsc::UnboundedSender<News>,
}

/// Which of the two APIs a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Completions,
    Chat,
}

/// What a client is told of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    FirstToken,
    Finished,
}

/// Mean token rates over the last full span.
#[derive(Debug, Default)]
struct Throughput {
    since: Duration,
    at_since: (u64, u64),
    prompt: f64,
    generation: f64,
    /// The last generation throughput that was not 0.
    kept: f64,
}

impl Throughput {
    fn advance(&mut self, now: Duration, totals: &Totals) {
        let passed = now.saturating_sub(self.since);
        if passed < THROUGHPUT_SPAN {
            return;
        }
        let seconds = passed.as_secs_f64();
        self.prompt = (totals.prompt_tokens - self.at_since.0) as f64 / seconds;
        self.generation = (totals.generation_tokens - self.at_since.1) as f64 / seconds;
        if self.generation > 0.0 {
            self.kept = self.generation;
        }
        (self.since, self.at_since) = (now, (totals.prompt_tokens, totals.generation_tokens));
    }
}

impl Serving {
    /// An idle engine that serves as this preset does.
    pub fn new(preset: Preset) -> Arc<Self> {
        let state = State {
            engine: preset.engine(),
            next_id: 0,
            counts: Counts::default(),
            throughput: Throughput::default(),
        };
        Arc::new(Self {
            preset,
            epoch: Instant::now(),
            state: Mutex::new(state),
            changed: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// A process of the engine begins: idle, with nothing counted yet. Requests of the one before, if there was one, are gone.
    pub(super) fn begin(&self, tallies: Tallies) {
        self.with_state(|state| {
            state.engine = self.preset.engine();
            state.counts = Counts { tallies, ..Counts::default() };
            state.throughput = Throughput { since: self.epoch.elapsed(), ..Throughput::default() };
        });
        self.changed.notify_one();
        self.ended.notify_waiters();
    }

    pub(super) fn model(&self) -> &'static str {
        self.preset.model()
    }

    /// Tokens the KV cache has room for.
    pub(super) fn capacity(&self) -> u64 {
        self.with_state(|state| state.engine.limits().kv_capacity_tokens)
    }

    /// Moves the model along with the clock, for ever.
    pub(super) async fn run(&self) -> Infallible {
        loop {
            let next = self.with_state(|state| state.engine.next_event());
            let sleep = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.epoch + next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Completes when no request is here and none came for as long as `quiet`: the last answers are on their way, and
    /// routers have stopped sending.
    pub(crate) async fn idle(&self, quiet: Duration) {
        let state = || self.with_state(|state| (state.next_id, state.counts.clients.is_empty()));
        loop {
            let ended = self.ended.notified();
            let (arrivals, empty) = state();
            if empty {
                tokio::time::sleep(quiet).await;
                if state() == (arrivals, true) {
                    return;
                }
            } else {
                ended.await;
            }
        }
    }

    /// How many requests are running now.
    pub(crate) fn running(&self) -> f64 {
        self.with_state(|state| f64::from(state.engine.running()))
    }

    /// The state, moved to now.
    fn with_state<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        let now = self.epoch.elapsed();
        let mut state = self.state.lock();
        if state.advance(now) {
            self.ended.notify_waiters();
        }
        of(&mut state)
    }

    /// Takes a request, of whose prompt so much is taken from the prefix cache. Its progress is with the ticket; dropping that aborts it.
    pub(super) fn submit(
        self: &Arc<Self>,
        api: Api,
        (prompt_tokens, cached_tokens): (u32, u32),
        output_tokens: u32,
    ) -> Result<Ticket, Refused> {
        let (sender, news) = mpsc::unbounded_channel();
        let now = self.epoch.elapsed();
        let id = self.with_state(|state| {
            let id = state.next_id;
            state.engine.submit(now, Request { id, prompt_tokens, output_tokens, cached_tokens })?;
            state.next_id += 1;
            state.counts.received += 1;
            let budget = u64::from(prompt_tokens) + u64::from(output_tokens);
            let client = Client { api, arrived: now, budget, running: false, news: sender };
            state.counts.clients.insert(id, client);
            let tallies = &mut state.counts.tallies;
            tallies.observe(Histogram::ParameterN, 1.0, 1);
            tallies.observe(Histogram::ParameterMaxTokens, f64::from(output_tokens), 1);
            Ok(id)
        })?;
        self.changed.notify_one();
        Ok(Ticket { serving: Arc::clone(self), id, news, output_tokens, finished: false })
    }

    /// The numbers of the page, as of now.
    pub(super) fn with_numbers<T>(&self, of: impl FnOnce(Numbers<'_>) -> T) -> T {
        self.with_state(|state| {
            let engine = &state.engine;
            let gauges = Gauge::ALL.map(|gauge| match gauge {
                Gauge::Running => f64::from(engine.running()),
                Gauge::Waiting => f64::from(engine.waiting()),
                Gauge::Swapped | Gauge::CpuCache => 0.0,
                Gauge::GpuCache | Gauge::KvCache => engine.kv_util(),
                Gauge::PromptThroughput => state.throughput.prompt,
                Gauge::GenerationThroughput => state.throughput.generation,
            });
            let (levels, meters) = (state.levels(), state.meters());
            of(Numbers { gauges, levels, meters, tallies: Some(&state.counts.tallies) })
        })
    }

    /// What the model itself knows, as of now.
    pub(super) fn truth(&self) -> Vec<Known> {
        self.with_state(|state| {
            let (engine, totals) = (&state.engine, state.engine.totals());
            let (running, waiting) = (f64::from(engine.running()), f64::from(engine.waiting()));
            let mut known: Vec<Known> = vec![
                ("running", "requests", Some(running)),
                ("waiting", "requests", Some(waiting)),
                ("inflight", "requests", Some(running + waiting)),
                ("kv_util", "ratio", Some(engine.kv_util())),
                ("kv_tokens", "tokens", Some(engine.kv_tokens() as f64)),
                ("kv_capacity_tokens", "tokens", Some(engine.limits().kv_capacity_tokens as f64)),
                ("batch_tokens", "tokens", Some(state.counts.batch_tokens())),
            ];
            for (name, unit, count) in [
                ("prompt_tokens", "tokens", totals.prompt_tokens),
                ("generation_tokens", "tokens", totals.generation_tokens),
                ("cached_tokens", "tokens", totals.cached_tokens),
                ("requests", "requests", totals.requests_finished),
                ("preemptions", "requests", totals.preemptions),
            ] {
                known.push((name, unit, Some(count as f64)));
            }
            known.extend(state.counts.sums.means());
            known
        })
    }
}

impl State {
    /// Whether a request ended.
    fn advance(&mut self, now: Duration) -> bool {
        let Self { engine, counts, throughput, .. } = self;
        let before = counts.clients.len();
        engine.advance(now, &mut |event| counts.observe(&event));
        throughput.advance(now, &engine.totals());
        counts.clients.len() < before
    }

    fn levels(&self) -> [f64; Level::COUNT] {
        let (engine, totals) = (&self.engine, self.engine.totals());
        let capacity = engine.limits().kv_capacity_tokens;
        let mut levels = [0.0; Level::COUNT];
        for (level, value) in [
            (Level::KvUtil, engine.kv_util()),
            (Level::KvTokens, engine.kv_tokens() as f64),
            (Level::KvFree, capacity.saturating_sub(engine.kv_tokens()) as f64),
            (Level::BatchTokens, self.counts.batch_tokens()),
            (Level::HitRate, totals.cached_tokens as f64 / totals.prompt_tokens.max(1) as f64),
            (Level::KeptThroughput, self.throughput.kept),
        ] {
            levels[level as usize] = value;
        }
        levels
    }

    fn meters(&self) -> [f64; Meter::COUNT] {
        let totals = self.engine.totals();
        let mut meters = [0.0; Meter::COUNT];
        for (meter, count) in [
            (Meter::PromptTokens, totals.prompt_tokens),
            (Meter::CachedTokens, totals.cached_tokens),
            (Meter::ComputedTokens, totals.prompt_tokens - totals.cached_tokens),
            (Meter::GenerationTokens, totals.generation_tokens),
            (Meter::Received, self.counts.received),
            (Meter::Requests, totals.requests_finished + totals.requests_aborted),
            (Meter::Finished, totals.requests_finished),
            (Meter::LengthReached, totals.requests_finished),
            (Meter::Aborted, totals.requests_aborted),
            (Meter::Preemptions, totals.preemptions),
            (Meter::Steps, totals.steps),
            (Meter::Prefills, self.counts.prefills),
            (Meter::Completions, self.counts.completions),
            (Meter::ChatCompletions, self.counts.chat_completions),
        ] {
            meters[meter as usize] = count as f64;
        }
        meters
    }
}

impl Counts {
    /// The most tokens that the running requests may come to.
    fn batch_tokens(&self) -> f64 {
        let running = self.clients.values().filter(|client| client.running);
        running.map(|client| client.budget).sum::<u64>() as f64
    }

    fn set_running(&mut self, id: u64, running: bool) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.running = running;
        }
    }

    /// Tells clients, and counts what engines count.
    fn observe(&mut self, event: &Event) {
        // A client that went away is told in vain.
        match event {
            Event::FirstToken { id, at } => {
                self.prefills += 1;
                if let Some(client) = self.clients.get(id) {
                    let _ = client.news.send(News::FirstToken);
                    let waited = at.saturating_sub(client.arrived).as_secs_f64();
                    self.tallies.observe(Histogram::TimeToFirstToken, waited, 1);
                }
            }
            Event::Finished(record) => self.finished(record),
            Event::Steps(steps) => {
                let times = u64::from(steps.count);
                let per_step = f64::from(steps.tokens_per_step());
                self.tallies.observe(Histogram::IterationTokens, per_step, times);
                let tokens = times * u64::from(steps.decode_tokens);
                let step = steps.step().as_secs_f64();
                self.tallies.observe(Histogram::StepTime, step, times);
                self.tallies.observe(Histogram::InterTokenLatency, step, tokens);
            }
            Event::Resumed { gap, .. } => {
                self.tallies.observe(Histogram::InterTokenLatency, gap.as_secs_f64(), 1);
            }
            Event::Admitted { id, .. } => self.set_running(*id, true),
            Event::Preempted { id, .. } => self.set_running(*id, false),
        }
    }

    fn finished(&mut self, record: &Finished) {
        let Some(client) = self.clients.remove(&record.id) else { return };
        let _ = client.news.send(News::Finished);
        self.sums.add(record);
        let end_to_end = record.end_to_end();
        let (count, histogram) = match client.api {
            Api::Completions => (&mut self.completions, Histogram::HttpCompletions),
            Api::Chat => (&mut self.chat_completions, Histogram::HttpChatCompletions),
        };
        *count += 1;
        let spans = [
            (histogram, end_to_end),
            (Histogram::Http, end_to_end),
            (Histogram::EndToEnd, end_to_end),
            (Histogram::QueueTime, record.queue_time()),
            (Histogram::InferenceTime, record.inference_time()),
            (Histogram::PrefillTime, record.prefill_time()),
            (Histogram::DecodeTime, record.decode_time()),
        ];
        for (histogram, span) in spans {
            self.tallies.observe(histogram, span.as_secs_f64(), 1);
        }
        if let Some(tpot) = record.tpot() {
            self.tallies.observe(Histogram::TimePerOutputToken, tpot.as_secs_f64(), 1);
        }
        self.tallies.observe(Histogram::TimePerToken, truth::time_per_token(record), 1);
        let lengths = [
            (Histogram::PromptTokens, record.prompt_tokens),
            (Histogram::ComputedTokens, record.prompt_tokens - record.cached_tokens),
            (Histogram::GenerationTokens, record.output_tokens),
            (Histogram::MaxGenerationTokens, record.output_tokens),
        ];
        for (histogram, tokens) in lengths {
            self.tallies.observe(histogram, f64::from(tokens), 1);
        }
    }
}

/// A request under way. Dropping it before its end aborts the request, as vLLM does when a client goes away.
pub(super) struct Ticket {
    serving: Arc<Serving>,
    id: u64,
    news: mpsc::UnboundedReceiver<News>,
    output_tokens: u32,
    finished: bool,
}

impl Ticket {
    /// Waits for the first token, then for the end, but not longer than `tick`. Tokens generated so far, and whether
    /// these are all.
    pub(super) async fn progress(&mut self, tick: Duration) -> (u32, bool) {
        let generated = self.serving.with_state(|state| state.engine.generated(self.id)).unwrap_or(0);
        let news = if generated == 0 {
            self.news.recv().await
        } else {
            tokio::time::timeout(tick, self.last_news()).await.unwrap_or(Some(News::FirstToken))
        };
        if news == Some(News::FirstToken) {
            let generated = self.serving.with_state(|state| state.engine.generated(self.id));
            return (generated.unwrap_or(self.output_tokens).max(1), false);
        }
        self.finished = true;
        (self.output_tokens, true)
    }

    /// Waits for the end. Tokens generated.
    pub(super) async fn finished(&mut self) -> u32 {
        self.last_news().await;
        self.finished = true;
        self.output_tokens
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    async fn last_news(&mut self) -> Option<News> {
        loop {
            match self.news.recv().await {
                Some(News::FirstToken) => {}
                last => return last,
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let now = self.serving.epoch.elapsed();
        self.serving.with_state(|state| {
            state.engine.abort(now, self.id);
            state.counts.clients.remove(&self.id);
        });
        self.serving.changed.notify_one();
        self.serving.ended.notify_waiters();
    }
}
