//! What an engine answers, healthy or not.

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, SERVER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::gauge::Gauge;
use super::page::{self, Meter, Numbers, Origin, Template};
use super::scripted::Integrals;
use super::serving::Serving;
use super::{Fault, MODEL, Script, completions};

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Processor time that an engine's front end uses, as a fraction of a core.
const CPU_SHARE: f64 = 0.1;
/// The size from which a page counts as [`Fault::Huge`].
const HUGE: usize = 40 << 20;
/// Between the half page and the end of the connection, so that the half is really sent.
const HALF_PAUSE: Duration = Duration::from_millis(20);
pub(super) const JSON: &str = "application/json";
/// Requests to an engine that serves none.
const SCRIPTED: &str = r#"{"detail":"this simulated engine only reports scripted numbers; annotate its Deployment with testbed.windlass.dev/mode=engine before its pods start"}"#;
const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n";

/// One engine as its clients see it.
pub(super) struct Engine {
    script: watch::Receiver<Script>,
    started: Instant,
    started_wall: SystemTime,
    page: Template,
    numbers: Source,
}

/// Where the page's numbers come from.
enum Source {
    Scripted(Mutex<Integrals>),
    Served(Arc<Serving>),
}

impl Engine {
    /// An engine that serves requests, or, without `serving`, one that only reports what the script says.
    pub(super) fn new(script: watch::Receiver<Script>, serving: Option<Arc<Serving>>) -> Self {
        let started = Instant::now();
        let (page, numbers) = if let Some(serving) = serving {
            (Template::new(serving.model(), Origin::Served), Source::Served(serving))
        } else {
            let integrals = Mutex::new(Integrals::new(started));
            (Template::new(MODEL, Origin::Scripted), Source::Scripted(integrals))
        };
        Self { script, started, started_wall: SystemTime::now(), page, numbers }
    }

    /// The answer to one request, by the script in force when it is answered.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let mut script = self.script.clone();
        let hangs = |script: &Script| script.fault == Fault::Hang && script.fault_scope.covers(&path);
        let hang_over = script.wait_for(|script| !hangs(script)).await.map(|script| *script);
        // Without a sender the fault stays for good.
        let Ok(script) = hang_over else {
            return std::future::pending().await;
        };
        let mut response = match script.fault {
            Fault::None | Fault::Hang | Fault::Refuse => self.healthy(request, script).await,
            _ if !script.fault_scope.covers(&path) => self.healthy(request, script).await,
            fault => self.faulty(fault, script),
        };
        response.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
        response
    }

    async fn healthy(&self, request: Request<Incoming>, script: Script) -> Response<Body> {
        let path = request.uri().path();
        let method = match path {
            "/metrics" | "/health" | "/v1/models" => [Method::GET, Method::HEAD],
            "/v1/completions" | "/v1/chat/completions" => [Method::POST, Method::POST],
            _ => return whole(StatusCode::NOT_FOUND, JSON, r#"{"detail":"Not Found"}"#),
        };
        if !method.contains(request.method()) {
            return whole(StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"detail":"Method Not Allowed"}"#);
        }
        match path {
            "/metrics" => whole(StatusCode::OK, page::CONTENT_TYPE, self.page(script)),
            "/health" => whole(StatusCode::OK, "text/plain; charset=utf-8", ""),
            "/v1/models" => whole(StatusCode::OK, JSON, self.models()),
            _ => match &self.numbers {
                Source::Served(serving) => completions::answer(serving, request).await,
                Source::Scripted(_) => whole(StatusCode::NOT_IMPLEMENTED, JSON, SCRIPTED),
            },
        }
    }

    fn faulty(&self, fault: Fault, script: Script) -> Response<Body> {
        let ok = StatusCode::OK;
        match fault {
            Fault::Garbage => whole(ok, page::CONTENT_TYPE, garbage()),
            Fault::Html => whole(ok, "text/html; charset=utf-8", HTML),
            Fault::Half => half(self.page(script)),
            Fault::Cut => whole(ok, page::CONTENT_TYPE, cut(self.page(script), script, self.model())),
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
        match &self.numbers {
            Source::Scripted(integrals) => {
                let off =
                    if script.noise > 0.0 { rand::random_range(-script.noise..=script.noise) } else { 0.0 };
                let gauges = script.gauges.values(script.share * (1.0 + off));
                let meters = integrals.lock().advance(&gauges, Instant::now());
                self.render(Numbers { gauges, meters, tallies: None })
            }
            Source::Served(serving) => serving.with_numbers(|numbers| self.render(numbers)),
        }
    }

    fn render(&self, mut numbers: Numbers<'_>) -> String {
        let start = self.started_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        numbers.meters[Meter::StartTime as usize] = start;
        numbers.meters[Meter::CpuSeconds as usize] = self.started.elapsed().as_secs_f64() * CPU_SHARE;
        self.page.render(&numbers)
    }

    fn model(&self) -> &str {
        match &self.numbers {
            Source::Scripted(_) => MODEL,
            Source::Served(serving) => serving.model(),
        }
    }

    fn models(&self) -> String {
        let model = |id: &str| serde_json::json!({"id": id, "object": "model", "owned_by": "vllm"});
        serde_json::json!({"object": "list", "data": [model(self.model()), model(super::ADAPTER)]})
            .to_string()
    }
}

pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
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
fn cut(mut page: String, script: Script, model: &str) -> String {
    let scripted = Gauge::ALL.into_iter().find(|gauge| script.gauges.contains(*gauge));
    let start = scripted.and_then(|gauge| {
        let series = format!("\nvllm:{}{{model_name=\"{model}\"}} ", gauge.name());
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
