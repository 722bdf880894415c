//! Quantities over time, drawn with characters.

use std::fmt::Write;

/// Eighths of a character cell, from empty to full.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws one quantity as a chart of `height` lines and one column per value, with its greatest value at the left.
///
/// A value that is not known (`None`) is drawn as a dot on the ground.
pub fn chart(title: &str, unit: &str, values: &[Option<f64>], height: usize) -> String {
    let greatest = values.iter().flatten().copied().fold(0.0, f64::max);
    let mut text = format!("  {title}\n");
    for row in (0..height).rev() {
        let label = match row {
            _ if row + 1 == height => format!("{} {unit}", short(greatest)),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let line: String = values.iter().map(|value| cell(*value, greatest, row, height)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:>12} │{}", line.trim_end());
    }
    text
}

/// The time axis below charts: a mark every `every` columns, each `seconds` long.
pub fn time_axis(columns: usize, seconds_per_column: f64, every: usize) -> String {
    let mut line = String::new();
    for column in (0..columns).step_by(every.max(1)) {
        let mark = format!("└ {:.0} s", column as f64 * seconds_per_column);
        let _ = write!(line, "{mark:<every$}");
    }
    format!("{:>12}  {}\n", "", line.trim_end())
}

fn cell(value: Option<f64>, greatest: f64, row: usize, height: usize) -> char {
    let Some(value) = value else { return if row == 0 { '·' } else { ' ' } };
    if greatest <= 0.0 {
        return ' ';
    }
    let eighths = (value / greatest * height as f64 * 8.0).round() as usize;
    EIGHTHS[eighths.saturating_sub(row * 8).min(8)]
}

/// At most three digits and a point, as a person would say it.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        let values = [Some(0.0), Some(1.0), None, Some(4.0), Some(2.5)];
        let drawn = chart("replicas", "", &values, 4);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 5, "{drawn}");
        assert!(lines[1].ends_with("│   █"), "{drawn}");
        assert!(lines[2].ends_with("│   █▄"), "{drawn}");
        assert!(lines[4].ends_with("0 │ █·██"), "{drawn}");
        assert_eq!(chart("idle", "", &[Some(0.0)], 2).lines().count(), 3);
    }

    #[test]
    fn the_axis_has_a_mark_now_and_then() {
        assert_eq!(time_axis(25, 2.0, 10).trim(), "└ 0 s     └ 20 s    └ 40 s");
    }
}
