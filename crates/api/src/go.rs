//! Values as Go writes them: annotations were parsed by Go before they were parsed by us.

use std::time::Duration;

/// Parses a duration as Go's `time.ParseDuration` does ("1m30s", "1.5h", "0s", "300ms", "0"), negative ones
/// excepted. `None` for anything else, and for what Go's 64-bit nanoseconds cannot hold.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (amount, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        nanos = nanos.checked_add(amount_in_nanos(amount, unit_in_nanos(unit)?)?)?;
        rest = next;
    }
    i64::try_from(nanos).ok().map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

fn unit_in_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // Go takes the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn amount_in_nanos(amount: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond the eighteenth are far below a nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(parts * unit / 10_u128.pow(fraction.len() as u32))
}

/// A duration as a person writes it: "90s", "5m", "1h30m", "0s", "250ms".
pub(crate) fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return if seconds == 0 {
            format!("{}ms", duration.as_secs_f64() * 1e3)
        } else {
            format!("{}s", duration.as_secs_f64())
        };
    }
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, 0) if minutes > 1 => format!("{minutes}m"),
        (hours, 0, 0) if hours > 0 => format!("{hours}h"),
        (hours, minutes, 0) if hours > 0 => format!("{hours}h{minutes}m"),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("+5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("300ms", Some(300_000_000)),
            ("1h15m30.918s", Some(4_530_918_000_000)),
            ("2\u{b5}s3ns", Some(2_003)),
            ("2562047h47m16.854775807s", Some(9_223_372_036_854_775_807)),
            ("2562047h47m16.854775808s", None),
            ("99999999999999999999999999999999999999999h", None),
            ("", None),
            ("+", None),
            ("-5s", None),
            ("60", None),
            ("5 s", None),
            ("5S", None),
            (".s", None),
            ("1.2.3s", None),
            ("five", None),
            ("5s ", None),
            ("\u{665}s", None),
        ] {
            assert_eq!(duration(text), nanos.map(Duration::from_nanos), "{text}");
        }
    }

    #[test]
    fn durations_are_written_for_people() {
        for (text, expected) in [
            ("0s", "0s"),
            ("250ms", "250ms"),
            ("1.5s", "1.5s"),
            ("60s", "60s"),
            ("90s", "90s"),
            ("300s", "5m"),
            ("3600s", "1h"),
            ("5400s", "1h30m"),
            ("3601s", "3601s"),
        ] {
            assert_eq!(written(duration(text).unwrap()), expected, "{text}");
        }
    }
}
