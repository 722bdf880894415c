//! What a controller tells those who ask it: `/livez`, `/readyz`, `/metrics`, `/debug/state`.
//!
//! Nothing here changes anything. Liveness is of the controller's own loops and has nothing to do with the API server: one
//! that is away is no reason to be restarted.

mod figures;
mod process;
mod state;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::Shared;
pub(crate) use process::cpu_seconds;

/// The oldest connection gives way to one more than so many: who holds connections open must not keep the kubelet from
/// asking, nor take the descriptors that pods are read with.
const MOST_CONNECTIONS: usize = 100;
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const INDEX: &str = "/livez        200 while the controller's loops turn
/readyz       200 once everything was listed
/metrics      OpenMetrics text; docs/metrics.md lists the names
/debug/state  all targets as JSON; ?namespace=…&name=… for one
";

/// A socket that is bound and not served yet, so that a port in use is an error at the start.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

/// The address is not to be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for /metrics and /livez: {source}; choose another --admin-address, or \"\" for none"
)]
pub struct AdminError {
    address: String,
    source: std::io::Error,
}

impl Admin {
    /// Binds `host:port`; port 0 takes any.
    ///
    /// # Errors
    /// If the address is not one, or in use.
    pub async fn bind(address: &str) -> Result<Self, AdminError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| AdminError { address: address.to_owned(), source })?;
        Ok(Self { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for ever.
    pub(crate) async fn serve(self, shared: Arc<Shared>) {
        let site = Arc::new(Site::new(shared));
        let mut connections = JoinSet::new();
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let site = Arc::clone(&site);
                        let service = service_fn(move |request| {
                            let answer = site.answer(&request);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        let serving = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(stream), service);
                        open.retain(|connection| !connection.is_finished());
                        if open.len() >= MOST_CONNECTIONS && let Some(oldest) = open.pop_front() {
                            oldest.abort();
                        }
                        open.push_back(connections.spawn(serving));
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely.
                        tracing::warn!(%error, "cannot accept an admin connection");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
                // How a client went away is no news.
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// What is answered.
struct Site {
    shared: Arc<Shared>,
    registry: Registry,
}

impl Site {
    fn new(shared: Arc<Shared>) -> Self {
        let mut registry = Registry::default();
        shared.journal.register(&mut registry);
        registry.register_collector(Box::new(figures::Figures::new(Arc::downgrade(&shared))));
        registry.register_collector(Box::new(process::Process));
        Self { shared, registry }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let body = "only GET and HEAD are answered here\n".to_owned();
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, body);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => response(StatusCode::OK, TEXT, INDEX.to_owned()),
            "/livez" => check(self.shared.pulses.stopped(self.shared.clock.now())),
            "/readyz" => check(self.shared.index.lock().unsynced()),
            "/metrics" => {
                let mut page = String::new();
                // Writing to a String cannot fail; the collectors do nothing else.
                let encoded = prometheus_client::encoding::text::encode(&mut page, &self.registry);
                let status = if encoded.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
                response(status, OPENMETRICS, page)
            }
            "/debug/state" => {
                let wanted = state::Wanted::parse(request.uri().query().unwrap_or_default());
                let state = state::of(&self.shared, &wanted);
                response(StatusCode::OK, JSON, state.to_string())
            }
            path => {
                response(StatusCode::NOT_FOUND, TEXT, format!("nothing is at {path}; there is:\n{INDEX}"))
            }
        }
    }
}

/// `ok`, or what is wrong.
fn check(problem: Option<String>) -> Response<Full<Bytes>> {
    match problem {
        None => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Some(problem) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{problem}\n")),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
