//! The requests of an engine: waiting, prefilling, decoding. No time passes here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::{Finished, Request};

/// One request and how far it is.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: Request,
    arrived: Duration,
    admitted: Option<Duration>,
    first_token: Option<Duration>,
    preemptions: u32,
    /// Tokens generated, but for those since `decoding_since`.
    generated: u32,
    state: State,
    aborted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Prefilling {
        order: u64,
        /// Tokens still to be computed.
        left: u32,
        /// Tokens planned for the step under way.
        planned: u32,
    },
    Decoding {
        order: u64,
        /// Decode steps of the engine when it began to decode.
        since: u64,
    },
}

impl Sequence {
    /// Tokens that have to be in the cache before it can go on: its prompt, and after a preemption what it generated.
    pub(super) fn room(&self) -> u64 {
        u64::from(self.request.prompt_tokens) + u64::from(self.generated)
    }

    /// Tokens of these that have to be computed: at least the last one, whatever the prefix cache has.
    pub(super) fn left(&self) -> u32 {
        let tokens = self.request.prompt_tokens.saturating_add(self.generated);
        tokens - self.cached()
    }

    fn cached(&self) -> u32 {
        self.request.cached_tokens.min(self.request.prompt_tokens - 1)
    }
}

/// All requests of an engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    sequences: HashMap<u64, Sequence>,
    waiting: VecDeque<u64>,
    /// By order of admission.
    running: BTreeMap<u64, u64>,
    /// In order of admission, a part of `running`.
    prefilling: VecDeque<u64>,
    /// When decoding sequences end, in decode steps of the engine. May hold some that are gone.
    ends: BinaryHeap<Reverse<(u64, u64, u64)>>,
    /// Those that end now, in order.
    ended: VecDeque<u64>,
    aborted: Vec<u64>,
    /// Decode steps so far.
    decode_steps: u64,
    next_order: u64,
    /// Tokens in the cache.
    pub(super) resident: u64,
    /// Tokens in the cache or promised to prompts that are being computed.
    pub(super) reserved: u64,
}

impl Queues {
    pub(super) fn contains(&self, id: u64) -> bool {
        self.sequences.contains_key(&id)
    }

