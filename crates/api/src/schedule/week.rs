//! Times of a week that repeats, in seconds since Monday 00:00.

use std::ops::Range;

/// Seconds of a week.
pub(super) const WEEK: u32 = 7 * DAY;
/// Seconds of a day on which the clocks do not change.
pub(super) const DAY: u32 = 24 * 60 * 60;

/// A set of times of the week: spans in order that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Week {
    spans: Vec<Range<u32>>,
}

impl Week {
    /// The union of spans `(begin, length)`, each of which begins within the week and is at most a week long; what
    /// reaches beyond the end comes round to the beginning.
    pub(super) fn of(spans: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut pieces = Vec::new();
        for (begin, length) in spans {
            let end = begin + length;
            pieces.push(begin..end.min(WEEK));
            pieces.push(0..end.saturating_sub(WEEK));
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces.sort_unstable_by_key(|piece| piece.start);
        let mut spans: Vec<Range<u32>> = Vec::new();
        for piece in pieces {
            match spans.last_mut().filter(|last| piece.start <= last.end) {
                Some(last) => last.end = last.end.max(piece.end),
                None => spans.push(piece),
            }
        }
        Self { spans }
    }

    /// Whether it has no times.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn contains(&self, second: u32) -> bool {
        let after = self.spans.partition_point(|span| span.start <= second);
        after > 0 && second < self.spans[after - 1].end
    }

    /// Every second at which a span begins or ends, in the order of the spans.
    pub(super) fn borders(&self) -> impl Iterator<Item = u32> + '_ {
        self.spans.iter().flat_map(|span| [span.start, span.end % WEEK])
    }

    /// The same times as read from a clock that is `seconds` ahead.
    pub(super) fn shifted(&self, seconds: i64) -> Self {
        let begin = |span: &Range<u32>| second_of_week(i64::from(span.start) + seconds);
        Self::of(self.spans.iter().map(|span| (begin(span), span.end - span.start)))
    }

    /// The times that are in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let pairs = self.spans.iter().flat_map(|a| other.spans.iter().map(move |b| (a, b)));
        Self::of(pairs.map(|(a, b)| {
            let begin = a.start.max(b.start);
            (begin, a.end.min(b.end).saturating_sub(begin))
        }))
    }
}

/// Brings seconds since any Monday 00:00 into the week.
pub(super) fn second_of_week(seconds: i64) -> u32 {
    u32::try_from(seconds.rem_euclid(i64::from(WEEK))).unwrap_or_default()
}
