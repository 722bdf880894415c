//! The catalogue's file: its shape, and what must hold for it.

use std::collections::HashMap;

use serde::Deserialize;
use thiserror::Error;

use super::{Aggregation, Alias, Catalogue, Kind, Metric, SeriesType, is_metric_name, other_counter_name};

/// What is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogueError {
    /// Not TOML, a field missing, or one too many.
    #[error("the catalogue cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A row contradicts itself or another one.
    #[error("catalogue row `{metric}`: {problem}")]
    Row {
        /// The row's name.
        metric: String,
        /// One sentence.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    metric: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    synonyms: Vec<String>,
    kind: Kind,
    unit: String,
    aggregation: Aggregation,
    full_scale: Option<f64>,
    #[serde(default)]
    backlog: bool,
    alias: Vec<Alias>,
}

impl Row {
    /// Checks what can be seen in the row alone.
    fn check(&self) -> Result<(), String> {
        for name in self.names().chain(self.alias.iter().flat_map(|alias| &alias.add)) {
            if !is_metric_name(name) {
                return Err(format!("`{name}` is not a metric name"));
            }
        }
        if self.alias.is_empty() {
            return Err("it has no alias, so no page can have it".to_owned());
        }
        for alias in &self.alias {
            if alias.add.is_empty() {
                return Err(format!("an alias of engine `{}` names no series in `add`", alias.engine));
            }
            if alias.add.len() > 1 && self.aggregation != Aggregation::Sum {
                return Err(format!("`{alias}` is a sum of series, so the aggregation must be `sum`"));
            }
            if alias.add.len() > 1 && alias.series_type == SeriesType::Histogram {
                return Err(format!("`{alias}` adds histograms; a histogram stands alone"));
            }
        }
        if self.backlog && self.kind != Kind::Additive {
            return Err("`backlog` is for kind `additive`".to_owned());
        }
        if let Some(full_scale) = self.full_scale {
            if self.kind != Kind::Utilisation {
                return Err("`full_scale` is for kind `utilisation`".to_owned());
            }
            if !(full_scale.is_finite() && full_scale > 0.0) {
                return Err(format!("`full_scale` is {full_scale}, but must be above 0"));
            }
        }
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).chain(&self.synonyms)
    }
}

impl Catalogue {
    /// Reads and checks a catalogue.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let file: File = toml::from_str(text)?;
        let mut catalogue = Self {
            metrics: Vec::with_capacity(file.metric.len()),
            by_name: HashMap::new(),
            by_series: HashMap::new(),
        };
        for row in file.metric {
            let fault = |problem| CatalogueError::Row { metric: row.name.clone(), problem };
            row.check().map_err(fault)?;
            let index = catalogue.metrics.len();
            for name in row.names() {
                if let Some(first) = catalogue.by_name.insert(name.clone(), index) {
                    let first = catalogue.metrics.get(first).map_or(row.name.as_str(), |metric| &metric.name);
                    return Err(fault(format!("the name `{name}` is already taken by row `{first}`")));
                }
            }
            for (position, alias) in row.alias.iter().enumerate() {
                let [series] = alias.add.as_slice() else { continue };
                let mut spellings = vec![series.clone()];
                if alias.series_type == SeriesType::Counter {
                    spellings.push(other_counter_name(series));
                }
                for spelling in spellings {
                    if catalogue.by_series.insert(spelling.clone(), (index, position)).is_some() {
                        return Err(fault(format!(
                            "the series `{spelling}` already stands alone in another alias"
                        )));
                    }
                }
            }
            catalogue.metrics.push(Metric {
                canonical: Some(row.name.clone()),
                name: row.name,
                kind: row.kind,
                unit: row.unit,
                aggregation: row.aggregation,
                full_scale: row.full_scale,
                backlog: row.backlog,
                signed: false,
                aliases: row.alias,
            });
        }
        Ok(catalogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ResolveError;

    const ROW: &str = "[[metric]]\nname = 'a'\nkind = 'additive'\nunit = 'x'\naggregation = 'sum'\n";
    const ALIAS: &str = "[[metric.alias]]\nengine = 'e'\ngeneration = 'g'\ntype = 'gauge'\nadd = ['e:a']\n";

    #[test]
    fn faults_are_named() {
        let check = |text: &str, sentence: &str| {
            let error = Catalogue::parse(text).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error:?} lacks {sentence:?}");
        };
        assert_eq!(Catalogue::parse(&format!("{ROW}{ALIAS}")).unwrap().metrics().len(), 1);
        check("[[metric]]\nname = 'a'", "missing field");
        check(&format!("{ROW}colour = 'red'\n{ALIAS}"), "unknown field `colour`");
        check(&format!("{ROW}alias = []"), "catalogue row `a`: it has no alias");
        check(&format!("{ROW}{}", ALIAS.replace("'e:a'", "")), "names no series");
        check(&format!("{ROW}{}", ALIAS.replace("e:a", "e{x=1}")), "`e{x=1}` is not a metric name");
        check(&format!("{ROW}{}", ALIAS.replace("gauge", "asdeclared")), "unknown variant `asdeclared`");
        check(&format!("{ROW}full_scale = 1.0\n{ALIAS}"), "`full_scale` is for kind `utilisation`");
        let utilisation = ROW.replace("additive", "utilisation");
        check(&format!("{utilisation}full_scale = 0.0\n{ALIAS}"), "must be above 0");
        check(&format!("{utilisation}backlog = true\n{ALIAS}"), "`backlog` is for kind `additive`");
        let mean = ROW.replace("'sum'", "'mean'");
        check(&format!("{mean}{}", ALIAS.replace("'e:a'", "'e:a', 'e:b'")), "`e:a + e:b` is a sum of series");
        let histograms = ALIAS.replace("'e:a'", "'e:a', 'e:b'").replace("gauge", "histogram");
        check(&format!("{ROW}{histograms}"), "a histogram stands alone");
        check(&format!("{ROW}{ALIAS}{ROW}{ALIAS}"), "the name `a` is already taken by row `a`");
        check(&format!("{ROW}synonyms = ['a']\n{ALIAS}"), "the name `a` is already taken by row `a`");
        check(
            &format!("{ROW}{ALIAS}{}{ALIAS}", ROW.replace("'a'", "'b'")),
            "the series `e:a` already stands alone",
        );
    }

