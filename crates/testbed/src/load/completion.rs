//! One completion: what is sent, and how the answer is read.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use tokio::time::Instant;
use windlass_workload::Arrival;

use super::account::{Answer, Failure};
use super::stream::{Events, Progress, Unreadable};

/// Shorter than the 5 s after which uvicorn, vLLM's server, closes an idle connection: a request must not meet that.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How long the end of a body is waited for after its last event, so that the connection can be used again.
const TAIL: Duration = Duration::from_secs(1);
/// Token ids that every vocabulary has.
const FIRST_ID: u64 = 1000;
const IDS: u64 = 20_000;

/// How the length of a prompt is conveyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptAs {
    /// `count`: a prompt of one word and its length in the field `windlass_prompt_tokens`, which the mock engine
    /// understands: the cheapest. Other engines ignore the field and see one word.
    #[default]
    Count,
    /// `words`: as many words, which the mock engine counts as one token each and others nearly so.
    Words,
    /// `ids`: as many token ids, which `OpenAI`'s completions take instead of text: exact on every engine.
    Ids,
}

/// A way that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown way to send a prompt: {0:?}; use count, words or ids")]
pub struct UnknownPromptAs(String);

impl FromStr for PromptAs {
    type Err = UnknownPromptAs;

    fn from_str(name: &str) -> Result<Self, UnknownPromptAs> {
        match name {
            "count" => Ok(PromptAs::Count),
            "words" => Ok(PromptAs::Words),
            "ids" => Ok(PromptAs::Ids),
            _ => Err(UnknownPromptAs(name.to_owned())),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    prompt: Prompt,
    max_tokens: u32,
    stream: bool,
    stream_options: StreamOptions,
    /// vLLM's: exactly `max_tokens` are generated.
    ignore_eos: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    windlass_prompt_tokens: Option<u32>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Ids(Vec<u64>),
}

/// The body of request `number`. Prompts begin with it, so that no prefix cache has seen one before.
fn body(model: Option<&str>, prompt_as: PromptAs, number: u64, arrival: &Arrival) -> Vec<u8> {
    let tokens = arrival.prompt_tokens as usize;
    let mut counted = None;
    let prompt = match prompt_as {
        PromptAs::Count => {
            counted = Some(arrival.prompt_tokens);
            Prompt::Text(number.to_string())
        }
        PromptAs::Words => Prompt::Text(number.to_string() + &" word".repeat(tokens.saturating_sub(1))),
        PromptAs::Ids => {
            let mut ids = vec![FIRST_ID; tokens];
            let mut digits = number;
            for id in &mut ids {
                *id += digits % IDS;
                digits /= IDS;
            }
            Prompt::Ids(ids)
        }
    };
    let body = Body {
        model,
        prompt,
        max_tokens: arrival.output_tokens,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        ignore_eos: true,
        windlass_prompt_tokens: counted,
    };
    // Nothing in it can fail to be written.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Sends completions over kept connections, as many to a pod as it has requests in flight.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    model: Option<String>,
    prompt_as: PromptAs,
    timeout: Duration,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// Whether text had come.
    pub(super) begun: bool,
}

impl Sender {
    pub(super) fn new(model: Option<String>, prompt_as: PromptAs, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self { client, model, prompt_as, timeout }
    }

    /// The bytes of a request, to be sent once or more often.
    pub(super) fn body(&self, number: u64, arrival: &Arrival) -> Bytes {
        body(self.model.as_deref(), self.prompt_as, number, arrival).into()
    }

    /// Sends a request and reads its answer. Latencies count from `scheduled`, the time-out from now. `on_first` is
    /// told the time to first token as soon as it is known, once at most.
    pub(super) async fn send(
        &self,
        address: SocketAddr,
        body: Bytes,
        scheduled: Instant,
        on_first: impl Fn(Duration),
    ) -> Result<Answer, Failed> {
        let mut first = None;
        let answer = async {
            let mut incoming = self.open(address, body).await?;
            let begun = |ttft| {
                first = Some(ttft);
                on_first(ttft);
            };
            let answer = read(&mut incoming, scheduled, begun).await?;
            Ok((answer, incoming))
        };
        let outcome = tokio::time::timeout(self.timeout, answer).await.unwrap_or(Err(Failure::TimedOut));
        match outcome {
            Ok((answer, incoming)) => {
                let _ = tokio::time::timeout(TAIL, incoming.collect()).await;
                Ok(answer)
            }
            Err(failure) => Err(Failed { failure, begun: first.is_some() }),
        }
    }

    async fn open(&self, address: SocketAddr, body: Bytes) -> Result<Incoming, Failure> {
        let request = Request::post(format!("http://{address}/v1/completions"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| Failure::Malformed)?;
        let response = self.client.request(request).await.map_err(|error| unanswered(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status if status.is_server_error() => Err(Failure::ServerError),
            _ => Err(Failure::Rejected),
        }
    }
}

/// Why there was no answer at all.
fn unanswered(error: &legacy::Error) -> Failure {
    if !error.is_connect() {
        return Failure::Cut;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                // Also what a pod's address gives that is not, or no more, anybody's.
                ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => Failure::Refused,
                ErrorKind::TimedOut => Failure::TimedOut,
                _ => Failure::Local,
            };
        }
        source = cause.source();
    }
    Failure::Refused
}

async fn read(
    incoming: &mut Incoming,
    scheduled: Instant,
    mut begun: impl FnMut(Duration),
) -> Result<Answer, Failure> {
    let mut events = Events::default();
    let mut first = None;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|_| Failure::Cut)?.into_data() else {
            continue;
        };
        let progress = events.push(&data).map_err(|unreadable| match unreadable {
            Unreadable::Malformed => Failure::Malformed,
            Unreadable::Error => Failure::ServerError,
        })?;
        if progress == Progress::Waiting {
            continue;
        }
        let since = scheduled.elapsed();
        // An answer without any text has its first token when it ends.
        let ttft = *first.get_or_insert_with(|| {
            begun(since);
            since
        });
        if progress == Progress::Done {
            let usage = events.usage();
            return Ok(Answer {
                ttft,
                e2e: since,
                prompt_tokens: usage.prompt_tokens,
                output_tokens: usage.completion_tokens,
            });
        }
    }
    Err(Failure::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt_as: &str, prompt_tokens: u32, expected: &serde_json::Value) {
        let arrival = Arrival { at: Duration::ZERO, prompt_tokens, output_tokens: 9 };
        let body = body(Some("m"), prompt_as.parse().unwrap(), 20_003, &arrival);
        let mut common = serde_json::json!({
            "model": "m", "max_tokens": 9, "stream": true,
            "stream_options": {"include_usage": true}, "ignore_eos": true,
        });
        for (key, value) in expected.as_object().unwrap() {
            common[key] = value.clone();
        }
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), common);
    }

    #[test]
    fn bodies() {
        check("count", 70_000, &serde_json::json!({"prompt": "20003", "windlass_prompt_tokens": 70_000}));
        check("words", 3, &serde_json::json!({"prompt": "20003 word word"}));
        check("words", 1, &serde_json::json!({"prompt": "20003"}));
        check("ids", 4, &serde_json::json!({"prompt": [1003, 1001, 1000, 1000]}));
        let error = "tokens".parse::<PromptAs>().unwrap_err().to_string();
        assert_eq!(error, "unknown way to send a prompt: \"tokens\"; use count, words or ids");
    }
}
