//! When requests arrive.

use std::str::FromStr;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};

use crate::shape::{OutOfRange, at_least_zero, positive};
use crate::text::{BadText, call, number};
use crate::{Arrival, Lengths, parse_duration};

const ALLOWED: &str = "a rate per second such as 20 or poisson(20), gamma(20,2.5) (rate, coefficient of variation) \
                       or stages such as 2:30s,20:60s (rate:duration)";

/// A time with one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Requests per second, at least 0.
    pub rate: f64,
    /// How long it lasts.
    pub duration: Duration,
}

/// A stationary renewal process whose clock runs at the rate of the moment.
///
/// The gaps between arrivals are Gamma distributed with mean 1 and a coefficient of variation (CV): 1 is Poisson, more is
/// bursty, 0 is evenly spaced. They are measured in expected arrivals, so a change of the rate acts at once and the
/// burstiness is the same at every rate. The first gap is what is left of a gap already begun, so that the expected
/// number of arrivals in any time is the integral of the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    stages: Vec<Stage>,
    cv: f64,
}

impl Process {
    /// Poisson arrivals, for ever, at a rate per second above 0.
    pub fn poisson(rate: f64) -> Result<Self, OutOfRange> {
        Self::gamma(rate, 1.0)
    }

    /// Arrivals for ever at a rate per second above 0, with Gamma distributed gaps of the given coefficient of variation.
    pub fn gamma(rate: f64, cv: f64) -> Result<Self, OutOfRange> {
        let stage = Stage { rate: positive("rate", rate)?, duration: Duration::MAX };
        Self::stages(vec![stage])?.with_cv(cv)
    }

    /// Poisson arrivals in stages, one after the other; then no more.
    pub fn stages(stages: Vec<Stage>) -> Result<Self, OutOfRange> {
        for stage in &stages {
            at_least_zero("rate", stage.rate)?;
        }
        Ok(Self { stages, cv: 1.0 })
    }

    /// The same rates with another coefficient of variation of the gaps, at least 0. (vLLM's benchmark calls 1 ÷ CV²
    /// burstiness.)
    pub fn with_cv(self, cv: f64) -> Result<Self, OutOfRange> {
        Ok(Self { cv: at_least_zero("coefficient of variation", cv)?, ..self })
    }

    /// How long it lasts; `None` if for ever.
    pub fn duration(&self) -> Option<Duration> {
        let total = self.stages.iter().try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.duration));
        total.filter(|total| *total < Duration::MAX)
    }

    /// The requests, in order of time.
    pub fn arrivals<R: Rng>(&self, lengths: &Lengths, rng: R) -> Arrivals<R> {
        Arrivals {
            stages: self.stages.clone().into_iter(),
            rate: 0.0,
            now: 0.0,
            end: 0.0,
            gaps: Gaps::new(self.cv),
            first: true,
            lengths: lengths.clone(),
            rng,
        }
    }
}

/// The requests of a [`Process`].
#[derive(Clone, Debug)]
pub struct Arrivals<R> {
    stages: std::vec::IntoIter<Stage>,
    /// The rate of the present stage.
    rate: f64,
    /// Seconds since the start: the last arrival, or the present stage's beginning.
    now: f64,
    /// Seconds since the start: the present stage's end.
    end: f64,
    gaps: Gaps,
    first: bool,
    lengths: Lengths,
    rng: R,
}

impl<R: Rng> Iterator for Arrivals<R> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let mut wait = if std::mem::take(&mut self.first) {
            self.gaps.residual(&mut self.rng)
        } else {
            self.gaps.whole(&mut self.rng)
        };
        loop {
            let left = (self.end - self.now) * self.rate;
            if self.rate > 0.0 && wait <= left {
                break;
            }
            let stage = self.stages.next()?;
            wait -= left;
            self.now = self.end;
            self.rate = stage.rate;
            self.end += stage.duration.as_secs_f64();
        }
        self.now += wait / self.rate;
        let (prompt_tokens, output_tokens) = self.lengths.sample(&mut self.rng);
        let at = Duration::try_from_secs_f64(self.now).ok()?;
        Some(Arrival { at, prompt_tokens, output_tokens })
    }
}

/// Gaps with mean 1.
#[derive(Clone, Copy, Debug)]
enum Gaps {
    Even,
    Random {
        gap: Gamma<f64>,
        /// Gaps weighted by their length: the one that a random moment falls into.
        begun: Gamma<f64>,
    },
}

