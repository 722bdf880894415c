//! Histograms with classic (cumulative) buckets: what was observed between two readings, quantiles, means.
//!
//! A decision uses differences of what was observed; [`crate::promql`] is the form a Prometheus query would give.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::catalogue::Statistic;

/// Counts this close (relative) are the same but for rounding; Prometheus' `smallDeltaTolerance`.
const SAME: f64 = 1e-12;

/// The most bounds a histogram may have, so that no page can make one that is a burden. Engines have 10 to 30.
pub const MOST_BOUNDS: usize = 512;

/// Why two histograms cannot be compared or merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the buckets have other bounds")]
pub struct OtherBounds;

/// A histogram: of all time as a page has it, or of a while as the difference of two.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bound (inclusive, `le`) and cumulative count, in the order of the bounds; the last bound is infinite.
    #[serde(with = "written")]
    buckets: Vec<(f64, f64)>,
    /// Sum of the observations, in the metric's unit; `None` where the page has none.
    sum: Option<f64>,
}

impl Histogram {
    /// Takes buckets in any order. `None` if what they say is no histogram: a bound or count is NaN, a count is negative
    /// or infinite, a bound comes twice, the infinite bound is missing, there is no other one, or there are more than
    /// [`MOST_BOUNDS`].
    pub fn new(buckets: impl IntoIterator<Item = (f64, f64)>, sum: Option<f64>) -> Option<Self> {
        let mut histogram = Self::default();
        histogram.refill(buckets, sum).then_some(histogram)
    }

    /// Becomes what [`Histogram::new`] would give, with the buffer there is. Whether that is one; else it is empty.
    pub fn refill(&mut self, buckets: impl IntoIterator<Item = (f64, f64)>, sum: Option<f64>) -> bool {
        self.buckets.clear();
        self.buckets.extend(buckets.into_iter().take(MOST_BOUNDS + 1));
        self.sum = sum.filter(|sum| sum.is_finite());
        let buckets = &mut self.buckets;
        let usable = |&(bound, count): &(f64, f64)| !bound.is_nan() && count.is_finite() && count >= 0.0;
        let counts = buckets.iter().all(usable);
        buckets.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let ends = buckets.len() > 1 && buckets.last().is_some_and(|(bound, _)| *bound == f64::INFINITY);
        let twice = buckets.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let whole = counts && ends && !twice && buckets.len() <= MOST_BOUNDS;
        if !whole {
            buckets.clear();
        }
        whole
    }

    /// `whole` observations that make `part` together, and nothing known of how they are spread: two counters whose ratio
    /// is meant. It has a mean and no quantiles.
    pub fn of_ratio(part: f64, whole: f64) -> Self {
        Self { buckets: vec![(f64::INFINITY, whole)], sum: Some(part) }
    }

    /// Upper bounds and cumulative counts, in the order of the bounds; the last bound is infinite.
    pub fn buckets(&self) -> &[(f64, f64)] {
        &self.buckets
    }

    /// Sum of the observations; `None` where it is not known.
    pub fn sum(&self) -> Option<f64> {
        self.sum
    }

