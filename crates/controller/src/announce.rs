//! Which events a PodAutoscaler gets: on a change, and never again while nothing changes. Pure.

use std::time::Duration;

use kube::runtime::events::EventType;
use windlass_api::{PodAutoscaler, SpecError};
use windlass_scaling::Instant;

use crate::autoscaler::{Active, FAILED_GET_SCALE};
use crate::clock::Clock;
use crate::hpa::{FAILED_GET_HPA, FAILED_UPDATE_HPA, HPA_NOT_OURS, Native};
use crate::outages::Change;
use crate::pace::Pace;
use crate::status::{CONFLICT, CONTESTED};

const POLICY_WARNINGS: &str = "PolicyWarnings";

/// Events about one object: this many at once, then one in this time. What is said beyond is in the log only.
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_mins(1);

/// An event about a PodAutoscaler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) type_: EventType,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// What whoever reads the events of an object was told already, be it by the process before this one.
#[derive(Debug)]
pub(crate) struct Told {
    pace: Pace,
    invalid: Option<String>,
    problem: Option<String>,
    warnings: Option<String>,
    quarantined: bool,
    conflict: Option<String>,
    truce: Option<String>,
}

impl Told {
    /// The conditions of the object say what was told: they are written by whoever tells.
    pub(crate) fn of(object: &PodAutoscaler) -> Self {
        let conditions = || object.status.iter().flat_map(|status| &status.conditions);
        let message = |type_: &str, reasons: &[&str]| {
            let known = conditions()
                .find(|condition| condition.type_ == type_ && reasons.contains(&condition.reason.as_str()))?;
            Some(known.message.clone())
        };
        let invalid =
            conditions().find(|condition| condition.type_ == "ValidSpec" && condition.status == "False");
        let problems = [FAILED_GET_SCALE, FAILED_GET_HPA, FAILED_UPDATE_HPA, HPA_NOT_OURS];
        Self {
            pace: Pace::new(BURST, INTERVAL),
            invalid: invalid.map(|condition| condition.message.clone()),
            problem: message("AbleToScale", &problems),
            warnings: message(POLICY_WARNINGS, &["ReadWithWarnings"]),
            quarantined: message("Quarantined", &["DecisionPanicked"]).is_some(),
            conflict: message(CONFLICT, &[CONFLICT]),
            truce: message(CONTESTED, &["FieldManager"]),
        }
    }

    /// Whether one more event may be recorded.
    pub(crate) fn may_tell(&mut self, now: Instant) -> bool {
        self.pace.take(now)
    }

    /// That the spec is not valid, if these errors were not told yet.
    pub(crate) fn invalid(&mut self, errors: &[SpecError]) -> Option<Announcement> {
        let note = sentence(errors);
        if self.invalid.as_ref() == Some(&note) {
            return None;
        }
        self.invalid = Some(note.clone());
        let reason = errors.first().map_or("InvalidSpec", SpecError::reason);
        Some(Announcement { type_: EventType::Warning, reason, note })
    }

    /// What is new of what stands.
    pub(crate) fn news(&mut self, active: &Active) -> Vec<Announcement> {
        self.invalid = None;
        let mut news = Vec::new();
        let problem = active.scale.as_ref().err();
        // One of another reason says that nothing is known yet: what was told stands.
        if problem.is_none_or(|problem| problem.reason == FAILED_GET_SCALE) {
            let problem = problem.map(|problem| problem.message.as_str());
            news.extend(standing(FAILED_GET_SCALE, &mut self.problem, problem));
        }
        news.extend(standing(POLICY_WARNINGS, &mut self.warnings, active.warnings.as_deref()));
        let conflict = active.conflict.as_ref().map(|conflict| conflict.message.as_str());
        news.extend(standing(CONFLICT, &mut self.conflict, conflict));
        news.extend(standing(CONTESTED, &mut self.truce, active.truce()));
        if let Some(panic) = &active.quarantine
            && !self.quarantined
        {
            let note = quarantined(panic, active.facts.spec_replicas);
            news.push(Announcement { type_: EventType::Warning, reason: "Quarantined", note });
        }
        self.quarantined = active.quarantine.is_some();
        news
    }

    /// The same of an object of strategy HPA.
    pub(crate) fn news_of_native(&mut self, native: &Native) -> Vec<Announcement> {
        self.invalid = None;
        let (reason, problem) =
            native.problem.as_ref().map(|problem| (problem.reason, problem.message.as_str())).unzip();
        let conflict = native.conflict.as_ref().map(|conflict| conflict.message.as_str());
        let news = [
            standing(reason.unwrap_or_default(), &mut self.problem, problem),
            standing(POLICY_WARNINGS, &mut self.warnings, native.warnings.as_deref()),
            standing(CONFLICT, &mut self.conflict, conflict),
        ];
        news.into_iter().flatten().collect()
    }
}

