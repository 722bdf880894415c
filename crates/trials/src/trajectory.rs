//! Replicas over time as a line of text.

use std::time::Instant;

/// `2, 4 (0.9 s), 6 (10.9 s)`: the count at first, then each change with its time since `begun`.
pub(crate) fn text(asked: &[(Instant, i32)], begun: Instant) -> String {
    let parts = asked.iter().enumerate().map(|(index, (at, count))| {
        if index == 0 {
            return count.to_string();
        }
        format!("{count} ({:.1} s)", at.saturating_duration_since(begun).as_secs_f64())
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn changes_have_their_times() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        assert_eq!(text(&[(begun, 2), (at(900), 4), (at(10_940), 6)], begun), "2, 4 (0.9 s), 6 (10.9 s)");
        assert_eq!(text(&[], begun), "");
    }
}