impl Gaps {
    fn new(cv: f64) -> Self {
        let scale = cv * cv;
        let gamma = |shape| Gamma::new(shape, scale);
        match (gamma(1.0 / scale), gamma(1.0 / scale + 1.0)) {
            (Ok(gap), Ok(begun)) => Gaps::Random { gap, begun },
            // 1 ÷ 0 is no shape.
            _ => Gaps::Even,
        }
    }

    fn whole(self, rng: &mut impl Rng) -> f64 {
        match self {
            Gaps::Even => 1.0,
            Gaps::Random { gap, .. } => gap.sample(rng),
        }
    }

    fn residual(self, rng: &mut impl Rng) -> f64 {
        let part: f64 = rng.random();
        match self {
            Gaps::Even => part,
            Gaps::Random { begun, .. } => part * begun.sample(rng),
        }
    }
}

impl FromStr for Process {
    type Err = BadText;

    /// Reads `20`, `poisson(20)`, `gamma(20,2.5)` or `2:30s,20:60s,2:60s`.
    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = |problem| BadText { what: "arrivals", text: text.to_owned(), problem, allowed: ALLOWED };
        let range = |error: OutOfRange| error.to_string();
        let process = match call(text) {
            None if text.contains(':') => stages(text),
            None => number("rate", text).and_then(|rate| Self::poisson(rate).map_err(range)),
            Some(("poisson", arguments)) => match arguments[..] {
                [rate] => number("rate", rate).and_then(|rate| Self::poisson(rate).map_err(range)),
                _ => Err("poisson needs a rate".to_owned()),
            },
            Some(("gamma", arguments)) => gamma(&arguments),
            Some((name, _)) => Err(format!("there is no process {name:?}")),
        };
        process.map_err(bad)
    }
}

fn gamma(arguments: &[&str]) -> Result<Process, String> {
    let [rate, cv] = arguments else {
        return Err("gamma needs a rate and a coefficient of variation".to_owned());
    };
    let (rate, cv) = (number("rate", rate)?, number("coefficient of variation", cv)?);
    Process::gamma(rate, cv).map_err(|error| error.to_string())
}

