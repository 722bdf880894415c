//! Pages over real TLS: whom is trusted, what is said of who is not, and what may change while it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use windlass_metrics::{Catalogue, Wanted};
use windlass_scrape::{
    Access, Credentials, Endpoint, Host, InstantQuery, Observed, Outcome, PolledPod, TlsOptions,
};

const INTERVAL: Duration = Duration::from_secs(5);

/// A certificate authority of this test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's configuration with a certificate for `name`, which ends in `until`.
    fn server(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        self.server_of(name, until, rustls::DEFAULT_VERSIONS)
    }

    fn server_of(
        &self,
        name: &str,
        until: i32,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// An https server whose configuration can be replaced; it closes each connection after one answer.
struct Server {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    resumed: Arc<AtomicUsize>,
}

/// A page for who shows the token `sesame`, if `guarded`.
async fn serve(config: Arc<ServerConfig>, guarded: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(Mutex::new(config));
    let resumed = Arc::new(AtomicUsize::new(0));
    let server = Server { address, config: Arc::clone(&config), resumed: Arc::clone(&resumed) };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = TlsAcceptor::from(Arc::clone(&config.lock()));
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                resumed.fetch_add(1, Ordering::Relaxed);
            }
            let mut request = [0; 2048];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let answer = if guarded && !asked.contains("authorization: Bearer sesame\r\n") {
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            } else {
                let body = if asked.starts_with("GET /api/v1/query?query=up") {
                    r#"{"status":"success","data":{"resultType":"scalar","result":[1,"6"]}}"#
                } else {
                    "queue 7\n"
                };
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    server
}

fn access(options: TlsOptions, ca: Option<&str>, token: Option<&str>) -> Arc<Access> {
    let access = Access::new(options);
    provide(&access, ca, token);
    Arc::new(access)
}

fn provide(access: &Access, ca: Option<&str>, token: Option<&str>) {
    access.provide(Ok(Credentials {
        authorities: ca.map(|pem| pem.as_bytes().to_vec()),
        token: token.map(str::to_owned),
    }));
}

fn named(name: &str) -> TlsOptions {
    TlsOptions { server_name: Some(name.to_owned()), ..TlsOptions::default() }
}

fn pod(address: SocketAddr, access: &Arc<Access>) -> PolledPod {
    let wanted = Wanted::new(&[Catalogue::builtin().resolve("queue").unwrap()]);
    let endpoint = Endpoint {
        host: Host::Address(address),
        path: "/stats".to_owned(),
        access: Some(Arc::clone(access)),
    };
    PolledPod::new(endpoint, INTERVAL, Arc::new(wanted))
}

#[track_caller]
fn check(outcome: &Outcome, expected: Result<f64, &str>) {
    match (&outcome.values, expected) {
        (Ok(values), Ok(expected)) => {
            assert_eq!(values[0].as_ref().unwrap().observed, Observed::Number(expected));
        }
        (Err(error), Err(clause)) => {
            let found = error.to_string();
            assert!(found.contains(clause), "{found:?} lacks {clause:?}");
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

#[tokio::test]
async fn only_a_certificate_that_is_right_is_trusted() {
    let ours = Authority::new();
    let server = serve(ours.server("engine.test", 2100), false).await;
    let poll = async |options, ca: Option<&str>| pod(server.address, &access(options, ca, None)).poll().await;
    check(&poll(named("engine.test"), Some(&ours.pem)).await, Ok(7.0));
    check(
        &poll(named("other.test"), Some(&ours.pem)).await,
        Err("its certificate is not for other.test, but for"),
    );
    check(&poll(TlsOptions::default(), Some(&ours.pem)).await, Err("not for 127.0.0.1, but for"));
    check(
        &poll(named("engine.test"), Some(&Authority::new().pem)).await,
        Err("its certificate is by an authority that is not trusted"),
    );
    check(&poll(named("engine.test"), None).await, Err("not trusted"));
    check(
        &poll(named("engine.test"), Some("no certificate")).await,
        Err("not asked: the CA bundle has no certificate"),
    );
    let blindly = TlsOptions { skip_verify: true, ..TlsOptions::default() };
    check(&poll(blindly.clone(), None).await, Ok(7.0));
    let mut with_token = pod(server.address, &access(blindly, None, Some("sesame")));
    check(&with_token.poll().await, Err("a bearer token is sent over verified TLS only"));
}

#[tokio::test]
async fn a_certificate_expires_and_is_renewed_by_another_authority() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = serve(old.server("engine.test", 2100), false).await;
    let access = access(named("engine.test"), Some(&old.pem), None);
    let mut pod = pod(server.address, &access);
    check(&pod.poll().await, Ok(7.0));
    *server.config.lock() = old.server("engine.test", 2001);
    check(&pod.poll().await, Err("its certificate expired at 2001-01-01T00:00:00Z"));
    access.rejected().await;
    *server.config.lock() = new.server("engine.test", 2100);
    check(&pod.poll().await, Err("not trusted"));
    provide(&access, Some(&format!("{}{}", old.pem, new.pem)), None);
    check(&pod.poll().await, Ok(7.0));
}

#[tokio::test]
async fn a_token_is_replaced_and_sessions_are_resumed() {
    let ours = Authority::new();
    let server = serve(ours.server("engine.test", 2100), true).await;
    let access = access(named("engine.test"), Some(&ours.pem), Some("open"));
    let mut pod = pod(server.address, &access);
    check(&pod.poll().await, Err("status 401 Unauthorized: credentials are missing, wrong or out of date"));
    access.rejected().await;
    provide(&access, Some(&ours.pem), Some("sesame"));
    check(&pod.poll().await, Ok(7.0));
    check(&pod.poll().await, Ok(7.0));
    check(&pod.poll().await, Ok(7.0));
    assert!(server.resumed.load(Ordering::Relaxed) > 0, "a handshake is not made anew each time");
    access.provide(Err("Secret scrape has no key token".to_owned()));
    check(&pod.poll().await, Err("not asked: Secret scrape has no key token"));
    assert!(!format!("{access:?}").contains("sesame"), "secrets are in no log");
}

/// Many pods behind one name, each with keys of its own for its tickets, and each of which closes after each answer: a
/// session is resumed with the pod that it was with, though pods are asked in turn.
#[tokio::test]
async fn each_pod_resumes_its_own_session() {
    for versions in [[&TLS12], [&TLS13]] {
        let ours = Authority::new();
        let access = access(named("engine.test"), Some(&ours.pem), None);
        let mut pods = Vec::new();
        for _ in 0..40 {
            let server = serve(ours.server_of("engine.test", 2100, &versions), false).await;
            pods.push((pod(server.address, &access), server));
        }
        for round in 0..4 {
            for (pod, server) in &mut pods {
                check(&pod.poll().await, Ok(7.0));
                assert_eq!(server.resumed.load(Ordering::Relaxed), round, "{versions:?}");
            }
        }
        // Other credentials: nothing is taken over from those of before.
        provide(&access, Some(&ours.pem), Some("sesame"));
        for (pod, server) in &mut pods {
            check(&pod.poll().await, Ok(7.0));
            assert_eq!(server.resumed.load(Ordering::Relaxed), 3, "{versions:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_asked_over_http_only_where_nothing_is_to_be_protected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let answer = if request[..length].starts_with(b"GET /metrics ") {
                "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nqueue 5\n"
            } else {
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let fallback = TlsOptions { plain_fallback: true, ..TlsOptions::default() };
    check(&pod(address, &access(fallback, None, None)).poll().await, Ok(5.0));
    let strict = TlsOptions::default();
    check(&pod(address, &access(strict, None, None)).poll().await, Err("does not speak TLS there"));
}

#[tokio::test]
async fn prometheus_is_asked_over_tls_by_name() {
    let ours = Authority::new();
    let server = serve(ours.server("localhost", 2100), true).await;
    let query = async |ca: &str, token, host: &str| {
        let endpoint = Endpoint {
            host: Host::Name { host: host.to_owned(), port: server.address.port() },
            path: "/".to_owned(),
            access: Some(access(TlsOptions::default(), Some(ca), token)),
        };
        let (_, value, _) = InstantQuery::new(&endpoint, "up", INTERVAL).poll().await;
        value.map_err(|error| error.to_string())
    };
    assert_eq!(query(&ours.pem, Some("sesame"), "localhost").await, Ok(6.0));
    assert!(query(&ours.pem, None, "localhost").await.unwrap_err().contains("status 401"));
    let unknown = query(&ours.pem, None, "no-such-host.invalid").await.unwrap_err();
    assert!(unknown.starts_with("cannot connect to no-such-host.invalid:"), "{unknown}");
}