/// All that is wrong with a spec.
pub(crate) fn sentence(errors: &[SpecError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A sentence that stands now, if it is another one than what was told.
fn standing(reason: &'static str, told: &mut Option<String>, now: Option<&str>) -> Option<Announcement> {
    if told.as_deref() == now {
        return None;
    }
    *told = now.map(str::to_owned);
    Some(Announcement { type_: EventType::Warning, reason, note: now?.to_owned() })
}

/// Why nothing is decided any more, and what to do.
pub(crate) fn quarantined(panic: &str, held: u32) -> String {
    format!(
        "held at {held}: a decision failed ({panic}); please report this, and change the spec to try again"
    )
}

/// Signals fell silent, and it is no flicker.
pub(crate) fn unavailable(change: &Change, active: &Active, clock: &Clock) -> Announcement {
    let since = since(change.ever.then_some(change.since), clock);
    let (metrics, held) = (metrics(change, active), active.facts.spec_replicas);
    let note = format!(
        "{metrics}: {since}, holding {held}{}",
        active.silence(change.signals.iter().map(|signal| usize::from(*signal)))
    );
    Announcement { type_: EventType::Warning, reason: "MetricsUnavailable", note }
}

/// They are heard again.
pub(crate) fn recovered(change: &Change, active: &Active, clock: &Clock, now: Instant) -> Announcement {
    let (metrics, lasted) = (metrics(change, active), (now - change.since).as_secs());
    let since = clock.to_wall(change.since).strftime("%FT%TZ");
    let note = format!("{metrics}: read again after {lasted} s without, since {since}");
    Announcement { type_: EventType::Normal, reason: "MetricsRecovered", note }
}

/// Since when there is no reading: an instant, which stays true while the outage lasts, and not a duration.
pub(crate) fn since(last_reading: Option<Instant>, clock: &Clock) -> String {
    last_reading.map_or_else(
        || "no reading so far".to_owned(),
        |at| format!("blind since {}", clock.to_wall(at).strftime("%FT%TZ")),
    )
}

fn metrics(change: &Change, active: &Active) -> String {
    let signals = &active.resolved.policy.signals;
    let names = change.signals.iter().filter_map(|at| signals.get(usize::from(*at)));
    names.map(windlass_api::explain::named).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_api::resolve;

    use super::*;
    use crate::autoscaler::ScaleProblem;

    fn object(status: &serde_json::Value) -> PodAutoscaler {
        let object = json!({
            "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
            "kind": "PodAutoscaler",
            "metadata": {"name": "pa", "namespace": "ns"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"},
                "maxReplicas": 10, "scalingStrategy": "KPA", "targetMetric": "inflight", "targetValue": "20",
            },
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn active() -> Active {
        let clock = Clock::start();
        Active::new(resolve(&object(&json!({}))).unwrap(), &clock, tokio::time::Instant::now())
    }

    #[track_caller]
    fn check(told: &mut Told, active: &Active, reasons: &[&str]) {
        let news = told.news(active);
        assert_eq!(news.iter().map(|news| news.reason).collect::<Vec<_>>(), reasons, "{news:?}");
    }

    #[test]
    fn what_stands_is_told_once() {
        let (mut told, mut active) = (Told::of(&object(&json!({}))), active());
        let failed =
            |message: &str| Err(ScaleProblem { reason: FAILED_GET_SCALE, message: message.to_owned() });
        check(&mut told, &active, &[]);
        active.scale = failed("it does not exist");
        active.warnings = Some("a: is ignored".to_owned());
        check(&mut told, &active, &["FailedGetScale", "PolicyWarnings"]);
        check(&mut told, &active, &[]);
        active.scale = failed("it has no /scale");
        active.warnings = Some("b: is ignored".to_owned());
        active.quarantine = Some("overflow".to_owned());
        check(&mut told, &active, &["FailedGetScale", "PolicyWarnings", "Quarantined"]);
        active.warnings = None;
        active.quarantine = None;
        check(&mut told, &active, &[]);
        active.warnings = Some("b: is ignored".to_owned());
        active.quarantine = Some("overflow".to_owned());
        check(&mut told, &active, &["PolicyWarnings", "Quarantined"]);
    }

    #[test]
    fn what_another_process_told_is_not_told_again() {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            json!({"type": type_, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-11-24T08:00:00Z"})
        };
        let before = object(&json!({"conditions": [
            condition("AbleToScale", "False", "FailedGetScale", "it does not exist"),
            condition("PolicyWarnings", "True", "ReadWithWarnings", "a: is ignored"),
        ]}));
        let (mut told, mut active) = (Told::of(&before), active());
        active.warnings = Some("a: is ignored".to_owned());
        check(&mut told, &active, &[]);
        active.scale =
            Err(ScaleProblem { reason: FAILED_GET_SCALE, message: "it does not exist".to_owned() });
        check(&mut told, &active, &[]);
    }

    #[test]
    fn outages_in_words() {
        let (active, clock) = (active(), Clock::start());
        let now = clock.now();
        let change = |ever| Change { signals: [0].into_iter().collect(), since: now, ever };
        let said = |said: Announcement| format!("{} {}", said.reason, said.note);
        let never = said(unavailable(&change(false), &active, &clock));
        assert_eq!(never, "MetricsUnavailable inflight: no reading so far, holding 0");
        let began = said(unavailable(&change(true), &active, &clock));
        let since = began.strip_prefix("MetricsUnavailable inflight: blind since ").unwrap();
        let since = since.strip_suffix(", holding 0").unwrap();
        assert!(since.parse::<jiff::Timestamp>().is_ok(), "{began}");
        let ended = said(recovered(&change(true), &active, &clock, now + Duration::from_secs(62)));
        assert!(
            ended.starts_with("MetricsRecovered inflight: read again after 62 s without, since 2"),
            "{ended}"
        );
    }

    #[test]
    fn a_flood_is_held_back() {
        let mut told = Told::of(&object(&json!({})));
        let now = Clock::start().now();
        assert_eq!((0..100).filter(|_| told.may_tell(now)).count(), 10);
        assert!(told.may_tell(now + INTERVAL));
    }
}
