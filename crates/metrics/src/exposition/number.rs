//! Numbers as Go's `strconv.ParseFloat` reads them, without hexadecimal and underscores.

/// Reads the number at the start of `text`; gives it and the bytes it takes, or `None` where no number in range starts.
/// The caller checks what follows.
#[inline]
pub(super) fn leading_float(text: &[u8]) -> Option<(f64, usize)> {
    if let Some(short) = short_decimal(text) {
        return Some(short);
    }
    let (value, length) = fast_float2::parse_partial::<f64, _>(text).ok()?;
    if value.is_finite() {
        return Some((value, length));
    }
    let signed = matches!(text.first(), Some(b'+' | b'-'));
    let letter = text.get(usize::from(signed)).copied()?.to_ascii_lowercase();
    match letter {
        b'n' if !signed => Some((f64::NAN, length)),
        b'i' => Some((value, length)),
        // Digits that overflow are an error, not infinity.
        _ => None,
    }
}

/// Up to 15 digits with a point among them or not, before a blank or a line feed: what most values are. Digits and
/// power of ten are exact as floats, so their quotient is rounded correctly.
fn short_decimal(text: &[u8]) -> Option<(f64, usize)> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let mut digits = 0u64;
    let mut point = None;
    for (at, &byte) in text.iter().take(17).enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            b'\n' | b' ' => {
                let fraction = point.map_or(0, |point| at - point - 1);
                let count = at - usize::from(point.is_some());
                return (1..=15).contains(&count).then(|| (digits as f64 / POWERS[fraction], at));
            }
            _ => return None,
        }
    }
    None
}

/// Milliseconds from decimal digits alone; no sign, no overflow.
pub(super) fn milliseconds(digits: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Milliseconds from a float of seconds, cut (not rounded) to whole milliseconds.
pub(super) fn seconds_to_milliseconds(seconds: f64) -> Option<i64> {
    seconds.is_finite().then_some((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all of `text` as one number.
    fn float(text: &[u8]) -> Option<f64> {
        leading_float(text).filter(|(_, length)| *length == text.len()).map(|(value, _)| value)
    }

    #[test]
    fn go_syntax() {
        let check = |text: &str, expected: Option<f64>| {
            let got = float(text.as_bytes());
            assert_eq!(got.map(f64::to_bits), expected.map(f64::to_bits), "{text:?} gave {got:?}");
        };
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+.5", 0.5),
            ("-.5", -0.5),
            ("007", 7.0),
            ("1E5", 1e5),
            ("1e+05", 1e5),
            ("2.2257125352e+010", 22_257_125_352.0),
            ("1e-400", 0.0),
            ("4.9e-324", 4.9e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("1234567890123456789012345678901234567890", 1.234_567_890_123_456_8e39),
            ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("nan", f64::NAN),
            ("NaN", f64::NAN),
        ] {
            check(text, Some(value));
        }
        for text in [
            "", "+", "-", ".", "-.", "e5", "1e", "1e+", "1e400", "-1e400", "0x10", "0x1p4", "1_0", "1,5",
            "1.2.3", "1d", "+NaN", "-nan", "infx", "in", "infinit", "nano", " 1", "1 ", "1\r", "--1", "+-1",
            "∞",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn short_decimals_are_what_the_general_way_makes_of_them() {
        let mut random = 1u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = (random >> 12).to_string();
            let digits = &digits[..digits.len().min(1 + (random % 17) as usize)];
            let (whole, fraction) = digits.split_at((random >> 7) as usize % (digits.len() + 1));
            let text = format!("{whole}.{fraction} 5");
            let expected = fast_float2::parse_partial::<f64, _>(text.as_bytes()).ok();
            if let Some(short) = short_decimal(text.as_bytes()) {
                assert_eq!(Some(short), expected, "{text}");
            } else {
                assert!(digits.len() > 15, "{text} is short");
            }
        }
        for text in [". ", " ", "\n", "1..2 ", "1", "1e5 ", "-1 ", "", "1.\r\n"] {
            assert_eq!(short_decimal(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(short_decimal(b"1.\n"), Some((1.0, 2)));
        assert_eq!(short_decimal(b"123456789012345 "), Some((123_456_789_012_345.0, 15)));
        assert_eq!(short_decimal(b"1234567890123456 "), None);
    }

    #[test]
    fn timestamps() {
        assert_eq!(milliseconds(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(milliseconds(b"9223372036854775808"), None);
        assert_eq!(milliseconds(b"+5"), None);
        assert_eq!(milliseconds(b""), None);
        assert_eq!(seconds_to_milliseconds(1_700_000_000.123_999_9), Some(1_700_000_000_123));
        assert_eq!(seconds_to_milliseconds(f64::NAN), None);
        assert_eq!(seconds_to_milliseconds(f64::INFINITY), None);
    }
}
