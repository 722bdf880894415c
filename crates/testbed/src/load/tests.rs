//! Loads over real sockets, on small engines whose behaviour the tests set.

mod engine;

use std::net::{SocketAddr, TcpListener};

use engine::{Behaviour, Engine};
use windlass_workload::Length;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// A safety net: nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// So many arrivals, so far apart, each of 100 tokens in and 5 out.
fn arrivals(count: u64, apart: Duration) -> Traffic {
    let arrival = move |n: u64| Arrival { at: apart * n as u32, prompt_tokens: 100, output_tokens: 5 };
    Traffic::open((0..count).map(arrival))
}

fn users(users: usize) -> Traffic {
    let lengths = Lengths::Independent { prompt: Length::Fixed(100), output: Length::Fixed(5) };
    Traffic::Closed { users, think_time: Duration::ZERO, lengths, seed: 1, duration: None }
}

fn routes(engines: &[&Engine]) -> Routes {
    let routes = Routes::default();
    for (index, engine) in engines.iter().enumerate() {
        routes.set(&format!("uid-{index}"), engine.address, true);
    }
    routes
}

/// Runs a load to its own end.
async fn run(routes: Routes, spec: Spec) -> Summary {
    let load = Load::start_on(routes, spec).unwrap();
    tokio::time::timeout(PATIENCE, load.finished()).await.unwrap();
    load.stop().await
}

/// Waits for something that other tasks bring about.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(MS(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

fn failures(summary: &Summary) -> Vec<(Failure, u64)> {
    summary.failures.iter().map(|(failure, count)| (*failure, *count)).collect()
}

#[tokio::test]
async fn answers_are_timed_and_their_tokens_counted() {
    let engines = [Engine::start().await, Engine::start().await];
    for engine in &engines {
        engine.set(Behaviour::Answer { first: MS(30), each: MS(10) });
    }
    for prompt_as in [PromptAs::Count, PromptAs::Words, PromptAs::Ids] {
        let spec = Spec { prompt_as, ..Spec::new(arrivals(40, MS(2))) };
        let summary = run(routes(&[&engines[0], &engines[1]]), spec).await;
        assert_eq!((summary.sent, summary.done, summary.failed(), summary.unfinished), (40, 40, 0, 0));
        assert_eq!((summary.prompt_tokens, summary.output_tokens), (4000, 200), "{prompt_as:?}");
        // A server's sleep is never shorter than asked for: these bounds hold however busy the machine is.
        let (ttft, tpot, e2e) = (summary.ttft.unwrap(), summary.tpot.unwrap(), summary.e2e.unwrap());
        assert!(ttft.p50_s >= 0.0299 && e2e.p50_s >= 0.0699, "{summary}");
        assert!(ttft.p50_s <= ttft.p99_s && ttft.p99_s <= e2e.max_s, "{summary}");
        assert!(tpot.mean_s < e2e.mean_s, "{summary}");
    }
    assert_eq!(engines[0].served() + engines[1].served(), 120);
}

