//! Who reads the pages of one target's pods, and when all of them were read once.
//!
//! A lap is one reading of every page. A target is decided once a lap is over, and not with each of its readings: before
//! that there is no round, and at ten laps a second of ten pods most decisions would be of nothing. Who failed last is not
//! waited for; who is heard again before the others ends a lap as well, so that one slow engine holds up nobody, and begins
//! the next one. What was read half an interval before the others belongs to no lap: else laps that once ended between two
//! pods would do so for ever, and what both tell would be known an interval late. The tick decides in any case.

use std::collections::HashMap;
use std::time::Duration;

use windlass_scaling::PodUid;
use windlass_scaling::attention::ServiceTime;
use windlass_scrape::{Outcome, Poller};

/// A pod and the position of one of its pages.
type PageOf = (PodUid, usize);

/// One page of one pod, and what reading it was like.
struct Reader {
    /// Ends when it is dropped.
    _poller: Poller,
    service: ServiceTime,
    asked: Option<tokio::time::Instant>,
    /// In this lap.
    heard: bool,
    failing: bool,
    /// Whole pages since the last one by name.
    wholes: u8,
}

/// So many whole pages after one another are no comparison: what pages by name cost is forgotten.
const WHOLES: u8 = 2;

impl Reader {
    fn is_awaited(&self) -> bool {
        !self.heard && !self.failing
    }
}

#[derive(Default)]
pub(super) struct Readers {
    by_page: HashMap<PageOf, Reader>,
    /// How many of them are awaited in this lap, and how many failed last.
    awaited: usize,
    failing: usize,
    /// The lap brought a reading.
    brought: bool,
    /// The page that was heard last, when it had been asked for, and whether it was heard before in this lap.
    last: Option<(PageOf, tokio::time::Instant, bool)>,
    /// When the page that ended the last lap had been asked for.
    ended: Option<tokio::time::Instant>,
    /// What was read long before the others is out of this lap.
    weeded: bool,
}

impl Readers {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn contains(&self, page: PageOf) -> bool {
        self.by_page.contains_key(&page)
    }

    pub(super) fn insert(&mut self, page: PageOf, poller: Poller) {
        let reader = Reader {
            _poller: poller,
            service: ServiceTime::default(),
            asked: None,
            heard: false,
            failing: false,
            wholes: 0,
        };
        if self.by_page.insert(page, reader).is_some() {
            self.count();
        } else {
            self.awaited += 1;
        }
    }

    /// Ends the others.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(PodUid) -> bool) {
        self.by_page.retain(|(pod, _), _| stays(*pod));
        self.count();
    }

    fn count(&mut self) {
        self.awaited = self.by_page.values().filter(|reader| reader.is_awaited()).count();
        self.failing = self.by_page.values().filter(|reader| reader.failing).count();
    }

    /// Notes an outcome. How long after the page was last asked for it was asked for again, if that is known.
    pub(super) fn hear(&mut self, page: PageOf, outcome: &Outcome) -> Option<Duration> {
        let reader = self.by_page.get_mut(&page)?;
        let failed = outcome.values.is_err();
        if !failed {
            reader.wholes = if outcome.filtered { 0 } else { reader.wholes.saturating_add(1) };
            if reader.wholes == WHOLES {
                reader.service = ServiceTime::default();
            }
            reader.service.note(outcome.service);
        }
        let again = reader.heard && !failed && !reader.failing;
        self.awaited -= usize::from(reader.is_awaited());
        self.failing += usize::from(failed);
        self.failing -= usize::from(reader.failing);
        reader.failing = failed;
        reader.heard = true;
        self.last = Some((page, outcome.asked, again));
        reader.asked.replace(outcome.asked).map(|before| outcome.asked - before)
    }

    /// After an outcome was noted that brought a reading, or did not: whether that ends a lap that brought any. Pages are
    /// read every `interval`.
    pub(super) fn is_lap_over(&mut self, brought: bool, interval: Duration) -> bool {
        self.brought |= brought;
        let Some((page, asked, again)) = self.last.take() else { return false };
        // Answers of before that come late must not make a lap of every other one.
        let again = again && self.ended.is_none_or(|ended| asked - ended >= interval / 2);
        if !again && self.awaited == 0 && !self.weeded {
            self.weed(interval / 2);
        }
        // While all fail, nothing brings a reading, and every failure would go through all of them.
        if !again && self.awaited > 0 || !self.brought && self.failing == self.by_page.len() {
            return false;
        }
        for (of, reader) in &mut self.by_page {
            reader.heard = again && *of == page;
        }
        self.count();
        (self.ended, self.weeded) = (Some(asked), false);
        std::mem::take(&mut self.brought)
    }

    /// Awaits once more what was asked for so long before the newest of this lap. Once in a lap: pages that take longer than
    /// the interval would await each other for ever.
    fn weed(&mut self, before: Duration) {
        let heard = self.by_page.values().filter(|reader| reader.heard && !reader.failing);
        let Some(newest) = heard.filter_map(|reader| reader.asked).max() else { return };
        for reader in self.by_page.values_mut() {
            reader.heard &= reader.asked.is_none_or(|asked| newest - asked <= before);
        }
        self.weeded = true;
        self.count();
    }

    /// A page's last poll failed.
    pub(super) fn any_failing(&self) -> bool {
        self.failing > 0
    }

    /// An engine's processor time for all its pages: of each page that of the pod where it takes longest. None while a page
    /// was read of no pod.
    pub(super) fn service(&self, pages: usize) -> Option<Duration> {
        let longest = |page: usize| {
            let of_page = self.by_page.iter().filter(move |((_, of), _)| *of == page);
            of_page.filter_map(|(_, reader)| reader.service.estimate()).max()
        };
        (pages > 0).then(|| (0..pages).map(longest).sum())?
    }

    /// How many pages are read.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_page.len()
    }
}

#[cfg(test)]
mod tests;
