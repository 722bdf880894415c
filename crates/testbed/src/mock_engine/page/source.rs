//! Reads the file of a page.

use std::collections::HashMap;

use super::{Meter, Origin, Quantity, Slot, Subject, Template, write};
use crate::mock_engine::ADAPTER;
use crate::mock_engine::tally::Histogram;

/// Parts that several pages have.
const PARTS: [(&str, &str); 2] =
    [("python", include_str!("../pages/python.page")), ("http", include_str!("../pages/http.page"))];
/// Bounds of lengths up to a context of 4,096 tokens, that of the scripted model, and of 131,072: vLLM's own follow from the
/// model's context.
const LENGTH: &str = "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0";
const LONG_LENGTH: &str =
    "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0 5000.0 10000.0 20000.0 50000.0 100000.0";

/// A page's file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the page of the mock engine {engine} cannot be read: {problem} in {line:?}")]
pub(in crate::mock_engine) struct BadPage {
    engine: &'static str,
    problem: &'static str,
    line: String,
}

struct Reader {
    template: Template,
    origin: Origin,
    /// What stands for `$name` anywhere.
    words: [(&'static str, String); 5],
    bounds: HashMap<String, String>,
}

pub(super) fn read(subject: &Subject<'_>) -> Result<Template, BadPage> {
    let dialect = subject.kind.dialect();
    let length = if subject.origin == Origin::Scripted { LENGTH } else { LONG_LENGTH };
    let mut reader = Reader {
        template: Template {
            text: String::new(),
            slots: Vec::new(),
            numerals: dialect.numerals,
            histograms: Vec::new(),
        },
        origin: subject.origin,
        words: [
            ("$model", subject.model.to_owned()),
            ("$adapter", ADAPTER.to_owned()),
            ("$capacity", subject.capacity.to_string()),
            ("$blocks16", (subject.capacity / 16).to_string()),
            ("$blocks32", (subject.capacity / 32).to_string()),
        ],
        bounds: HashMap::from([("length".to_owned(), length.to_owned())]),
    };
    let bad = |(problem, line)| BadPage { engine: dialect.name, problem, line };
    reader.file(dialect.page).map_err(bad)?;
    Ok(reader.template)
}

/// What is wrong, and the line.
type Problem = (&'static str, String);

impl Reader {
    fn file(&mut self, text: &str) -> Result<(), Problem> {
        for line in text.lines() {
            let words = self.words.iter();
            let filled = words.fold(line.to_owned(), |line, (name, value)| line.replace(name, value));
            match filled.strip_prefix("! ") {
                Some(directive) => self.directive(directive)?,
                None if filled.is_empty() || filled.starts_with('#') => self.verbatim(&filled),
                None => self.sample(&filled).map_err(|problem| (problem, line.to_owned()))?,
            }
        }
        Ok(())
    }

    fn directive(&mut self, directive: &str) -> Result<(), Problem> {
        let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        match (word, rest.split_once(' ')) {
            ("note", _) => Ok(()),
            ("bounds", Some((name, bounds))) => {
                let all = self.bounds.entry(name.to_owned()).or_default();
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(bounds);
                Ok(())
            }
            ("include", None) => match PARTS.iter().find(|(name, _)| *name == rest) {
                Some((_, part)) => self.file(part),
                None => Err(("unknown part", directive.to_owned())),
            },
            _ => Err(("unknown directive", directive.to_owned())),
        }
    }

    fn verbatim(&mut self, line: &str) {
        self.template.text.push_str(line);
        self.template.text.push('\n');
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let Some(value) = value.strip_prefix('$') else {
            self.verbatim(line);
            return Ok(());
        };
        if let Some(arguments) = value.strip_prefix("histogram(") {
            let (what, bounds) = arguments.trim_end_matches(')').split_once(',').ok_or("no bounds")?;
            return self.histogram(series, what, bounds);
        }
        let named = |name| Quantity::named(name).ok_or("unknown quantity");
        let slot = if let Some((name, factor)) = value.split_once('*') {
            Slot::Quantity(named(name)?, factor.parse().map_err(|_| "no factor")?)
        } else if let Some((name, digits)) = value.split_once(':') {
            Slot::Rounded(named(name)?, digits.parse().map_err(|_| "no number of places")?)
        } else {
            Slot::Quantity(named(value)?, 1.0)
        };
        self.spliced(series, slot);
        Ok(())
    }

    fn spliced(&mut self, series: &str, slot: Slot) {
        let template = &mut self.template;
        template.text.push_str(series);
        template.text.push(' ');
        template.slots.push((template.text.len(), slot));
        template.text.push('\n');
    }

    fn zero(&mut self, series: &str) {
        self.template.text.push_str(series);
        self.template.text.push(' ');
        write(self.template.numerals, &mut self.template.text, 0.0);
        self.template.text.push('\n');
    }

    /// Buckets, count and sum of one series.
    ///
    /// A scripted engine's values are taken to be log-logistic with shape 2: the share below x is `1 ÷ (1 + (median ÷ x)²)`
    /// and the mean is `median × π ÷ 2`.
    fn histogram(&mut self, series: &str, what: &str, bounds: &str) -> Result<(), &'static str> {
        let bounds = self.bounds.get(bounds).ok_or("unknown bounds")?.clone();
        let mut ends = Vec::new();
        for bound in bounds.split(' ') {
            ends.push((bound, bound.parse::<f64>().map_err(|_| "a bound that is no number")?));
        }
        ends.push(("+Inf", f64::INFINITY));
        let (name, labels) = series
            .split_once('{')
            .map_or((series, ""), |(name, labels)| (name, labels.strip_suffix('}').unwrap_or(labels)));
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = |bound: &str| format!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}}");
        let of = |suffix: &str| series.replacen(name, &format!("{name}_{suffix}"), 1);
        let (count, sum) = (of("count"), of("sum"));
        if what == "none" {
            for (bound, _) in &ends {
                self.zero(&bucket(bound));
            }
            self.zero(&count);
            self.zero(&sum);
            return Ok(());
        }
        let histogram = Histogram::named(what).ok_or("unknown histogram")?;
        if self.origin == Origin::Scripted {
            let (meter, median): (Meter, f64) = histogram.scripted();
            for (bound, end) in &ends {
                self.spliced(&bucket(bound), Slot::Fraction(meter, 1.0 / (1.0 + (median / end).powi(2))));
            }
            self.spliced(&count, Slot::Quantity(Quantity::Count(meter), 1.0));
            let mean = median * std::f64::consts::FRAC_PI_2;
            self.spliced(&sum, Slot::Quantity(Quantity::Count(meter), mean));
        } else {
            let finite = ends[..ends.len() - 1].iter().map(|(_, end)| *end).collect();
            let tally = self.tally(histogram, finite);
            for (index, (bound, _)) in ends.iter().enumerate() {
                self.spliced(&bucket(bound), Slot::Bucket(tally, index));
            }
            self.spliced(&count, Slot::Observations(tally));
            self.spliced(&sum, Slot::Observed(tally));
        }
        Ok(())
    }

    /// The index of the tally with these bounds.
    fn tally(&mut self, histogram: Histogram, bounds: Vec<f64>) -> usize {
        let all = &mut self.template.histograms;
        let wanted = (histogram, bounds);
        all.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            all.push(wanted);
            all.len() - 1
        })
    }
}
