//! How a server is spoken to beyond plain http: TLS, whom to trust, and a bearer token.

use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::Notify;

use crate::ScrapeError;

/// What of TLS does not change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// The name the certificate must be for; by default the host that is connected to.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub skip_verify: bool,
    /// Where the server turns out not to speak TLS, or has nothing at the path, ask for the engine's default page over
    /// plain http. Not for objects that have anything to protect.
    pub plain_fallback: bool,
}

/// What may be replaced at any time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates to trust, PEM; none: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
}

/// Without what is secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "hidden");
        f.debug_struct("Credentials").field("token", &token).finish_non_exhaustive()
    }
}

/// TLS with everything that belongs to it, shared by whoever speaks to servers of one kind; TLS sessions are resumed
/// among them.
#[derive(Debug)]
pub struct Access {
    options: TlsOptions,
    state: Mutex<State>,
    rejected: Notify,
}

#[derive(Debug)]
struct State {
    generation: u64,
    /// What was provided last, to see whether it is new.
    provided: Option<Result<Credentials, String>>,
    session: Result<Session, String>,
}

/// What one connection is made with.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Raised when anything changed: connections of before are of no use.
    pub(crate) generation: u64,
    pub(crate) tls: Arc<ClientConfig>,
    /// Sensitive: not shown in any log.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Access {
    /// Without credentials so far: nothing is asked before [`Self::provide`].
    pub fn new(options: TlsOptions) -> Self {
        let session = Err("the credentials are being read".to_owned());
        let state = Mutex::new(State { generation: 0, provided: None, session });
        Self { options, state, rejected: Notify::new() }
    }

    /// Speaks with these credentials from now on, or not at all, for the reason given. Nothing changes if nothing is new.
    pub fn provide(&self, credentials: Result<Credentials, String>) {
        let mut state = self.state.lock();
        if state.provided.as_ref() == Some(&credentials) {
            return;
        }
        state.generation += 1;
        let generation = state.generation;
        let session = match &credentials {
            Ok(given) => session(&self.options, given, generation),
            Err(problem) => Err(problem.clone()),
        };
        state.session = session;
        state.provided = Some(credentials);
    }

    /// Whether there are credentials.
    pub fn is_provided(&self) -> bool {
        matches!(self.state.lock().provided, Some(Ok(_)))
    }

    /// Completes when a server refused what was provided: it may have been replaced.
    pub async fn rejected(&self) {
        self.rejected.notified().await;
    }

    pub(crate) fn reject(&self) {
        self.rejected.notify_one();
    }

    pub(crate) fn plain_fallback(&self) -> bool {
        self.options.plain_fallback
    }

    pub(crate) fn session(&self) -> Result<Session, ScrapeError> {
        self.state.lock().session.clone().map_err(ScrapeError::Credentials)
    }

    /// The name the certificate of `host` must be for.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, ScrapeError> {
        let name = self.options.server_name.as_deref().unwrap_or(host);
        let invalid =
            |_| ScrapeError::Credentials(format!("{name:?} is not a name a certificate can be for"));
        ServerName::try_from(name.to_owned()).map_err(invalid)
    }
}

fn session(options: &TlsOptions, given: &Credentials, generation: u64) -> Result<Session, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let tls = if options.skip_verify {
        let anything = Arc::new(Anything(provider));
        builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(given.authorities.as_deref())?).with_no_client_auth()
    };
    if given.token.is_some() && options.skip_verify {
        return Err("a bearer token is sent over verified TLS only".to_owned());
    }
    let authorization = given.token.as_deref().map(authorization).transpose()?;
    Ok(Session { generation, tls: Arc::new(tls), authorization })
}

fn authorization(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| "the bearer token has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the CA bundle is not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("the CA bundle has an unusable certificate: {error}"))?;
    }
    if roots.is_empty() { Err("the CA bundle has no certificate".to_owned()) } else { Ok(roots) }
}

/// Takes any certificate, but only from who has its key.
#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
