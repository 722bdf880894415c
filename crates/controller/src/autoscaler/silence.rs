//! Why pods, or whole signals, give no reading: in words, and when that is worth a new status.

use std::time::Duration;

use windlass_api::Source;
use windlass_scaling::{Instant, PodUid};
use windlass_scrape::ScrapeError;

use super::polling::PageId;
use super::{Active, Member};
use crate::outages::Sight;

/// Why a latency has no value though the pods answer.
const UNFINISHED: &str =
    " (the pods answer, but no request finished lately, and not every pod says that none is under way)";

/// A reason that is given for so long is told instead of the one before: a pod that restarts gives one after the other.
const STEADY: Duration = Duration::from_secs(5);

/// The class of a page that lacks a metric.
const MISSING: &str = "missing";

/// Why the last poll of a pod gave nothing, or not everything.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    pub(super) page: PageId,
    pub(crate) why: String,
    /// As metrics count it.
    class: &'static str,
    /// When the first of the polls in a row that brought no more was asked for.
    pub(super) since: Instant,
}

impl Silence {
    pub(super) fn of(page: PageId, error: &ScrapeError, since: Instant) -> Self {
        Self { page, why: error.to_string(), class: error.class(), since }
    }

    pub(super) fn missing(page: PageId, why: String, since: Instant) -> Self {
        Self { page, why, class: MISSING, since }
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

/// The pod that is named as silent, and the class of its reason.
type Named = (PodUid, &'static str);

/// What a status says of a silent pod, changed only by what lasts.
#[derive(Debug, Default)]
pub(super) struct Told {
    named: Option<Named>,
    /// What is so instead, and since when.
    instead: Option<(Option<Named>, Instant)>,
}

impl Told {
    fn look(&mut self, named: Option<Named>, now: Instant) {
        if named == self.named {
            self.instead = None;
            return;
        }
        let since = self.instead.filter(|(instead, _)| *instead == named).map_or(now, |(_, since)| since);
        // What nothing is said of yet needs no patience.
        if self.named.is_none() || now - since >= STEADY {
            *self = Self { named, instead: None };
        } else {
            self.instead = Some((named, since));
        }
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
        let pod = if of_pods { self.silent_pod() } else { None };
        let pod = pod.map(|(_, member, silence)| format!(" (pod {}: {})", member.entry.name(), silence.why));
        let unfinished = unfinished.then(|| UNFINISHED.to_owned());
        elsewhere.map(|why| format!(" ({why})")).or(pod).or(unfinished).unwrap_or_default()
    }

    /// The ready pod that has brought nothing, or not everything, for longest.
    fn silent_pod(&self) -> Option<(PodUid, &Member, &Silence)> {
        let silent = self.members.iter().filter_map(|(uid, member)| {
            let silence = member.silence.as_ref().filter(|_| member.entry.is_ready())?;
            Some((*uid, member, silence))
        });
        silent.min_by_key(|(.., silence)| silence.since)
    }

    /// Takes note of the reason that a status would give at `now`.
    pub(super) fn note_silence(&mut self, now: Instant) {
        let suffers = self.outages.sights().any(|sight| sight != Sight::Fresh);
        let silent = if suffers { self.silent_pod() } else { None };
        let named = silent.map(|(uid, _, silence)| (uid, silence.class));
        self.told_silence.look(named, now);
    }

    /// The silent pod that is named, and why, for whoever compares.
    pub(crate) fn told_silence(&self) -> Option<(PodUid, &'static str)> {
        self.told_silence.named
    }

    /// What ails pods' pages until somebody does something about it. An engine that does not answer in one way or another
    /// is not among it: that may change every second.
    pub(crate) fn lasting_silence(&self) -> u8 {
        let silences = self.members.values().filter_map(|member| member.silence.as_ref());
        silences.fold(0, |all, silence| all | silence.lasting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason that each second brings, and the one that is told then.
    #[track_caller]
    fn check(seconds: &[(Option<&'static str>, Option<&'static str>)]) {
        let mut told = Told::default();
        for (second, (class, expected)) in (0..).zip(seconds) {
            told.look(class.map(|class| (PodUid(1), class)), Instant::from_micros(second * 1_000_000));
            assert_eq!(told.named.map(|(_, class)| class), *expected, "second {second}");
        }
    }

    #[test]
    fn a_reason_that_changes_for_good_is_told() {
        let (connect, status) = (Some("connect"), Some("status"));
        check(&[
            (None, None),
            (connect, connect),
            (status, connect),
            (status, connect),
            (status, connect),
            (status, connect),
            (status, connect),
            (status, status),
        ]);
    }

    #[test]
    fn reasons_that_take_turns_are_not() {
        let (connect, status) = (Some("connect"), Some("status"));
        check(&[(connect, connect), (status, connect), (connect, connect), (status, connect)]);
        let mut seconds = vec![(connect, connect)];
        for _ in 0..20 {
            seconds.extend([(status, connect), (status, connect), (None, connect)]);
        }
        check(&seconds);
    }
}
