//! The same engine, written the slow way: one step at a time, all sequences looked at in each.

use std::collections::VecDeque;
use std::time::Duration;

use windlass_engine_model::*;

#[derive(Debug, Clone)]
struct Sequence {
    request: Request,
    arrived: Duration,
    admitted: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Duration,
    /// Tokens in the KV cache, and reserved.
    computed: u32,
    reserved: u32,
    generated: u32,
    preemptions: u32,
    /// Only its last token is not in the KV cache.
    decodes: bool,
}

impl Sequence {
    fn target(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }
}

/// What the outside does to an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Submit(Request),
    Abort(u64),
}

/// All events but `Steps`, and the steps summed up.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    pub(crate) steps: u64,
    pub(crate) busy: Duration,
    pub(crate) prefilled: u64,
    pub(crate) decoded: u64,
}

/// Runs `actions` (in the order of time) to the end.
pub(crate) fn run(costs: &StepCosts, limits: &Limits, actions: &[(Duration, Action)]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut actions: VecDeque<_> = actions.iter().copied().collect();
    let (mut waiting, mut running) = (VecDeque::<Sequence>::new(), Vec::<Sequence>::new());
    let mut now = Duration::ZERO;
    loop {
        if running.is_empty() && waiting.is_empty() {
            let Some((at, _)) = actions.front() else { return outcome };
            now = now.max(*at);
        }
        while let Some((at, action)) = actions.front().copied().filter(|(at, _)| *at <= now) {
            actions.pop_front();
            apply(action, at, limits, &mut waiting, &mut running);
        }
        if !running.is_empty() || !waiting.is_empty() {
            now = step(costs, limits, now, &mut waiting, &mut running, &mut actions, &mut outcome);
        }
    }
}

fn apply(
    action: Action,
    arrived: Duration,
    limits: &Limits,
    waiting: &mut VecDeque<Sequence>,
    running: &mut Vec<Sequence>,
) {
    match action {
        Action::Submit(request) => {
            let needed = u64::from(request.prompt_tokens + request.output_tokens) - 1;
            if needed <= limits.kv_capacity_tokens {
                waiting.push_back(Sequence {
                    request,
                    arrived,
                    admitted: None,
                    first_token: None,
                    last_token: Duration::ZERO,
                    computed: 0,
                    reserved: 0,
                    generated: 0,
                    preemptions: 0,
                    decodes: false,
                });
            }
        }
        Action::Abort(id) => {
            waiting.retain(|sequence| sequence.request.id != id);
            running.retain(|sequence| sequence.request.id != id);
        }
    }
}

