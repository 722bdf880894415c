//! Continuous batching with chunked prefill, admission by free KV cache, and preemption by recomputation.
//!
//! Steps of equal composition are taken together as one *stretch*: with `n` sequences decoding, step `j` of a stretch
//! takes `base + j · c · n` seconds, because each step leaves `n` more tokens in the cache. A stretch ends where the
//! composition changes. All its times follow from its beginning, so the results do not depend on how often the engine is
//! asked.

mod queue;
mod stretch;

use std::time::Duration;

use queue::{Queues, Sequence};
use stretch::Stretch;

use crate::{Limits, Preset, StepCosts};

/// The most steps that are taken together: counters and histograms are at most this far behind.
const LONGEST_STRETCH: u64 = 128;

/// A request for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The caller's name for it, unique among those in the engine.
    pub id: u64,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens to generate, at least 1.
    pub output_tokens: u32,
    /// Tokens of the prompt that the prefix cache has: they take room and no time.
    pub cached_tokens: u32,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing to read or nothing to write.
    #[error("a request needs at least one prompt token and one output token")]
    Empty,
    /// It would not fit even alone.
    #[error("the request needs room for {needed} tokens, and the KV cache has {capacity}")]
    TooLong {
        /// Prompt and output, but for the last token.
        needed: u64,
        /// Tokens of the KV cache.
        capacity: u64,
    },
    /// The id is in use.
    #[error("a request with id {0} is here already")]
    Duplicate(u64),
}

/// What became of a request that was answered whole. All times since the engine's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The caller's name for it.
    pub id: u64,
    /// When it was submitted.
    pub arrived: Duration,
    /// When it first ran.
    pub admitted: Duration,
    /// When its first token was there.
    pub first_token: Duration,
    /// When its last token was there.
    pub finished: Duration,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
}

impl Finished {
    /// From its arrival to its last token.
    pub fn end_to_end(&self) -> Duration {
        self.finished.saturating_sub(self.arrived)
    }

    /// From its arrival to its admission: vLLM's queue time.
    pub fn queue_time(&self) -> Duration {
        self.admitted.saturating_sub(self.arrived)
    }

    /// From its admission to its first token.
    pub fn prefill_time(&self) -> Duration {
        self.first_token.saturating_sub(self.admitted)
    }

    /// From its first token to its last.
    pub fn decode_time(&self) -> Duration {
        self.finished.saturating_sub(self.first_token)
    }

    /// From its admission to its last token.
    pub fn inference_time(&self) -> Duration {
        self.finished.saturating_sub(self.admitted)
    }
}

/// Steps of equal composition that are over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// When the last of them ended.
    pub at: Duration,
    /// How many.
    pub count: u32,
    /// How long all of them took.
    pub total: Duration,
    /// Tokens computed in each: decodes and prompt tokens.
    pub tokens_per_step: u32,
    /// Sequences that decoded in each.
    pub decode_tokens_per_step: u32,
}

