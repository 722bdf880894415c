//! What each signal of a target gives, since when one gives nothing, and what of that is worth an event. Pure.

use std::time::Duration;

use arrayvec::ArrayVec;
use windlass_scaling::{Health, Instant, MAX_SIGNALS, SignalObservation};

/// An outage that ends sooner was a flicker. It is counted from when no reading was fresh any more.
const FLICKER: Duration = Duration::from_secs(3);
/// Where pods answer and no request has finished, an outage begins only after this: something is stuck then.
const UNFINISHED: Duration = Duration::from_mins(2);
/// A signal whose pods cannot have been heard yet is not called blind for its fresh span, and this.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// For so long nothing is told of a target of which readings are awaited: as long as pages of pods take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// What a signal gives, as whoever is on call asks for it; the worse the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sight {
    /// Every pod that counts reports.
    Fresh,
    /// Some pods are silent.
    Thin {
        silent: u32,
        of: u32,
    },
    NoReadyPods,
    /// So new are the ready pods, or so short is the time we listened, that little can have come yet.
    Waiting,
    /// Readings come, but the ready pods change faster than they are read.
    NoRound,
    /// Ready pods, and nothing came for longer than the fresh span.
    Blind,
}

/// A stretch without readings.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// When the last reading was taken, if there ever was one.
    last: Option<Instant>,
    /// When it was seen first that none is fresh.
    seen: Instant,
    /// When that was more than the patience a new pod is due.
    blind: Option<Instant>,
    told: bool,
}

impl Outage {
    fn began(&self) -> Instant {
        self.last.unwrap_or(self.seen)
    }
}

/// What changed for all of `signals` at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Their positions in the policy.
    pub(crate) signals: ArrayVec<u8, MAX_SIGNALS>,
    /// When the first of them fell silent.
    pub(crate) since: Instant,
    /// There was a reading before.
    pub(crate) ever: bool,
}

/// What to tell after one look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) began: Option<Change>,
    pub(crate) ended: Option<Change>,
}

#[derive(Debug, Clone, Copy)]
struct Signal {
    sight: Sight,
    outage: Option<Outage>,
}

/// What is seen of a target's signals, in the order of the policy.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    signals: ArrayVec<Signal, MAX_SIGNALS>,
}

impl Outages {
    /// Takes note of what is seen at `now`. `patience`: how long the signal at a position may be without a first reading.
    pub(crate) fn look(
        &mut self,
        seen: &[SignalObservation],
        patience: impl Fn(usize) -> Duration,
        now: Instant,
    ) -> Changes {
        let mut changes = Changes::default();
        self.signals.truncate(seen.len());
        while self.signals.len() < seen.len().min(MAX_SIGNALS) {
            self.signals.push(Signal { sight: Sight::Waiting, outage: None });
        }
        for (index, (seen, signal)) in (0..).zip(seen.iter().zip(&mut self.signals)) {
            signal.look(seen, index, patience(usize::from(index)), now, &mut changes);
        }
        changes
    }

    /// What each signal gives.
    pub(crate) fn sights(&self) -> impl Iterator<Item = Sight> {
        self.signals.iter().map(|signal| signal.sight)
    }

    /// When the last reading of a signal that is blind was taken, if there ever was one.
    pub(crate) fn last_reading(&self, signal: usize) -> Option<Instant> {
        self.signals.get(signal)?.outage?.last
    }

    /// The signals are others now.
    pub(crate) fn forget(&mut self) {
        self.signals.clear();
    }
}

impl Signal {
    fn look(
        &mut self,
        seen: &SignalObservation,
        index: u8,
        patience: Duration,
        now: Instant,
        changes: &mut Changes,
    ) {
        let silent = seen.silent + seen.left_out;
        self.sight = match seen.health {
            Health::NoReadyPods => Sight::NoReadyPods,
            Health::NoRound if seen.fresh < seen.ready && silent == 0 => Sight::Waiting,
            Health::NoRound => Sight::NoRound,
            Health::Observed if silent > 0 => Sight::Thin { silent, of: seen.ready + seen.left_out },
            Health::Observed => Sight::Fresh,
            Health::Blind => {
                let fresh = Outage { last: seen.newest_reading, seen: now, blind: None, told: false };
                let outage = self.outage.get_or_insert(fresh);
                let patience = if seen.unfinished { patience.max(UNFINISHED) } else { patience };
                if seen.silent > 0 || now - outage.seen > patience {
                    outage.blind.get_or_insert(now);
                }
                if !outage.told && outage.blind.is_some_and(|blind| now - blind >= FLICKER) {
                    outage.told = true;
                    note(&mut changes.began, index, outage);
                }
                match outage.blind {
                    Some(_) => Sight::Blind,
                    // The pods answer, and will have a value to tell when a request has finished.
                    None if seen.unfinished => Sight::Fresh,
                    None => Sight::Waiting,
                }
            }
        };
        match (seen.health, self.outage) {
            (Health::Observed, Some(outage)) => {
                if outage.told {
                    note(&mut changes.ended, index, &outage);
                }
                self.outage = None;
            }
            // Nothing to measure ends no outage that was told, and forgets one that was not.
            (Health::NoRound | Health::NoReadyPods, Some(outage)) if !outage.told => self.outage = None,
            _ => {}
        }
    }
}

