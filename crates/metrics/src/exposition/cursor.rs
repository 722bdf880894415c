use memchr::{memchr, memchr2};

use super::error::Problem;
use super::labels::{EscapedStr, Escapes, Labels};

/// Byte classes of names; one table look-up per byte.
const NAME: u8 = 1;
const NAME_START: u8 = 2;
const LABEL: u8 = 4;
const LABEL_START: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME | NAME_START | LABEL | LABEL_START,
            b'0'..=b'9' => NAME | LABEL,
            b':' => NAME | NAME_START,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether `byte` may stand inside an unquoted metric name.
pub(super) fn is_name_byte(byte: u8) -> bool {
    is(byte, NAME)
}

/// How the two formats differ inside braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Braces {
    /// Blanks anywhere, commas optional, raw line feeds inside quotes.
    Text,
    /// No blanks, commas required, no raw line feed inside a value.
    OpenMetrics,
    /// As `OpenMetrics`, and without a metric name.
    Exemplar,
}

/// A position on the page, and the tokens both formats share.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub(super) page: &'a [u8],
    pub(super) pos: usize,
    previous: Series,
}

/// Where the parts of the last labelled sample are. The next one nearly always differs from it in one label only (the
/// bucket's bound), and what is equal need not be read again: this halves the cost of a page.
#[derive(Debug, Clone, Copy, Default)]
struct Series {
    line_start: usize,
    name_end: usize,
    labels: usize,
    /// The label that differs: `le` or `quantile`, else the last one; with its comma.
    bound: usize,
    bound_end: usize,
    /// Behind the closing brace.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(page: &'a [u8]) -> Self {
        Self { page, pos: 0, previous: Series::default() }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.page.get(self.pos).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.page.get(self.pos..).unwrap_or_default()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    pub(super) fn eat_all(&mut self, bytes: &[u8]) -> bool {
        let found = self.rest().starts_with(bytes);
        self.pos += if found { bytes.len() } else { 0 };
        found
    }

    /// Spaces and tabs.
    pub(super) fn blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    /// Up to, not including, the line feed or the end of the page.
    pub(super) fn rest_of_line(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let line = memchr(b'\n', rest).map_or(rest, |end| &rest[..end]);
        self.pos += line.len();
        line
    }

