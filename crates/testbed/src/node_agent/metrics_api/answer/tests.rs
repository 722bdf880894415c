use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::node_agent::registry::Orders;
use crate::node_agent::usage::Work;

/// Two pods with a window behind them, of which the first uses 0.3 cores, and a young one.
fn view() -> View {
    let view = View {
        directory: Directory::default(),
        usage: UsageBook::default(),
        nodes: vec!["windlass-node-0".to_owned(), "windlass-node-1".to_owned()],
    };
    let (_, orders) = watch::channel(Orders { part: None, deleting: None });
    for (name, namespace, app) in [("a", "shop", "web"), ("b", "shop", "db"), ("young", "other", "web")] {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"app": app}},
            "spec": {"nodeName": "windlass-node-0", "containers": [
                {"name": "side", "image": "pause"}, {"name": "web", "image": "nginx"},
            ]},
        });
        view.directory.put_pod(&Pod::read(serde_json::from_value(object).unwrap()));
        let processor = std::sync::Arc::new(crate::processor::Processor::new(None));
        let now = Instant::now();
        if name == "a" {
            processor.take(Duration::from_secs(30), now);
        }
        // The account stays open although its guard is forgotten.
        let work = Work::Counted(processor, 8_388_608.0);
        std::mem::forget(view.usage.open(&name.to_owned(), work, Some(0.3), orders.clone()));
        if name != "young" {
            view.usage.pass(&name.to_owned(), now, 15);
        }
    }
    view
}

fn get(path: &str) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    view().answer(&Method::GET, path, query)
}

/// Compares the status and the names of the items.
#[track_caller]
fn check(path: &str, code: u16, expected: &[&str]) {
    let (status, document) = get(path);
    let items = document["items"].as_array().cloned().unwrap_or_else(|| vec![document.clone()]);
    let names: Vec<_> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!((status.as_u16(), &names[..]), (code, expected), "{path}: {document}");
}

#[test]
fn pods_are_listed_by_namespace_and_selector() {
    check("/apis/metrics.k8s.io/v1beta1/pods", 200, &["a", "b"]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods", 200, &["a", "b"]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods?labelSelector=app%3Dweb", 200, &["a"]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods?labelSelector=app+in+(db,x)", 200, &["b"]);
    check("/apis/metrics.k8s.io/v1beta1/pods?fieldSelector=metadata.name%3Db&limit=500", 200, &["b"]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/other/pods", 200, &[]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/nowhere/pods", 200, &[]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/a", 200, &["a"]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/other/pods/young", 404, &[]);
    check("/apis/metrics.k8s.io/v1beta1/namespaces/other/pods/a", 404, &[]);
    check("/apis/metrics.k8s.io/v1beta1/pods?labelSelector=a(b)", 400, &[]);
    check("/apis/metrics.k8s.io/v1beta1/pods?watch=true", 405, &[]);
    check("/apis/metrics.k8s.io/v1/pods", 404, &[]);
    check("/openapi/v2", 404, &[]);
    assert_eq!(view().answer(&Method::DELETE, ROOT, "").0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn a_pod_reports_each_container() {
    let (_, pod) = get("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/a");
    assert_eq!(pod["kind"], "PodMetrics");
    assert_eq!(pod["window"], "10.000s");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "web"}));
    let side = json!({"name": "side", "usage": {"cpu": "0n", "memory": "1024Ki"}});
    let web = json!({"name": "web", "usage": {"cpu": "300000000n", "memory": "8192Ki"}});
    assert_eq!(pod["containers"], json!([side, web]));
}

#[test]
fn nodes_use_what_their_pods_do() {
    check("/apis/metrics.k8s.io/v1beta1/nodes", 200, &["windlass-node-0", "windlass-node-1"]);
    check("/apis/metrics.k8s.io/v1beta1/nodes/windlass-node-9", 404, &[]);
    let (_, node) = get("/apis/metrics.k8s.io/v1beta1/nodes/windlass-node-0");
    assert_eq!(node["usage"], json!({"cpu": "300000000n", "memory": "16384Ki"}));
    let selector = "labelSelector=kubernetes.io/hostname%3Dwindlass-node-1";
    check(&format!("/apis/metrics.k8s.io/v1beta1/nodes?{selector}"), 200, &["windlass-node-1"]);
}

#[test]
fn the_api_can_be_discovered() {
    let (status, resources) = get(ROOT);
    assert_eq!((status, &resources["kind"]), (StatusCode::OK, &json!("APIResourceList")));
    assert_eq!(resources["resources"][1]["kind"], "PodMetrics");
    assert_eq!(get("/apis").1["groups"][0], get("/apis/metrics.k8s.io").1);
}
