//! A simulated `while true; do wget -q -O- URL; done`: requests one after the other, each on a connection of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::processor::Processor;

/// So many requests are begun in any second, at most.
pub(crate) const PER_SECOND: usize = 200;
/// Processor time of one round of the loop, which starts a process: 1 ms.
pub(crate) const ROUND: Duration = Duration::from_millis(1);
/// Memory that the loop is said to hold: 1 MiB.
pub(crate) const BYTES: f64 = 1_048_576.0;

const SECOND: Duration = Duration::from_secs(1);
/// A request that takes longer has failed, so that a server that hangs does not end the load.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What became of the requests is logged so often.
const REPORT: Duration = Duration::from_secs(30);

/// Why one request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The host leads nowhere.
    #[error("{0}")]
    Unresolved(String),
    /// No connection, or none until the end of the answer.
    #[error("connection to {0}: {1}")]
    Connection(SocketAddrV4, io::Error),
    /// The answer is not HTTP.
    #[error("answer of {0}: {1}")]
    Http(SocketAddrV4, hyper::Error),
    /// An answer, but not 2xx.
    #[error("{0} answered {1}")]
    Status(SocketAddrV4, StatusCode),
    /// No whole answer in time.
    #[error("no answer of {0} within {seconds} s", seconds = TIMEOUT.as_secs())]
    Timeout(SocketAddrV4),
}

/// Sends requests for `url` until the future is dropped. A failure is counted and logged, and the loop goes on.
///
/// `resolve` gives the servers behind the URL's host and port, of which one is taken at random; its error says why there
/// are none. Each round costs [`ROUND`] of the `processor`. `name` is what the log calls it.
pub(crate) async fn run(
    name: &str,
    url: &Uri,
    processor: Arc<Processor>,
    resolve: impl Fn() -> Result<Vec<SocketAddrV4>, String>,
) -> Infallible {
    let mut pace = Pace::default();
    let mut counts = Counts { since: Instant::now(), sent: 0, failed: 0 };
    loop {
        let due = pace.next(Instant::now());
        sleep_until(due).await;
        pace.began(Instant::now());
        processor.take(ROUND, Instant::now());
        let outcome = match resolve() {
            Ok(servers) if !servers.is_empty() => {
                fetch(url, servers[rand::random_range(0..servers.len())]).await
            }
            Ok(_) => Err(Failure::Unresolved("no server".to_owned())),
            Err(problem) => Err(Failure::Unresolved(problem)),
        };
        counts.add(name, url, &outcome);
    }
}

