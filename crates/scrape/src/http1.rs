//! Answers in HTTP/1.0 and HTTP/1.1 from bytes as they come, cut anywhere. No I/O.
//!
//! Strict, by RFC 9112: an answer whose length is in doubt is an error, not a shorter or a longer page.

use http::StatusCode;
use httparse::{EMPTY_HEADER, Header, Status, parse_chunk_size};
use thiserror::Error;
use windlass_metrics::Format;

/// The longest head, in bytes: all headers, those of interim answers and trailers included.
const HEAD_LIMIT: usize = 16 << 10;
/// The most headers.
const MOST_HEADERS: usize = 100;
/// The longest line that says how long a chunk is, or that is a trailer.
const LINE_LIMIT: usize = 1 << 10;

/// What is wrong with an answer; each text is a clause.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Faulty {
    /// Closed before the first byte.
    #[error("the connection was closed without an answer")]
    Nothing,
    /// Closed before the last one.
    #[error("the connection was closed before the end of the answer")]
    Cut,
    /// Something else is spoken there.
    #[error("what came is not HTTP: {0}")]
    NotHttp(String),
    /// Headers without end.
    #[error("the headers are more than {MOST_HEADERS} or {} KiB", HEAD_LIMIT >> 10)]
    LongHead,
    /// It cannot be known where the answer ends.
    #[error("the answer's length is not clear: {0}")]
    Length(&'static str),
    /// A transfer coding other than chunked.
    #[error("the answer has the transfer coding {0:?}, which was not asked for")]
    Coding(String),
    /// The chunks do not fit together.
    #[error("the answer's chunks are damaged")]
    Chunks,
    /// More came than belongs to the answer.
    #[error("more came than the answer said it has")]
    Extra,
    /// The body is longer than it may be.
    #[error("the answer is too large")]
    TooLarge,
}

/// How the body is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Other(String),
}

/// What the head says beyond the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) format: Format,
    pub(crate) encoding: Encoding,
    /// The connection may be used again.
    pub(crate) keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// A body of so many bytes.
    Length(usize),
    UntilClose,
    ChunkSize,
    /// So many bytes of a chunk are to come.
    Chunk(usize),
    ChunkEnd,
    Trailers,
}

/// One answer on its way.
#[derive(Debug)]
pub(crate) struct Incoming {
    state: State,
    head: Option<Head>,
    /// Bytes of the head and of trailers so far.
    head_bytes: usize,
    /// Bytes of a chunked body that are at their place.
    body: usize,
    limit: usize,
}