    /// What it is summed up as; `None` without observations.
    pub fn statistic(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Mean => self.mean(),
            Statistic::Quantile(q) => self.quantile(q),
        }
    }

    /// Number of observations.
    pub fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Mean of the observations, in the metric's unit; `None` without any, or without their sum.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        Some(self.sum? / count).filter(|mean| count > 0.0 && mean.is_finite())
    }

    /// The quantile `q` (0 to 1), linear within its bucket, as `histogram_quantile` has it; `None` without observations,
    /// and where it is not finite.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.clone().spent_quantile(q)
    }

    /// Whether the quantile `q` lies beyond the last finite bound, so that nothing more is known of it than that.
    pub fn is_beyond_bounds(&self, q: f64) -> bool {
        // A count below an earlier one is lifted to it for a quantile.
        let greatest =
            |buckets: &[(f64, f64)]| buckets.iter().fold(0.0, |most, (_, count)| f64::max(most, *count));
        let finite = self.buckets.split_last().map_or(0.0, |(_, finite)| greatest(finite));
        q * greatest(&self.buckets) > finite
    }

    /// The same in place: its counts are made monotonic for it.
    fn spent_quantile(&mut self, q: f64) -> Option<f64> {
        let value = bucket_quantile(q, &mut self.buckets).quantile;
        value.is_finite().then_some(value)
    }

    /// Whether it has the same bounds as another one.
    pub fn has_bounds_of(&self, other: &Self) -> bool {
        self.same_bounds(other).is_ok()
    }

    fn same_bounds(&self, other: &Self) -> Result<(), OtherBounds> {
        let mut pairs = self.buckets.iter().zip(&other.buckets);
        let same = self.buckets.len() == other.buckets.len() && pairs.all(|((a, _), (b, _))| a == b);
        if same { Ok(()) } else { Err(OtherBounds) }
    }

    /// What was observed since `earlier`. `None` after a restart, which shows in any count that fell: nobody saw what was
    /// observed before it.
    pub fn since(&self, earlier: &Self) -> Result<Option<Self>, OtherBounds> {
        self.same_bounds(earlier)?;
        let mut since = Self::default();
        Ok(since.become_difference(self, earlier).then_some(since))
    }

    /// Becomes what `now` observed since `earlier`, which has the same bounds, with the buffer there is. Whether that is
    /// known; see [`Histogram::since`].
    pub(crate) fn become_difference(&mut self, now: &Self, earlier: &Self) -> bool {
        let pairs = || now.buckets.iter().zip(&earlier.buckets);
        self.buckets.clear();
        // Without finite bounds it is a ratio, whose part only grows as well.
        let part_fell =
            now.buckets.len() == 1 && now.sum.zip(earlier.sum).is_some_and(|(now, then)| now < then);
        if part_fell || pairs().any(|((_, now), (_, then))| now < then) {
            return false;
        }
        self.buckets.extend(pairs().map(|((bound, now), (_, then))| (*bound, now - then)));
        self.sum = now.sum.zip(earlier.sum).map(|(now, then)| now - then);
        true
    }

    /// Adds what another one observed, as if one had seen both.
    pub fn merge(&mut self, other: &Self) -> Result<(), OtherBounds> {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            self.sum = other.sum;
            return Ok(());
        }
        self.same_bounds(other)?;
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum = self.sum.zip(other.sum).map(|(sum, more)| sum + more);
        Ok(())
    }

    /// Adds what one with whatever bounds observed: engines differ in theirs. The result has the bounds of both. At a bound
    /// that one of them lacks its count is interpolated, linearly within the bucket as for a quantile; what it observed
    /// beyond its last finite bound counts as beyond all of them.
    /// With more than [`MOST_BOUNDS`] in all, those of this one count.
    pub fn merge_any(&mut self, other: &Self) {
        self.merge_by(other, &mut Vec::new());
    }

    /// The same, by way of a buffer.
    fn merge_by(&mut self, other: &Self, merged: &mut Vec<(f64, f64)>) {
        if self.merge(other).is_ok() || other.buckets.is_empty() {
            return;
        }
        let bounds = self.buckets.iter().chain(&other.buckets).map(|(bound, _)| *bound);
        merged.clear();
        merged.extend(bounds.map(|bound| (bound, 0.0)));
        merged.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        merged.dedup_by(|a, b| a.0 == b.0);
        if merged.len() > MOST_BOUNDS {
            merged.clear();
            merged.extend(self.buckets.iter().map(|(bound, _)| (*bound, 0.0)));
        }
        for (bound, count) in merged.iter_mut() {
            *count = self.count_up_to(*bound) + other.count_up_to(*bound);
        }
        std::mem::swap(&mut self.buckets, merged);
        self.sum = self.sum.zip(other.sum).map(|(sum, more)| sum + more);
    }

    /// How many observations were at most `bound`, linear within a bucket.
    fn count_up_to(&self, bound: f64) -> f64 {
        let at = self.buckets.partition_point(|(end, _)| *end < bound);
        let Some(&(end, count)) = self.buckets.get(at) else { return self.count() };
        let before = at.checked_sub(1).map(|before| self.buckets[before]);
        // The first bucket begins at 0, unless it ends below.
        let (start, below) = before.unwrap_or((end.min(0.0), 0.0));
        if end == bound {
            count
        } else if end == f64::INFINITY {
            below
        } else {
            below + (count - below) * ((bound - start) / (end - start)).max(0.0)
        }
    }
}