#[tokio::test]
async fn failures_are_counted_by_kind() {
    let engine = Engine::start().await;
    for (behaviour, failure) in [
        (Behaviour::Status(500), Failure::ServerError),
        (Behaviour::Status(503), Failure::ServerError),
        (Behaviour::Status(404), Failure::Rejected),
        (Behaviour::Status(302), Failure::Rejected),
        (Behaviour::CutUnanswered, Failure::Cut),
        (Behaviour::CutAfter(0), Failure::Cut),
        (Behaviour::CutAfter(2), Failure::Cut),
        (Behaviour::EndAfter(2), Failure::Cut),
        (Behaviour::ErrorAfter(2), Failure::ServerError),
        (Behaviour::Garbage, Failure::Malformed),
        (Behaviour::Hang, Failure::TimedOut),
        (Behaviour::HangAfter(2), Failure::TimedOut),
    ] {
        engine.set(behaviour);
        let hangs = failure == Failure::TimedOut;
        let timeout = if hangs { MS(100) } else { PATIENCE };
        let summary = run(routes(&[&engine]), Spec { timeout, ..Spec::new(arrivals(3, MS(1))) }).await;
        assert_eq!(failures(&summary), [(failure, 3)], "{behaviour:?}");
        assert_eq!((summary.done, summary.e2e, summary.output_tokens), (0, None, 0), "{behaviour:?}");
        let begun = summary.ttft.map_or(0, |ttft| ttft.count);
        assert_eq!(begun, if behaviour.gives_text() { 3 } else { 0 }, "{behaviour:?}");
    }
    let nobody = run(Routes::default(), Spec::new(arrivals(3, MS(1)))).await;
    assert_eq!(failures(&nobody), [(Failure::NoReadyPod, 3)]);
    let free: SocketAddr = TcpListener::bind("127.77.5.5:0").unwrap().local_addr().unwrap();
    let closed = Routes::default();
    closed.set("uid", free, true);
    let refused = run(closed, Spec::new(arrivals(3, MS(1)))).await;
    assert_eq!(failures(&refused), [(Failure::Refused, 3)]);
}

#[tokio::test]
async fn a_request_is_sent_again_only_if_its_answer_has_not_begun() {
    let engine = Engine::start().await;
    let retry = |retries| Spec { retries, ..Spec::new(arrivals(1, MS(0))) };
    engine.fail_first(2);
    let summary = run(routes(&[&engine]), retry(2)).await;
    assert_eq!((summary.done, summary.retries, summary.failed()), (1, 2, 0));
    engine.fail_first(2);
    let summary = run(routes(&[&engine]), retry(1)).await;
    assert_eq!((summary.done, summary.retries), (0, 1));
    assert_eq!(failures(&summary), [(Failure::ServerError, 1)]);
    engine.fail_first(0);
    engine.set(Behaviour::CutAfter(2));
    let summary = run(routes(&[&engine]), retry(5)).await;
    assert_eq!((summary.retries, failures(&summary)), (0, vec![(Failure::Cut, 1)]));
}

#[tokio::test]
async fn least_inflight_goes_around_a_busy_pod_and_round_robin_does_not() {
    for (policy, stuck) in [(Policy::LeastInflight, 1), (Policy::RoundRobin, 2)] {
        let (busy, idle) = (Engine::start().await, Engine::start().await);
        busy.hold();
        let load = Load::start_on(routes(&[&busy, &idle]), Spec { policy, ..Spec::new(users(2)) }).unwrap();
        if policy == Policy::LeastInflight {
            until("the idle pod serves all others", || idle.served() > 20).await;
        }
        until("the busy pod has its requests", || busy.taken() == stuck).await;
        busy.release();
        let summary = load.stop().await;
        assert_eq!((summary.failed(), summary.unfinished), (0, 0), "{policy:?}");
    }
}

#[tokio::test]
async fn a_pod_that_lost_readiness_finishes_what_it_has_and_gets_nothing_new() {
    let (leaving, staying) = (Engine::start().await, Engine::start().await);
    leaving.hold();
    let routes = routes(&[&leaving]);
    let load = Load::start_on(routes.clone(), Spec::new(users(3))).unwrap();
    until("three requests run", || leaving.taken() == 3).await;
    routes.set("uid-0", leaving.address, false);
    routes.set("uid-1", staying.address, true);
    let held = load.snapshot();
    assert_eq!((held.in_flight, held.ttft), (3, None));
    leaving.release();
    until("the users go to the other pod", || staying.served() > 20).await;
    routes.remove("uid-0");
    let summary = load.stop().await;
    assert_eq!((leaving.taken(), summary.failed(), summary.unfinished), (3, 0, 0));
    assert_eq!(summary.done, 3 + staying.served());
}

