//! An engine for tests: answers completions as it is told to.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What every request gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// The tokens asked for, with these pauses before the first and before each other.
    Answer { first: Duration, each: Duration },
    /// This status and a short text.
    Status(u16),
    /// The connection is closed instead of an answer.
    CutUnanswered,
    /// The connection is closed after so many tokens.
    CutAfter(usize),
    /// The answer ends properly after so many tokens, without its last event.
    EndAfter(usize),
    /// So many tokens, then an error as an event.
    ErrorAfter(usize),
    /// What is no stream of events.
    Garbage,
    /// No answer.
    Hang,
    /// So many tokens, then nothing.
    HangAfter(usize),
}

impl Behaviour {
    /// Whether a part of an answer comes.
    pub(super) fn gives_text(self) -> bool {
        use Behaviour::{CutAfter, EndAfter, ErrorAfter, HangAfter};
        matches!(self, CutAfter(1..) | EndAfter(1..) | ErrorAfter(1..) | HangAfter(1..))
    }
}

/// Between the last piece and the end of the connection, so that the piece is really sent.
const CUT_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Engine {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    held: watch::Sender<bool>,
    fail_first: AtomicU64,
    connections: AtomicU64,
    taken: AtomicU64,
    served: AtomicU64,
    running: AtomicU64,
    most: AtomicU64,
}

/// A request in hand.
struct Running(Arc<State>);

impl Running {
    fn new(state: &Arc<State>) -> Self {
        state.taken.fetch_add(1, Ordering::SeqCst);
        let running = state.running.fetch_add(1, Ordering::SeqCst) + 1;
        state.most.fetch_max(running, Ordering::SeqCst);
        Self(state.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.77.5.4:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            behaviour: Mutex::new(Behaviour::Answer { first: Duration::ZERO, each: Duration::ZERO }),
            held: watch::Sender::new(false),
            fail_first: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            served: AtomicU64::new(0),
            running: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, state.clone())));
        Self { address, state, _task: task }
    }

    pub(super) fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }

    /// From now on no answer begins.
    pub(super) fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// The next requests get status 500.
    pub(super) fn fail_first(&self, requests: u64) {
        self.state.fail_first.store(requests, Ordering::SeqCst);
    }

    /// Requests that came.
    pub(super) fn taken(&self) -> u64 {
        self.state.taken.load(Ordering::SeqCst)
    }

    /// Requests that were answered to their end.
    pub(super) fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }

    pub(super) fn running(&self) -> u64 {
        self.state.running.load(Ordering::SeqCst)
    }

    pub(super) fn most_at_once(&self) -> u64 {
        self.state.most.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Body = BoxBody<Bytes, io::Error>;

fn whole(status: u16, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn prompt_tokens(body: &Value) -> u64 {
    match (&body["windlass_prompt_tokens"], &body["prompt"]) {
        (Value::Number(counted), _) => counted.as_u64().unwrap(),
        (_, Value::Array(ids)) => ids.len() as u64,
        (_, Value::String(text)) => text.split_whitespace().count() as u64,
        other => panic!("no prompt: {other:?}"),
    }
}

/// An error closes the connection.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let running = Running::new(&state);
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/completions"));
    assert_eq!(request.headers()["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&request.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&body["stream"], &body["ignore_eos"]), (&json!(true), &json!(true)));
    let left = state.fail_first.load(Ordering::SeqCst);
    if left > 0 {
        state.fail_first.store(left - 1, Ordering::SeqCst);
        return Ok(whole(500, "Internal Server Error"));
    }
    let behaviour = *state.behaviour.lock();
    match behaviour {
        Behaviour::Status(status) => return Ok(whole(status, "no")),
        Behaviour::CutUnanswered => return Err(io::Error::other("cut")),
        Behaviour::Garbage => return Ok(whole(200, "<html>\n")),
        Behaviour::Hang => std::future::pending().await,
        _ => {}
    }
    let _ = state.held.subscribe().wait_for(|held| !held).await;
    let (pieces, receiver) = mpsc::unbounded();
    tokio::spawn(generate(running, behaviour, body, pieces));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(receiver)));
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    Ok(response)
}

type Pieces = mpsc::UnboundedSender<io::Result<Frame<Bytes>>>;

async fn generate(running: Running, behaviour: Behaviour, body: Value, pieces: Pieces) {
    let event = |data: String| {
        let _ = pieces.unbounded_send(Ok(Frame::data(format!("data: {data}\n\n").into())));
    };
    let tokens = body["max_tokens"].as_u64().unwrap() as usize;
    let (first, each) = match behaviour {
        Behaviour::Answer { first, each } => (first, each),
        _ => (Duration::ZERO, Duration::ZERO),
    };
    let given = match behaviour {
        Behaviour::CutAfter(tokens)
        | Behaviour::EndAfter(tokens)
        | Behaviour::ErrorAfter(tokens)
        | Behaviour::HangAfter(tokens) => tokens,
        _ => tokens,
    };
    for token in 0..given {
        tokio::time::sleep(if token == 0 { first } else { each }).await;
        event(json!({"choices": [{"index": 0, "text": " x"}], "usage": null}).to_string());
    }
    match behaviour {
        Behaviour::CutAfter(_) => {
            tokio::time::sleep(CUT_PAUSE).await;
            let _ = pieces.unbounded_send(Err(io::Error::other("cut")));
        }
        Behaviour::EndAfter(_) => {}
        Behaviour::ErrorAfter(_) => event(json!({"error": {"message": "out of memory"}}).to_string()),
        Behaviour::HangAfter(_) => std::future::pending().await,
        _ => {
            let usage = json!({"prompt_tokens": prompt_tokens(&body), "completion_tokens": tokens});
            event(json!({"choices": [], "usage": usage}).to_string());
            running.0.served.fetch_add(1, Ordering::SeqCst);
            event("[DONE]".to_owned());
        }
    }
    drop(running);
}