/// Histograms of several pods, merged in buffers that are used again: merging the same pods once more allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    histogram: Histogram,
    buffer: Vec<(f64, f64)>,
}

impl Merged {
    /// Begins anew, with nothing.
    pub fn clear(&mut self) {
        self.histogram.buckets.clear();
        self.histogram.sum = None;
    }

    /// Adds what a pod observed, whatever its bounds; see [`Histogram::merge_any`].
    pub fn add(&mut self, pod: &Histogram) {
        self.histogram.merge_by(pod, &mut self.buffer);
    }

    /// Number of observations so far.
    pub fn count(&self) -> f64 {
        self.histogram.count()
    }

    /// What all of it is summed up as; `None` without observations. Nothing can be added afterwards.
    pub fn statistic(&mut self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Mean => self.histogram.mean(),
            Statistic::Quantile(q) => self.histogram.spent_quantile(q),
        }
    }
}

/// Buckets as they are stored: JSON has no infinity, so the last bound is left out.
mod written {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Buckets = Vec<(f64, f64)>;

    pub(super) fn serialize<S: Serializer>(buckets: &Buckets, serializer: S) -> Result<S::Ok, S::Error> {
        let finite = |bound: f64| Some(bound).filter(|bound| bound.is_finite());
        let written: Vec<(Option<f64>, f64)> =
            buckets.iter().map(|(bound, count)| (finite(*bound), *count)).collect();
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Buckets, D::Error> {
        let written = Vec::<(Option<f64>, f64)>::deserialize(deserializer)?;
        let infinite = |bound: Option<f64>| bound.unwrap_or(f64::INFINITY);
        Ok(written.into_iter().map(|(bound, count)| (infinite(bound), count)).collect())
    }
}

/// A quantile, and what had to be done to the buckets for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketQuantile {
    /// NaN where it is not defined.
    pub quantile: f64,
    /// A count that was less than the one below was lifted to it.
    pub forced_monotonic: bool,
    /// A difference that is mere rounding was smoothed.
    pub fixed_precision: bool,
}

/// Prometheus' `BucketQuantile` over cumulative buckets, in whatever state they come: sorted, equal bounds added up,
/// counts made monotonic in place. Equal to it on `prom_histogram_quantile.json`.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> BucketQuantile {
    let undefined = |quantile| BucketQuantile { quantile, forced_monotonic: false, fixed_precision: false };
    if q.is_nan() {
        return undefined(f64::NAN);
    } else if q < 0.0 {
        return undefined(f64::NEG_INFINITY);
    } else if q > 1.0 {
        return undefined(f64::INFINITY);
    }
    buckets.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return undefined(f64::NAN);
    }
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += if same { next.1 } else { 0.0 };
        same
    });
    let (forced_monotonic, fixed_precision) = make_monotonic(buckets);
    let quantile = if buckets.len() < 2 { f64::NAN } else { interpolated(q, buckets) };
    BucketQuantile { quantile, forced_monotonic, fixed_precision }
}

fn make_monotonic(buckets: &mut [(f64, f64)]) -> (bool, bool) {
    let (mut forced, mut fixed) = (false, false);
    let Some(&(_, mut last)) = buckets.first() else { return (false, false) };
    for (_, count) in buckets.iter_mut().skip(1) {
        if *count == last {
        } else if almost_equal(last, *count) {
            (*count, fixed) = (last, true);
        } else if *count < last {
            (*count, forced) = (last, true);
        } else {
            last = *count;
        }
    }
    (forced, fixed)
}

/// Prometheus' `almost.Equal`.
fn almost_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == b || (a.is_nan() && b.is_nan()) {
        true
    } else if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        difference < SAME * f64::MIN_POSITIVE
    } else {
        difference / sum.min(f64::MAX) < SAME
    }
}

