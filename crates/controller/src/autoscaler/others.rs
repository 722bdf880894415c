//! Counts that others set: told apart from our own, respected when a person set them, and not fought about without end.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use windlass_scaling::{Instant, Mode, RESPECT, SetByHand};

use super::{Active, Scale};
use crate::clock::Clock;
use crate::write::FIELD_MANAGER;

/// A count of ours that was undone this often within this time, by the same manager and to the same count, is fought
/// about: something applies a manifest again and again.
const UNDONE: usize = 3;
const UNDONE_WITHIN: Duration = Duration::from_mins(10);
/// Nothing is written for this long then.
const TRUCE: Duration = Duration::from_mins(10);
/// Autoscalers are no persons; this one writes what HorizontalPodAutoscalers decide.
const HPA_CONTROLLER: &str = "kube-controller-manager";
/// Whoever it was.
const SOMEBODY: &str = "an unknown field manager";

/// What is known of the counts that others set.
#[derive(Default)]
pub(crate) struct Others {
    /// The last count whose author is known or does not matter, and whether it is ours.
    explained: Option<(u32, bool)>,
    set_by: Option<String>,
    undone: VecDeque<Undone>,
    truce: Option<Truce>,
    /// What is said of a count that is respected.
    respected: Option<String>,
}

/// A count of ours that somebody replaced.
struct Undone {
    at: Instant,
    by: String,
    to: u32,
}

/// Why nothing is written although it would be possible: a reason, and a sentence that does not tell the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Truce {
    until: Instant,
    pub(crate) message: String,
}

impl Others {
    /// Notes a count that was read. What somebody else set, if it is to be respected. `writes`: whether we write ourselves.
    fn note(&mut self, scale: &Scale, writes: bool, clock: &Clock) -> Change {
        let ours = scale.set_by.as_deref() == Some(FIELD_MANAGER);
        let before = self.explained.replace((scale.replicas, ours));
        let Some((count, was_ours)) = before else { return Change::None };
        if count == scale.replicas {
            self.explained = before;
            return Change::None;
        }
        // While another leads its writes are ours, too, and what a person sets is that one's to respect. While we only
        // recommend, another autoscaler may be what writes.
        if ours || !writes {
            return Change::Ours;
        }
        let now = clock.now();
        let by = scale.set_by.clone().unwrap_or_else(|| SOMEBODY.to_owned());
        self.undone.retain(|undone| now - undone.at <= UNDONE_WITHIN);
        let same = |undone: &&Undone| undone.by == by && undone.to == scale.replicas;
        let before = self.undone.iter().filter(same).count();
        if was_ours {
            self.undone.push_back(Undone { at: now, by: by.clone(), to: scale.replicas });
            if before + 1 >= UNDONE {
                self.truce = Some(truce(&by, scale.replicas, clock));
                self.undone.clear();
            }
        }
        self.set_by = Some(by);
        // Once may be a person; the same count again, after it was changed, is a manifest.
        let person = before == 0 && self.set_by.as_deref() != Some(HPA_CONTROLLER);
        if person { Change::ByHand(SetByHand { replicas: scale.replicas, at: now }) } else { Change::Ours }
    }
}

/// What a count that was read is.
enum Change {
    /// Nothing new.
    None,
    /// New, and nothing to respect.
    Ours,
    ByHand(SetByHand),
}

fn truce(by: &str, count: u32, clock: &Clock) -> Truce {
    let until = clock.now() + TRUCE;
    let message = format!(
        "{by} set the count back to {count} {UNDONE} times within {} min: nothing is written until {}; remove replicas \
         from the manifest that it applies, or let it ignore that field",
        UNDONE_WITHIN.as_secs() / 60,
        // Of instants to come the clock tells nothing: it is as far from now as the truce is long.
        Timestamp::now().checked_add(TRUCE).unwrap_or(Timestamp::MAX).strftime("%FT%TZ"),
    );
    Truce { until, message }
}

impl Active {
    /// The last count that needs no explanation: a count that differs is somebody's.
    pub(crate) fn explained(&self) -> Option<u32> {
        self.others.explained.map(|(count, _)| count)
    }

    /// Who set the count by hand that is respected.
    pub(crate) fn set_by(&self) -> Option<&str> {
        self.others.set_by.as_deref()
    }

    /// The count is what we wrote.
    pub(super) fn wrote(&mut self, replicas: u32) {
        self.others.explained = Some((replicas, true));
    }

    pub(super) fn note_count(&mut self, scale: &Scale, leads: bool, clock: &Clock) {
        let writes = leads && self.resolved.policy.hold.mode == Mode::Auto;
        match self.others.note(scale, writes, clock) {
            Change::None => {}
            Change::Ours => self.facts.set_by_hand = None,
            Change::ByHand(set) => self.facts.set_by_hand = Some(set),
        }
    }

    /// The target is another object.
    pub(super) fn forget_others(&mut self) {
        self.others = Others::default();
        self.facts.set_by_hand = None;
    }

    /// Ends what is over, and makes the sentence of what is respected.
    pub(super) fn look_at_others(&mut self, now: Instant, wall: Timestamp) {
        if self.others.truce.as_ref().is_some_and(|truce| now >= truce.until) {
            self.others.truce = None;
        }
        let in_force = self.facts.set_by_hand.filter(|set| set.replicas > 0 && now < set.at + RESPECT);
        let Some(set) = in_force else {
            self.others.respected = None;
            return;
        };
        let since = wall.checked_sub(now - set.at).unwrap_or(wall);
        let until = since.checked_add(RESPECT).unwrap_or(wall);
        // The clock's own rounding must not make another sentence of it.
        let known = self.others.respected.as_deref().unwrap_or_default();
        let head =
            format!("set to {} by {}: respected until ", set.replicas, self.set_by().unwrap_or(SOMEBODY));
        if !known.starts_with(&head) {
            self.others.respected = Some(format!("{head}{}", until.strftime("%FT%TZ")));
        }
    }

    /// What is said of a count that somebody set by hand, while it is respected.
    pub(crate) fn respected(&self) -> Option<&str> {
        self.others.respected.as_deref()
    }

    /// Why nothing is written for a while, if the count is fought about.
    pub(crate) fn truce(&self) -> Option<&str> {
        self.others.truce.as_ref().map(|truce| truce.message.as_str())
    }

    /// Whether others' doings keep us from writing.
    pub(crate) fn is_barred(&self) -> bool {
        self.others.truce.is_some() || self.conflict.as_ref().is_some_and(|conflict| conflict.yields)
    }
}

#[cfg(test)]
mod tests;
