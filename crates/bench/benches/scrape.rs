//! One scrape of a 55 KB page over a kept connection: all that it costs the client, the server's share left out. Budget on
//! one core: 50 µs.
//!
//! The server is the testbed's mock engine on a thread of its own. What is measured is the processor time of the
//! client's thread, so waiting for the server does not count. The baseline opens a connection for each scrape.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros, and a benchmark that cannot go on ends"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use windlass_metrics::Wanted;
use windlass_metrics::catalogue::Catalogue;
use windlass_scrape::{Endpoint, PolledPod};
use windlass_testbed::mock_engine::{self, Script};

const INTERVAL: Duration = Duration::from_secs(10);

fn serve_engine() -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let script = Script { share: 20.0, ..Script::default() };
            let (_sender, script) = watch::channel(script);
            mock_engine::serve(listener, script, None).await
        })
    });
    address.recv().expect("an engine")
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

fn scrape(runtime: &Runtime, pod: &mut PolledPod) {
    let outcome = runtime.block_on(pod.poll());
    assert!(
        outcome.values.is_ok_and(|values| values.iter().all(Option::is_some)),
        "a page with both metrics"
    );
}

fn all(criterion: &mut Criterion) {
    let address = serve_engine();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut kept = polled(address);
    scrape(&runtime, &mut kept);
    let mut group = criterion.benchmark_group("scrape");
    group.bench_function("kept connection", |bencher| {
        bencher.iter_custom(|times| {
            let before = cpu();
            (0..times).for_each(|_| scrape(&runtime, &mut kept));
            cpu().saturating_sub(before)
        });
    });
    group.bench_function("baseline: new connections", |bencher| {
        bencher.iter_custom(|times| {
            let before = cpu();
            (0..times).for_each(|_| scrape(&runtime, &mut polled(address)));
            cpu().saturating_sub(before)
        });
    });
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
