//! Label selectors: the string form of `/scale`'s `status.selector`, and what a spec has.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// A label selector; it matches what meets every requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    InOrAbsent(String, String),
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
    #[error("there is neither a status.selector nor a spec.selector of labels")]
    Missing,
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

    /// Reads a `LabelSelector` (matchLabels, matchExpressions), or a plain map of labels as Services have it.
    pub(crate) fn of_object(selector: &Value) -> Result<Self, SelectorError> {
        let syntax = || SelectorError::Syntax(selector.to_string());
        let map = selector.as_object().ok_or_else(syntax)?;
        let structured = ["matchLabels", "matchExpressions"].iter().any(|key| map.contains_key(*key));
        let labels = if structured { map.get("matchLabels").and_then(Value::as_object) } else { Some(map) };
        let expressions = map.get("matchExpressions").and_then(Value::as_array);
        let equals = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| Some(Requirement::In(key.clone(), vec![value.as_str()?.to_owned()])));
        let expressions = expressions.into_iter().flatten().map(Requirement::of_expression);
        let all: Option<Vec<_>> = equals.chain(expressions).collect();
        let all = all.ok_or_else(syntax)?;
        if all.is_empty() { Err(SelectorError::Empty) } else { Ok(Self(all)) }
    }

    /// What has all of these labels.
    pub(crate) fn of_labels(labels: &[(&str, &str)]) -> Self {
        let requirement =
            |(key, value): &(&str, &str)| Requirement::In((*key).to_owned(), vec![(*value).to_owned()]);
        Self(labels.iter().map(requirement).collect())
    }

    /// Only what has this label besides.
    pub(crate) fn and(mut self, key: &str, value: &str) -> Self {
        self.0.push(Requirement::In(key.to_owned(), vec![value.to_owned()]));
        self
    }

    /// Only what has this value of the label besides, or does not have the label.
    pub(crate) fn and_or_absent(mut self, key: &str, value: &str) -> Self {
        self.0.push(Requirement::InOrAbsent(key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

/// In a form that the API server reads. It has no way to say "or absent": such a requirement is left out, so that more
/// may match.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.0.iter().filter_map(Requirement::term).collect();
        f.write_str(&terms.join(","))
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
    fn term(&self) -> Option<String> {
        match self {
            Self::In(key, values) => Some(format!("{key} in ({})", values.join(","))),
            Self::NotIn(key, values) => Some(format!("{key} notin ({})", values.join(","))),
            Self::InOrAbsent(..) => None,
            Self::Exists(key) => Some(key.clone()),
            Self::Absent(key) => Some(format!("!{key}")),
        }
    }

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

    /// `{key, operator, values}`
    fn of_expression(expression: &Value) -> Option<Self> {
        let key = expression["key"].as_str()?.to_owned();
        let values = || {
            let values = expression["values"].as_array()?.iter();
            values.map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        match expression["operator"].as_str()? {
            "In" => Some(Self::In(key, values()?)),
            "NotIn" => Some(Self::NotIn(key, values()?)),
            "Exists" => Some(Self::Exists(key)),
            "DoesNotExist" => Some(Self::Absent(key)),
            _ => None,
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::InOrAbsent(key, value) => labels.get(key).is_none_or(|found| found == value),
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
    use serde_json::json;

    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], expect: Option<bool>) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = Selector::parse(selector).ok().map(|selector| selector.matches(&labels));
        assert_eq!(got, expect, "{selector} on {labels:?}");
    }

    #[test]
    fn selectors_of_a_spec() {
        let pod = [("app", "engine"), ("tier", "gpu")];
        let labels = pod.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        for (selector, expect) in [
            (json!({"matchLabels": {"app": "engine"}}), Some(true)),
            (json!({"matchLabels": {"app": "engine", "zone": "a"}}), Some(false)),
            (json!({"app": "engine"}), Some(true)),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["cpu", "gpu"]}]}),
                Some(true),
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gpu"]}]}),
                Some(false),
            ),
            (json!({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}), Some(true)),
            (
                json!({"matchLabels": {"app": "engine"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
                Some(true),
            ),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}), None),
            (json!({}), None),
            (json!({"matchLabels": {}}), None),
            (json!("app=engine"), None),
        ] {
            let got = Selector::of_object(&selector).ok().map(|selector| selector.matches(&labels));
            assert_eq!(got, expect, "{selector}");
        }
    }

    #[test]
    fn only_leaders() {
        let selector = Selector::of_labels(&[("app", "engine")]).and_or_absent("index", "0");
        for (labels, expect) in [
            (vec![("app", "engine")], true),
            (vec![("app", "engine"), ("index", "0")], true),
            (vec![("app", "engine"), ("index", "1")], false),
            (vec![("index", "0")], false),
        ] {
            let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(selector.matches(&labels), expect, "{labels:?}");
        }
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
