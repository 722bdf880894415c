//! What holds of every run of an engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod naive;

use std::collections::HashMap;
use std::time::Duration;

use naive::Action;
use proptest::prelude::*;
use windlass_engine_model::*;

#[derive(Debug, Clone)]
struct Scenario {
    costs: StepCosts,
    limits: Limits,
    actions: Vec<(Duration, Action)>,
}

/// Whole nanoseconds, so that one step at a time and many at once round to the same.
fn costs() -> impl Strategy<Value = StepCosts> {
    (2_000..9_000_000_u32, 0..200_000_u32, 0..2_000_u32, 0..100_000_u32, 0..50_u32).prop_map(
        |(a, b, c, d, e)| StepCosts {
            idle_seconds: f64::from(a) / 1e9,
            decode_token_seconds: f64::from(b) / 1e9,
            kv_token_seconds: f64::from(c) / 1e9,
            prefill_token_seconds: f64::from(d) / 1e9,
            prefill_context_seconds: f64::from(2 * e) / 1e9,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    (100..3_000_u64, 1..12_u32, 12..300_u32, 0.0..0.1_f64).prop_map(
        |(kv_capacity_tokens, max_num_seqs, max_num_batched_tokens, watermark)| Limits {
            kv_capacity_tokens,
            max_num_seqs,
            max_num_batched_tokens,
            watermark,
        },
    )
}

/// Submissions, some of them aborted later. Several may come at one instant.
fn scenario() -> impl Strategy<Value = Scenario> {
    let request =
        (0..400_u64, 1..600_u32, 1..200_u32, 0..300_u32, prop::option::weighted(0.2, 1..800_000_000_u64));
    (costs(), limits(), prop::collection::vec(request, 1..40)).prop_map(|(costs, limits, requests)| {
        let mut actions = Vec::new();
        let mut at = 0;
        for (id, (gap, prompt_tokens, output_tokens, cached_tokens, abort)) in (0..).zip(requests) {
            // A third of the gaps are none.
            at += gap.saturating_sub(130) * 1_000_003;
            let request = Request { id, prompt_tokens, output_tokens, cached_tokens };
            actions.push((Duration::from_nanos(at), Action::Submit(request)));
            if let Some(after) = abort {
                actions.push((Duration::from_nanos(at + after), Action::Abort(id)));
            }
        }
        actions.sort_by_key(|(at, _)| *at);
        Scenario { costs, limits, actions }
    })
}

/// What a run told, with the steps summed up.
#[derive(Debug, Default, PartialEq)]
struct Run {
    events: Vec<Event>,
    steps: u64,
    busy: Duration,
    prefilled: u64,
    decoded: u64,
    totals: Totals,
}

impl Run {
    fn take(&mut self, event: Event) {
        let Event::Steps(steps) = event else { return self.events.push(event) };
        let count = u64::from(steps.count);
        self.steps += count;
        self.busy += steps.elapsed;
        self.prefilled += count * u64::from(steps.prefill_tokens);
        self.decoded += count * u64::from(steps.decode_tokens);
    }
}

/// Runs a scenario to the end, and advances at `hops` besides.
fn run(scenario: &Scenario, hops: &[Duration], mut look: impl FnMut(&Engine)) -> Run {
    let mut engine = Engine::new(scenario.costs, scenario.limits).unwrap();
    let mut run = Run::default();
    let mut hops = hops.iter().copied().peekable();
    for (at, action) in &scenario.actions {
        // At the instant of an action it would matter who is first.
        while let Some(hop) = hops.next_if(|hop| hop < at) {
            engine.advance(hop, &mut |event| run.take(event));
            look(&engine);
        }
        while hops.next_if_eq(at).is_some() {}
        match action {
            Action::Submit(request) => drop(engine.submit(*at, *request)),
            Action::Abort(id) => drop(engine.abort(*at, *id)),
        }
        look(&engine);
    }
    for hop in hops {
        engine.advance(hop, &mut |event| run.take(event));
        look(&engine);
    }
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut |event| run.take(event));
        look(&engine);
    }
    assert_eq!((engine.running(), engine.waiting(), engine.kv_tokens()), (0, 0, 0), "nothing is left");
    run.totals = engine.totals();
    run
}