#[tokio::test]
async fn what_cannot_be_sent_in_time_is_sent_late_and_timed_from_its_schedule() {
    let engine = Engine::start().await;
    engine.set(Behaviour::Answer { first: MS(20), each: MS(0) });
    let summary = run(routes(&[&engine]), Spec { max_in_flight: 1, ..Spec::new(arrivals(5, MS(0))) }).await;
    assert_eq!((summary.sent, summary.done, engine.most_at_once()), (5, 5, 1));
    // The last waits for four others of at least 20 ms.
    let (lateness, ttft, e2e) = (summary.lateness.unwrap(), summary.ttft.unwrap(), summary.e2e.unwrap());
    assert_eq!(lateness.count, 5);
    assert!(lateness.max_s >= 0.0799, "{summary}");
    assert!(ttft.max_s >= 0.0999 && e2e.max_s >= 0.0999, "{summary}");
    assert!(ttft.p50_s >= 0.0599, "{summary}");
}

#[tokio::test]
async fn a_first_token_is_told_before_the_answer_ends() {
    let engine = Engine::start().await;
    engine.set(Behaviour::HangAfter(1));
    let load = Load::start_on(routes(&[&engine]), Spec::new(users(3))).unwrap();
    until("three have begun", || load.summary().ttft.is_some_and(|ttft| ttft.count == 3)).await;
    let snapshot = load.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.done, snapshot.e2e), (3, 0, None));
}

#[tokio::test]
async fn stopping_waits_then_abandons_and_tells() {
    let engine = Engine::start().await;
    engine.hold();
    let spec = Spec { max_in_flight: 2, drain: MS(50), ..Spec::new(arrivals(10, MS(0))) };
    let load = Load::start_on(routes(&[&engine]), spec).unwrap();
    until("two requests run", || engine.taken() == 2).await;
    let summary = load.stop().await;
    assert_eq!((summary.sent, summary.done, summary.unfinished, summary.unsent), (2, 0, 2, 8));
    assert_eq!(summary.failed(), 0);
    // What is not due yet is not missing.
    let far = Traffic::open(std::iter::once(Arrival { at: PATIENCE, prompt_tokens: 1, output_tokens: 1 }));
    let summary = Load::start_on(Routes::default(), Spec::new(far)).unwrap().stop().await;
    assert_eq!((summary.sent, summary.unsent), (0, 0));
}

#[tokio::test]
async fn dropping_a_load_ends_its_requests() {
    let engine = Engine::start().await;
    engine.hold();
    let load = Load::start_on(routes(&[&engine]), Spec::new(users(3))).unwrap();
    until("three requests run", || engine.running() == 3).await;
    drop(load);
    until("none runs", || engine.running() == 0).await;
}

#[tokio::test]
async fn thousands_are_in_flight_at_once() {
    let engines = [Engine::start().await, Engine::start().await, Engine::start().await];
    engines.iter().for_each(Engine::hold);
    let all = routes(&[&engines[0], &engines[1], &engines[2]]);
    let load = Load::start_on(all, Spec::new(arrivals(3000, MS(0)))).unwrap();
    until("all are in flight", || engines.iter().all(|engine| engine.running() == 1000)).await;
    assert_eq!(load.snapshot().in_flight, 3000);
    engines.iter().for_each(Engine::release);
    tokio::time::timeout(PATIENCE, load.finished()).await.unwrap();
    let summary = load.stop().await;
    assert_eq!((summary.done, summary.failed()), (3000, 0));
}

#[tokio::test]
async fn connections_are_used_again() {
    let engine = Engine::start().await;
    let load = Load::start_on(routes(&[&engine]), Spec::new(users(1))).unwrap();
    until("requests are served", || engine.served() >= 50).await;
    let summary = load.stop().await;
    assert_eq!(summary.failed(), 0);
    assert!(engine.connections() * 4 < engine.served(), "{} connections", engine.connections());
}

#[tokio::test]
async fn a_closed_load_ends_after_its_duration_and_users_pause_after_a_failure() {
    let mut traffic = users(2);
    if let Traffic::Closed { duration, .. } = &mut traffic {
        *duration = Some(MS(300));
    }
    let summary = run(Routes::default(), Spec::new(traffic)).await;
    // Without a pause there would be thousands.
    assert_eq!(failures(&summary), [(Failure::NoReadyPod, 2)]);
}
