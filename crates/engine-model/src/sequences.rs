//! The requests that an engine holds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::Request;

/// Where a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Prefilling,
    /// Decoding since the engine's decode step of this number.
    Decoding {
        from: u64,
    },
}

/// A request in the engine. Times are nanoseconds since the epoch.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) request: Request,
    pub(crate) state: State,
    /// Its place in the order of admissions; a new one with each.
    pub(crate) ticket: u64,
    pub(crate) arrived: u64,
    /// When it was first admitted.
    pub(crate) admitted: u64,
    pub(crate) first_token: u64,
    /// When it was preempted while decoding: its last token came then.
    pub(crate) last_token: u64,
    /// Tokens generated before the present decode.
    pub(crate) generated: u32,
    /// Tokens still to prefill.
    pub(crate) prefill_left: u32,
    /// Tokens that it prefills in each step of the present group.
    pub(crate) chunk: u32,
    pub(crate) preemptions: u32,
    /// Aborted, and left where it is until the step ends or the queue comes to it.
    pub(crate) aborted: bool,
}

impl Sequence {
    pub(crate) fn new(request: Request, arrived: u64) -> Self {
        Self {
            request,
            state: State::Waiting,
            ticket: 0,
            arrived,
            admitted: 0,
            first_token: 0,
            last_token: 0,
            generated: 0,
            prefill_left: 0,
            chunk: 0,
            preemptions: 0,
            aborted: false,
        }
    }

    /// Tokens that are prefilled before the next token, cached ones included; what an admission reserves.
    pub(crate) fn context(&self) -> u64 {
        u64::from(self.request.prompt_tokens) + u64::from(self.generated_before_decode())
    }

    /// While it decodes, the token that the prefill gave is in `generated` but was not part of the context.
    fn generated_before_decode(&self) -> u32 {
        match self.state {
            State::Decoding { .. } => self.generated - 1,
            State::Waiting | State::Prefilling => self.generated,
        }
    }

    /// Prompt tokens that the prefix cache spares; one is always computed.
    pub(crate) fn cached(&self) -> u32 {
        self.request.cached_tokens.min(self.request.prompt_tokens - 1)
    }

    /// KV tokens that it holds after the engine's decode step of number `step`.
    pub(crate) fn kv_tokens(&self, step: u64) -> u64 {
        match self.state {
            State::Waiting => 0,
            State::Prefilling => self.context(),
            State::Decoding { from } => self.context() + (step - from),
        }
    }

    /// The engine's decode step that gives its last token.
    pub(crate) fn finishes(&self, from: u64) -> u64 {
        from + u64::from(self.request.output_tokens - self.generated)
    }
}

/// Sequences by slot, and slots by the caller's ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sequences {
    slots: Vec<Sequence>,
    free: Vec<u32>,
    by_id: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
}

impl Sequences {
    pub(crate) fn insert(&mut self, sequence: Sequence) -> u32 {
        let id = sequence.request.id;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = sequence;
            slot
        } else {
            self.slots.push(sequence);
            (self.slots.len() - 1) as u32
        };
        self.by_id.insert(id, slot);
        slot
    }

    pub(crate) fn slot(&self, id: u64) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Forgets the id; the slot stays until [`Sequences::free`].
    pub(crate) fn forget(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    pub(crate) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

impl std::ops::Index<u32> for Sequences {
    type Output = Sequence;

    fn index(&self, slot: u32) -> &Sequence {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Sequences {
    fn index_mut(&mut self, slot: u32) -> &mut Sequence {
        &mut self.slots[slot as usize]
    }
}

/// Fibonacci hashing: ids are the caller's own counters, and nobody attacks a simulation.
#[derive(Debug, Clone, Copy, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let product = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The map takes its control bits from the top and its index from the bottom.
        self.0 = product ^ (product >> 32);
    }
}
