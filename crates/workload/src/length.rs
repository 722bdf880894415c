//! How long requests are.

use std::str::FromStr;
use std::sync::Arc;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal};

use crate::text::{BadText, call, number};

const ALLOWED: &str = "512, lognormal(512,1.0) (median, sigma), lognormal(mean=512,1.0) or uniform(100,900)";

/// The distribution of one length, in tokens. What is drawn is rounded and never below 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Always the same, at least 1.
    Fixed(u32),
    /// Log-normal.
    LogNormal {
        /// Half of the lengths are above it; above 0.
        median: f64,
        /// The standard deviation of the logarithm, at least 0. The mean is median × exp(sigma² ÷ 2).
        sigma: f64,
    },
    /// Every whole number from `low` to `high`, both included, equally often.
    Uniform {
        /// The least, at least 1.
        low: u32,
        /// The greatest, at least `low`.
        high: u32,
    },
}

impl Length {
    /// Draws one length.
    pub fn sample(self, rng: &mut impl Rng) -> u32 {
        match self {
            Length::Fixed(tokens) => tokens.max(1),
            Length::LogNormal { median, sigma } => {
                let factor = LogNormal::new(0.0, sigma).map_or(1.0, |factor| factor.sample(rng));
                // `as` saturates: what is too long becomes the longest.
                ((median * factor).round() as u32).max(1)
            }
            Length::Uniform { low, high } => rng.random_range(low..=high.max(low)).max(1),
        }
    }

    /// The mean before rounding.
    pub fn mean(self) -> f64 {
        match self {
            Length::Fixed(tokens) => f64::from(tokens),
            Length::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
            Length::Uniform { low, high } => f64::midpoint(f64::from(low), f64::from(high)),
        }
    }
}

impl FromStr for Length {
    type Err = BadText;

    /// Reads `512`, `lognormal(512,1.0)`, `lognormal(mean=512,1.0)` or `uniform(100,900)`.
    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = |problem| BadText { what: "length", text: text.to_owned(), problem, allowed: ALLOWED };
        let length = match call(text) {
            None => tokens("length", text).map(Length::Fixed),
            Some(("lognormal", arguments)) => lognormal(&arguments),
            Some(("uniform", arguments)) => uniform(&arguments),
            Some((name, _)) => Err(format!("there is no distribution {name:?}")),
        };
        length.map_err(bad)
    }
}

fn tokens(what: &str, text: &str) -> Result<u32, String> {
    match text.trim().parse::<u32>() {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(format!(
            "the {what} {:?} is not a whole number of tokens from 1 to {}",
            text.trim(),
            u32::MAX
        )),
    }
}

fn lognormal(arguments: &[&str]) -> Result<Length, String> {
    let [centre, sigma] = arguments else {
        return Err("lognormal needs a median and a sigma".to_owned());
    };
    let mean = centre.strip_prefix("mean=");
    let name = if mean.is_some() { "mean" } else { "median" };
    let centre = number(name, mean.unwrap_or(centre))?;
    if centre <= 0.0 {
        return Err(format!("the {name} {centre} is not above 0"));
    }
    let sigma = number("sigma", sigma)?;
    if sigma < 0.0 {
        return Err(format!("the sigma {sigma} is below 0"));
    }
    let median = if mean.is_some() { centre / (sigma * sigma / 2.0).exp() } else { centre };
    Ok(Length::LogNormal { median, sigma })
}

fn uniform(arguments: &[&str]) -> Result<Length, String> {
    let [low, high] = arguments else {
        return Err("uniform needs a least and a greatest length".to_owned());
    };
    let (low, high) = (tokens("least length", low)?, tokens("greatest length", high)?);
    if low > high {
        return Err(format!("the least length {low} is above the greatest, {high}"));
    }
    Ok(Length::Uniform { low, high })
}

/// The lengths of requests: prompt and output.
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// Drawn independently of each other.
    Independent {
        /// Of the prompt.
        prompt: Length,
        /// Of the output.
        output: Length,
    },
    /// One of these pairs (prompt, output), each equally often: what goes with what is kept. See
    /// [`Trace::lengths`](crate::Trace::lengths).
    Joint(Arc<[(u32, u32)]>),
}

