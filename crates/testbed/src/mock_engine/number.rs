//! Numbers as the Python Prometheus client writes them.

use std::fmt::Write;

/// Appends `value` as `prometheus_client.utils.floatToGoString` does: Python's `repr` (shortest digits that read back
/// to the same number), but a positive number of a million or more in Go's exponent form (`1.234567e+06`).
pub(super) fn write_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let start = out.len();
    // Rust's `{:?}` switches to exponents at the same bounds as Python's `repr`; only the exponent's spelling differs.
    // Writing to a String cannot fail.
    let _ = write!(out, "{value:?}");
    let written = &out[start..];
    if let Some(exponent) = written.find('e') {
        let tail: i32 = written[exponent + 1..].parse().unwrap_or(0);
        out.truncate(start + exponent);
        let sign = if tail < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", tail.abs());
    } else if let Some(dot) = written.find('.').filter(|dot| value > 0.0 && *dot > 6) {
        let digits = written.replace('.', "");
        out.truncate(start);
        let mantissa = digits.trim_end_matches('0');
        out.push_str(&mantissa[..1]);
        if mantissa.len() > 1 {
            out.push('.');
            out.push_str(&mantissa[1..]);
        }
        // The client writes a fixed "+0" before the exponent, so 1e10 becomes "1e+010".
        let _ = write!(out, "e+0{}", dot - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        let mut out = String::from("x ");
        write_float(&mut out, value);
        assert_eq!(&out[2..], expected, "{value}");
    }

    #[test]
    fn numbers_are_written_as_the_python_client_does() {
        check(0.0, "0.0");
        check(-1.0, "-1.0");
        check(20.0, "20.0");
        check(100.0 / 3.0, "33.333333333333336");
        check(0.1 + 0.2, "0.30000000000000004");
        check(0.0001, "0.0001");
        check(0.000_01, "1e-05");
        check(0.000_012_5, "1.25e-05");
        check(123_456.0, "123456.0");
        check(1_000_000.0, "1e+06");
        check(1_234_567.5, "1.2345675e+06");
        check(1_048_576.0, "1.048576e+06");
        check(-2_000_000.0, "-2000000.0");
        check(26_153_210_692.0, "2.6153210692e+010");
        check(1.5e16, "1.5e+16");
        check(1e16, "1e+16");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }
}
