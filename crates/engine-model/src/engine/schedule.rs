//! What a step carries, and what its end brings.

use std::time::Duration;

use super::Engine;
use crate::group::Group;
use crate::sequences::State;
use crate::{Batch, Event, Finished};

/// The prefill of a step while it is put together.
struct Prefill {
    /// Tokens that the step could still carry.
    room: u32,
    tokens: u32,
    context: f64,
    chunks: u32,
    /// How many chunks of this size the last sequence can fill.
    repeats: u32,
}

impl Engine {
    /// Fixes the batch and for how many steps it stays the same.
    pub(super) fn begin(&mut self, events: &mut impl FnMut(Event)) {
        let at = self.ready_at;
        let preempted = self.preempt(at, events);
        let decode = self.decoding.len() as u32;
        let room = self.limits.max_num_batched_tokens - decode;
        let mut prefill = Prefill { room, tokens: 0, context: 0.0, chunks: 0, repeats: 0 };
        for place in 0..self.prefilling.len() {
            self.add_chunk(self.prefilling[place], &mut prefill);
        }
        // As in vLLM: a step that preempts does not admit.
        while !preempted && prefill.room > 0 {
            let Some(slot) = self.waiting.front().copied().filter(|slot| self.admissible(*slot)) else {
                break;
            };
            self.admit(slot, at, events);
            self.add_chunk(slot, &mut prefill);
        }
        debug_assert!(decode + prefill.tokens > 0, "a step carries something");
        let batch = Batch {
            decode_tokens: decode,
            kv_tokens: self.decode_kv_tokens,
            prefill_tokens: prefill.tokens,
            prefill_context: prefill.context,
        };
        // Several chunks last one step.
        let size = if prefill.chunks == 1 { f64::from(prefill.tokens) } else { 0.0 };
        self.group = Some(Group {
            start: at,
            first: self.costs.step(&batch),
            growth: self.costs.kv_token_seconds * f64::from(decode)
                + self.costs.prefill_context_seconds * size * size,
            steps: self.steps(decode, &prefill),
            reported: 0,
            decode,
            prefill: prefill.tokens,
        });
    }

    /// For how many steps the batch stays the same: until a sequence finishes, a prefill does not fill the step any more, or
    /// the KV cache is full.
    fn steps(&self, decode: u32, prefill: &Prefill) -> u32 {
        let mut steps = match prefill.chunks {
            0 => u64::from(u32::MAX),
            1 => u64::from(prefill.repeats),
            _ => 1,
        };
        if let Some((finishes, ..)) = self.decoding.first() {
            let free = self.limits.kv_capacity_tokens - self.kv_tokens;
            steps = steps.min(finishes - self.decode_steps).min(free / u64::from(decode));
        }
        debug_assert!((1..u64::from(u32::MAX)).contains(&steps), "a group has an end: {steps}");
        steps.max(1) as u32
    }

    /// Makes room for one token per decoding sequence. The oldest always has it: it was refused otherwise.
    fn preempt(&mut self, at: u64, events: &mut impl FnMut(Event)) -> bool {
        let mut preempted = false;
        while self.kv_tokens + self.decoding.len() as u64 > self.limits.kv_capacity_tokens {
            let Some(slot) = self.running.pop() else { break };
            debug_assert!(!self.running.is_empty(), "the oldest is never preempted");
            preempted = true;
            self.release(slot);
            let steps = self.decode_steps;
            let sequence = &mut self.sequences[slot];
            if let State::Decoding { from } = sequence.state {
                sequence.generated += (steps - from) as u32;
                sequence.last_token = at;
            }
            sequence.state = State::Waiting;
            sequence.preemptions += 1;
            let id = sequence.request.id;
            self.waiting.push_front(slot);
            self.waiting_count += 1;
            self.totals.preemptions += 1;
            events(Event::Preempted { id, at: Duration::from_nanos(at) });
        }
        preempted
    }

    /// Gives back the KV cache of a running sequence and takes it out of prefill or decode.
    fn release(&mut self, slot: u32) {
        let sequence = &self.sequences[slot];
        let kv_tokens = sequence.kv_tokens(self.decode_steps);
        match sequence.state {
            State::Waiting => debug_assert!(false, "what waits holds nothing"),
            // Mostly the last one.
            State::Prefilling => {
                if let Some(place) = self.prefilling.iter().rposition(|other| *other == slot) {
                    self.prefilling.remove(place);
                }
            }
            State::Decoding { from } => {
                self.decoding.remove(&(sequence.finishes(from), sequence.ticket, slot));
                self.decode_kv_tokens -= kv_tokens;
            }
        }
        self.kv_tokens -= kv_tokens;
    }

    /// Takes a sequence out of the engine before it has finished.
    pub(super) fn remove_running(&mut self, slot: u32) {
        self.release(slot);
        self.leave(slot);
    }

    /// The last that is done with a running sequence.
    fn leave(&mut self, slot: u32) {
        let ticket = self.sequences[slot].ticket;
        if let Ok(place) = self.running.binary_search_by_key(&ticket, |other| self.sequences[*other].ticket) {
            self.running.remove(place);
        }
        self.sequences.free(slot);
    }

    pub(super) fn drop_aborted_from_front(&mut self) {
        while let Some(slot) = self.waiting.front().copied().filter(|slot| self.sequences[*slot].aborted) {
            self.waiting.pop_front();
            self.sequences.free(slot);
        }
    }

