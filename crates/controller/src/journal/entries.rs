//! The entries.

use std::borrow::Cow;
use std::time::Duration;

use windlass_scrape::ScrapeError;

use super::{Entry, Journal, OutcomeLabel, RequestLabels, ScaleLabels, VerbLabel, WatchLabel};
use crate::autoscaler::{Key, ScaleRequest};
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
}

impl Entry for Polled<'_> {
    fn record(&self, journal: &Journal) {
        let outcome = self.error.map_or("ok", ScrapeError::class);
        journal.scrapes.get_or_create(&OutcomeLabel { outcome }).inc();
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
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Create => "create",
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

/// A status could not be written; it is tried again.
pub(crate) struct StatusNotWritten<'a> {
    pub(crate) key: &'a Key,
    pub(crate) error: &'a WriteError,
}

impl Entry for StatusNotWritten<'_> {
    fn record(&self, journal: &Journal) {
        let Self { key, error } = self;
        tracing::warn!(podautoscaler = %key, %error, "status not written; it is tried again");
        journal.statuses_not_written.inc();
    }
}
