//! Decisions in words, for whoever is on call: one short sentence per step, with the numbers.

use std::borrow::Cow;
use std::time::Duration;

use windlass_scaling::{
    Basis, Decision, Instant, LoweringOff, Pace, Policy, Proposal, Reason, SignalPolicy, Statistic, Step,
    Strategy,
};

use crate::go;
use crate::holds::{HOLD_AT, MODE, OVERRIDE};

/// What steps tell of by number, by name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// The schedule whose bounds are in force.
    pub schedule: Option<&'a str>,
    /// Who set the count by hand: a field manager.
    pub set_by: Option<&'a str>,
}

/// The account of `decision`, made at `now`, one sentence per step and in its order.
pub fn account(decision: &Decision, policy: &Policy, names: Names<'_>, now: Instant) -> Vec<String> {
    let proposal = |step: &Step| match step.reason {
        Reason::Proposed { signal } => decision.proposals.iter().find(|proposal| proposal.signal == signal),
        _ => None,
    };
    decision
        .steps
        .iter()
        .map(|made| {
            proposal(made)
                .map_or_else(|| step(made, policy, names, now), |found| proposed(found, policy, now))
        })
        .collect()
}

/// One step as a sentence; `now` is when the decision was made.
///
/// What a signal measured is in its [`Proposal`], not in the step; [`account`] has both and says it.
pub fn step(step: &Step, policy: &Policy, names: Names<'_>, now: Instant) -> String {
    let Step { from, to, .. } = *step;
    let period = "10s";
    let schedule = names.schedule.unwrap_or("without a name");
    match step.reason {
        Reason::Off => format!(
            "kept at 0: switched off from outside; set spec.replicas above 0 or raise minReplicas ({}) to switch on",
            policy.min_replicas
        ),
        Reason::MinRaised => format!("switched on: minReplicas was raised to {}", policy.min_replicas),
        Reason::Scheduled => {
            format!("schedule {schedule}: {} to {} replicas", policy.min_replicas, policy.max_replicas)
        }
        Reason::MinScheduled => {
            format!("switched on: schedule {schedule} sets minReplicas to {}", policy.min_replicas)
        }
        Reason::NoReadyPods => format!("kept at {to}: no pod is ready, nothing can be measured"),
        Reason::NoProposal => format!("kept at {to}: no signal asks for anything"),
        Reason::Proposed { signal } => format!("{} asks for {to}", name(policy, signal)),
        Reason::LoweringOff(why) => format!("kept at {to}: {}", lowering_off(why, policy, now)),
        Reason::UpWindow { window } => {
            format!("{to} instead of {from}: a raise must be wanted for {}", written(window))
        }
        Reason::DownWindow { window, until } => format!(
            "{to} instead of {from}: {to} was wanted within the last {}; lower in {} at the earliest",
            written(window),
            left(until, now)
        ),
        Reason::UpRate { base, until } => format!(
            "{to} instead of {from}: at most {} times {base} within {period}; more in {}",
            number(policy.max_scale_up_rate),
            left(until, now)
        ),
        Reason::DownRate { base } => format!(
            "{to} instead of {from}: at least {base} divided by {} within {period}",
            number(policy.max_scale_down_rate)
        ),
        Reason::LoweredRecently { until } => {
            format!("kept at {to}: lowered less than {period} ago; lower in {}", left(until, now))
        }
        Reason::StartsFail { failed, until } => format!(
            "kept at {to}: {failed} {}; {}",
            do_not_start(failed),
            until.map_or_else(
                || "no more of them for now".to_owned(),
                |until| format!("one more is tried in {}", left(until, now))
            )
        ),
        Reason::Probe { failed } => {
            format!("{to} instead of {from}: {failed} {}, one more is tried", do_not_start(failed))
        }
        Reason::ProbeGivenBack { failed } => format!(
            "{to} instead of {from}: {failed} {}; the one tried last is given back before another is tried",
            do_not_start(failed)
        ),
        Reason::SetByHand { set, until } => format!(
            "{}: set to {set} by {}, respected for {} more",
            instead(from, to),
            names.set_by.unwrap_or("hand"),
            left(until, now)
        ),
        Reason::Min => format!("{to} instead of {from}: minReplicas"),
        Reason::Max => format!("{to} instead of {from}: maxReplicas"),
        Reason::HeldAt { asked, until } => {
            let order = match until {
                None => format!("{HOLD_AT} {asked}"),
                Some(until) => format!("{OVERRIDE} {asked}, {} to go", left(until, now)),
            };
            let bounds = (policy.min_replicas, policy.max_replicas);
            format!("{}: {order}{}", instead(from, to), within(asked, to, bounds))
        }
        Reason::Paused => format!("kept at {to}: paused by {MODE}, would be {from}"),
        Reason::Recommended => format!("kept at {to}: {from} is recommended, nothing is written"),
    }
}

