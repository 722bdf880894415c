//! Why a poll gave no values.

use std::time::Duration;

use rustls::{CertificateError, InvalidMessage};
use thiserror::Error;
use windlass_metrics::PageError;

use crate::http1::Faulty;

/// Why a poll gave no values; each text is a clause for "pod X: …".
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answer was not complete in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// Another status than 200; redirects are not followed.
    #[error("answered with status {0}{hint}", hint = hint(*.0))]
    Status(http::StatusCode),
    /// More than [`PAGE_LIMIT`](crate::PAGE_LIMIT).
    #[error("the page is larger than {} MiB", crate::PAGE_LIMIT >> 20)]
    TooLarge,
    /// The connection broke.
    #[error("the answer broke off: {0}")]
    Broke(std::io::Error),
    /// What came is not one whole answer in HTTP.
    #[error("{0}")]
    Faulty(Faulty),
    /// The page is packed in a way that is not read.
    #[error(
        "the page came packed, as {0}, though it was asked for as it is; turn that off, or name the engine's own port"
    )]
    Encoding(String),
    /// The page is not a metrics page.
    #[error("the page is not readable: {0}")]
    Page(#[from] PageError),
    /// The page is something else altogether: JSON, HTML.
    #[error(
        "the answer is {0}, no metrics page: is path right? (TensorRT-LLM's is /prometheus/metrics, most others' /metrics)"
    )]
    Foreign(&'static str),
    /// The path or host cannot be asked for.
    #[error("not a valid request: {0}")]
    Request(String),
    /// The server does not speak TLS.
    #[error("does not speak TLS there; set protocolType http, or the port that does")]
    NotTls,
    /// The server's certificate is not one to trust.
    #[error("{0}")]
    Certificate(String),
    /// The handshake failed for another reason.
    #[error("the TLS handshake failed: {0}")]
    Handshake(std::io::Error),
    /// What is needed to ask is not there.
    #[error("not asked: {0}")]
    Credentials(String),
    /// Prometheus answered with an error of its own, in its words.
    #[error("Prometheus refuses the query: {0}")]
    Refused(String),
    /// The answer is not one of Prometheus' API.
    #[error("the answer is not one of Prometheus' HTTP API: {0}")]
    NotPrometheus(String),
    /// Prometheus answered with something that is no one number.
    #[error("{0}")]
    NoValue(NoValue),
}

/// Why the result of a query is no reading.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoValue {
    /// No series.
    #[error("the query has no result: no series matches now; append \"or vector(0)\" if that means 0")]
    Empty,
    /// More than one series: which of them is meant is not guessed.
    #[error("the query has {0} series instead of one; aggregate them, for example with sum(…)")]
    Several(usize),
    /// NaN, an infinity or something below 0.
    #[error("the query's value is {0}, which is no reading")]
    NotANumber(String),
    /// A string, or a range of values.
    #[error("the query gives a {0} instead of one value; write an instant query")]
    Type(String),
}

fn hint(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        401 => ": credentials are missing, wrong or out of date",
        403 => ": what was sent is known and not allowed to read this",
        404 => ": nothing is at this path",
        _ => "",
    }
}

impl ScrapeError {
    /// A short stable name, for labels of metrics and for grouping pods.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Deadline(_) => "deadline",
            Self::Status(_) => "status",
            Self::TooLarge => "too-large",
            Self::Broke(_) | Self::Faulty(_) => "broken-off",
            Self::Page(_) | Self::Encoding(_) | Self::Foreign(_) => "page",
            Self::Request(_) => "request",
            Self::NotTls | Self::Certificate(_) | Self::Handshake(_) => "tls",
            Self::Credentials(_) => "credentials",
            Self::Refused(_) | Self::NotPrometheus(_) => "prometheus",
            Self::NoValue(_) => "no-value",
        }
    }

    /// What a page that cannot be read is, as far as its beginning tells.
    pub(crate) fn of_page(error: PageError, page: &[u8]) -> Self {
        // A sample may begin with a brace, too; its page has comments.
        let comments = || page.windows(2).any(|pair| pair == b"\n#");
        match page.trim_ascii_start().first() {
            Some(b'{' | b'[') if !comments() => Self::Foreign("JSON"),
            Some(b'<') => Self::Foreign("HTML"),
            _ => Self::Page(error),
        }
    }

    /// What a handshake that failed means.
    pub(crate) fn of_handshake(error: std::io::Error) -> Self {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(rustls::Error::InvalidCertificate(problem)) => Self::Certificate(certificate(problem)),
            _ => Self::Handshake(error),
        }
    }

    /// Another request to the same server might be answered better.
    pub(crate) fn may_be_of_request(&self) -> bool {
        let of_credentials = self.may_be_stale();
        matches!(self.class(), "status" | "too-large" | "broken-off" | "page") && !of_credentials
    }

    /// Other credentials might help.
    pub(crate) fn may_be_stale(&self) -> bool {
        matches!(self, Self::Certificate(_))
            || matches!(self, Self::Status(status) if matches!(status.as_u16(), 401 | 403))
    }
}

impl From<Faulty> for ScrapeError {
    fn from(faulty: Faulty) -> Self {
        if faulty == Faulty::TooLarge { Self::TooLarge } else { Self::Faulty(faulty) }
    }
}

fn certificate(problem: &CertificateError) -> String {
    let on = |time: &rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| "long ago".to_owned(), |time| time.to_string())
    };
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}; renew it", on(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is valid from {} on; is a clock wrong?", on(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is not for {}, but for {}; set tls.serverName",
            expected.to_str(),
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::UnknownIssuer => {
            "its certificate is by an authority that is not trusted; set tls.caBundle".to_owned()
        }
        CertificateError::BadSignature => {
            "its certificate is by an authority that is not trusted, though one of its name is: if that was replaced, \
             renew tls.caBundle"
                .to_owned()
        }
        other => format!("its certificate is not valid: {other}"),
    }
}
