//! The name-filtered mode: a few names of a page, at the price of a line hop for everything else.

// Inlined with the vector instructions every machine of the architecture has: on lines of a hundred bytes that is
// cheaper than calling `memchr`, which picks the widest ones at run time.
#[cfg(target_arch = "aarch64")]
use memchr::arch::aarch64::neon::memchr::One;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr::One;

use super::cursor::{Cursor, is_name_byte};
use super::error::{PageError, ParseError, Problem};
use super::labels::EscapedStr;
use super::{Entry, Format, MetricType, Sample};

/// What [`select`] found; `name` is the index into the [`Names`] asked for.
#[derive(Debug, Clone, Copy)]
pub enum Selected<'a> {
    /// The page declares a type for this name. May come before or after the samples.
    Type {
        /// Index of the name.
        name: usize,
        /// The type declared.
        metric_type: MetricType,
    },
    /// A sample of this name.
    Sample {
        /// Index of the name.
        name: usize,
        /// The sample.
        sample: Sample<'a>,
    },
}

/// A compiled set of sample names to look for.
#[derive(Debug, Clone)]
pub struct Names {
    sorted: Vec<Box<str>>,
    sieve: Sieve,
    table: Table,
}

impl Names {
    /// Compiles the set; equal names become one. [`Names::as_slice`] has the final order.
    pub fn new<I, S>(names: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<Box<str>>,
    {
        let mut sorted: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let (sieve, table) = (Sieve::new(&sorted), Table::new(&sorted));
        Self { sorted, sieve, table }
    }

    /// The names, sorted.
    pub fn as_slice(&self) -> &[Box<str>] {
        &self.sorted
    }

    /// The index of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.sorted.binary_search_by(|known| (**known).cmp(name)).ok()
    }

    fn index_of(&self, name: EscapedStr<'_>) -> Option<usize> {
        self.index(&name.to_str())
    }

    /// The name that starts at the start of `rest` and ends there too, not as a part of a longer one.
    fn starting(&self, rest: &[u8]) -> Option<usize> {
        if !self.sieve.may_match(rest) {
            return None;
        }
        let length = rest.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(rest.len());
        self.table.find(&rest[..length], &self.sorted)
    }
}

