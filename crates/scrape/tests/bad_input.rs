//! What servers may send instead of a page, over real sockets: whatever it is, it is an error or the page, and the poll
//! after it is good.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use windlass_metrics::{Catalogue, Wanted};
use windlass_scrape::{Endpoint, Outcome, PAGE_LIMIT, PolledPod};

const PAGE: &str = "# TYPE queue gauge\nqueue{model=\"a\"} 7\nqueue{model=\"b\"} 0.5\n";
/// Far longer than any test may take: what is wrong must be seen, not waited for.
const PATIENT: Duration = Duration::from_mins(1);
const IMPATIENT: Duration = Duration::from_secs(1);
const MANY: usize = 40 << 20;

/// What the server does with its first request; to all others it sends a page.
enum Answer {
    /// Sends this, and waits for the next request.
    Stays(Vec<u8>),
    /// Sends this, and closes the connection.
    Closes(Vec<u8>),
    /// Sends the first, and the second again and again.
    Endless(&'static [u8], &'static [u8]),
    /// The same a byte a second.
    Slow,
}

use Answer::{Closes, Endless, Slow, Stays};

async fn serve(first: Answer) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let requests = Arc::new(AtomicUsize::new(0));
    let first = Arc::new(first);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let (first, requests) = (Arc::clone(&first), Arc::clone(&requests));
            tokio::spawn(async move { drop(answer(stream, &first, &requests).await) });
        }
    });
    (address, connections)
}

