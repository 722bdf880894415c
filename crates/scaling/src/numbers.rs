//! Rounding before counting: sums of floats must not decide about a replica.

/// Significant digits that totals, means and ratios are rounded to before any `ceil`.
const DIGITS: i32 = 9;

/// `value` rounded to 9 significant decimal digits; zero and what is not finite stay as they are.
///
/// `100 / 7` summed up seven times is 100.00000000000001 in some orders, and `ceil` of a fifth of that would be 21.
///
/// ```
/// assert_eq!(windlass_scaling::significant(100.00000000000001), 100.0);
/// ```
pub fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let exponent = value.abs().log10().floor() as i32;
    let shift = DIGITS - 1 - exponent;
    // Powers of ten up to 10^22 are exact, and so is the rounded integer: one rounding error at most.
    if shift >= 0 {
        let scaled = value * 10f64.powi(shift);
        if scaled.is_finite() { scaled.round() / 10f64.powi(shift) } else { value }
    } else {
        (value / 10f64.powi(-shift)).round() * 10f64.powi(-shift)
    }
}

/// Replicas that carry `load` (in units of the target per replica): the ceiling, saturating.
pub(crate) fn replicas_for(load: f64) -> u32 {
    // A cast from f64 saturates; NaN cannot come here and would give 0.
    load.ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        for (value, expect) in [
            (0.0, 0.0),
            (100.000_000_000_000_01, 100.0),
            (99.999_999_999_999_9, 100.0),
            (1.1 / 0.1, 11.0),
            (123_456_789.4, 123_456_789.0),
            (1_234_567_894.0, 1_234_567_890.0),
            (1e-300, 1e-300),
            (f64::MAX, f64::MAX),
        ] {
            let got = significant(value);
            assert!((got - expect).abs() <= expect.abs() * 1e-8, "{value}: {got}");
            if value < 1e6 && value > 1e-6 {
                assert_eq!(got, expect, "{value}");
            }
        }
    }

    #[test]
    fn shares_of_a_whole_add_up_to_the_whole() {
        for whole in [1.0, 20.0, 100.0, 119.0, 1e6, 0.7] {
            for n in 1..=1000_u32 {
                let share = whole / f64::from(n);
                let sum: f64 = (0..n).map(|_| share).sum();
                assert_eq!(significant(sum), significant(whole), "{whole} in {n} shares");
            }
        }
    }

    proptest! {
        #[test]
        fn monotone_and_close(a in 1e-12..1e12_f64, b in 1e-12..1e12_f64) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(significant(low) <= significant(high));
            prop_assert!((significant(a) - a).abs() <= a * 6e-9);
            prop_assert_eq!(significant(significant(a)), significant(a));
        }
    }
}
