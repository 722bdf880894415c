//! What a kept connection costs while nothing is asked: 2,000 pollers, each of which has read one page of 55 KB, and what
//! this process has grown by. The server is another process, so that only the client is counted.
//!
//! `cargo run -p windlass-scrape --example idle_connections [tls]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on ends")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use windlass_metrics::{Catalogue, Wanted};
use windlass_scrape::{Access, Credentials, Endpoint, Host, Pacemaker, Poller, Schedule, TlsOptions};

const CONNECTIONS: usize = 2000;
/// As many polls are under way at once.
const BATCH: usize = 50;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tls = arguments.iter().any(|argument| argument == "tls");
    if arguments.iter().any(|argument| argument == "serve") {
        serve(tls).await;
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["serve", if tls { "tls" } else { "plain" }])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    measure(line.trim().parse().unwrap(), tls).await;
    server.kill().unwrap();
    server.wait().unwrap();
}

async fn measure(address: SocketAddr, tls: bool) {
    let metrics = ["inflight", "kv_util"].map(|name| Catalogue::builtin().resolve(name).unwrap());
    let wanted = Arc::new(Wanted::new(&metrics));
    let access = Access::new(TlsOptions { skip_verify: true, ..TlsOptions::default() });
    access.provide(Ok(Credentials::default()));
    let access = tls.then(|| Arc::new(access));
    let hour = Schedule { interval: Duration::from_hours(1), origin: Instant::now() };
    let pacemaker = Pacemaker::new(hour);
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let mut pollers = Vec::with_capacity(CONNECTIONS);
    let mut begin = async |count: usize| {
        for batch in std::iter::repeat_n(BATCH, count.div_ceil(BATCH)) {
            for _ in 0..batch {
                let endpoint = Endpoint {
                    host: Host::Address(address),
                    path: "/metrics".to_owned(),
                    access: access.clone(),
                };
                let sender = sender.clone();
                let sink = move |outcome| drop(sender.send(outcome));
                pollers.push(Poller::spawn(endpoint, &pacemaker, Arc::clone(&wanted), sink));
            }
            for _ in 0..batch {
                let outcome = outcomes.recv().await.unwrap();
                let values = outcome.values.unwrap();
                assert!(values.iter().all(Option::is_some), "{values:?}");
            }
        }
    };
    // What is shared is not counted.
    begin(2 * BATCH).await;
    let before = resident();
    begin(CONNECTIONS).await;
    let grown = resident() - before;
    println!(
        "{CONNECTIONS} idle connections, {}: {} KiB, {:.2} KiB each",
        if tls { "TLS" } else { "plain" },
        grown >> 10,
        grown as f64 / 1024.0 / CONNECTIONS as f64
    );
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn serve(tls: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(server_config());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if tls {
                answer(acceptor.accept(stream).await.unwrap()).await;
            } else {
                answer(stream).await;
            }
        });
    }
}

fn server_config() -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["engine.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut page =
        "vllm:num_requests_running 3\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.5\n".to_owned();
    for bucket in 0.. {
        if page.len() > 55_000 {
            break;
        }
        writeln!(
            page,
            "vllm:time_to_first_token_seconds_bucket{{le=\"{bucket}\",model_name=\"a\"}} {bucket}"
        )
        .unwrap();
    }
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", page.len());
    let answer = head + &page;
    let mut request = Vec::new();
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}
