//! One kept HTTP/1.1 connection to one server.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use windlass_metrics::Format;

use crate::access::{Access, Session};
use crate::{PAGE_LIMIT, ScrapeError};

/// Bytes a connection buffers while it waits: thousands of idle ones must stay cheap.
const READ_BUFFER: usize = 16 << 10;
/// What is read of a metrics page.
pub(crate) const PAGES: &str = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5";

/// Where a page is.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Which server.
    pub host: Host,
    /// Path, with a query if one is needed; begins with `/`.
    pub path: String,
    /// TLS and credentials; none: plain http.
    pub access: Option<Arc<Access>>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// At an address.
    Address(SocketAddr),
    /// Of a name, which is looked up for each connection.
    Name {
        /// A DNS name, or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Host {
    fn name(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.trim_matches(['[', ']']).to_owned(),
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        match self {
            Self::Address(address) => TcpStream::connect(address).await,
            Self::Name { port, .. } => TcpStream::connect((self.name().as_str(), *port)).await,
        }
    }
}

impl Endpoint {
    /// Over plain http.
    pub fn http(address: SocketAddr, path: &str) -> Self {
        Self { host: Host::Address(address), path: path.to_owned(), access: None }
    }
}

/// An answer, complete.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) bytes: Vec<u8>,
    pub(crate) format: Format,
}

impl Answer {
    /// Nothing but 200 is a page.
    pub(crate) fn page(self) -> Result<Self, ScrapeError> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(ScrapeError::Status(self.status)) }
    }
}

/// The connection, if there is one.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
    session: Option<Session>,
}

impl Connection {
    fn generation(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.generation)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Asks, and tells who keeps the credentials if they were refused.
    pub(crate) async fn fetch(&mut self, endpoint: &Endpoint, accept: &str) -> Result<Answer, ScrapeError> {
        let outcome = self.ask(endpoint, accept).await;
        if let Some(access) = &endpoint.access {
            let refused = match &outcome {
                Ok(answer) => matches!(answer.status.as_u16(), 401 | 403),
                Err(error) => error.may_be_stale(),
            };
            if refused {
                access.reject();
            }
        }
        outcome
    }

    /// A kept connection that turns out to be closed is replaced once.
    async fn ask(&mut self, endpoint: &Endpoint, accept: &str) -> Result<Answer, ScrapeError> {
        let session = endpoint.access.as_ref().map(|access| access.session()).transpose()?;
        let generation = session.as_ref().map(|session| session.generation);
        if let Some(mut kept) = self.connection.take()
            && kept.generation() == generation
            && kept.sender.ready().await.is_ok()
        {
            match request(&mut kept, endpoint, accept).await {
                Err(ScrapeError::Http(error)) if error.is_canceled() || error.is_incomplete_message() => {}
                outcome => return self.keep(kept, outcome),
            }
        }
        let mut fresh = connect(endpoint, session).await?;
        let outcome = request(&mut fresh, endpoint, accept).await;
        self.keep(fresh, outcome)
    }

    /// A connection is kept only behind a complete answer.
    fn keep(
        &mut self,
        connection: Connection,
        outcome: Result<Answer, ScrapeError>,
    ) -> Result<Answer, ScrapeError> {
        if outcome.is_ok() && !connection.sender.is_closed() {
            self.connection = Some(connection);
        }
        outcome
    }

    /// Forgets the connection: an answer that is late must not be taken for the next one.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }
}

async fn connect(endpoint: &Endpoint, session: Option<Session>) -> Result<Connection, ScrapeError> {
    let failed = |source| ScrapeError::Connect { address: endpoint.host.to_string(), source };
    let stream = endpoint.host.connect().await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (Some(access), Some(session)) = (&endpoint.access, session) else {
        return handshake(stream, None).await;
    };
    let name = access.server_name(&endpoint.host.name())?;
    let connector = TlsConnector::from(Arc::clone(&session.tls));
    let stream = connector.connect(name, stream).await.map_err(ScrapeError::of_handshake)?;
    handshake(stream, Some(session)).await
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    session: Option<Session>,
) -> Result<Connection, ScrapeError> {
    let (sender, connection) =
        http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
    // How it ends shows in the next request.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, driver, session })
}

async fn request(
    connection: &mut Connection,
    endpoint: &Endpoint,
    accept: &str,
) -> Result<Answer, ScrapeError> {
    let mut request = http::Request::get(&endpoint.path)
        .header(HOST, endpoint.host.to_string())
        .header(ACCEPT, accept)
        .header(USER_AGENT, concat!("windlass/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = connection.session.as_ref().and_then(|session| session.authorization.clone())
    {
        request = request.header(AUTHORIZATION, authorization);
    }
    let response = connection.sender.send_request(request.body(Empty::new())?).await?;
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let format =
        Format::from_content_type(content_type.and_then(|value| value.to_str().ok()).unwrap_or_default());
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > PAGE_LIMIT {
                return Err(ScrapeError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Answer { status, bytes, format })
}
