//! Reads a trace line by line.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use super::HEADER;
use crate::Arrival;

/// How every gzip stream begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 << 10;
/// No row is longer; a file without line ends is no trace and shall not fill the memory.
const LONGEST_LINE: u64 = 4096;
/// How much of a wrong text is shown.
const EXCERPT: usize = 60;

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no such file, or none that may be read.
    #[error("it cannot be opened: {0}")]
    Unopened(io::Error),
    /// Something is wrong in it.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1; that of the header is 1.
        line: u64,
        /// What is wrong there.
        problem: Problem,
    },
}

/// What is wrong with a line of a trace.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The first line is not the header.
    #[error("expected the header {HEADER:?}, found {0:?}")]
    Header(String),
    /// Nothing at all, or nothing but the header.
    #[error("the trace is empty: no request follows the header {HEADER:?}")]
    Empty,
    /// Fewer or more than three fields.
    #[error("expected three fields, {HEADER}, found {0:?}")]
    Fields(String),
    /// A time that is not digits with at most one decimal point.
    #[error("arrival_s {0:?} is not a number of seconds such as 12.345")]
    Time(String),
    /// A count that is not a whole number, is 0 or is too great.
    #[error("{field} {text:?} is not a whole number from 1 to 4294967295")]
    Count {
        /// The column.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// Time goes back.
    #[error("arrival_s {found} comes before {last} of the row above; sort the rows by arrival_s")]
    Unsorted {
        /// This row's time in seconds.
        found: f64,
        /// The row's above.
        last: f64,
    },
    /// A line without end.
    #[error("the line is longer than {LONGEST_LINE} bytes; this is no trace")]
    TooLong,
    /// A gzip stream that ends too early.
    #[error("the gzip data ends too early; the file was truncated")]
    Truncated,
    /// A gzip stream that is damaged.
    #[error("the gzip data is damaged: {0}")]
    Damaged(io::Error),
    /// The file cannot be read further.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
}

/// Yields a trace's rows as they are read; after an error nothing more.
pub struct Reader {
    /// Absent after the end.
    source: Option<Source>,
    line: u64,
    last: Option<Duration>,
    text: Vec<u8>,
}

struct Source {
    text: Box<dyn BufRead + Send>,
    gzip: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("line", &self.line).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads from `source`, which need not be buffered. Whatever is wrong shows in the first row.
    pub fn new(source: impl Read + Send + 'static) -> Self {
        let source = Source::new(Box::new(source));
        Self { source: Some(source), line: 0, last: None, text: Vec::new() }
    }

    fn row(&mut self) -> Result<Option<Arrival>, Problem> {
        if self.line == 0 {
            if !self.read_line()? {
                return Err(Problem::Empty);
            }
            let header = trimmed(&self.text);
            if header != HEADER.as_bytes() {
                return Err(Problem::Header(excerpt(header)));
            }
        }
        if !self.read_line()? {
            return if self.last.is_some() { Ok(None) } else { Err(Problem::Empty) };
        }
        let arrival = parse(trimmed(&self.text))?;
        if let Some(last) = self.last
            && last > arrival.at
        {
            return Err(Problem::Unsorted { found: arrival.at.as_secs_f64(), last: last.as_secs_f64() });
        }
        self.last = Some(arrival.at);
        Ok(Some(arrival))
    }

    /// Puts the next line into `text`; false at the end.
    fn read_line(&mut self) -> Result<bool, Problem> {
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        self.line += 1;
        self.text.clear();
        let line = (&mut source.text).take(LONGEST_LINE).read_until(b'\n', &mut self.text);
        let bytes = line.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof if source.gzip => Problem::Truncated,
            ErrorKind::InvalidData | ErrorKind::InvalidInput if source.gzip => Problem::Damaged(error),
            _ => Problem::Unreadable(error),
        })?;
        if bytes as u64 == LONGEST_LINE && !self.text.ends_with(b"\n") {
            return Err(Problem::TooLong);
        }
        Ok(bytes > 0)
    }
}

impl Iterator for Reader {
    type Item = Result<Arrival, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.source.as_ref()?;
        let row = self.row().map_err(|problem| TraceError::Line { line: self.line, problem });
        if !matches!(row, Ok(Some(_))) {
            self.source = None;
        }
        row.transpose()
    }
}

impl Source {
    fn new(mut source: Box<dyn Read + Send>) -> Self {
        let mut head = Vec::new();
        let begun = (&mut source).take(GZIP.len() as u64).read_to_end(&mut head);
        let gzip = head == GZIP;
        let whole: Box<dyn Read + Send> = match begun {
            Ok(_) => Box::new(Cursor::new(head).chain(source)),
            Err(error) => Box::new(Broken(Some(error))),
        };
        let buffered = BufReader::with_capacity(BUFFER, whole);
        let text: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(buffered)))
        } else {
            Box::new(buffered)
        };
        Self { text, gzip }
    }
}

/// A source that failed before it was known what it is.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn trimmed(mut line: &[u8]) -> &[u8] {
    line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..EXCERPT).unwrap_or(text)).into_owned()
}

fn parse(line: &[u8]) -> Result<Arrival, Problem> {
    let mut fields = line.split(|byte| *byte == b',');
    let (Some(at), Some(prompt), Some(output), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Problem::Fields(excerpt(line)));
    };
    let count = |field, text| whole(text).ok_or_else(|| Problem::Count { field, text: excerpt(text) });
    Ok(Arrival {
        at: time(at).ok_or_else(|| Problem::Time(excerpt(at)))?,
        prompt_tokens: count("prompt_tokens", prompt)?,
        output_tokens: count("output_tokens", output)?,
    })
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn whole(text: &[u8]) -> Option<u32> {
    digits(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

/// Decimal seconds, exactly; what is finer than a nanosecond is cut off.
fn time(text: &[u8]) -> Option<Duration> {
    let Some(point) = text.iter().position(|byte| *byte == b'.') else {
        return digits(text).map(Duration::from_secs);
    };
    let (seconds, fraction) = (digits(&text[..point])?, &text[point + 1..]);
    let shown = fraction.get(..9).unwrap_or(fraction);
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = digits(shown)? * 10_u64.pow(9 - shown.len() as u32);
    Some(Duration::new(seconds, nanos as u32))
}

#[cfg(test)]
mod tests;
