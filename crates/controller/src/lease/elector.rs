//! Who leads, as a state machine without clock and without I/O: it says what to ask of the Lease next, and takes the
//! answer.
//!
//! The semantics are those of client-go's `tools/leaderelection`: another holder's `renewTime` is never compared with
//! our clock; a Lease is taken over after it was not *seen to change* for its duration, measured here. Stricter than
//! client-go where that costs nothing: a term ends a renew deadline after the *start* of the call that renewed it,
//! a holder of our name is us only if we wrote it, and a Lease that was emptied or deleted by somebody else is
//! waited for as if it were held.

use std::time::Duration;

use jiff::Timestamp;
use windlass_scaling::Instant;

use super::Timing;

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who holds it; none is an empty `holderIdentity` as well.
    pub(crate) holder: Option<String>,
    pub(crate) duration: Option<Duration>,
    pub(crate) transitions: u32,
    pub(crate) acquired: Option<Timestamp>,
    pub(crate) renewed: Option<Timestamp>,
}

impl Record {
    /// Whether its holder gave it back, or it never had one. One that was only emptied by hand still has its duration:
    /// its holder may not know yet.
    fn is_free(&self) -> bool {
        let given_back = self.duration.is_some_and(|duration| duration <= RELEASED);
        self.holder.is_none() && (given_back || self.renewed.is_none())
    }
}

/// The duration of a Lease that was given back; client-go writes the same.
const RELEASED: Duration = Duration::from_secs(1);
/// How much longer than its shortest a follower's pause may be. client-go stretches the retry period by this factor,
/// here it is shortened: a Lease that was given back is found within one retry period.
const JITTER: f64 = 1.2;

/// A Lease as it was read, with what a write over it is conditional on.
#[derive(Debug, Clone)]
pub(crate) struct Found<V> {
    pub(crate) record: Record,
    pub(crate) version: V,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step<V> {
    /// Read the Lease.
    Read { within: Duration },
    /// Write the Lease over this version of it, or create it.
    Write { record: Record, over: Option<V>, within: Duration },
    /// Nothing before this instant.
    Wait(Instant),
    /// Leadership was lost: what only a leader may do has to stop, and this state machine with it.
    Lost(Loss),
    /// After [`Elector::resign`]: there is nothing left to give back.
    Resigned,
}

/// Why leadership was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No renewal succeeded in time.
    #[error("the Lease was not renewed within {} s{}", .deadline.as_secs_f64(), because(.problem.as_deref()))]
    Deadline {
        /// The renew deadline.
        deadline: Duration,
        /// What the last attempt failed with.
        problem: Option<String>,
    },
    /// Another holds the Lease.
    #[error("{0} holds the Lease now")]
    Taken(String),
}

fn because(problem: Option<&str>) -> String {
    problem.map_or_else(String::new, |problem| format!(": {problem}"))
}

/// What came of a read or a write.
#[derive(Debug)]
pub(crate) enum Answer<V> {
    /// This is what was read, or written.
    Found(Found<V>),
    /// There is no such Lease.
    Absent,
    /// Somebody else wrote it meanwhile, or created it.
    Conflict,
    /// It is not known what it says; after a write neither whether it was made.
    Failed(String),
}

#[derive(Debug)]
enum Role {
    Following,
    Leading {
        /// Until when, unless it is renewed.
        until: Instant,
        transitions: u32,
    },
    Resigning,
    Resigned,
    Lost(Loss),
}

/// What was last seen of the Lease.
#[derive(Debug)]
struct Seen<V> {
    /// None: it did not exist.
    found: Option<Found<V>>,
    /// When it was first seen to say this.
    since: Instant,
    /// How long after that somebody may still hold it.
    held_for: Duration,
}

/// Whether what was seen is the newest we can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    Stale,
    Read,
    /// The answer to our own write.
    Written,
}

/// One candidate.
#[derive(Debug)]
pub(crate) struct Elector<V> {
    identity: String,
    timing: Timing,
    role: Role,
    seen: Option<Seen<V>>,
    basis: Basis,
    not_before: Instant,
    /// The `acquireTime` of the term we have or tried to get: a write whose answer was lost is recognised by it, and
    /// another process of the same identity is not us.
    claim: Option<Timestamp>,
    writing: bool,
    problem: Option<String>,
}