async fn answer(mut stream: TcpStream, first: &Answer, requests: &AtomicUsize) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        if requests.fetch_add(1, Ordering::Relaxed) > 0 {
            stream.write_all(&good()).await?;
            continue;
        }
        match first {
            Stays(bytes) => stream.write_all(bytes).await?,
            Closes(bytes) => return stream.write_all(bytes).await,
            Endless(begin, part) => {
                stream.write_all(begin).await?;
                let parts = part.repeat((64 << 10) / part.len());
                loop {
                    stream.write_all(&parts).await?;
                }
            }
            Slow => {
                for byte in good().chunks(1) {
                    stream.write_all(byte).await?;
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

fn with_headers(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{headers}\r\n").as_bytes(), body].concat()
}

fn of_length(length: usize, body: &str) -> Vec<u8> {
    with_headers(&format!("content-length: {length}\r\n"), body.as_bytes())
}

fn good() -> Vec<u8> {
    of_length(PAGE.len(), PAGE)
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn with_encoding(encoding: &str, body: &[u8]) -> Vec<u8> {
    with_headers(&format!("content-encoding: {encoding}\r\ncontent-length: {}\r\n", body.len()), body)
}

fn shown(outcome: &Outcome) -> String {
    match &outcome.values {
        Ok(values) => {
            format!("{:?}", values.iter().map(|value| value.as_ref()?.number()).collect::<Vec<_>>())
        }
        Err(error) => format!("{}: {error}", error.class()),
    }
}

/// What two polls give of which the first meets `first`, and over how many connections.
async fn check_within(interval: Duration, first: Answer, expected: &str, expected_connections: usize) {
    let (address, connections) = serve(first).await;
    let wanted = Wanted::new(&[Catalogue::builtin().resolve("queue").unwrap()]);
    let mut pod = PolledPod::new(Endpoint::http(address, "/metrics"), interval, Arc::new(wanted));
    let found = shown(&pod.poll().await);
    assert!(found.starts_with(expected), "{found:?} does not begin with {expected:?}");
    assert_eq!(shown(&pod.poll().await), GOOD, "after {found}");
    assert_eq!(connections.load(Ordering::Relaxed), expected_connections, "connections, with {found}");
}

async fn check(first: Answer, expected: &str, expected_connections: usize) {
    check_within(PATIENT, first, expected, expected_connections).await;
}

const GOOD: &str = "[Some(7.5)]";

#[tokio::test]
async fn pages_in_every_framing() {
    check(Stays(good()), GOOD, 1).await;
    check(Closes(good()), GOOD, 2).await;
    let chunked = |body: &str| with_headers("transfer-encoding: chunked\r\n", body.as_bytes());
    check(Stays(chunked(&format!("{:x}\r\n{PAGE}\r\n0\r\n\r\n", PAGE.len()))), GOOD, 1).await;
    check(Closes(chunked(&format!("{:x}\r\n{PAGE}\r\n0\r\n\r\n", PAGE.len()))), GOOD, 2).await;
    check(Closes(chunked(&format!("{:x}\r\n{PAGE}\r\n", PAGE.len()))), "broken-off: the answer broke off", 2)
        .await;
    check(Closes(with_headers("", PAGE.as_bytes())), GOOD, 2).await;
    check(Closes(format!("HTTP/1.0 200 OK\r\n\r\n{PAGE}").into()), GOOD, 2).await;
    check(Stays(format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{PAGE}", PAGE.len()).into()), GOOD, 2)
        .await;
    check(Stays([b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(), &good()].concat()), GOOD, 1).await;
}

#[tokio::test]
async fn packed_though_not_asked_for() {
    check(Stays(with_encoding("gzip", &packed(PAGE))), GOOD, 1).await;
    check(Stays(with_encoding("gzip", &packed(&"#\n".repeat(MANY / 2)))), "too-large", 1).await;
    check(
        Stays(with_encoding("gzip", PAGE.as_bytes())),
        "page: the page came packed, as a gzip that is damaged",
        1,
    )
    .await;
    let cut = packed(PAGE);
    check(Stays(with_encoding("gzip", &cut[..cut.len() - 9])), "page: the page came packed, as a gzip", 1)
        .await;
    check(Stays(with_encoding("br", b"xyz")), "page: the page came packed, as \"br\"", 1).await;
}

#[tokio::test]
async fn too_much() {
    check(Stays(of_length(MANY, "queue 1\n")), "too-large: the page is larger than 4 MiB", 2).await;
    check(Stays(of_length(PAGE_LIMIT + 1, "")), "too-large", 2).await;
    check(Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"queue 1\n"), "too-large", 2).await;
    let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    check(Endless(chunks, b"8\r\nqueue 1\n\r\n"), "too-large", 2).await;
    check(Endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"), "broken-off: the headers are more than", 2).await;
    check(Endless(b"HTTP/1.1 200 OK\r\na: ", b"b"), "broken-off: the headers are more than", 2).await;
    check(Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "broken-off: the headers are more than", 2).await;
}

#[tokio::test]
async fn too_slow() {
    check_within(IMPATIENT, Slow, "deadline: no complete answer within 900 ms", 2).await;
    check_within(IMPATIENT, Stays(of_length(PAGE.len() + 1, PAGE)), "deadline", 2).await;
    check_within(IMPATIENT, Stays(Vec::new()), "deadline", 2).await;
}

#[tokio::test]
async fn lengths_that_are_wrong() {
    check(Stays(of_length(PAGE.len() - 1, PAGE)), "broken-off: more came than", 2).await;
    check(
        Closes(of_length(PAGE.len() + 1, PAGE)),
        "broken-off: the answer broke off: the connection was closed before its end",
        2,
    )
    .await;
    check(
        Stays(with_headers("content-length: 5\r\ncontent-length: 6\r\n", b"queue")),
        "broken-off: the answer's",
        2,
    )
    .await;
    check(Closes(b"HTTP/1.1 200 OK\r\nconte".into()), "broken-off: the answer broke off", 2).await;
    check(Closes(Vec::new()), "broken-off: the connection was closed without an answer", 2).await;
}

#[tokio::test]
async fn no_pages() {
    check(Stays(b"HTTP/1.1 204 No Content\r\n\r\n".into()), "status: answered with status 204", 1).await;
    check(
        Stays(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".into()),
        "status: answered with status 302",
        1,
    )
    .await;
    check(
        Stays(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy".into()),
        "status: answered with status 503",
        1,
    )
    .await;
    let html = "<!DOCTYPE html><html><body>queue</body></html>";
    check(Stays(of_length(html.len(), html)), "page: the answer is HTML, no metrics page", 1).await;
    check(Stays(of_length(0, "")), "[None]", 1).await;
    check(Stays(b"SSH-2.0-OpenSSH_9.2\r\n".into()), "broken-off: what came is not HTTP", 2).await;
    check(Stays(vec![0x15, 3, 3, 0, 2, 2, 70]), "broken-off: what came is not HTTP", 2).await;
}
