//! Pollers against real sockets that behave and misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep};
use windlass_metrics::{Catalogue, RATE_SPAN, Wanted};
use windlass_scrape::{
    Detection, Endpoint, Host, Outcome, PAGE_LIMIT, Pacemaker, PolledPod, Poller, Schedule, Value, Vocabulary,
};

const INTERVAL: Duration = Duration::from_millis(200);
const PAGE: &str = "# TYPE queue gauge\nqueue{model=\"a\"} 7\nqueue{model=\"b\"} 0.5\n";

/// What a server does with the n-th request (over all connections).
type Behaviour = fn(usize) -> Answer;

enum Answer {
    Page(String),
    /// Raw bytes, then the connection is closed.
    Raw(Vec<u8>),
    Hang,
    OneByteASecond,
}

fn page(body: &str) -> Answer {
    Answer::Page(body.to_owned())
}

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

async fn serve(behaviour: Behaviour) -> (SocketAddr, UnboundedReceiver<usize>) {
    serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), behaviour)
}

fn serve_on(listener: TcpListener, behaviour: Behaviour) -> (SocketAddr, UnboundedReceiver<usize>) {
    let address = listener.local_addr().unwrap();
    let (connections, seen) = mpsc::unbounded_channel();
    let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = connections.send(connection);
            tokio::spawn(answer_all(stream, behaviour, Arc::clone(&requests)));
        }
    });
    (address, seen)
}

async fn answer_all(
    mut stream: TcpStream,
    behaviour: Behaviour,
    requests: Arc<std::sync::atomic::AtomicUsize>,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(length) => request.extend_from_slice(&chunk[..length]),
            }
        }
        let known = request.starts_with(b"GET /metrics HTTP/1.1\r\n")
            || request.starts_with(b"GET /metrics?name%5B%5D=");
        let of_trtllm = request.starts_with(b"GET /prometheus/metrics HTTP/1.1\r\n");
        request.clear();
        if of_trtllm {
            let _ = stream.write_all(&[head(PAGE.len()), PAGE.into()].concat()).await;
            continue;
        }
        if !known {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            continue;
        }
        match behaviour(requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            Answer::Page(body) => {
                let answer = [head(body.len()), body.into_bytes()].concat();
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Answer::Hang => sleep(Duration::from_hours(1)).await,
            Answer::OneByteASecond => loop {
                if stream.write_all(b"H").await.is_err() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            },
        }
    }
}

fn poll(address: SocketAddr) -> (Poller, UnboundedReceiver<Outcome>) {
    poll_path(address, "/metrics")
}

fn wanted() -> Arc<Wanted> {
    let metrics = ["queue", "absent"].map(|name| Catalogue::builtin().resolve(name).unwrap());
    Arc::new(Wanted::new(&metrics))
}

fn poll_path(address: SocketAddr, path: &str) -> (Poller, UnboundedReceiver<Outcome>) {
    let (sender, outcomes) = mpsc::unbounded_channel();
    let poller = Poller::spawn(
        Endpoint::http(address, path),
        &Pacemaker::new(Schedule { interval: INTERVAL, origin: Instant::now() }),
        wanted(),
        move |outcome| drop(sender.send(outcome)),
    );
    (poller, outcomes)
}

fn shown(outcome: &Outcome) -> String {
    match &outcome.values {
        Ok(values) => {
            format!("{:?}", values.iter().map(|value| value.as_ref()?.number()).collect::<Vec<_>>())
        }
        Err(error) => error.class().to_owned(),
    }
}

/// The first outcomes of a poller against `behaviour`, and over how many connections they came.
async fn check(behaviour: Behaviour, expect: &[&str], expect_connections: usize) {
    let (address, mut connections) = serve(behaviour).await;
    let (_poller, mut outcomes) = poll(address);
    for (index, expect) in expect.iter().enumerate() {
        let outcome = outcomes.recv().await.unwrap();
        assert_eq!(&shown(&outcome), expect, "outcome {index}: {:?}", outcome.values);
    }
    let mut count = 0;
    while connections.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, expect_connections, "connections");
}

const GOOD: &str = "[Some(7.5), None]";

#[tokio::test]
async fn one_connection_serves_all_polls() {
    check(|_| page(PAGE), &[GOOD, GOOD, GOOD], 1).await;
}

#[tokio::test]
async fn an_exporter_that_closes_after_each_answer() {
    check(|_| Answer::Raw([head(PAGE.len()), PAGE.into()].concat()), &[GOOD, GOOD], 2).await;
}

#[tokio::test]
async fn errors_are_no_values_and_pass() {
    check(
        |n| match n {
            0 => Answer::Raw(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".into()),
            1 => Answer::Raw(b"HTTP/1.1 302 Found\r\nlocation: /metrics\r\ncontent-length: 0\r\n\r\n".into()),
            2 => Answer::Raw(b"this is not HTTP at all\r\n\r\n".into()),
            3 => Answer::Raw([head(1000), b"queue 1\nqu".into()].concat()),
            4 => page("<html>not metrics</html>"),
            5 => page("queue{model=\"a\"} 12"),
            6 => page("queue NaN\n"),
            _ => page(PAGE),
        },
        &["status", "status", "broken-off", "broken-off", "page", "page", "[None, None]", GOOD],
        // What could not be read as a page came over a connection that is still good.
        5,
    )
    .await;
}

#[tokio::test]
async fn a_page_over_the_limit_is_refused() {
    check(
        |n| if n == 0 { page(&format!("queue 1\n{}", "#\n".repeat(PAGE_LIMIT / 2))) } else { page(PAGE) },
        &["too-large", GOOD],
        2,
    )
    .await;
}

#[tokio::test]
async fn hanging_and_slow_answers_meet_the_deadline_and_the_next_poll_is_fresh() {
    check(|n| if n == 0 { Answer::Hang } else { page(PAGE) }, &["deadline", GOOD], 2).await;
    check(|n| if n == 0 { Answer::OneByteASecond } else { page(PAGE) }, &["deadline", GOOD], 2).await;
}

#[tokio::test]
async fn refusal_is_an_outcome_each_interval() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_poller, mut outcomes) = poll(closed);
    for _ in 0..3 {
        assert_eq!(shown(&outcomes.recv().await.unwrap()), "connect");
    }
}

