//! Where a signal is read.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use windlass_metrics::{Catalogue, Metric};
use windlass_scaling::Pace;

use crate::podautoscaler::SecretKey;

/// The port of engines that say nothing else.
const DEFAULT_PORT: u16 = 8000;
/// The page of engines that say nothing else.
const DEFAULT_PATH: &str = "/metrics";

/// Pods' pages are read every 0.1 to 2 s, once a second where nothing else is known, and fresh for three.
const OF_PODS: Pace = Pace::every(Duration::from_secs(1));
/// Endpoints and Prometheus: they rarely know anything newer.
const OF_SERVERS: Pace = Pace::every(Duration::from_secs(5));
/// The cluster's metrics APIs: metrics-server knows something new every 15 s, and that may be 30 s old by then.
const OF_APIS: Pace = Pace { interval: Duration::from_secs(15), fresh_span: Duration::from_mins(1) };

/// Where a signal is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// From every ready pod's own metrics page.
    Pod(PodSource),
    /// Of every pod, from `metrics.k8s.io`.
    Resource(Resource),
    /// Of every pod, from `custom.metrics.k8s.io`: the metric's name.
    Custom(String),
    /// Of the fleet, from `external.metrics.k8s.io`: the metric's name.
    External(String),
    /// Of the fleet, from one server's metrics page.
    Endpoint(EndpointSource),
    /// Of the fleet, from a query.
    Prometheus(PrometheusSource),
}

/// A resource of pods that is measured by the cluster, added up over a pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// In millicores.
    Cpu,
    /// In bytes.
    Memory,
}

/// A server's metrics page.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSource {
    /// What is read from it.
    pub metric: Metric,
    /// What is read beside it to tell whether nothing happens: the requests under way. Of metrics that need events.
    pub inflight: Option<Metric>,
    /// Which server.
    pub address: Address,
    /// Under which path; begins with a slash.
    pub path: String,
    /// How it is spoken to.
    pub access: Access,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSource {
    /// `PromQL`.
    pub query: String,
    /// Which server.
    pub address: Address,
    /// What its API lies under; begins with a slash.
    pub path: String,
    /// How it is spoken to.
    pub access: Access,
}

/// A server of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Over TLS.
    pub https: bool,
    /// A DNS name, or an address; one of IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// Over TLS. All else has a meaning only then.
    pub https: bool,
    /// Certificates to trust, PEM.
    pub ca_bundle: Option<String>,
    /// The same from a Secret.
    pub ca_bundle_secret: Option<SecretKey>,
    /// The name the certificate must be for.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub skip_verify: bool,
    /// A bearer token.
    pub token: Option<SecretKey>,
    /// The spec says something of TLS or credentials: there is something to protect, and plain http is no way out.
    pub strict: bool,
}

impl Address {
    /// Reads an endpoint. Its own scheme and port are more specific than those declared beside it.
    pub(crate) fn parse(protocol: Option<&str>, endpoint: &str, port: Option<u16>) -> Option<Self> {
        let (https, rest) = match endpoint.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
            None => (protocol == Some("https"), endpoint),
        };
        let rest = rest.trim_end_matches('/');
        let colon = rest.rfind(':').filter(|colon| !rest[*colon..].contains(']'));
        let (host, own_port) = match colon {
            Some(colon) => (&rest[..colon], Some(parse_port(&rest[colon + 1..])?)),
            None => (rest, None),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let address = bracketed && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
        if host.is_empty() || !(name || address) {
            return None;
        }
        let port = own_port.or(port).unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: host.to_owned(), port })
    }
}

/// As a URL without a path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Source {
    /// How often it is read, and how long that counts.
    pub fn pace(&self) -> Pace {
        match self {
            Self::Pod(_) => OF_PODS,
            Self::Endpoint(_) | Self::Prometheus(_) => OF_SERVERS,
            Self::Resource(_) | Self::Custom(_) | Self::External(_) => OF_APIS,
        }
    }
}

