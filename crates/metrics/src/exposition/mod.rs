//! Parser of metrics pages: Prometheus text 0.0.4 and `OpenMetrics` 1.0 text.
//!
//! Two ways to read a page. [`parse`] gives everything on it, validates every line, and accepts and rejects what
//! Prometheus does. [`select`] is for the product: it looks for a few names, hops over the other lines, and is stricter
//! about the end of the page, because a number that is cut is a wrong number.
//!
//! ```
//! use windlass_metrics::exposition::{Entry, Format, parse};
//!
//! let page = b"# TYPE queue gauge\nqueue{model=\"m\"} 7\n";
//! let mut seen = Vec::new();
//! for entry in parse(page, Format::Text) {
//!     if let Entry::Sample(sample) = entry? {
//!         seen.push((sample.name.to_str(), sample.value));
//!     }
//! }
//! assert_eq!(seen, [("queue".into(), 7.0)]);
//! # Ok::<(), windlass_metrics::exposition::ParseError>(())
//! ```
//!
//! Where this parser is stricter than Prometheus': a NUL byte at the start of a line is an error (there, it silently
//! ends the page), and names in quotes must be UTF-8 at once (there, the scrape finds out later).

mod cursor;
mod error;
mod labels;
mod number;
mod openmetrics;
mod select;
mod text;

pub use error::{PageError, ParseError, Problem};
pub use labels::{EscapedStr, LabelIter, Labels};
pub use select::{Names, Selected, select};

use cursor::Cursor;

/// The two text formats. Which one a page is in is said by its `Content-Type` alone, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0 text.
    OpenMetrics,
}

impl Format {
    /// The format a `Content-Type` header announces. Everything but `application/openmetrics-text` is read as text
    /// 0.0.4: small exporters often send `text/html` or nothing, and a page in another format fails on its content.
    ///
    /// ```
    /// use windlass_metrics::Format;
    /// let header = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    /// assert_eq!(Format::from_content_type(header), Format::OpenMetrics);
    /// assert_eq!(Format::from_content_type("text/plain; version=0.0.4"), Format::Text);
    /// ```
    pub fn from_content_type(header: &str) -> Self {
        let media_type = header.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// The type of a metric, as its page declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `counter`
    Counter,
    /// `gauge`
    Gauge,
    /// `histogram`
    Histogram,
    /// `gaugehistogram`, `OpenMetrics` only
    GaugeHistogram,
    /// `summary`
    Summary,
    /// `info`, `OpenMetrics` only
    Info,
    /// `stateset`, `OpenMetrics` only
    StateSet,
    /// `untyped` in text, `unknown` in `OpenMetrics`
    Unknown,
}

/// One sample: a line of a page that carries a value.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The metric's name, suffixes such as `_total` included. In text, blanks before the name belong to it.
    pub name: EscapedStr<'a>,
    /// Its labels.
    pub labels: Labels<'a>,
    /// Its value, NaN and infinities included.
    pub value: f64,
    /// Its timestamp in milliseconds of unix time, if the page gives one.
    pub timestamp_ms: Option<i64>,
    /// Its exemplar (`OpenMetrics` only).
    pub exemplar: Option<Exemplar<'a>>,
}

/// An example of what was counted, attached to a sample.
#[derive(Debug, Clone, Copy)]
pub struct Exemplar<'a> {
    /// What identifies it, often a trace id.
    pub labels: Labels<'a>,
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds of unix time.
    pub timestamp_ms: Option<i64>,
}

/// What a page consists of. Comments and blank lines are passed over.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// `# HELP name text`
    Help(EscapedStr<'a>, EscapedStr<'a>),
    /// `# TYPE name type`
    Type(EscapedStr<'a>, MetricType),
    /// `# UNIT name unit` (`OpenMetrics` only)
    Unit(EscapedStr<'a>, EscapedStr<'a>),
    /// A line with a value.
    Sample(Sample<'a>),
}

/// Reads a whole page. Ends after the first error: one bad line rejects the page, so what came before it is not to be
/// used either. A last line without line feed counts in text (`b 12` may be the start of `b 123`: see [`select`]).
pub fn parse(page: &[u8], format: Format) -> Entries<'_> {
    Entries { cursor: Cursor::new(page), format, ended: false }
}

/// Iterator over the entries of a page; see [`parse`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
    format: Format,
    ended: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = match self.format {
            Format::Text => self.cursor.text_entry(),
            Format::OpenMetrics => self.cursor.openmetrics_entry(),
        };
        match entry {
            Ok(Some(entry)) => Some(Ok(entry)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(problem) => {
                self.ended = true;
                Some(Err(ParseError::new(self.cursor.page, self.cursor.pos, problem)))
            }
        }
    }
}
