//! `OpenMetrics` 1.0 text: single blanks, no blank lines, `# EOF` at the end.

use super::cursor::{Braces, Cursor, is_utf8, quoted_str};
use super::error::Problem;
use super::labels::{EscapedStr, Escapes};
use super::number;
use super::{Entry, Exemplar, MetricType, Sample};

impl<'a> Cursor<'a> {
    /// The next entry, or `None` at the end of the page. After an error the position is where it was found.
    pub(super) fn openmetrics_entry(&mut self) -> Result<Option<Entry<'a>>, Problem> {
        match self.peek() {
            None => Err(Problem::EofMissing),
            Some(b'#') => self.openmetrics_metadata(),
            Some(_) => {
                let sample = self.openmetrics_line()?;
                // As in Prometheus, what follows a bare value is stumbled over as the next entry, behind the sample.
                let bare = sample.timestamp_ms.is_none() && sample.exemplar.is_none();
                if !(bare && self.peek() == Some(b' ')) {
                    self.openmetrics_line_end()?;
                }
                Ok(Some(Entry::Sample(sample)))
            }
        }
    }

    /// A line that starts with `#`: metadata, or the end of the page (`None`). There are no comments in this format.
    pub(super) fn openmetrics_metadata(&mut self) -> Result<Option<Entry<'a>>, Problem> {
        if self.eat_all(b"# EOF") {
            self.eat(b'\n');
            return if self.peek().is_none() { Ok(None) } else { Err(Problem::DataAfterEof) };
        }
        let keyword = *[b"HELP", b"TYPE", b"UNIT"]
            .into_iter()
            .find(|word| self.rest().strip_prefix(b"# ").is_some_and(|line| line.starts_with(*word)))
            .ok_or(Problem::LineStart)?;
        self.pos += 6;
        if !self.eat(b' ') {
            return Err(Problem::LineStart);
        }
        let raw_name = self.metadata_name().ok_or(Problem::MetadataName)?;
        let name = quoted_str(raw_name);
        if !self.eat(b' ') {
            return Err(Problem::MetadataText);
        }
        let text_start = self.pos;
        let text = self.rest_of_line();
        if !self.eat(b'\n') {
            return Err(Problem::MetadataText);
        }
        let entry = match &keyword {
            b"HELP" if is_utf8(text) => Ok(Entry::Help(name, EscapedStr::new(text, Escapes::Quoted))),
            b"HELP" => Err(Problem::Utf8),
            b"TYPE" => {
                openmetrics_type(text).map(|found| Entry::Type(name, found)).ok_or(Problem::MetricType)
            }
            _ if is_unit_of(text, raw_name) => Ok(Entry::Unit(name, EscapedStr::new(text, Escapes::Quoted))),
            _ => Err(Problem::Unit),
        };
        if entry.is_err() {
            self.pos = text_start;
        }
        entry.map(Some)
    }

    /// A sample, up to and including its line feed.
    pub(super) fn openmetrics_sample(&mut self) -> Result<Sample<'a>, Problem> {
        let sample = self.openmetrics_line()?;
        self.openmetrics_line_end()?;
        Ok(sample)
    }

    fn openmetrics_line(&mut self) -> Result<Sample<'a>, Problem> {
        let (name, labels) = self.series(self.pos, Braces::OpenMetrics)?;
        let value = self.number_after_blank(Problem::Value)?;
        let timestamp_ms = self.openmetrics_timestamp()?;
        let exemplar = if self.eat_all(b" # {") { Some(self.exemplar()?) } else { None };
        Ok(Sample { name: quoted_str(name), labels, value, timestamp_ms, exemplar })
    }

    fn exemplar(&mut self) -> Result<Exemplar<'a>, Problem> {
        let labels = self.exemplar_labels()?;
        let value = self.number_after_blank(Problem::Value)?;
        let timestamp_ms = self.openmetrics_timestamp()?;
        Ok(Exemplar { labels, value, timestamp_ms })
    }

    fn openmetrics_timestamp(&mut self) -> Result<Option<i64>, Problem> {
        let ahead = matches!(self.rest(), [b' ', first, ..] if !matches!(first, b' ' | b'\n'));
        if !ahead || self.rest().starts_with(b" # ") {
            return Ok(None);
        }
        let seconds = self.number_after_blank(Problem::Timestamp)?;
        number::seconds_to_milliseconds(seconds).map(Some).ok_or(Problem::Timestamp)
    }

    /// One blank and a number that ends at a blank or a line feed.
    fn number_after_blank(&mut self, otherwise: Problem) -> Result<f64, Problem> {
        if !self.eat(b' ') {
            return Err(otherwise);
        }
        let (value, length) = number::leading_float(self.rest()).ok_or(otherwise)?;
        self.pos += length;
        match self.peek() {
            None | Some(b' ' | b'\n') => Ok(value),
            Some(b'\r') => Err(Problem::CarriageReturn),
            Some(_) => Err(otherwise),
        }
    }

    fn openmetrics_line_end(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'\n') => {
                self.pos += 1;
                Ok(())
            }
            None => Err(Problem::EofMissing),
            Some(_) => Err(Problem::Timestamp),
        }
    }
}

fn openmetrics_type(text: &[u8]) -> Option<MetricType> {
    match text {
        b"counter" => Some(MetricType::Counter),
        b"gauge" => Some(MetricType::Gauge),
        b"histogram" => Some(MetricType::Histogram),
        b"gaugehistogram" => Some(MetricType::GaugeHistogram),
        b"summary" => Some(MetricType::Summary),
        b"info" => Some(MetricType::Info),
        b"stateset" => Some(MetricType::StateSet),
        b"unknown" => Some(MetricType::Unknown),
        _ => None,
    }
}

/// A unit is empty, or the last part of the name behind an underscore.
fn is_unit_of(unit: &[u8], name: &[u8]) -> bool {
    unit.is_empty() || name.strip_suffix(unit).is_some_and(|stem| stem.ends_with(b"_"))
}
