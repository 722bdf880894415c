//! Quantities as Kubernetes writes them (`500m`, `1Gi`): in the answers of its APIs, and in the targets of the two metrics
//! that have units, cpu and memory.

use crate::source::parse_target;

/// The suffixes of Kubernetes' quantities and what they multiply by.
const SUFFIXES: [(&str, f64); 15] = [
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// The value in the quantity's own unit; `None` for what is no quantity.
pub fn parse(text: &str) -> Option<f64> {
    let digits =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    // 1E is an exa, 1E3 is a thousand.
    if digits(text) && !text.ends_with(['e', 'E']) {
        return text.parse().ok().filter(|value: &f64| value.is_finite());
    }
    let (suffix, factor) = SUFFIXES.iter().rev().find(|(suffix, _)| text.ends_with(suffix))?;
    let number = text.strip_suffix(suffix)?;
    let value = number.parse::<f64>().ok().filter(|_| digits(number))?;
    Some(value * factor).filter(|value| value.is_finite())
}

/// What a quantity with a suffix says, in its own unit: cores or bytes. `None` for a bare number and for what is none.
pub(crate) fn with_suffix(text: &str) -> Option<f64> {
    let digits = text.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+')).count();
    let (number, suffix) = text.split_at(digits);
    let (_, factor) = SUFFIXES.into_iter().find(|(known, _)| *known == suffix)?;
    Some(parse_target(number)? * factor)
}

/// Whether a metric may have a target with a suffix: the names of resources, as every dialect spells them.
pub(crate) fn is_resource(metric: &str) -> bool {
    ["cpu", "memory"].iter().any(|known| known.eq_ignore_ascii_case(metric))
}

/// A target as the spec writes it: a positive decimal, or for cpu and memory also a quantity with a suffix. In the unit
/// of a bare number under KPA and APA: millicores and bytes.
pub(crate) fn target(metric: &str, text: &str) -> Option<f64> {
    parse_target(text).or_else(|| {
        let value = with_suffix(text).filter(|_| is_resource(metric))?;
        Some(if metric.eq_ignore_ascii_case("cpu") { value * 1000.0 } else { value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpu_and_memory_have_suffixes() {
        for (metric, text, expected) in [
            ("cpu", "100m", Some(100.0)),
            ("CPU", "1.5k", Some(1_500_000.0)),
            ("cpu", "200", Some(200.0)),
            ("memory", "1Gi", Some(1_073_741_824.0)),
            ("memory", "500M", Some(5e8)),
            ("memory", "1E", Some(1e18)),
            ("memory", "1e3", Some(1000.0)),
            ("memory", "+1Ki", Some(1024.0)),
            ("memory", "0Gi", None),
            ("memory", "-1Gi", None),
            ("memory", "1GiB", None),
            ("memory", "1gi", None),
            ("memory", "Gi", None),
            ("memory", "1 Gi", None),
            ("memory", "1e3m", None),
            ("inflight", "100m", None),
            ("inflight", "1Gi", None),
            ("inflight", "20", Some(20.0)),
        ] {
            assert_eq!(target(metric, text), expected, "{metric} {text}");
        }
    }

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("42", Some(42.0)),
            ("1.5", Some(1.5)),
            ("250m", Some(0.25)),
            ("2500000n", Some(0.0025)),
            ("12Ki", Some(12288.0)),
            ("1k", Some(1000.0)),
            ("1e3", Some(1000.0)),
            ("1E3", Some(1000.0)),
            ("2E", Some(2e18)),
            ("-5", Some(-5.0)),
            ("", None),
            ("m", None),
            ("NaN", None),
            ("1Qi", None),
            ("1 k", None),
        ] {
            let close = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-12;
            let same = match (parse(text), expected) {
                (Some(found), Some(expected)) => close(found, expected),
                (found, expected) => found == expected,
            };
            assert!(same, "{text}: {:?}", parse(text));
        }
    }
}
