//! Prometheus text 0.0.4, with the tolerance of Prometheus' own parser.

use super::cursor::{Braces, Cursor, is_utf8, quoted_str};
use super::error::Problem;
use super::labels::{EscapedStr, Escapes};
use super::number;
use super::{Entry, MetricType, Sample};

impl<'a> Cursor<'a> {
    /// The next entry, or `None` at the end of the page. After an error the position is where it was found.
    #[inline]
    pub(super) fn text_entry(&mut self) -> Result<Option<Entry<'a>>, Problem> {
        loop {
            let line_start = self.pos;
            self.blanks();
            match self.peek() {
                None => return Ok(None),
                Some(b'\n') => self.pos += 1,
                Some(b'#') => {
                    if let Some(entry) = self.text_comment()? {
                        return Ok(Some(entry));
                    }
                }
                Some(_) => {
                    return self.text_sample(line_start).map(|sample| Some(Entry::Sample(sample)));
                }
            }
        }
    }

    /// A line that starts with `#`: metadata, or a comment (`None`).
    pub(super) fn text_comment(&mut self) -> Result<Option<Entry<'a>>, Problem> {
        self.pos += 1;
        let Some(keyword) = self.text_keyword() else {
            self.rest_of_line();
            self.eat(b'\n');
            return Ok(None);
        };
        let name = quoted_str(self.metadata_name().ok_or(Problem::MetadataName)?);
        let text_start = self.pos;
        // One byte separates name and text, and no more than one: further blanks belong to the text.
        let text = self.rest_of_line().get(1..).unwrap_or_default();
        let entry = if keyword == b"HELP" {
            is_utf8(text)
                .then(|| Entry::Help(name, EscapedStr::new(text, Escapes::Help)))
                .ok_or(Problem::Utf8)
        } else {
            text_type(text).map(|metric_type| Entry::Type(name, metric_type)).ok_or(Problem::MetricType)
        };
        if entry.is_err() {
            self.pos = text_start;
        }
        self.eat(b'\n');
        entry.map(Some)
    }

    /// `HELP` or `TYPE` with a blank before and behind; anything else makes the line a comment.
    fn text_keyword(&mut self) -> Option<&'static [u8]> {
        if !matches!(self.peek(), Some(b' ' | b'\t')) {
            return None;
        }
        self.blanks();
        let keyword: &[u8] = [b"HELP", b"TYPE"].into_iter().find(|word| self.rest().starts_with(*word))?;
        if !matches!(self.rest().get(keyword.len()), Some(b' ' | b'\t')) {
            return None;
        }
        self.pos += keyword.len();
        self.blanks();
        Some(keyword)
    }

    /// A sample, up to and including its line feed. `line_start` is where its name begins (before leading blanks).
    #[inline]
    pub(super) fn text_sample(&mut self, line_start: usize) -> Result<Sample<'a>, Problem> {
        let (name, labels) = self.series(line_start, Braces::Text)?;
        self.blanks();
        let (value, length) = number::leading_float(self.rest()).ok_or(Problem::Value)?;
        if !matches!(self.rest().get(length), None | Some(b' ' | b'\t' | b'\n')) {
            let cr = self.rest()[length..].starts_with(b"\r\n");
            return Err(if cr { Problem::CarriageReturn } else { Problem::Value });
        }
        self.pos += length;
        let timestamp_ms = self.text_timestamp()?;
        Ok(Sample { name: quoted_str(name), labels, value, timestamp_ms, exemplar: None })
    }

    #[inline]
    fn text_timestamp(&mut self) -> Result<Option<i64>, Problem> {
        if self.eat(b'\n') {
            return Ok(None);
        }
        self.blanks();
        let rest = self.rest();
        let length = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        let timestamp = if length == 0 {
            None
        } else {
            Some(number::milliseconds(&rest[..length]).ok_or(Problem::Timestamp)?)
        };
        self.pos += length;
        self.blanks();
        match self.peek() {
            None => Ok(timestamp),
            Some(b'\n') => {
                self.pos += 1;
                Ok(timestamp)
            }
            Some(b'\r') => Err(Problem::CarriageReturn),
            Some(_) => Err(Problem::Timestamp),
        }
    }
}

fn text_type(text: &[u8]) -> Option<MetricType> {
    match text {
        b"counter" => Some(MetricType::Counter),
        b"gauge" => Some(MetricType::Gauge),
        b"histogram" => Some(MetricType::Histogram),
        b"summary" => Some(MetricType::Summary),
        b"untyped" => Some(MetricType::Unknown),
        _ => None,
    }
}