impl Lengths {
    /// Draws one request's prompt and output, in tokens. Without any pair to choose from, 1 and 1.
    pub fn sample(&self, rng: &mut impl Rng) -> (u32, u32) {
        match self {
            Lengths::Independent { prompt, output } => (prompt.sample(rng), output.sample(rng)),
            Lengths::Joint(pairs) if pairs.is_empty() => (1, 1),
            Lengths::Joint(pairs) => pairs[rng.random_range(0..pairs.len())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded;

    #[track_caller]
    fn check(text: &str, expected: Result<Length, &str>) {
        let read = Length::from_str(text).map_err(|error| error.to_string());
        let expected = expected.map_err(|problem| format!("length {text:?}: {problem}; use {ALLOWED}"));
        assert_eq!(read, expected);
    }

    #[test]
    fn texts() {
        check("512", Ok(Length::Fixed(512)));
        check("lognormal(512,1.0)", Ok(Length::LogNormal { median: 512.0, sigma: 1.0 }));
        check("lognormal(mean=512, 0)", Ok(Length::LogNormal { median: 512.0, sigma: 0.0 }));
        check("uniform( 100 , 900 )", Ok(Length::Uniform { low: 100, high: 900 }));
        let range = "is not a whole number of tokens from 1 to 4294967295";
        for wrong in ["", "0", "-1", "12.5", "many", "5000000000"] {
            check(wrong, Err(&format!("the length {wrong:?} {range}")));
        }
        check("normal(1,2)", Err("there is no distribution \"normal\""));
        check("lognormal(512)", Err("lognormal needs a median and a sigma"));
        check("lognormal(x,1)", Err("the median \"x\" is not a number"));
        check("lognormal(mean=NaN,1)", Err("the mean \"NaN\" is not a number"));
        check("lognormal(0,1)", Err("the median 0 is not above 0"));
        check("lognormal(5,-1)", Err("the sigma -1 is below 0"));
        check("uniform(5)", Err("uniform needs a least and a greatest length"));
        check("uniform(0,5)", Err(&format!("the least length \"0\" {range}")));
        check("uniform(9,5)", Err("the least length 9 is above the greatest, 5"));
    }

    fn drawn(length: Length) -> Vec<u32> {
        let mut rng = seeded(1);
        let mut drawn: Vec<_> = (0..20_001).map(|_| length.sample(&mut rng)).collect();
        drawn.sort_unstable();
        drawn
    }

    #[test]
    fn a_sample_has_the_mean_that_is_claimed() {
        for text in [
            "512",
            "lognormal(512,1.0)",
            "lognormal(mean=512,1.0)",
            "lognormal(mean=300,0.5)",
            "uniform(100,900)",
        ] {
            let length: Length = text.parse().unwrap();
            let drawn = drawn(length);
            let mean = drawn.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / drawn.len() as f64;
            assert!((mean / length.mean() - 1.0).abs() < 0.03, "{text}: {mean}");
        }
        assert_eq!("lognormal(mean=300,0.5)".parse::<Length>().unwrap().mean().round(), 300.0);
    }

    #[test]
    fn a_lognormal_length_has_its_median_and_its_sigma() {
        let drawn = drawn(Length::LogNormal { median: 512.0, sigma: 1.0 });
        assert!((490..535).contains(&drawn[10_000]), "{}", drawn[10_000]);
        // One sigma up: 512 × e = 1392.
        assert!((1330..1455).contains(&drawn[16_827]), "{}", drawn[16_827]);
        let one = Length::LogNormal { median: 0.01, sigma: 0.1 };
        assert_eq!(one.sample(&mut seeded(1)), 1);
        let long = Length::LogNormal { median: 1e300, sigma: 0.1 };
        assert_eq!(long.sample(&mut seeded(1)), u32::MAX);
    }

    #[test]
    fn a_uniform_length_reaches_both_ends() {
        let drawn = drawn(Length::Uniform { low: 3, high: 7 });
        let counts: Vec<usize> =
            (2..=8).map(|n| drawn.iter().filter(|&&tokens| tokens == n).count()).collect();
        assert!(counts[0] == 0 && counts[6] == 0, "{counts:?}");
        assert!(counts[1..6].iter().all(|count| (3700..4300).contains(count)), "{counts:?}");
    }

    #[test]
    fn joint_lengths_stay_together() {
        let lengths = Lengths::Joint([(1, 10), (2, 20), (3, 30)].into());
        let mut rng = seeded(5);
        let mut seen = [0; 3];
        for _ in 0..3000 {
            let (prompt, output) = lengths.sample(&mut rng);
            assert_eq!(prompt * 10, output);
            seen[prompt as usize - 1] += 1;
        }
        assert!(seen.iter().all(|count| (900..1100).contains(count)), "{seen:?}");
        assert_eq!(Lengths::Joint([].into()).sample(&mut rng), (1, 1));
    }
}
