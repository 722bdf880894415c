//! What one pass over a page finds. All buffers are used again for the next page.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use super::plan::{Slot, Value};
use crate::catalogue::Aggregation;
use crate::exposition::{Labels, MetricType, Sample};
use crate::histogram::Histogram;

/// From a page with more series than this, the room for them is not kept.
const ROOM_KEPT: usize = 4096;

#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    /// By the indices of the names.
    pub(super) declared: Vec<Option<MetricType>>,
    /// By the indices of the slots.
    found: Vec<Found>,
    /// Every series seen, to find those that come twice: a hash of slot, labels and bucket, and the value.
    seen: HashMap<u64, f64, BuildHasherDefault<Hashed>>,
    /// Histograms whose buffers can be used again.
    pub(super) spare: Vec<Histogram>,
}

/// What was found for one slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) count: u32,
    sum: f64,
    pub(super) least: f64,
    greatest: f64,
    /// Why the series make no value, whatever their aggregation: the first reason.
    pub(super) fault: Option<Fault>,
    /// Bounds with the sum of the counts and their number, in the order of the bounds.
    buckets: Vec<(f64, f64, u32)>,
    /// Where in `buckets` the last sample went: pages list buckets in order.
    last: usize,
}

/// Why series make no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// A value is NaN or infinite.
    NotFinite(f64),
    /// A series comes twice, with two values.
    TwoValues,
    /// A bucket has no bound, or one that is no number.
    NoBound,
}

impl Found {
    fn begin(&mut self) {
        let mut buckets = std::mem::take(&mut self.buckets);
        buckets.clear();
        *self = Self { buckets, ..Self::default() };
    }

    fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.least = if first { value } else { self.least.min(value) };
        self.greatest = if first { value } else { self.greatest.max(value) };
        self.count += 1;
        self.sum += value;
        if !value.is_finite() {
            self.fault.get_or_insert(Fault::NotFinite(value));
        }
    }

    fn add_to_bucket(&mut self, bound: f64, count: f64) {
        let is_next = |at: &usize| self.buckets.get(*at).is_some_and(|bucket| bucket.0 == bound);
        let at = match Some(self.last + 1).filter(is_next) {
            Some(at) => Ok(at),
            None => self.buckets.binary_search_by(|bucket| bucket.0.total_cmp(&bound)),
        };
        match at {
            Ok(at) => {
                let (_, sum, series) = &mut self.buckets[at];
                *sum += count;
                *series += 1;
                self.last = at;
            }
            Err(at) => {
                self.buckets.insert(at, (bound, count, 1));
                self.last = at;
            }
        }
    }

    /// `None` if any of the series has no usable value: the others alone would be a wrong value.
    pub(super) fn value(&self, aggregation: Aggregation, signed: bool) -> Option<f64> {
        if self.fault.is_some() || (self.least < 0.0 && !signed) {
            return None;
        }
        Some(match aggregation {
            Aggregation::Sum => self.sum,
            Aggregation::Mean => self.sum / f64::from(self.count),
            Aggregation::Max => self.greatest,
            Aggregation::Same if self.least == self.greatest => self.least,
            Aggregation::Same => return None,
        })
    }
}

impl Pass {
    pub(super) fn begin(&mut self, slots: usize, names: usize) {
        self.declared.clear();
        self.declared.resize(names, None);
        self.found.iter_mut().for_each(Found::begin);
        self.found.resize_with(slots, Found::default);
        self.seen.clear();
        if self.seen.capacity() > 2 * ROOM_KEPT {
            self.seen.shrink_to(ROOM_KEPT);
        }
    }

    pub(super) fn found(&self, slot: usize) -> Option<&Found> {
        self.found.get(slot).filter(|found| found.count > 0)
    }

    /// Takes a sample of a slot's name.
    pub(super) fn take(&mut self, at: usize, slot: &Slot, sample: &Sample<'_>) {
        if !slot.matchers.iter().all(|matcher| matcher.matches(sample.labels)) {
            return;
        }
        let found = &mut self.found[at];
        let bucket = slot.value == Value::Bucket;
        let (labels, bound) = identity(sample.labels, bucket);
        let value = match &slot.value {
            Value::Labels(names) => names.iter().map(|name| number(sample.labels, name)).product(),
            Value::Own | Value::Bucket => sample.value,
        };
        let key = mixed(mixed(labels, at as u64), bound.to_bits());
        match self.seen.entry(key) {
            Entry::Occupied(known) => {
                let same = *known.get() == value || (known.get().is_nan() && value.is_nan());
                if !same {
                    found.fault.get_or_insert(Fault::TwoValues);
                }
                return;
            }
            Entry::Vacant(new) => _ = new.insert(value),
        }
        found.add(value);
        if bucket {
            if bound.is_nan() {
                found.fault.get_or_insert(Fault::NoBound);
            }
            found.add_to_bucket(bound, value);
        }
    }

    /// The histogram of a slot of buckets and one of sums, its bounds times `scale`. `None` if it has none that is whole.
    pub(super) fn histogram(&mut self, buckets: usize, sum: usize, scale: f64) -> Option<Histogram> {
        let found = self.found.get(buckets).filter(|found| found.fault.is_none() && found.least >= 0.0)?;
        let (_, _, series) = *found.buckets.last()?;
        let in_all = found.buckets.iter().filter(|bucket| bucket.2 == series);
        let sums = self.found(sum).filter(|sums| sums.count == series);
        let sum = sums.and_then(|sums| sums.value(Aggregation::Sum, true)).map(|sum| sum * scale);
        let mut histogram = self.spare.pop().unwrap_or_default();
        histogram.refill(in_all.map(|(bound, count, _)| (bound * scale, *count)), sum).then_some(histogram)
    }
}

/// The number that a label holds; NaN if it holds none.
fn number(labels: Labels<'_>, name: &str) -> f64 {
    let label = labels.iter().find(|(label, _)| *label == *name);
    label.and_then(|(_, value)| value.to_str().parse().ok()).unwrap_or(f64::NAN)
}

/// A hash of the labels, whatever their order. With `bucket`, without the bound, which is given beside it (NaN if there is
/// none), else 0.
fn identity(labels: Labels<'_>, bucket: bool) -> (u64, f64) {
    let mut hash = 0u64;
    let mut bound = if bucket { f64::NAN } else { 0.0 };
    for (name, value) in labels.iter() {
        if bucket && name.raw() == b"le" {
            bound = value.to_str().parse().unwrap_or(f64::NAN);
        } else {
            hash = hash.wrapping_add(mixed(hash_of(name.raw()), hash_of(value.raw())));
        }
    }
    (hash, bound)
}

fn hash_of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mixed(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mixed(hash, u64::from_le_bytes(last))
}

/// One step of a hash: the folded product of wyhash, whose constants these are.
fn mixed(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ 0xa076_1d64_78bd_642f) * u128::from(word ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}

/// For keys that are hashes already.
#[derive(Debug, Clone, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mixed(self.0, hash_of(bytes));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
