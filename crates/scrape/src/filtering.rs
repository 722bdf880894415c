//! Whether a pod is asked for its whole page or, by `?name[]=…`, for the names that are needed: a hundredth of the work for
//! exporters that answer that rightly. Which do is found out by comparing, and never trusted for long. Pure.
//!
//! 1. The whole page is read first. What it had is what a page by name must have.
//! 2. The next poll asks by name. A page that lacks a metric, or reads it from elsewhere, is doubtful: the same poll asks for
//!    the whole page, so that no reading is lost.
//! 3. What the whole page has then decides. It reads the metrics from other names (the engine was upgraded in place): those
//!    are asked for from now on. The names are the same: this exporter cannot be asked by name (several processes, each with
//!    metrics of its own), and is asked for whole pages for a while.
//!
//! Exporters that do not know the parameter send the whole page, which is as good, and are asked for it.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;
use windlass_metrics::exposition::{Names, Selected, select};
use windlass_metrics::{Format, Reading, Sample, Wanted};

use crate::percent::percent_encoded;

/// A page by name is compared with a whole one so often, give or take a tenth, and asking by name is tried again at twice
/// that.
const COMPARED_EVERY: Duration = Duration::from_mins(5);
const TRIED_AGAIN: Duration = Duration::from_mins(10);
/// What looks like a restart, again and again (a server that drops connections while they are idle), is believed so often;
/// so is what comes and goes (NaN at idle).
const RESTARTS_APART: Duration = Duration::from_secs(30);
/// More doubtful pages within a minute mean that several exporters answer at this address, or one that changes its mind.
const MOST_DOUBTS: u8 = 3;
const DOUBTS_WITHIN: Duration = Duration::from_mins(1);
/// Servers take request lines of 8 KiB, as a rule.
const LONGEST_QUERY: usize = 7 << 10;

/// A page that was read.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) readings: &'a [Option<Reading>],
    pub(crate) bytes: &'a [u8],
    pub(crate) format: Format,
}

/// Where each metric was found, and as what. Values do not count: they change meanwhile.
type Shape = Box<[Option<(usize, Discriminant<Sample>)>]>;

impl Page<'_> {
    fn shape(self) -> Shape {
        let found = |reading: &Reading| (reading.alias, discriminant(&reading.sample));
        self.readings.iter().map(|reading| reading.as_ref().map(found)).collect()
    }

    /// How many series the page has of these names.
    fn series(self, names: &Names) -> usize {
        let mut count = 0;
        let counted = select(self.bytes, self.format, names, |selected| {
            count += usize::from(matches!(selected, Selected::Sample { .. }));
        });
        counted.map_or(0, |()| count)
    }
}

/// How many samples there are on a page, of whatever name.
fn samples(page: &[u8]) -> usize {
    page.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}

/// What is known of one pod's exporter.
#[derive(Debug)]
pub(crate) struct Filtering {
    state: State,
    /// From 0 to 1: pods do not all compare at once.
    jitter: f64,
    begun: Option<Instant>,
    doubts: Doubts,
    /// What each metric had counted by the last page; NaN for what counts nothing.
    counts: Vec<f64>,
}

/// Doubtful pages within a while.
#[derive(Debug, Default)]
struct Doubts {
    count: u8,
    since: Option<Instant>,
}

impl Doubts {
    /// Counts one more.
    fn too_many(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + DOUBTS_WITHIN) {
            *self = Self { count: 0, since: Some(now) };
        }
        self.count = self.count.saturating_add(1);
        self.count > MOST_DOUBTS
    }
}

#[derive(Debug)]
enum State {
    /// The whole page is next.
    Beginning,
    ByName(Box<ByName>),
    /// A page by name was doubtful, this was found on it, and the whole one is next.
    Doubtful(Box<ByName>, Option<(Shape, usize)>),
    /// Whole pages, until then.
    Whole(Instant),
}

#[derive(Debug)]
struct ByName {
    query: Box<str>,
    /// What the last whole page had.
    expected: Shape,
    series: usize,
    size: usize,
    /// Whether a page by name had all of that.
    confirmed: bool,
    until: Instant,
}

impl Filtering {
    /// Nothing is known yet. `jitter` is from 0 to 1.
    pub(crate) fn new(jitter: f64) -> Self {
        Self { state: State::Beginning, jitter, begun: None, doubts: Doubts::default(), counts: Vec::new() }
    }

    /// What to ask for by name; `None`: the whole page.
    pub(crate) fn query(&self, now: Instant) -> Option<&str> {
        match &self.state {
            State::ByName(by_name) if now < by_name.until => Some(&by_name.query),
            _ => None,
        }
    }

