//! Which series of a page are meant: a name, and matchers on labels as PromQL has them.
//!
//! ```
//! use windlass_metrics::Selector;
//!
//! let selector: Selector = r#"sglang:num_running_reqs{tp_rank=~"0|",model_name!="draft"}"#.parse()?;
//! assert_eq!(selector.name, "sglang:num_running_reqs");
//! assert_eq!(selector.matchers.len(), 2);
//! # Ok::<(), windlass_metrics::SelectorError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use regex_lite::Regex;
use thiserror::Error;

use crate::exposition::Labels;

/// A longer text is no selector.
const LONGEST: usize = 1000;

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a metric name{}; give a name, with matchers on labels if need be \
     (`name{{label=\"value\"}}`), without blanks, functions or ranges",
    problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default()
)]
pub struct SelectorError {
    /// What was given.
    pub text: String,
    /// What is wrong with its matchers; `None` if it has none.
    pub problem: Option<String>,
}

/// A metric's name and matchers on its labels; all of them must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The name as it is on pages, `_total` and the like included.
    pub name: String,
    /// In the order they were written.
    pub matchers: Vec<Matcher>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, for the whole value
    Matches,
    /// `!~`, for the whole value
    MatchesNot,
}

impl Comparison {
    /// Longer signs before the shorter ones they begin with.
    const SIGNS: [(&'static str, Self); 4] =
        [("=~", Self::Matches), ("!~", Self::MatchesNot), ("!=", Self::NotEqual), ("=", Self::Equal)];
}

/// What one label must be. A label that a series does not have is the empty text, as in PromQL.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: a text or a regular expression.
    pub value: String,
    pattern: Pattern,
}

/// A value, ready to be compared.
#[derive(Debug, Clone)]
enum Pattern {
    /// One of these texts. Nearly every expression in use is such a list, and it is compared without allocating.
    AnyOf(Vec<String>),
    Expression(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        // The pattern follows from the others.
        (&self.label, self.comparison, &self.value) == (&other.label, other.comparison, &other.value)
    }
}

impl Eq for Matcher {}

impl Matcher {
    /// Fails where the value of `=~` or `!~` is no regular expression.
    pub fn new(label: &str, comparison: Comparison, value: &str) -> Result<Self, String> {
        let literal = |text: &str| !text.contains(|c| "\\.+*?()|[]{}^$".contains(c));
        let pattern = match comparison {
            Comparison::Equal | Comparison::NotEqual => Pattern::AnyOf(vec![value.to_owned()]),
            _ if value.split('|').all(literal) => {
                Pattern::AnyOf(value.split('|').map(str::to_owned).collect())
            }
            // By itself first: `a)|(b` is an expression only between the parentheses.
            _ => Pattern::Expression(
                Regex::new(value)
                    .and_then(|_| Regex::new(&format!("^(?s:{value})$")))
                    .map_err(|error| format!("`{value}` is no regular expression: {error}"))?,
            ),
        };
        Ok(Self { label: label.to_owned(), comparison, value: value.to_owned(), pattern })
    }

    /// Whether a series with these labels is meant. Of a label that comes twice, the first counts.
    pub fn matches(&self, labels: Labels<'_>) -> bool {
        let value = labels.iter().find(|(name, _)| *name == *self.label).map(|(_, value)| value);
        let found = match (&self.pattern, value) {
            (Pattern::AnyOf(texts), None) => texts.iter().any(String::is_empty),
            (Pattern::AnyOf(texts), Some(value)) => texts.iter().any(|text| value == **text),
            (Pattern::Expression(expression), value) => {
                expression.is_match(&value.map(|value| value.to_str()).unwrap_or_default())
            }
        };
        found == matches!(self.comparison, Comparison::Equal | Comparison::Matches)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Comparison::SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison);
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.label, sign.map_or("=", |(sign, _)| sign))
    }
}