fn stages(text: &str) -> Result<Process, String> {
    let stage = |(index, part): (usize, &str)| {
        let wrong = |problem: String| format!("stage {}: {problem}", index + 1);
        let (rate, duration) =
            part.split_once(':').ok_or_else(|| wrong(format!("{part:?} has no duration")))?;
        let rate = number("rate", rate).map_err(wrong)?;
        let rate = at_least_zero("rate", rate).map_err(|error| wrong(error.to_string()))?;
        let duration = parse_duration(duration).ok().filter(|duration| !duration.is_zero());
        let duration = duration.ok_or_else(|| wrong(format!("{part:?} has no duration such as 90s")))?;
        Ok(Stage { rate, duration })
    };
    let stages = text.split(',').map(str::trim).enumerate().map(stage).collect::<Result<_, String>>()?;
    Process::stages(stages).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Length, Shape, seeded};

    const ONE: Lengths = Lengths::Independent { prompt: Length::Fixed(1), output: Length::Fixed(1) };

    #[track_caller]
    fn check(text: &str, expected: Result<Process, &str>) {
        let read = Process::from_str(text).map_err(|error| error.to_string());
        let expected = expected.map_err(|problem| format!("arrivals {text:?}: {problem}; use {ALLOWED}"));
        assert_eq!(read, expected);
    }

    #[test]
    fn texts() {
        check("20", Ok(Process::poisson(20.0).unwrap()));
        check("poisson(0.5)", Ok(Process::gamma(0.5, 1.0).unwrap()));
        check("gamma(20, 2.5)", Ok(Process::gamma(20.0, 2.5).unwrap()));
        check("gamma(20,0)", Ok(Process::gamma(20.0, 0.0).unwrap()));
        let stage = |rate, seconds| Stage { rate, duration: Duration::from_secs(seconds) };
        let stages = Process::stages(vec![stage(2.0, 30), stage(0.0, 60), stage(2.5, 90)]).unwrap();
        assert_eq!(stages.duration(), Some(Duration::from_mins(3)));
        assert_eq!(Process::poisson(1.0).unwrap().duration(), None);
        check("2:30s, 0:1m, 2.5:1m30s", Ok(stages));
        check("", Err("the rate \"\" is not a number"));
        check("fast", Err("the rate \"fast\" is not a number"));
        check("0", Err("the rate 0 is not a number above 0"));
        check("poisson(-1)", Err("the rate -1 is not a number above 0"));
        check("poisson(inf)", Err("the rate \"inf\" is not a number"));
        check("poisson(1,2)", Err("poisson needs a rate"));
        check("gamma(20)", Err("gamma needs a rate and a coefficient of variation"));
        check("gamma(20,-1)", Err("the coefficient of variation -1 is not a number of at least 0"));
        check("weibull(20,1)", Err("there is no process \"weibull\""));
        check("2:30s,20", Err("stage 2: \"20\" has no duration"));
        check("2:30s,x:5s", Err("stage 2: the rate \"x\" is not a number"));
        check("-2:30s", Err("stage 1: the rate -2 is not a number of at least 0"));
        check("2:30", Err("stage 1: \"2:30\" has no duration such as 90s"));
        check("2:0s", Err("stage 1: \"2:0s\" has no duration such as 90s"));
    }

    /// Mean rate per second, coefficient of variation of the gaps, index of dispersion of the counts per second.
    fn measure(process: &Process, seconds: u64) -> (f64, f64, f64) {
        let times: Vec<f64> = process
            .arrivals(&ONE, seeded(11))
            .window(Duration::ZERO, Duration::from_secs(seconds))
            .map(|arrival| arrival.at.as_secs_f64())
            .collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut counts = vec![0.0; seconds as usize];
        for time in &times {
            counts[*time as usize] += 1.0;
        }
        let ((gap, gap_variance), (count, count_variance)) = (moments(&gaps), moments(&counts));
        (times.len() as f64 / seconds as f64, gap_variance.sqrt() / gap, count_variance / count)
    }

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
    }

    #[test]
    fn rates_and_dispersion() {
        for (cv, rate, dispersion) in
            [(1.0, 20.0, 0.9..1.1), (2.5, 20.0, 4.2..6.25), (0.5, 20.0, 0.2..0.35), (0.0, 20.0, 0.0..0.001)]
        {
            let (mean, gaps, counts) = measure(&Process::gamma(rate, cv).unwrap(), 5000);
            // Five standard errors of the count: its variance tends to CV² times its mean.
            let tolerance = 5.0 * cv / (rate * 5000.0_f64).sqrt() + 1e-4;
            assert!((mean / rate - 1.0).abs() < tolerance, "cv {cv}: {mean}");
            assert!((gaps - cv).abs() <= 0.03 * cv + 1e-6, "cv {cv}: {gaps}");
            // Over counts of about 20 gaps the index has not quite reached CV².
            assert!(dispersion.contains(&counts), "cv {cv}: {counts}");
        }
    }

    #[test]
    fn a_stage_has_its_rate_from_its_first_to_its_last_second() {
        for cv in [0.0, 1.0, 3.0] {
            let process = "2:30s,20:60s,0:10s,4:60s".parse::<Process>().unwrap().with_cv(cv).unwrap();
            let runs = 400;
            let mut counts = [0.0; 160];
            for seed in 0..runs {
                for arrival in process.arrivals(&ONE, seeded(seed)) {
                    counts[arrival.at.as_secs() as usize] += 1.0 / runs as f64;
                }
            }
            for (seconds, rate) in [(0..30, 2.0), (30..90, 20.0), (90..100, 0.0), (100..160, 4.0)] {
                let (first, last) = (seconds.start, seconds.end - 1);
                let mean = counts[seconds.clone()].iter().sum::<f64>() / seconds.len() as f64;
                assert!((mean - rate).abs() <= 0.05 * rate, "cv {cv}, {seconds:?}: {mean}");
                // A second's count has a variance of at most CV² × rate.
                let tolerance = 5.0 * (cv * cv * rate / runs as f64).sqrt() + 0.26;
                for second in [first, last] {
                    let seen = counts[second];
                    assert!((seen - rate).abs() <= tolerance, "cv {cv}, second {second}: {seen}");
                }
            }
        }
    }

    #[test]
    fn a_seed_is_a_load() {
        let process = Process::gamma(5.0, 2.0).unwrap();
        let lengths =
            Lengths::Independent { prompt: "lognormal(512,1)".parse().unwrap(), output: Length::Fixed(9) };
        let run = |seed| process.arrivals(&lengths, seeded(seed)).take(100).collect::<Vec<_>>();
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        assert!(run(3).is_sorted_by_key(|arrival| arrival.at));
        // The generator and the distributions are part of what a seed means.
        let arrival = Process::poisson(1.0).unwrap().arrivals(&ONE, seeded(1)).next();
        assert_eq!(arrival.map(|arrival| arrival.at.as_nanos()), Some(2_249_495_476));
    }
}