impl<V: Clone> Elector<V> {
    pub(crate) fn new(identity: String, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            role: Role::Following,
            seen: None,
            basis: Basis::Stale,
            not_before: Instant::ZERO,
            claim: None,
            writing: false,
            problem: None,
        }
    }

    /// Until when we lead, as far as is known; none while we do not.
    pub(crate) fn leads_until(&self) -> Option<Instant> {
        match self.role {
            Role::Leading { until, .. } => Some(until),
            _ => None,
        }
    }

    /// What the Lease said last.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.found.as_ref().map(|found| &found.record)
    }

    /// What the last call failed with, until one succeeds.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Gives leadership back. We do not lead from now on; the next steps tell the others.
    pub(crate) fn resign(&mut self) {
        match self.role {
            Role::Leading { .. } => {
                self.role = Role::Resigning;
                self.not_before = Instant::ZERO;
            }
            Role::Following => self.role = Role::Resigned,
            Role::Resigning | Role::Resigned | Role::Lost(_) => {}
        }
    }

    /// What to do at `now`; `wall` is what the wall clock says, for people to read in the Lease.
    pub(crate) fn next(&mut self, now: Instant, wall: Timestamp) -> Step<V> {
        let mut within = self.timing.renew_deadline / 2;
        let mut until = None;
        match &self.role {
            Role::Lost(loss) => return Step::Lost(loss.clone()),
            Role::Resigned => return Step::Resigned,
            Role::Leading { until: end, .. } if now >= *end => {
                let deadline = self.timing.renew_deadline;
                let loss = Loss::Deadline { deadline, problem: self.problem.take() };
                self.role = Role::Lost(loss.clone());
                return Step::Lost(loss);
            }
            Role::Leading { until: end, .. } => {
                within = within.min(*end - now);
                until = Some(*end);
            }
            Role::Following | Role::Resigning => {}
        }
        if now < self.not_before {
            return Step::Wait(until.map_or(self.not_before, |until| until.min(self.not_before)));
        }
        self.writing = self.basis != Basis::Stale;
        if !self.writing {
            return Step::Read { within };
        }
        let record = self.wanted(wall);
        let over = self.seen.as_ref().and_then(|seen| seen.found.as_ref()).map(|found| found.version.clone());
        Step::Write { record, over, within }
    }

    /// Takes the answer to the last read or write, which was begun at `asked`. `jitter` is random, from 0 to 1.
    pub(crate) fn answered(&mut self, asked: Instant, now: Instant, answer: Answer<V>, jitter: f64) {
        if let Answer::Failed(problem) = &answer {
            self.problem = Some(problem.clone());
        } else {
            self.problem = None;
        }
        if self.writing {
            self.wrote(asked, now, answer, jitter);
        } else {
            self.read(now, answer, jitter);
        }
    }

    /// What the Lease has to say when we hold it, or have given it back.
    fn wanted(&mut self, wall: Timestamp) -> Record {
        let ours = self.is_ours();
        let before = self.record().map_or(0, |record| record.transitions);
        let (transitions, acquired) = match self.role {
            Role::Resigning => (before, wall),
            Role::Leading { transitions, .. } if self.record().is_none() => {
                (transitions, self.claim.unwrap_or(wall))
            }
            _ if ours => (before, self.claim.unwrap_or(wall)),
            // The term goes on for us, whoever emptied the Lease; for everybody who counts it is a change.
            Role::Leading { .. } => (before.saturating_add(1), self.claim.unwrap_or(wall)),
            _ => (before.saturating_add(u32::from(self.record().is_some())), wall),
        };
        let resigning = matches!(self.role, Role::Resigning);
        if !resigning {
            self.claim = Some(acquired);
        }
        Record {
            holder: (!resigning).then(|| self.identity.clone()),
            duration: Some(if resigning { RELEASED } else { self.timing.lease_duration }),
            transitions,
            acquired: Some(acquired),
            renewed: Some(wall),
        }
    }

    /// Whether the Lease names us, and that is not another process of our name.
    fn is_ours(&self) -> bool {
        let Some(record) = self.record() else { return false };
        let named = record.holder.as_ref() == Some(&self.identity);
        let claimed = record.acquired.is_some() && record.acquired == self.claim;
        // While our term lasts nobody else can have taken it, and somebody may have edited the time.
        named && (claimed || !matches!(self.role, Role::Following))
    }

    /// Notes what the Lease says. The answer's arrival counts as the instant of a change, which is not before the
    /// change itself.
    fn observe(&mut self, found: Option<Found<V>>, now: Instant) {
        let record = found.as_ref().map(|found| &found.record);
        let unchanged = self.seen.as_ref().filter(|_| self.record() == record);
        let (since, held_for) = match (unchanged, record) {
            (Some(seen), _) => (seen.since, seen.held_for),
            (None, Some(record)) if record.is_free() => (now, Duration::ZERO),
            // The greater one: neither a holder with another configuration nor a number edited by hand may make it short.
            (None, Some(record)) => {
                (now, record.duration.unwrap_or_default().max(self.timing.lease_duration))
            }
            // Deleted: who held it goes on until it has noticed.
            (None, None) => (now, self.seen.as_ref().map_or(Duration::ZERO, |seen| seen.held_for)),
        };
        self.seen = Some(Seen { found, since, held_for });
    }

    fn may_take(&self, now: Instant) -> bool {
        self.is_ours() || self.seen.as_ref().is_some_and(|seen| now - seen.since >= seen.held_for)
    }

    fn pause(&self, jitter: f64) -> Duration {
        if matches!(self.role, Role::Leading { .. }) {
            return self.timing.retry_period;
        }
        let shortest = 1.0 / JITTER;
        self.timing.retry_period.mul_f64(shortest + (1.0 - shortest) * jitter.clamp(0.0, 1.0))
    }

    fn look_again(&mut self, at: Instant) {
        self.basis = Basis::Stale;
        self.not_before = at;
    }

    fn read(&mut self, now: Instant, answer: Answer<V>, jitter: f64) {
        let found = match answer {
            Answer::Found(found) => Some(found),
            Answer::Absent => None,
            Answer::Conflict | Answer::Failed(_) => {
                if matches!(self.role, Role::Resigning) {
                    self.role = Role::Resigned;
                }
                return self.look_again(now + self.pause(jitter));
            }
        };
        self.observe(found, now);
        let holder = self.record().and_then(|record| record.holder.clone());
        let goes_on = match self.role {
            Role::Following => self.may_take(now),
            Role::Leading { .. } => match holder.filter(|holder| *holder != self.identity) {
                Some(other) => {
                    self.role = Role::Lost(Loss::Taken(other));
                    return;
                }
                None => true,
            },
            Role::Resigning if !self.is_ours() => {
                self.role = Role::Resigned;
                return;
            }
            _ => true,
        };
        if goes_on {
            self.basis = Basis::Read;
            self.not_before = now;
        } else {
            // At the latest when it may be taken: a dead holder costs its duration and one pause, not two.
            let free = self.seen.as_ref().map(|seen| seen.since + seen.held_for);
            let pause = now + self.pause(jitter);
            self.look_again(free.map_or(pause, |free| free.min(pause)));
        }
    }

    fn wrote(&mut self, asked: Instant, now: Instant, answer: Answer<V>, jitter: f64) {
        let resigning = matches!(self.role, Role::Resigning);
        let wanted = (!resigning).then(|| self.identity.clone());
        let found = match answer {
            // Something between us and the store may know better.
            Answer::Found(found) if found.record.holder == wanted => found,
            _ => {
                // What was read a moment ago is not in force any more: once at once, then at leisure.
                let at = if self.basis == Basis::Read { now + self.pause(jitter) } else { now };
                if resigning && self.basis == Basis::Read {
                    self.role = Role::Resigned;
                }
                return self.look_again(at);
            }
        };
        let transitions = found.record.transitions;
        self.observe(Some(found), now);
        if resigning {
            self.role = Role::Resigned;
            return;
        }
        // Counted from the start: the others count from when they see it, which is later.
        let until = asked + self.timing.renew_deadline;
        match self.role {
            // So late an answer is of no use any more; `next` says that the term is over.
            Role::Leading { until: end, .. } if now >= end => {}
            _ if now >= until => self.look_again(now),
            _ => {
                self.role = Role::Leading { until, transitions };
                self.basis = Basis::Written;
                self.not_before = asked + self.timing.retry_period;
            }
        }
    }
}

#[cfg(test)]
mod tests;
