//! One engine's HTTP server: a listener, its connections, and the faults that act on connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use super::answer::Engine;
use super::{Fault, Script, Serving};

/// uvicorn, vLLM's server, closes connections that were idle for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long the port refuses while an engine starts as another one. Real ones take longer; pods are slow by `start`.
const RESTART: Duration = Duration::from_millis(500);
/// Between two attempts to accept or to listen again.
const RETRY: Duration = Duration::from_millis(50);

/// Serves one engine until the future is dropped, which closes the listener and every open connection.
///
/// With `serving` it serves requests by its engine model and reports what follows from them; without, it only reports
/// what the script says.
///
/// A change of the `script` acts at once: [`Fault::Refuse`] closes listener and connections and a later change listens
/// again on the same address; every other fault is looked up per request. Another [engine](Script::engine) ends the process and
/// starts that one on the same address: connections are closed, requests under way lost, and counters begin anew. When the sender
/// of the script is gone, the last script stays.
///
/// # Errors
/// Only if the listener's address or the engine's page cannot be read, before anything is served.
pub async fn serve(
    listener: TcpListener,
    mut script: watch::Receiver<Script>,
    serving: Option<Arc<Serving>>,
) -> io::Result<Infallible> {
    let address = listener.local_addr()?;
    let work = {
        let serving = serving.clone();
        async move {
            match serving {
                Some(serving) => serving.run().await,
                None => std::future::pending().await,
            }
        }
    };
    let mut work = std::pin::pin!(work);
    let mut engine = Arc::new(Engine::new(script.clone(), serving.clone())?);
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let Script { fault, engine: kind, .. } = *script.borrow_and_update();
        if kind != engine.kind() {
            listener = None;
            connections.shutdown().await;
            tokio::time::sleep(RESTART).await;
            engine = Arc::new(Engine::new(script.clone(), serving.clone())?);
            continue;
        }
        if fault == Fault::Refuse {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = listen_again(address).await;
        }
        let retry = listener.is_none() && script.borrow().fault != Fault::Refuse;
        tokio::select! {
            stream = accept(listener.as_ref()) => {
                connections.spawn(converse(stream, engine.clone()));
            }
            Some(_ended) = connections.join_next() => {}
            never = &mut work => match never {},
            () = changed(&mut script) => {}
            () = tokio::time::sleep(RETRY), if retry => {}
        }
    }
}

/// The next connection; waits for ever without a listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return stream,
            Err(error) => {
                // Out of file descriptors, most likely: closing connections will free some.
                warn!(%error, "mock engine cannot accept");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.inspect_err(|error| warn!(%address, %error, "mock engine cannot listen again")).ok()
}

/// Waits for the next change; for ever when there can be none.
async fn changed(script: &mut watch::Receiver<Script>) {
    if script.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn converse(stream: TcpStream, engine: Arc<Engine>) {
    // Answers are written whole; waiting to fill segments would only add latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let engine = engine.clone();
        async move { Ok::<_, Infallible>(engine.answer(request).await) }
    });
    // A client that goes away and a body that is cut on purpose end here; both are no news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests;
