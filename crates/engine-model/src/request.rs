//! Requests, and what becomes of them.

use std::time::Duration;

/// A request as the engine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The caller's name for it; unique among the requests the engine holds.
    pub id: u64,
    /// Prompt tokens, at least 1.
    pub prompt_tokens: u32,
    /// Tokens that it will generate, at least 1. The model knows it from the start, the scheduler does not use it.
    pub output_tokens: u32,
    /// Leading prompt tokens found in the prefix cache: not computed again, but resident. At least one prompt token is
    /// computed, as in vLLM, so what is more counts as `prompt_tokens - 1`.
    pub cached_tokens: u32,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No prompt, or nothing to generate.
    #[error("a request needs at least one prompt token and one output token")]
    Empty,
    /// It can never fit into the KV cache, not even alone.
    #[error("the request needs {needed} tokens of KV cache, the engine has {capacity}")]
    TooLong {
        /// KV tokens needed at its end.
        needed: u64,
        /// KV tokens there are.
        capacity: u64,
    },
    /// The engine still holds a request of this id.
    #[error("a request with id {id} is in the engine already")]
    Duplicate {
        /// The id.
        id: u64,
    },
}

/// A finished request. All times are since the engine's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The caller's id.
    pub id: u64,
    /// When it was submitted.
    pub arrived: Duration,
    /// When it was first admitted: the queue time ends.
    pub admitted: Duration,
    /// When its first token was there.
    pub first_token: Duration,
    /// When its last token was there.
    pub finished: Duration,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u32,
    /// Prompt tokens that came from the prefix cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
}

impl Finished {
    /// Time to first token.
    pub fn ttft(&self) -> Duration {
        self.first_token.saturating_sub(self.arrived)
    }

    /// From its arrival to its first admission: vLLM's queue time.
    pub fn queue_time(&self) -> Duration {
        self.admitted.saturating_sub(self.arrived)
    }

    /// From its first admission to its first token.
    pub fn prefill_time(&self) -> Duration {
        self.first_token.saturating_sub(self.admitted)
    }

    /// From its first token to its last.
    pub fn decode_time(&self) -> Duration {
        self.finished.saturating_sub(self.first_token)
    }

    /// From its first admission to its last token.
    pub fn inference_time(&self) -> Duration {
        self.finished.saturating_sub(self.admitted)
    }

    /// From its arrival to its last token.
    pub fn end_to_end(&self) -> Duration {
        self.finished.saturating_sub(self.arrived)
    }

    /// Mean time per output token after the first; `None` if there was only one.
    pub fn tpot(&self) -> Option<Duration> {
        let gaps = self.output_tokens.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(self.finished.saturating_sub(self.first_token) / gaps)
    }
}

/// Something an observer can see. All times are since the engine's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request begins its prefill, for the first time or after a preemption.
    Admitted {
        /// The request.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A request's first token is there.
    FirstToken {
        /// The request.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A request lost its KV cache to older ones. It waits at the front of the queue; prompt and generated tokens
    /// are prefilled again.
    Preempted {
        /// The request.
        id: u64,
        /// When.
        at: Duration,
    },
    /// A preempted request's next token (not its first) is there: the one gap between tokens that `Steps` does not tell.
    Resumed {
        /// The request.
        id: u64,
        /// When.
        at: Duration,
        /// Time since its token before.
        gap: Duration,
    },
    /// A request's last token is there.
    Finished(Finished),
    /// Steps of one batch came to their end since the last report.
    Steps(Steps),
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Duration {
        match self {
            Self::Admitted { at, .. }
            | Self::FirstToken { at, .. }
            | Self::Preempted { at, .. }
            | Self::Resumed { at, .. } => *at,
            Self::Finished(finished) => finished.finished,
            Self::Steps(steps) => steps.at,
        }
    }
}

/// Consecutive steps of one batch. Each carried `prefill_tokens + decode_tokens` tokens and was, for each decoding
/// sequence, one gap between two tokens. How many steps a report covers depends on when the engine was advanced; their
/// sum does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// When the last of them ended.
    pub at: Duration,
    /// How many.
    pub count: u32,
    /// How long they took together.
    pub elapsed: Duration,
    /// Prefill tokens of each.
    pub prefill_tokens: u32,
    /// Decode tokens of each: the sequences that decode.
    pub decode_tokens: u32,
}

impl Steps {
    /// Tokens that each step carried.
    pub fn tokens_per_step(&self) -> u32 {
        self.prefill_tokens + self.decode_tokens
    }

    /// The mean length of a step. Within one report a step is longer than the one before by what the KV grew.
    pub fn step(&self) -> Duration {
        self.elapsed.checked_div(self.count).unwrap_or_default()
    }
}

/// Counters since the engine's epoch, as of the last call that moved its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Prompt tokens, cached ones included, of requests whose prefill was completed; once per request.
    pub prompt_tokens: u64,
    /// Those of them that came from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens that were prefilled, recomputation after a preemption included.
    pub prefilled_tokens: u64,
    /// Tokens generated, by requests aborted later too.
    pub generation_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Requests finished.
    pub requests_finished: u64,
    /// Requests aborted.
    pub requests_aborted: u64,
    /// Steps.
    pub steps: u64,
    /// Time spent in steps.
    pub busy: Duration,
}