    pub(super) fn running(&self) -> u32 {
        self.running.len() as u32
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    pub(super) fn decoding(&self) -> u32 {
        (self.running.len() - self.prefilling.len()) as u32
    }

    /// Tokens generated for a request, when `steps` further steps have gone by.
    pub(super) fn generated(&self, id: u64, steps: u64) -> Option<u32> {
        let sequence = self.sequences.get(&id)?;
        let decoded = match sequence.state {
            State::Decoding { since, .. } => self.decode_steps + steps - since,
            _ => 0,
        };
        Some(sequence.generated + decoded as u32)
    }

    pub(super) fn arrive(&mut self, request: Request, arrived: Duration) {
        let sequence = Sequence {
            request,
            arrived,
            admitted: None,
            first_token: None,
            preemptions: 0,
            generated: 0,
            state: State::Waiting,
            aborted: false,
        };
        self.sequences.insert(request.id, sequence);
        self.waiting.push_back(request.id);
    }

    pub(super) fn take_waiting(&mut self, id: u64) -> bool {
        let waits = self.sequences.get(&id).is_some_and(|sequence| sequence.state == State::Waiting);
        if waits {
            self.waiting.retain(|waiting| *waiting != id);
            self.sequences.remove(&id);
        }
        waits
    }

    /// Notes that a running request is to be dropped at the end of the step.
    pub(super) fn mark_aborted(&mut self, id: u64) -> bool {
        let Some(sequence) = self.sequences.get_mut(&id).filter(|sequence| !sequence.aborted) else {
            return false;
        };
        sequence.aborted = true;
        self.aborted.push(id);
        true
    }

    pub(super) fn first_waiting(&self) -> Option<&Sequence> {
        self.sequences.get(self.waiting.front()?)
    }

    /// The first of the waiting requests begins to run.
    pub(super) fn admit_first(&mut self, now: Duration) -> Option<u64> {
        let id = self.waiting.pop_front()?;
        let sequence = self.sequences.get_mut(&id)?;
        let order = self.next_order;
        self.next_order += 1;
        sequence.admitted.get_or_insert(now);
        sequence.state = State::Prefilling { order, left: sequence.left(), planned: 0 };
        self.resident += u64::from(sequence.cached());
        self.reserved += sequence.room();
        self.running.insert(order, id);
        self.prefilling.push_back(id);
        Some(id)
    }

    /// Prompt tokens still to be computed.
    pub(super) fn left_to_prefill(&self) -> u32 {
        let left = self.prefilling.iter().filter_map(|id| match self.sequences.get(id)?.state {
            State::Prefilling { left, .. } => Some(left),
            _ => None,
        });
        left.fold(0, u32::saturating_add)
    }

    /// Shares `budget` tokens among the prompts, in order of admission. All planned, and the sum over these of the tokens
    /// before them.
    pub(super) fn plan_prefill(&mut self, mut budget: u32) -> (u32, f64) {
        let (mut all, mut attended) = (0, 0.0);
        for id in &self.prefilling {
            let Some(sequence) = self.sequences.get_mut(id) else { continue };
            let room = sequence.room();
            let State::Prefilling { left, planned, .. } = &mut sequence.state else { continue };
            *planned = budget.min(*left);
            budget -= *planned;
            all += *planned;
            let before = room - u64::from(*left);
            attended += f64::from(*planned) * (before as f64 + f64::from(*planned) / 2.0);
            if budget == 0 {
                break;
            }
        }
        (all, attended)
    }

    /// Steps until the first decoding sequence has all its tokens.
    pub(super) fn steps_to_next_end(&self) -> Option<u64> {
        // One that is gone may be at the top: then the stretch is shorter than it need be.
        self.ends.peek().map(|Reverse((end, ..))| end.saturating_sub(self.decode_steps).max(1))
    }

    /// The newest running sequence waits again, before all others, and will be computed anew.
    pub(super) fn preempt_newest(&mut self) -> Option<u64> {
        let (_, id) = self.running.pop_last()?;
        let sequence = self.sequences.get_mut(&id)?;
        let (resident, reserved) = held(sequence, self.decode_steps);
        if let State::Decoding { since, .. } = sequence.state {
            sequence.generated += (self.decode_steps - since) as u32;
        }
        sequence.state = State::Waiting;
        sequence.preemptions += 1;
        self.resident -= resident;
        self.reserved -= reserved;
        self.prefilling.retain(|prefilling| *prefilling != id);
        self.waiting.push_front(id);
        Some(id)
    }

    /// Every decoding sequence has `steps` tokens more, every planned prompt token is computed.
    pub(super) fn decoded(&mut self, steps: u64) {
        let tokens = steps * u64::from(self.decoding());
        self.decode_steps += steps;
        self.resident += tokens;
        self.reserved += tokens;
        for id in &self.prefilling {
            let Some(sequence) = self.sequences.get_mut(id) else { continue };
            let State::Prefilling { left, planned, .. } = &mut sequence.state else { continue };
            if *planned == 0 {
                break;
            }
            *left -= *planned;
            self.resident += u64::from(*planned);
            *planned = 0;
        }
    }

    /// Drops what was aborted during the step. How many.
    pub(super) fn drop_aborted(&mut self) -> u64 {
        let aborted = std::mem::take(&mut self.aborted);
        for id in &aborted {
            self.remove(*id);
        }
        aborted.len() as u64
    }

    /// The prompts that are computed now.
    pub(super) fn prefilled(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        while let Some(id) = self.prefilling.front().copied() {
            match self.sequences.get(&id).map(|sequence| sequence.state) {
                Some(State::Prefilling { left: 0, .. }) => done.push(id),
                _ => break,
            }
            self.prefilling.pop_front();
        }
        done
    }

    /// A computed prompt yields a token, and its sequence decodes from now on. The sequence, if it is its first token.
    pub(super) fn first_token(&mut self, id: u64, now: Duration) -> Option<Sequence> {
        let sequence = self.sequences.get_mut(&id)?;
        let State::Prefilling { order, .. } = sequence.state else { return None };
        let is_first = sequence.first_token.is_none();
        sequence.first_token.get_or_insert(now);
        sequence.generated += 1;
        sequence.state = State::Decoding { order, since: self.decode_steps };
        let left = u64::from(sequence.request.output_tokens - sequence.generated);
        if left == 0 {
            self.ended.push_back(id);
        } else {
            self.ends.push(Reverse((self.decode_steps + left, order, id)));
        }
        is_first.then(|| sequence.clone())
    }

    /// The next request that has all its tokens; it is gone from here.
    pub(super) fn next_finished(&mut self, now: Duration) -> Option<Finished> {
        let id = self.ended.pop_front().or_else(|| self.next_end())?;
        let Sequence { request, arrived, admitted, first_token, preemptions, .. } = self.remove(id)?;
        Some(Finished {
            id,
            arrived,
            admitted: admitted.unwrap_or(arrived),
            first_token: first_token.unwrap_or(now),
            finished: now,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            preemptions,
        })
    }

    fn next_end(&mut self) -> Option<u64> {
        while let Some(Reverse((end, order, id))) = self.ends.peek().copied() {
            // A preempted sequence got another order, one that is gone has none.
            let state = self.sequences.get(&id).map(|sequence| sequence.state);
            let stands = matches!(state, Some(State::Decoding { order: of, .. }) if of == order);
            if stands && end > self.decode_steps {
                return None;
            }
            self.ends.pop();
            if stands {
                return Some(id);
            }
        }
        None
    }

    fn remove(&mut self, id: u64) -> Option<Sequence> {
        let sequence = self.sequences.remove(&id)?;
        let (resident, reserved) = held(&sequence, self.decode_steps);
        self.resident -= resident;
        self.reserved -= reserved;
        match sequence.state {
            State::Waiting => self.waiting.retain(|waiting| *waiting != id),
            State::Prefilling { order, .. } => {
                self.running.remove(&order);
                self.prefilling.retain(|prefilling| *prefilling != id);
            }
            State::Decoding { order, .. } => {
                self.running.remove(&order);
            }
        }
        Some(sequence)
    }
}

/// Tokens that a sequence has in the cache, and those that are kept for it.
fn held(sequence: &Sequence, decode_steps: u64) -> (u64, u64) {
    match sequence.state {
        State::Waiting => (0, 0),
        State::Prefilling { left, .. } => (sequence.room() - u64::from(left), sequence.room()),
        State::Decoding { since, .. } => {
            // The token generated last is not in the cache yet.
            let tokens = sequence.room() + (decode_steps - since) - 1;
            (tokens, tokens)
        }
    }
}