fn instead(from: u32, to: u32) -> String {
    if from == to { format!("kept at {to}") } else { format!("{to} instead of {from}") }
}

/// What the bounds made of an order, if anything.
pub(crate) fn within(asked: u32, held: u32, (min, max): (u32, u32)) -> String {
    if asked == held { String::new() } else { format!(" (within minReplicas {min} and maxReplicas {max})") }
}

/// What a signal asks for, and what it measured.
pub fn proposed(proposal: &Proposal, policy: &Policy, now: Instant) -> String {
    let asked = by_basis(proposal, policy, now);
    match proposal.held {
        Some(held) => {
            let total = number(proposal.total);
            format!("{asked}, held at {} of {total} while pods are starting", number(held))
        }
        None => asked,
    }
}

fn by_basis(proposal: &Proposal, policy: &Policy, now: Instant) -> String {
    let replicas = proposal.replicas;
    let name = name(policy, proposal.signal);
    let target = signal(policy, proposal.signal).map_or(f64::NAN, |signal| signal.target);
    let target = number(target);
    match (proposal.basis, &policy.strategy) {
        (Basis::Stable { mean }, _) => format!(
            "{name} asks for {replicas}: {} on average over {}, target {target} per replica",
            number(mean),
            written(
                signal(policy, proposal.signal)
                    .map_or(policy.longest_window(), |signal| { signal.window(policy.longest_window()) })
            )
        ),
        // Nothing happens any longer, and panic is not over.
        (Basis::Panic { value: 0.0, since }, _) => {
            format!("{name} asks for {replicas}: nothing now, but in panic{}", over_threshold(since, now))
        }
        (Basis::Panic { value, since }, _) => format!(
            "{name} asks for {replicas}: {}, target {target} per replica, in panic{}",
            number(value),
            over_threshold(since, now)
        ),
        (Basis::AtLeast { mean }, _) => format!(
            "{name} asks for {replicas}: at least {} on average over 10s, target {target} per replica, \
             while the ready pods change faster than they are read",
            number(mean)
        ),
        (Basis::Idle, _) => {
            format!("{name} asks for {replicas}: idle, no request is under way and none finished lately")
        }
        (Basis::Ratio { ratio }, _) => {
            format!("{name} asks for {replicas}: {} times its target of {target} per replica", number(ratio))
        }
        (Basis::WithinTolerance { ratio }, Strategy::Apa(apa)) => format!(
            "{name} keeps {replicas}: {} times its target of {target} per replica is within {} to {}",
            number(ratio),
            number(1.0 - apa.down_tolerance),
            number(1.0 + apa.up_tolerance)
        ),
        (Basis::WithinTolerance { ratio }, Strategy::Kpa(_)) => {
            format!("{name} keeps {replicas}: {} times its target of {target} per replica", number(ratio))
        }
        (Basis::Saturated { ratio }, _) => format!(
            "{name} asks for at least {replicas}: saturated at {} times its target of {target}",
            number(ratio)
        ),
    }
}

