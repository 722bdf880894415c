//! What an engine answers, healthy or not.

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, SERVER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::gauge::Gauge;
use super::page::{self, Meter, Numbers, TEMPLATE};
use super::{Fault, MODEL, Script};

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Tokens of a mean answer: how many generated tokens make a finished request.
const TOKENS_PER_REQUEST: f64 = 200.0;
/// Processor time that an engine's front end uses, as a fraction of a core.
const CPU_SHARE: f64 = 0.1;
/// The size from which a page counts as [`Fault::Huge`].
const HUGE: usize = 40 << 20;
/// Between the half page and the end of the connection, so that the half is really sent.
const HALF_PAUSE: Duration = Duration::from_millis(20);
const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n";

/// What one engine remembers between requests.
pub(super) struct Engine {
    script: watch::Receiver<Script>,
    meters: Mutex<Meters>,
}

/// Counters are the integrals of the reported throughputs, so that a rate taken from them is what the gauges say.
struct Meters {
    at: Instant,
    values: [f64; Meter::COUNT],
}

impl Meters {
    fn advance(&mut self, gauges: &[f64; Gauge::COUNT], now: Instant) -> [f64; Meter::COUNT] {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let tokens = |gauge: Gauge| {
            let rate = gauges[gauge as usize];
            if rate.is_finite() { rate.max(0.0) * seconds } else { 0.0 }
        };
        self.values[Meter::PromptTokens as usize] += tokens(Gauge::PromptThroughput);
        self.values[Meter::GenerationTokens as usize] += tokens(Gauge::GenerationThroughput);
        self.values[Meter::Requests as usize] =
            self.values[Meter::GenerationTokens as usize] / TOKENS_PER_REQUEST;
        self.values[Meter::CpuSeconds as usize] += seconds * CPU_SHARE;
        self.values
    }
}

impl Engine {
    pub(super) fn new(script: watch::Receiver<Script>) -> Self {
        let mut values = [0.0; Meter::COUNT];
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        values[Meter::StartTime as usize] = wall.as_secs_f64();
        Self { script, meters: Mutex::new(Meters { at: Instant::now(), values }) }
    }

    /// The answer to one request, by the script in force when it is answered.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut script = self.script.clone();
        let hang_over = script.wait_for(|script| script.fault != Fault::Hang).await.map(|script| *script);
        // Without a sender the fault stays for good.
        let Ok(script) = hang_over else {
            return std::future::pending().await;
        };
        let mut response = match script.fault {
            Fault::None | Fault::Hang | Fault::Refuse => self.healthy(request, script),
            fault => self.faulty(fault, script),
        };
        response.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
        response
    }

    fn healthy<B>(&self, request: &Request<B>, script: Script) -> Response<Body> {
        let known = ["/metrics", "/health", "/v1/models"].contains(&request.uri().path());
        match request.uri().path() {
            _ if known && ![Method::GET, Method::HEAD].contains(request.method()) => {
                let refused = r#"{"detail":"Method Not Allowed"}"#;
                whole(StatusCode::METHOD_NOT_ALLOWED, "application/json", refused)
            }
            "/metrics" => whole(StatusCode::OK, page::CONTENT_TYPE, self.page(script)),
            "/health" => whole(StatusCode::OK, "text/plain; charset=utf-8", ""),
            "/v1/models" => whole(StatusCode::OK, "application/json", models()),
            _ => whole(StatusCode::NOT_FOUND, "application/json", r#"{"detail":"Not Found"}"#),
        }
    }

    fn faulty(&self, fault: Fault, script: Script) -> Response<Body> {
        let ok = StatusCode::OK;
        match fault {
            Fault::Garbage => whole(ok, page::CONTENT_TYPE, garbage()),
            Fault::Html => whole(ok, "text/html; charset=utf-8", HTML),
            Fault::Half => half(self.page(script)),
            Fault::Cut => whole(ok, page::CONTENT_TYPE, cut(self.page(script), script)),
            Fault::Huge => streamed(None, huge(&self.page(script))),
            Fault::Slow => slow(self.page(script)),
            Fault::Redirect => {
                let mut response = whole(StatusCode::FOUND, "text/plain; charset=utf-8", "");
                response.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
                response
            }
            _ => {
                whole(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "Internal Server Error")
            }
        }
    }

    fn page(&self, script: Script) -> String {
        let gauges = script.gauges.values(script.share);
        let meters = self.meters.lock().advance(&gauges, Instant::now());
        TEMPLATE.render(&Numbers { gauges, meters })
    }
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A page sent in pieces: with its length announced, or in chunks without one.
fn streamed(
    length: Option<usize>,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
) -> Response<Body> {
    let mut response =
        Response::new(BodyExt::boxed(StreamBody::new(pieces.map(|piece| piece.map(Frame::data)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page::CONTENT_TYPE));
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn half(page: String) -> Response<Body> {
    let length = page.len();
    let mut page = Bytes::from(page);
    page.truncate(length / 2);
    let cut_off = async {
        tokio::time::sleep(HALF_PAUSE).await;
        Err(io::Error::other("the fault `half` closes the connection here"))
    };
    streamed(Some(length), stream::iter([Ok(page)]).chain(stream::once(cut_off)))
}

fn slow(page: String) -> Response<Body> {
    let length = page.len();
    let page = Bytes::from(page);
    let bytes = stream::unfold(0, move |at| {
        let byte = (at < length).then(|| page.slice(at..=at));
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            byte.map(|byte| (Ok(byte), at + 1))
        }
    });
    streamed(Some(length), bytes)
}

/// The page, then further valid samples, in chunks, until 40 MB are full.
fn huge(page: &str) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    const CHUNK: usize = 1 << 20;
    let first = Bytes::from(format!("{page}# TYPE filler gauge\n"));
    let chunks = stream::iter(0..HUGE / CHUNK).map(|chunk| {
        let mut text = String::with_capacity(CHUNK + 64);
        let mut line = 0;
        while text.len() < CHUNK {
            let _ = writeln!(text, "filler{{chunk=\"{chunk}\",line=\"{line}\"}} 1.0");
            line += 1;
        }
        Ok(Bytes::from(text))
    });
    stream::iter([Ok(first)]).chain(chunks)
}

/// Ends the page after the first digit of the first scripted gauge that a healthy page would show.
fn cut(mut page: String, script: Script) -> String {
    let scripted = Gauge::ALL.into_iter().find(|gauge| script.gauges.contains(*gauge));
    let start = scripted.and_then(|gauge| {
        let series = format!("\nvllm:{}{{model_name=\"{MODEL}\"}} ", gauge.name());
        page.find(&series).map(|at| at + series.len())
    });
    page.truncate(start.map_or(page.len() / 2, |start| start + 1));
    page
}

/// 64 KiB that look random and are the same every time (xorshift64).
fn garbage() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..8192).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

fn models() -> String {
    let model = |id: &str| serde_json::json!({"id": id, "object": "model", "owned_by": "vllm"});
    serde_json::json!({"object": "list", "data": [model(MODEL), model(super::ADAPTER)]}).to_string()
}
