//! What a controller tells of itself, asked over its own socket.

use std::collections::BTreeSet;

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
