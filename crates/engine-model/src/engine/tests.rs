use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Steps of exactly 10 ms, plus 1 ms per decode and 0.1 ms per prompt token; a cache of 1,000 tokens.
fn engine() -> Engine {
    let costs = StepCosts {
        idle: 0.010,
        per_decode: 0.001,
        per_kv_token: 0.0,
        per_prefill_token: 0.0001,
        per_attended_token: 0.0,
    };
    Engine::new(costs, Limits { kv_capacity_tokens: 1000, max_num_seqs: 4, max_num_batched_tokens: 64 })
}

fn request(id: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { id, prompt_tokens, output_tokens, cached_tokens: 0 }
}

fn micros(at: u64) -> Duration {
    Duration::from_micros(at)
}

/// Runs until idle; what happened, without the steps.
fn run(engine: &mut Engine) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut |event| {
            if !matches!(event, Event::Steps(_)) {
                events.push(event);
            }
        });
    }
    events
}

/// When requests that are submitted at the given milliseconds (prompt, output) get their first and last tokens, in
/// microseconds.
#[track_caller]
fn check(arrivals: &[(u64, u32, u32)], expected: &[(u64, u64)]) {
    let mut engine = engine();
    let mut events = Vec::new();
    for (id, &(millis, prompt, output)) in (0..).zip(arrivals) {
        engine.advance(Duration::from_millis(millis), &mut |event| events.push(event));
        engine.submit(Duration::from_millis(millis), request(id, prompt, output)).unwrap();
    }
    events.extend(run(&mut engine));
    let mut times = vec![(0, 0); arrivals.len()];
    for event in events {
        if let Event::Finished(record) = event {
            let at = |time: Duration| u64::try_from(time.as_micros()).unwrap();
            times[record.id as usize] = (at(record.first_token), at(record.finished));
        }
    }
    assert_eq!(times, expected, "{arrivals:?}");
    assert_eq!((engine.kv_tokens(), engine.running(), engine.waiting()), (0, 0, 0));
}

#[test]
fn a_request_takes_its_prefill_and_a_step_per_token() {
    // 10 ms + 10 × 0.1 ms, then two steps of 11 ms.
    check(&[(0, 10, 3)], &[(11_000, 33_000)]);
    check(&[(0, 10, 1)], &[(11_000, 11_000)]);
    // A prompt of 100 takes two chunks of at most 64 tokens: 16.4 ms and 13.6 ms.
    check(&[(0, 100, 1)], &[(30_000, 30_000)]);
}

#[test]
fn who_comes_during_a_step_waits_for_its_end() {
    // The second arrives in the first step; its prefill shares a step with the first one's decode: 10 + 1 + 1 ms.
    check(&[(0, 10, 3), (5, 10, 1)], &[(11_000, 34_000), (23_000, 23_000)]);
    // A long answer is interrupted at the end of the step under way, not at its own end.
    check(&[(0, 10, 100), (30, 10, 1)], &[(11_000, 1_101_000), (45_000, 45_000)]);
}

