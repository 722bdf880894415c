//! What an engine answers, healthy or not.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt, stream};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, SERVER,
};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::gauge::Gauge;
use super::kind::Exporter;
use super::page::{Level, Meter, Numbers, Origin, Subject, Template};
use super::scripted::{self, Integrals};
use super::serving::Serving;
use super::{EngineKind, Fault, MODEL, Script, completions, filter, spoil, truth};

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Processor time that an engine's front end uses, as a fraction of a core.
const CPU_SHARE: f64 = 0.1;
/// The size from which a page counts as [`Fault::Huge`].
const HUGE: usize = 40 << 20;
/// Where the engine model tells what it knows itself, whatever the fault but [`Fault::Refuse`].
const TRUTH: &str = "/truth";
/// The size of the chunks of [`Fault::Chunked`].
const CHUNK: usize = 997;
/// Between the half page and the end of the connection, so that the half is really sent.
const HALF_PAUSE: Duration = Duration::from_millis(20);
pub(super) const JSON: &str = "application/json";
/// Requests to an engine that serves none.
const SCRIPTED: &str = r#"{"detail":"this simulated engine only reports scripted numbers; annotate its Deployment with testbed.windlass.dev/mode=engine before its pods start"}"#;
const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n";

/// One engine as its clients see it.
pub(super) struct Engine {
    kind: EngineKind,
    script: watch::Receiver<Script>,
    started: Instant,
    started_wall: SystemTime,
    page: Template,
    numbers: Source,
    /// Pages sent so far.
    pages: AtomicU64,
}

/// Where the page's numbers come from.
enum Source {
    Scripted(Mutex<Integrals>),
    Served(Arc<Serving>),
}

impl Engine {
    /// A process of an engine that serves requests, or, without `serving`, one that only reports what the script says.
    ///
    /// # Errors
    /// If its page cannot be made.
    pub(super) fn new(script: watch::Receiver<Script>, serving: Option<Arc<Serving>>) -> io::Result<Self> {
        let started = Instant::now();
        let kind = script.borrow().engine;
        let subject = |model, capacity, origin| Subject { kind, model, capacity, origin };
        let of = |subject: Subject<'_>| Template::new(&subject).map_err(io::Error::other);
        let (page, numbers) = if let Some(serving) = serving {
            let page = of(subject(serving.model(), serving.capacity(), Origin::Served))?;
            serving.begin(page.tallies());
            (page, Source::Served(serving))
        } else {
            let integrals = Mutex::new(Integrals::new(started));
            (of(subject(MODEL, scripted::CAPACITY, Origin::Scripted))?, Source::Scripted(integrals))
        };
        let pages = AtomicU64::new(0);
        Ok(Self { kind, script, started, started_wall: SystemTime::now(), page, numbers, pages })
    }

    /// Which engine it is.
    pub(super) fn kind(&self) -> EngineKind {
        self.kind
    }

