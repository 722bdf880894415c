//! Which engines a target's pods run, and from which of their names the metrics are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use windlass_api::Resolved;
use windlass_api::status::{AliasStatus, EngineStatus, MAX_ALIASES, MAX_ENGINES};
use windlass_metrics::Detected;

use super::Active;
use crate::pod::PodEntry;

/// What was found out of the engine behind one page of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    detected: Arc<Detected>,
    /// Where the page is: the container with this port runs the engine.
    port: u16,
}

impl Found {
    /// The page is at this port of the pod.
    pub(crate) fn new(detected: Arc<Detected>, port: u16) -> Self {
        Self { detected, port }
    }

    /// As a status of one pod. Its version is the image's, which may change in place.
    pub(crate) fn status(&self, entry: &PodEntry) -> EngineStatus {
        let alias = |used: &windlass_metrics::catalogue::AliasUsed| AliasStatus {
            metric: used.metric.clone(),
            series: used.series.clone(),
            derived: used.derived.clone(),
        };
        EngineStatus {
            engine: self.detected.engine.clone(),
            generation: self.detected.generation.clone(),
            version: entry.version(self.port),
            pods: 1,
            aliases: self.detected.aliases.iter().map(alias).collect(),
        }
    }
}

impl Active {
    /// The engines of the ready pods: the same as long as the same pods are read from the same names. Of very many
    /// versions the first are told, by name.
    pub(crate) fn engines(&self) -> &[EngineStatus] {
        self.engines.get_or_init(|| {
            let ready = self.members.values().filter(|member| member.counts() && member.entry.is_ready());
            grouped(ready.flat_map(|member| {
                // An engine with two pages is one.
                let pages = member.engines.iter().map(|(_, found)| found.status(&member.entry));
                grouped(pages).into_iter().map(|engine| EngineStatus { pods: 1, ..engine })
            }))
        })
    }

    /// Reads other pages from now on, or the same ones by another catalogue: what engines they are of is found out anew.
    pub(super) fn read_pages(&mut self, resolved: &Resolved) {
        self.polling.read_from(&resolved.sources, &resolved.catalogue);
        for member in self.members.values_mut() {
            member.engines.clear();
            member.silences = super::Silences::default();
        }
        self.engines.take();
    }
}

/// One entry for each engine, generation and version.
fn grouped(pods: impl Iterator<Item = EngineStatus>) -> Vec<EngineStatus> {
    let mut groups: BTreeMap<(String, Option<String>, Option<String>), EngineStatus> = BTreeMap::new();
    for pod in pods {
        let key = (pod.engine.clone(), pod.generation.clone(), pod.version.clone());
        let group =
            groups.entry(key).or_insert_with(|| EngineStatus { pods: 0, aliases: Vec::new(), ..pod.clone() });
        group.pods += pod.pods;
        // A pod that has had no value of a metric yet names no series of it.
        let new = pod.aliases.into_iter().filter(|alias| !group.aliases.contains(alias)).collect::<Vec<_>>();
        group.aliases.extend(new);
    }
    let tidied = groups.into_values().map(|mut group| {
        group.aliases.sort_unstable();
        group.aliases.dedup();
        group.aliases.truncate(MAX_ALIASES);
        group
    });
    tidied.take(MAX_ENGINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(engine: &str, version: Option<&str>, series: &[(&str, &str)]) -> EngineStatus {
        let alias = |(metric, series): &(&str, &str)| AliasStatus {
            metric: (*metric).to_owned(),
            series: (*series).to_owned(),
            derived: None,
        };
        EngineStatus {
            engine: engine.to_owned(),
            generation: None,
            version: version.map(str::to_owned),
            pods: 1,
            aliases: series.iter().map(alias).collect(),
        }
    }

    #[test]
    fn pods_of_one_version_are_one_entry_in_whatever_order_they_come() {
        let pods = [
            pod("vllm", Some("v0.11.0"), &[("running", "r")]),
            pod("sglang", None, &[("running", "s")]),
            pod("vllm", Some("v0.11.0"), &[("running", "r"), ("kv_util", "k")]),
            pod("vllm", Some("v0.6.0"), &[("running", "r")]),
            pod("vllm", Some("v0.11.0"), &[]),
        ];
        let groups = grouped(pods.iter().cloned());
        assert_eq!(groups, grouped(pods.iter().rev().cloned()));
        let shown: Vec<_> = groups
            .iter()
            .map(|group| (group.engine.as_str(), group.version.as_deref(), group.pods, group.aliases.len()))
            .collect();
        let expect =
            [("sglang", None, 1, 1), ("vllm", Some("v0.11.0"), 3, 2), ("vllm", Some("v0.6.0"), 1, 1)];
        assert_eq!(shown, expect);
    }

    #[test]
    fn two_statistics_of_one_metric_are_read_from_one_series() {
        let twice = pod("vllm", None, &[("ttft", "t"), ("ttft", "t"), ("running", "r")]);
        assert_eq!(grouped([twice].into_iter())[0].aliases.len(), 2);
    }

    #[test]
    fn there_are_never_more_than_the_status_may_have() {
        let pods = (0..100).map(|number| pod("vllm", Some(&format!("v{number}")), &[]));
        assert_eq!(grouped(pods).len(), MAX_ENGINES);
        let many = |number: usize| pod("vllm", None, &[("running", &format!("s{number}"))]);
        assert_eq!(grouped((0..100).map(many))[0].aliases.len(), MAX_ALIASES);
    }
}