fn lowering_off(why: LoweringOff, policy: &Policy, now: Instant) -> String {
    match why {
        LoweringOff::Blind { signal, since: Some(since) } => {
            format!("blind, no reading of {} for {}", name(policy, signal), written(now - since))
        }
        LoweringOff::Blind { signal, since: None } => {
            format!("blind, no reading of {} so far", name(policy, signal))
        }
        LoweringOff::Thin { signal, fresh, ready } => {
            format!("{} silent on {} of {ready} pods", name(policy, signal), ready.saturating_sub(fresh))
        }
        LoweringOff::NoRound { signal: at } => format!(
            "no reading of {} from every ready pod within {}",
            name(policy, at),
            written(
                signal(policy, at)
                    .map_or_else(|| Pace::default().fresh_span, |signal| signal.pace.fresh_span)
            )
        ),
        LoweringOff::Rollout => "a rollout is under way".to_owned(),
        LoweringOff::WindowNotFull { signal, remaining } => format!(
            "{} must be observed for {} without a gap before anything is lowered, {} to go",
            name(policy, signal),
            written(policy.full_window()),
            written(remaining)
        ),
    }
}

fn do_not_start(failed: u32) -> &'static str {
    if failed == 1 { "pod does not start" } else { "pods do not start" }
}

fn signal(policy: &Policy, at: u8) -> Option<&SignalPolicy> {
    policy.signals.get(usize::from(at))
}

fn name(policy: &Policy, at: u8) -> Cow<'_, str> {
    signal(policy, at).map_or(Cow::Borrowed("a signal that is gone"), named)
}

/// A signal's metric, and what of it is meant: `ttft p95`, `generation_length mean`. Names of AIBrix's that say so say it
/// once.
pub fn named(signal: &SignalPolicy) -> Cow<'_, str> {
    let metric = signal.metric.as_str();
    let said = match signal.statistic {
        None => return Cow::Borrowed(metric),
        Some(statistic) => written_statistic(statistic),
    };
    let twice = metric.starts_with(&format!("{said}_")) || (said == "mean" && metric.starts_with("avg_"));
    if twice { Cow::Borrowed(metric) } else { Cow::Owned(format!("{metric} {said}")) }
}

/// `p95`, `p99.9`, `mean`.
pub fn written_statistic(statistic: Statistic) -> String {
    match statistic {
        Statistic::Mean => "mean".to_owned(),
        // 0.57 is not 56.99999999999999 %.
        Statistic::Quantile(q) => format!("p{}", windlass_scaling::significant(q * 100.0)),
    }
}

fn left(until: Instant, now: Instant) -> String {
    written(until - now)
}

/// Whole seconds, rounded up: "in 0s" would be a lie.
fn written(duration: Duration) -> String {
    let started = u64::from(duration.subsec_nanos() > 0);
    go::written(Duration::from_secs(duration.as_secs() + started))
}

/// Four significant digits are enough to recognise a number by.
fn number(value: f64) -> String {
    format!("{value:.3e}").parse().unwrap_or(value).to_string()
}

/// Panic goes on for a stable window behind the last time that its threshold was reached.
fn over_threshold(last: Instant, now: Instant) -> String {
    let ago = now - last;
    if ago < Duration::from_secs(1) {
        return String::new();
    }
    format!(", last over its threshold {} ago", written(ago))
}

#[cfg(test)]
mod tests {
    use windlass_scaling::{Kind, Stage};

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn check(from: u32, to: u32, reason: Reason, sentence: &str) {
        let policy = Policy::kpa("inflight", Kind::Additive, 20.0, 1..=10);
        let made = Step { stage: Stage::Combine, from, to, reason };
        let names = Names { schedule: Some("office"), set_by: Some("kubectl") };
        assert_eq!(step(&made, &policy, names, at(100)), sentence);
    }

