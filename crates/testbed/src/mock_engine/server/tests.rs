//! Every fault over real sockets, on a connection that is open already and on a new one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::mock_engine::{EngineKind, Exporter, FaultScope};

/// A safety net: nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Engine {
    address: SocketAddr,
    script: watch::Sender<Script>,
    task: JoinHandle<()>,
}

impl Engine {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(serving: Option<Arc<Serving>>) -> Self {
        let listener = TcpListener::bind("127.77.3.4:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script { share: 100.0 / 3.0, ..Script::default() };
        let (script, receiver) = watch::channel(script);
        let task = tokio::spawn(async move {
            let Err(error) = serve(listener, receiver, serving).await;
            panic!("{error}");
        });
        Self { address, script, task }
    }

    fn set(&self, fault: Fault) {
        self.script.send_modify(|script| script.fault = fault);
    }

    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

struct Answer {
    status: u16,
    head: String,
    /// As much of the announced length as came before the connection ended.
    body: Vec<u8>,
    announced: Option<usize>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn is_healthy(&self) -> bool {
        let page = self.status == 200 && self.announced == Some(self.body.len());
        page && self.text().contains(
            "\nvllm:avg_prompt_throughput_toks_per_s{model_name=\"llama2-70b\"} 33.333333333333336\n",
        )
    }
}

impl Client {
    async fn send(&mut self, method: &str, path: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: engine\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// Reads more; false at the end of the connection, in whatever way it ends.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("the connection hangs").is_ok_and(|bytes| bytes > 0)
    }

    /// The status line and headers; `None` when the connection ends before.
    async fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let announced = announced.map(|length| length.parse().unwrap());
        let status = head[9..12].parse().unwrap();
        Some(Answer { status, head, body: Vec::new(), announced })
    }

    async fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.head().await?;
        let complete = |read: &[u8]| match answer.announced {
            Some(length) => read.len() >= length,
            None => read.ends_with(b"\r\n0\r\n\r\n"),
        };
        while !complete(&self.read) && self.more().await {}
        let length = answer.announced.unwrap_or(usize::MAX).min(self.read.len());
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    async fn post(&mut self, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: engine\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer().await.unwrap()
    }

    async fn get(&mut self, path: &str) -> Option<Answer> {
        self.send("GET", path).await;
        self.answer().await
    }
}

/// Shows a fault on an open connection and on a new one, and that the engine is healthy again without it.
async fn check(fault: Fault, expected: impl Fn(Answer)) {
    let engine = Engine::start().await;
    let mut open = engine.connect().await;
    assert!(open.get("/metrics").await.unwrap().is_healthy());
    engine.set(fault);
    expected(open.get("/metrics").await.unwrap());
    expected(engine.connect().await.get("/metrics").await.unwrap());
    engine.set(Fault::None);
    assert!(engine.connect().await.get("/metrics").await.unwrap().is_healthy());
    engine.task.abort();
}

#[tokio::test]
async fn a_healthy_engine_answers_as_vllm_does() {
    let engine = Engine::start().await;
    let mut client = engine.connect().await;
    let page = client.get("/metrics").await.unwrap();
    assert!(page.is_healthy());
    assert!(
        page.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{}",
        page.head
    );
    assert_eq!(client.get("/health").await.unwrap().status, 200);
    let models = client.get("/v1/models").await.unwrap();
    let models: serde_json::Value = serde_json::from_slice(&models.body).unwrap();
    assert_eq!(models["data"][0]["id"], "llama2-70b");
    assert_eq!(client.get("/nowhere").await.unwrap().status, 404);
    client.send("POST", "/metrics").await;
    assert_eq!(client.answer().await.unwrap().status, 405);

    engine.script.send_modify(|script| script.share = 20.0);
    let page = client.get("/metrics").await.unwrap();
    assert!(
        page.text().contains("\nvllm:avg_prompt_throughput_toks_per_s{model_name=\"llama2-70b\"} 20.0\n")
    );
    assert!(
        page.text().contains("\nvllm:avg_prompt_throughput_toks_per_s{model_name=\"text2sql-lora-2\"} 0.0\n")
    );
    engine.task.abort();
}

#[tokio::test]
async fn faults_in_the_answer() {
    check(Fault::Http500, |answer| assert_eq!(answer.status, 500)).await;
    check(Fault::Garbage, |answer| {
        assert!(answer.status == 200 && answer.announced == Some(answer.body.len()));
        assert!(std::str::from_utf8(&answer.body).is_err());
    })
    .await;
    check(Fault::Html, |answer| {
        assert!(answer.status == 200 && answer.text().starts_with("<!DOCTYPE html>"));
    })
    .await;
    check(Fault::Redirect, |answer| {
        assert!(answer.status == 302 && answer.head.contains("location: /elsewhere\r\n"), "{}", answer.head);
    })
    .await;
    check(Fault::Cut, |answer| {
        assert!(answer.status == 200 && answer.announced == Some(answer.body.len()));
        assert!(
            answer.text().ends_with("\nvllm:avg_prompt_throughput_toks_per_s{model_name=\"llama2-70b\"} 3")
        );
    })
    .await;
}

#[tokio::test]
async fn half_a_page_ends_the_connection() {
    check(Fault::Half, |answer| {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.announced.unwrap() / 2, answer.body.len());
    })
    .await;
}

