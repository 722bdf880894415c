//! Requests to one server over a connection that is kept.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http::{HeaderValue, StatusCode};
use tokio::net::TcpStream;
use windlass_metrics::Format;

use crate::access::Access;
use crate::connection::{Connection, Failure, Tickets};
use crate::http1::{Encoding, Faulty};
use crate::pool::Buffer;
use crate::{PAGE_LIMIT, ScrapeError};

/// What is read of a metrics page. OpenMetrics is read, too, and not mentioned: Python's client takes any mention of it,
/// whatever its weight, and escapes the colons of vLLM's and `SGLang`'s names in it.
pub(crate) const PAGES: &str = "text/plain;version=0.0.4,*/*;q=0.1";

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
            Self::Name { host, port } if host.contains(':') && !host.starts_with('[') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Host {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.trim_matches(['[', ']']).to_owned(),
        }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
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
    pub(crate) bytes: Buffer,
    pub(crate) format: Format,
    /// The connection that was kept was gone, without having been announced.
    pub(crate) lost: bool,
}

impl Answer {
    /// Nothing but 200 is a page.
    pub(crate) fn page(self) -> Result<Self, ScrapeError> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(ScrapeError::Status(self.status)) }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Beside what the endpoint's path has; `a=b&c=d`, encoded, or nothing.
    pub(crate) query: &'a str,
    /// Which media types are read.
    pub(crate) accept: &'a str,
}

/// The connection, if there is one.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<Connection>,
    tickets: Tickets,
    /// What the network takes there and back, at least: the shortest that a connection was answered in.
    pub(crate) round_trip: Option<Duration>,
}

impl Client {
    /// Asks, and tells who keeps the credentials if they were refused.
    pub(crate) async fn fetch(
        &mut self,
        endpoint: &Endpoint,
        request: Request<'_>,
    ) -> Result<Answer, ScrapeError> {
        let outcome = self.ask(endpoint, request).await;
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

    /// A kept connection that turns out to be closed is replaced once. Who stops waiting drops the connection with the
    /// future: an answer that is late is not taken for the next one.
    async fn ask(&mut self, endpoint: &Endpoint, request: Request<'_>) -> Result<Answer, ScrapeError> {
        let session = endpoint.access.as_ref().map(|access| access.session()).transpose()?;
        let authorization = session.as_ref().and_then(|session| session.authorization.as_ref());
        let generation = session.as_ref().map(|session| session.generation);
        let mut lost = false;
        if let Some(mut kept) = self.connection.take()
            && kept.generation == generation
        {
            if kept.is_quiet().await {
                match kept.exchange(written(endpoint, request, authorization)?).await {
                    Err(Failure { unanswered: true, .. }) => {}
                    outcome => return self.finish(kept, outcome, lost).await,
                }
            }
            lost = true;
        }
        let request = written(endpoint, request, authorization)?;
        // Seldom needed, and large: not a part of every future that waits.
        let mut fresh = Box::pin(Connection::open(endpoint, session.as_ref(), &mut self.tickets)).await?;
        self.round_trip = self.round_trip.into_iter().chain(fresh.round_trip).min();
        let outcome = fresh.exchange(request).await;
        self.finish(fresh, outcome, lost).await
    }

    /// A connection is kept only behind a complete answer and nothing more. To look for that makes TLS give back the
    /// buffer of its last record.
    async fn finish(
        &mut self,
        mut connection: Connection,
        outcome: Result<(crate::http1::Head, Buffer), Failure>,
        lost: bool,
    ) -> Result<Answer, ScrapeError> {
        let (head, bytes) = outcome.map_err(|failure| failure.error)?;
        if head.keep && connection.is_quiet().await {
            self.connection = Some(connection);
        }
        let bytes = unpacked(&head.encoding, bytes)?;
        Ok(Answer { status: head.status, bytes, format: head.format, lost })
    }
}

/// The request as it is sent. Nothing packed is asked for: packing costs the engine more than the bytes do.
fn written(
    endpoint: &Endpoint,
    request: Request<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<Buffer, ScrapeError> {
    let (path, host) = (&endpoint.path, endpoint.host.to_string());
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    if !path.starts_with('/') || !plain(path) || path.contains('#') || !plain(&host) {
        return Err(ScrapeError::Request(format!("{path:?} of {host:?} cannot be asked for")));
    }
    let link = match (request.query, path.contains('?')) {
        ("", _) => "",
        (_, false) => "?",
        (_, true) => "&",
    };
    let mut bytes = Buffer::take();
    // A buffer can always be written to.
    drop(write!(
        &mut *bytes,
        "GET {path}{link}{query} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\naccept-encoding: identity\r\n\
         user-agent: windlass/{version}\r\n",
        query = request.query,
        accept = request.accept,
        version = env!("CARGO_PKG_VERSION")
    ));
    if let Some(authorization) = authorization {
        bytes.extend_from_slice(b"authorization: ");
        bytes.extend_from_slice(authorization.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

/// Some servers, or what stands before them, pack what they were not asked to: gzip is read, within the same limit.
fn unpacked(encoding: &Encoding, packed: Buffer) -> Result<Buffer, ScrapeError> {
    match encoding {
        Encoding::Identity => Ok(packed),
        Encoding::Gzip => {
            let mut bytes = Buffer::take();
            let mut limited = MultiGzDecoder::new(packed.as_slice()).take(PAGE_LIMIT as u64 + 1);
            limited
                .read_to_end(&mut bytes)
                .map_err(|_| ScrapeError::Encoding("a gzip that is damaged".to_owned()))?;
            if bytes.len() > PAGE_LIMIT { Err(Faulty::TooLarge.into()) } else { Ok(bytes) }
        }
        Encoding::Other(name) => Err(ScrapeError::Encoding(format!("{name:?}"))),
    }
}