/// At least two buckets, sorted and monotonic, the last one infinite.
fn interpolated(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    // Go's sort.Search: the first of the finite buckets that reaches the rank.
    let at =
        buckets[..last].partition_point(|(_, count)| count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    if at == last {
        return buckets[last - 1].0;
    }
    let (end, count) = buckets[at];
    if at == 0 {
        return if end <= 0.0 { end } else { end * (rank / count) };
    }
    let (start, below) = buckets[at - 1];
    start + (end - start) * ((rank - below) / (count - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [f64; 3], sum: f64) -> Histogram {
        Histogram::new([(f64::INFINITY, counts[2]), (1.0, counts[0]), (2.0, counts[1])], Some(sum)).unwrap()
    }

    #[test]
    fn what_was_observed_since() {
        let (then, now) = (histogram([5.0, 5.0, 6.0], 20.0), histogram([5.0, 9.0, 10.0], 26.0));
        let since = now.since(&then).unwrap().unwrap();
        assert_eq!((since.count(), since.mean(), since.quantile(0.5)), (4.0, Some(1.5), Some(1.5)));
        assert_eq!(then.since(&now), Ok(None), "a restart");
        assert_eq!(now.since(&now).unwrap().unwrap().quantile(0.5), None, "nothing was observed");
        assert_eq!(now.since(&now).unwrap().unwrap().mean(), None);
        let other = Histogram::new([(3.0, 1.0), (f64::INFINITY, 1.0)], None).unwrap();
        assert_eq!(now.since(&other), Err(OtherBounds));
    }

    #[test]
    fn pods_are_merged_before_the_quantile_is_taken() {
        let mut fleet = Histogram::default();
        for counts in [[10.0, 10.0, 10.0], [0.0, 2.0, 2.0]] {
            fleet.merge(&histogram(counts, counts[2])).unwrap();
        }
        assert_eq!(fleet.count(), 12.0);
        // Not the mean of the pods' medians, 0.5 and 1.5.
        assert_eq!(fleet.quantile(0.5), Some(0.6));
        let other = Histogram::new([(3.0, 1.0), (f64::INFINITY, 1.0)], None).unwrap();
        assert_eq!(fleet.merge(&other), Err(OtherBounds));
        assert_eq!(fleet.count(), 12.0);
    }

    #[test]
    fn a_quantile_is_finite_or_not_known() {
        let check = |buckets: [(f64, f64); 3], q: f64, expected: Option<f64>| {
            assert_eq!(Histogram::new(buckets, None).unwrap().quantile(q), expected, "{buckets:?}");
        };
        let inf = f64::INFINITY;
        check([(-inf, 1.0), (1.0, 2.0), (inf, 3.0)], 0.1, None);
        check([(-inf, 1.0), (1.0, 2.0), (inf, 3.0)], 1.0, Some(1.0));
        check([(-1.7e308, 1.0), (1.7e308, 2.0), (inf, 2.0)], 0.9, None);
    }

    #[test]
    fn other_bounds_are_interpolated() {
        let check = |a: &[(f64, f64)], b: &[(f64, f64)], expected: &[(f64, f64)]| {
            let [a, b] = [a, b].map(|buckets| Histogram::new(buckets.iter().copied(), Some(1.0)).unwrap());
            for (mut into, other) in [(a.clone(), &b), (b.clone(), &a)] {
                into.merge_any(other);
                assert_eq!((into.buckets(), into.sum()), (expected, Some(2.0)));
            }
        };
        let inf = f64::INFINITY;
        check(&[(1.0, 4.0), (inf, 5.0)], &[(1.0, 1.0), (inf, 1.0)], &[(1.0, 5.0), (inf, 6.0)]);
        // Half of the 4 up to 2 are up to 1; the one beyond 2 is beyond 3 for all that is known.
        check(
            &[(2.0, 4.0), (inf, 5.0)],
            &[(1.0, 10.0), (3.0, 20.0), (inf, 20.0)],
            &[(1.0, 12.0), (2.0, 19.0), (3.0, 24.0), (inf, 25.0)],
        );
        let mut none = Histogram::default();
        let one = histogram([1.0, 2.0, 3.0], 4.0);
        none.merge_any(&one);
        assert_eq!(none, one);
        none.merge_any(&Histogram::default());
        assert_eq!(none, one);
    }

    #[test]
    fn a_quantile_beyond_the_last_bound_is_told() {
        let histogram = Histogram::new([(1.0, 6.0), (2.0, 9.0), (f64::INFINITY, 10.0)], None).unwrap();
        for (q, beyond) in [(0.5, false), (0.9, false), (0.91, true), (1.0, true)] {
            assert_eq!(histogram.is_beyond_bounds(q), beyond, "{q}");
        }
        assert_eq!(histogram.quantile(0.95), Some(2.0));
        let falling = Histogram::new([(1.0, 10.0), (2.0, 9.0), (f64::INFINITY, 10.0)], None).unwrap();
        assert_eq!((falling.quantile(0.95), falling.is_beyond_bounds(0.95)), (Some(0.95), false));
        assert!(!Histogram::default().is_beyond_bounds(0.5));
    }

    #[test]
    fn a_ratio_has_a_mean_and_no_quantile() {
        let (then, now) = (Histogram::of_ratio(20.0, 100.0), Histogram::of_ratio(23.0, 106.0));
        let since = now.since(&then).unwrap().unwrap();
        assert_eq!((since.count(), since.mean(), since.quantile(0.5)), (6.0, Some(0.5), None));
        assert_eq!(now.since(&now).unwrap().unwrap().mean(), None, "nothing was counted");
        assert_eq!(Histogram::of_ratio(19.0, 106.0).since(&then), Ok(None), "a restart");
    }

    #[test]
    fn it_is_stored_with_its_last_bound() {
        let stored = histogram([1.0, 2.0, 3.0], 4.5);
        let text = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), stored, "{text}");
    }

    #[test]
    fn merging_the_same_pods_again_allocates_nothing() {
        let pods = [[1.0, 2.0, 4.0], [0.5, 2.0, 8.0], [1.0, 3.0, 5.0]].map(|bounds| {
            let buckets = bounds.into_iter().zip([1.0, 2.0, 3.0]);
            Histogram::new(buckets.chain([(f64::INFINITY, 4.0)]), Some(9.0)).unwrap()
        });
        let mut merged = Merged::default();
        let mut rounds = (0..20).map(|_| {
            merged.clear();
            for pod in &pods {
                merged.add(pod);
            }
            assert_eq!((merged.count(), merged.statistic(Statistic::Mean)), (12.0, Some(2.25)));
            assert!(merged.statistic(Statistic::Quantile(0.5)).is_some());
            merged.histogram.buckets.capacity() + merged.buffer.capacity()
        });
        // The two buffers change places: after a few rounds both are large enough.
        let warm = rounds.by_ref().take(4).last();
        assert!(rounds.all(|room| Some(room) == warm));
    }

    #[test]
    fn bounds_are_limited() {
        let of = |bounds: usize| {
            let finite = (1..bounds).map(|bound| (bound as f64, 1.0));
            Histogram::new(finite.chain([(f64::INFINITY, 1.0)]), None)
        };
        assert_eq!(of(MOST_BOUNDS + 1), None);
        let mut most = of(MOST_BOUNDS).unwrap();
        most.merge_any(&Histogram::new([(0.5, 3.0), (f64::INFINITY, 3.0)], None).unwrap());
        assert_eq!((most.buckets().len(), most.buckets()[0], most.count()), (MOST_BOUNDS, (1.0, 4.0), 4.0));
    }

    #[test]
    fn what_is_no_histogram() {
        let end = (f64::INFINITY, 1.0);
        for buckets in [
            vec![],
            vec![end],
            vec![(1.0, 1.0), (2.0, 2.0)],
            vec![(1.0, f64::NAN), end],
            vec![(1.0, -1.0), end],
            vec![(f64::NAN, 1.0), end],
            vec![(1.0, 1.0), (1.0, 1.0), end],
            vec![(1.0, f64::INFINITY), end],
        ] {
            assert_eq!(Histogram::new(buckets.clone(), None), None, "{buckets:?}");
            let mut used = histogram([1.0, 2.0, 3.0], 4.0);
            assert!(!used.refill(buckets, None));
            assert_eq!(used, Histogram::default());
        }
    }
}