#[tokio::test]
async fn a_huge_page() {
    check(Fault::Huge, |answer| {
        assert!(answer.status == 200 && answer.announced.is_none());
        assert!(answer.body.len() > 40 << 20, "{} bytes", answer.body.len());
    })
    .await;
}

#[tokio::test]
async fn a_slow_page_trickles() {
    let engine = Engine::start().await;
    engine.set(Fault::Slow);
    let mut client = engine.connect().await;
    client.send("GET", "/metrics").await;
    let head = client.head().await.unwrap();
    assert!(head.status == 200 && head.announced.unwrap() > 50_000);
    assert!(!client.read.is_empty() || client.more().await);
    assert!(client.read.len() < 1000, "{} bytes at once", client.read.len());
    engine.task.abort();
}

#[tokio::test]
async fn a_hanging_engine_answers_when_it_recovers() {
    let engine = Engine::start().await;
    let mut open = engine.connect().await;
    assert!(open.get("/metrics").await.unwrap().is_healthy());
    engine.set(Fault::Hang);
    let mut new = engine.connect().await;
    for client in [&mut open, &mut new] {
        client.send("GET", "/metrics").await;
        let silence = Duration::from_millis(200);
        assert!(tokio::time::timeout(silence, client.answer()).await.is_err(), "a hanging engine answered");
    }
    engine.set(Fault::Http500);
    assert_eq!(open.answer().await.unwrap().status, 500);
    assert_eq!(new.answer().await.unwrap().status, 500);
    engine.set(Fault::None);
    assert!(new.get("/metrics").await.unwrap().is_healthy());
    engine.task.abort();
}

