//! The pace at which a target's pages are read: set after each decision, within what reading may cost.

use std::sync::Arc;
use std::time::Duration;

use windlass_scaling::Instant;
use windlass_scaling::attention::{Attended, Cause, Costs, Limit, Look, OwnBudget};

use super::Active;
use crate::Shared;
use crate::admin::cpu_seconds;

/// How often our own usage is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What reading pods' pages may cost, in cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of each engine.
    pub engine: f64,
    /// Of this process, all it does.
    pub own: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { engine: 0.001, own: 0.5 }
    }
}

/// What the paces of all targets follow from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing {
    engine_share: f64,
    own: OwnBudget,
}

impl Pacing {
    pub(crate) fn new(shares: Shares) -> Self {
        Self { engine_share: shares.engine, own: OwnBudget::new(shares.own) }
    }

    /// So many cores were used by this process.
    pub(crate) fn used(&mut self, cores: f64) {
        self.own.note(cores);
    }

    pub(crate) fn strain(&self) -> f64 {
        self.own.strain()
    }
}

/// Watches what this process uses, for ever.
pub(crate) async fn watch_own_usage(shared: Arc<Shared>) {
    let mut before = (tokio::time::Instant::now(), cpu_seconds());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = (tokio::time::Instant::now(), cpu_seconds());
        if let (Some(used_before), Some(used)) = (before.1, now.1) {
            let cores = (used - used_before) / (now.0 - before.0).as_secs_f64();
            shared.index.lock().used_processor(cores);
        }
        before = now;
    }
}

/// The pace of a target, for whoever asks.
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    /// What it follows from; none where nobody attends to it, or did not yet.
    because: Option<Attended>,
    /// An engine's processor time for one reading, if known.
    pub(crate) service: Option<Duration>,
}

impl Pace {
    /// The part of a core that each engine gives: at most this.
    pub(crate) fn engine_share(&self) -> Option<f64> {
        Some(self.service?.as_secs_f64() / self.interval.as_secs_f64())
    }

    /// Why it is so, as a sentence.
    pub(crate) fn why(&self, metric: impl Fn(u8) -> String) -> String {
        let Some(attended) = self.because else {
            return "attention is off (--no-attention), or nothing was decided yet".to_owned();
        };
        let cause = match attended.cause {
            Cause::Held => "a person holds the count".to_owned(),
            Cause::AtMost => "there are as many replicas as there may be".to_owned(),
            Cause::Calm => "nothing happens".to_owned(),
            Cause::Starting => "pods are starting".to_owned(),
            Cause::Incomplete => "a pod or a signal gave no reading".to_owned(),
            Cause::Near { signal } => format!("{} is near a threshold", metric(signal)),
            Cause::Changed => "the pods or the count changed a moment ago".to_owned(),
            Cause::Moved { signal } => format!("{} moved", metric(signal)),
            Cause::Surging { signal } => format!("{} is above what panic begins at", metric(signal)),
        };
        let limit = match attended.limit {
            Limit::Need => "",
            Limit::Engine => "; limited by --engine-cpu-share",
            Limit::Own => "; limited by --own-cpu-share",
        };
        format!("{cause}{limit}")
    }
}

impl Active {
    /// Reads as often from now on as what was decided needs, and its cost allows.
    pub(crate) fn attend(&mut self, pacing: Option<&Pacing>, now: Instant) {
        let (Some(pacing), Some(observation)) = (pacing, &self.observation) else { return };
        let look = Look {
            policy: &self.resolved.policy,
            facts: &self.facts,
            observation,
            decision: &self.decision,
            failing: self.polling.any_failing(),
        };
        let costs = Costs {
            service: self.polling.service(),
            engine_share: pacing.engine_share,
            strain: pacing.strain(),
        };
        let attended = self.attention.attend(&look, &costs, now);
        self.polling.set_interval(attended.interval);
        self.attended = Some(attended);
    }

    /// How often the pods' pages are read; none if no page is.
    pub(crate) fn pace(&self) -> Option<Pace> {
        let interval = self.polling.interval()?;
        Some(Pace { interval, because: self.attended, service: self.polling.service() })
    }
}
