//! A load in words.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::account::{Failure, Quantiles, Snapshot, Summary};

/// Below this a generator is on time: its timer is no finer than a millisecond.
const LATE_S: f64 = 0.01;

/// A time with about three digits.
struct Time(f64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 0.9995 => write!(f, "{:.0} ms", seconds * 1000.0),
            seconds if seconds < 100.0 => write!(f, "{seconds:.2} s"),
            seconds => write!(f, "{seconds:.0} s"),
        }
    }
}

/// A time per token, which is short.
struct ShortTime(f64);

impl Display for ShortTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0 * 1000.0)
    }
}

/// ` (refused 3, cut 1)`, or nothing.
struct Kinds<'a>(&'a BTreeMap<Failure, u64>);

impl Display for Kinds<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (failure, count)) in self.0.iter().enumerate() {
            write!(f, "{}{} {count}", if index == 0 { " (" } else { ", " }, failure.name())?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// One line.
impl Display for Snapshot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "{seconds:6.0} s  sent {}  in flight {}  done {}", self.sent, self.in_flight, self.done)?;
        write!(f, "  failed {}{}", self.failed(), Kinds(&self.failures))?;
        if let Some(ttft) = &self.ttft {
            write!(f, "  ttft p50 {} p99 {}", Time(ttft.p50_s), Time(ttft.p99_s))?;
        }
        if let Some(e2e) = &self.e2e {
            write!(f, "  e2e p50 {}", Time(e2e.p50_s))?;
        }
        match &self.lateness {
            Some(late) if late.max_s > LATE_S => write!(f, "  sent late by up to {}", Time(late.max_s)),
            _ => Ok(()),
        }
    }
}

/// Several lines, without the end of the last.
impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "requests  {} sent in {}, ", self.sent, Time(self.seconds))?;
        write!(f, "{} done, {} failed{}", self.done, self.failed(), Kinds(&self.failures))?;
        for (count, what) in
            [(self.retries, "retries"), (self.unfinished, "unfinished"), (self.unsent, "not sent")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if let (Some(requests), Some(tokens)) = (self.requests_per_s, self.output_tokens_per_s) {
            write!(f, "\nrate      {requests:.2} requests/s, {tokens:.0} output tokens/s")?;
            write!(f, " ({} prompt, {} output tokens)", self.prompt_tokens, self.output_tokens)?;
        }
        row(f, "ttft", self.ttft.as_ref(), Time)?;
        row(f, "tpot", self.tpot.as_ref(), ShortTime)?;
        row(f, "e2e", self.e2e.as_ref(), Time)?;
        row(f, "lateness", self.lateness.as_ref(), Time)
    }
}

fn row<T: Display>(
    f: &mut Formatter<'_>,
    name: &str,
    quantiles: Option<&Quantiles>,
    time: fn(f64) -> T,
) -> fmt::Result {
    let Some(Quantiles { p50_s, p90_s, p99_s, max_s, .. }) = quantiles else {
        return write!(f, "\n{name:<9} -");
    };
    let [p50, p90, p99, max] = [p50_s, p90_s, p99_s, max_s].map(|seconds| time(*seconds));
    write!(f, "\n{name:<9} p50 {p50}  p90 {p90}  p99 {p99}  max {max}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quantiles(unit: f64) -> Quantiles {
        let [mean_s, p50_s, p90_s, p99_s, max_s] = [2.0, 1.0, 3.0, 10.0, 150.0].map(|factor| factor * unit);
        Quantiles { count: 7, mean_s, p50_s, p90_s, p99_s, max_s }
    }

    #[test]
    fn a_snapshot_is_a_line() {
        let mut snapshot = Snapshot {
            elapsed: Duration::from_secs(12),
            sent: 240,
            in_flight: 31,
            done: 205,
            failures: BTreeMap::from([(Failure::Cut, 1), (Failure::Refused, 3)]),
            ttft: Some(quantiles(0.21)),
            e2e: Some(quantiles(4.2)),
            lateness: Some(quantiles(0.000_05)),
        };
        let line = "    12 s  sent 240  in flight 31  done 205  failed 4 (refused 3, cut 1)  \
                    ttft p50 210 ms p99 2.10 s  e2e p50 4.20 s";
        assert_eq!(snapshot.to_string(), line);
        snapshot.lateness = Some(quantiles(0.001));
        assert_eq!(snapshot.to_string(), format!("{line}  sent late by up to 150 ms"));
        let nothing =
            Snapshot { failures: BTreeMap::new(), ttft: None, e2e: None, lateness: None, ..snapshot };
        assert_eq!(nothing.to_string(), "    12 s  sent 240  in flight 31  done 205  failed 0");
    }

    #[test]
    fn a_summary_is_a_table() {
        let summary = Summary {
            seconds: 60.0,
            sent: 10,
            done: 7,
            failures: BTreeMap::from([(Failure::NoReadyPod, 2)]),
            retries: 4,
            unfinished: 1,
            unsent: 3,
            prompt_tokens: 700,
            output_tokens: 1400,
            requests_per_s: Some(7.0 / 60.0),
            output_tokens_per_s: Some(1400.0 / 60.0),
            ttft: Some(quantiles(0.1)),
            tpot: Some(quantiles(0.0123)),
            e2e: Some(quantiles(1.0)),
            lateness: None,
        };
        let expected = "\
requests  10 sent in 60.00 s, 7 done, 2 failed (no ready pod 2), 4 retries, 1 unfinished, 3 not sent
rate      0.12 requests/s, 23 output tokens/s (700 prompt, 1400 output tokens)
ttft      p50 100 ms  p90 300 ms  p99 1.00 s  max 15.00 s
tpot      p50 12.3 ms  p90 36.9 ms  p99 123.0 ms  max 1845.0 ms
e2e       p50 1.00 s  p90 3.00 s  p99 10.00 s  max 150 s
lateness  -";
        assert_eq!(summary.to_string(), expected);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["failures"], serde_json::json!({"no_ready_pod": 2}));
        assert_eq!(json["ttft"]["p99_s"], 1.0);
        assert_eq!(json["lateness"], serde_json::Value::Null);
    }
}