/// The requests that were taken and not aborted while the engine held them.
fn served(run: &Run) -> HashMap<u64, Finished> {
    let finished = run.events.iter().filter_map(|event| match event {
        Event::Finished(record) => Some((record.id, *record)),
        _ => None,
    });
    finished.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn many_steps_at_once_are_one_at_a_time(scenario in scenario()) {
        let run = run(&scenario, &[], |_| ());
        let slow = naive::run(&scenario.costs, &scenario.limits, &scenario.actions);
        for (place, (event, expected)) in run.events.iter().zip(&slow.events).enumerate() {
            prop_assert_eq!(event, expected, "event {}", place);
        }
        prop_assert_eq!(run.events.len(), slow.events.len());
        prop_assert_eq!(run.totals.steps, slow.steps);
        prop_assert_eq!(run.totals.busy, slow.busy);
        prop_assert_eq!(run.totals.prefilled_tokens, slow.prefilled);
        prop_assert_eq!(run.decoded, slow.decoded);
    }

    #[test]
    fn how_often_it_is_advanced_changes_nothing(
        scenario in scenario(),
        mut hops in prop::collection::vec((0..20_000_000_000_u64).prop_map(Duration::from_nanos), 0..200),
    ) {
        hops.sort();
        prop_assert_eq!(run(&scenario, &hops, |_| ()), run(&scenario, &[], |_| ()));
    }

    #[test]
    fn events_come_in_the_order_of_time(scenario in scenario()) {
        let run = run(&scenario, &[], |_| ());
        prop_assert!(run.events.is_sorted_by_key(Event::at));
    }

    #[test]
    fn the_limits_hold_at_every_instant(
        scenario in scenario(),
        mut hops in prop::collection::vec((0..5_000_000_000_u64).prop_map(Duration::from_nanos), 0..200),
    ) {
        hops.sort();
        run(&scenario, &hops, |engine| {
            assert!(engine.kv_tokens() <= scenario.limits.kv_capacity_tokens);
            assert!((0.0..=1.0).contains(&engine.kv_util()));
            assert!(engine.running() <= scenario.limits.sequences());
        });
    }

    #[test]
    fn tokens_are_conserved_and_nothing_starves(mut scenario in scenario()) {
        scenario.actions.retain(|(_, action)| matches!(action, Action::Submit(_)));
        let run = run(&scenario, &[], |_| ());
        let served = served(&run);
        let (mut prompt, mut cached, mut output, mut first) = (0, 0, 0, 0);
        for (at, action) in &scenario.actions {
            let Action::Submit(request) = action else { unreachable!() };
            let needed = u64::from(request.prompt_tokens + request.output_tokens) - 1;
            let Some(record) = served.get(&request.id) else {
                prop_assert!(needed > scenario.limits.kv_capacity_tokens, "{request:?} starved");
                continue;
            };
            prop_assert_eq!(record.arrived, *at);
            prop_assert!(record.arrived <= record.admitted && record.admitted < record.first_token);
            prop_assert!(record.first_token <= record.finished);
            prompt += u64::from(record.prompt_tokens);
            cached += u64::from(record.cached_tokens);
            output += u64::from(record.output_tokens);
            first += 1;
        }
        let totals = run.totals;
        prop_assert_eq!((totals.prompt_tokens, totals.cached_tokens), (prompt, cached));
        prop_assert_eq!(totals.generation_tokens, output);
        prop_assert_eq!(totals.requests_finished, first);
        let resumed = run.events.iter().filter(|event| matches!(event, Event::Resumed { .. })).count() as u64;
        prop_assert_eq!(run.decoded + resumed + first, output, "each token but the first has its gap");
        let preempted = run.events.iter().filter(|event| matches!(event, Event::Preempted { .. })).count() as u64;
        prop_assert_eq!(totals.preemptions, preempted);
        prop_assert_eq!(totals.preemptions, served.values().map(|record| u64::from(record.preemptions)).sum::<u64>());
        if preempted == 0 {
            prop_assert_eq!(totals.prefilled_tokens, prompt - cached);
        }
        prop_assert_eq!((run.steps, run.busy, run.prefilled), (totals.steps, totals.busy, totals.prefilled_tokens));
    }

    #[test]
    fn first_admissions_are_first_come_first_served(scenario in scenario()) {
        let run = run(&scenario, &[], |_| ());
        let mut served: Vec<_> = served(&run).into_values().collect();
        served.sort_by_key(|record| (record.arrived, record.id));
        prop_assert!(served.is_sorted_by_key(|record| record.admitted));
    }
}
