//! Signals whose values need events, such as latencies: what pods observed, merged before a quantile or a mean is taken of
//! it, and what it means that nothing happened.
//!
//! Of nothing there is no quantile, and that is not 0. If requests are under way and none finished, nothing is known. If
//! none is under way either, nothing is needed: the signal is *idle*.

use windlass_metrics::Merged;

use crate::observe::Tally;
use crate::{
    Facts, Instant, PodState, PodUid, Readings, Scope, SignalPolicy, Statistic, Told, inflight_beside,
};

/// Where histograms are merged: a buffer and no memory, so that one is as good as another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Merging(Merged);

impl PartialEq for Merging {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Tally {
    /// Adds what the pods that tell of events make together: each of them carries the fleet's value. Pods of which nothing
    /// but a number is known (another engine's own quantile, the ratio of two counters) are one value each beside them.
    ///
    /// Where nothing happened on any of them, either all is idle, or the fleet counts as not heard.
    pub(crate) fn settle(
        &mut self,
        signal: &SignalPolicy,
        facts: &Facts,
        readings: (&Readings, u8),
        Merging(merged): &mut Merging,
        now: Instant,
    ) {
        if self.of_events == 0 {
            return;
        }
        merged.clear();
        let mut nothing_asked = true;
        for pod in heard(signal, facts, readings, now) {
            let (readings, index) = readings;
            match readings.histogram(pod, index).filter(|observed| observed.count() > 0.0) {
                Some(observed) => merged.add(observed),
                None => nothing_asked &= asks_for_nothing(readings, pod, index),
            }
        }
        let numbers = self.fresh - self.of_events;
        let value = if merged.count() > 0.0 {
            let value = merged.statistic(signal.statistic.unwrap_or(Statistic::Mean));
            value.filter(|value| *value >= 0.0 && value.is_finite()).map(|value| value * self.weight)
        } else if numbers > 0 {
            Some(self.fresh_sum / f64::from(numbers))
        } else {
            None
        };
        if let Some(value) = value {
            self.fresh_sum += value * f64::from(self.of_events);
            self.steady_sum += value * f64::from(self.steady_of_events);
        } else if merged.count() == 0.0 && nothing_asked && self.silent == 0 {
            self.idle = true;
        } else {
            self.answered = self.oldest_fresh.filter(|_| self.fresh == self.ready && self.silent == 0);
            (self.fresh, self.fresh_sum, self.steady_sum) = (0, 0.0, 0.0);
            (self.oldest_fresh, self.newest) = (None, None);
            self.unfinished = merged.count() == 0.0;
        }
    }
}

/// Whoever tells of events freshly: pods, or `None` for whoever speaks for the fleet.
fn heard<'a>(
    signal: &SignalPolicy,
    facts: &'a Facts,
    (readings, index): (&'a Readings, u8),
    now: Instant,
) -> impl Iterator<Item = Option<PodUid>> + 'a {
    let of_pods = signal.scope == Scope::Pod;
    let fresh_span = signal.pace.fresh_span;
    let ready = facts.pods().iter().filter(|pod| matches!(pod.state, PodState::Ready { .. }));
    let pods = ready.filter(move |_| of_pods).map(|pod| Some(pod.uid));
    let fleet = (!of_pods).then_some(None);
    pods.chain(fleet).filter(move |pod| {
        let newest = pod.map_or_else(|| readings.fleet(index), |pod| readings.get(pod, index));
        newest.is_some_and(|reading| reading.told == Told::Events && now - reading.received <= fresh_span)
    })
}

/// The same page said that no request is under way.
fn asks_for_nothing(readings: &Readings, pod: Option<PodUid>, index: u8) -> bool {
    let newest = |signal| pod.map_or_else(|| readings.fleet(signal), |pod| readings.get(pod, signal));
    let (inflight, events) = (newest(inflight_beside(index)), newest(index));
    inflight.zip(events).is_some_and(|(inflight, events)| {
        inflight.told == Told::Value && inflight.value == 0.0 && inflight.received >= events.received
    })
}