/// Where it is read, for people and to tell sources apart.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => {
                let scheme = if pod.access.https { "https" } else { "http" };
                match pod.port {
                    PortRule::Fixed(port) => write!(f, "pods {scheme}://:{port}")?,
                    PortRule::Discover => write!(f, "pods {scheme}")?,
                }
                match &pod.path {
                    PathRule::Fixed(path) => f.write_str(path),
                    PathRule::Discover => Ok(()),
                }
            }
            Self::Resource(_) => f.write_str("metrics.k8s.io"),
            Self::Custom(_) => f.write_str("custom.metrics.k8s.io"),
            Self::External(_) => f.write_str("external.metrics.k8s.io"),
            Self::Endpoint(source) => write!(f, "{}{}", source.address, source.path),
            Self::Prometheus(source) => {
                write!(f, "{}{} {}", source.address, source.path.trim_end_matches('/'), source.query)
            }
        }
    }
}

/// The metrics page of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSource {
    /// What is read from it.
    pub metric: Metric,
    /// What is read beside it to tell whether nothing happens: the requests under way. Of metrics that need events.
    pub inflight: Option<Metric>,
    /// How it is spoken to.
    pub access: Access,
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
    /// The pod's annotation `prometheus.io/path`, else where the engine that its labels name has its page, else `/metrics`.
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
    pub fn of(&self, pod: &Pod, catalogue: &Catalogue) -> String {
        match self {
            Self::Fixed(path) => path.clone(),
            Self::Discover => annotation(pod, "prometheus.io/path")
                .filter(|path| !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_graphic()))
                .map_or_else(|| path_by_label(pod, catalogue), rooted),
        }
    }
}

fn path_by_label(pod: &Pod, catalogue: &Catalogue) -> String {
    let labels = pod.metadata.labels.as_ref();
    let engine = catalogue.engine_by_label(|key| labels?.get(key).map(String::as_str));
    engine.map_or_else(|| DEFAULT_PATH.to_owned(), |(engine, _)| engine.path.clone())
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
            let catalogue = Catalogue::builtin();
            let found = (PortRule::Discover.of(&pod), PathRule::Discover.of(&pod, catalogue));
            assert_eq!((found.0, found.1.as_str()), (port, path));
            assert_eq!(PortRule::Fixed(9).of(&pod), 9);
            assert_eq!(PathRule::Fixed("/x".to_owned()).of(&pod, catalogue), "/x");
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
        let label = |engine: &str| format!("metadata: {{labels: {{model.aibrix.ai/engine: {engine}}}}}");
        check(&label("trtllm"), 8000, "/prometheus/metrics");
        check(&label("vllm"), 8000, "/metrics");
        check(&label("unheard-of"), 8000, "/metrics");
        check(&containers(""), 8000, "/metrics");
        check(&containers("{containerPort: 8080}"), 8080, "/metrics");
        check(&containers("{containerPort: 8080}, {containerPort: 9090}"), 8000, "/metrics");
        check(&annotated("9100", "/prometheus/metrics"), 9100, "/prometheus/metrics");
        check(&annotated("9100", "stats"), 9100, "/stats");
        check(&annotated("http", "a b"), 8080, "/metrics");
        check(&annotated("0", ""), 8080, "/metrics");
    }

    /// The first five are AIBrix's.
    #[test]
    fn an_endpoint_is_an_address() {
        let check = |protocol, endpoint, port, expected: Option<&str>| {
            let found = Address::parse(protocol, endpoint, port).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{protocol:?} {endpoint} {port:?}");
        };
        let https = Some("https");
        check(Some("http"), "example.com", None, Some("http://example.com"));
        check(None, "example.com", None, Some("http://example.com"));
        check(None, "example.com:8080", None, Some("http://example.com:8080"));
        check(https, "example.com", Some(8000), Some("https://example.com:8000"));
        check(https, "example.com:8080", Some(8000), Some("https://example.com:8080"));
        check(https, "http://prom.monitoring.svc:9090/", None, Some("http://prom.monitoring.svc:9090"));
        check(None, "https://prom", None, Some("https://prom"));
        check(None, "[::1]:9090", None, Some("http://[::1]:9090"));
        check(None, "[::1]", Some(1), Some("http://[::1]:1"));
        for endpoint in ["", "ftp://a", "a b", "a:b", "a/b", "user@host", "a:0", "::1", "[x]"] {
            check(None, endpoint, None, None);
        }
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