    #[test]
    fn every_reason_is_a_sentence() {
        let off = Reason::LoweringOff;
        check(
            0,
            0,
            Reason::Off,
            "kept at 0: switched off from outside; set spec.replicas above 0 or raise minReplicas (1) to switch on",
        );
        check(0, 0, Reason::MinRaised, "switched on: minReplicas was raised to 1");
        check(3, 3, Reason::Scheduled, "schedule office: 1 to 10 replicas");
        check(0, 0, Reason::MinScheduled, "switched on: schedule office sets minReplicas to 1");
        check(3, 3, Reason::NoReadyPods, "kept at 3: no pod is ready, nothing can be measured");
        check(3, 3, Reason::NoProposal, "kept at 3: no signal asks for anything");
        check(3, 5, Reason::Proposed { signal: 0 }, "inflight asks for 5");
        let blind = |since| off(LoweringOff::Blind { signal: 0, since });
        check(6, 6, blind(Some(at(10))), "kept at 6: blind, no reading of inflight for 90s");
        check(6, 6, blind(None), "kept at 6: blind, no reading of inflight so far");
        let thin = LoweringOff::Thin { signal: 0, fresh: 3, ready: 8 };
        check(2, 6, off(thin), "kept at 6: inflight silent on 5 of 8 pods");
        check(
            2,
            6,
            off(LoweringOff::NoRound { signal: 0 }),
            "kept at 6: no reading of inflight from every ready pod within 3s",
        );
        check(2, 6, off(LoweringOff::Rollout), "kept at 6: a rollout is under way");
        check(
            2,
            6,
            off(LoweringOff::WindowNotFull { signal: 0, remaining: Duration::from_millis(12_500) }),
            "kept at 6: inflight must be observed for 60s without a gap before anything is lowered, 13s to go",
        );
    }

    #[test]
    fn every_limit_is_a_sentence() {
        check(
            9,
            6,
            Reason::UpWindow { window: Duration::from_secs(30) },
            "6 instead of 9: a raise must be wanted for 30s",
        );
        check(
            2,
            6,
            Reason::DownWindow { window: Duration::from_mins(5), until: at(220) },
            "6 instead of 2: 6 was wanted within the last 5m; lower in 2m at the earliest",
        );
        check(
            9,
            6,
            Reason::UpRate { base: 3, until: at(104) },
            "6 instead of 9: at most 2 times 3 within 10s; more in 4s",
        );
        check(1, 3, Reason::DownRate { base: 6 }, "3 instead of 1: at least 6 divided by 2 within 10s");
        check(
            2,
            6,
            Reason::LoweredRecently { until: at(103) },
            "kept at 6: lowered less than 10s ago; lower in 3s",
        );
        check(
            12,
            8,
            Reason::StartsFail { failed: 3, until: None },
            "kept at 8: 3 pods do not start; no more of them for now",
        );
        check(
            12,
            8,
            Reason::StartsFail { failed: 3, until: Some(at(340)) },
            "kept at 8: 3 pods do not start; one more is tried in 4m",
        );
        check(12, 9, Reason::Probe { failed: 1 }, "9 instead of 12: 1 pod does not start, one more is tried");
        check(
            12,
            8,
            Reason::ProbeGivenBack { failed: 4 },
            "8 instead of 12: 4 pods do not start; the one tried last is given back before another is tried",
        );
        let by_hand = Reason::SetByHand { set: 4, until: at(310) };
        check(6, 4, by_hand, "4 instead of 6: set to 4 by kubectl, respected for 210s more");
        check(0, 1, Reason::Min, "1 instead of 0: minReplicas");
        check(14, 10, Reason::Max, "10 instead of 14: maxReplicas");
        check(3, 5, Reason::Proposed { signal: 7 }, "a signal that is gone asks for 5");
    }

    #[test]
    fn every_hold_is_a_sentence() {
        let held = |asked, until| Reason::HeldAt { asked, until };
        check(9, 6, held(6, None), "6 instead of 9: windlass.dev/hold-at 6");
        check(6, 6, held(6, None), "kept at 6: windlass.dev/hold-at 6");
        check(
            3,
            10,
            held(14, None),
            "10 instead of 3: windlass.dev/hold-at 14 (within minReplicas 1 and maxReplicas 10)",
        );
        check(3, 9, held(9, Some(at(400))), "9 instead of 3: windlass.dev/override 9, 5m to go");
        check(9, 6, Reason::Paused, "kept at 6: paused by windlass.dev/mode, would be 9");
        check(9, 6, Reason::Recommended, "kept at 6: 9 is recommended, nothing is written");
    }

