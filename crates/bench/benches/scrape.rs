//! One scrape over a kept connection: all that it costs the client, the server's share left out. Budgets on one core: 50 µs
//! for a whole page of 55 KB, 10 µs for one by name.
//!
//! The page is the testbed's mock engine's; it is served by a thread of its own, with the least of HTTP, by names or without
//! regard to them. What is measured is the processor time of the client's thread, so waiting for the server does not count.
//! The baseline opens a connection for each scrape.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros, and a benchmark that cannot go on ends"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use windlass_metrics::Wanted;
use windlass_metrics::catalogue::Catalogue;
use windlass_scrape::{Endpoint, PolledPod};
use windlass_testbed::mock_engine::{self, Script};

const INTERVAL: Duration = Duration::from_secs(10);

/// A page of the mock engine.
fn engine_page() -> String {
    let (sender, address) = std::sync::mpsc::channel::<SocketAddr>();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let script = Script { share: 20.0, ..Script::default() };
            let (_sender, script) = watch::channel(script);
            mock_engine::serve(listener, script, None).await
        })
    });
    let mut stream = TcpStream::connect(address.recv().expect("an engine")).expect("a connection");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// Serves the page, or what was asked for by name of it.
fn serve(page: &str, by_name: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let page = Arc::new(page.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let page = Arc::clone(&page);
            std::thread::spawn(move || answer(stream.expect("a connection"), &page, by_name));
        }
    });
    address
}

fn answer(mut stream: TcpStream, page: &str, by_name: bool) {
    let mut request = [0; 4096];
    // The client sends a request at once, and none before it has the answer.
    while let Ok(length @ 1..) = stream.read(&mut request) {
        let request = String::from_utf8_lossy(&request[..length]).replace("%3A", ":");
        let asked = |line: &&str| {
            request.contains(&format!("name%5B%5D={}", line.split(['{', ' ']).next().unwrap_or("")))
        };
        let body: String = if by_name && request.contains('?') {
            page.split_inclusive('\n').filter(asked).collect()
        } else {
            page.to_owned()
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Processor time of this thread so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn polled(address: SocketAddr) -> PolledPod {
    let endpoint = Endpoint::http(address, "/metrics");
    let metric = |name| Catalogue::builtin().resolve(name).expect("a metric of the catalogue");
    PolledPod::new(endpoint, INTERVAL, Arc::new(Wanted::new(&["inflight", "kv_util"].map(metric))))
}

fn scrape(runtime: &Runtime, pod: &mut PolledPod, by_name: bool) {
    let outcome = runtime.block_on(pod.poll());
    let values = outcome.values.expect("a page");
    assert!(values.iter().all(Option::is_some), "a page with both metrics");
    assert!(outcome.filtered || !by_name, "a page by name, not of {} bytes", outcome.bytes);
}

fn all(criterion: &mut Criterion) {
    let page = engine_page();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("scrape");
    for (name, by_name) in [("kept connection", false), ("kept connection, by name", true)] {
        let mut pod = polled(serve(&page, by_name));
        (0..3).for_each(|_| scrape(&runtime, &mut pod, false));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let before = cpu();
                (0..times).for_each(|_| scrape(&runtime, &mut pod, by_name));
                cpu().saturating_sub(before)
            });
        });
    }
    let address = serve(&page, false);
    group.bench_function("baseline: new connections", |bencher| {
        bencher.iter_custom(|times| {
            let before = cpu();
            (0..times).for_each(|_| scrape(&runtime, &mut polled(address), false));
            cpu().saturating_sub(before)
        });
    });
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
