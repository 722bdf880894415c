//! Pages asked for by name, over real sockets, from exporters that answer that in one way or another and change meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windlass_metrics::{Catalogue, Wanted};
use windlass_scrape::{Endpoint, PolledPod};

const PATIENT: Duration = Duration::from_mins(1);

/// How an exporter answers to names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Exporter {
    Right,
    /// Nothing, with status 200.
    Empty,
    /// A status, only if asked by name.
    Status(u16),
    /// Ends the connection in the middle, only if asked by name.
    BreaksOff,
}

use Exporter::{BreaksOff, Empty, Right, Status};

/// An engine: its exporter, the page it has, and whether it drops all connections once.
#[derive(Clone)]
struct Engine {
    exporter: Exporter,
    page: String,
    restarts: bool,
}

fn page(kv: &str, value: f64) -> String {
    let filler = "# HELP other What nobody asks for.\nother{path=\"/v1/chat/completions\"} 1\n".repeat(20);
    format!(
        "vllm:num_requests_running{{m=\"a\"}} 3\nvllm:num_requests_waiting{{m=\"a\"}} 0\n\
         vllm:{kv}_cache_usage_perc{{m=\"a\"}} {value}\n{filler}"
    )
}

async fn serve(engine: Arc<Mutex<Engine>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { drop(answer(stream, &engine).await) });
        }
    });
    address
}

async fn answer(mut stream: TcpStream, engine: &Mutex<Engine>) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let Engine { exporter, page, restarts } = engine.lock().clone();
        if restarts {
            engine.lock().restarts = false;
            return Ok(());
        }
        let target = String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        assert_eq!(path, "/metrics");
        let names: Vec<String> = query
            .split('&')
            .filter_map(|part| part.strip_prefix("name%5B%5D="))
            .map(|name| name.replace("%3A", ":"))
            .collect();
        let asked = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}{{")));
        let (status, body) = match exporter {
            _ if names.is_empty() => (200, page),
            Right => (200, page.split_inclusive('\n').filter(asked).collect()),
            Empty => (200, String::new()),
            Status(status) => (status, String::new()),
            BreaksOff => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nvllm").await;
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// What each poll gives of an engine that is so at that time: no poll may be without its readings. Expected is whether the
/// page was one by name.
async fn check(script: &[(Engine, bool)]) {
    let engine = Arc::new(Mutex::new(script[0].0.clone()));
    let address = serve(Arc::clone(&engine)).await;
    let metrics = ["inflight", "kv_util"].map(|name| Catalogue::builtin().resolve(name).unwrap());
    let wanted = Arc::new(Wanted::new(&metrics));
    let mut pod = PolledPod::new(Endpoint::http(address, "/metrics"), PATIENT, wanted);
    for (at, (state, by_name)) in script.iter().enumerate() {
        *engine.lock() = state.clone();
        let outcome = pod.poll().await;
        let values: Vec<Option<f64>> =
            outcome.values.unwrap().iter().map(|value| value.as_ref()?.number()).collect();
        let kv: f64 =
            state.page.split_once("perc{m=\"a\"} ").unwrap().1.split('\n').next().unwrap().parse().unwrap();
        assert_eq!(values, [Some(3.0), Some(kv)], "poll {at}");
        assert_eq!(outcome.filtered, *by_name, "poll {at}");
        assert_eq!(outcome.missing, None, "poll {at}");
        if *by_name {
            assert!(outcome.bytes < 150, "{} bytes", outcome.bytes);
        } else {
            assert!(outcome.bytes >= state.page.len(), "{} bytes", outcome.bytes);
        }
    }
}

#[tokio::test]
async fn an_engine_that_is_upgraded_in_place_loses_no_reading() {
    let engine = |kv: &str, value, restarts| Engine { exporter: Right, page: page(kv, value), restarts };
    check(&[
        (engine("gpu", 0.1, false), false),
        (engine("gpu", 0.2, false), true),
        (engine("gpu", 0.3, false), true),
        (engine("kv", 0.4, true), false),
        (engine("kv", 0.5, false), true),
        (engine("kv", 0.6, false), true),
    ])
    .await;
}

#[tokio::test]
async fn an_exporter_that_cannot_be_asked_by_name_is_asked_for_all() {
    for exporter in [Empty, Status(400), Status(414), Status(500), BreaksOff] {
        let engine = |value| Engine { exporter, page: page("kv", value), restarts: false };
        check(&[(engine(0.1), false), (engine(0.2), false), (engine(0.3), false), (engine(0.4), false)])
            .await;
    }
}

#[tokio::test]
async fn an_exporter_that_changes_its_mind_loses_no_reading() {
    let engine = |exporter, value| Engine { exporter, page: page("kv", value), restarts: false };
    check(&[
        (engine(Right, 0.1), false),
        (engine(Right, 0.2), true),
        (engine(Empty, 0.3), false),
        (engine(Right, 0.4), false),
    ])
    .await;
}

/// What drops connections (a restart) is asked for a whole page again, but not each time it does.
#[tokio::test]
async fn a_lost_connection_loses_no_reading() {
    let engine = |value, restarts| Engine { exporter: Right, page: page("kv", value), restarts };
    check(&[
        (engine(0.1, false), false),
        (engine(0.2, true), true),
        (engine(0.3, false), true),
        (engine(0.4, true), true),
    ])
    .await;
}
