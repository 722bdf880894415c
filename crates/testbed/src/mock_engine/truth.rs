//! What the engine model itself knows: `GET /truth`, which is simulated and which real engines do not have.
//!
//! It is counted apart from the page: from the model's state and from the records of finished requests, not from the page's
//! tallies. So a page that says something else is wrong.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_engine_model::Finished;

use super::EngineKind;

/// A quantity under its engine-neutral name: name, unit, and value where it is known.
pub(super) type Known = (&'static str, &'static str, Option<f64>);

/// Sums over the requests finished so far.
#[derive(Debug, Default)]
pub(super) struct Sums {
    finished: u64,
    ttft: Duration,
    end_to_end: Duration,
    queue: Duration,
    prompt_tokens: u64,
    output_tokens: u64,
    /// From first tokens to last ones, and how many tokens came in that time.
    decode: Duration,
    gaps: u64,
    /// Means per request, in seconds, and how many requests had more than one token.
    tpot: f64,
    with_tpot: u64,
    time_per_token: f64,
}

impl Sums {
    pub(super) fn add(&mut self, record: &Finished) {
        self.finished += 1;
        self.ttft += record.ttft();
        self.end_to_end += record.end_to_end();
        self.queue += record.queue_time();
        self.prompt_tokens += u64::from(record.prompt_tokens);
        self.output_tokens += u64::from(record.output_tokens);
        self.decode += record.decode_time();
        self.gaps += u64::from(record.output_tokens.saturating_sub(1));
        if let Some(tpot) = record.tpot() {
            self.tpot += tpot.as_secs_f64();
            self.with_tpot += 1;
        }
        self.time_per_token += time_per_token(record);
    }

    /// The means so far. `time_per_token` is no name of the catalogue: TGI's, with the prefill.
    pub(super) fn means(&self) -> [Known; 8] {
        let mean = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
        let seconds = |sum: Duration, count| mean(sum.as_secs_f64(), count);
        [
            ("ttft", "seconds", seconds(self.ttft, self.finished)),
            ("tpot", "seconds", mean(self.tpot, self.with_tpot)),
            ("itl", "seconds", seconds(self.decode, self.gaps)),
            ("time_per_token", "seconds", mean(self.time_per_token, self.finished)),
            ("e2e", "seconds", seconds(self.end_to_end, self.finished)),
            ("queue_time", "seconds", seconds(self.queue, self.finished)),
            ("prompt_length", "tokens", mean(self.prompt_tokens as f64, self.finished)),
            ("generation_length", "tokens", mean(self.output_tokens as f64, self.finished)),
        ]
    }
}

/// TGI's mean time per token: the prefill counts.
pub(super) fn time_per_token(record: &Finished) -> f64 {
    record.inference_time().as_secs_f64() / f64::from(record.output_tokens.max(1))
}

/// The page of truth.
pub(super) fn page(kind: EngineKind, model: &str, known: &[Known]) -> String {
    let metrics: serde_json::Map<String, Value> = known
        .iter()
        .map(|(name, unit, value)| ((*name).to_owned(), json!({"value": value, "unit": unit})))
        .collect();
    let note = "simulated: what the engine model itself knows; real engines have no such page";
    json!({"note": note, "engine": kind.name(), "model": model, "metrics": metrics}).to_string()
}
