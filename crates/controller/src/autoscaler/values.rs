//! What pages tell of signals, and of the requests under way beside them.

use windlass_metrics::{Histogram, Metric, Wanted};
use windlass_scaling::{Instant, MAX_SIGNALS, PodUid, Readings, inflight_beside};
use windlass_scrape::{Observed, Value};

use crate::clock::Clock;

/// A signal, its metric on a page, and what is read beside it.
pub(super) type OnPage<'a> = (u8, &'a Metric, Option<&'a Metric>);

/// What is wanted of a page for these signals, and under which numbers its values are kept, in their order.
pub(super) fn wanted(signals: &[OnPage<'_>]) -> (Wanted, Vec<u8>) {
    let metrics: Vec<Metric> = signals.iter().map(|(_, metric, _)| (*metric).clone()).collect();
    let (kept, others): (Vec<u8>, Vec<Metric>) = signals
        .iter()
        .filter_map(|(signal, _, beside)| Some((inflight_beside(*signal), (*beside)?.clone())))
        .unzip();
    let numbers = signals.iter().map(|(signal, ..)| *signal).chain(kept).collect();
    (Wanted::with_others(&metrics, &others), numbers)
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
