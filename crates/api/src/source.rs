//! Where a signal is read.

use k8s_openapi::api::core::v1::Pod;
use windlass_metrics::Metric;

/// The port of engines that say nothing else.
const DEFAULT_PORT: u16 = 8000;
/// The page of engines that say nothing else.
const DEFAULT_PATH: &str = "/metrics";

/// Where a signal is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// From every ready pod's own metrics page.
    Pod(PodSource),
    /// This version cannot read it, for the reason given. The signal stays without a reading, so nothing is
    /// lowered while it is asked for.
    Unsupported(String),
}

/// The metrics page of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSource {
    /// What is read from it.
    pub metric: Metric,
    /// At which port.
    pub port: PortRule,
    /// Under which path.
    pub path: PathRule,
}

/// At which port a pod's page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRule {
    /// The same for every pod.
    Fixed(u16),
    /// The pod's annotation `prometheus.io/port`, else its only container port, else 8000.
    Discover,
}

/// Under which path a pod's page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRule {
    /// The same for every pod; begins with a slash.
    Fixed(String),
    /// The pod's annotation `prometheus.io/path`, else `/metrics`.
    Discover,
}

impl PortRule {
    /// The port of this pod's page.
    pub fn of(self, pod: &Pod) -> u16 {
        match self {
            Self::Fixed(port) => port,
            Self::Discover => annotation(pod, "prometheus.io/port")
                .and_then(parse_port)
                .or_else(|| only_container_port(pod))
                .unwrap_or(DEFAULT_PORT),
        }
    }
}

impl PathRule {
    /// The path of this pod's page; begins with a slash.
    pub fn of(&self, pod: &Pod) -> String {
        match self {
            Self::Fixed(path) => path.clone(),
            Self::Discover => annotation(pod, "prometheus.io/path")
                .filter(|path| !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_graphic()))
                .map_or_else(|| DEFAULT_PATH.to_owned(), rooted),
        }
    }
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(|value| value.trim())
}

fn only_container_port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.as_ref()?.containers.iter();
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let only = ports.next()?;
    ports.next().is_none().then(|| u16::try_from(only.container_port).ok())?
}

pub(crate) fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// A port as it is written in the spec: digits only.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// A target as it is written in the spec: a positive decimal without unit.
pub(crate) fn parse_target(text: &str) -> Option<f64> {
    let decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|value: &f64| decimal && value.is_finite() && *value > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_says_where_its_page_is() {
        let check = |pod: &str, port: u16, path: &str| {
            let pod: Pod = serde_saphyr::from_str(pod).unwrap();
            assert_eq!((PortRule::Discover.of(&pod), PathRule::Discover.of(&pod).as_str()), (port, path));
            assert_eq!(PortRule::Fixed(9).of(&pod), 9);
            assert_eq!(PathRule::Fixed("/x".to_owned()).of(&pod), "/x");
        };
        let containers =
            |ports: &str| format!("spec: {{containers: [{{name: a, ports: [{ports}]}}, {{name: b}}]}}");
        let annotated = |port: &str, path: &str| {
            format!(
                "metadata: {{annotations: {{prometheus.io/port: '{port}', prometheus.io/path: '{path}'}}}}\n{}",
                containers("{containerPort: 8080}")
            )
        };
        check("{}", 8000, "/metrics");
        check(&containers(""), 8000, "/metrics");
        check(&containers("{containerPort: 8080}"), 8080, "/metrics");
        check(&containers("{containerPort: 8080}, {containerPort: 9090}"), 8000, "/metrics");
        check(&annotated("9100", "/prometheus/metrics"), 9100, "/prometheus/metrics");
        check(&annotated("9100", "stats"), 9100, "/stats");
        check(&annotated("http", "a b"), 8080, "/metrics");
        check(&annotated("0", ""), 8080, "/metrics");
    }

    #[test]
    fn targets_and_ports_are_digits() {
        for (text, target) in [
            ("20", Some(20.0)),
            ("0.8", Some(0.8)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("+3", Some(3.0)),
            ("1e3", Some(1000.0)),
            ("0", None),
            ("-5", None),
            ("abc", None),
            ("100m", None),
            ("1Gi", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
            ("1e999", None),
            (" 20", None),
        ] {
            assert_eq!(parse_target(text), target, "{text}");
        }
        for (text, port) in [
            ("8000", Some(8000)),
            ("65535", Some(65535)),
            ("65536", None),
            ("0", None),
            ("+80", None),
            ("http", None),
        ] {
            assert_eq!(parse_port(text), port, "{text}");
        }
    }
}