fn note(change: &mut Option<Change>, signal: u8, outage: &Outage) {
    let (since, ever) = (outage.began(), outage.last.is_some());
    let change = change.get_or_insert_with(|| Change { signals: ArrayVec::new(), since, ever });
    change.since = change.since.min(since);
    change.ever |= ever;
    // There is room for all signals.
    let _ = change.signals.try_push(signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_micros((seconds * 1e6) as u64)
    }

    /// One signal of three ready pods.
    fn seen(what: &str, newest: Option<f64>) -> SignalObservation {
        let (health, fresh, silent) = match what {
            "fresh" => (Health::Observed, 3, 0),
            "thin" => (Health::Observed, 2, 1),
            "pending" => (Health::Blind, 0, 0),
            "silent" => (Health::Blind, 0, 3),
            "half" => (Health::NoRound, 1, 0),
            "churn" => (Health::NoRound, 3, 0),
            _ => (Health::NoReadyPods, 0, 0),
        };
        SignalObservation {
            health,
            ready: if health == Health::NoReadyPods { 0 } else { 3 },
            fresh,
            silent,
            left_out: 0,
            newest_reading: newest.map(at),
            total: None,
            idle: false,
            unfinished: false,
            at_least: None,
            held: None,
            mean: None,
            panic_mean: None,
            surge: None,
            last_round: None,
            unbroken_since: None,
            resumed: false,
        }
    }

    /// Looks at (second, what is seen) in turn; the sights, and what was told when.
    #[track_caller]
    fn check(looks: &[(f64, &str)], sights: &str, told: &[&str]) {
        let (mut outages, mut newest, mut said, mut shown) =
            (Outages::default(), None, Vec::new(), Vec::new());
        for &(second, what) in looks {
            if matches!(what, "fresh" | "thin" | "half" | "churn") {
                newest = Some(second);
            }
            let changes = outages.look(&[seen(what, newest)], |_| PATIENCE, at(second));
            let name = |what: &str, change: Change| {
                let ever = if change.ever { "" } else { ", never any" };
                format!("{second}: {what} since {}{ever}", change.since.as_secs_f64())
            };
            said.extend(changes.began.map(|change| name("nothing", change)));
            said.extend(changes.ended.map(|change| name("back, nothing", change)));
            shown.push(match outages.sights().next().unwrap() {
                Sight::Fresh => 'f',
                Sight::Thin { .. } => 't',
                Sight::NoReadyPods => '0',
                Sight::Waiting => 'w',
                Sight::NoRound => 'n',
                Sight::Blind => 'b',
            });
        }
        assert_eq!(
            (shown.into_iter().collect::<String>(), said),
            (sights.to_owned(), told.iter().map(|s| (*s).to_owned()).collect()),
            "{looks:?}"
        );
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let outage =
            [(10.0, "fresh"), (13.1, "silent"), (16.0, "silent"), (16.1, "silent"), (90.0, "silent")];
        let end = [(91.0, "half"), (91.5, "fresh"), (92.0, "fresh")];
        check(
            &[&outage[..], &end[..]].concat(),
            "fbbbbwff",
            &["16.1: nothing since 10", "91.5: back, nothing since 10"],
        );
        // After ten minutes silent pods are left out: no reason to believe that they are new.
        check(
            &[&outage[..], &[(700.0, "pending")], &end[..]].concat(),
            "fbbbbbwff",
            &["16.1: nothing since 10", "91.5: back, nothing since 10"],
        );
    }

    #[test]
    fn a_flicker_is_not_told() {
        check(
            &[(10.0, "fresh"), (13.1, "silent"), (15.0, "thin"), (18.1, "silent"), (21.0, "silent")],
            "fbtbb",
            &[],
        );
    }

    #[test]
    fn what_cannot_have_been_heard_yet_is_no_outage() {
        check(&[(0.0, "pending"), (2.0, "half"), (3.0, "fresh")], "wwf", &[]);
        check(
            &[(0.0, "pending"), (3.1, "silent"), (6.1, "silent")],
            "wbb",
            &["6.1: nothing since 0, never any"],
        );
        // Pods that are forever new.
        check(
            &[(0.0, "pending"), (4.0, "pending"), (4.1, "pending"), (7.1, "pending")],
            "wwbb",
            &["7.1: nothing since 0, never any"],
        );
    }

    #[test]
    fn pods_that_go_meanwhile_do_not_end_it() {
        check(
            &[(10.0, "fresh"), (13.1, "silent"), (17.0, "silent"), (20.0, "none"), (30.0, "thin")],
            "fbb0t",
            &["17: nothing since 10", "30: back, nothing since 10"],
        );
        check(&[(10.0, "fresh"), (13.1, "silent"), (14.0, "none"), (20.0, "silent")], "fb0b", &[]);
        check(
            &[(10.0, "fresh"), (13.0, "silent"), (16.0, "silent"), (17.0, "churn"), (18.0, "silent")],
            "fbbnb",
            &["16: nothing since 10"],
        );
    }

    #[test]
    fn signals_that_fall_silent_together_are_told_together() {
        let mut outages = Outages::default();
        let both = [seen("silent", Some(10.0)), seen("silent", Some(9.0))];
        outages.look(&both, |_| PATIENCE, at(13.0));
        let began = outages.look(&both, |_| PATIENCE, at(16.0)).began.unwrap();
        assert_eq!((began.signals.as_slice(), began.since), (&[0, 1][..], at(9.0)));
        assert_eq!(outages.last_reading(1), Some(at(9.0)));
        outages.forget();
        assert_eq!(outages.last_reading(1), None);
    }
}