/// Fibonacci hashing: the top bits of the product depend on every bit of the word.
fn spread(word: u64) -> u64 {
    word.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Finds a whole name. With a catalogue of engines many names begin alike, so the sieve alone leaves many to compare.
#[derive(Debug, Clone)]
struct Table {
    /// The name of an index, one up; 0 where there is none. At most a quarter is used.
    slots: Box<[u16]>,
}

impl Table {
    fn new(names: &[Box<str>]) -> Self {
        let mut slots = vec![0; (4 * names.len()).next_power_of_two()].into_boxed_slice();
        for (number, name) in (1u16..).zip(names) {
            let mut at = Self::hash(name.as_bytes());
            while slots[at % slots.len()] != 0 {
                at += 1;
            }
            slots[at % slots.len()] = number;
        }
        Self { slots }
    }

    /// Of the length and the last eight bytes.
    fn hash(name: &[u8]) -> usize {
        let word = name.last_chunk().map_or_else(
            || name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            |last| u64::from_le_bytes(*last),
        );
        (spread(word ^ spread(name.len() as u64)) >> 32) as usize
    }

    fn find(&self, name: &[u8], names: &[Box<str>]) -> Option<usize> {
        let mut at = Self::hash(name);
        loop {
            let index = usize::from(self.slots[at % self.slots.len()]).checked_sub(1)?;
            if names[index].as_bytes() == name {
                return Some(index);
            }
            at += 1;
        }
    }
}

/// A quick no for most lines: a hash of up to eight bytes of the line, taken where the wanted names differ.
#[derive(Debug, Clone)]
struct Sieve {
    offset: usize,
    mask: u64,
    hits: Box<[bool; 256]>,
}

impl Sieve {
    fn new(names: &[Box<str>]) -> Self {
        let shortest = names.iter().map(|name| name.len()).min().unwrap_or(0);
        // Sorted: what the first and the last have in common, all have.
        let common = match names {
            [first, .., last] => first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count(),
            _ => shortest,
        };
        let offset = common.min(shortest.saturating_sub(8));
        let width = (shortest - offset).min(8);
        let mask = if width == 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
        let mut sieve = Self { offset, mask, hits: Box::new([false; 256]) };
        for name in names {
            let mut word = [0; 8];
            word[..width].copy_from_slice(&name.as_bytes()[offset..offset + width]);
            let slot = sieve.slot(u64::from_le_bytes(word));
            sieve.hits[slot] = true;
        }
        sieve
    }

    fn slot(&self, word: u64) -> usize {
        (spread(word & self.mask) >> 56) as usize
    }

    fn may_match(&self, rest: &[u8]) -> bool {
        match rest.get(self.offset..).and_then(|at| at.first_chunk()) {
            Some(word) => self.hits[self.slot(u64::from_le_bytes(*word))],
            // The end of the page is near: let the caller look.
            None => true,
        }
    }
}

/// Visits the samples of `names` on a page, and the types the page declares for them, in page order. Nothing is
/// allocated, but for a name on the page that has escapes.
///
/// - Wanted lines are validated as in [`parse`](super::parse); the first bad one rejects the page. Other lines are not
///   validated: a page with a bad line elsewhere gives its values here, and an error there.
/// - On a page that [`parse`](super::parse) accepts, both see the same samples. This holds for raw line feeds in label
///   values too: where the last quote of a hopped line might be an opening one, the sample is read properly, to know
///   where it ends. If that fails, the page is rejected.
/// - A page that does not end properly (a line feed in text, blanks behind it allowed; `# EOF` in `OpenMetrics`) is
///   refused as a whole: its last number may be the start of a longer one, and other series of a sum may be missing.
///   An empty text page is whole, and has no values. A page cut exactly between two lines of text cannot be told from
///   a whole one; the transport's length does that.
pub fn select<'a>(
    page: &'a [u8],
    format: Format,
    names: &Names,
    mut visit: impl FnMut(Selected<'a>),
) -> Result<(), PageError> {
    check_end(page, format)?;
    let mut cursor = Cursor::new(page);
    let outcome = match format {
        Format::Text => select_text(&mut cursor, names, &mut visit),
        Format::OpenMetrics => select_openmetrics(&mut cursor, names, &mut visit),
    };
    outcome.map_err(|problem| ParseError::new(page, cursor.pos, problem).into())
}

fn check_end(page: &[u8], format: Format) -> Result<(), PageError> {
    match format {
        Format::Text => {
            let end = page.iter().rposition(|b| !matches!(b, b' ' | b'\t'));
            if end.is_none_or(|last| page[last] == b'\n') {
                Ok(())
            } else {
                Err(PageError::Cut { expected: "a line feed" })
            }
        }
        Format::OpenMetrics => match page.strip_suffix(b"\n").unwrap_or(page).strip_suffix(b"# EOF") {
            Some([] | [.., b'\n']) => Ok(()),
            _ => Err(PageError::Cut { expected: "`# EOF`" }),
        },
    }
}

fn select_text<'a>(
    cursor: &mut Cursor<'a>,
    names: &Names,
    visit: &mut impl FnMut(Selected<'a>),
) -> Result<(), Problem> {
    while cursor.peek().is_some() {
        let line_start = cursor.pos;
        cursor.blanks();
        // Blanks before a plain name belong to it, so it is not a wanted one.
        let indented = cursor.pos > line_start;
        match cursor.peek() {
            Some(b'#') if is_wanted_metadata(cursor.rest(), names) => {
                if let Some(entry) = cursor.text_comment()? {
                    visit_type(names, &entry, visit);
                }
            }
            Some(b'#') => hop_comment(cursor),
            Some(b'{') => visit_sample(names, cursor.text_sample(line_start)?, visit),
            _ if !indented && let Some(name) = names.starting(cursor.rest()) => {
                let sample = cursor.text_sample(line_start)?;
                visit(Selected::Sample { name, sample });
            }
            _ if hop(cursor) => {}
            _ => _ = cursor.text_sample(line_start)?,
        }
    }
    Ok(())
}

fn select_openmetrics<'a>(
    cursor: &mut Cursor<'a>,
    names: &Names,
    visit: &mut impl FnMut(Selected<'a>),
) -> Result<(), Problem> {
    loop {
        match cursor.peek() {
            None => return Err(Problem::EofMissing),
            Some(b'#') if cursor.rest().starts_with(b"# EOF") || is_wanted_metadata(cursor.rest(), names) => {
                match cursor.openmetrics_metadata()? {
                    Some(entry) => visit_type(names, &entry, visit),
                    None => return Ok(()),
                }
            }
            Some(b'#') => hop_comment(cursor),
            Some(b'{') => visit_sample(names, cursor.openmetrics_sample()?, visit),
            _ if let Some(name) = names.starting(cursor.rest()) => {
                let sample = cursor.openmetrics_sample()?;
                visit(Selected::Sample { name, sample });
            }
            _ if hop(cursor) => {}
            _ => _ = cursor.openmetrics_sample()?,
        }
    }
}

fn visit_type<'a>(names: &Names, entry: &Entry<'a>, visit: &mut impl FnMut(Selected<'a>)) {
    if let Entry::Type(name, metric_type) = *entry
        && let Some(name) = names.index_of(name)
    {
        visit(Selected::Type { name, metric_type });
    }
}

fn visit_sample<'a>(names: &Names, sample: Sample<'a>, visit: &mut impl FnMut(Selected<'a>)) {
    if let Some(name) = names.index_of(sample.name) {
        visit(Selected::Sample { name, sample });
    }
}

/// Whether a line that starts with `#` declares the type of a wanted name, or has a name in quotes and so may go on
/// behind the next line feed.
fn is_wanted_metadata(line: &[u8], names: &Names) -> bool {
    let after_blanks = |text: &[u8]| text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let Some(text) = line.get(1..) else { return false };
    let text = &text[after_blanks(text)..];
    let Some((keyword @ (b"HELP" | b"TYPE" | b"UNIT"), text)) = text.split_first_chunk() else {
        return false;
    };
    let name = &text[after_blanks(text)..];
    name.first() == Some(&b'"') || keyword == b"TYPE" && names.starting(name).is_some()
}

fn hop_comment(cursor: &mut Cursor<'_>) {
    cursor.rest_of_line();
    cursor.eat(b'\n');
}

/// Goes behind the line feed, unless the line's last quote may be an opening or an escaped one: then the label value
/// may hold that line feed. A closing quote is recognised by the byte before it, which no opening one can have.
fn hop(cursor: &mut Cursor<'_>) -> bool {
    let rest = cursor.rest();
    let (Some(line_feed), Some(quote)) = (One::new(b'\n'), One::new(b'"')) else {
        return false;
    };
    let length = line_feed.find(rest).unwrap_or(rest.len());
    let line = &rest[..length];
    if let Some(quote) = quote.rfind(line) {
        let before = quote.checked_sub(1).map_or(b' ', |at| line[at]);
        if matches!(before, b'=' | b' ' | b'\t' | b'{' | b',' | b'\\' | b'"') {
            return false;
        }
    }
    cursor.pos = (cursor.pos + length + 1).min(cursor.page.len());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=value` of what is found, or the error's text.
    fn check(page: &str, format: Format, names: &[&str], expected: Result<&[&str], &str>) {
        let names = Names::new(names.iter().copied());
        let mut found = Vec::new();
        let outcome = select(page.as_bytes(), format, &names, |selected| {
            found.push(match selected {
                Selected::Type { name, metric_type } => format!("{}:{metric_type:?}", names.as_slice()[name]),
                Selected::Sample { name, sample } => format!("{}={}", names.as_slice()[name], sample.value),
            });
        });
        match (outcome, expected) {
            (Ok(()), Ok(expected)) => assert_eq!(found, expected, "{page:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} lacks {part:?}"),
            (outcome, expected) => panic!("{page:?}: {outcome:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn other_lines_are_hopped_unseen() {
        let page = "garbage of some kind\n# TYPE a nonsense\n# TYPE b gauge\nb 1\na2 5\nb{x=\"y\"} 2 3\n";
        check(page, Format::Text, &["b", "c"], Ok(&["b:Gauge", "b=1", "b=2"]));
        check(&format!("{page}# EOF"), Format::OpenMetrics, &["b"], Ok(&["b:Gauge", "b=1", "b=2"]));
        check(page, Format::Text, &["a"], Err("unknown metric type"));
        check("b 1\nb x\n", Format::Text, &["b"], Err("line 2: expected a number"));
    }

    #[test]
    fn a_wanted_name_is_the_whole_name() {
        let page = "ab 1\na:b 2\na 3\nabc{} 4\n a 5\n{\"a\"} 6\n{x=\"1\",\"ab\"} 7\n";
        check(page, Format::Text, &["a", "abc"], Ok(&["a=3", "abc=4", "a=6"]));
        check(page, Format::Text, &[], Ok(&[]));
    }

    #[test]
    fn a_line_inside_a_label_value_is_no_sample() {
        let check_text = |page: &str, expected| check(page, Format::Text, &["b"], expected);
        check_text("a{x=\"\nb 9\n\"} 1\nb 2\n", Ok(&["b=2"]));
        check_text("a{x=\"1\",y=\"} 5\nb 9\n\"} 1\nb 2\n", Ok(&["b=2"]));
        check_text("a{x=\"\\\"\nb 9\n\"} 1\nb 2\n", Ok(&["b=2"]));
        check_text("a{x=\"1\"\"y\nb 9\n\"=\"2\"} 1\nb 2\n", Ok(&["b=2"]));
        check_text("{\"a\nb 9\n\"} 1\nb 2\n", Ok(&["b=2"]));
        check_text("# TYPE \"a\nb 9\n\" gauge\nb 2\n", Ok(&["b=2"]));
        check_text("# some \"\nb 2\n", Ok(&["b=2"]));
        check_text("a{x=\"\nb 9\n", Err("expected a label value in double quotes"));
    }

    #[test]
    fn a_comma_may_stand_where_the_sample_before_had_none() {
        let page = "b{x=\"1\"y=\"2\"} 1\nb{x=\"1\",z=\"2\"} 2\nb{x=\"1\"y=\"3\"} 3\n";
        check(page, Format::Text, &["b"], Ok(&["b=1", "b=2", "b=3"]));
        assert!(crate::exposition::parse(page.as_bytes(), Format::Text).all(|entry| entry.is_ok()));
    }

    #[test]
    fn the_end_must_be_there() {
        for page in ["b 12", "a 1\nb 12", "b{x=\"1", "# TYPE b gau", "b"] {
            check(page, Format::Text, &["b"], Err("cut: it does not end with a line feed"));
        }
        check("b 1\n  \t", Format::Text, &["b"], Ok(&["b=1"]));
        check("", Format::Text, &["b"], Ok(&[]));
        for page in ["", "b 1\n", "b 1\n# EO", "b 1 # EOF\n", "b 1\n# EOF\n\n", "b 1\n# EOF "] {
            check(page, Format::OpenMetrics, &["b"], Err("cut: it does not end with `# EOF`"));
        }
        check("# EOF\nb 1\n# EOF\n", Format::OpenMetrics, &["b"], Err("line 2: data after `# EOF`"));
        check("b 1 \n# EOF\n", Format::OpenMetrics, &["b"], Err("line 1"));
    }

    #[test]
    fn the_sieve_lets_every_wanted_name_through() {
        for names in [
            vec!["a"],
            vec!["a", "a_total"],
            vec!["vllm:num_requests_running", "vllm:num_requests_waiting"],
            vec!["vllm:kv_cache_usage_perc", "x", "vllm:kv"],
            vec!["exactly8", "12345678"],
        ] {
            let names = Names::new(names);
            for (index, name) in names.as_slice().iter().enumerate() {
                for after in ["", " 1\n", "{a=\"b\"} 1234567890\n"] {
                    assert_eq!(
                        names.starting(format!("{name}{after}").as_bytes()),
                        Some(index),
                        "{name}{after}"
                    );
                }
            }
        }
    }
}
