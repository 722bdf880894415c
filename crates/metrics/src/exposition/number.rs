//! Numbers as Go's `strconv.ParseFloat` reads them, without hexadecimal and underscores.

/// Reads the number at the start of `text`; gives it and the bytes it takes, or `None` where no number in range starts.
/// The caller checks what follows.
#[inline]
pub(super) fn leading_float(text: &[u8]) -> Option<(f64, usize)> {
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

/// Milliseconds from decimal digits alone; no sign, no overflow.
pub(super) fn milliseconds(digits: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
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
        leading_float(text)
            .filter(|(_, length)| *length == text.len())
            .map(|(value, _)| value)
    }

    #[test]
    fn go_syntax() {
        let check = |text: &str, expected: Option<f64>| {
            let got = float(text.as_bytes());
            assert_eq!(
                got.map(f64::to_bits),
                expected.map(f64::to_bits),
                "{text:?} gave {got:?}"
            );
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
            (
                "1234567890123456789012345678901234567890",
                1.234_567_890_123_456_8e39,
            ),
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
    fn timestamps() {
        assert_eq!(milliseconds(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(milliseconds(b"9223372036854775808"), None);
        assert_eq!(milliseconds(b"+5"), None);
        assert_eq!(milliseconds(b""), None);
        assert_eq!(
            seconds_to_milliseconds(1_700_000_000.123_999_9),
            Some(1_700_000_000_123)
        );
        assert_eq!(seconds_to_milliseconds(f64::NAN), None);
        assert_eq!(seconds_to_milliseconds(f64::INFINITY), None);
    }
}
