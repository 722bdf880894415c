//! The cluster's metrics APIs, which other servers answer behind the API server: `metrics.k8s.io`,
//! `custom.metrics.k8s.io` and `external.metrics.k8s.io`.
//!
//! What is wrong is one sentence that says what to do: install, allow, or choose among the metrics that are there.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::{Client, Error};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use windlass_api::{Resource, quantity};
use windlass_metrics::suggest::nearest;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Resources of pods, from one answer.
    Resources(Vec<Resource>),
    /// A metric of pods.
    Custom(String),
    /// A metric of the fleet.
    External(String),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Values by pod.
    Pods(Vec<OfPod>),
    /// One value, the sum over all items, and when the oldest of them was taken.
    Fleet { value: f64, taken: Timestamp },
}

/// What was said of one pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfPod {
    pub(crate) pod: String,
    /// In the order of the query; cpu in millicores.
    pub(crate) values: Vec<f64>,
    pub(crate) taken: Timestamp,
    /// Over which span before that the values are means.
    pub(crate) window: Duration,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Timestamp,
    window: Option<kube::core::Duration>,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    usage: Usage,
}

#[derive(Deserialize)]
struct Usage {
    cpu: Option<String>,
    memory: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Named,
    timestamp: Timestamp,
    window_seconds: Option<u64>,
    value: String,
}

#[derive(Deserialize)]
struct ExternalMetricValue {
    timestamp: Timestamp,
    value: String,
}

impl Query {
    fn group(&self) -> &'static str {
        match self {
            Self::Resources(_) => "metrics.k8s.io",
            Self::Custom(_) => "custom.metrics.k8s.io",
            Self::External(_) => "external.metrics.k8s.io",
        }
    }

    /// Who usually answers the API.
    fn server(&self) -> &'static str {
        match self {
            Self::Resources(_) => "metrics-server",
            Self::Custom(_) => "a custom metrics adapter, for example prometheus-adapter",
            Self::External(_) => "an external metrics adapter, for example KEDA",
        }
    }

    /// No answer in time. Also what an API whose server is away comes to: the client repeats the request meanwhile.
    pub(crate) fn late(&self, limit: Duration) -> String {
        format!("{} does not answer within {} s; look after {}", self.group(), limit.as_secs(), self.server())
    }

    /// The resource, as a rule of a role names it.
    fn rule(&self) -> String {
        match self {
            Self::Resources(_) => "pods".to_owned(),
            Self::Custom(metric) => format!("pods/{metric}"),
            Self::External(metric) => metric.clone(),
        }
    }

    fn verb(&self) -> &'static str {
        if matches!(self, Self::Resources(_)) { "list" } else { "get" }
    }

    /// Asks about the pods that `selector` matches, or about the fleet.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        namespace: &str,
        selector: &str,
    ) -> Result<Answer, String> {
        let asked = match self {
            Self::Resources(resources) => {
                let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
                let list = get(client, &with_selector(&path, "labelSelector", selector)).await;
                list.map(|list: List<PodMetrics>| of_resources(list, resources))
            }
            Self::Custom(metric) => {
                let group = get::<APIGroup>(client, "/apis/custom.metrics.k8s.io").await;
                match group.map(|group| preferred(&group)) {
                    Err(error) => Err(error),
                    Ok(version) => {
                        let path = format!("/apis/{version}/namespaces/{namespace}/pods/*/{metric}");
                        let list = get(client, &with_selector(&path, "labelSelector", selector)).await;
                        list.map(of_pods)
                    }
                }
            }
            Self::External(metric) => {
                let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
                get(client, &path).await.map(|list| of_fleet(metric, &list))
            }
        };
        match asked {
            Ok(answer) => answer,
            Err(error) => Err(self.problem(client, namespace, error).await),
        }
    }

    async fn problem(&self, client: &Client, namespace: &str, error: Error) -> String {
        let (group, server) = (self.group(), self.server());
        let Error::Api(status) = error else {
            return format!("{group} cannot be read: {error}");
        };
        match status.code {
            403 => format!(
                "{group} is forbidden to this controller: it may not {verb} {rule}.{group} in namespace {namespace}; \
                 add the rule {{apiGroups: [{group}], resources: [{rule}], verbs: [{verb}]}} to its role",
                verb = self.verb(),
                rule = self.rule()
            ),
            404 => match self.there(client).await {
                None => format!("{group} is not served in this cluster; install {server}"),
                Some(there) => self.absent(&there),
            },
            503 => format!("{group} is registered, but its server does not answer; look after {server}"),
            code => format!("{group} answers with status {code}: {}", status.message),
        }
    }

    /// The metrics the API says it has; `None` if it is not there at all.
    async fn there(&self, client: &Client) -> Option<Vec<String>> {
        let group: APIGroup = get(client, &format!("/apis/{}", self.group())).await.ok()?;
        let list: APIResourceList = get(client, &format!("/apis/{}", preferred(&group))).await.ok()?;
        let name = |name: String| match self {
            Self::Custom(_) => name.strip_prefix("pods/").map(str::to_owned),
            _ => Some(name),
        };
        Some(list.resources.into_iter().filter_map(|resource| name(resource.name)).collect())
    }

    fn absent(&self, there: &[String]) -> String {
        let (Self::Custom(metric) | Self::External(metric)) = self else {
            return format!("{} has no pods to tell of", self.group());
        };
        let names = nearest(metric, there.iter().map(String::as_str), 3);
        let instead = if names.is_empty() {
            "it names no metric".to_owned()
        } else {
            format!("nearest are {}", names.join(", "))
        };
        format!("{} has no {metric}; {instead}", self.group())
    }
}