    /// Name asked for, canonical name, first alias, its type.
    #[test]
    fn names_resolve() {
        use SeriesType::{AsDeclared, Counter, Gauge};
        let check = |name: &str, canonical: Option<&str>, aliases: &str, first: SeriesType| {
            let metric = Catalogue::builtin().resolve(name).unwrap();
            let found: Vec<_> = metric.aliases.iter().map(ToString::to_string).collect();
            assert_eq!((metric.name.as_str(), metric.canonical.as_deref()), (name, canonical));
            assert_eq!(found.join(", "), aliases);
            assert_eq!(metric.aliases[0].series_type, first);
        };
        let kv = "vllm:kv_cache_usage_perc, vllm:gpu_cache_usage_perc";
        let prompt = "vllm:avg_prompt_throughput_toks_per_s, vllm:prompt_tokens_total";
        check("running", Some("running"), "vllm:num_requests_running", Gauge);
        check("num_requests_waiting", Some("waiting"), "vllm:num_requests_waiting", Gauge);
        check("inflight", Some("inflight"), "vllm:num_requests_running + vllm:num_requests_waiting", Gauge);
        check("gpu_cache_usage_perc", Some("kv_util"), kv, Gauge);
        check("kv_cache_usage_perc", Some("kv_util"), kv, Gauge);
        check("vllm:gpu_cache_usage_perc", Some("kv_util"), "vllm:gpu_cache_usage_perc", Gauge);
        check("avg_prompt_throughput_toks_per_s", Some("prompt_tokens_rate"), prompt, Gauge);
        check("vllm:prompt_tokens_total", Some("prompt_tokens_rate"), "vllm:prompt_tokens_total", Counter);
        check("vllm:prompt_tokens", Some("prompt_tokens_rate"), "vllm:prompt_tokens_total", Counter);
        check("request_success_total", Some("request_rate"), "vllm:request_success_total", Counter);
        check("my_queue_depth", None, "my_queue_depth", AsDeclared);
        check("my.queue/depth", None, "my.queue/depth", AsDeclared);
    }

    #[test]
    fn what_waits_is_a_backlog() {
        for (name, backlog) in [
            ("waiting", true),
            ("num_requests_waiting", true),
            ("vllm:num_requests_waiting", true),
            ("inflight", false),
            ("my_queue_depth", false),
        ] {
            assert_eq!(Catalogue::builtin().resolve(name).unwrap().backlog, backlog, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for name in
            ["ttft", "time_per_output_token_seconds", "vllm:e2e_request_latency_seconds", "queue_time"]
        {
            let error = Catalogue::builtin().resolve(name).unwrap_err();
            assert!(
                matches!(&error, ResolveError::Histogram { name: asked, .. } if asked == name),
                "{error}"
            );
        }
        for name in ["", "a b", "rate(x[1m])", "x{y=\"z\"}", "x\n"] {
            assert_eq!(Catalogue::builtin().resolve(name), Err(ResolveError::NotAName(name.to_owned())));
        }
    }

    #[test]
    fn utilisation_has_a_full_scale_and_nothing_of_the_catalogue_is_negative() {
        for metric in Catalogue::builtin().metrics() {
            assert_eq!(metric.full_scale.is_some(), metric.kind == Kind::Utilisation, "{}", metric.name);
            assert!(!metric.signed);
        }
    }
}
