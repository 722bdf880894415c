//! How often a scrape in steady state allocates, whole and by name, all client costs: the request, the answer, the readings,
//! the values.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use windlass_metrics::{Catalogue, Wanted};
use windlass_scrape::{Endpoint, PolledPod};

const SHORT: &str = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"a\"} 3.0\n\
    # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"a\"} 1.0\n";

/// A server on a thread of its own, whose allocations do not count. `by_name`: it knows `?name[]=…`.
fn serve(by_name: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let more = "other{model_name=\"a\"} 1.0\n".repeat(600);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        loop {
            let read = stream.read(&mut request).unwrap();
            if read == 0 {
                return;
            }
            let named = by_name && request[..read].windows(4).any(|bytes| bytes == b"name");
            let page = if named { SHORT.to_owned() } else { format!("{SHORT}{more}") };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", page.len());
            stream.write_all(format!("{head}{page}").as_bytes()).unwrap();
        }
    });
    address
}

/// At most so many allocations per scrape.
#[track_caller]
fn check(by_name: bool, most: u64) {
    const SCRAPES: u64 = 200;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let metrics = [Catalogue::builtin().resolve("inflight").unwrap()];
    let endpoint = Endpoint::http(serve(by_name), "/metrics");
    let mut pod = PolledPod::new(endpoint, Duration::from_mins(1), Arc::new(Wanted::new(&metrics)));
    let mut scrapes = |count: u64| {
        runtime.block_on(async {
            for _ in 0..count {
                let outcome = pod.poll().await;
                assert_eq!(outcome.values.unwrap()[0].as_ref().unwrap().number(), Some(4.0));
            }
        });
    };
    scrapes(20);
    let allocated = allocation_counter::measure(|| scrapes(SCRAPES));
    let each = allocated.count_total as f64 / SCRAPES as f64;
    println!(
        "by name {by_name}: {each:.2} allocations and {} bytes per scrape",
        allocated.bytes_total / SCRAPES
    );
    assert!(allocated.count_total <= most * SCRAPES, "{each} per scrape");
}

#[test]
fn a_scrape_in_steady_state_allocates_next_to_nothing() {
    check(false, 4);
    check(true, 4);
}
