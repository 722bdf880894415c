//! The books of a load: pure, time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// The greatest latency that is told apart: an hour, in microseconds. What is longer counts as this.
const LONGEST: u64 = 3_600_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// How a request can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No pod was ready; nothing was sent.
    NoReadyPod,
    /// The pod did not take the connection.
    Refused,
    /// A status below 500 other than 200, such as 404 or 429.
    Rejected,
    /// A status of 500 or above, or an error told in the middle of an answer.
    ServerError,
    /// The connection ended before the answer did.
    Cut,
    /// The answer did not end in time.
    TimedOut,
    /// The answer cannot be understood.
    Malformed,
    /// This machine could not open a connection: it has no more files, ports or memory.
    Local,
}

impl Failure {
    /// How it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Failure::NoReadyPod => "no ready pod",
            Failure::Refused => "refused",
            Failure::Rejected => "rejected",
            Failure::ServerError => "server error",
            Failure::Cut => "cut",
            Failure::TimedOut => "timed out",
            Failure::Malformed => "malformed",
            Failure::Local => "local",
        }
    }
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// From the scheduled arrival to the first text; accounted for when it came.
    pub(super) ttft: Duration,
    /// From the scheduled arrival to the end.
    pub(super) e2e: Duration,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
}

impl Answer {
    /// Mean time per output token after the first; `None` for a single token.
    fn tpot(&self) -> Option<Duration> {
        let steps = u32::try_from(self.output_tokens).ok()?.checked_sub(1).filter(|steps| *steps > 0)?;
        Some(self.e2e.saturating_sub(self.ttft) / steps)
    }
}

/// A distribution of times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// The mean.
    pub mean_s: f64,
    /// The median.
    pub p50_s: f64,
    /// Nine of ten are at most this.
    pub p90_s: f64,
    /// 99 of 100 are at most this.
    pub p99_s: f64,
    /// The greatest.
    pub max_s: f64,
}

#[derive(Debug)]
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, LONGEST, DIGITS).map(Self)
    }

    fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
    }

    /// `None` without any.
    fn quantiles(&self) -> Option<Quantiles> {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let at = |quantile| seconds(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Quantiles {
            count: self.0.len(),
            mean_s: self.0.mean() / 1e6,
            p50_s: at(0.5),
            p90_s: at(0.9),
            p99_s: at(0.99),
            max_s: seconds(self.0.max()),
        })
    }
}

/// What is known of a load while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Since the load's start.
    pub elapsed: Duration,
    /// Requests sent so far, or tried to.
    pub sent: u64,
    /// Those of them that are not over.
    pub in_flight: u64,
    /// Whole answers.
    pub done: u64,
    /// Failures by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Time to first token, of the answers that began since the last snapshot.
    pub ttft: Option<Quantiles>,
    /// From arrival to the end, of the whole answers since the last snapshot.
    pub e2e: Option<Quantiles>,
    /// How late requests were sent since the last snapshot.
    pub lateness: Option<Quantiles>,
}

/// What became of a load. Whole answers are timed; what failed is counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// From the load's start to the last thing that happened, in seconds.
    pub seconds: f64,
    /// Requests sent, or tried to.
    pub sent: u64,
    /// Whole answers.
    pub done: u64,
    /// Failures by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Requests sent and neither answered nor failed: still in flight, or abandoned at the end.
    pub unfinished: u64,
    /// Arrivals whose time had come when the load was stopped, and which were not sent.
    pub unsent: u64,
    /// Tokens of the prompts of whole answers, as the engines count them.
    pub prompt_tokens: u64,
    /// Tokens of whole answers, as the engines count them.
    pub output_tokens: u64,
    /// Whole answers per second.
    pub requests_per_s: Option<f64>,
    /// Output tokens of whole answers per second.
    pub output_tokens_per_s: Option<f64>,
    /// Time to first token, also of answers that were not finished.
    pub ttft: Option<Quantiles>,
    /// Mean time per output token after the first, a value per answer.
    pub tpot: Option<Quantiles>,
    /// From arrival to the end of the answer.
    pub e2e: Option<Quantiles>,
    /// How late requests were sent.
    pub lateness: Option<Quantiles>,
}