    #[inline]
    fn ident(&mut self, start: u8, part: u8) -> Option<&'a [u8]> {
        let rest = self.rest();
        if !is(*rest.first()?, start) {
            return None;
        }
        let length = rest.iter().position(|&b| !is(b, part)).unwrap_or(rest.len());
        self.pos += length;
        Some(&rest[..length])
    }

    /// An unquoted metric name.
    pub(super) fn name(&mut self) -> Option<&'a [u8]> {
        self.ident(NAME_START, NAME)
    }

    /// A label name, quoted or not; without its quotes.
    #[inline]
    pub(super) fn label_name(&mut self) -> Option<&'a [u8]> {
        if self.peek() == Some(b'"') { self.quoted() } else { self.ident(LABEL_START, LABEL) }
    }

    /// A quoted string, without its quotes; the position stays where it is if there is none.
    #[inline]
    pub(super) fn quoted(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest().strip_prefix(b"\"")?;
        let mut at = 0;
        loop {
            at += memchr2(b'"', b'\\', inside.get(at..)?)?;
            if inside[at] == b'"' {
                self.pos += at + 2;
                return Some(&inside[..at]);
            }
            // A backslash takes the next byte with it, whatever it is, but for a line feed.
            if *inside.get(at + 1)? == b'\n' {
                return None;
            }
            at += 2;
        }
    }

    /// A metric name in metadata, quoted or not.
    pub(super) fn metadata_name(&mut self) -> Option<&'a [u8]> {
        if self.peek() == Some(b'"') { self.quoted().filter(|name| is_utf8(name)) } else { self.name() }
    }

    /// Name and labels of a sample. `line_start` is where the name begins: in text, blanks before it belong to it.
    #[inline]
    pub(super) fn series(
        &mut self,
        line_start: usize,
        kind: Braces,
    ) -> Result<(&'a [u8], Labels<'a>), Problem> {
        let mut series = if let Some(repeated) = self.repeated(line_start) {
            repeated
        } else {
            // A name in quotes stands inside the braces; outside there is nothing then.
            if self.peek() != Some(b'{') {
                self.name().ok_or(Problem::LineStart)?;
            }
            let name_end = self.pos;
            self.blanks_in(kind);
            if !self.eat(b'{') {
                return Ok((&self.page[line_start..name_end], Labels::default()));
            }
            let at = self.pos;
            Series { line_start, name_end, labels: at, bound: at, bound_end: at, end: at }
        };
        let outside = &self.page[line_start..series.name_end];
        let inside = self.braces(kind, &mut series)?;
        let labels = Labels::new(&self.page[series.labels..self.pos - 1]);
        match (outside.trim_ascii(), inside) {
            ([], Some(name)) => Ok((name, labels)),
            ([], None) => Err(Problem::NameMissing),
            (_, Some(_)) => Err(Problem::NameTwice),
            (_, None) => {
                self.previous = Series { end: self.pos, ..series };
                Ok((outside, labels))
            }
        }
    }

    /// If the line at `line_start` begins as the previous sample did, goes to the label that differs.
    #[inline]
    fn repeated(&mut self, line_start: usize) -> Option<Series> {
        let previous = self.previous;
        let same = &self.page[previous.line_start..previous.bound];
        if same.is_empty() || !self.page[line_start..].starts_with(same) {
            return None;
        }
        // Text may leave commas out, and here stands one that the previous sample had not: the label before is not done.
        if self.page.get(line_start + same.len()) == Some(&b',') {
            return None;
        }
        self.pos = line_start + same.len();
        let moved = |at: usize| at - previous.line_start + line_start;
        let (name_end, labels) = (moved(previous.name_end), moved(previous.labels));
        Some(Series { line_start, name_end, labels, bound: self.pos, bound_end: self.pos, end: self.pos })
    }

    /// The labels of an exemplar, whose opening brace has been read.
    pub(super) fn exemplar_labels(&mut self) -> Result<Labels<'a>, Problem> {
        let from = self.pos;
        self.braces(Braces::Exemplar, &mut Series::default())?;
        Ok(Labels::new(&self.page[from..self.pos - 1]))
    }

    /// Checks the inside of braces, to behind the closing one, from any label on. Gives the metric name, if one stands
    /// there, and notes the label that differs.
    fn braces(&mut self, kind: Braces, series: &mut Series) -> Result<Option<&'a [u8]>, Problem> {
        let rest_of_previous = &self.page[self.previous.bound_end..self.previous.end];
        let mut metric = None;
        let mut bound_seen = false;
        loop {
            self.blanks_in(kind);
            if self.eat(b'}') {
                return Ok(metric);
            }
            let start = self.pos;
            let in_quotes = self.peek() == Some(b'"');
            let name = self.label_name().ok_or(Problem::LabelName)?;
            if in_quotes && !is_utf8(name) {
                return Err(Problem::Utf8);
            }
            self.blanks_in(kind);
            if in_quotes && kind != Braces::Exemplar && matches!(self.peek(), Some(b',' | b'}')) {
                if metric.replace(name).is_some() {
                    return Err(Problem::NameTwice);
                }
                self.eat(b',');
                continue;
            }
            self.label_value(kind)?;
            if !bound_seen {
                (series.bound, series.bound_end) = (start, self.pos);
                bound_seen = matches!(name, b"le" | b"quantile");
            }
            if kind != Braces::Exemplar && !rest_of_previous.is_empty() && self.eat_all(rest_of_previous) {
                return Ok(metric);
            }
        }
    }

    /// The rest of a label, from the equals sign to behind the comma.
    #[inline]
    fn label_value(&mut self, kind: Braces) -> Result<(), Problem> {
        if !self.eat(b'=') {
            return Err(Problem::LabelEquals);
        }
        self.blanks_in(kind);
        let value = self.quoted().ok_or(Problem::LabelValue)?;
        if kind != Braces::Text && memchr(b'\n', value).is_some() {
            return Err(Problem::LabelValue);
        }
        if !is_utf8(value) {
            return Err(Problem::Utf8);
        }
        self.blanks_in(kind);
        if !self.eat(b',') && kind != Braces::Text && self.peek() != Some(b'}') {
            return Err(Problem::LabelEnd);
        }
        Ok(())
    }

    fn blanks_in(&mut self, kind: Braces) {
        if kind == Braces::Text {
            self.blanks();
        }
    }
}

/// A name or label value as the page has it, checked.
pub(super) fn quoted_str(raw: &[u8]) -> EscapedStr<'_> {
    EscapedStr::new(raw, Escapes::Quoted)
}

pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}
