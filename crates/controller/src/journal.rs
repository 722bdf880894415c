//! What happens, told twice from one place: each thing that is logged and counted is one struct with one [`Entry::record`],
//! so that a log line and its metric never drift apart.

mod entries;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use entries::{
    Decided, EventHeldBack, EventRecorded, Held, HpaNotWritten, HpaRecommended, HpaWritten, NotScaled,
    NotScaledBecause, ObjectUnreadable, OutageBegan, OutageEnded, Polled, Quarantined, Requested, Scaled,
    SourcePolled, SpecInvalid, StatusWritten, Verb, WatchFailed,
};

/// Something that happened.
pub(crate) trait Entry {
    /// Logs it, where somebody would want to read it, and counts it.
    fn record(&self, journal: &Journal);
}

/// The counters of one process. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    decisions: Counter,
    decision_seconds: Histogram,
    quarantines: Counter,
    scales: Family<ScaleLabels, Counter>,
    reading_to_write_seconds: Histogram,
    scrapes: Family<OutcomeLabel, Counter>,
    scrape_seconds: Histogram,
    scrape_spacing_seconds: Histogram,
    api_requests: Family<RequestLabels, Counter>,
    api_seconds: Family<VerbLabel, Histogram, fn() -> Histogram>,
    watch_errors: Family<WatchLabel, Counter>,
    statuses: Family<OutcomeLabel, Counter>,
    events: Family<EventLabels, Counter>,
    outages: Family<ChangeLabel, Counter>,
    rejected_objects: Family<WhyLabel, Counter>,
    scrape_bytes: Counter,
    source_polls: Family<SourceLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScaleLabels {
    namespace: String,
    name: String,
    direction: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabel {
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    reason: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabel {
    change: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabel {
    watch: String,
}

/// From a microsecond, a decision, to seconds, a call that hangs.
fn decision_buckets() -> Histogram {
    Histogram::new([1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2])
}

fn call_buckets() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
}

impl Default for Journal {
    fn default() -> Self {
        let journal = Self {
            decisions: Counter::default(),
            decision_seconds: decision_buckets(),
            quarantines: Counter::default(),
            scales: Family::default(),
            reading_to_write_seconds: call_buckets(),
            scrapes: Family::default(),
            scrape_seconds: call_buckets(),
            scrape_spacing_seconds: Histogram::new([
                0.05, 0.09, 0.11, 0.16, 0.22, 0.33, 0.55, 0.9, 1.1, 1.6, 2.2, 3.0, 5.0, 10.0,
            ]),
            api_requests: Family::default(),
            api_seconds: Family::new_with_constructor(call_buckets),
            watch_errors: Family::default(),
            statuses: Family::default(),
            events: Family::default(),
            outages: Family::default(),
            rejected_objects: Family::default(),
            scrape_bytes: Counter::default(),
            source_polls: Family::default(),
        };
        // What alerts are made of must be there before it first happens.
        for change in ["began", "ended"] {
            drop(journal.outages.get_or_create(&ChangeLabel { change }));
        }
        for why in ["invalid", "unreadable"] {
            drop(journal.rejected_objects.get_or_create(&WhyLabel { why }));
        }
        for source in ["resource", "custom", "external", "endpoint", "prometheus"] {
            for outcome in ["ok", "failed"] {
                drop(journal.source_polls.get_or_create(&SourceLabels { source, outcome }));
            }
        }
        for outcome in ["written", "failed"] {
            drop(journal.statuses.get_or_create(&OutcomeLabel { outcome }));
        }
        journal
    }
}

impl Journal {
    /// Makes the counters part of a page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let Self {
            decisions,
            decision_seconds,
            quarantines,
            scales,
            reading_to_write_seconds,
            scrapes,
            scrape_seconds,
            scrape_spacing_seconds,
            api_requests,
            api_seconds,
            watch_errors,
            statuses,
            events,
            outages,
            rejected_objects,
            scrape_bytes,
            source_polls,
        } = self.clone();
        registry.register("windlass_decisions", "Decisions made", decisions);
        registry.register(
            "windlass_decision_seconds",
            "Time to observe and decide one target",
            decision_seconds,
        );
        registry.register(
            "windlass_quarantines",
            "Decisions that panicked; their targets are held",
            quarantines,
        );
        registry.register("windlass_scales", "Changes of replicas, by what came of them", scales);
        registry.register(
            "windlass_reading_to_write_seconds",
            "From the arrival of the reading that changed a decision to the acknowledged write",
            reading_to_write_seconds,
        );
        registry.register("windlass_scrapes", "Polls of metrics pages, by outcome", scrapes);
        registry.register(
            "windlass_scrape_seconds",
            "From asking for a metrics page to having read it",
            scrape_seconds,
        );
        registry.register(
            "windlass_scrape_spacing_seconds",
            "From asking for a page of a pod to asking for it again",
            scrape_spacing_seconds,
        );
        registry.register(
            "windlass_api_requests",
            "Single requests to the API server, watches and Leases apart, by outcome (code, or why there was none)",
            api_requests,
        );
        registry.register("windlass_api_request_seconds", "How long these requests took", api_seconds);
        registry.register("windlass_watch_errors", "Watches that failed and were begun again", watch_errors);
        registry.register("windlass_statuses", "Writes of statuses, by what came of them", statuses);
        registry.register("windlass_events", "Events about PodAutoscalers, by what came of them", events);
        registry.register("windlass_signal_outages", "Outages of signals, flickers excepted", outages);
        registry.register(
            "windlass_rejected_objects",
            "PodAutoscalers read that cannot be acted upon",
            rejected_objects,
        );
        registry.register("windlass_scrape_bytes", "Bytes of complete metrics pages", scrape_bytes);
        registry.register(
            "windlass_source_polls",
            "Requests to metrics APIs, endpoints and Prometheus, by type of source and outcome",
            source_polls,
        );
    }

    /// A page was asked for again after so long.
    pub(crate) fn spaced(&self, spacing: Option<Duration>) {
        if let Some(spacing) = spacing {
            self.scrape_spacing_seconds.observe(spacing.as_secs_f64());
        }
    }

    /// Decisions so far.
    #[cfg(test)]
    pub(crate) fn decisions(&self) -> u64 {
        self.decisions.get()
    }

    /// Forgets a PodAutoscaler that is gone: its series end.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        for direction in ["up", "down"] {
            for outcome in NotScaledBecause::NAMES.into_iter().chain(["written", "held"]) {
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                self.scales.remove(&ScaleLabels { namespace, name, direction, outcome });
            }
        }
    }
}

#[cfg(test)]
mod tests;