#[tokio::test]
async fn refusing_drops_open_connections_too() {
    let engine = Engine::start().await;
    let mut idle = engine.connect().await;
    assert!(idle.get("/metrics").await.unwrap().is_healthy());
    let mut waiting = engine.connect().await;
    engine.set(Fault::Hang);
    waiting.send("GET", "/metrics").await;
    engine.set(Fault::Refuse);
    assert!(!idle.more().await && !waiting.more().await);
    TcpStream::connect(engine.address).await.expect_err("the listener is closed");

    engine.set(Fault::None);
    let again = tokio::time::timeout(PATIENCE, async {
        loop {
            match TcpStream::connect(engine.address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    let mut again = Client { stream: again.await.unwrap(), read: Vec::new() };
    assert!(again.get("/metrics").await.unwrap().is_healthy());

    engine.task.abort();
    assert!(!again.more().await, "an engine that ends drops its connections");
    TcpStream::connect(engine.address).await.expect_err("an engine that ends does not listen");
}

/// An engine that serves requests, and a connection to it.
async fn serving_engine() -> (Engine, Client) {
    let preset = "llama-3.1-8b@h100".parse().unwrap();
    let engine = Engine::start_with(Some(Serving::new(preset))).await;
    let client = engine.connect().await;
    (engine, client)
}

/// Sends a body to a path; the answer must have this status and contain each of the texts.
async fn check_post(path: &str, body: &str, status: u16, texts: &[&str]) {
    let (_engine, mut client) = serving_engine().await;
    let answer = client.post(path, body).await;
    assert_eq!(answer.status, status, "{body}: {}", answer.text());
    for text in texts {
        assert!(answer.text().contains(text), "{text:?} is not in the answer to {body}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_engine_that_serves_answers_as_vllm_does() {
    let completions = "/v1/completions";
    let whole = r#"{"prompt": "one two three", "max_tokens": 5}"#;
    let usage = r#""usage":{"completion_tokens":5,"prompt_tokens":3,"total_tokens":8}"#;
    let text = r#""text":" word word word word word""#;
    check_post(
        completions,
        whole,
        200,
        &[usage, text, r#""finish_reason":"length""#, r#""model":"llama-3.1-8b""#],
    )
    .await;
    let ids = r#"{"prompt": [1, 2, 3, 4], "max_tokens": 1, "model": "llama-3.1-8b"}"#;
    check_post(completions, ids, 200, &[r#""prompt_tokens":4"#]).await;
    let stated = r#"{"prompt": "x", "windlass_prompt_tokens": 700, "max_tokens": 2}"#;
    check_post(completions, stated, 200, &[r#""prompt_tokens":700"#]).await;
    let chat = r#"{"messages": [{"role": "user", "content": "a b"}, {"role": "user", "content": [{"type": "text", "text": "c"}]}],
        "max_completion_tokens": 2}"#;
    let message = r#""message":{"content":" word word","role":"assistant"}"#;
    check_post("/v1/chat/completions", chat, 200, &[message, r#""prompt_tokens":3"#]).await;
}

#[tokio::test]
async fn a_stream_has_every_token_once_and_an_end() {
    let (_engine, mut client) = serving_engine().await;
    let body =
        r#"{"prompt": "a", "max_tokens": 40, "stream": true, "stream_options": {"include_usage": true}}"#;
    let answer = client.post("/v1/completions", body).await;
    assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
    let text = answer.text();
    assert_eq!(text.matches(" word").count(), 40, "{text}");
    assert!(text.contains("data: [DONE]\n\n") && text.contains(r#""completion_tokens":40"#), "{text}");
    assert_eq!(text.matches(r#""finish_reason":"length""#).count(), 1, "{text}");
    assert!(text.matches("data: {").count() > 3, "a stream comes in pieces: {text}");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_a_sentence() {
    let completions = "/v1/completions";
    check_post(completions, "{", 400, &["the request is not valid: EOF"]).await;
    check_post(completions, "{}", 400, &["prompt is missing"]).await;
    check_post(completions, r#"{"prompt": ["a", "b"]}"#, 400, &["one prompt per request"]).await;
    check_post(
        completions,
        r#"{"prompt": "a", "model": "gpt-7"}"#,
        404,
        &["The model `gpt-7` does not exist."],
    )
    .await;
    let endless = r#"{"prompt": "a", "windlass_prompt_tokens": 900000000}"#;
    check_post(completions, endless, 400, &["BadRequestError"]).await;
    check_post("/v1/chat/completions", r#"{"prompt": "a"}"#, 400, &["messages are missing"]).await;
    // A scripted engine serves no requests, and says what to do.
    let engine = Engine::start().await;
    let answer = engine.connect().await.post(completions, r#"{"prompt": "a"}"#).await;
    assert!(answer.status == 501 && answer.text().contains("mode=engine"), "{}", answer.text());
}

/// The value of a sample of the page.
fn sample(page: &Answer, series: &str) -> f64 {
    let found = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

#[tokio::test]
async fn the_page_tells_of_the_requests_served() {
    let (_engine, mut client) = serving_engine().await;
    for _ in 0..3 {
        client.post("/v1/completions", r#"{"prompt": "a b", "max_tokens": 4}"#).await;
    }
    let page = client.get("/metrics").await.unwrap();
    let model = r#"model_name="llama-3.1-8b""#;
    for (name, value) in [
        ("vllm:prompt_tokens_total", 6.0),
        ("vllm:generation_tokens_total", 12.0),
        ("vllm:time_to_first_token_seconds_count", 3.0),
        ("vllm:request_prompt_tokens_sum", 6.0),
        ("vllm:e2e_request_latency_seconds_count", 3.0),
        ("vllm:num_requests_running", 0.0),
        ("vllm:kv_cache_usage_perc", 0.0),
    ] {
        assert_eq!(sample(&page, &format!("{name}{{{model}}}")), value, "{name}");
    }
    let success = format!("vllm:request_success_total{{finished_reason=\"length\",{model}}}");
    assert_eq!(sample(&page, &success), 3.0);
    // Three requests of one prefill and three decode steps each.
    assert_eq!(sample(&page, &format!("vllm:time_per_output_token_seconds_count{{{model}}}")), 9.0);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (engine, mut client) = serving_engine().await;
    let mut other = engine.connect().await;
    let body = r#"{"prompt": "a", "max_tokens": 100000, "stream": true}"#;
    let request =
        format!("POST /v1/completions HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    other.stream.write_all(request.as_bytes()).await.unwrap();
    assert!(other.head().await.is_some());
    let running = r#"vllm:num_requests_running{model_name="llama-3.1-8b"}"#;
    assert_eq!(sample(&client.get("/metrics").await.unwrap(), running), 1.0);
    drop(other);
    let gone = async {
        while sample(&client.get("/metrics").await.unwrap(), running) > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the request of a client that is gone still runs");
}

#[tokio::test]
async fn a_fault_can_be_of_metrics_alone() {
    let (engine, mut client) = serving_engine().await;
    engine
        .script
        .send_modify(|script| (script.fault, script.fault_scope) = (Fault::Http500, FaultScope::Metrics));
    assert_eq!(client.get("/metrics").await.unwrap().status, 500);
    assert_eq!(client.post("/v1/completions", r#"{"prompt": "a"}"#).await.status, 200);
    engine.set(Fault::Http500);
    engine.script.send_modify(|script| script.fault_scope = FaultScope::All);
    assert_eq!(client.post("/v1/completions", r#"{"prompt": "a"}"#).await.status, 500);
}

/// An engine of this kind with a healthy page.
async fn engine_of(kind: EngineKind) -> (Engine, Client) {
    let engine = Engine::start().await;
    engine.script.send_modify(|script| script.engine = kind);
    let client = connected(engine.address).await;
    (engine, client)
}

/// A connection, as soon as there is one.
async fn connected(address: SocketAddr) -> Client {
    let stream = tokio::time::timeout(PATIENCE, async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Client { stream: stream.await.expect("nobody listens"), read: Vec::new() }
}

/// The page of the engine of this kind, when it is one.
async fn page_of(kind: EngineKind, path: &str) -> (Engine, Answer) {
    let (engine, mut client) = engine_of(kind).await;
    // Until it restarted, it is vLLM.
    let page = tokio::time::timeout(PATIENCE, async {
        loop {
            match client.get("/truth").await {
                Some(truth) if truth.text().contains(&format!("\"engine\":\"{}\"", kind.name())) => break,
                _ => client = connected(engine.address).await,
            }
        }
        client.get(path).await.unwrap()
    });
    let page = page.await.expect("it does not become the other engine");
    (engine, page)
}

#[tokio::test]
async fn each_engine_answers_in_its_way() {
    for (kind, sample) in [
        (EngineKind::VllmV0, "\nvllm:gpu_cache_usage_perc{model_name=\"llama2-70b\"} "),
        (EngineKind::VllmV1, "\nvllm:kv_cache_usage_perc{engine=\"0\",model_name=\"llama2-70b\"} "),
        (
            EngineKind::Sglang,
            "\nsglang:num_running_reqs{engine_type=\"unified\",model_name=\"llama2-70b\",pp_rank=\"0\",tp_rank=\"1\"} 34.0\n",
        ),
        (EngineKind::Tgi, "\ntgi_batch_current_size 34\n"),
        (
            EngineKind::TrtllmServe,
            "\ntrtllm_num_requests_running{engine_type=\"trtllm\",model_name=\"llama2-70b\"} 34.0\n",
        ),
    ] {
        let (_engine, page) = page_of(kind, kind.path()).await;
        assert!(page.status == 200 && page.text().contains(sample), "{kind:?}: {}", page.text());
        let other = kind != EngineKind::VllmV0 && kind != EngineKind::VllmV1;
        assert!(!(other && page.text().contains("vllm:")), "{kind:?}");
    }
    let (_engine, page) = page_of(EngineKind::TrtllmServe, "/metrics").await;
    assert!(page.status == 200 && page.text() == "[]", "{}", page.text());
}

#[tokio::test]
async fn exporters_answer_by_name_in_their_way() {
    let one = "?name[]=vllm:num_requests_running";
    let engine = Engine::start().await;
    let mut client = engine.connect().await;
    let answer = client.get(&format!("/metrics{one}")).await.unwrap();
    assert_eq!(answer.text().lines().count(), 4, "{}", answer.text());
    engine.script.send_modify(|script| script.exporter = Some(Exporter::Multiprocess));
    let answer = client.get(&format!("/metrics{one}")).await.unwrap();
    assert!(answer.status == 200 && answer.body.is_empty(), "{}", answer.text());
    assert!(client.get("/metrics").await.unwrap().is_healthy());
    let (_engine, page) = page_of(EngineKind::Sglang, "/metrics?name[]=sglang:num_running_reqs").await;
    assert!(page.status == 200 && page.body.is_empty(), "{}", page.text());
    let (_engine, page) = page_of(EngineKind::Tgi, "/metrics?name[]=tgi_queue_size").await;
    assert!(page.text().contains("tgi_request_count"), "{}", page.text());
}

#[tokio::test]
async fn an_upgrade_in_place_begins_anew() {
    let (engine, mut client) = serving_engine().await;
    client
        .post("/v1/completions", r#"{"prompt": "a b", "windlass_cached_tokens": 1, "max_tokens": 4}"#)
        .await;
    let truth: serde_json::Value = serde_json::from_slice(&client.get("/truth").await.unwrap().body).unwrap();
    assert_eq!(truth["engine"], "vllm");
    for (name, value) in
        [("prompt_tokens", 2.0), ("cached_tokens", 1.0), ("requests", 1.0), ("generation_length", 4.0)]
    {
        assert_eq!(truth["metrics"][name]["value"], value, "{name}: {truth}");
    }
    engine.script.send_modify(|script| script.engine = EngineKind::VllmV1);
    while client.more().await {}
    let mut client = connected(engine.address).await;
    let page = client.get("/metrics").await.unwrap();
    let model = r#"{engine="0",model_name="llama-3.1-8b"}"#;
    assert_eq!(sample(&page, &format!("vllm:prompt_tokens_total{model}")), 0.0);
    client.post("/v1/completions", r#"{"prompt": "a b", "max_tokens": 4}"#).await;
    let page = client.get("/metrics").await.unwrap();
    assert_eq!(sample(&page, &format!("vllm:request_time_per_output_token_seconds_count{model}")), 1.0);
    assert!(!page.text().contains("gpu_cache_usage_perc"));
}

#[tokio::test]
async fn pages_sent_in_other_ways() {
    let engine = Engine::start().await;
    engine.set(Fault::Gzip);
    let answer = engine.connect().await.get("/metrics").await.unwrap();
    assert!(answer.head.contains("content-encoding: gzip\r\n") && answer.body.starts_with(&[0x1f, 0x8b]));
    engine.set(Fault::Chunked);
    let answer = engine.connect().await.get("/metrics").await.unwrap();
    assert!(answer.announced.is_none() && answer.body.len() > 50_000, "{}", answer.head);
    engine.set(Fault::Close);
    let mut client = engine.connect().await;
    assert!(client.get("/metrics").await.unwrap().is_healthy());
    assert!(!client.more().await);
    engine.set(Fault::Http10);
    let mut client = engine.connect().await;
    client.send("GET", "/metrics").await;
    let head = client.head().await.unwrap();
    assert!(head.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", head.head);
    assert!(head.announced.is_none() && !head.head.contains("chunked"), "{}", head.head);
    while client.more().await {}
    assert!(client.read.len() > 50_000 && client.read.ends_with(b"\n"), "{} bytes", client.read.len());
    // These concern the page alone.
    assert_eq!(engine.connect().await.get("/health").await.unwrap().status, 200);
}

#[tokio::test]
async fn pages_that_are_valid_and_wrong() {
    let renamed = "\nvllm:new_num_requests_running{model_name=\"llama2-70b\"} 34.0\n";
    check(Fault::Renamed, |answer| assert!(answer.text().contains(renamed))).await;
    check(Fault::Vanished, |answer| {
        assert!(!answer.text().contains("vllm:") && answer.text().contains("process_open_fds"));
    })
    .await;
    let nan = "\nvllm:num_requests_waiting{model_name=\"llama2-70b\"} NaN\n";
    check(Fault::Nan, |answer| assert!(answer.text().contains(nan))).await;
}
