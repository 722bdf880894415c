//! Kubernetes quantities, as far as pods and annotations have them.

/// What a quantity such as `200m`, `0.5`, `1e3`, `64Mi` or `2k` amounts to; `None` if it is none or negative.
pub(super) fn parse(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let scaled = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = scaled.unwrap_or((text, 1.0));
    // Rust would also read "inf" and "nan".
    let numeric = number.bytes().all(|byte| byte.is_ascii_digit() || b".+-eE".contains(&byte));
    let value = number.parse::<f64>().ok().filter(|value| numeric && *value >= 0.0)? * factor;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn quantities() {
        check("200m", Some(0.2));
        check("2", Some(2.0));
        check("0.5", Some(0.5));
        check("1e3", Some(1000.0));
        check("2E", Some(2e18));
        check("64Mi", Some(67_108_864.0));
        check("1.5Gi", Some(1_610_612_736.0));
        check("5k", Some(5000.0));
        for wrong in ["", "m", "-1", "1 Gi", "inf", "NaN", "1e999", "10%", "1mi", "x"] {
            check(wrong, None);
        }
    }
}
