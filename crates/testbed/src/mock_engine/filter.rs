//! `?name[]=…`, as exporters answer it.

use std::collections::HashSet;

use super::kind::Exporter;

/// The names that a query asks for; nothing without any.
pub(super) fn names(query: Option<&str>) -> Option<HashSet<String>> {
    let pairs = form_urlencoded::parse(query?.as_bytes());
    let names: HashSet<_> = pairs
        .filter(|(key, name)| key == "name[]" && !name.is_empty())
        .map(|(_, name)| name.into_owned())
        .collect();
    (!names.is_empty()).then_some(names)
}

/// What an exporter sends of a page. One that does not know the question (`None`) sends all.
///
/// The Python client (0.26) compares the names of *samples*, so a counter is asked for with its `_total`, and of a histogram
/// come only `_bucket`, `_sum` and `_count`, each by its name: its family's name gives an empty page, as any unknown one does.
pub(super) fn answer(page: String, exporter: Option<Exporter>, names: Option<&HashSet<String>>) -> String {
    match (exporter, names) {
        (None, _) | (_, None) => page,
        (Some(Exporter::Multiprocess), Some(_)) => String::new(),
        (Some(Exporter::Single), Some(names)) => filtered(&page, names),
    }
}

fn filtered(page: &str, names: &HashSet<String>) -> String {
    let mut answer = String::new();
    // The comments of the family, until the first of its samples is wanted.
    let mut head = String::new();
    for line in page.split_inclusive('\n') {
        if line.starts_with('#') {
            if line.starts_with("# HELP") {
                head.clear();
            }
            head.push_str(line);
        } else if names.contains(line.split(['{', ' ']).next().unwrap_or_default()) {
            answer.push_str(&head);
            head.clear();
            answer.push_str(line);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a A\n# TYPE a gauge\na{m=\"1\"} 1.0\na{m=\"2\"} 2.0\n\
        # HELP b_total B\n# TYPE b_total counter\nb_total 3.0\n\
        # HELP h H\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1.0\nh_count 1.0\nh_sum 4.0\n";

    /// What comes, as the names at the beginning of the lines.
    #[track_caller]
    fn check(query: &str, exporter: Option<Exporter>, expected: &str) {
        let page = answer(PAGE.to_owned(), exporter, names(Some(query)).as_ref());
        let lines = page.lines().map(|line| line.trim_start_matches("# ").split(['{', ' ']).next().unwrap());
        assert_eq!(lines.collect::<Vec<_>>().join(" "), expected, "{query}");
    }

    /// The expectations are what `prometheus_client` 0.26.0 answers to the same.
    #[test]
    fn an_exporter_answers_by_name() {
        let all = "HELP TYPE a a HELP TYPE b_total HELP TYPE h_bucket h_count h_sum";
        let single = Some(Exporter::Single);
        check("", single, all);
        check("format=x", single, all);
        check("name[]=", single, all);
        check("name[]=a", single, "HELP TYPE a a");
        check("name%5B%5D=a&name[]=h_sum", single, "HELP TYPE a a HELP TYPE h_sum");
        check("name[]=b_total", single, "HELP TYPE b_total");
        check("name[]=h_bucket&name[]=h_count", single, "HELP TYPE h_bucket h_count");
        for nothing in ["name[]=b", "name[]=h", "name[]=nope"] {
            check(nothing, single, "");
        }
        check("name[]=a", Some(Exporter::Multiprocess), "");
        check("", Some(Exporter::Multiprocess), all);
        check("name[]=a", None, all);
    }
}
