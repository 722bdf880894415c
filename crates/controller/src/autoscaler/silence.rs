//! Why pods, or whole signals, give no reading: in words, and when that is worth a new status.

use std::time::Duration;

use windlass_api::Source;
use windlass_scaling::{Instant, Pace, PodUid};
use windlass_scrape::ScrapeError;

use super::Active;
use crate::outages::Sight;

/// Why a latency has no value though the pods answer.
const UNFINISHED: &str =
    " (the pods answer, but no request finished lately, and not every pod says that none is under way)";

/// A reason that polls gave for so long is told instead of the one before: a pod that restarts gives one after the other.
const STEADY: Duration = Duration::from_secs(5);

/// The class of a page that lacks a metric.
const MISSING: &str = "missing";

/// Why the last poll of a pod's page gave nothing, or not everything.
#[derive(Debug, Clone)]
struct Silence {
    why: String,
    /// As metrics count it.
    class: &'static str,
    /// When the last poll that brought all was asked for, or the first one.
    since: Instant,
    /// When the first and the last of the polls in a row with this reason were asked for.
    given: (Instant, Instant),
}

impl Silence {
    fn is_steady(&self) -> bool {
        self.given.1 - self.given.0 >= STEADY
    }

    /// A bit for each of credentials, TLS and the metric's name, which somebody has to mend; none for an engine that does
    /// not answer.
    fn lasting(&self) -> u8 {
        match self.class {
            "credentials" => 1,
            "tls" => 2,
            MISSING => 4,
            _ => 0,
        }
    }
}

/// Of one pod, by the index of the page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silences(Vec<(usize, Silence)>);

impl Silences {
    /// A poll that was asked for at `asked`, and so long after the one before, failed.
    pub(super) fn failed(&mut self, page: usize, error: &ScrapeError, asked: Instant, spacing: Duration) {
        self.note(page, error.to_string(), error.class(), asked, spacing);
    }

    /// A poll was answered; `missing` says what the page lacks.
    pub(super) fn answered(
        &mut self,
        page: usize,
        missing: Option<String>,
        asked: Instant,
        spacing: Duration,
    ) {
        match missing {
            Some(why) => self.note(page, why, MISSING, asked, spacing),
            None => self.0.retain(|(of, _)| *of != page),
        }
    }

    fn note(&mut self, page: usize, why: String, class: &'static str, asked: Instant, spacing: Duration) {
        match self.0.iter_mut().find(|(of, _)| *of == page) {
            Some((_, known)) if known.why == why => known.given.1 = asked,
            Some((_, known)) => *known = Silence { why, class, since: known.since, given: (asked, asked) },
            None => {
                let since = asked.saturating_sub(spacing);
                self.0.reserve_exact(1);
                self.0.push((page, Silence { why, class, since, given: (asked, asked) }));
            }
        }
    }

    /// Of the page that has been silent for longest, if that is for longer than readings are fresh.
    fn longest(&self, now: Instant) -> Option<&Silence> {
        let fresh = Pace::default().fresh_span;
        let silent = self.0.iter().map(|(_, silence)| silence).filter(|silence| now - silence.since > fresh);
        silent.min_by_key(|silence| silence.since)
    }

    /// The reasons, of each page that gives one.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, silence)| silence.why.as_str())
    }
}

/// The silent pod that a status names, and its reason: what is told is told until it is over, or something else is steady.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    pod: PodUid,
    name: String,
    why: String,
}

impl Told {
    /// The pod that is named already, as long as it is silent; else the one that has been for longest.
    fn next<'a>(
        before: Option<Self>,
        pods: impl Iterator<Item = (PodUid, &'a str, &'a Silences)>,
        now: Instant,
    ) -> Option<Self> {
        let silent = pods.filter_map(|(pod, name, silences)| Some((pod, name, silences.longest(now)?)));
        let named = before.as_ref().map(|before| before.pod);
        let (pod, name, silence) =
            silent.min_by_key(|(pod, _, silence)| (named != Some(*pod), silence.since))?;
        let why = match before {
            Some(before) if before.pod == pod && !silence.is_steady() => before.why,
            _ => silence.why.clone(),
        };
        Some(Self { pod, name: name.to_owned(), why })
    }
}

impl Active {
    /// Why one of `signals` has no reading, or a silent pod with the reason, in brackets; nothing if none is known.
    pub(crate) fn silence(&self, signals: impl IntoIterator<Item = usize>) -> String {
        let (mut elsewhere, mut of_pods, mut unfinished) = (None, false, false);
        let seen = |signal| self.observation.as_ref().and_then(|seen| seen.signals.get(signal));
        for signal in signals {
            unfinished |= seen(signal).is_some_and(|seen| seen.unfinished);
            of_pods |= matches!(self.resolved.sources.get(signal), Some(Source::Pod(_)) | None);
            elsewhere = elsewhere.or(self.sourcing.problem(signal));
        }
        let pod = self.told_silence.as_ref().filter(|_| of_pods);
        let pod = pod.map(|told| format!(" (pod {}: {})", told.name, told.why));
        let unfinished = unfinished.then(|| UNFINISHED.to_owned());
        elsewhere.map(|why| format!(" ({why})")).or(pod).or(unfinished).unwrap_or_default()
    }

    /// Takes note, at `now`, of which silent pod is named from now on.
    pub(super) fn note_silence(&mut self, now: Instant) {
        let suffers = self.outages.sights().any(|sight| matches!(sight, Sight::Thin { .. } | Sight::Blind));
        let counted = self.members.values().filter(|member| member.counts() && member.entry.is_ready());
        let pods = counted.map(|member| (member.entry.uid, member.entry.name(), &member.silences));
        let before = self.told_silence.take();
        self.told_silence = if suffers { Told::next(before, pods, now) } else { None };
    }

    /// The silent pod that is named, for whoever compares.
    pub(crate) fn told_silence(&self) -> Option<&Told> {
        self.told_silence.as_ref()
    }

    /// What ails pods' pages until somebody does something about it. An engine that does not answer in one way or another
    /// is not among it: that may change every second.
    pub(crate) fn lasting_silence(&self) -> u8 {
        let counted = self.members.values().filter(|member| member.counts());
        counted.flat_map(|member| &member.silences.0).fold(0, |all, (_, silence)| all | silence.lasting())
    }
}

#[cfg(test)]
mod tests;
