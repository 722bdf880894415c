//! Kept connections: opened with TLS or without, asked once at a time. No task and no buffer belongs to one while it is
//! idle.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::access::Session;
use crate::http1::{Faulty, Head, Incoming};
use crate::pool::Buffer;
use crate::{Endpoint, Host, PAGE_LIMIT, ScrapeError};

/// Read at once, at least.
const LEAST_READ: usize = 4 << 10;
/// Read at once, at most: more of a page than that seldom lies ready.
const MOST_READ: usize = 64 << 10;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// An open connection.
pub(crate) struct Connection {
    stream: Box<dyn Duplex>,
    /// Of the credentials it was opened with; none without TLS.
    pub(crate) generation: Option<u64>,
    /// What connecting took, without TLS and the look-up of a name.
    pub(crate) round_trip: Option<Duration>,
}

/// Why no answer came.
pub(crate) struct Failure {
    pub(crate) error: ScrapeError,
    /// Nothing of an answer came, and the connection is gone.
    pub(crate) unanswered: bool,
}

impl Failure {
    fn broke(error: std::io::Error, unanswered: bool) -> Self {
        Self { error: ScrapeError::Broke(error), unanswered }
    }
}

impl Connection {
    /// Connects, and shakes hands where there is TLS.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        session: Option<&Session>,
        tickets: &mut Tickets,
    ) -> Result<Self, ScrapeError> {
        let failed = |source| ScrapeError::Connect { address: endpoint.host.to_string(), source };
        let asked = Instant::now();
        let stream = endpoint.host.connect().await.map_err(failed)?;
        // The server's kernel answers, whatever its program does. A name is looked up meanwhile, and that is another thing.
        let round_trip = matches!(endpoint.host, Host::Address(_)).then(|| asked.elapsed());
        stream.set_nodelay(true).map_err(failed)?;
        let (Some(access), Some(session)) = (&endpoint.access, session) else {
            return Ok(Self { stream: Box::new(stream), generation: None, round_trip });
        };
        let name = access.server_name(&endpoint.host.name())?;
        let connector = TlsConnector::from(tickets.config(session));
        let stream = connector.connect(name, stream).await.map_err(ScrapeError::of_handshake)?;
        Ok(Self { stream: Box::new(stream), generation: Some(session.generation), round_trip })
    }

    /// Whether nothing has come since the last answer: neither an end nor bytes that belong to nothing.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        poll_fn(|context| Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut read).is_pending()))
            .await
    }

    /// Sends a request and takes the answer's head and body.
    pub(crate) async fn exchange(&mut self, request: Buffer) -> Result<(Head, Buffer), Failure> {
        self.stream.write_all(&request).await.map_err(|error| Failure::broke(error, true))?;
        self.stream.flush().await.map_err(|error| Failure::broke(error, true))?;
        drop(request);
        let mut incoming = Incoming::new(PAGE_LIMIT);
        let mut buffer = None;
        let mut any = false;
        loop {
            let read =
                self.read(&mut buffer, &incoming).await.map_err(|error| Failure::broke(error, !any))?;
            any |= read > 0;
            let bytes = buffer.get_or_insert_with(Buffer::take);
            match incoming.advance(bytes, read == 0) {
                Ok(None) => {}
                Ok(Some(head)) => return Ok((head, buffer.unwrap_or_else(Buffer::take))),
                Err(faulty) => {
                    let unanswered = faulty == Faulty::Nothing;
                    return Err(Failure { error: faulty.into(), unanswered });
                }
            }
        }
    }

    /// Reads what is there. While a server thinks, no buffer is held.
    async fn read(&mut self, buffer: &mut Option<Buffer>, incoming: &Incoming) -> std::io::Result<usize> {
        poll_fn(|context| {
            let bytes = buffer.get_or_insert_with(Buffer::take);
            let room = incoming.expected(bytes.len()).clamp(LEAST_READ, MOST_READ);
            if bytes.capacity() - bytes.len() < room {
                bytes.reserve(room);
            }
            let read = pin!(self.stream.read_buf(&mut **bytes)).poll(context);
            if read.is_pending() && bytes.is_empty() {
                *buffer = None;
            }
            read
        })
        .await
    }
}

/// How to speak TLS with one server, with what is needed to resume its session: not shared, because pods that are asked
/// for by one name each have tickets of their own.
#[derive(Default)]
pub(crate) struct Tickets(Option<Box<(u64, Arc<ClientConfig>)>>);

impl Tickets {
    fn config(&mut self, session: &Session) -> Arc<ClientConfig> {
        match &self.0 {
            Some(known) if known.0 == session.generation => Arc::clone(&known.1),
            _ => {
                let mut config = ClientConfig::clone(&session.tls);
                config.resumption = Resumption::store(Arc::new(LastSession::default()));
                let config = Arc::new(config);
                self.0 = Some(Box::new((session.generation, Arc::clone(&config))));
                config
            }
        }
    }
}

/// The newest session with one server.
#[derive(Debug, Default)]
struct LastSession(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    group: Option<NamedGroup>,
    tls12: Option<Box<Tls12ClientSessionValue>>,
    tls13: Option<Box<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for LastSession {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.lock().tls12 = Some(Box::new(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.lock().tls12.as_deref().cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.lock().tls13 = Some(Box::new(value));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().tls13.take().map(|ticket| *ticket)
    }
}