    /// Whether a waiting sequence could run now: a place, room for its prompt and for this step's decode tokens, and the
    /// watermark unless nothing runs.
    pub(super) fn admissible(&self, slot: u32) -> bool {
        let needed = self.kv_tokens + self.decoding.len() as u64 + self.sequences[slot].context();
        let watermark = if self.running.is_empty() { 0 } else { self.limits.watermark_tokens() };
        self.running() < self.limits.sequences() && needed + watermark <= self.limits.kv_capacity_tokens
    }

    /// Lets the front of the queue run.
    fn admit(&mut self, slot: u32, at: u64, events: &mut impl FnMut(Event)) {
        self.waiting.pop_front();
        self.waiting_count -= 1;
        self.drop_aborted_from_front();
        self.tickets += 1;
        let sequence = &mut self.sequences[slot];
        sequence.state = State::Prefilling;
        sequence.ticket = self.tickets;
        sequence.prefill_left = sequence.context() as u32 - sequence.cached();
        if sequence.preemptions == 0 {
            sequence.admitted = at;
        }
        self.kv_tokens += sequence.context();
        self.running.push(slot);
        self.prefilling.push_back(slot);
        events(Event::Admitted { id: sequence.request.id, at: Duration::from_nanos(at) });
    }

    fn add_chunk(&mut self, slot: u32, prefill: &mut Prefill) {
        if prefill.room == 0 {
            return;
        }
        let sequence = &mut self.sequences[slot];
        let left = sequence.prefill_left;
        let chunk = left.min(prefill.room);
        sequence.chunk = chunk;
        let before = sequence.context() - u64::from(left);
        prefill.context += f64::from(chunk) * (before as f64 + f64::from(chunk) / 2.0);
        prefill.room -= chunk;
        prefill.tokens += chunk;
        prefill.chunks += 1;
        prefill.repeats = left / chunk;
    }

    /// Lets the group in course end.
    pub(super) fn end(&mut self, events: &mut impl FnMut(Event)) {
        let Some(steps) = self.group.as_ref().map(|group| group.steps) else { return };
        self.report(steps, events);
        let Some(group) = self.group.take() else { return };
        let at = group.end();
        self.ready_at = at;
        let written = u64::from(group.decode) * u64::from(steps);
        self.kv_tokens += written;
        self.decode_kv_tokens += written;
        self.decode_steps += u64::from(steps);
        debug_assert!(self.kv_tokens <= self.limits.kv_capacity_tokens, "the KV cache overflows");
        while let Some(slot) = self.aborting.pop() {
            self.remove_running(slot);
        }
        self.end_chunks(at, steps, events);
        while let Some((_, _, slot)) =
            self.decoding.first().filter(|next| next.0 == self.decode_steps).copied()
        {
            self.release(slot);
            self.finish(slot, at, events);
        }
        debug_assert_eq!(self.running.len(), self.prefilling.len() + self.decoding.len());
        debug_assert!(self.running() <= self.limits.sequences() && self.decode_kv_tokens <= self.kv_tokens);
    }

    /// Accounts for the chunks of the group. Only the last of them can leave something to prefill.
    fn end_chunks(&mut self, at: u64, steps: u32, events: &mut impl FnMut(Event)) {
        while let Some(slot) = self.prefilling.front().copied() {
            let sequence = &mut self.sequences[slot];
            let chunk = std::mem::take(&mut sequence.chunk);
            sequence.prefill_left -= chunk * steps;
            if chunk == 0 || sequence.prefill_left > 0 {
                break;
            }
            self.prefilling.pop_front();
            self.prefilled(slot, at, events);
        }
    }

    /// A prefill is complete and gives a token.
    fn prefilled(&mut self, slot: u32, at: u64, events: &mut impl FnMut(Event)) {
        let from = self.decode_steps;
        let sequence = &mut self.sequences[slot];
        let id = sequence.request.id;
        self.totals.generation_tokens += 1;
        if sequence.generated == 0 {
            sequence.first_token = at;
            self.totals.prompt_tokens += u64::from(sequence.request.prompt_tokens);
            self.totals.cached_tokens += u64::from(sequence.cached());
            events(Event::FirstToken { id, at: Duration::from_nanos(at) });
        } else {
            let gap = Duration::from_nanos(at - sequence.last_token);
            events(Event::Resumed { id, at: Duration::from_nanos(at), gap });
        }
        sequence.generated += 1;
        sequence.state = State::Decoding { from };
        let kv_tokens = sequence.context();
        if sequence.generated == sequence.request.output_tokens {
            self.kv_tokens -= kv_tokens;
            self.finish(slot, at, events);
        } else {
            self.decode_kv_tokens += kv_tokens;
            self.decoding.insert((sequence.finishes(from), sequence.ticket, slot));
        }
    }

    /// The last token of a sequence whose KV cache was given back.
    fn finish(&mut self, slot: u32, at: u64, events: &mut impl FnMut(Event)) {
        let sequence = &self.sequences[slot];
        let finished = Finished {
            id: sequence.request.id,
            arrived: Duration::from_nanos(sequence.arrived),
            admitted: Duration::from_nanos(sequence.admitted),
            first_token: Duration::from_nanos(sequence.first_token),
            finished: Duration::from_nanos(at),
            prompt_tokens: sequence.request.prompt_tokens,
            cached_tokens: sequence.cached(),
            output_tokens: sequence.request.output_tokens,
            preemptions: sequence.preemptions,
        };
        self.sequences.forget(finished.id);
        self.leave(slot);
        self.totals.requests_finished += 1;
        events(Event::Finished(finished));
    }
}