fn step(
    costs: &StepCosts,
    limits: &Limits,
    now: Duration,
    waiting: &mut VecDeque<Sequence>,
    running: &mut Vec<Sequence>,
    actions: &mut VecDeque<(Duration, Action)>,
    outcome: &mut Outcome,
) -> Duration {
    let capacity = limits.kv_capacity_tokens;
    let kv = |running: &[Sequence]| running.iter().map(|one| u64::from(one.reserved)).sum::<u64>();
    let decoding = |running: &[Sequence]| running.iter().filter(|one| one.decodes).count() as u64;
    let mut preempted = false;
    while kv(running) + decoding(running) > capacity {
        let mut newest = running.pop().unwrap();
        newest.last_token = newest.last_token.max(if newest.decodes { now } else { Duration::ZERO });
        newest.decodes = false;
        newest.computed = 0;
        newest.reserved = 0;
        newest.preemptions += 1;
        outcome.events.push(Event::Preempted { id: newest.request.id, at: now });
        waiting.push_front(newest);
        preempted = true;
    }
    let mut batch = Batch::default();
    for one in running.iter_mut().filter(|one| one.decodes) {
        batch.decode_tokens += 1;
        batch.kv_tokens += u64::from(one.reserved);
        one.reserved += 1;
    }
    let mut room = limits.max_num_batched_tokens - batch.decode_tokens;
    let mut chunks = vec![0; running.len()];
    for (one, chunk) in running.iter().zip(&mut chunks).filter(|(one, _)| !one.decodes) {
        *chunk = (one.target() - one.computed).min(room);
        room -= *chunk;
    }
    while !preempted && room > 0 && (running.len() as u32) < limits.sequences() {
        let Some(head) = waiting.front() else { break };
        let watermark = if running.is_empty() { 0.0 } else { (capacity as f64 * limits.watermark).floor() };
        if kv(running) + u64::from(head.target()) + watermark as u64 > capacity {
            break;
        }
        let mut head = waiting.pop_front().unwrap();
        head.admitted = head.admitted.or(Some(now));
        head.computed = head.request.cached_tokens.min(head.request.prompt_tokens - 1);
        head.reserved = head.target();
        let chunk = (head.target() - head.computed).min(room);
        room -= chunk;
        chunks.push(chunk);
        outcome.events.push(Event::Admitted { id: head.request.id, at: now });
        running.push(head);
    }
    assert!(kv(running) <= capacity);
    for (one, chunk) in running.iter().zip(&chunks) {
        batch.prefill_tokens += chunk;
        batch.prefill_context += f64::from(*chunk) * (f64::from(one.computed) + f64::from(*chunk) / 2.0);
    }
    let length = Duration::from_nanos((costs.step(&batch) * 1e9).round() as u64);
    let end = now + length;
    outcome.steps += 1;
    outcome.busy += length;
    outcome.prefilled += u64::from(batch.prefill_tokens);
    outcome.decoded += u64::from(batch.decode_tokens);
    // Who is aborted during the step leaves before its end is told.
    let mut later = VecDeque::new();
    while let Some((at, action)) = actions.pop_front() {
        match action {
            Action::Abort(id) if at <= end && at > now => {
                let place = running.iter().position(|one| one.request.id == id);
                if let Some(place) = place {
                    running.remove(place);
                    chunks.remove(place);
                }
                waiting.retain(|one| one.request.id != id);
                later.retain(|(_, other)| !matches!(other, Action::Submit(new) if new.id == id));
            }
            _ => later.push_back((at, action)),
        }
    }
    *actions = later;
    tell(end, running, &chunks, outcome);
    end
}

/// Prefills that are complete come first in the order of admission, then what decoded to its end.
fn tell(end: Duration, running: &mut Vec<Sequence>, chunks: &[u32], outcome: &mut Outcome) {
    let mut decoded = Vec::new();
    for (one, chunk) in running.iter_mut().zip(chunks.iter().copied().chain(std::iter::repeat(0))) {
        if one.decodes {
            one.computed += 1;
            one.generated += 1;
            if one.generated == one.request.output_tokens {
                decoded.push(Event::Finished(record(one, end)));
            }
            continue;
        }
        one.computed += chunk;
        if one.computed < one.target() {
            continue;
        }
        let id = one.request.id;
        if one.generated == 0 {
            one.first_token = Some(end);
            outcome.events.push(Event::FirstToken { id, at: end });
        } else {
            outcome.events.push(Event::Resumed {
                id,
                at: end,
                gap: end.checked_sub(one.last_token).unwrap(),
            });
        }
        one.generated += 1;
        one.decodes = true;
        if one.generated == one.request.output_tokens {
            outcome.events.push(Event::Finished(record(one, end)));
        }
    }
    outcome.events.extend(decoded);
    running.retain(|one| one.generated < one.request.output_tokens);
}

fn record(one: &Sequence, finished: Duration) -> Finished {
    Finished {
        id: one.request.id,
        arrived: one.arrived,
        admitted: one.admitted.unwrap(),
        first_token: one.first_token.unwrap(),
        finished,
        prompt_tokens: one.request.prompt_tokens,
        cached_tokens: one.request.cached_tokens.min(one.request.prompt_tokens - 1),
        output_tokens: one.request.output_tokens,
        preemptions: one.preemptions,
    }
}
