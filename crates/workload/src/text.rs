//! What the short descriptions of loads have in common.

use std::time::Duration;

/// A description that cannot be understood: what it describes, what is wrong, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {problem}; use {allowed}")]
pub struct BadText {
    pub(crate) what: &'static str,
    pub(crate) text: String,
    pub(crate) problem: String,
    pub(crate) allowed: &'static str,
}

/// Splits `name(a,b)` into its name and its arguments.
pub(crate) fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = text.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    Some((name.trim(), arguments.split(',').map(str::trim).collect()))
}

/// A finite number, or a sentence.
pub(crate) fn number(what: &str, text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("the {what} {:?} is not a number", text.trim())),
    }
}

/// Reads a duration the way Go writes one: numbers with units ms, s, m or h, one after the other (`300ms`, `1m30s`).
pub fn parse_duration(text: &str) -> Result<Duration, BadText> {
    let wrong = || BadText {
        what: "duration",
        text: text.to_owned(),
        problem: "it is not numbers with units".to_owned(),
        allowed: "for example 300ms, 20s, 1m30s or 24h",
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit = rest[number..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |len| number + len);
        let scale = match &rest[number..unit] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += rest[..number].parse::<f64>().map_err(|_| wrong())? * scale;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [("300ms", 300), ("20s", 20_000), ("1m30.5s", 90_500), (" 24h ", 86_400_000), ("0s", 0)];
        for (text, milliseconds) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "20", "s", "20 s", "-3s", "1e3s", "5d", "1.2.3s", "9999999999999999999999h"] {
            let error = parse_duration(text).unwrap_err().to_string();
            let expected = format!(
                "duration {text:?}: it is not numbers with units; use for example 300ms, 20s, 1m30s or 24h"
            );
            assert_eq!(error, expected);
        }
    }
}
