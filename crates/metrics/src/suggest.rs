//! What is there instead of a name that is not: the nearest names first.

use std::collections::BTreeSet;

/// The names of the samples on a page, sorted; of what cannot be read, nothing.
pub fn sample_names(page: &[u8]) -> BTreeSet<&str> {
    let lines = page.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let name = |line: &'_ str| line.find(['{', ' ', '\t']).filter(|end| *end > 0);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| name(line).map(|end| &line[..end]))
        .collect()
}

/// At most `count` of `names`, the most alike to `wanted` first.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let mut ranked: Vec<(usize, &str)> =
        names.into_iter().map(|name| (edit_distance(wanted, name), name)).collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(count).map(|(_, name)| name).collect()
}

/// Of `names` the one that `wanted` may be a slip of: the most alike, at most two letters apart. None for short names, and
/// for one that is among them.
pub fn meant<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const MOST: usize = 2;
    if wanted.len() <= 4 {
        return None;
    }
    let near = names.into_iter().filter(|name| name.len().abs_diff(wanted.len()) <= MOST);
    let (distance, name) = near.map(|name| (edit_distance(wanted, name), name)).min()?;
    (distance <= MOST && name != wanted).then_some(name)
}

/// How many letters must be put in, taken out or replaced to make `b` of `a` (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        for (a, b, distance) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Queue", "queue", 0)]
        {
            assert_eq!((edit_distance(a, b), edit_distance(b, a)), (distance, distance), "{a} {b}");
        }
        let page =
            b"# HELP queue_depth x\n# TYPE queue_depth gauge\nqueue_depth{a=\"b c\"} 4\nqueue_depth 5\n\
                     up 1\nqueue_length 3\n{\"odd.name\"} 4\n";
        let names = sample_names(page);
        assert_eq!(names.iter().copied().collect::<Vec<_>>(), ["queue_depth", "queue_length", "up"]);
        assert_eq!(nearest("queue_dept", names.iter().copied(), 2), ["queue_depth", "queue_length"]);
        for (wanted, name) in [
            ("runing", Some("running")),
            ("waitign", Some("waiting")),
            ("Running", Some("running")),
            ("running", None),
            ("runs", None),
            ("my_queue_depth", None),
        ] {
            assert_eq!(meant(wanted, ["running", "waiting", "rung"]), name, "{wanted}");
        }
    }
}
