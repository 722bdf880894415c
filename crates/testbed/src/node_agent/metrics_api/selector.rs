//! Selectors as clients write them into a query.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// Reads a label selector: `a=b,c==d,e!=f,g,!h,i in (j,k),l notin (m)`. The error says what is wrong, and where.
pub(super) fn labels(text: &str) -> Result<Selector, String> {
    split(text).into_iter().filter(|part| !part.is_empty()).map(requirement).collect()
}

/// Splits at the commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn requirement(text: &str) -> Result<Expression, String> {
    let problem = || format!("unable to parse requirement {text:?}");
    let key = |key: &str| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let key = key.trim();
        (!key.is_empty() && key.bytes().all(valid)).then(|| key.to_owned()).ok_or_else(problem)
    };
    if let Some((name, values)) = text.split_once('(') {
        let values =
            values.strip_suffix(')').filter(|values| !values.contains(['(', ')'])).ok_or_else(problem)?;
        let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let words: Vec<&str> = name.split_whitespace().collect();
        return match words[..] {
            [name, "in"] => Ok(Expression::In(key(name)?, values)),
            [name, "notin"] => Ok(Expression::NotIn(key(name)?, values)),
            _ => Err(problem()),
        };
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value.trim().to_owned()));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(key(name)?, value.trim().to_owned()));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Expression::DoesNotExist(key(name)?)),
        None => Ok(Expression::Exists(key(text)?)),
    }
}

/// Reads a field selector of `metadata.name=…` and `metadata.namespace=…`: name and namespace, if they are asked for.
pub(super) fn fields(text: &str) -> Result<(Option<&str>, Option<&str>), String> {
    let (mut name, mut namespace) = (None, None);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=').map(|(field, value)| (field, value.trim_start_matches('='))) {
            Some(("metadata.name", value)) => name = Some(value),
            Some(("metadata.namespace", value)) => namespace = Some(value),
            _ => return Err(format!("field selector {part:?} is not supported: use metadata.name=NAME")),
        }
    }
    Ok((name, namespace))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::SelectorExt;

    use super::*;

    #[track_caller]
    fn check(selector: &str, expected: bool) {
        let labels =
            BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "1".to_owned())]);
        assert_eq!(self::labels(selector).unwrap().matches(&labels), expected, "{selector}");
    }

    #[test]
    fn label_selectors() {
        for selected in [
            "",
            "app=web",
            "app==web, tier=1",
            "app",
            "!db",
            "app!=db",
            "app in (db, web)",
            "app notin (db),tier in (1,2)",
        ] {
            check(selected, true);
        }
        for not in ["app=db", "app=web,tier=2", "db", "!app", "app!=web", "app in (db)", "app notin (web,db)"]
        {
            check(not, false);
        }
        for wrong in ["app web", "app in db", "app in (a", "=web", "app of (web)", "!", "a(b)"] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn field_selectors() {
        assert_eq!(fields(""), Ok((None, None)));
        assert_eq!(fields("metadata.name=a,metadata.namespace==b"), Ok((Some("a"), Some("b"))));
        assert!(fields("status.phase=Running").is_err());
        assert!(fields("metadata.name!=a").is_err());
    }
}
