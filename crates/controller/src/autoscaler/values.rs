//! What pages tell of signals, and of the requests under way beside them.

use windlass_metrics::{Histogram, Metric};
use windlass_scaling::{Instant, MAX_SIGNALS, PodUid, Readings, inflight_beside};
use windlass_scrape::{Observed, Value};

use crate::clock::Clock;

/// A signal, its metric on a page, and what is read beside it.
pub(super) type OnPage<'a> = (u8, &'a Metric, Option<&'a Metric>);

/// What is read from a page for these signals, theirs first, and under which numbers its values are kept, in their order.
pub(super) fn on_page(signals: &[OnPage<'_>]) -> (Vec<Metric>, Vec<u8>) {
    let mut metrics: Vec<Metric> = signals.iter().map(|(_, metric, _)| (*metric).clone()).collect();
    let (kept, others): (Vec<u8>, Vec<Metric>) = signals
        .iter()
        .filter_map(|(signal, _, beside)| Some((inflight_beside(*signal), (*beside)?.clone())))
        .unzip();
    let numbers = signals.iter().map(|(signal, ..)| *signal).chain(kept).collect();
    metrics.extend(others);
    (metrics, numbers)
}

/// Keeps what a page that was asked for at `taken` told, of a pod or (`None`) of the fleet, in the order of `numbers`.
/// Whether a signal has a new reading.
pub(super) fn keep(
    readings: &mut Readings,
    pod: Option<PodUid>,
    numbers: &[u8],
    values: Vec<Option<Value>>,
    taken: Instant,
    clock: &Clock,
) -> bool {
    let mut any = false;
    for (&signal, value) in numbers.iter().zip(values) {
        let Some(Value { observed, since }) = value else { continue };
        let since = clock.at(since);
        let kept = match (observed, pod) {
            (Observed::Number(value), Some(uid)) => readings.record_over(uid, signal, value, since, taken),
            (Observed::Number(value), None) => readings.record_fleet(signal, value, since, taken),
            (Observed::Events(observed), _) => readings.record_events(pod, signal, observed, since, taken),
            (Observed::NoEvents, _) => {
                readings.record_events(pod, signal, Histogram::default(), since, taken)
            }
        };
        any |= kept && usize::from(signal) < MAX_SIGNALS;
    }
    any
}

#[cfg(test)]
mod tests {
    use windlass_metrics::Catalogue;

    use super::*;

    #[test]
    fn what_is_read_beside_signals_comes_behind_them() {
        let metric = |name| Catalogue::builtin().resolve(name).unwrap();
        let (ttft, inflight, e2e) = (metric("ttft"), metric("inflight"), metric("e2e"));
        let signals = [(0, &ttft, Some(&inflight)), (2, &inflight, None), (3, &e2e, Some(&inflight))];
        let (metrics, numbers) = on_page(&signals);
        assert_eq!(numbers, [0, 2, 3, inflight_beside(0), inflight_beside(3)]);
        let names: Vec<&str> = metrics.iter().map(|metric| &*metric.name).collect();
        assert_eq!(names, ["ttft", "inflight", "e2e", "inflight", "inflight"]);
    }

    #[test]
    fn only_signals_bring_readings() {
        let (clock, now) = (Clock::start(), tokio::time::Instant::now());
        let check = |observed: Option<Observed>, inflight: f64, expected: bool, events: Option<f64>| {
            let value = |observed| Some(Value { observed, since: now });
            let values = vec![observed.and_then(value), value(Observed::Number(inflight))];
            let mut readings = Readings::default();
            let numbers = [0, inflight_beside(0)];
            let pod = PodUid(1);
            let any = keep(&mut readings, Some(pod), &numbers, values, clock.at(now), &clock);
            assert_eq!((any, readings.histogram(Some(pod), 0).map(Histogram::count)), (expected, events));
            assert_eq!(readings.get(pod, inflight_beside(0)).map(|reading| reading.value), Some(inflight));
        };
        let observed = Histogram::new([(1.0, 2.0), (f64::INFINITY, 3.0)], None).unwrap();
        check(Some(Observed::Events(observed)), 4.0, true, Some(3.0));
        check(Some(Observed::NoEvents), 0.0, true, Some(0.0));
        check(Some(Observed::Number(0.3)), 0.0, true, None);
        check(None, 4.0, false, None);
    }
}
