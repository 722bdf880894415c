//! The metrics page: text fixed once, with the numbers spliced in at each scrape.
//!
//! A page is data: a file in `pages/`, which is the page itself with names in the place of what changes.
//!
//! | in the file | on the page |
//! |---|---|
//! | `$model`, `$adapter`, `$capacity`, `$blocks16`, `$blocks32` anywhere | text: names, tokens of KV cache, blocks of 16 or 32 tokens |
//! | `series $running` | the quantity of this name; see [`Quantity`] |
//! | `series $completions*1200` | a multiple of it |
//! | `series $kv_util:4` | the quantity, rounded to so many places |
//! | `series $histogram(ttft,latency)` | buckets, count and sum of what was observed, with these bounds; `none` was never observed |
//! | `! bounds latency 0.3 0.5` | nothing; more lines add more bounds |
//! | `! include python` | that file |
//! | `! note …` | nothing |

mod quantity;
mod source;

use std::collections::HashSet;

pub(super) use quantity::{Level, Meter, Quantity};
pub(super) use source::BadPage;

use super::EngineKind;
use super::gauge::{Gauge, ScriptedGauges};
use super::kind::Numerals;
use super::number::write_float;
use super::tally::{Histogram, Tallies};

/// All numbers of one page.
pub(super) struct Numbers<'a> {
    /// In the order of `Gauge::ALL`.
    pub(super) gauges: [f64; Gauge::COUNT],
    /// In the order of [`Level`].
    pub(super) levels: [f64; Level::COUNT],
    /// In the order of [`Meter`].
    pub(super) meters: [f64; Meter::COUNT],
    /// What was observed of requests; a scripted engine has none.
    pub(super) tallies: Option<&'a Tallies>,
}

/// Where the numbers of a page come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made up from a scripted total: histograms have the shape of a fixed distribution.
    Scripted,
    /// Consequences of the requests served.
    Served,
}

/// Whose page it is.
pub(super) struct Subject<'a> {
    pub(super) kind: EngineKind,
    pub(super) model: &'a str,
    /// Tokens the KV cache has room for.
    pub(super) capacity: u64,
    pub(super) origin: Origin,
}

/// What stands in one place of the page.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// A quantity times a factor.
    Quantity(Quantity, f64),
    /// A quantity, rounded to so many places.
    Rounded(Quantity, i32),
    /// A whole number: `floor(floor(meter) × fraction)`. For the buckets of a scripted engine.
    Fraction(Meter, f64),
    /// Observations of at most the bucket's upper bound, by tally.
    Bucket(usize, usize),
    /// All observations of a tally.
    Observations(usize),
    /// The sum of all observations of a tally.
    Observed(usize),
}

impl Slot {
    fn value(self, numbers: &Numbers<'_>) -> f64 {
        let observed = |of: &dyn Fn(&Tallies) -> f64| numbers.tallies.map_or(0.0, of);
        match self {
            Self::Quantity(quantity, factor) => quantity.value(numbers) * factor,
            Self::Rounded(quantity, digits) => {
                let scale = 10_f64.powi(digits);
                (quantity.value(numbers) * scale).round() / scale
            }
            Self::Fraction(meter, fraction) => (Quantity::Count(meter).value(numbers) * fraction).floor(),
            Self::Bucket(tally, bound) => observed(&|tallies| tallies.up_to(tally, bound)),
            Self::Observations(tally) => observed(&|tallies| tallies.count(tally)),
            Self::Observed(tally) => observed(&|tallies| tallies.sum(tally)),
        }
    }
}

/// The page with holes: `text` up to an offset, then a number, and so on.
pub(super) struct Template {
    text: String,
    slots: Vec<(usize, Slot)>,
    numerals: Numerals,
    /// The tallies that its histograms are of: what is observed, and the upper bounds of the buckets without the infinite
    /// one.
    histograms: Vec<(Histogram, Vec<f64>)>,
}

impl Template {
    /// The page of an engine.
    ///
    /// # Errors
    /// If the page's file cannot be read as one; the tests see to it that all can.
    pub(super) fn new(subject: &Subject<'_>) -> Result<Self, BadPage> {
        source::read(subject)
    }

    /// Where nothing was observed yet.
    pub(super) fn tallies(&self) -> Tallies {
        Tallies::new(&self.histograms)
    }

    /// The whole page for these numbers.
    pub(super) fn render(&self, numbers: &Numbers<'_>) -> String {
        let mut page = String::with_capacity(self.text.len() + 24 * self.slots.len());
        let mut from = 0;
        for (at, slot) in &self.slots {
            page.push_str(&self.text[from..*at]);
            write(self.numerals, &mut page, slot.value(numbers));
            from = *at;
        }
        page.push_str(&self.text[from..]);
        page
    }

    /// What the Python client's exporter sends of it for these sample names; see [`filter`](super::filter). As there, no
    /// work is done for the rest: what a scrape costs is what engines are read by.
    pub(super) fn render_named(&self, numbers: &Numbers<'_>, names: &HashSet<String>) -> String {
        let (mut page, mut slots, mut line_end) = (String::new(), self.slots.as_slice(), 0);
        // The comments of the family, until the first of its samples is wanted.
        let mut head = 0..0;
        for line in self.text.split_inclusive('\n') {
            let from = line_end;
            line_end += line.len();
            if line.starts_with('#') {
                head = if line.starts_with("# HELP") { from..line_end } else { head.start..line_end };
                continue;
            }
            let holes;
            (holes, slots) = slots.split_at(slots.partition_point(|(at, _)| *at < line_end));
            if names.contains(line.split(['{', ' ']).next().unwrap_or_default()) {
                page.push_str(&self.text[std::mem::take(&mut head)]);
                let mut written = from;
                for (at, slot) in holes {
                    page.push_str(&self.text[written..*at]);
                    write(self.numerals, &mut page, slot.value(numbers));
                    written = *at;
                }
                page.push_str(&self.text[written..line_end]);
            }
        }
        page
    }

    /// The first series of the page that reports the script, else the first that reports a gauge, with the white space before
    /// and after it.
    pub(super) fn scripted_series(&self, scripted: ScriptedGauges) -> Option<String> {
        let gauges = self.slots.iter().filter_map(|(at, slot)| match slot {
            Slot::Quantity(quantity, _) | Slot::Rounded(quantity, _) => Some((*at, quantity.gauge()?)),
            _ => None,
        });
        let found = gauges.clone().find(|(_, gauge)| scripted.contains(*gauge)).or(gauges.clone().next());
        found.map(|(at, _)| {
            let line = self.text[..at].rfind('\n').unwrap_or(0);
            self.text[line..at].to_owned()
        })
    }
}

/// Writes a number in the page's way.
fn write(numerals: Numerals, page: &mut String, value: f64) {
    match numerals {
        Numerals::Python => write_float(page, value),
        Numerals::Rust => page.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests;