    #[test]
    fn every_basis_is_a_sentence() {
        let kpa = Policy::kpa("inflight", Kind::Additive, 20.0, 1..=10);
        let apa = Policy::apa("kv_util", Kind::Utilisation, 0.8, 1..=10);
        let check = |policy: &Policy, basis: Basis, sentence: &str| {
            let proposal = Proposal { signal: 0, replicas: 5, total: 100.0, held: None, basis };
            let mut decision = Decision::default();
            decision.proposals.push(proposal);
            let reason = Reason::Proposed { signal: 0 };
            decision.steps.push(Step { stage: Stage::Propose, from: 3, to: 5, reason });
            assert_eq!(account(&decision, policy, Names::default(), at(100)), [sentence]);
        };
        check(
            &kpa,
            Basis::Stable { mean: 99.996 },
            "inflight asks for 5: 100 on average over 60s, target 20 per replica",
        );
        check(
            &kpa,
            Basis::Panic { value: 100.0, since: at(88) },
            "inflight asks for 5: 100, target 20 per replica, in panic, last over its threshold 12s ago",
        );
        check(
            &kpa,
            Basis::Panic { value: 0.0, since: at(88) },
            "inflight asks for 5: nothing now, but in panic, last over its threshold 12s ago",
        );
        check(
            &kpa,
            Basis::AtLeast { mean: 96.0 },
            "inflight asks for 5: at least 96 on average over 10s, target 20 per replica, \
             while the ready pods change faster than they are read",
        );
        check(
            &apa,
            Basis::Ratio { ratio: 5.0 / 3.0 },
            "kv_util asks for 5: 1.667 times its target of 0.8 per replica",
        );
        check(
            &apa,
            Basis::WithinTolerance { ratio: 1.05 },
            "kv_util keeps 5: 1.05 times its target of 0.8 per replica is within 0.9 to 1.1",
        );
        check(
            &apa,
            Basis::Saturated { ratio: 1.2 },
            "kv_util asks for at least 5: saturated at 1.2 times its target of 0.8",
        );
    }

    #[test]
    fn what_is_meant_of_observations_is_said() {
        let check = |metric: &str, statistic: Statistic, expected: &str| {
            let mut policy = Policy::kpa(metric, Kind::Latency, 0.5, 2..=10);
            policy.signals[0].statistic = Some(statistic);
            let proposal = Proposal { signal: 0, replicas: 2, total: 0.0, held: None, basis: Basis::Idle };
            let sentence = "asks for 2: idle, no request is under way and none finished lately";
            assert_eq!(proposed(&proposal, &policy, at(100)), format!("{expected} {sentence}"));
        };
        check("ttft", Statistic::Quantile(0.95), "ttft p95");
        check("ttft", Statistic::Quantile(0.57), "ttft p57");
        check("e2e", Statistic::Quantile(0.999), "e2e p99.9");
        check("generation_length", Statistic::Mean, "generation_length mean");
        check("p95_ttft_5m", Statistic::Quantile(0.95), "p95_ttft_5m");
        check("p95_ttft_5m", Statistic::Quantile(0.5), "p95_ttft_5m p50");
        check("avg_tpot_pod_5m", Statistic::Mean, "avg_tpot_pod_5m");
    }

    #[test]
    fn a_backlog_that_is_held_is_said() {
        let policy = Policy::kpa("waiting", Kind::Additive, 4.0, 1..=10);
        let basis = Basis::Stable { mean: 12.0 };
        let proposal = Proposal { signal: 0, replicas: 3, total: 80.0, held: Some(12.0), basis };
        assert_eq!(
            proposed(&proposal, &policy, at(100)),
            "waiting asks for 3: 12 on average over 60s, target 4 per replica, held at 12 of 80 while pods are starting"
        );
    }
}
