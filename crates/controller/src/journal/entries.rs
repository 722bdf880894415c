//! The entries.

use std::borrow::Cow;
use std::time::Duration;

use windlass_scrape::ScrapeError;

use super::{
    ChangeLabel, Entry, EventLabels, Journal, OutcomeLabel, RequestLabels, ScaleLabels, SourceLabels,
    VerbLabel, WatchLabel, WhyLabel,
};
use crate::autoscaler::{Key, ScaleRequest};
use crate::hpa::HpaRequest;
use crate::write::WriteError;

/// A target was observed and decided. Too frequent for a log line.
pub(crate) struct Decided {
    pub(crate) took: Duration,
}

impl Entry for Decided {
    fn record(&self, journal: &Journal) {
        journal.decisions.inc();
        journal.decision_seconds.observe(self.took.as_secs_f64());
    }
}

/// A metrics API, an endpoint or Prometheus was asked. What is wrong is in the status; here it is for who looks closer.
pub(crate) struct SourcePolled<'a> {
    pub(crate) key: &'a Key,
    pub(crate) source: &'static str,
    pub(crate) problem: Option<&'a String>,
}

impl Entry for SourcePolled<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, source, problem } = *self;
        if let Some(problem) = problem {
            tracing::debug!(podautoscaler = %key, source, problem, "source gave no value");
        }
        let outcome = if problem.is_none() { "ok" } else { "failed" };
        journal.source_polls.get_or_create(&SourceLabels { source, outcome }).inc();
    }
}

/// A decision panicked.
pub(crate) struct Quarantined<'a> {
    pub(crate) key: &'a Key,
    pub(crate) message: &'a str,
}

impl Entry for Quarantined<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, message } = self;
        tracing::error!(podautoscaler = %key, message, "decision panicked; the target is quarantined and held");
        journal.quarantines.inc();
    }
}

/// A change of replicas was acknowledged.
pub(crate) struct Scaled<'a> {
    pub(crate) request: &'a ScaleRequest,
    pub(crate) replicas: u32,
    /// Since the reading that changed the decision, if it was one and not a limit that opened.
    pub(crate) after_reading: Option<Duration>,
}

impl Entry for Scaled<'_> {
    fn record(&self, journal: &Journal) {
        let ScaleRequest { key, from, reason, .. } = self.request;
        let after_reading_ms = self.after_reading.map(|after| (after.as_secs_f64() * 1e6).round() / 1e3);
        tracing::info!(podautoscaler = %key, from, to = self.replicas, after_reading_ms, reason, "scaled");
        journal.scales.get_or_create(&labels(self.request, "written")).inc();
        if let Some(after) = self.after_reading {
            journal.reading_to_write_seconds.observe(after.as_secs_f64());
        }
    }
}

/// A person holds a target: the hold, or what it keeps from being done, is another than before.
pub(crate) struct Held<'a> {
    pub(crate) key: &'a Key,
    pub(crate) holding: u32,
    pub(crate) would_be: u32,
    /// The account, as one line.
    pub(crate) reason: &'a str,
}

impl Entry for Held<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, holding, would_be, reason } = *self;
        tracing::info!(podautoscaler = %key, holding, would_be, reason, "held");
        if holding != would_be {
            journal.scales.get_or_create(&scale_labels(key, holding, would_be, "held")).inc();
        }
    }
}

/// Why a change of replicas was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotScaledBecause {
    /// Somebody else changed the count meanwhile.
    Overtaken,
    /// Another controller leads, or soon will.
    NotLeading,
    /// The API server refused or did not answer.
    Failed,
}

impl NotScaledBecause {
    pub(super) const NAMES: [&str; 3] = ["overtaken", "not_leading", "failed"];

    fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Overtaken => 0,
            Self::NotLeading => 1,
            Self::Failed => 2,
        }]
    }
}

/// A change of replicas was not written.
pub(crate) struct NotScaled<'a> {
    pub(crate) request: &'a ScaleRequest,
    pub(crate) because: NotScaledBecause,
    pub(crate) error: &'a WriteError,
}