    /// The answer to one request, by the script in force when it is answered.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == TRUTH {
            return whole(StatusCode::OK, JSON, self.truth());
        }
        let dialect = self.kind.dialect();
        let is_page = request.uri().path() == dialect.path;
        let mut script = self.script.clone();
        let hangs = |script: &Script| script.fault == Fault::Hang && script.fault_scope.covers(is_page);
        let hang_over = script.wait_for(|script| !hangs(script)).await.map(|script| *script);
        // Without a sender the fault stays for good.
        let Ok(script) = hang_over else {
            return std::future::pending().await;
        };
        let mut response = match script.fault {
            Fault::None | Fault::Hang | Fault::Refuse => self.healthy(request, script).await,
            fault if fault.is_of_page() && !is_page => self.healthy(request, script).await,
            _ if !script.fault_scope.covers(is_page) => self.healthy(request, script).await,
            fault => self.faulty(fault, script, request.uri().query()),
        };
        if let Some(server) = dialect.server {
            response.headers_mut().insert(SERVER, HeaderValue::from_static(server));
        }
        response
    }

    async fn healthy(&self, request: Request<Incoming>, script: Script) -> Response<Body> {
        let dialect = self.kind.dialect();
        let path = request.uri().path();
        let method = match path {
            "/metrics" | "/health" | "/v1/models" => [Method::GET, Method::HEAD],
            path if path == dialect.path => [Method::GET, Method::HEAD],
            "/v1/completions" | "/v1/chat/completions" => [Method::POST, Method::POST],
            _ => return whole(StatusCode::NOT_FOUND, JSON, r#"{"detail":"Not Found"}"#),
        };
        if !method.contains(request.method()) {
            return whole(StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"detail":"Method Not Allowed"}"#);
        }
        match path {
            path if path == dialect.path => {
                whole(StatusCode::OK, dialect.content_type, self.page(script, request.uri().query()))
            }
            // trtllm-serve: statistics of its latest iterations, which nobody asked it to keep.
            "/metrics" => whole(StatusCode::OK, JSON, "[]"),
            "/health" => whole(StatusCode::OK, "text/plain; charset=utf-8", ""),
            "/v1/models" => whole(StatusCode::OK, JSON, self.models()),
            _ => match &self.numbers {
                Source::Served(serving) => completions::answer(serving, request).await,
                Source::Scripted(_) => whole(StatusCode::NOT_IMPLEMENTED, JSON, SCRIPTED),
            },
        }
    }

    fn faulty(&self, fault: Fault, script: Script, query: Option<&str>) -> Response<Body> {
        let (ok, type_) = (StatusCode::OK, self.kind.dialect().content_type);
        let page = || self.page(script, query);
        match fault {
            Fault::Garbage => whole(ok, type_, garbage()),
            Fault::Html => whole(ok, "text/html; charset=utf-8", HTML),
            Fault::Half => half(type_, page()),
            Fault::Cut => whole(ok, type_, self.cut(page(), script)),
            Fault::Huge => streamed(type_, None, huge(&page())),
            Fault::Slow => slow(type_, page()),
            Fault::Redirect => {
                let mut response = whole(StatusCode::FOUND, "text/plain; charset=utf-8", "");
                response.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
                response
            }
            Fault::Gzip => gzip(type_, &page()),
            Fault::Chunked => streamed(type_, None, pieces(page())),
            Fault::Http10 => {
                let mut response = streamed(type_, None, pieces(page()));
                *response.version_mut() = Version::HTTP_10;
                response
            }
            Fault::Close => {
                let mut response = whole(ok, type_, page());
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
            Fault::Nan
            | Fault::Backwards
            | Fault::Duplicate
            | Fault::Renamed
            | Fault::Vanished
            | Fault::Labels
            | Fault::TwoModels
            | Fault::Buckets => whole(ok, type_, page()),
            Fault::None | Fault::Http500 | Fault::Refuse | Fault::Hang => {
                whole(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "Internal Server Error")
            }
        }
    }

    /// The page as the exporter sends it, with what the script's fault makes of it.
    fn page(&self, script: Script, query: Option<&str>) -> String {
        let dialect = self.kind.dialect();
        let exporter = dialect.exporter.map(|usual| script.exporter.unwrap_or(usual));
        let names = filter::names(query);
        let wanted =
            names.as_ref().filter(|_| exporter == Some(Exporter::Single) && script.fault == Fault::None);
        let page = match &self.numbers {
            Source::Scripted(integrals) => {
                let off =
                    if script.noise > 0.0 { rand::random_range(-script.noise..=script.noise) } else { 0.0 };
                let gauges = script.gauges.values(script.share * (1.0 + off));
                let meters = integrals.lock().advance(&gauges, Instant::now());
                let levels = scripted::levels(script.gauges, &gauges);
                self.render(Numbers { gauges, levels, meters, tallies: None }, wanted)
            }
            Source::Served(serving) => serving.with_numbers(|numbers| self.render(numbers, wanted)),
        };
        if wanted.is_some() {
            return page;
        }
        let number = self.pages.fetch_add(1, Ordering::Relaxed);
        let page = spoil::spoil(page, script.fault, dialect.prefix, number);
        filter::answer(page, exporter, names.as_ref())
    }

    fn render(&self, mut numbers: Numbers<'_>, wanted: Option<&HashSet<String>>) -> String {
        let start = self.started_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        numbers.meters[Meter::StartTime as usize] = start;
        numbers.meters[Meter::CpuSeconds as usize] = self.started.elapsed().as_secs_f64() * CPU_SHARE;
        match wanted {
            Some(names) => self.page.render_named(&numbers, names),
            None => self.page.render(&numbers),
        }
    }

    /// Ends the page after the first digit of the first scripted gauge that a healthy page would show.
    fn cut(&self, mut page: String, script: Script) -> String {
        let series = self.page.scripted_series(script.gauges);
        let start = series.and_then(|series| page.find(&series).map(|at| at + series.len()));
        page.truncate(start.map_or(page.len() / 2, |start| start + 1));
        page
    }

    fn truth(&self) -> String {
        let known = match &self.numbers {
            Source::Served(serving) => serving.truth(),
            Source::Scripted(_) => {
                let script = *self.script.borrow();
                let gauges = script.gauges.values(script.share);
                let levels = scripted::levels(script.gauges, &gauges);
                let (running, waiting) = (gauges[Gauge::Running as usize], gauges[Gauge::Waiting as usize]);
                vec![
                    ("running", "requests", Some(running)),
                    ("waiting", "requests", Some(waiting)),
                    ("inflight", "requests", Some(running + waiting)),
                    ("kv_util", "ratio", Some(levels[Level::KvUtil as usize])),
                    ("kv_tokens", "tokens", Some(levels[Level::KvTokens as usize])),
                    ("kv_capacity_tokens", "tokens", Some(scripted::CAPACITY as f64)),
                ]
            }
        };
        truth::page(self.kind, self.model(), &known)
    }

    fn model(&self) -> &str {
        match &self.numbers {
            Source::Scripted(_) => MODEL,
            Source::Served(serving) => serving.model(),
        }
    }

    fn models(&self) -> String {
        let dialect = self.kind.dialect();
        let model = |id: &str| serde_json::json!({"id": id, "object": "model", "owned_by": dialect.owner});
        let mut all = vec![model(self.model())];
        all.extend(dialect.adapter.then(|| model(super::ADAPTER)));
        serde_json::json!({"object": "list", "data": all}).to_string()
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
    type_: &'static str,
    length: Option<usize>,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
) -> Response<Body> {
    let mut response =
        Response::new(BodyExt::boxed(StreamBody::new(pieces.map(|piece| piece.map(Frame::data)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(type_));
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn half(type_: &'static str, page: String) -> Response<Body> {
    let length = page.len();
    let mut page = Bytes::from(page);
    page.truncate(length / 2);
    let cut_off = async {
        tokio::time::sleep(HALF_PAUSE).await;
        Err(io::Error::other("the fault `half` closes the connection here"))
    };
    streamed(type_, Some(length), stream::iter([Ok(page)]).chain(stream::once(cut_off)))
}

fn slow(type_: &'static str, page: String) -> Response<Body> {
    let length = page.len();
    let page = Bytes::from(page);
    let bytes = stream::unfold(0, move |at| {
        let byte = (at < length).then(|| page.slice(at..=at));
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            byte.map(|byte| (Ok(byte), at + 1))
        }
    });
    streamed(type_, Some(length), bytes)
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

/// The page in small chunks that end anywhere.
fn pieces(page: String) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    let page = Bytes::from(page);
    let starts = (0..page.len()).step_by(CHUNK);
    stream::iter(starts.map(move |start| Ok(page.slice(start..page.len().min(start + CHUNK)))))
}

fn gzip(type_: &'static str, page: &str) -> Response<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let compressed = encoder.write_all(page.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
    let mut response = whole(StatusCode::OK, type_, compressed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
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
