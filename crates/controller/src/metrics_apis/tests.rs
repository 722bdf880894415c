//! The metrics APIs against a local HTTP server that plays the API server (simulated), asked with a real client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What the server answers to a path: status and body.
type Answers = fn(&str) -> (u16, &'static str);

/// A client of a server that answers so.
pub(crate) async fn client(answers: Answers) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let length = stream.read(&mut chunk).await.unwrap();
                    if length == 0 {
                        return;
                    }
                    request.extend_from_slice(&chunk[..length]);
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap();
                let (status, body) = answers(path);
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
            });
        }
    });
    // The product's client repeats what is answered with 503 until the time-out; a test does not wait.
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn ask(query: &Query, answers: Answers) -> Result<Answer, String> {
    query.ask(&client(answers).await, "ns", "app in (engine)").await
}

const NOT_FOUND: (u16, &str) = (404, "404 page not found");
const FORBIDDEN: (u16, &str) = (
    403,
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#,
);
const UNAVAILABLE: (u16, &str) = (
    503,
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"service unavailable","reason":"ServiceUnavailable","code":503}"#,
);
const GROUP: &str = r#"{"kind":"APIGroup","apiVersion":"v1","name":"custom.metrics.k8s.io",
    "versions":[{"groupVersion":"custom.metrics.k8s.io/v1beta2","version":"v1beta2"}],
    "preferredVersion":{"groupVersion":"custom.metrics.k8s.io/v1beta2","version":"v1beta2"}}"#;
const METRICS: &str = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"custom.metrics.k8s.io/v1beta2",
    "resources":[{"name":"pods/queue_depths","singularName":"","namespaced":true,"kind":"MetricValueList","verbs":["get"]},
    {"name":"pods/requests","singularName":"","namespaced":true,"kind":"MetricValueList","verbs":["get"]},
    {"name":"services/queue_depth","singularName":"","namespaced":true,"kind":"MetricValueList","verbs":["get"]}]}"#;

/// AIBrix's case: 30 and 20 cores in two containers are 50000 millicores.
#[tokio::test]
async fn resources_are_summed_over_containers() {
    let query = Query::Resources(vec![Resource::Memory, Resource::Cpu]);
    let answer = ask(&query, |path| match path {
        "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods?labelSelector=app+in+%28engine%29" => (
            200,
            r#"{"items":[{"metadata":{"name":"p1"},"timestamp":"2026-11-24T12:00:00Z","window":"15.5s","containers":[
                {"name":"a","usage":{"cpu":"30","memory":"1Gi"}},{"name":"b","usage":{"cpu":"20000m","memory":"24Ki"}}]}]}"#,
        ),
        _ => NOT_FOUND,
    });
    let expected = OfPod {
        pod: "p1".to_owned(),
        values: vec![1_073_766_400.0, 50_000.0],
        taken: "2026-11-24T12:00:00Z".parse().unwrap(),
        window: Duration::from_millis(15_500),
    };
    assert_eq!(answer.await, Ok(Answer::Pods(vec![expected])));
}

#[tokio::test]
async fn external_items_are_summed_and_none_is_not_zero() {
    let query = Query::External("jobs".to_owned());
    let answer = ask(&query, |_| {
        (
            200,
            r#"{"items":[{"metricName":"jobs","timestamp":"2026-11-24T12:00:05Z","value":"40"},
                {"metricName":"jobs","timestamp":"2026-11-24T12:00:00Z","value":"60"}]}"#,
        )
    });
    let taken = "2026-11-24T12:00:00Z".parse().unwrap();
    assert_eq!(answer.await, Ok(Answer::Fleet { value: 100.0, taken }));
    let none = ask(&query, |_| (200, r#"{"items":[]}"#)).await;
    assert_eq!(none, Err("external.metrics.k8s.io has no value of jobs now".to_owned()));
    let odd =
        ask(&query, |_| (200, r#"{"items":[{"timestamp":"2026-11-24T12:00:05Z","value":"lots"}]}"#)).await;
    assert_eq!(odd, Err("external.metrics.k8s.io answers \"lots\", which is no quantity".to_owned()));
}

#[tokio::test]
async fn custom_metrics_are_of_the_pods_they_describe() {
    let query = Query::Custom("queue_depth".to_owned());
    let answer = ask(&query, |path| match path {
        "/apis/custom.metrics.k8s.io" => (200, GROUP),
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/queue_depth?labelSelector=app+in+%28engine%29" => {
            (
                200,
                r#"{"items":[{"describedObject":{"kind":"Pod","name":"p2"},"metric":{"name":"queue_depth"},
                "timestamp":"2026-11-24T12:00:00Z","windowSeconds":60,"value":"2500m"}]}"#,
            )
        }
        _ => NOT_FOUND,
    });
    let Ok(Answer::Pods(pods)) = answer.await else { panic!("no pods") };
    assert_eq!(pods.len(), 1);
    assert_eq!((pods[0].pod.as_str(), pods[0].values[0], pods[0].window.as_secs()), ("p2", 2.5, 60));
}

/// Each failure with what to do about it.
#[tokio::test]
async fn what_is_wrong_is_one_sentence() {
    let check = async |query: Query, answers: Answers, expected: &str| {
        assert_eq!(ask(&query, answers).await, Err(expected.to_owned()));
    };
    let resources = || Query::Resources(vec![Resource::Cpu]);
    let custom = || Query::Custom("queue_depth".to_owned());
    let external = || Query::External("jobs".to_owned());
    check(resources(), |_| NOT_FOUND, "metrics.k8s.io is not served in this cluster; install metrics-server")
        .await;
    check(
        resources(),
        |_| FORBIDDEN,
        "metrics.k8s.io is forbidden to this controller: it may not list pods.metrics.k8s.io in namespace ns; add the \
         rule {apiGroups: [metrics.k8s.io], resources: [pods], verbs: [list]} to its role",
    )
    .await;
    check(
        external(),
        |_| UNAVAILABLE,
        "external.metrics.k8s.io is registered, but its server does not answer; look after an external metrics \
         adapter, for example KEDA",
    )
    .await;
    check(
        custom(),
        |_| NOT_FOUND,
        "custom.metrics.k8s.io is not served in this cluster; install a custom metrics adapter, for example \
         prometheus-adapter",
    )
    .await;
    let has_others: Answers = |path| match path {
        "/apis/custom.metrics.k8s.io" => (200, GROUP),
        "/apis/custom.metrics.k8s.io/v1beta2" => (200, METRICS),
        _ => NOT_FOUND,
    };
    check(
        custom(),
        has_others,
        "custom.metrics.k8s.io has no queue_depth; nearest are queue_depths, requests",
    )
    .await;
    let nonsense = ask(&resources(), |_| (200, "<html>")).await.unwrap_err();
    assert!(nonsense.starts_with("metrics.k8s.io cannot be read: "), "{nonsense}");
}
