use thiserror::Error;

/// Why a page gave no values at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    /// The page has no proper end, so nobody can know what is missing from it.
    #[error("the metrics page is cut: it does not end with {expected}")]
    Cut {
        /// What a whole page of this format ends with.
        expected: &'static str,
    },
    /// A line that had to be understood could not be.
    #[error("not a valid metrics page: {0}")]
    Malformed(#[from] ParseError),
}

/// Where parsing stopped, and why. One bad line rejects the page, as in Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem} (near {near:?})")]
pub struct ParseError {
    /// Line of the page, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
    /// The page from there on, at most 40 bytes, bytes that are not UTF-8 replaced.
    pub near: String,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Problem {
    /// Neither a sample, nor a comment, nor (in text) a blank line.
    #[error("expected a metric name or a comment")]
    LineStart,
    /// Metadata without a name.
    #[error("expected a metric name after HELP, TYPE or UNIT")]
    MetadataName,
    /// Metadata without text, or (in `OpenMetrics`) not ended by a line feed.
    #[error("expected a text after the metric name, and the end of the line")]
    MetadataText,
    /// A type the format does not know; types are lower case.
    #[error("unknown metric type")]
    MetricType,
    /// A unit that is not the last part of the metric's name.
    #[error("the unit is not a suffix of the metric name")]
    Unit,
    /// Bytes that are not UTF-8 where text is expected.
    #[error("text that is not UTF-8")]
    Utf8,
    /// Something else where a label name or the closing brace should be.
    #[error("expected a label name or a closing brace")]
    LabelName,
    /// A label without `=`.
    #[error("expected an equals sign after the label name")]
    LabelEquals,
    /// A label value that is not quoted, or whose closing quote is missing.
    #[error("expected a label value in double quotes")]
    LabelValue,
    /// Labels that are not separated.
    #[error("expected a comma or a closing brace after the label")]
    LabelEnd,
    /// A name before the braces and another one inside, or two inside.
    #[error("a second metric name")]
    NameTwice,
    /// Braces without any metric name.
    #[error("labels without a metric name")]
    NameMissing,
    /// The value is not a decimal number in range, `NaN` or an infinity.
    #[error("expected a number")]
    Value,
    /// The timestamp is not a number of the format's kind, or out of range.
    #[error("expected a timestamp or the end of the line")]
    Timestamp,
    /// The line ends in CR LF.
    #[error("a carriage return at the end of the line; lines end with a line feed alone")]
    CarriageReturn,
    /// An `OpenMetrics` page without its last line.
    #[error("the page ends without `# EOF`")]
    EofMissing,
    /// Something after the last line of an `OpenMetrics` page.
    #[error("data after `# EOF`")]
    DataAfterEof,
}

impl ParseError {
    /// `problem` at byte `at` of `page`.
    pub(super) fn new(page: &[u8], at: usize, problem: Problem) -> Self {
        let (before, after) = page.split_at(at.min(page.len()));
        let excerpt = after.get(..40).unwrap_or(after);
        Self {
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            problem,
            near: String::from_utf8_lossy(excerpt).into_owned(),
        }
    }
}
