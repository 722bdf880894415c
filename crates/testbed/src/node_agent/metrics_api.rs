//! `metrics.k8s.io/v1beta1`, as metrics-server serves it: what the pods and nodes use, for `kubectl top`, HPAs and
//! whoever asks for resource metrics. The figures are simulated: see [`usage`](super::usage).
//!
//! It is an aggregated API: clients ask the API server, which authenticates and authorises them and forwards the request
//! to the address of the Service that the `APIService` names. That connection is TLS both ways: the API server checks our
//! certificate, made at the start and registered with the `APIService`, and only a client with a certificate of the
//! front-proxy authority gets an answer. Who the user is, is not looked at again.

mod answer;
mod registration;
mod selector;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::calls::Calls;
pub(super) use answer::View;
use registration::Registration;

/// A client that has not finished its handshake, or has asked nothing, for so long is let go.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two attempts to accept.
const RETRY: Duration = Duration::from_millis(50);

/// Why the metrics API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket.
    #[error("no listener at {0}: {1}")]
    Listen(Ipv4Addr, io::Error),
    /// The API server does not say whom to trust.
    #[error("the ConfigMap kube-system/extension-apiserver-authentication names no front-proxy authority")]
    NoFrontProxy,
    /// What it says cannot be used.
    #[error("the front-proxy authority cannot be read: {0}")]
    FrontProxy(String),
    /// Our own certificate could not be made or used.
    #[error("a certificate of its own: {0}")]
    Certificate(String),
}

/// A server that listens and is not registered yet.
pub(super) struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
}

impl Server {
    /// Listens at this address, on any free port.
    pub(super) async fn bind(calls: &Calls, host: Ipv4Addr) -> Result<Self, Error> {
        let authority = registration::front_proxy_authority(calls).await.ok_or(Error::NoFrontProxy)?;
        let own = rcgen::generate_simple_self_signed(vec![registration::dns_name()])
            .map_err(|error| Error::Certificate(error.to_string()))?;
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = tls_config(&authority, certificate.clone(), key)?;
        let listener = TcpListener::bind((host, 0)).await.map_err(|error| Error::Listen(host, error))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(host, error))?;
        Ok(Self { listener, tls: TlsAcceptor::from(Arc::new(config)), address, certificate })
    }

    /// What the API server has to be told of this server.
    pub(super) fn registration(&self) -> Registration {
        Registration { address: self.address, certificate: self.certificate.clone() }
    }

    /// Serves until the future is dropped, which closes the listener and every open connection.
    pub(super) async fn serve(self, view: View) -> Infallible {
        let view = Arc::new(view);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _peer)) => {
                        connections.spawn(converse(stream, self.tls.clone(), view.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "metrics API cannot accept");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

/// TLS for clients with a certificate of `authority` (PEM).
fn tls_config(
    authority: &str,
    own: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::FrontProxy(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
    }
    // Named, because a process may have another default provider, or none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unreadable(&error))?;
    let useless = |error: rustls::Error| Error::Certificate(error.to_string());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(useless)?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![own], key)
        .map_err(useless)
}

async fn converse(stream: TcpStream, tls: TlsAcceptor, view: Arc<View>) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "metrics API refused a client"),
        Err(_elapsed) => return,
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, document) =
            view.answer(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A client that goes away is no news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_proxy_authority_is_needed() {
        let own = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        for nonsense in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let outcome = tls_config(nonsense, own.cert.der().clone(), key());
            assert!(matches!(outcome, Err(Error::FrontProxy(_))), "{nonsense:?}");
        }
    }
}
