//! `/v1/completions` and `/v1/chat/completions`: requests read, answers written, whole or as server-sent events.
//!
//! An answer is made of as many made-up words as tokens were asked for: the simulated model knows no end of its own
//! (`ignore_eos` is always true). A word of a prompt counts as one token; a prompt of token ids has as many as it says; the
//! extension `windlass_prompt_tokens` states the number, so that a load of long prompts need not be sent.
//! `windlass_cached_tokens` says how many of them the prefix cache has: there is no cache that could find out.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Body, JSON, whole};
use super::serving::{Api, Serving, Ticket};

/// The longest request that is read.
const LONGEST: usize = 4 << 20;
/// Tokens are sent on at least this often; vLLM sends each by itself unless `--stream-interval` says otherwise.
const TICK: Duration = Duration::from_millis(100);
/// vLLM's default of `max_tokens` for completions; chats are given as much here, which in vLLM end by themselves.
const DEFAULT_TOKENS: u32 = 16;
const DEFAULT_CHAT_TOKENS: u32 = 256;

/// What is read of a request; other fields are ignored.
#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    windlass_prompt_tokens: Option<u32>,
    #[serde(default)]
    windlass_cached_tokens: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    /// Several prompts in one request.
    Many(#[expect(dead_code, reason = "only its shape counts")] Vec<Value>),
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What an answer repeats of its request.
struct Asking {
    api: Api,
    id: String,
    created: u64,
    model: &'static str,
    prompt_tokens: u32,
    include_usage: bool,
}

/// Answers one request: whole when it is done, or as a stream while it is served.
pub(super) async fn answer(serving: &Arc<Serving>, request: Request<Incoming>) -> Response<Body> {
    let api = if request.uri().path().contains("/chat/") { Api::Chat } else { Api::Completions };
    let body = match Limited::new(request.into_body(), LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
    };
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("the request is not valid: {error}")),
    };
    if let Some(model) = asked.model.as_deref().filter(|model| *model != serving.model()) {
        return refused(StatusCode::NOT_FOUND, &format!("The model `{model}` does not exist."));
    }
    let prompt_tokens = match prompt_tokens(&asked, api) {
        Ok(tokens) => tokens,
        Err(problem) => return refused(StatusCode::BAD_REQUEST, problem),
    };
    let default = if api == Api::Chat { DEFAULT_CHAT_TOKENS } else { DEFAULT_TOKENS };
    let output_tokens = asked.max_completion_tokens.or(asked.max_tokens).unwrap_or(default);
    let ticket = match serving.submit(api, (prompt_tokens, asked.windlass_cached_tokens), output_tokens) {
        Ok(ticket) => ticket,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let request = Asking {
        api,
        id: format!("{}-{:08x}", if api == Api::Chat { "chatcmpl" } else { "cmpl" }, ticket.id()),
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        model: serving.model(),
        prompt_tokens,
        include_usage: asked.stream_options.is_some_and(|options| options.include_usage),
    };
    if asked.stream { request.streamed(ticket) } else { request.whole(ticket).await }
}

fn prompt_tokens(asked: &Asked, api: Api) -> Result<u32, &'static str> {
    let words = |text: &str| text.split_whitespace().count();
    let counted = match (api, &asked.prompt, &asked.messages) {
        (Api::Completions, Some(Prompt::Text(text)), _) => words(text),
        (Api::Completions, Some(Prompt::Ids(ids)), _) => ids.len(),
        (Api::Completions, Some(Prompt::Many(_)), _) => {
            return Err("this simulated engine takes one prompt per request");
        }
        (Api::Completions, None, _) => return Err("prompt is missing"),
        (Api::Chat, _, Some(messages)) => {
            // A content is a string, or parts of which the texts count.
            let parts = messages.iter().flat_map(|message| match &message.content {
                Value::Array(parts) => parts.iter().map(|part| &part["text"]).collect(),
                text => vec![text],
            });
            parts.filter_map(Value::as_str).map(words).sum()
        }
        (Api::Chat, _, None) => return Err("messages are missing"),
    };
    // Even an empty prompt has a token that begins it.
    Ok(asked.windlass_prompt_tokens.unwrap_or(u32::try_from(counted).unwrap_or(u32::MAX)).max(1))
}

/// A refusal in the shape of vLLM's.
fn refused(status: StatusCode, message: &str) -> Response<Body> {
    let kind = if status == StatusCode::NOT_FOUND { "NotFoundError" } else { "BadRequestError" };
    let body = json!({"object": "error", "message": message, "type": kind, "code": status.as_u16()});
    whole(status, JSON, body.to_string())
}

impl Asking {
    async fn whole(self, mut ticket: Ticket) -> Response<Body> {
        let tokens = ticket.finished().await;
        let choice = match self.api {
            Api::Completions => json!({"index": 0, "text": words(tokens), "finish_reason": "length"}),
            Api::Chat => {
                let message = json!({"role": "assistant", "content": words(tokens)});
                json!({"index": 0, "message": message, "finish_reason": "length"})
            }
        };
        let mut body = self.object("", &json!([choice]));
        body["usage"] = self.usage(tokens);
        whole(StatusCode::OK, JSON, body.to_string())
    }

    fn streamed(self, ticket: Ticket) -> Response<Body> {
        let chunks = stream::unfold(Some((self, ticket, 0)), |state| async move {
            let (request, mut ticket, sent) = state?;
            let (generated, last) = ticket.progress(TICK).await;
            let text = request.chunk(generated.saturating_sub(sent), sent == 0, last, generated);
            let next = if last { None } else { Some((request, ticket, generated)) };
            Some((Ok::<_, io::Error>(Frame::data(Bytes::from(text))), next))
        });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(chunks)));
        let type_ = HeaderValue::from_static("text/event-stream; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, type_);
        response
    }

    /// The server-sent events for `tokens` new tokens; with the `last` of them come usage and end.
    fn chunk(&self, tokens: u32, first: bool, last: bool, generated: u32) -> String {
        let finish = last.then_some("length");
        let choice = match self.api {
            Api::Completions => json!({"index": 0, "text": words(tokens), "finish_reason": finish}),
            Api::Chat => {
                let mut delta = json!({"content": words(tokens)});
                if first {
                    delta["role"] = json!("assistant");
                }
                json!({"index": 0, "delta": delta, "finish_reason": finish})
            }
        };
        let mut text = event(&self.object(".chunk", &json!([choice])));
        if last {
            if self.include_usage {
                let mut usage = self.object(".chunk", &json!([]));
                usage["usage"] = self.usage(generated);
                text += &event(&usage);
            }
            text += "data: [DONE]\n\n";
        }
        text
    }

    fn object(&self, chunk: &str, choices: &Value) -> Value {
        let object = match self.api {
            Api::Completions => "text_completion".to_owned(),
            Api::Chat => format!("chat.completion{chunk}"),
        };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    fn usage(&self, completion_tokens: u32) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": u64::from(self.prompt_tokens) + u64::from(completion_tokens),
        })
    }
}

fn event(object: &Value) -> String {
    format!("data: {object}\n\n")
}

fn words(tokens: u32) -> String {
    " word".repeat(tokens as usize)
}
