//! What an engine does, one small case each. One step takes 10 ms and, per prefill token, 1 ms.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use windlass_engine_model::*;

const COSTS: StepCosts = StepCosts {
    idle_seconds: 0.01,
    decode_token_seconds: 0.0,
    kv_token_seconds: 0.0,
    prefill_token_seconds: 0.001,
    prefill_context_seconds: 0.0,
};
const LIMITS: Limits =
    Limits { kv_capacity_tokens: 100, max_num_seqs: 4, max_num_batched_tokens: 50, watermark: 0.0 };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn request(id: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { id, prompt_tokens, output_tokens, cached_tokens: 0 }
}

fn engine(limits: Limits) -> Engine {
    Engine::new(COSTS, limits).unwrap()
}

fn line(event: &Event) -> String {
    let at = event.at().as_millis();
    match event {
        Event::Admitted { id, .. } => format!("{at} admitted {id}"),
        Event::FirstToken { id, .. } => format!("{at} first {id}"),
        Event::Preempted { id, .. } => format!("{at} preempted {id}"),
        Event::Resumed { id, gap, .. } => format!("{at} resumed {id} after {}", gap.as_millis()),
        Event::Finished(record) => format!("{at} finished {}", record.id),
        Event::Steps(steps) => {
            format!(
                "{at} steps {}x{} ms p{} d{}",
                steps.count,
                steps.step().as_millis(),
                steps.prefill_tokens,
                steps.decode_tokens
            )
        }
    }
}

/// Advances to the end and compares what was told.
fn check(engine: &mut Engine, expected: &[&str]) {
    let mut told = Vec::new();
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut |event| told.push(line(&event)));
    }
    assert_eq!(told, expected);
    assert_eq!(engine.kv_tokens(), 0);
}

#[test]
fn the_last_chunk_gives_the_first_token() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(5), request(1, 60, 3)).unwrap();
    check(
        &mut engine,
        &[
            "5 admitted 1",
            "65 steps 1x60 ms p50 d0",
            "85 steps 1x20 ms p10 d0",
            "85 first 1",
            "105 steps 2x10 ms p0 d1",
            "105 finished 1",
        ],
    );
    let totals = engine.totals();
    assert_eq!((totals.prompt_tokens, totals.generation_tokens, totals.steps), (60, 3, 4));
    assert_eq!(totals.busy, ms(100));
}

#[test]
fn an_arrival_waits_for_the_end_of_the_step() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(0), request(1, 10, 5)).unwrap();
    engine.submit(ms(33), request(2, 20, 1)).unwrap();
    check(
        &mut engine,
        &[
            "0 admitted 1",
            "20 steps 1x20 ms p10 d0",
            "20 first 1",
            // In two parts, because the engine was asked in between.
            "30 steps 1x10 ms p0 d1",
            "40 steps 1x10 ms p0 d1",
            "40 admitted 2",
            "70 steps 1x30 ms p20 d1",
            "70 first 2",
            "70 finished 2",
            "80 steps 1x10 ms p0 d1",
            "80 finished 1",
        ],
    );
}

#[test]
fn what_arrives_at_one_instant_shares_a_step() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(0), request(1, 10, 1)).unwrap();
    engine.submit(ms(0), request(2, 20, 1)).unwrap();
    let mut told = Vec::new();
    engine.advance(ms(0), &mut |event| told.push(line(&event)));
    assert_eq!(told, ["0 admitted 1", "0 admitted 2"]);
    // The step has begun.
    engine.submit(ms(0), request(3, 10, 1)).unwrap();
    check(
        &mut engine,
        &[
            "40 steps 1x40 ms p30 d0",
            "40 first 1",
            "40 finished 1",
            "40 first 2",
            "40 finished 2",
            "40 admitted 3",
            "60 steps 1x20 ms p10 d0",
            "60 first 3",
            "60 finished 3",
        ],
    );
}

#[test]
fn the_newest_is_preempted_and_recomputed() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(0), request(1, 25, 60)).unwrap();
    engine.submit(ms(0), request(2, 25, 60)).unwrap();
    check(
        &mut engine,
        &[
            "0 admitted 1",
            "0 admitted 2",
            "60 steps 1x60 ms p50 d0",
            "60 first 1",
            "60 first 2",
            // 50 + 2·25 tokens: the cache is full.
            "310 steps 25x10 ms p0 d2",
            "310 preempted 2",
            "650 steps 34x10 ms p0 d1",
            "650 finished 1",
            "650 admitted 2",
            // Its prompt and the 26 tokens it had.
            "710 steps 1x60 ms p50 d0",
            "721 steps 1x11 ms p1 d0",
            "721 resumed 2 after 411",
            "1051 steps 33x10 ms p0 d1",
            "1051 finished 2",
        ],
    );
    let totals = engine.totals();
    assert_eq!((totals.preemptions, totals.prefilled_tokens, totals.prompt_tokens), (1, 101, 50));
    assert_eq!(totals.generation_tokens, 120);
}

#[test]
fn the_watermark_binds_only_where_something_runs() {
    let mut engine = engine(Limits { watermark: 0.5, ..LIMITS });
    engine.submit(ms(0), request(1, 60, 2)).unwrap();
    engine.submit(ms(0), request(2, 10, 1)).unwrap();
    check(
        &mut engine,
        &[
            "0 admitted 1",
            "60 steps 1x60 ms p50 d0",
            "80 steps 1x20 ms p10 d0",
            "80 first 1",
            "90 steps 1x10 ms p0 d1",
            "90 finished 1",
            "90 admitted 2",
            "110 steps 1x20 ms p10 d0",
            "110 first 2",
            "110 finished 2",
        ],
    );
}

