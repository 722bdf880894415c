//! Label selectors in the string form of `/scale`'s `status.selector`.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// A label selector; it matches what meets every requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Why a selector cannot be used.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub(crate) enum SelectorError {
    #[error("the selector is empty, which would mean every pod of the namespace")]
    Empty,
    #[error("the selector `{0}` cannot be read")]
    Syntax(String),
}

impl Selector {
    /// Reads `a=b,c==d,e!=f,g in (x,y),h notin (z),i,!j`.
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Err(SelectorError::Empty);
        }
        let syntax = || SelectorError::Syntax(text.to_owned());
        let terms = split_outside_parentheses(text).ok_or_else(syntax)?;
        let requirements: Option<Vec<_>> = terms.iter().map(|term| Requirement::parse(term)).collect();
        requirements.map(Self).ok_or_else(syntax)
    }

    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

/// In a form that the API server reads.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&terms.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
            Self::Exists(key) => f.write_str(key),
            Self::Absent(key) => write!(f, "!{key}"),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Option<Vec<&str>> {
    let (mut terms, mut begin, mut inside) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' if !inside => inside = true,
            b')' if inside => inside = false,
            b'(' | b')' => return None,
            b',' if !inside => {
                terms.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[begin..]);
    (!inside).then_some(terms)
}

impl Requirement {
    fn parse(term: &str) -> Option<Self> {
        let term = term.trim();
        if let Some(list) = term.strip_suffix(')') {
            let (head, list) = list.split_once('(')?;
            let values = list.split(',').map(|value| value.trim().to_owned()).collect();
            let (key, operator) = head.trim_end().rsplit_once(char::is_whitespace)?;
            return match operator {
                "in" => Some(Self::In(key_of(key)?, values)),
                "notin" => Some(Self::NotIn(key_of(key)?, values)),
                _ => None,
            };
        }
        if let Some((key, value)) = term.split_once("!=") {
            return Some(Self::NotIn(key_of(key)?, vec![value.trim().to_owned()]));
        }
        if let Some((key, value)) = term.split_once('=') {
            let value = value.strip_prefix('=').unwrap_or(value);
            return Some(Self::In(key_of(key)?, vec![value.trim().to_owned()]));
        }
        match term.strip_prefix('!') {
            Some(key) => Some(Self::Absent(key_of(key)?)),
            None => Some(Self::Exists(key_of(term)?)),
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::Absent(key) => !labels.contains_key(key),
        }
    }
}

fn key_of(text: &str) -> Option<String> {
    let key = text.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(valid)).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], expect: Option<bool>) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = Selector::parse(selector).ok().map(|selector| selector.matches(&labels));
        assert_eq!(got, expect, "{selector} on {labels:?}");
    }

    #[test]
    fn kubernetes_selector_strings() {
        let pod = [("app", "llama2-70b"), ("tier", "gpu"), ("app.kubernetes.io/name", "x")];
        for (selector, expect) in [
            ("app=llama2-70b", true),
            ("app==llama2-70b,tier=gpu", true),
            ("app=llama2-70b,tier=cpu", false),
            ("app!=other", true),
            ("zone!=a", true),
            ("tier in (cpu, gpu)", true),
            ("tier in (cpu),app=llama2-70b", false),
            ("tier notin (cpu,tpu)", true),
            ("zone notin (a)", true),
            ("app.kubernetes.io/name", true),
            ("!zone", true),
            ("!app", false),
            ("zone", false),
        ] {
            check(selector, &pod, Some(expect));
            let parsed = Selector::parse(selector).unwrap();
            assert_eq!(Selector::parse(&parsed.to_string()), Ok(parsed), "what is shown can be read");
        }
        for selector in ["", " ", "a=b,", "a in b", "a in (b", "a b", "=b", "a)b", "in (a)"] {
            check(selector, &pod, None);
        }
    }
}
