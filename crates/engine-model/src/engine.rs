//! The engine: requests in, events out.

mod schedule;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::group::{Group, nanoseconds};
use crate::sequences::{Sequence, Sequences, State};
use crate::{Event, InvalidModel, Limits, Refused, Request, StepCosts, Steps, Totals};

/// A simulated engine with continuous batching and chunked prefill.
///
/// A step carries one token of each decoding sequence, then chunks of prefill in the order of admission, then of newly
/// admitted requests in the order of arrival, up to [`Limits::max_num_batched_tokens`]. An admission reserves the KV
/// cache of the whole prompt, a decode step takes one more token per sequence. Where that does not fit, the newest sequence is
/// preempted: it goes to the front of the queue, and its prompt and what it generated are prefilled again. The batch of a step
/// is fixed when the step begins. What a request needs is known when it is admitted, and the oldest is never preempted for a
/// newer one, so nothing starves.
///
/// Not modelled: KV blocks, sharing of blocks (a cached prefix counts in full for each request), the eviction of
/// prefixes (a hit is the caller's word, after a preemption too), speculative decoding, swapping.
///
/// # Time
///
/// All times are since an epoch of the caller's choice and never go back: an earlier time counts as the latest seen.
/// Calls between two events change nothing: only [`Event::Steps`] comes in more and smaller parts. At one instant,
/// [`Engine::advance`] lets a step that is due begin, so what is submitted at that instant after it waits for that step's end;
/// what is submitted before it is part of it.
#[derive(Debug, Clone)]
pub struct Engine {
    costs: StepCosts,
    limits: Limits,
    sequences: Sequences,
    /// Slots in the order of admission to come; aborted ones stay until they are at the front.
    waiting: VecDeque<u32>,
    /// How many of them are not aborted.
    waiting_count: u32,
    /// Slots in the order of admission.
    running: Vec<u32>,
    /// Those of them that prefill, in the same order.
    prefilling: VecDeque<u32>,
    /// Those of them that decode: the decode step that finishes it, its ticket, its slot.
    decoding: BTreeSet<(u64, u64, u32)>,
    /// Running ones that leave when the step in course ends.
    aborting: Vec<u32>,
    /// Decode steps before the present group.
    decode_steps: u64,
    /// KV tokens reserved before the present group.
    kv_tokens: u64,
    /// Those of them that belong to decoding sequences.
    decode_kv_tokens: u64,
    tickets: u64,
    /// The latest time seen.
    now: u64,
    /// When the next group may begin, if none is in course.
    ready_at: u64,
    group: Option<Group>,
    /// Events that happened before a call that could not hand them out.
    outbox: VecDeque<Event>,
    totals: Totals,
}

impl Engine {
    /// An idle engine.
    pub fn new(costs: StepCosts, limits: Limits) -> Result<Self, InvalidModel> {
        costs.validate()?;
        limits.validate()?;
        Ok(Self::build(costs, limits))
    }