impl Entry for NotScaled<'_> {
    fn record(&self, journal: &Journal) {
        let ScaleRequest { key, from, to, .. } = self.request;
        let error = self.error;
        match self.because {
            NotScaledBecause::Overtaken | NotScaledBecause::NotLeading => {
                tracing::info!(podautoscaler = %key, from, to, %error, "not scaled");
            }
            NotScaledBecause::Failed => tracing::warn!(podautoscaler = %key, from, to, %error, "not scaled"),
        }
        journal.scales.get_or_create(&labels(self.request, self.because.name())).inc();
    }
}

fn labels(request: &ScaleRequest, outcome: &'static str) -> ScaleLabels {
    scale_labels(&request.key, request.from, request.to, outcome)
}

fn scale_labels(key: &Key, from: u32, to: u32, outcome: &'static str) -> ScaleLabels {
    ScaleLabels {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        direction: if to > from { "up" } else { "down" },
        outcome,
    }
}

/// A metrics page was asked for. Too frequent for a log line; silent pods are named in the status.
pub(crate) struct Polled<'a> {
    pub(crate) error: Option<&'a ScrapeError>,
    pub(crate) took: Duration,
    /// Of the page, if it was complete.
    pub(crate) bytes: usize,
}

impl Entry for Polled<'_> {
    fn record(&self, journal: &Journal) {
        let outcome = self.error.map_or("ok", ScrapeError::class);
        journal.scrapes.get_or_create(&OutcomeLabel { outcome }).inc();
        journal.scrape_bytes.inc_by(self.bytes as u64);
        if self.error.is_none() {
            journal.scrape_seconds.observe(self.took.as_secs_f64());
        }
    }
}

/// What a request asks the API server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Update,
    Patch,
    Create,
    Delete,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

/// A request to the API server ended. Its failure is logged by whoever made it.
pub(crate) struct Requested<'a> {
    pub(crate) verb: Verb,
    /// Plural of the kind, with the subresource behind a slash.
    pub(crate) resource: Cow<'a, str>,
    pub(crate) error: Option<&'a WriteError>,
    pub(crate) took: Duration,
}

impl Entry for Requested<'_> {
    fn record(&self, journal: &Journal) {
        let outcome = match self.error {
            None => "ok".to_owned(),
            Some(WriteError::Api(kube::Error::Api(status))) => status.code.to_string(),
            Some(WriteError::Timeout(_)) => "timeout".to_owned(),
            Some(WriteError::NotLeading) => "not_leading".to_owned(),
            Some(_) => "error".to_owned(),
        };
        let verb = self.verb.name();
        let labels = RequestLabels { verb, resource: self.resource.clone().into_owned(), outcome };
        journal.api_requests.get_or_create(&labels).inc();
        journal.api_seconds.get_or_create(&VerbLabel { verb }).observe(self.took.as_secs_f64());
    }
}

/// A HorizontalPodAutoscaler was created, updated or removed.
pub(crate) struct HpaWritten<'a> {
    pub(crate) request: &'a HpaRequest,
}

impl Entry for HpaWritten<'_> {
    fn record(&self, _: &Journal) {
        let HpaRequest { key, name, change, .. } = self.request;
        tracing::info!(podautoscaler = %key, hpa = name, change = change.name(), "horizontalpodautoscaler written");
    }
}

/// It could not be.
pub(crate) struct HpaNotWritten<'a> {
    pub(crate) request: &'a HpaRequest,
    pub(crate) error: &'a WriteError,
}

impl Entry for HpaNotWritten<'_> {
    fn record(&self, _: &Journal) {
        let Self { request: HpaRequest { key, name, change, .. }, error } = self;
        let change = change.name();
        tracing::warn!(podautoscaler = %key, hpa = name, change, %error, "horizontalpodautoscaler not written");
    }
}

/// It would be, if this controller did not only recommend.
pub(crate) struct HpaRecommended<'a> {
    pub(crate) request: &'a HpaRequest,
}

impl Entry for HpaRecommended<'_> {
    fn record(&self, _: &Journal) {
        let HpaRequest { key, name, change, .. } = self.request;
        let change = change.name();
        tracing::info!(podautoscaler = %key, hpa = name, change, "horizontalpodautoscaler would be written");
    }
}