impl Incoming {
    /// Of a body of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: State::Head, head: None, head_bytes: 0, body: 0, limit }
    }

    /// Looks at what came: `bytes` is all that was left there the last time, and more behind it. Once the answer is whole,
    /// its head, and `bytes` are its body; `None` while more must come. With `ended` no more comes.
    pub(crate) fn advance(&mut self, bytes: &mut Vec<u8>, ended: bool) -> Result<Option<Head>, Faulty> {
        let whole = loop {
            match self.state {
                State::Head => {
                    if !self.take_head(bytes)? {
                        break false;
                    }
                }
                State::Length(length) => {
                    if bytes.len() > length {
                        return Err(Faulty::Extra);
                    }
                    break bytes.len() == length;
                }
                State::UntilClose => {
                    if bytes.len() > self.limit {
                        return Err(Faulty::TooLarge);
                    }
                    break ended;
                }
                _ => break self.take_chunks(bytes)?,
            }
        };
        match (whole, ended) {
            (true, _) => Ok(self.head.take()),
            (false, false) => Ok(None),
            (false, true) if self.head_bytes == 0 && bytes.is_empty() => Err(Faulty::Nothing),
            (false, true) => Err(Faulty::Cut),
        }
    }

    /// How many bytes there may be at least still, as far as is known.
    pub(crate) fn expected(&self, bytes: usize) -> usize {
        match self.state {
            State::Length(length) => length.saturating_sub(bytes),
            _ => 0,
        }
    }

    /// Takes a head from the front; whether there is a whole one.
    fn take_head(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Faulty> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(Status::Complete(length)) => Some(length),
            Ok(Status::Partial) => None,
            Err(httparse::Error::TooManyHeaders) => return Err(Faulty::LongHead),
            Err(error) => return Err(Faulty::NotHttp(error.to_string())),
        };
        if self.head_bytes + length.unwrap_or(bytes.len()) > HEAD_LIMIT {
            return Err(Faulty::LongHead);
        }
        let (Some(length), Some(version), Some(code)) = (length, response.version, response.code) else {
            return Ok(false);
        };
        let status = StatusCode::from_u16(code).map_err(|error| Faulty::NotHttp(error.to_string()))?;
        match code {
            // An interim answer: the real one follows.
            100 | 102..=199 => {}
            101 => return Err(Faulty::NotHttp("it switches protocols".to_owned())),
            _ => {
                let (state, closed) = framing(status, version, response.headers, self.limit)?;
                self.state = state;
                self.head = Some(head(status, version, response.headers, closed));
            }
        }
        self.head_bytes += length;
        bytes.drain(..length);
        Ok(true)
    }

    /// Moves the chunks' data together at the front; whether they are whole.
    fn take_chunks(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Faulty> {
        let mut at = self.body;
        let whole = loop {
            let rest = &bytes[at..];
            match self.state {
                State::Chunk(left) => {
                    let length = left.min(rest.len());
                    bytes.copy_within(at..at + length, self.body);
                    self.body += length;
                    at += length;
                    if length < left {
                        self.state = State::Chunk(left - length);
                        break false;
                    }
                    self.state = State::ChunkEnd;
                }
                State::ChunkEnd => {
                    if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) {
                        return Err(Faulty::Chunks);
                    }
                    if rest.len() < 2 {
                        break false;
                    }
                    at += 2;
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { break false };
                    at += end + 1;
                    self.head_bytes += end + 1;
                    if self.head_bytes > HEAD_LIMIT {
                        return Err(Faulty::LongHead);
                    }
                    if matches!(&bytes[at - end - 1..at], b"\r\n" | b"\n") {
                        break true;
                    }
                }
                _ => match parse_chunk_size(rest) {
                    Ok(Status::Complete((length, size))) if rest[0].is_ascii_hexdigit() => {
                        at += length;
                        let size = usize::try_from(size).unwrap_or(usize::MAX);
                        if size > self.limit - self.body {
                            return Err(Faulty::TooLarge);
                        }
                        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                    }
                    Ok(Status::Partial) => break false,
                    _ => return Err(Faulty::Chunks),
                },
            }
        };
        bytes.drain(self.body..at);
        match bytes.len() - self.body {
            0 => Ok(whole),
            _ if whole => Err(Faulty::Extra),
            line if line > LINE_LIMIT => Err(Faulty::Chunks),
            _ => Ok(false),
        }
    }
}

/// The values of a header that may be a list, comma-separated or repeated.
fn list<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let values = named.flat_map(|header| std::str::from_utf8(header.value).unwrap_or("?").split(','));
    values.map(str::trim)
}

/// How the body's end is found (RFC 9112, 6.3), and whether by the connection's.
fn framing(
    status: StatusCode,
    version: u8,
    headers: &[Header<'_>],
    limit: usize,
) -> Result<(State, bool), Faulty> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((State::Length(0), false));
    }
    let mut lengths = list(headers, "content-length");
    let length = lengths.next();
    let mut codings = list(headers, "transfer-encoding");
    if let Some(coding) = codings.next() {
        if !coding.eq_ignore_ascii_case("chunked") || codings.next().is_some() {
            return Err(Faulty::Coding(coding.to_owned()));
        }
        if length.is_some() || version == 0 {
            return Err(Faulty::Length("it is chunked, and something speaks against it"));
        }
        return Ok((State::ChunkSize, false));
    }
    let Some(length) = length else { return Ok((State::UntilClose, true)) };
    if lengths.any(|other| other != length) {
        return Err(Faulty::Length("it is stated twice"));
    }
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Faulty::Length("content-length is not a number"));
    }
    match length.parse() {
        Ok(length) if length <= limit => Ok((State::Length(length), false)),
        // Digits alone: what is no number of ours is a larger one.
        _ => Err(Faulty::TooLarge),
    }
}

fn head(status: StatusCode, version: u8, headers: &[Header<'_>], until_close: bool) -> Head {
    let says = |what: &str| list(headers, "connection").any(|word| word.eq_ignore_ascii_case(what));
    let keep = !until_close && !says("close") && (version == 1 || says("keep-alive"));
    let content_type = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.and_then(|header| std::str::from_utf8(header.value).ok());
    let mut encodings =
        list(headers, "content-encoding").filter(|name| !name.eq_ignore_ascii_case("identity"));
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => Encoding::Identity,
        (Some(name), None) if matches!(&*name.to_ascii_lowercase(), "gzip" | "x-gzip") => Encoding::Gzip,
        (Some(name), _) => Encoding::Other(name.to_owned()),
    };
    Head { status, format: Format::from_content_type(content_type.unwrap_or_default()), encoding, keep }
}

#[cfg(test)]
mod tests;