    pub(crate) fn build(costs: StepCosts, limits: Limits) -> Self {
        Self {
            costs,
            limits,
            sequences: Sequences::default(),
            waiting: VecDeque::new(),
            waiting_count: 0,
            running: Vec::new(),
            prefilling: VecDeque::new(),
            decoding: BTreeSet::new(),
            aborting: Vec::new(),
            decode_steps: 0,
            kv_tokens: 0,
            decode_kv_tokens: 0,
            tickets: 0,
            now: 0,
            ready_at: 0,
            group: None,
            outbox: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Takes a request that arrives at `now`. It is admitted by [`Engine::advance`], at the earliest when the step in course ends.
    pub fn submit(&mut self, now: Duration, request: Request) -> Result<(), Refused> {
        if request.prompt_tokens == 0 || request.output_tokens == 0 {
            return Err(Refused::Empty);
        }
        let (needed, capacity) = (Limits::needed(&request), self.limits.kv_capacity_tokens);
        if needed > capacity {
            return Err(Refused::TooLong { needed, capacity });
        }
        self.settle_before(now);
        if self.sequences.slot(request.id).is_some() {
            return Err(Refused::Duplicate { id: request.id });
        }
        if self.group.is_none() && !self.has_work() {
            self.ready_at = self.now;
        }
        let slot = self.sequences.insert(Sequence::new(request, self.now));
        self.waiting.push_back(slot);
        self.waiting_count += 1;
        // Behind others it waits for them, and they for the end of the group.
        if self.waiting_count == 1 {
            let now = self.now;
            let admissible = self.admissible(slot);
            if let Some(group) =
                self.group.as_mut().filter(|group| admissible && group.has_room(&self.limits))
            {
                group.interrupt(now);
            }
        }
        Ok(())
    }

    /// Drops a request whose client went away at `now`; its id is free at once. One that runs keeps its place until the step
    /// in course ends. False if there is no such request (any more).
    pub fn abort(&mut self, now: Duration, id: u64) -> bool {
        self.settle_before(now);
        let Some(slot) = self.sequences.slot(id) else { return false };
        self.sequences.forget(id);
        self.sequences[slot].aborted = true;
        self.totals.requests_aborted += 1;
        if self.sequences[slot].state == State::Waiting {
            self.waiting_count -= 1;
            self.drop_aborted_from_front();
        } else if self.group.is_some() {
            self.aborting.push(slot);
        } else {
            self.remove_running(slot);
        }
        let now = self.now;
        if let Some(group) = &mut self.group {
            group.interrupt(now);
        }
        true
    }

    /// When something an observer can see may happen next: [`Engine::advance`] wants to be called then. It may be now, or
    /// turn out to be nothing but [`Event::Steps`]. `None` when idle.
    pub fn next_event(&self) -> Option<Duration> {
        if let Some(event) = self.outbox.front() {
            return Some(event.at());
        }
        match &self.group {
            Some(group) => Some(Duration::from_nanos(group.end())),
            None => self.has_work().then(|| Duration::from_nanos(self.ready_at)),
        }
    }

    /// Lets everything up to and including `now` happen, in the order of time.
    pub fn advance(&mut self, now: Duration, events: &mut impl FnMut(Event)) {
        while let Some(event) = self.outbox.pop_front() {
            events(event);
        }
        self.now = self.now.max(nanoseconds(now));
        self.settle(self.now.saturating_add(1), events);
        if let Some(ended) = self.group.as_ref().map(|group| group.ended_by(self.now)) {
            self.report(ended, events);
        }
    }

    /// Sequences admitted and not finished.
    pub fn running(&self) -> u32 {
        self.running.len() as u32
    }

    /// Requests that wait for admission, preempted ones included.
    pub fn waiting(&self) -> u32 {
        self.waiting_count
    }

    /// KV tokens reserved, the ones that the step in course writes included.
    pub fn kv_tokens(&self) -> u64 {
        let written = |group: &Group| {
            u64::from(group.decode) * u64::from(group.reported.saturating_add(1).min(group.steps))
        };
        self.kv_tokens + self.group.as_ref().map_or(0, written)
    }

    /// Share of the KV cache that is reserved, 0 to 1.
    pub fn kv_util(&self) -> f64 {
        self.kv_tokens() as f64 / self.limits.kv_capacity_tokens as f64
    }

    /// Output tokens of a request so far, as of the last [`Engine::advance`]. `None` if the engine does not hold it (any
    /// more).
    pub fn generated(&self, id: u64) -> Option<u32> {
        let sequence = &self.sequences[self.sequences.slot(id)?];
        let ended = self.group.as_ref().map_or(0, |group| u64::from(group.reported));
        Some(match sequence.state {
            State::Waiting | State::Prefilling => sequence.generated,
            State::Decoding { from } => sequence.generated + (self.decode_steps + ended - from) as u32,
        })
    }

    /// Counters as of the last [`Engine::advance`].
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What a step costs.
    pub fn costs(&self) -> &StepCosts {
        &self.costs
    }

    /// What there is room for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn has_work(&self) -> bool {
        !self.running.is_empty() || self.waiting_count > 0
    }

    /// Lets everything before `now` happen and keeps the events.
    fn settle_before(&mut self, now: Duration) {
        self.now = self.now.max(nanoseconds(now));
        let mut outbox = std::mem::take(&mut self.outbox);
        self.settle(self.now, &mut |event| outbox.push_back(event));
        self.outbox = outbox;
    }

    /// Lets everything before `limit` (nanoseconds) happen.
    fn settle(&mut self, limit: u64, events: &mut impl FnMut(Event)) {
        loop {
            match &self.group {
                Some(group) if group.end() < limit => self.end(events),
                None if self.has_work() && self.ready_at < limit => self.begin(events),
                _ => return,
            }
        }
    }

    /// Accounts for the first `ended` steps of the group in course, as far as it was not done.
    fn report(&mut self, ended: u32, events: &mut impl FnMut(Event)) {
        let Some(group) = &mut self.group else { return };
        let count = ended.saturating_sub(group.reported);
        if count == 0 {
            return;
        }
        let at = group.end_of(ended);
        let elapsed = Duration::from_nanos(at - group.end_of(group.reported));
        group.reported = ended;
        self.totals.steps += u64::from(count);
        self.totals.busy += elapsed;
        self.totals.prefilled_tokens += u64::from(group.prefill) * u64::from(count);
        self.totals.generation_tokens += u64::from(group.decode) * u64::from(count);
        events(Event::Steps(Steps {
            at: Duration::from_nanos(at),
            count,
            elapsed,
            prefill_tokens: group.prefill,
            decode_tokens: group.decode,
        }));
    }
}

impl Group {
    /// Whether its steps could carry more tokens.
    fn has_room(&self, limits: &Limits) -> bool {
        self.decode + self.prefill < limits.max_num_batched_tokens
    }
}