/// Group and version.
fn preferred(group: &APIGroup) -> String {
    let preferred = group.preferred_version.as_ref().or(group.versions.first());
    preferred.map_or_else(|| format!("{}/v1beta1", group.name), |version| version.group_version.clone())
}

fn with_selector(path: &str, parameter: &str, selector: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair(parameter, selector).finish();
    format!("{path}?{query}")
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Error> {
    let request = http::Request::get(path).body(Vec::new()).map_err(Error::HttpError)?;
    client.request(request).await
}

fn of_resources(list: List<PodMetrics>, resources: &[Resource]) -> Result<Answer, String> {
    let of_pod = |metrics: PodMetrics| {
        let sum = |resource: &Resource| {
            metrics.containers.iter().try_fold(0.0, |sum, container| {
                let (text, factor) = match resource {
                    Resource::Cpu => (&container.usage.cpu, 1000.0),
                    Resource::Memory => (&container.usage.memory, 1.0),
                };
                Some(sum + quantity::parse(text.as_deref()?)? * factor)
            })
        };
        let values: Option<Vec<f64>> = resources.iter().map(sum).collect();
        let pod = metrics.metadata.name;
        let values = values.ok_or_else(|| format!("metrics.k8s.io has no readable usage of pod {pod}"))?;
        let window = metrics.window.map(Duration::from).unwrap_or_default();
        Ok(OfPod { pod, values, taken: metrics.timestamp, window })
    };
    list.items.into_iter().map(of_pod).collect::<Result<_, _>>().map(Answer::Pods)
}

fn of_pods(list: List<MetricValue>) -> Result<Answer, String> {
    let of_pod = |item: MetricValue| {
        let pod = item.described_object.name;
        let value = quantity::parse(&item.value).ok_or_else(|| nonsense("custom", &item.value))?;
        let window = Duration::from_secs(item.window_seconds.unwrap_or_default());
        Ok(OfPod { pod, values: vec![value], taken: item.timestamp, window })
    };
    list.items.into_iter().map(of_pod).collect::<Result<_, _>>().map(Answer::Pods)
}

fn nonsense(which: &str, value: &str) -> String {
    format!("{which}.metrics.k8s.io answers \"{value}\", which is no quantity")
}

/// The items are added up; none is not 0.
fn of_fleet(metric: &str, list: &List<ExternalMetricValue>) -> Result<Answer, String> {
    let taken = list.items.iter().map(|item| item.timestamp).min();
    let taken = taken.ok_or_else(|| format!("external.metrics.k8s.io has no value of {metric} now"))?;
    let value = list.items.iter().try_fold(0.0, |sum, item| {
        let value = quantity::parse(&item.value).ok_or_else(|| nonsense("external", &item.value))?;
        Ok::<_, String>(sum + value)
    })?;
    Ok(Answer::Fleet { value, taken })
}

#[cfg(test)]
mod tests;
