//! What a controller tells of itself, asked over its own socket.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{Namespace, autoscaler, deployment, get, root};

/// The families of a page, by name and type.
fn families(page: &str) -> BTreeSet<(String, String)> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|rest| rest.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Seen only when something goes wrong.
const RARE: &str = "windlass_watch_errors";

/// The page has what the docs list, and nothing else.
fn check_docs(page: &str) {
    assert!(page.ends_with("# EOF\n"), "OpenMetrics ends so");
    let docs = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = docs.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.splitn(3, " | ");
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?;
        ["gauge", "counter", "histogram"].contains(&kind).then(|| (name.to_owned(), kind.to_owned()))
    });
    let common = |families: &mut dyn Iterator<Item = (String, String)>| -> BTreeSet<(String, String)> {
        families.filter(|(name, _)| name != RARE).collect()
    };
    assert_eq!(common(&mut families(page).into_iter()), common(&mut rows.into_iter()));
}

#[tokio::test]
async fn a_target_is_told_of_and_forgotten() {
    let namespace = Namespace::new("observed").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "60"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    namespace.apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10))).await;
    namespace.ready("engine", 3).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;

    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/nowhere").await.0, 404);
    let (status, page) = get("/metrics").await;
    assert_eq!(status, 200);
    check_docs(&page);
    let target = "namespace=\"observed\",name=\"pa\"";
    for line in [
        format!("windlass_desired_replicas{{{target}}} 3"),
        format!("windlass_actual_replicas{{{target}}} 3"),
        format!("windlass_replicas{{{target},state=\"ready\"}} 3"),
        format!(
            "windlass_signal_value{{{target},source=\"0\",metric=\"avg_prompt_throughput_toks_per_s\"}} 60.0"
        ),
        format!("aibrix_autoscaler_scale_action{{{target},algorithm=\"KPA\",reason=\"stable\"}} 3"),
        format!("windlass_scales_total{{{target},direction=\"up\",outcome=\"written\"}} 1"),
        "windlass_leading 1.0".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not on the page:\n{page}");
    }

    let (status, state) = get("/debug/state?namespace=observed&name=pa").await;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!((status, state["targets"].as_array().map(Vec::len)), (200, Some(1)), "{state:#}");
    let target = &state["targets"][0];
    assert_eq!(target["policy"]["max_replicas"], 10);
    assert_eq!(target["decision"]["replicas"], 3);
    let account = target["decision"]["account"][0].as_str().unwrap();
    assert!(account.contains("asks for 3"), "{account}");

    namespace.kubectl(&["delete", "podautoscaler", "pa"]).await;
    for _ in 0..100 {
        if !get("/metrics").await.1.contains("namespace=\"observed\"") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the series of a deleted PodAutoscaler stay");
}

/// The notes of the events about `pa` with this reason, repeats counted.
async fn events(namespace: &Namespace, reason: &str) -> Vec<String> {
    let field = format!("--field-selector=reason={reason},involvedObject.name=pa");
    let list = namespace.kubectl(&["get", "events", &field, "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let mut notes = Vec::new();
    for event in list["items"].as_array().unwrap() {
        let repeats = event["series"]["count"].as_u64().or(event["count"].as_u64()).unwrap_or(1).max(1);
        notes.extend((0..repeats).map(|_| event["message"].as_str().unwrap().to_owned()));
    }
    notes
}

/// Waits for an event; gives its note.
async fn event(namespace: &Namespace, reason: &str) -> String {
    for _ in 0..200 {
        if let Some(note) = events(namespace, reason).await.pop() {
            return note;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("no event {reason}: {}", namespace.kubectl(&["describe", "podautoscaler", "pa"]).await);
}

/// Nothing is written about `pa` for a few seconds.
async fn check_quiet(namespace: &Namespace, when: &str) {
    let before = namespace.autoscaler("pa").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(before, namespace.autoscaler("pa").await, "{when}");
}

#[tokio::test]
async fn an_outage_is_told_while_it_lasts_and_not_again_and_again() {
    let namespace = Namespace::new("told").await;
    namespace.apply(&deployment("engine", "engine", 2, &[("total", "30"), ("share", "ready")])).await;
    namespace.ready("engine", 2).await;
    let manifest = autoscaler("pa", "Deployment/engine", "KPA", (2, 10)).replace(
        "metadata: {name: pa}",
        "metadata: {name: pa, annotations: {autoscaling.aibrix.ai/typo: '1'}}",
    );
    namespace.apply(&manifest).await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let warned = event(&namespace, "PolicyWarnings").await;
    assert!(warned.contains("autoscaling.aibrix.ai/typo"), "{warned}");
    check_quiet(&namespace, "while all is well").await;

    namespace.steer("deployment/engine", "fault=refuse").await;
    let message = namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
    for part in
        ["avg_prompt_throughput_toks_per_s: blind since 2", "Z, holding 2 (pod engine-", "cannot connect"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let note = event(&namespace, "MetricsUnavailable").await;
    assert!(note.contains("holding 2 (pod engine-"), "{note}");
    check_quiet(&namespace, "while the outage lasts").await;
    let described = namespace.kubectl(&["describe", "podautoscaler", "pa"]).await;
    assert!(described.contains("MetricsUnavailable") && described.contains("blind since"), "{described}");

    let (_, page) = get("/metrics").await;
    let labels = "namespace=\"told\",name=\"pa\",source=\"0\",metric=\"avg_prompt_throughput_toks_per_s\"";
    let health = format!("windlass_signal_health{{{labels},health=\"blind\"}} 1");
    assert!(page.lines().any(|line| line == health), "{health} is not on the page:\n{page}");
    assert!(
        !page.contains(&format!("windlass_signal_value{{{labels}")),
        "what is not known is absent:\n{page}"
    );
    let (_, state) = get("/debug/state?namespace=told&name=pa").await;
    let state: Value = serde_json::from_str(&state).unwrap();
    let silent = state["targets"][0]["silentPods"].as_array().unwrap();
    assert_eq!(silent.len(), 2, "{state:#}");
    assert!(silent[0]["why"].as_str().unwrap().contains("cannot connect"), "{silent:?}");

    namespace.steer("deployment/engine", "fault-").await;
    namespace.condition("pa", "MetricsAvailable", "True", "Fresh").await;
    let note = event(&namespace, "MetricsRecovered").await;
    assert!(note.contains("read again after"), "{note}");
    check_quiet(&namespace, "after it").await;
    for reason in ["MetricsUnavailable", "MetricsRecovered", "PolicyWarnings"] {
        let all = events(&namespace, reason).await;
        assert_eq!(all.len(), 1, "{reason}: {all:?}");
    }
}
