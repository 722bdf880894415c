//! Signals from elsewhere than the pods' own pages.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Namespace, deployment};

/// A Prometheus (simulated) whose every query has one series of this value.
async fn prometheus(value: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let known = asked.starts_with("GET /prom/api/v1/query?query=sum%28jobs%29&timeout=");
            let body = if known {
                format!(
                    r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#
                )
            } else {
                r#"{"status":"error","errorType":"bad_data","error":"no such query"}"#.to_owned()
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    address
}

fn autoscaler(min: u32, sources: &str) -> String {
    format!(
        "apiVersion: autoscaling.aibrix.ai/v1alpha1
kind: PodAutoscaler
metadata: {{name: pa}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: engine}}
  minReplicas: {min}
  maxReplicas: 10
  scalingStrategy: KPA
  metricsSources:
{sources}"
    )
}

/// 60 jobs at 20 a replica, of which no pod could tell; and an API that this cluster does not have.
#[tokio::test]
async fn a_total_of_the_fleet_raises_from_zero_while_another_source_is_blind() {
    let address = prometheus("60").await;
    let namespace = Namespace::new("sources").await;
    namespace.apply(&deployment("engine", "engine", 0, &[])).await;
    let sources = format!(
        "  - {{metricSourceType: prometheus, endpoint: 'http://{address}', path: /prom, query: sum(jobs),
     targetMetric: jobs, targetValue: '20'}}
  - {{metricSourceType: custom, targetMetric: queue_depth, targetValue: '4'}}
"
    );
    namespace.apply(&autoscaler(0, &sources)).await;
    namespace.ready("engine", 3).await;
    let message = namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
    assert!(message.starts_with("queue_depth: "), "{message}");
    assert!(message.contains("custom.metrics.k8s.io is not served in this cluster; install"), "{message}");
    let signals = namespace.autoscaler("pa").await["status"]["signals"].clone();
    assert_eq!(signals[0]["value"], 60.0, "{signals:#}");
}

/// The engines speak plain http: a token is not sent there, and the page is not read without it either.
#[tokio::test]
async fn a_token_comes_from_a_secret_and_is_not_sent_in_the_open() {
    let namespace = Namespace::new("source-credentials").await;
    namespace.apply(&deployment("engine", "engine", 2, &[])).await;
    namespace.ready("engine", 2).await;
    let source = "  - {metricSourceType: pod, protocolType: https, port: '8000', path: /metrics,
     targetMetric: inflight, targetValue: '20', bearerTokenSecret: {name: scrape, key: token}}
";
    namespace.apply(&autoscaler(1, source)).await;
    let message = namespace.condition("pa", "MetricsAvailable", "False", "Blind").await;
    let missing = "not asked: Secret scrape does not exist in namespace source-credentials";
    assert!(message.contains(missing), "{message}");
    namespace.kubectl(&["create", "secret", "generic", "scrape", "--from-literal=token=sesame"]).await;
    namespace.says("pa", &["does not speak TLS there"]).await;
}