#[tokio::test]
async fn counters_are_rates_once_they_were_counted_for_long_enough() {
    fn counting(n: usize) -> Answer {
        page(&format!("# TYPE queue counter\nqueue {}\n", if n < 8 { 1000 * n } else { 3 }))
    }
    let (address, _connections) = serve(counting).await;
    let (_poller, mut outcomes) = poll(address);
    let mut asked = Vec::new();
    for n in 0..9 {
        let outcome = outcomes.recv().await.unwrap();
        let value = outcome.values.unwrap().swap_remove(0);
        let long_ago = |before: &&Instant| outcome.asked - **before >= RATE_SPAN;
        let since = asked.iter().rev().find(long_ago).copied().filter(|_| n < 8);
        assert_eq!(value.as_ref().map(|value| value.since), since, "page {n}: it fell with the last");
        let rate = value.as_ref().and_then(Value::number);
        assert!(rate.is_none_or(|rate| rate > 0.0), "{value:?}");
        asked.push(outcome.asked);
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_falls_back_to_the_default() {
    let (address, _connections) = serve(|_| page(PAGE)).await;
    let (_poller, mut outcomes) = poll_path(address, "/elsewhere");
    assert_eq!(shown(&outcomes.recv().await.unwrap()), GOOD);
}

#[tokio::test]
async fn what_is_found_elsewhere_must_be_a_page() {
    let (address, _connections) = serve(|_| page("{\"iterations\": []}\n")).await;
    let (_poller, mut outcomes) = poll_path(address, "/elsewhere");
    for _ in 0..2 {
        let error = outcomes.recv().await.unwrap().values.unwrap_err();
        assert_eq!(error.to_string(), "answered with status 404 Not Found: nothing is at this path");
    }
}

#[tokio::test]
async fn an_engine_that_the_label_names_is_asked_where_it_has_its_page() {
    let (address, _connections) = serve(|_| page("{\"iterations\": []}\n")).await;
    let catalogue = Catalogue::builtin();
    let metrics = ["queue", "absent"].map(|name| catalogue.resolve(name).unwrap());
    let vocabulary = Arc::new(Vocabulary::new(Arc::clone(catalogue), metrics.into(), 2));
    let label = |key: &str| (key == "model.aibrix.ai/engine").then_some("trtllm");
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let pacemaker = Pacemaker::new(Schedule { interval: INTERVAL, origin: Instant::now() });
    let endpoint = Endpoint::http(address, "/elsewhere");
    let report = move |outcome| drop(sender.send(outcome));
    let _poller = Poller::detecting(endpoint, &pacemaker, Detection::new(vocabulary, label), report);
    assert_eq!(shown(&outcomes.recv().await.unwrap()), GOOD);
}

#[tokio::test]
async fn an_address_of_ip_version_6() {
    // Where there is none there is nothing to test.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let (address, _connections) = serve_on(listener, |_| page(PAGE));
    let (_poller, mut outcomes) = poll(address);
    assert_eq!(shown(&outcomes.recv().await.unwrap()), GOOD);
    for host in ["::1", "[::1]"] {
        let host = Host::Name { host: host.to_owned(), port: address.port() };
        assert_eq!(host.to_string(), address.to_string());
        let endpoint = Endpoint { host, path: "/metrics".to_owned(), access: None };
        assert_eq!(shown(&PolledPod::new(endpoint, INTERVAL, wanted()).poll().await), GOOD);
    }
}

#[tokio::test]
async fn what_no_url_has_is_not_asked_for() {
    let (address, _connections) = serve(|_| page(PAGE)).await;
    for path in ["metrics", "/a b", "/a\r\nx: y", "/ü", "/metrics#top"] {
        let outcome = PolledPod::new(Endpoint::http(address, path), INTERVAL, wanted()).poll().await;
        assert_eq!(shown(&outcome), "request", "{path}");
    }
}

#[tokio::test]
async fn pods_that_fail_do_not_hold_up_others() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (hanging, _connections) = serve(|_| Answer::Hang).await;
    let (good, _connections) = serve(|_| page(PAGE)).await;
    let pacemaker = Pacemaker::new(Schedule { interval: INTERVAL, origin: Instant::now() });
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let addresses = [closed, hanging, good];
    let _pollers = addresses.map(|address| {
        let sender = sender.clone();
        let report = move |outcome: Outcome| drop(sender.send((address, shown(&outcome))));
        Poller::spawn(Endpoint::http(address, "/metrics"), &pacemaker, wanted(), report)
    });
    let mut counts = [0; 3];
    while counts[2] < 15 {
        let (address, shown) = outcomes.recv().await.unwrap();
        let at = addresses.iter().position(|known| *known == address).unwrap();
        assert_eq!(shown, ["connect", "deadline", GOOD][at]);
        counts[at] += 1;
    }
    assert!(counts[0] > 0 && (1..10).contains(&counts[1]), "who hangs is asked more seldom: {counts:?}");
}

#[tokio::test]
async fn dropping_a_poller_ends_it() {
    let (address, _connections) = serve(|_| page(PAGE)).await;
    let (poller, mut outcomes) = poll(address);
    outcomes.recv().await.unwrap();
    drop(poller);
    while outcomes.recv().await.is_some() {}
}
