//! What can be done to a load: cut, stretched, thinned, scaled, spread.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::Arrival;

/// A number outside of what it may be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the {what} {value} is not {allowed}")]
pub struct OutOfRange {
    what: &'static str,
    value: f64,
    allowed: &'static str,
}

pub(crate) fn positive(what: &'static str, value: f64) -> Result<f64, OutOfRange> {
    let allowed = "a number above 0";
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err(OutOfRange { what, value, allowed }) }
}

pub(crate) fn at_least_zero(what: &'static str, value: f64) -> Result<f64, OutOfRange> {
    let allowed = "a number of at least 0";
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(OutOfRange { what, value, allowed }) }
}

/// Changes of a load; every one keeps the order of time, and ties.
pub trait Shape: Iterator<Item = Arrival> + Sized {
    /// Only what arrives in `from..to`; time then counts from `from`.
    fn window(self, from: Duration, to: Duration) -> impl Iterator<Item = Arrival> {
        self.skip_while(move |arrival| arrival.at < from)
            .take_while(move |arrival| arrival.at < to)
            .map(move |arrival| Arrival { at: arrival.at.saturating_sub(from), ..arrival })
    }

    /// Makes all times longer by `factor`: 2 halves the rate, 0.5 doubles it.
    fn stretch(self, factor: f64) -> Result<impl Iterator<Item = Arrival>, OutOfRange> {
        let factor = positive("stretch", factor)?;
        Ok(self.map(move |arrival| Arrival { at: times(arrival.at, factor), ..arrival }))
    }

    /// Keeps each arrival with probability `keep`, as one of several randomly routed shards would see it. Levels and
    /// their time scale stay, bursts shorter than the gaps are thinned towards Poisson.
    fn thin(self, keep: f64, mut rng: impl Rng) -> Result<impl Iterator<Item = Arrival>, OutOfRange> {
        if !(0.0..=1.0).contains(&keep) {
            return Err(OutOfRange { what: "share to keep", value: keep, allowed: "a number from 0 to 1" });
        }
        Ok(self.filter(move |_| rng.random_bool(keep)))
    }

    /// Multiplies the lengths: a smaller or a longer request at the same time. Rounded, at least 1 token.
    fn scale(self, prompt: f64, output: f64) -> Result<impl Iterator<Item = Arrival>, OutOfRange> {
        let (prompt, output) = (positive("scale", prompt)?, positive("scale", output)?);
        let scaled = |tokens: u32, factor: f64| ((f64::from(tokens) * factor).round() as u32).max(1);
        Ok(self.map(move |arrival| Arrival {
            prompt_tokens: scaled(arrival.prompt_tokens, prompt),
            output_tokens: scaled(arrival.output_tokens, output),
            ..arrival
        }))
    }

    /// Undoes the quantisation of a trace's clock: what arrives at one moment is spread evenly at random over the
    /// `quantum` that follows, never beyond the next moment of the trace.
    fn spread<R: Rng>(self, quantum: Duration, rng: R) -> Spread<Self, R> {
        Spread { source: self.peekable(), quantum, rng, batch: VecDeque::new() }
    }
}

impl<I: Iterator<Item = Arrival>> Shape for I {}

