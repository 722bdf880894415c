//! `/debug/state`: what is known of each target and what was decided, as data and in words.

use serde_json::{Value, json};
use windlass_api::explain::named;
use windlass_scaling::{Instant, PodState, Policy};

use super::figures::health_name;
use crate::Shared;
use crate::autoscaler::{Active, Autoscaler, Key, Membership, Pace};
use crate::hpa::{Native, NotDecided};
use crate::index::Conflict;

/// Which targets are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    namespace: Option<String>,
    name: Option<String>,
}

impl Wanted {
    /// Reads `namespace=…&name=…`. Kubernetes names need no decoding; other keys are ignored.
    pub(super) fn parse(query: &str) -> Self {
        let mut wanted = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("namespace", value)) => wanted.namespace = Some(value.to_owned()),
                Some(("name", value)) => wanted.name = Some(value.to_owned()),
                _ => {}
            }
        }
        wanted
    }

    fn includes(&self, key: &Key) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.namespace, &key.namespace) && is(&self.name, &key.name)
    }
}

pub(super) fn of(shared: &Shared, wanted: &Wanted) -> Value {
    let now = shared.clock.now();
    let leadership = shared.leadership.borrow().clone();
    let index = shared.index.lock();
    let targets = index.autoscalers.iter().filter(|(key, _)| wanted.includes(key));
    let targets: Vec<Value> = targets.map(|(key, autoscaler)| target(key, autoscaler, now)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "leading": leadership.leading,
        "recommendOnly": shared.recommend_only,
        "leaseHolder": leadership.holder,
        "unsynced": index.unsynced(),
        "servedCrd": shared.served_crd.sentence(),
        "catalogueProblem": shared.catalogue.problem(),
        "targets": targets,
    })
}

fn target(key: &Key, autoscaler: &Autoscaler, now: Instant) -> Value {
    let mut value = match &autoscaler.state {
        Ok(active) => valid(active, now),
        Err(NotDecided::Native(native)) => of_hpa(native),
        Err(NotDecided::Invalid(errors)) => {
            json!({"invalid": errors.iter().map(ToString::to_string).collect::<Vec<_>>()})
        }
    };
    value["namespace"] = json!(key.namespace);
    value["name"] = json!(key.name);
    value["generation"] = json!(autoscaler.object.metadata.generation);
    value
}

/// Of an object whose HorizontalPodAutoscaler decides.
fn of_hpa(native: &Native) -> Value {
    let policy = &native.resolved.policy;
    let settings = native.resolved.settings.iter().map(
        |setting| json!({"name": setting.name, "value": setting.value, "from": setting.origin.to_string()}),
    );
    json!({
        "target": native.resolved.target.to_string(),
        "settings": settings.collect::<Vec<_>>(),
        "warnings": native.warnings,
        "problem": native.problem.as_ref().map(|problem| problem.message.clone()),
        "conflict": native.conflict.as_ref().map(conflict),
        "held": native.held.as_ref().map(|(_, sentence)| sentence),
        "hpa": {
            "minReplicas": policy.min_replicas,
            "maxReplicas": policy.max_replicas,
            "name": native.mirror.as_ref().map(|mirror| mirror.name.clone()),
            "currentReplicas": native.mirror.as_ref().and_then(|mirror| mirror.current),
            "desiredReplicas": native.mirror.as_ref().map(|mirror| mirror.desired),
        },
    })
}

