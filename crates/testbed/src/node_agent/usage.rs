//! How much CPU and memory each pod is said to use. All of it is simulated: nothing here measures this machine.
//!
//! | pod | CPU | memory |
//! |---|---|---|
//! | web server, load generator | the stated cost of the work that was done | a stated constant |
//! | mock engine | [`ENGINE_IDLE`] cores, and [`ENGINE_REQUEST`] for each running request | [`ENGINE_BYTES`] |
//! | others | none | [`IDLE_BYTES`] |
//!
//! The annotations `cpu` and `memory` outrank these. A container's usage is at most its CPU limit.
//!
//! Usage is reported as metrics-server does: as the mean over a window, and not at all for a pod that is younger than one.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::annotations::Amount;
use super::objects::Uid;
use super::registry::Orders;
use crate::mock_engine::Serving;
use crate::processor::Processor;

/// What usage follows from besides counted work is looked at so often.
const TICK: Duration = Duration::from_secs(1);
/// A sample of the running total is kept every so many ticks ...
const TICKS_PER_SAMPLE: u32 = 5;
/// ... and the mean is taken over so many of these spans: the window is 10 s, moved on every 5 s.
const SAMPLES: usize = 2;

/// Cores that an engine's front end uses without load.
const ENGINE_IDLE: f64 = 0.1;
/// Cores for each running request: tokenising, sampling, streaming.
const ENGINE_REQUEST: f64 = 0.01;
/// Memory of an engine's host process: 4 GiB.
const ENGINE_BYTES: f64 = 4_294_967_296.0;
/// Memory of what does nothing, and of a container beside the one that is played: 1 MiB.
pub(super) const IDLE_BYTES: f64 = 1_048_576.0;

/// What a pod's usage follows from.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Work whose cost is counted on a simulated processor, and how many bytes the program holds.
    Counted(Arc<Processor>, f64),
    /// A mock engine that serves requests, or one whose load is scripted.
    Engine(Option<Arc<Serving>>),
    /// Nothing.
    Idle,
}

/// The mean usage of one pod over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// In cores.
    pub(super) cpu: f64,
    /// In bytes, at the end of the window.
    pub(super) memory: f64,
    pub(super) window: Duration,
    /// The end of the window.
    pub(super) at: SystemTime,
}

/// The running pods' accounts, shared by all.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageBook {
    accounts: Arc<Mutex<HashMap<Uid, Account>>>,
}

/// Ends a pod's account when it is dropped.
#[derive(Debug)]
pub(super) struct OpenAccount {
    book: UsageBook,
    uid: Uid,
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.book.accounts.lock().remove(&self.uid);
    }
}

impl UsageBook {
    /// Begins to account for a pod whose containers have just started. `limit` is in cores.
    pub(super) fn open(
        &self,
        uid: &Uid,
        work: Work,
        limit: Option<f64>,
        orders: watch::Receiver<Orders>,
    ) -> OpenAccount {
        let account = Account::new(work, limit, orders, Instant::now());
        self.accounts.lock().insert(uid.clone(), account);
        OpenAccount { book: self.clone(), uid: uid.clone() }
    }

    /// What a pod used; `None` if it does not run, or not for a window yet.
    pub(super) fn reading(&self, uid: &Uid) -> Option<Reading> {
        self.accounts.lock().get(uid)?.reading()
    }

    /// Lets so many seconds pass for one account.
    #[cfg(test)]
    pub(super) fn pass(&self, uid: &Uid, start: Instant, seconds: u64) {
        let mut accounts = self.accounts.lock();
        let account = accounts.get_mut(uid).unwrap();
        account.at = start;
        for second in 1..=seconds {
            let now = start + Duration::from_secs(second);
            account.advance(now);
            if second % u64::from(TICKS_PER_SAMPLE) == 0 {
                account.sample(now, SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            }
        }
    }

    /// Moves all accounts along with the clock, for ever.
    pub(super) async fn run(&self) -> Infallible {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_sample = TICKS_PER_SAMPLE;
        loop {
            let now = ticks.tick().await;
            until_sample -= 1;
            let sample = (until_sample == 0).then(SystemTime::now);
            let mut accounts = self.accounts.lock();
            for account in accounts.values_mut() {
                account.advance(now);
                if let Some(wall) = sample {
                    account.sample(now, wall);
                }
            }
            if sample.is_some() {
                until_sample = TICKS_PER_SAMPLE;
            }
        }
    }
}

/// The running total of one pod.
#[derive(Debug)]
struct Account {
    work: Work,
    limit: Option<f64>,
    orders: watch::Receiver<Orders>,
    /// Until when it is accounted for.
    at: Instant,
    /// What the processor had counted then.
    counted: Duration,
    /// Core-seconds.
    used: f64,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    wall: SystemTime,
    used: f64,
    memory: f64,
}

impl Account {
    fn new(work: Work, limit: Option<f64>, orders: watch::Receiver<Orders>, now: Instant) -> Self {
        Self { work, limit, orders, at: now, counted: Duration::ZERO, used: 0.0, samples: VecDeque::new() }
    }