/// One request on a connection of its own, to the end of the answer.
async fn fetch(url: &Uri, server: SocketAddrV4) -> Result<(), Failure> {
    let whole = async {
        let broken = |error| Failure::Connection(server, error);
        let stream = TcpStream::connect(server).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let http = |error| Failure::Http(server, error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let exchange = async {
            let mut response = sender.send_request(request(url)).await.map_err(http)?;
            let status = response.status();
            while let Some(frame) = response.frame().await {
                frame.map_err(http)?;
            }
            if status.is_success() { Ok(()) } else { Err(Failure::Status(server, status)) }
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            outcome = &mut exchange => outcome,
            // The connection may end before its last answer was read.
            _ended = connection => exchange.await,
        }
    };
    tokio::time::timeout(TIMEOUT, whole).await.unwrap_or(Err(Failure::Timeout(server)))
}

fn request(url: &Uri) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let headers = request.headers_mut();
    let host = url.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("web")));
    headers.insert(USER_AGENT, HeaderValue::from_static("Wget"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

struct Counts {
    since: Instant,
    sent: u64,
    failed: u64,
}

impl Counts {
    /// Counts; logs the first failure of a span at once, and all in a line at its end.
    fn add(&mut self, name: &str, url: &Uri, outcome: &Result<(), Failure>) {
        self.sent += 1;
        if let Err(problem) = outcome {
            if self.failed == 0 {
                warn!(name, %url, %problem, "load generator: wget failed, the loop goes on");
            }
            self.failed += 1;
        }
        if self.since.elapsed() >= REPORT {
            info!(name, %url, sent = self.sent, failed = self.failed, "load generator");
            *self = Self { since: Instant::now(), sent: 0, failed: 0 };
        }
    }
}

/// When the next request may begin: evenly spaced; what was late is made up for, but never more than [`PER_SECOND`]
/// begin within any second.
#[derive(Debug, Default)]
struct Pace {
    due: Option<Instant>,
    /// The beginnings of the last requests, [`PER_SECOND`] of them at most.
    begun: VecDeque<Instant>,
}

impl Pace {
    fn next(&mut self, now: Instant) -> Instant {
        let spacing = SECOND / PER_SECOND as u32;
        // Whoever is a second late does not make up for more than that.
        let due = self.due.map_or(now, |last| last + spacing).max(now - SECOND);
        self.due = Some(due);
        let full = (self.begun.len() == PER_SECOND).then(|| self.begun.front()).flatten();
        full.map_or(due, |oldest| due.max(*oldest + SECOND)).max(now)
    }

    fn began(&mut self, at: Instant) {
        if self.begun.len() == PER_SECOND {
            self.begun.pop_front();
        }
        self.begun.push_back(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_server;

    /// Begins requests for `lasts`, each taking `takes(number)`; gives when each began.
    fn begins(lasts: Duration, takes: impl Fn(usize) -> Duration) -> Vec<Duration> {
        let start = Instant::now() + SECOND * 10;
        let (mut pace, mut now, mut begins) = (Pace::default(), start, Vec::new());
        while now < start + lasts {
            now = pace.next(now);
            pace.began(now);
            begins.push(now - start);
            now += takes(begins.len());
        }
        begins
    }

    #[track_caller]
    fn check(takes: impl Fn(usize) -> Duration, expected: std::ops::RangeInclusive<usize>) {
        let begins = begins(SECOND * 10, takes);
        assert!(expected.contains(&begins.len()), "{} requests in 10 s", begins.len());
        for pair in begins.windows(PER_SECOND + 1) {
            assert!(pair[PER_SECOND] >= pair[0] + SECOND, "more than {PER_SECOND} in a second");
        }
    }

    #[test]
    fn never_more_than_200_begin_in_a_second() {
        let ms = Duration::from_millis;
        check(|_| Duration::ZERO, 1999..=2001);
        check(|_| ms(1), 1999..=2001);
        check(|_| ms(10), 999..=1001);
        // A stall of 300 ms every second is made up for.
        check(|number| if number % 200 == 0 { ms(300) } else { ms(1) }, 1900..=2001);
    }

    #[tokio::test]
    async fn the_loop_goes_on_after_failures() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(server) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let web = Arc::new(Processor::new(None));
        let own = Arc::new(Processor::new(None));
        let serving = tokio::spawn(web_server::serve(listener, web.clone()));
        let dead: SocketAddrV4 = "127.0.0.1:9".parse().unwrap();
        let rounds = std::sync::atomic::AtomicUsize::new(0);
        let resolve = || match rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 {
            0 => Err("bad address".to_owned()),
            1 => Ok(vec![dead]),
            _ => Ok(vec![server]),
        };
        let url = "http://web/".parse().unwrap();
        let enough = async {
            while web.used(Instant::now()) < web_server::REQUEST * 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            never = run("test", &url, own.clone(), resolve) => match never {},
            () = enough => {}
        }
        assert!(own.used(Instant::now() + SECOND) >= ROUND * 9, "failures are work as well");
        serving.abort();
    }

    #[tokio::test]
    async fn an_answer_that_is_not_2xx_is_a_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(server) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let serving = tokio::spawn(web_server::serve(listener, Arc::new(Processor::new(None))));
        for (url, good) in [("http://web", true), ("http://web/?a=b", true), ("http://web/nope", false)] {
            let outcome = fetch(&url.parse().unwrap(), server).await;
            assert_eq!(outcome.is_ok(), good, "{url}: {outcome:?}");
        }
        serving.abort();
    }
}
