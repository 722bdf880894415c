//! A simulated nginx: a real web server whose processor time is accounted, not measured.
//!
//! It answers GET and HEAD of `/` and `/index.html` with a page, everything else with 404 or 405. A request costs
//! [`REQUEST`] of a simulated [`Processor`] with the container's CPU limit and is answered when that is through, so requests
//! beyond the limit wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::processor::Processor;

/// Processor time of a request on a connection of its own, kernel included: 0.28 ms.
///
/// Chosen so that AIBrix's walk-through ends as it does there: a load of 200 requests a second, the most that the load
/// generator sends, uses 56 millicores, which at 10 % of a request of 200 are 3 pods (2.8). It is of the size of the
/// real thing: nginx serves a few thousand new connections a second and core.
pub(crate) const REQUEST: Duration = Duration::from_micros(280);
/// Memory that it is said to hold: 8 MiB.
pub(crate) const BYTES: f64 = 8_388_608.0;

/// nginx's `keepalive_timeout`.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Between two attempts to accept.
const RETRY: Duration = Duration::from_millis(50);
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Welcome to nginx, simulated</title></head>\n\
    <body><h1>It works</h1><p>This page is served by the testbed of Windlass.</p></body></html>\n";

/// Serves until the future is dropped, which closes the listener and every open connection.
pub(crate) async fn serve(listener: TcpListener, processor: Arc<Processor>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(converse(stream, processor.clone()));
                }
                Err(error) => {
                    warn!(%error, "simulated nginx cannot accept");
                    tokio::time::sleep(RETRY).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, processor: Arc<Processor>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let done = processor.take(REQUEST, Instant::now());
        async move {
            sleep_until(done).await;
            Ok::<_, Infallible>(answer(request.method(), request.uri().path()))
        }
    });
    // A client that goes away is no news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/" | "/index.html") => (StatusCode::OK, PAGE),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "404 Not Found\n"),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "405 Not Allowed\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let kind = if status == StatusCode::OK { "text/html" } else { "text/plain" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("nginx"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(listener: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(listener).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn requests_are_answered_and_accounted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let processor = Arc::new(Processor::new(Some(0.5)));
        let server = tokio::spawn(serve(listener, processor.clone()));
        for (request, status, body) in [
            ("GET /", "200 OK", "It works"),
            ("GET /index.html", "200 OK", "It works"),
            ("GET /nope", "404", "404"),
            ("POST /", "405", "405"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(body), "{answer}");
        }
        assert_eq!(processor.used(Instant::now() + REQUEST * 8), REQUEST * 4);
        server.abort();
    }
}