impl Snapshot {
    /// All failures.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Summary {
    /// All failures.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

#[derive(Debug)]
pub(super) struct Account {
    last: Duration,
    sent: u64,
    done: u64,
    abandoned: u64,
    unsent: u64,
    retries: u64,
    failures: BTreeMap<Failure, u64>,
    prompt_tokens: u64,
    output_tokens: u64,
    tpot: Times,
    whole: Latencies,
    since_snapshot: Latencies,
}

#[derive(Debug)]
struct Latencies {
    ttft: Times,
    e2e: Times,
    lateness: Times,
}

impl Latencies {
    fn new() -> Result<Self, CreationError> {
        Ok(Self { ttft: Times::new()?, e2e: Times::new()?, lateness: Times::new()? })
    }

    fn reset(&mut self) {
        for times in [&mut self.ttft, &mut self.e2e, &mut self.lateness] {
            times.0.reset();
        }
    }
}

impl Account {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            last: Duration::ZERO,
            sent: 0,
            done: 0,
            abandoned: 0,
            unsent: 0,
            retries: 0,
            failures: BTreeMap::new(),
            prompt_tokens: 0,
            output_tokens: 0,
            tpot: Times::new()?,
            whole: Latencies::new()?,
            since_snapshot: Latencies::new()?,
        })
    }

    /// A request is sent, this long after its scheduled arrival.
    pub(super) fn sent(&mut self, now: Duration, lateness: Duration) {
        self.last = self.last.max(now);
        self.sent += 1;
        self.whole.lateness.record(lateness);
        self.since_snapshot.lateness.record(lateness);
    }

    pub(super) fn retried(&mut self) {
        self.retries += 1;
    }

    /// A request's first token has come, this long after its scheduled arrival.
    pub(super) fn begun(&mut self, now: Duration, ttft: Duration) {
        self.last = self.last.max(now);
        self.whole.ttft.record(ttft);
        self.since_snapshot.ttft.record(ttft);
    }

    /// A request is over.
    pub(super) fn over(&mut self, now: Duration, outcome: Result<Answer, Failure>) {
        self.last = self.last.max(now);
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => {
                *self.failures.entry(failure).or_default() += 1;
                return;
            }
        };
        self.done += 1;
        self.prompt_tokens += answer.prompt_tokens;
        self.output_tokens += answer.output_tokens;
        self.whole.e2e.record(answer.e2e);
        self.since_snapshot.e2e.record(answer.e2e);
        if let Some(tpot) = answer.tpot() {
            self.tpot.record(tpot);
        }
    }

    /// A request is given up because the load ends.
    pub(super) fn abandoned(&mut self) {
        self.abandoned += 1;
    }

    /// Arrivals that are not sent because the load ends.
    pub(super) fn unsent(&mut self, arrivals: u64) {
        self.unsent += arrivals;
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(super) fn snapshot(&mut self, now: Duration) -> Snapshot {
        let snapshot = Snapshot {
            elapsed: now,
            sent: self.sent,
            in_flight: self.sent - self.done - self.failed() - self.abandoned,
            done: self.done,
            failures: self.failures.clone(),
            ttft: self.since_snapshot.ttft.quantiles(),
            e2e: self.since_snapshot.e2e.quantiles(),
            lateness: self.since_snapshot.lateness.quantiles(),
        };
        self.since_snapshot.reset();
        snapshot
    }

    pub(super) fn summary(&self) -> Summary {
        let seconds = self.last.as_secs_f64();
        let per_second = |count: u64| (seconds > 0.0).then(|| count as f64 / seconds);
        Summary {
            seconds,
            sent: self.sent,
            done: self.done,
            failures: self.failures.clone(),
            retries: self.retries,
            unfinished: self.sent - self.done - self.failed(),
            unsent: self.unsent,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            requests_per_s: per_second(self.done),
            output_tokens_per_s: per_second(self.output_tokens),
            ttft: self.whole.ttft.quantiles(),
            tpot: self.tpot.quantiles(),
            e2e: self.whole.e2e.quantiles(),
            lateness: self.whole.lateness.quantiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn answer(ttft: u64, e2e: u64, output_tokens: u64) -> Answer {
        Answer { ttft: MS(ttft), e2e: MS(e2e), prompt_tokens: 10, output_tokens }
    }

    /// To the three digits that are kept.
    #[track_caller]
    fn close(seen: f64, expected: f64) {
        assert!((seen - expected).abs() <= expected * 0.001, "{seen} is not {expected}");
    }

    #[test]
    fn quantiles_are_those_of_the_answers() {
        let mut account = Account::new().unwrap();
        for n in 1..=100 {
            account.sent(MS(n), MS(n / 50));
            account.begun(MS(1000), MS(n));
            account.over(MS(2000), Ok(answer(n, 10 * n, 10)));
        }
        account.sent(MS(2000), MS(0));
        account.over(MS(4000), Err(Failure::Cut));
        let summary = account.summary();
        assert_eq!((summary.sent, summary.done, summary.failed(), summary.unfinished), (101, 100, 1, 0));
        let (ttft, tpot, e2e) = (summary.ttft.unwrap(), summary.tpot.unwrap(), summary.e2e.unwrap());
        assert_eq!((ttft.count, e2e.count, tpot.count), (100, 100, 100));
        close(ttft.p50_s, 0.05);
        close(ttft.p90_s, 0.09);
        close(ttft.p99_s, 0.099);
        close(ttft.max_s, 0.1);
        close(ttft.mean_s, 0.0505);
        close(e2e.p99_s, 0.99);
        // (10 n − n) ÷ 9 steps = n milliseconds.
        close(tpot.p50_s, 0.05);
        close(summary.lateness.unwrap().max_s, 0.002);
        assert_eq!((summary.prompt_tokens, summary.output_tokens), (1000, 1000));
        assert_eq!(summary.seconds, 4.0);
        assert_eq!((summary.requests_per_s, summary.output_tokens_per_s), (Some(25.0), Some(250.0)));
    }

    #[test]
    fn a_snapshot_tells_what_is_new() {
        let mut account = Account::new().unwrap();
        let nothing = account.snapshot(MS(0));
        assert_eq!((nothing.sent, nothing.ttft, nothing.lateness), (0, None, None));
        for _ in 0..3 {
            account.sent(MS(0), MS(0));
        }
        account.begun(MS(1), MS(100));
        account.over(MS(1), Ok(answer(100, 200, 5)));
        let first = account.snapshot(MS(1000));
        assert_eq!((first.sent, first.in_flight, first.done), (3, 2, 1));
        close(first.ttft.unwrap().p50_s, 0.1);
        account.begun(MS(2), MS(300));
        account.over(MS(2), Ok(answer(300, 400, 5)));
        account.over(MS(2), Err(Failure::Refused));
        let second = account.snapshot(MS(2000));
        assert_eq!((second.in_flight, second.done, second.failed()), (0, 2, 1));
        close(second.ttft.unwrap().p50_s, 0.3);
        close(second.e2e.unwrap().max_s, 0.4);
        assert_eq!(account.snapshot(MS(3000)).ttft, None);
        assert_eq!(account.summary().ttft.unwrap().count, 2);
    }

    #[test]
    fn nothing_known_is_no_number() {
        let mut account = Account::new().unwrap();
        let summary = account.summary();
        assert_eq!((summary.ttft, summary.requests_per_s), (None, None));
        account.sent(MS(0), MS(0));
        account.sent(MS(0), MS(0));
        account.sent(MS(0), MS(0));
        account.over(MS(10), Ok(answer(5, 5, 1)));
        account.over(MS(10), Ok(answer(5, 5, 0)));
        account.abandoned();
        account.unsent(7);
        let summary = account.summary();
        assert_eq!(summary.tpot, None);
        assert_eq!((summary.unfinished, summary.unsent), (1, 7));
        assert_eq!(account.snapshot(MS(10)).in_flight, 0);
    }

    #[test]
    fn a_time_beyond_the_scale_counts_as_the_longest() {
        let mut times = Times::new().unwrap();
        times.record(Duration::from_hours(5));
        times.record(Duration::ZERO);
        let quantiles = times.quantiles().unwrap();
        close(quantiles.max_s, 3600.0);
        assert_eq!(quantiles.p50_s, 0.0);
    }
}