/// A watch failed; it is begun again.
pub(crate) struct WatchFailed<'a> {
    pub(crate) watch: &'a str,
    pub(crate) error: &'a kube::runtime::watcher::Error,
}

impl Entry for WatchFailed<'_> {
    fn record(&self, journal: &Journal) {
        let Self { watch, error } = self;
        tracing::warn!(watch, %error, "watch failed; it is tried again");
        journal.watch_errors.get_or_create(&WatchLabel { watch: (*watch).to_owned() }).inc();
    }
}

/// A status was written, or could not be; then it is tried again.
pub(crate) struct StatusWritten<'a> {
    pub(crate) key: &'a Key,
    pub(crate) error: Option<&'a WriteError>,
}

impl Entry for StatusWritten<'_> {
    fn record(&self, journal: &Journal) {
        let key = self.key;
        let outcome = if let Some(error) = self.error {
            tracing::warn!(podautoscaler = %key, %error, "status not written; it is tried again");
            "failed"
        } else {
            tracing::debug!(podautoscaler = %key, "status written");
            "written"
        };
        journal.statuses.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// An event was recorded, or lost: it is not tried again.
pub(crate) struct EventRecorded<'a> {
    pub(crate) reason: &'static str,
    pub(crate) error: Option<&'a WriteError>,
}

impl Entry for EventRecorded<'_> {
    fn record(&self, journal: &Journal) {
        let reason = self.reason;
        let outcome = if let Some(error) = self.error {
            tracing::warn!(reason, %error, "an event was lost");
            "failed"
        } else {
            "written"
        };
        journal.events.get_or_create(&EventLabels { reason, outcome }).inc();
    }
}

/// There were so many events about an object that this one is in the log only.
pub(crate) struct EventHeldBack<'a> {
    pub(crate) key: &'a Key,
    pub(crate) reason: &'static str,
    pub(crate) note: &'a str,
}

impl Entry for EventHeldBack<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, reason, note } = *self;
        tracing::info!(podautoscaler = %key, reason, note, "event held back: there were many about this object");
        journal.events.get_or_create(&EventLabels { reason, outcome: "held_back" }).inc();
    }
}

/// Signals of a target fell silent, and it is no flicker.
pub(crate) struct OutageBegan<'a> {
    pub(crate) key: &'a Key,
    pub(crate) signals: usize,
    /// What the event says.
    pub(crate) note: &'a str,
}

impl Entry for OutageBegan<'_> {
    fn record(&self, journal: &Journal) {
        tracing::warn!(podautoscaler = %self.key, note = self.note, "metrics are unavailable");
        journal.outages.get_or_create(&ChangeLabel { change: "began" }).inc_by(self.signals as u64);
    }
}

/// They are heard again.
pub(crate) struct OutageEnded<'a> {
    pub(crate) key: &'a Key,
    pub(crate) signals: usize,
    /// What the event says.
    pub(crate) note: &'a str,
}

impl Entry for OutageEnded<'_> {
    fn record(&self, journal: &Journal) {
        tracing::info!(podautoscaler = %self.key, note = self.note, "metrics are back");
        journal.outages.get_or_create(&ChangeLabel { change: "ended" }).inc_by(self.signals as u64);
    }
}

/// A spec cannot be acted upon.
pub(crate) struct SpecInvalid<'a> {
    pub(crate) key: &'a Key,
    pub(crate) errors: &'a str,
}

impl Entry for SpecInvalid<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, errors } = *self;
        tracing::warn!(podautoscaler = %key, errors, "spec is not valid; the target is left alone");
        journal.rejected_objects.get_or_create(&WhyLabel { why: "invalid" }).inc();
    }
}

/// An object does not have the shape of a PodAutoscaler.
pub(crate) struct ObjectUnreadable<'a> {
    pub(crate) name: &'a str,
    pub(crate) error: &'a dyn std::fmt::Display,
}

impl Entry for ObjectUnreadable<'_> {
    fn record(&self, journal: &Journal) {
        let Self { name, error } = *self;
        tracing::warn!(name, %error, "a PodAutoscaler cannot be read; what was read of it before stays in force");
        journal.rejected_objects.get_or_create(&WhyLabel { why: "unreadable" }).inc();
    }
}