fn times(at: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(at.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// See [`Shape::spread`].
#[derive(Debug)]
pub struct Spread<I: Iterator<Item = Arrival>, R> {
    source: Peekable<I>,
    quantum: Duration,
    rng: R,
    batch: VecDeque<Arrival>,
}

impl<I: Iterator<Item = Arrival>, R: Rng> Iterator for Spread<I, R> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.batch.is_empty() {
            let first = self.source.next()?;
            self.batch.push_back(first);
            while let Some(tie) = self.source.next_if(|next| next.at == first.at) {
                self.batch.push_back(tie);
            }
            let gap = self.source.peek().map(|next| next.at.saturating_sub(first.at));
            let room = gap.map_or(self.quantum, |gap| gap.min(self.quantum));
            for arrival in &mut self.batch {
                arrival.at += times(room, self.rng.random());
            }
            self.batch.make_contiguous().sort_by_key(|arrival| arrival.at);
        }
        self.batch.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeded;

    fn load(milliseconds: &[u64]) -> Vec<Arrival> {
        let arrival = |(index, at): (usize, &u64)| Arrival {
            at: Duration::from_millis(*at),
            prompt_tokens: index as u32 + 1,
            output_tokens: 10,
        };
        milliseconds.iter().enumerate().map(arrival).collect()
    }

    #[track_caller]
    fn check(result: impl Iterator<Item = Arrival>, expected: &[(u64, u32, u32)]) {
        let seen: Vec<_> =
            result.map(|a| (a.at.as_millis() as u64, a.prompt_tokens, a.output_tokens)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn shapes() {
        let all = load(&[0, 1000, 1000, 2500, 4000]);
        let load = || all.iter().copied();
        let window = |from, to| load().window(Duration::from_millis(from), Duration::from_millis(to));
        check(window(1000, 4000), &[(0, 2, 10), (0, 3, 10), (1500, 4, 10)]);
        check(window(1001, 2501), &[(1499, 4, 10)]);
        check(window(5000, 9000), &[]);
        check(window(3000, 1000), &[]);
        check(
            load().stretch(0.5).unwrap(),
            &[(0, 1, 10), (500, 2, 10), (500, 3, 10), (1250, 4, 10), (2000, 5, 10)],
        );
        check(load().scale(2.0, 0.01).unwrap().take(2), &[(0, 2, 1), (1000, 4, 1)]);
        assert!(load().thin(1.0, seeded(1)).unwrap().eq(load()));
        assert_eq!(load().thin(0.0, seeded(1)).unwrap().count(), 0);
    }

    #[test]
    fn what_is_out_of_range_is_told() {
        let load = || std::iter::empty::<Arrival>();
        let sentence = |error: Option<OutOfRange>| error.unwrap().to_string();
        assert_eq!(sentence(load().stretch(0.0).err()), "the stretch 0 is not a number above 0");
        assert_eq!(sentence(load().scale(1.0, f64::NAN).err()), "the scale NaN is not a number above 0");
        assert_eq!(
            sentence(load().thin(1.5, seeded(1)).err()),
            "the share to keep 1.5 is not a number from 0 to 1"
        );
    }

    #[test]
    fn thinning_keeps_the_share_and_depends_on_the_seed() {
        let all = load(&(0..10_000).collect::<Vec<_>>());
        let kept = |seed| all.iter().copied().thin(0.25, seeded(seed)).unwrap().collect::<Vec<_>>();
        // Five standard deviations of a binomial: 5 × √(10000 × 0.25 × 0.75) = 217.
        assert!(kept(1).len().abs_diff(2500) < 217, "{}", kept(1).len());
        assert_eq!(kept(1), kept(1));
        assert_ne!(kept(1), kept(2));
    }

    #[test]
    fn a_batch_is_spread_over_its_quantum() {
        let times: Vec<u64> = (0..300).flat_map(|batch| [batch * 3000; 10]).collect();
        let spread: Vec<_> = load(&times)
            .into_iter()
            .spread(Duration::from_secs(3), seeded(1))
            .map(|a| a.at.as_secs_f64())
            .collect();
        assert!(spread.is_sorted());
        assert_eq!(spread.len(), 3000);
        let early = spread.iter().filter(|at| *at % 3.0 < 1.0).count();
        assert!(early.abs_diff(1000) < 130, "{early}");
    }

    proptest! {
        #[test]
        fn every_shape_keeps_the_order(
            mut times in prop::collection::vec(0..20_000_u64, 0..50),
            (from, to, factor, keep) in (0..20_000_u64, 0..20_000_u64, 0.01..9.0_f64, 0.0..=1.0_f64),
            quantum in 0..5000_u64,
        ) {
            times.sort_unstable();
            let load = || load(&times).into_iter();
            let sorted = |load: Vec<Arrival>| load.is_sorted_by_key(|arrival| arrival.at);
            let window = load().window(Duration::from_millis(from), Duration::from_millis(to));
            prop_assert!(sorted(window.collect()));
            prop_assert!(sorted(load().stretch(factor).unwrap().collect()));
            prop_assert!(sorted(load().thin(keep, seeded(from)).unwrap().collect()));
            let spread: Vec<_> = load().spread(Duration::from_millis(quantum), seeded(from)).collect();
            prop_assert_eq!(spread.len(), times.len());
            prop_assert!(sorted(spread));
        }
    }
}
