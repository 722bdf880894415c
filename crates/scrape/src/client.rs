//! One kept HTTP/1.1 connection to one pod.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use windlass_metrics::Format;

use crate::{Endpoint, PAGE_LIMIT, ScrapeError};

/// Bytes a connection buffers while it waits: thousands of idle ones must stay cheap.
const READ_BUFFER: usize = 16 << 10;

/// A page as it came.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    pub(crate) format: Format,
}

/// The connection, if there is one.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Fetches the page. A kept connection that turns out to be closed is replaced once.
    pub(crate) async fn fetch(&mut self, endpoint: &Endpoint) -> Result<Page, ScrapeError> {
        if let Some(mut kept) = self.connection.take()
            && kept.sender.ready().await.is_ok()
        {
            match request(&mut kept.sender, endpoint).await {
                Err(ScrapeError::Http(error)) if error.is_canceled() || error.is_incomplete_message() => {}
                outcome => return self.keep(kept, outcome),
            }
        }
        let mut fresh = connect(endpoint).await?;
        let outcome = request(&mut fresh.sender, endpoint).await;
        self.keep(fresh, outcome)
    }

    /// A connection is kept only behind a complete answer.
    fn keep(
        &mut self,
        connection: Connection,
        outcome: Result<Page, ScrapeError>,
    ) -> Result<Page, ScrapeError> {
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

async fn connect(endpoint: &Endpoint) -> Result<Connection, ScrapeError> {
    let failed = |source| ScrapeError::Connect { address: endpoint.address, source };
    let stream = TcpStream::connect(endpoint.address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) =
        http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
    // How it ends shows in the next request.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, driver })
}

async fn request(sender: &mut SendRequest<Empty<Bytes>>, endpoint: &Endpoint) -> Result<Page, ScrapeError> {
    let request = http::Request::get(&endpoint.path)
        .header(http::header::HOST, endpoint.address.to_string())
        .header(
            http::header::ACCEPT,
            "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5",
        )
        .header(http::header::USER_AGENT, concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != http::StatusCode::OK {
        return Err(ScrapeError::Status(response.status()));
    }
    let content_type = response.headers().get(http::header::CONTENT_TYPE);
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
    Ok(Page { bytes, format })
}
