//! Pages that are valid and wrong: what bad exporters, upgrades and idle engines make of one.

use super::Fault;

/// What `fault` makes of a page whose own series begin with `prefix`. `number` counts the pages of an engine, from 0.
pub(super) fn spoil(page: String, fault: Fault, prefix: &str, number: u64) -> String {
    let mut spoiler = Spoiler { fault, prefix, number, kind: String::new(), bucket: 0 };
    match fault {
        Fault::Backwards if number.is_multiple_of(2) => page,
        Fault::Nan
        | Fault::Backwards
        | Fault::Duplicate
        | Fault::Renamed
        | Fault::Vanished
        | Fault::Labels
        | Fault::TwoModels
        | Fault::Buckets => {
            let mut spoilt = String::with_capacity(page.len() * 2);
            page.lines().for_each(|line| spoiler.line(line, &mut spoilt));
            spoilt
        }
        _ => page,
    }
}

struct Spoiler<'a> {
    fault: Fault,
    prefix: &'a str,
    number: u64,
    /// The type of the family.
    kind: String,
    /// Counts the buckets of a series.
    bucket: usize,
}

impl Spoiler<'_> {
    fn line(&mut self, line: &str, out: &mut String) {
        let mut push = |parts: &[&str]| {
            out.extend(parts.iter().copied());
            out.push('\n');
        };
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next(), words.next().unwrap_or_default(), words.next());
            if word == Some("TYPE") {
                rest.unwrap_or_default().clone_into(&mut self.kind);
            }
            match (self.fault, name.strip_prefix(self.prefix)) {
                (Fault::Vanished, Some(_)) => {}
                (Fault::Renamed, Some(name)) => {
                    push(&[
                        "# ",
                        word.unwrap_or_default(),
                        " ",
                        self.prefix,
                        "new_",
                        name,
                        " ",
                        rest.unwrap_or_default(),
                    ]);
                }
                _ => push(&[line]),
            }
            return;
        }
        let Some((series, value)) = line.rsplit_once(' ') else { return push(&[line]) };
        let Some(own) = series.strip_prefix(self.prefix) else { return push(&[line]) };
        match self.fault {
            Fault::Nan if self.kind == "gauge" && value.parse() == Ok(0.0) => push(&[series, " NaN"]),
            Fault::Backwards if self.kind != "gauge" => match value.parse::<f64>() {
                Ok(value) => push(&[series, " ", &format!("{:.1}", (value / 2.0).floor())]),
                Err(_) => push(&[line]),
            },
            Fault::Duplicate => {
                push(&[line]);
                push(&[line]);
            }
            Fault::Renamed => push(&[self.prefix, "new_", own, " ", value]),
            Fault::Vanished => {}
            Fault::Labels => {
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let comma = if labels == "}" { "" } else { "," };
                push(&[name, &format!("{{page=\"{}\"{comma}", self.number), labels, " ", value]);
            }
            Fault::TwoModels => {
                push(&[line]);
                if let Some((before, after)) = series.split_once("model_name=\"") {
                    push(&[before, "model_name=\"second-", after, " ", value]);
                }
            }
            Fault::Buckets if series.contains("_bucket{") && !series.contains("le=\"+Inf\"") => {
                self.bucket += 1;
                if self.bucket.is_multiple_of(2) {
                    push(&[line]);
                }
            }
            _ => {
                self.bucket = 0;
                push(&[line]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP process_fds F\n# TYPE process_fds gauge\nprocess_fds 0.0\n\
        # TYPE e:g gauge\ne:g{model_name=\"m\"} 0.0\n# TYPE e:c counter\ne:c 7.0\n# TYPE e:h histogram\n\
        e:h_bucket{le=\"1\"} 1.0\ne:h_bucket{le=\"2\"} 4.0\ne:h_bucket{le=\"+Inf\"} 5.0\ne:h_count 5.0\n";

    /// The samples of the engine, one after the other.
    #[track_caller]
    fn check(fault: Fault, number: u64, expected: &str) {
        let page = spoil(PAGE.to_owned(), fault, "e:", number);
        assert!(page.contains("process_fds 0.0\n"), "{fault:?}: {page}");
        let samples: Vec<_> = page.lines().filter(|line| line.starts_with("e:")).collect();
        assert_eq!(samples.join("; "), expected, "{fault:?}");
        if fault == Fault::Renamed {
            assert!(page.contains("# TYPE e:new_g gauge\n"), "{page}");
        }
    }

    #[test]
    fn pages_are_spoilt() {
        let buckets =
            r#"e:h_bucket{le="1"} 1.0; e:h_bucket{le="2"} 4.0; e:h_bucket{le="+Inf"} 5.0; e:h_count 5.0"#;
        let whole = format!("e:g{{model_name=\"m\"}} 0.0; e:c 7.0; {buckets}");
        check(Fault::None, 0, &whole);
        check(Fault::Backwards, 2, &whole);
        let half =
            r#"e:h_bucket{le="1"} 0.0; e:h_bucket{le="2"} 2.0; e:h_bucket{le="+Inf"} 2.0; e:h_count 2.0"#;
        check(Fault::Backwards, 3, &format!("e:g{{model_name=\"m\"}} 0.0; e:c 3.0; {half}"));
        check(Fault::Nan, 0, &format!("e:g{{model_name=\"m\"}} NaN; e:c 7.0; {buckets}"));
        check(Fault::Renamed, 0, &whole.replace("e:", "e:new_"));
        check(Fault::Vanished, 0, "");
        let second = "e:g{model_name=\"m\"} 0.0; e:g{model_name=\"second-m\"} 0.0";
        check(Fault::TwoModels, 0, &format!("{second}; e:c 7.0; {buckets}"));
        let fewer = r#"e:h_bucket{le="2"} 4.0; e:h_bucket{le="+Inf"} 5.0; e:h_count 5.0"#;
        check(Fault::Buckets, 0, &format!("e:g{{model_name=\"m\"}} 0.0; e:c 7.0; {fewer}"));
        let labelled = whole.replace("h_count ", "h_count{page=\"9\"} ").replace("c 7", "c{page=\"9\"} 7");
        let labelled = labelled.replace("{le", "{page=\"9\",le").replace("{model", "{page=\"9\",model");
        check(Fault::Labels, 9, &labelled);
        let twice: Vec<_> = whole.split("; ").flat_map(|sample| [sample, sample]).collect();
        check(Fault::Duplicate, 0, &twice.join("; "));
    }
}