/// What can be observed of an engine, in order of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A waiting request begins to run, or begins anew after a preemption.
    Admitted {
        /// Which.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A request's first token is there.
    FirstToken {
        /// Which.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A running request lost its place in the KV cache and waits again.
    Preempted {
        /// Which.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A request's last token is there.
    Finished(Finished),
    /// Steps are over.
    Steps(Steps),
}

/// Counters since the engine's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Tokens of prompts that are in the KV cache, counted when the whole prompt is; recomputations are not.
    pub prompt_tokens: u64,
    /// Those of them that the prefix cache had.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Requests answered whole.
    pub requests_finished: u64,
    /// Requests taken back by the caller.
    pub requests_aborted: u64,
    /// Steps that are over.
    pub steps: u64,
    /// Time spent in steps.
    pub busy: Duration,
}

/// One engine. Time is since an epoch of the caller's choice and never goes back.
#[derive(Debug, Clone)]
pub struct Engine {
    costs: StepCosts,
    limits: Limits,
    now: Duration,
    queues: Queues,
    stretch: Option<Stretch>,
    totals: Totals,
    /// Happened, and not told yet.
    untold: Vec<Event>,
}

impl Engine {
    /// An idle engine.
    pub fn new(costs: StepCosts, limits: Limits) -> Self {
        Self {
            costs,
            limits,
            now: Duration::ZERO,
            queues: Queues::default(),
            stretch: None,
            totals: Totals::default(),
            untold: Vec::new(),
        }
    }

    /// An idle engine of this preset.
    pub fn of(preset: &Preset) -> Self {
        Self::new(preset.costs, preset.limits)
    }

    /// Takes a request that arrives at `now`. One that arrives during a step waits for its end.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn submit(&mut self, now: Duration, request: Request) -> Result<(), Refused> {
        let Request { id, prompt_tokens, output_tokens, .. } = request;
        if prompt_tokens == 0 || output_tokens == 0 {
            return Err(Refused::Empty);
        }
        let needed = u64::from(prompt_tokens) + u64::from(output_tokens) - 1;
        let capacity = self.limits.kv_capacity_tokens;
        if needed > capacity {
            return Err(Refused::TooLong { needed, capacity });
        }
        self.progress(now);
        if self.queues.contains(id) {
            return Err(Refused::Duplicate(id));
        }
        self.queues.arrive(request, self.now);
        self.interrupt();
        Ok(())
    }

    /// Takes a request back, because its client went away; what the step under way computes of it is lost. Whether it was
    /// here.
    pub fn abort(&mut self, now: Duration, id: u64) -> bool {
        self.progress(now);
        if self.queues.take_waiting(id) {
            self.totals.requests_aborted += 1;
            return true;
        }
        let runs = self.queues.mark_aborted(id);
        if runs {
            self.interrupt();
        }
        runs
    }

    /// When something happens next; `None` when the engine is idle.
    pub fn next_event(&self) -> Option<Duration> {
        if self.untold.is_empty() { self.stretch.as_ref().map(Stretch::end) } else { Some(self.now) }
    }

    /// Moves on to `now` and tells what happened until then, in order of time.
    pub fn advance(&mut self, now: Duration, events: &mut impl FnMut(Event)) {
        self.progress(now);
        self.untold.drain(..).for_each(events);
    }

    /// Requests that run.
    pub fn running(&self) -> u32 {
        self.queues.running()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.queues.waiting()
    }

    /// Tokens in the KV cache.
    pub fn kv_tokens(&self) -> u64 {
        self.queues.resident + self.decoded_in_stretch()
    }

    /// The share of the KV cache in use, from 0 to 1.
    pub fn kv_util(&self) -> f64 {
        self.kv_tokens() as f64 / self.limits.kv_capacity_tokens as f64
    }

    /// Tokens generated for a request that is here.
    pub fn generated(&self, id: u64) -> Option<u32> {
        let steps = self.stretch.as_ref().map_or(0, |stretch| stretch.steps_at(self.now));
        self.queues.generated(id, steps)
    }

    /// The counters now.
    pub fn totals(&self) -> Totals {
        let decoded = self.decoded_in_stretch();
        Totals { generation_tokens: self.totals.generation_tokens + decoded, ..self.totals }
    }

    /// Tokens that the steps of the stretch under way have generated.
    fn decoded_in_stretch(&self) -> u64 {
        self.stretch.as_ref().map_or(0, |s| s.steps_at(self.now) * u64::from(s.decodes))
    }

    /// Ends every stretch that is over at `now`, and begins the next ones.
    fn progress(&mut self, now: Duration) {
        let now = now.max(self.now);
        while let Some(stretch) = self.stretch.take() {
            if stretch.end() > now {
                self.stretch = Some(stretch);
                break;
            }
            self.now = stretch.end();
            self.finish(&stretch);
            self.begin();
        }
        self.now = now;
    }

    /// Something changed: the stretch under way ends with its present step.
    fn interrupt(&mut self) {
        match &mut self.stretch {
            Some(stretch) => stretch.cut(self.now),
            None => self.begin(),
        }
    }

    /// Puts together what the next steps compute.
    fn begin(&mut self) {
        self.make_room();
        self.admit();
        if self.queues.running() == 0 {
            return;
        }
        let decodes = self.queues.decoding();
        let budget = self.limits.max_num_batched_tokens.saturating_sub(decodes);
        let (prefill, attended) = self.queues.plan_prefill(budget);
        let kv_tokens = self.queues.resident;
        let first = self.costs.step(decodes, kv_tokens, prefill, attended);
        let steps = if prefill > 0 { 1 } else { self.steps_alike(decodes) };
        let growth = self.costs.per_kv_token * f64::from(decodes);
        self.stretch = Some(Stretch::new(self.now, first, growth, steps, decodes, prefill));
        debug_assert!(
            self.queues.reserved <= self.limits.kv_capacity_tokens,
            "the KV cache is never overfull"
        );
    }

    /// How many steps go by before a sequence ends or the cache is full.
    fn steps_alike(&self, decodes: u32) -> u64 {
        let room = (self.limits.kv_capacity_tokens - self.queues.reserved) / u64::from(decodes.max(1));
        let next_end = self.queues.steps_to_next_end().unwrap_or(LONGEST_STRETCH);
        room.min(next_end).clamp(1, LONGEST_STRETCH)
    }

    /// Preempts the newest sequences until each decoding one has room for its next token.
    fn make_room(&mut self) {
        while self.queues.reserved + u64::from(self.queues.decoding()) > self.limits.kv_capacity_tokens {
            let Some(id) = self.queues.preempt_newest() else { return };
            self.totals.preemptions += 1;
            self.untold.push(Event::Preempted { id, at: self.now });
        }
    }

    /// Lets waiting requests run, first come, first served, while there is room for them.
    fn admit(&mut self) {
        let mut budget = self.limits.max_num_batched_tokens.saturating_sub(self.queues.decoding());
        budget = budget.saturating_sub(self.queues.left_to_prefill());
        while budget > 0
            && self.queues.running() < self.limits.max_num_seqs
            && let Some(next) = self.queues.first_waiting()
        {
            let alone = self.queues.running() == 0;
            // The others go on growing: their next tokens, and the watermark, stay free.
            let kept = if alone { 0 } else { self.limits.watermark() + u64::from(self.queues.decoding()) };
            if self.queues.reserved + next.room() + kept > self.limits.kv_capacity_tokens {
                return;
            }
            budget = budget.saturating_sub(next.left());
            if let Some(id) = self.queues.admit_first(self.now) {
                self.untold.push(Event::Admitted { id, at: self.now });
            }
        }
    }

    /// Accounts for a stretch that is over.
    fn finish(&mut self, stretch: &Stretch) {
        let (steps, decodes) = (stretch.steps(), stretch.decodes);
        self.totals.steps += steps;
        self.totals.busy += stretch.lasted();
        self.totals.generation_tokens += steps * u64::from(decodes);
        self.untold.push(Event::Steps(Steps {
            at: self.now,
            count: u32::try_from(steps).unwrap_or(u32::MAX),
            total: stretch.lasted(),
            tokens_per_step: decodes + stretch.prefill,
            decode_tokens_per_step: decodes,
        }));
        self.queues.decoded(steps);
        self.totals.requests_aborted += self.queues.drop_aborted();
        for id in self.queues.prefilled() {
            self.totals.generation_tokens += 1;
            if let Some(Sequence { request, .. }) = self.queues.first_token(id, self.now) {
                self.totals.prompt_tokens += u64::from(request.prompt_tokens);
                self.totals.cached_tokens += u64::from(request.cached_tokens.min(request.prompt_tokens - 1));
                self.untold.push(Event::FirstToken { id, at: self.now });
            }
        }
        while let Some(finished) = self.queues.next_finished(self.now) {
            self.totals.requests_finished += 1;
            self.untold.push(Event::Finished(finished));
        }
    }
}

#[cfg(test)]
mod tests;