impl Selector {
    /// A name without matchers.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), matchers: Vec::new() }
    }

    /// The same with further matchers; one on a label that has matchers already takes their place.
    #[must_use]
    pub fn narrowed(&self, matchers: &[Matcher]) -> Self {
        let replaced = |known: &&Matcher| !matchers.iter().any(|matcher| matcher.label == known.label);
        let kept = self.matchers.iter().filter(replaced).chain(matchers);
        Self { name: self.name.clone(), matchers: kept.cloned().collect() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let matchers: Vec<_> = self.matchers.iter().map(Matcher::to_string).collect();
        if matchers.is_empty() { Ok(()) } else { write!(f, "{{{}}}", matchers.join(",")) }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |problem| SelectorError { text: text.to_owned(), problem };
        if text.len() > LONGEST {
            let start = text.chars().take(40).collect::<String>();
            let problem = Some(format!("longer than {LONGEST} bytes"));
            return Err(SelectorError { text: format!("{start}…"), problem });
        }
        let (name, braces) = text.find('{').map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
        if !is_metric_name(name) {
            return Err(error(None));
        }
        let matchers = braces.map_or(Ok(Vec::new()), matchers).map_err(|problem| error(Some(problem)))?;
        Ok(Self { name: name.to_owned(), matchers })
    }
}

/// Names a page may have, those in quotes included; refuses what looks like a query.
pub(crate) fn is_metric_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "{}()[]\"'`\\,=".contains(c);
    !name.is_empty() && !name.contains(odd)
}

/// What follows the opening brace, to the end of the text.
fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let mut matchers = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return if after.is_empty() { Ok(matchers) } else { Err(format!("`{after}` after the brace")) };
        }
        let length = rest.find(|c: char| !(c.is_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
        let (label, after) = rest.split_at(length);
        if label.is_empty() || label.starts_with(|c: char| c.is_numeric()) {
            return Err("a label or `}` is missing".to_owned());
        }
        let after = after.trim_start();
        let sign = Comparison::SIGNS.iter().find(|(sign, _)| after.starts_with(sign));
        let Some((sign, comparison)) = sign else {
            return Err(format!("label {label} needs one of = != =~ !~ behind it"));
        };
        let (value, after) = quoted(after[sign.len()..].trim_start())
            .ok_or_else(|| format!("label {label} needs a value in quotes"))?;
        matchers.push(Matcher::new(label, *comparison, &value)?);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.starts_with('}') => after,
            None => return Err(format!("`,` or `}}` is missing behind label {label}")),
        };
    }
}