#[test]
fn first_come_first_served_within_the_limits() {
    // Four sequences at most: the fifth waits until one ends.
    let mut engine = engine();
    for id in 0..5 {
        engine.submit(Duration::ZERO, request(id, 5, 2)).unwrap();
    }
    assert_eq!((engine.running(), engine.waiting()), (1, 4), "a step that began takes no one in");
    let events = run(&mut engine);
    let order = |wanted: fn(&Event) -> Option<u64>| events.iter().filter_map(wanted).collect::<Vec<_>>();
    let admitted = order(|event| match event {
        Event::Admitted { id, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(admitted, [0, 1, 2, 3, 4]);
}

#[test]
fn a_full_cache_preempts_the_newest_and_loses_nothing() {
    let mut engine = engine();
    for id in 0..3 {
        engine.submit(Duration::ZERO, request(id, 300, 300)).unwrap();
    }
    let events = run(&mut engine);
    let preempted: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Preempted { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert!(!preempted.is_empty() && !preempted.contains(&0), "the oldest is never preempted: {preempted:?}");
    let first_tokens = events.iter().filter(|event| matches!(event, Event::FirstToken { .. })).count();
    assert_eq!(first_tokens, 3, "a recomputed prompt has no second first token");
    let totals = engine.totals();
    assert_eq!((totals.requests_finished, totals.generation_tokens, totals.prompt_tokens), (3, 900, 900));
    assert_eq!(totals.preemptions, preempted.len() as u64);
}

#[test]
fn a_prefix_hit_takes_room_and_no_time() {
    let mut engine = engine();
    engine.submit(Duration::ZERO, Request { cached_tokens: 90, ..request(1, 100, 1) }).unwrap();
    assert_eq!(engine.kv_tokens(), 90);
    assert_eq!(engine.next_event(), Some(Duration::ZERO), "its admission is told first");
    engine.advance(Duration::ZERO, &mut |_| {});
    assert_eq!(engine.next_event(), Some(micros(11_000)));
}

#[test]
fn what_can_never_be_served_is_refused() {
    let mut engine = engine();
    assert_eq!(engine.submit(Duration::ZERO, request(1, 0, 1)), Err(Refused::Empty));
    assert_eq!(engine.submit(Duration::ZERO, request(1, 1, 0)), Err(Refused::Empty));
    let too_long = Refused::TooLong { needed: 1001, capacity: 1000 };
    assert_eq!(engine.submit(Duration::ZERO, request(1, 1000, 2)), Err(too_long));
    engine.submit(Duration::ZERO, request(1, 1000, 1)).unwrap();
    assert_eq!(engine.submit(Duration::ZERO, request(1, 1, 1)), Err(Refused::Duplicate(1)));
}

#[test]
fn who_goes_away_frees_its_place() {
    let mut engine = engine();
    engine.submit(Duration::ZERO, request(1, 10, 500)).unwrap();
    engine.submit(Duration::ZERO, request(2, 600, 10)).unwrap();
    assert!(engine.abort(micros(1000), 2), "it waits");
    assert!(engine.abort(micros(50_000), 1), "it decodes");
    assert!(!engine.abort(micros(50_000), 1) && !engine.abort(micros(50_000), 7));
    let finished = run(&mut engine).iter().any(|event| matches!(event, Event::Finished(_)));
    assert!(!finished);
    assert_eq!((engine.kv_tokens(), engine.running(), engine.totals().requests_aborted), (0, 0, 2));
}

#[test]
fn counters_are_true_in_the_middle_of_a_stretch() {
    let mut engine = engine();
    engine.submit(Duration::ZERO, request(1, 10, 100)).unwrap();
    // First token after 11 ms, then one every 11 ms.
    engine.advance(micros(11_000 + 5 * 11_000 + 10), &mut |_| {});
    assert_eq!(engine.generated(1), Some(6));
    assert_eq!(engine.totals().generation_tokens, 6);
    assert_eq!(engine.kv_tokens(), 15);
    assert_eq!(engine.generated(2), None);
}

/// Requests (milliseconds after the one before, prompt, output, cached), and those of them that are aborted, after how
/// long.
fn loads() -> impl Strategy<Value = Vec<(u64, Request, Option<u64>)>> {
    let one = (0..200_u64, 1..300_u32, 1..200_u32, 0..300_u32, prop::option::weighted(0.1, 0..2_000_u64));
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let mut at = 0;
        let with_ids = all.into_iter().zip(0..).map(|((pause, prompt, output, cached, abort), id)| {
            at += pause;
            (
                at,
                Request { cached_tokens: cached, ..request(id, prompt, output) },
                abort.map(|after| at + after),
            )
        });
        with_ids.collect()
    })
}

/// Plays a load, moving on in hops of at most `hop`; everything that happened.
fn play(load: &[(u64, Request, Option<u64>)], hop: Duration) -> (Vec<Event>, Totals) {
    let mut engine = engine();
    let mut events = Vec::new();
    let mut actions: Vec<(u64, bool, Request)> = Vec::new();
    for (at, request, abort) in load {
        actions.push((*at, false, *request));
        actions.extend(abort.map(|abort| (abort, true, *request)));
    }
    actions.sort_by_key(|(at, abort, request)| (*at, *abort, request.id));
    let mut now = Duration::ZERO;
    let mut move_to = |engine: &mut Engine, until: Duration| {
        while now < until {
            now = (now + hop).min(until);
            engine.advance(now, &mut |event| events.push(event));
            assert!(engine.kv_tokens() <= 1000 && engine.kv_util() <= 1.0);
            assert!(engine.running() <= 4);
        }
    };
    for (at, abort, request) in actions {
        move_to(&mut engine, Duration::from_millis(at));
        if abort {
            engine.abort(Duration::from_millis(at), request.id);
        } else {
            engine.submit(Duration::from_millis(at), request).unwrap();
        }
    }
    let mut last = Duration::ZERO;
    while let Some(next) = engine.next_event() {
        last = last.max(next);
        move_to(&mut engine, next);
        if engine.next_event() == Some(next) {
            move_to(&mut engine, next + Duration::from_nanos(1));
        }
    }
    (events, engine.totals())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_lost_and_nothing_starves(load in loads()) {
        let (events, totals) = play(&load, Duration::from_secs(1000));
        let mut finished = HashMap::new();
        let mut last = Duration::ZERO;
        for event in &events {
            let at = match event {
                Event::Admitted { at, .. } | Event::FirstToken { at, .. } | Event::Preempted { at, .. } => *at,
                Event::Steps(steps) => steps.at,
                Event::Finished(record) => {
                    prop_assert!(record.arrived <= record.admitted && record.admitted < record.first_token);
                    prop_assert!(record.first_token <= record.finished);
                    finished.insert(record.id, *record);
                    record.finished
                }
            };
            prop_assert!(at >= last, "events are in order of time");
            last = at;
        }
        prop_assert_eq!(totals.requests_finished + totals.requests_aborted, load.len() as u64);
        prop_assert_eq!(totals.requests_finished, finished.len() as u64);
        for (_, request, abort) in &load {
            match finished.get(&request.id) {
                Some(record) => prop_assert_eq!(record.output_tokens, request.output_tokens),
                None => prop_assert!(abort.is_some(), "{} was neither answered nor aborted", request.id),
            }
        }
        let tokens: u64 = finished.values().map(|record| u64::from(record.output_tokens)).sum();
        prop_assert!(totals.generation_tokens >= tokens);
        if totals.requests_aborted == 0 {
            prop_assert_eq!(totals.generation_tokens, tokens);
        }
    }

    #[test]
    fn results_do_not_depend_on_how_often_it_is_asked(load in loads(), hop in 1..50_000_u64) {
        prop_assert_eq!(play(&load, micros(hop)), play(&load, Duration::from_secs(1000)));
    }
}