fn valid(active: &Active, now: Instant) -> Value {
    let seconds = |at: Instant| (now - at).as_secs_f64();
    let policy = &active.resolved.policy;
    let seen = active.observation.as_ref();
    let signals =
        policy.signals.iter().zip(seen.into_iter().flat_map(|seen| &seen.signals)).map(|(signal, seen)| {
            json!({
                "metric": named(signal),
                "health": health_name(seen.health),
                "total": seen.total,
                "idle": seen.idle,
                "targetPerReplica": signal.target,
                "coverage": (seen.ready > 0).then(|| seen.coverage()),
                "mean": seen.mean,
                "panicMean": seen.panic_mean,
                "readyPods": seen.ready,
                "freshPods": seen.fresh,
                "silentPods": seen.silent,
                "leftOutPods": seen.left_out,
                "ageSeconds": seen.newest_reading.map(seconds),
                "unbrokenForSeconds": seen.unbroken_since.map(seconds),
            })
        });
    let settings = active.resolved.settings.iter().map(
        |setting| json!({"name": setting.name, "value": setting.value, "from": setting.origin.to_string()}),
    );
    let pods = active.members.values().map(|member| {
        json!({
            "pod": member.entry.name(),
            "state": state_name(member.entry.state),
            "membership": membership_name(&member.membership),
            "engines": member.engines.iter().map(|(_, found)| found.status(&member.entry)).collect::<Vec<_>>(),
        })
    });
    let silent = active.members.values().flat_map(|member| {
        member.silences.reasons().map(|why| json!({"pod": member.entry.name(), "why": why}))
    });
    let decision = &active.decision;
    json!({
        "target": active.resolved.target.to_string(),
        "policy": policy,
        "settings": settings.collect::<Vec<_>>(),
        "warnings": active.warnings,
        "problem": active.scale.as_ref().err().map(|problem| problem.message.clone()),
        "facts": {
            "specReplicas": active.facts.spec_replicas,
            "specChangedSecondsAgo": seconds(active.facts.spec_changed_at),
            "readySetChangedSecondsAgo": seconds(active.facts.ready_changed_at),
            "pods": pods.collect::<Vec<_>>(),
            "rollout": active.facts.rollout,
        },
        "capacity": seen.map(|seen| seen.capacity),
        "signals": signals.collect::<Vec<_>>(),
        "engines": active.engines(),
        "silentPods": silent.collect::<Vec<_>>(),
        "decision": {
            "secondsAgo": seconds(active.decided_at),
            "current": decision.current,
            "wanted": decision.wanted,
            "limited": decision.limited,
            "minReplicas": decision.min_replicas,
            "maxReplicas": decision.max_replicas,
            "wouldBe": decision.would_be,
            "replicas": decision.replicas,
            "wakeInSeconds": decision.wake_at.map(|at| (at - now).as_secs_f64()),
            "proposals": decision.proposals,
            "steps": decision.steps,
            "account": active.account(now),
        },
        "held": active.held().map(|(_, sentence)| sentence),
        "conflict": active.conflict.as_ref().map(conflict),
        "truce": active.truce(),
        "quarantine": active.quarantine,
        "write": {
            "underWay": active.is_writing(),
            "problem": active.write_problem,
            "notBeforeInSeconds": active.write_pause(now).as_secs_f64(),
        },
        "pace": active.pace().map(|pace| pace_of(&pace, policy)),
        "settled": active.is_settled(now),
    })
}

/// Who else scales the target.
fn conflict(conflict: &Conflict) -> Value {
    json!({"message": conflict.message, "yields": conflict.yields})
}

/// How often pods' pages are read, and why.
fn pace_of(pace: &Pace, policy: &Policy) -> Value {
    let metric = |signal: u8| {
        policy.signals.get(usize::from(signal)).map(|signal| named(signal).into_owned()).unwrap_or_default()
    };
    json!({
        "intervalSeconds": pace.interval.as_secs_f64(),
        "why": pace.why(metric),
        "servicePerPodSeconds": pace.service.map(|service| service.as_secs_f64()),
        "engineShareAtMost": pace.engine_share(),
    })
}

fn state_name(state: PodState) -> &'static str {
    match state {
        PodState::Ready { .. } => "ready",
        PodState::Starting { .. } => "starting",
        PodState::LostReadiness { .. } => "lost readiness",
        PodState::Stuck => "stuck",
        PodState::Leaving => "leaving",
    }
}

fn membership_name(membership: &Membership) -> &str {
    match membership {
        Membership::Own => "own",
        Membership::Foreign => "of another controller, not counted",
        Membership::Pending => "being looked up, not counted yet",
        Membership::Unverified(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_targets_are_asked_for() {
        let key = Key { namespace: "a".to_owned(), name: "b".to_owned() };
        for (query, includes) in [
            ("", true),
            ("namespace=a", true),
            ("namespace=a&name=b", true),
            ("name=c", false),
            ("namespace=b&name=b", false),
            ("pretty", true),
        ] {
            assert_eq!(Wanted::parse(query).includes(&key), includes, "{query:?}");
        }
    }
}
