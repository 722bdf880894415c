//! Quantities as Kubernetes writes them in answers.

/// The suffixes and what they multiply by.
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
pub(super) fn parse(text: &str) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::parse;

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
