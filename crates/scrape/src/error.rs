//! Why a poll gave no values.

use std::time::Duration;

use thiserror::Error;
use windlass_metrics::PageError;

/// Why a poll of one pod gave no values; each text is a clause for "pod X: …".
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Address and port.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answer was not complete in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// Another status than 200; redirects are not followed.
    #[error("answered with status {0}")]
    Status(http::StatusCode),
    /// More than [`PAGE_LIMIT`](crate::PAGE_LIMIT).
    #[error("the page is larger than {} MiB", crate::PAGE_LIMIT >> 20)]
    TooLarge,
    /// The connection broke, or what came was not HTTP.
    #[error("the answer broke off: {0}")]
    Http(#[from] hyper::Error),
    /// The page is not a metrics page.
    #[error("the page is not readable: {0}")]
    Page(#[from] PageError),
    /// The path or host cannot be asked for.
    #[error("not a valid request: {0}")]
    Request(#[from] http::Error),
}

impl ScrapeError {
    /// A short stable name, for labels of metrics and for grouping pods.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Deadline(_) => "deadline",
            Self::Status(_) => "status",
            Self::TooLarge => "too-large",
            Self::Http(_) => "broken-off",
            Self::Page(_) => "page",
            Self::Request(_) => "request",
        }
    }
}