    /// Takes a page that was asked for by name. Whether it is as good as the whole one; if not, the whole one is next.
    pub(crate) fn take_by_name(&mut self, page: Page<'_>, now: Instant) -> bool {
        let State::ByName(by_name) = &mut self.state else { return true };
        let lacks = |(expected, reading): (&Option<_>, &Option<Reading>)| {
            let Some((alias, kind)) = expected else { return false };
            reading.as_ref().is_none_or(|found| (found.alias, discriminant(&found.sample)) != (*alias, *kind))
        };
        let mut doubtful = by_name.expected.iter().zip(page.readings).any(lacks);
        if !by_name.confirmed {
            doubtful |= samples(page.bytes) < by_name.series;
        }
        if doubtful {
            self.doubt(Some((page.shape(), samples(page.bytes))));
            return false;
        }
        by_name.confirmed = true;
        let mut pairs = by_name.expected.iter().zip(page.readings);
        let more = pairs.any(|(expected, reading)| expected.is_none() && reading.is_some());
        if more && self.begun.is_none_or(|begun| now >= begun + RESTARTS_APART) {
            // What was not there before is looked at on a whole page, and missed from then on when it goes.
            by_name.until = now;
        }
        if page.bytes.len() * 10 >= by_name.size * 9 {
            self.state = State::Whole(now + TRIED_AGAIN);
        }
        if self.fell(page.readings) {
            self.restarted(now);
        }
        true
    }

    /// Asking by name brought nothing that is a page: the whole one is next.
    pub(crate) fn refused(&mut self) {
        self.doubt(None);
    }

    fn doubt(&mut self, found: Option<(Shape, usize)>) {
        self.state = match std::mem::replace(&mut self.state, State::Beginning) {
            State::ByName(by_name) => State::Doubtful(by_name, found),
            other => other,
        };
    }

    /// Takes a whole page.
    pub(crate) fn take_whole(&mut self, page: Page<'_>, now: Instant) {
        if self.fell(page.readings) {
            self.restarted(now);
        }
        if matches!(self.state, State::Whole(until) if now < until) {
            return;
        }
        self.begun = Some(now);
        let Some(next) = self.by_name(page, now) else {
            self.state = State::Beginning;
            return;
        };
        let wrong = match &self.state {
            State::Doubtful(asked, found) => {
                let same =
                    |(shape, series): &(Shape, usize)| *shape == next.expected && *series >= next.series;
                asked.query == next.query && !found.as_ref().is_some_and(same)
            }
            _ => false,
        };
        let doubted = matches!(self.state, State::Doubtful(..)) && self.doubts.too_many(now);
        let usable = !wrong && !doubted && next.query.len() <= LONGEST_QUERY;
        self.state = if usable { State::ByName(Box::new(next)) } else { State::Whole(now + TRIED_AGAIN) };
    }

    /// How to ask for what this page had; `None` if that was nothing.
    fn by_name(&self, page: Page<'_>, now: Instant) -> Option<ByName> {
        if page.readings.iter().all(Option::is_none) {
            return None;
        }
        let names = page.wanted.sample_names_for(page.readings);
        let query: Vec<String> =
            names.iter().map(|name| format!("name%5B%5D={}", percent_encoded(name))).collect();
        Some(ByName {
            query: query.join("&").into(),
            expected: page.shape(),
            series: page.series(&Names::new(names)),
            size: page.bytes.len(),
            confirmed: false,
            until: now + COMPARED_EVERY.mul_f64(0.9 + 0.2 * self.jitter),
        })
    }

    /// Whether anything that only grows has fallen since the last page.
    fn fell(&mut self, readings: &[Option<Reading>]) -> bool {
        self.counts.resize(readings.len(), f64::NAN);
        let pairs = self.counts.iter_mut().zip(readings);
        pairs.fold(false, |fell, (count, reading)| {
            let now = reading.as_ref().map_or(f64::NAN, |reading| match &reading.sample {
                Sample::Gauge(_) => f64::NAN,
                Sample::Counter(count) => *count,
                Sample::Ratio { whole, .. } => *whole,
                Sample::Histogram(histogram) => histogram.count(),
            });
            fell | (now < std::mem::replace(count, now))
        })
    }

    /// A poll brought nothing: the whole page is next, whatever was asked for. Where that happens again and again when it is
    /// asked by name, it is no longer.
    pub(crate) fn failed(&mut self, now: Instant) {
        match self.state {
            State::ByName(_) | State::Doubtful(..) if self.doubts.too_many(now) => {
                self.state = State::Whole(now + TRIED_AGAIN);
            }
            State::ByName(_) | State::Doubtful(..) => self.state = State::Beginning,
            State::Beginning | State::Whole(_) => self.restarted(now),
        }
    }

    /// The pod may be another one now, as far as can be seen from outside: all is found out anew.
    pub(crate) fn restarted(&mut self, now: Instant) {
        if self.begun.is_none_or(|begun| now >= begun + RESTARTS_APART) {
            self.state = State::Beginning;
        }
    }
}

#[cfg(test)]
mod tests;