#[test]
fn a_prefix_hit_spares_prefill_but_one_token() {
    for (cached_tokens, first) in [(0, 50), (30, 20), (39, 11), (40, 11), (400, 11)] {
        let mut engine = engine(LIMITS);
        engine.submit(ms(0), Request { cached_tokens, ..request(1, 40, 1) }).unwrap();
        assert_eq!(engine.kv_tokens(), 0);
        engine.advance(ms(0), &mut drop);
        assert_eq!(engine.kv_tokens(), 40, "what is cached is resident");
        assert_eq!(engine.next_event(), Some(ms(first)));
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let mut engine = engine(LIMITS);
    let too_long = Refused::TooLong { needed: 101, capacity: 100 };
    let cases = [
        (request(1, 0, 5), Err(Refused::Empty)),
        (request(1, 5, 0), Err(Refused::Empty)),
        (request(1, 50, 52), Err(too_long)),
        (request(1, 50, 51), Ok(())),
        (request(1, 1, 1), Err(Refused::Duplicate { id: 1 })),
        (request(2, u32::MAX, u32::MAX), Err(Refused::TooLong { needed: 8_589_934_589, capacity: 100 })),
    ];
    for (request, expected) in cases {
        assert_eq!(engine.submit(ms(0), request), expected, "{request:?}");
    }
    assert_eq!(too_long.to_string(), "the request needs 101 tokens of KV cache, the engine has 100");
}

#[test]
fn an_aborted_request_leaves_at_the_end_of_the_step() {
    let mut engine = engine(Limits { max_num_seqs: 1, ..LIMITS });
    engine.submit(ms(0), request(1, 10, 50)).unwrap();
    engine.submit(ms(0), request(2, 10, 1)).unwrap();
    engine.submit(ms(0), request(3, 10, 1)).unwrap();
    engine.advance(ms(45), &mut drop);
    assert_eq!((engine.running(), engine.waiting(), engine.kv_tokens()), (1, 2, 13));
    assert!(engine.abort(ms(45), 1));
    assert!(!engine.abort(ms(45), 1));
    assert_eq!(engine.generated(1), None);
    assert!(engine.abort(ms(46), 2));
    assert_eq!((engine.running(), engine.waiting()), (1, 1));
    // Its id is free.
    engine.submit(ms(47), request(1, 5, 1)).unwrap();
    check(
        &mut engine,
        &[
            "50 steps 1x10 ms p0 d1",
            "50 admitted 3",
            "70 steps 1x20 ms p10 d0",
            "70 first 3",
            "70 finished 3",
            "70 admitted 1",
            "85 steps 1x15 ms p5 d0",
            "85 first 1",
            "85 finished 1",
        ],
    );
    assert_eq!((engine.totals().requests_aborted, engine.totals().requests_finished), (2, 2));
}

#[test]
fn progress_can_be_asked_for_at_any_time() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(0), request(1, 10, 20)).unwrap();
    for (now, tokens, kv_tokens) in
        [(0, 0, 10), (19, 0, 10), (20, 1, 11), (29, 1, 11), (30, 2, 12), (119, 10, 20)]
    {
        engine.advance(ms(now), &mut drop);
        assert_eq!(engine.generated(1), Some(tokens), "at {now} ms");
        assert_eq!(engine.kv_tokens(), kv_tokens, "at {now} ms");
        assert_eq!(engine.totals().generation_tokens, u64::from(tokens), "at {now} ms");
    }
    assert_eq!(engine.next_event(), Some(ms(210)), "nothing is to be seen before");
    // Time does not go back.
    engine.advance(ms(0), &mut drop);
    assert_eq!(engine.generated(1), Some(10));
    assert_eq!(engine.generated(2), None);
}

#[test]
fn what_happened_before_a_submission_is_told_by_the_next_advance() {
    let mut engine = engine(LIMITS);
    engine.submit(ms(0), request(1, 10, 1)).unwrap();
    engine.submit(ms(100), request(2, 10, 1)).unwrap();
    assert_eq!(engine.next_event(), Some(ms(0)));
    check(
        &mut engine,
        &[
            "0 admitted 1",
            "20 steps 1x20 ms p10 d0",
            "20 first 1",
            "20 finished 1",
            "100 admitted 2",
            "120 steps 1x20 ms p10 d0",
            "120 first 2",
            "120 finished 2",
        ],
    );
}

#[test]
fn what_makes_no_engine_is_named() {
    let costs = [
        StepCosts { idle_seconds: 0.0, ..COSTS },
        StepCosts { idle_seconds: f64::NAN, ..COSTS },
        StepCosts { kv_token_seconds: -1.0, ..COSTS },
        StepCosts { prefill_context_seconds: f64::INFINITY, ..COSTS },
    ];
    for costs in costs {
        assert!(matches!(Engine::new(costs, LIMITS), Err(InvalidModel::Cost { .. })), "{costs:?}");
    }
    let limits = [
        Limits { kv_capacity_tokens: 0, ..LIMITS },
        Limits { max_num_seqs: 0, ..LIMITS },
        Limits { max_num_batched_tokens: 0, ..LIMITS },
        Limits { watermark: 1.0, ..LIMITS },
        Limits { watermark: f64::NAN, ..LIMITS },
    ];
    for limits in limits {
        assert!(Engine::new(COSTS, limits).is_err(), "{limits:?}");
    }
}