/// The text in quotes at the start of `text`, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut value = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"' | '\'') => value.push(escaped),
                // Expressions are full of backslashes.
                other => value.extend(['\\', other]),
            },
            character if character == quote => return Some((value, &text[at + 2..])),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Entry, Format, parse};

    fn matches(selector: &str, labels: &str) -> bool {
        let selector: Selector = selector.parse().unwrap();
        let page = format!("x{{{labels}}} 1\n");
        let sample = match parse(page.as_bytes(), Format::Text).next().unwrap().unwrap() {
            Entry::Sample(sample) => sample,
            other => panic!("{other:?}"),
        };
        selector.matchers.iter().all(|matcher| matcher.matches(sample.labels))
    }

    #[test]
    fn labels_are_matched() {
        let check = |selector: &str, labels: &str, expected: bool| {
            assert_eq!(matches(selector, labels), expected, "{selector} on {{{labels}}}");
        };
        check("x", r#"a="1""#, true);
        check("x{}", r#"a="1""#, true);
        check(r#"x{a="1"}"#, r#"a="1""#, true);
        check(r#"x{a="1"}"#, r#"b="1",a="2""#, false);
        check(r#"x{ a = '1' , b != "2", }"#, r#"a="1",b="3""#, true);
        check(r#"x{a="1",b!="2"}"#, r#"a="1",b="2""#, false);
        for (selector, absent) in [
            (r#"x{a=""}"#, true),
            (r#"x{a!=""}"#, false),
            (r#"x{a="1"}"#, false),
            (r#"x{a!="1"}"#, true),
            (r#"x{a=~"0|"}"#, true),
            (r#"x{a=~".*"}"#, true),
            (r#"x{a=~".+"}"#, false),
            (r#"x{a!~"1|2"}"#, true),
        ] {
            check(selector, "", absent);
            check(selector, r#"a="""#, absent);
            check(selector, r#"b="1""#, absent);
        }
        check(r#"x{a=~"0|"}"#, r#"a="0""#, true);
        check(r#"x{a=~"0|"}"#, r#"a="1""#, false);
        check(r#"x{a=~"l.*a"}"#, r#"a="llama""#, true);
        check(r#"x{a=~"lam"}"#, r#"a="llama""#, false);
        check(r#"x{a=~"l|.*a"}"#, r#"a="llama""#, true);
        check(r#"x{a=~"ll|ma"}"#, r#"a="llama""#, false);
        check(r#"x{a!~"l.*"}"#, r#"a="llama""#, false);
        check(r#"x{a=~"v1\.5"}"#, r#"a="v1.5""#, true);
        check(r#"x{a=~"v1\.5"}"#, r#"a="v1x5""#, false);
        check(r#"x{a="q\"\\\n"}"#, r#"a="q\"\\\n""#, true);
        check(r#"x{a=~"q.*"}"#, r#"a="q\n""#, true);
        check(r#"x{a="b}"}"#, r#"a="b}""#, true);
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["x", "vllm:a_total", "my.queue/depth", r#"x{a="1",b!="2",c=~"a|b",d!~"\\d\"\n"}"#] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
            assert_eq!(selector.to_string().parse(), Ok(selector));
        }
    }

    #[test]
    fn what_is_no_selector_is_told() {
        let check = |text: &str, problem: Option<&str>| {
            let error = text.parse::<Selector>().unwrap_err();
            assert_eq!(error.problem.as_deref(), problem, "{text}");
            assert!(error.to_string().contains(&format!("`{text}` is not a metric name")), "{error}");
        };
        for text in ["", "a b", "rate(x[1m])", "x\n", "x[5m]", "{a=\"b\"}", "\"x\""] {
            check(text, None);
        }
        check("x{", Some("a label or `}` is missing"));
        check("x{a", Some("label a needs one of = != =~ !~ behind it"));
        check("x{a>\"1\"}", Some("label a needs one of = != =~ !~ behind it"));
        check("x{a=1}", Some("label a needs a value in quotes"));
        check("x{a=\"1}", Some("label a needs a value in quotes"));
        check("x{a=\"1\"", Some("`,` or `}` is missing behind label a"));
        check("x{a=\"1\" b=\"2\"}", Some("`,` or `}` is missing behind label a"));
        check("x{a=\"1\"}[5m]", Some("`[5m]` after the brace"));
        check("x{,}", Some("a label or `}` is missing"));
        check("x{1=\"1\"}", Some("a label or `}` is missing"));
        let long = "x".repeat(1001);
        assert!(long.parse::<Selector>().unwrap_err().to_string().len() < 300);
        let error = r#"x{a=~"("}"#.parse::<Selector>().unwrap_err().problem.unwrap();
        assert!(error.starts_with("`(` is no regular expression"), "{error}");
        let error = r#"x{a=~"a)|(b"}"#.parse::<Selector>().unwrap_err().problem.unwrap();
        assert!(error.starts_with("`a)|(b` is no regular expression"), "{error}");
    }

    #[test]
    fn narrowing_replaces_what_is_said_of_the_same_label() {
        let known: Selector = r#"x{tp="0",pp="0"}"#.parse().unwrap();
        let more: Selector = r#"x{tp="1",model="m"}"#.parse().unwrap();
        assert_eq!(known.narrowed(&more.matchers).to_string(), r#"x{pp="0",tp="1",model="m"}"#);
    }
}
