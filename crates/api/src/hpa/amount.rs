//! Kubernetes' quantities: compared by what they amount to, and written so that a HorizontalPodAutoscaler keeps them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Quantities are exact to a billionth.
const NANO: i128 = 1_000_000_000;
/// A HorizontalPodAutoscaler's controller counts in thousandths, in an `i64`, whose end is a little above this.
const MOST: f64 = 9e15;

/// A quantity in billionths, rounded up as Kubernetes does; `None` if it is none, or beyond what is ever written.
fn nanos(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 19 {
        return None;
    }
    let factor = |suffix: &str| -> Option<(i128, i128)> {
        let binary = |power: u32| Some((1_i128 << (10 * power), 1));
        let decimal = |power: u32| Some((10_i128.pow(power), 1));
        match suffix {
            "n" => Some((1, 1_000_000_000)),
            "u" => Some((1, 1_000_000)),
            "m" => Some((1, 1000)),
            "" => Some((1, 1)),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(1),
            "Mi" => binary(2),
            "Gi" => binary(3),
            "Ti" => binary(4),
            "Pi" => binary(5),
            "Ei" => binary(6),
            exponent => {
                let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
                let size = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
                Some(if power < 0 { (1, size) } else { (size, 1) })
            }
        }
    };
    let (times, per) = factor(suffix)?;
    // Digits of no consequence: what is beyond a billionth of the smallest unit is rounded up anyway.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let part = |value: i128, per: i128| -> Option<i128> {
        let exact = value.checked_mul(times)?.checked_mul(NANO)?;
        Some(exact / per + i128::from(exact % per != 0))
    };
    part(digits(whole)?, per)?.checked_add(part(digits(fraction)?, per.checked_mul(scale)?)?)
}

/// Whether both amount to the same: the API server writes `1024Mi` as `1Gi` and `0.5` as `500m`.
pub(super) fn same(one: &Quantity, other: &Quantity) -> bool {
    one.0 == other.0 || nanos(&one.0).is_some_and(|amount| nanos(&other.0) == Some(amount))
}

/// A number as a quantity of thousandths, and whether it had to be changed for that.
pub(super) fn milli(value: f64) -> (Quantity, bool) {
    let within = value.clamp(0.001, MOST);
    let thousandths = (within * 1000.0).round() as i64;
    let text =
        if thousandths % 1000 == 0 { (thousandths / 1000).to_string() } else { format!("{thousandths}m") };
    (Quantity(text), within != value)
}

/// Bytes, from MiB. A fraction of a byte is rounded up.
pub(super) fn mebibytes(value: f64) -> (Quantity, bool) {
    let within = value.min(MOST / 1_048_576.0);
    let bytes = (within * 1_048_576.0).ceil().max(1.0) as i64;
    let text = if bytes % 1_048_576 == 0 { format!("{}Mi", bytes / 1_048_576) } else { bytes.to_string() };
    (Quantity(text), within != value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_amount_to() {
        for (text, expected) in [
            ("1", Some(NANO)),
            ("+1", Some(NANO)),
            ("0.5", Some(NANO / 2)),
            (".5", Some(NANO / 2)),
            ("5.", Some(5 * NANO)),
            ("500m", Some(NANO / 2)),
            ("1.5k", Some(1500 * NANO)),
            ("1Gi", Some(NANO << 30)),
            ("1024Mi", Some(NANO << 30)),
            ("1.5Gi", Some((NANO * 3) << 29)),
            ("1e3", Some(1000 * NANO)),
            ("12E-1", Some(NANO * 6 / 5)),
            ("1E", Some(NANO * 10_i128.pow(18))),
            ("1n", Some(1)),
            ("0.1n", Some(1)),
            ("1Qi", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("Gi", None),
            ("1e99", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_as_quantities() {
        let check = |(quantity, changed): (Quantity, bool), text: &str, expected: bool| {
            assert_eq!((quantity.0.as_str(), changed), (text, expected));
        };
        check(milli(50.0), "50", false);
        check(milli(0.5), "500m", false);
        check(milli(0.8), "800m", false);
        check(milli(1.2344), "1234m", false);
        check(milli(0.0001), "1m", true);
        check(milli(1e99), "9000000000000000", true);
        check(mebibytes(128.0), "128Mi", false);
        check(mebibytes(0.5), "524288", false);
        check(mebibytes(0.000_000_1), "1", false);
        check(mebibytes(1e99), "9000000000000000", true);
    }

    proptest! {
        #[test]
        fn nothing_below_a_thousandth_is_lost(value in 0.001..1e6_f64) {
            let (quantity, changed) = milli(value);
            let written = nanos(&quantity.0).unwrap() as f64 / NANO as f64;
            prop_assert!(!changed && (written - value).abs() <= 0.0005 + value * 1e-9, "{} of {value}", quantity.0);
            let in_billionths = Quantity(format!("{}n", nanos(&quantity.0).unwrap()));
            prop_assert!(same(&quantity, &in_billionths));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[+-]?[0-9.]{0,30}[a-zA-Z0-9+-]{0,6}") {
            let _ = nanos(&text);
        }
    }
}