    /// Adds what was used since the last call.
    fn advance(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let part = self.orders.borrow().part;
        let used = match &self.work {
            Work::Counted(processor, _) => {
                let counted = processor.used(now);
                let since = counted.saturating_sub(self.counted);
                self.counted = counted;
                since.as_secs_f64()
            }
            Work::Engine(Some(serving)) => engine_cores(serving.running()) * seconds,
            Work::Engine(None) => engine_cores(part.map_or(0.0, |(_, script)| script.running())) * seconds,
            Work::Idle => 0.0,
        };
        let scripted = part.and_then(|(settings, _)| settings.cpu).map(|cpu| cpu.value() * seconds);
        self.used += scripted.unwrap_or(used).min(self.limit.unwrap_or(f64::INFINITY) * seconds);
        self.at = now;
    }

    fn sample(&mut self, at: Instant, wall: SystemTime) {
        let scripted = self.orders.borrow().part.and_then(|(settings, _)| settings.memory);
        let memory = scripted.map_or(self.work.memory(), Amount::value);
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, wall, used: self.used, memory });
    }

    fn reading(&self) -> Option<Reading> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let window = last.at.saturating_duration_since(first.at);
        (self.samples.len() > SAMPLES && !window.is_zero()).then(|| Reading {
            cpu: (last.used - first.used) / window.as_secs_f64(),
            memory: last.memory,
            window,
            at: last.wall,
        })
    }
}

impl Work {
    fn memory(&self) -> f64 {
        match self {
            Self::Counted(_, bytes) => *bytes,
            Self::Engine(_) => ENGINE_BYTES,
            Self::Idle => IDLE_BYTES,
        }
    }
}

fn engine_cores(running: f64) -> f64 {
    let running = if running.is_finite() { running.max(0.0) } else { 0.0 };
    ENGINE_IDLE + ENGINE_REQUEST * running
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mock_engine::Script;
    use crate::node_agent::annotations::{Annotations, PREFIX};

    /// Orders with these annotations, and a script of so many running requests.
    fn orders(annotations: &[(&str, &str)], running: f64) -> watch::Receiver<Orders> {
        let map: BTreeMap<_, _> =
            annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect();
        let settings = Annotations::parse(Some(&map)).0.or(Annotations::default());
        let gauges = "num_requests_running".parse().unwrap();
        let script = Script { share: running, gauges, ..Script::default() };
        watch::channel(Orders { part: Some((settings, script)), deleting: None }).1
    }

    /// Runs an account through `seconds` and gives its reading: cores and bytes.
    fn run(
        work: Work,
        limit: Option<f64>,
        orders: watch::Receiver<Orders>,
        seconds: u64,
        mut each: impl FnMut(Instant),
    ) -> Option<(f64, f64)> {
        let start = Instant::now();
        let mut account = Account::new(work, limit, orders, start);
        for second in 1..=seconds {
            let now = start + Duration::from_secs(second);
            each(now - TICK);
            account.advance(now);
            if second % 5 == 0 {
                account.sample(now, SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            }
        }
        let reading = account.reading()?;
        assert_eq!(reading.window, Duration::from_secs(10));
        Some(((reading.cpu * 1e6).round() / 1e6, reading.memory))
    }

    #[test]
    fn nothing_is_said_of_a_pod_younger_than_a_window() {
        for (seconds, expected) in [(0, None), (5, None), (14, None), (15, Some((0.0, IDLE_BYTES)))] {
            assert_eq!(run(Work::Idle, None, orders(&[], 0.0), seconds, |_| {}), expected, "{seconds} s");
        }
    }

    #[test]
    fn work_is_averaged_over_the_window() {
        let processor = Arc::new(Processor::new(Some(0.5)));
        let work = Work::Counted(processor.clone(), 8.0);
        // 100 ms of work in each second, but for the first 15: those are out of the window at 25 s.
        let (begun, mut count) = (Instant::now(), 0);
        let used = run(work, Some(0.5), orders(&[], 0.0), 25, |now| {
            if now >= begun + Duration::from_secs(15) {
                processor.take(Duration::from_millis(100), now);
                count += 1;
            }
        });
        assert_eq!((used, count), (Some((0.1, 8.0)), 10));
    }

    #[track_caller]
    fn check(annotations: &[(&str, &str)], running: f64, limit: Option<f64>, expected: (f64, f64)) {
        let used = run(Work::Engine(None), limit, orders(annotations, running), 20, |_| {});
        assert_eq!(used, Some(expected), "{annotations:?} {running} {limit:?}");
    }

    #[test]
    fn engines_use_what_is_stated_or_scripted() {
        check(&[], 0.0, None, (0.1, ENGINE_BYTES));
        check(&[], 40.0, None, (0.5, ENGINE_BYTES));
        check(&[], 40.0, Some(0.2), (0.2, ENGINE_BYTES));
        check(&[], f64::NAN, None, (0.1, ENGINE_BYTES));
        check(&[("cpu", "300m")], 40.0, None, (0.3, ENGINE_BYTES));
        check(&[("cpu", "3"), ("memory", "1Ki")], 40.0, Some(2.0), (2.0, 1024.0));
    }
}
