//! What is kept of a pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodCondition, PodSpec};
use kube::ResourceExt;
use windlass_scaling::{Instant, PodState, PodUid};

use crate::clock::Clock;
use crate::target::ROLE_NAME;

/// A Ready condition that turned false later than this after the start was true before: kubelet writes it once at the
/// start, and then only when it changes.
const FIRST_CONDITIONS: Duration = Duration::from_secs(10);

/// Which version of a StormService's role a pod is of.
const ROLE_TEMPLATE_HASH: &str = "role-template-hash";

/// Reasons a container waits for that waiting will not cure.
const REFUSED: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// A reference to the controller of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControllerRef {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl ControllerRef {
    pub(crate) fn of(owned: &impl ResourceExt) -> Option<Self> {
        let owners = owned.owner_references().iter();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: controller.api_version.clone(),
            kind: controller.kind.clone(),
            name: controller.name.clone(),
            uid: controller.uid.clone(),
        })
    }
}

/// What sources need of a pod. Ten thousand are kept, and the API's own type takes 5 KB of each.
#[derive(Debug)]
struct Kept {
    name: String,
    labels: BTreeMap<String, String>,
    /// Those about metrics.
    annotations: BTreeMap<String, String>,
    containers: Vec<KeptContainer>,
    address: Option<IpAddr>,
}

#[derive(Debug)]
struct KeptContainer {
    name: String,
    image: Option<String>,
    ports: Option<Vec<ContainerPort>>,
}

impl Kept {
    fn of(pod: Pod) -> Self {
        let mut annotations = pod.metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with("prometheus.io/"));
        let containers = pod.spec.unwrap_or_default().containers.into_iter();
        let kept = |Container { name, image, ports, .. }: Container| KeptContainer { name, image, ports };
        Self {
            name: pod.metadata.name.unwrap_or_default(),
            labels: pod.metadata.labels.unwrap_or_default(),
            annotations,
            containers: containers.map(kept).collect(),
            address: pod.status.and_then(|status| status.pod_ip?.parse().ok()),
        }
    }

    /// As far as it was kept.
    fn pod(&self) -> Pod {
        let container = |kept: &KeptContainer| Container {
            name: kept.name.clone(),
            image: kept.image.clone(),
            ports: kept.ports.clone(),
            ..Container::default()
        };
        let mut pod = Pod::default();
        pod.metadata.name = Some(self.name.clone());
        pod.metadata.annotations = Some(self.annotations.clone());
        pod.spec = Some(PodSpec {
            containers: self.containers.iter().map(container).collect(),
            ..PodSpec::default()
        });
        pod
    }
}

/// One pod, as far as scaling is concerned.
#[derive(Debug, Clone)]
pub(crate) struct PodEntry {
    pub(crate) uid: PodUid,
    kept: Arc<Kept>,
    pub(crate) state: PodState,
    pub(crate) controller: Option<ControllerRef>,
    /// Which revision of its workload the pod is of.
    revision: Option<String>,
}

impl PodEntry {
    /// Reads a pod. `known` is what was kept of it before. `None` for pods that have ended or have no identity.
    pub(crate) fn read(pod: Pod, known: Option<&Self>, clock: &Clock) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let uid = PodUid(parse_uid(pod.metadata.uid.as_deref()?)?);
        let state = state_of(&pod, known.map(|known| known.state), clock);
        let controller = ControllerRef::of(&pod);
        let label = |key| pod.labels().get(key).cloned();
        let revision = label("pod-template-hash").or_else(|| label("controller-revision-hash"));
        let revision = revision.or_else(|| label(ROLE_TEMPLATE_HASH));
        Some(Self { uid, kept: Arc::new(Kept::of(pod)), state, controller, revision })
    }

    pub(crate) fn name(&self) -> &str {
        &self.kept.name
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.kept.labels
    }

    /// As far as sources need it, and without the labels.
    pub(crate) fn pod(&self) -> Pod {
        self.kept.pod()
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, PodState::Ready { .. })
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.kept.address
    }

    /// What the image's tag says of the version of what answers at `port`.
    pub(crate) fn version(&self, port: u16) -> Option<String> {
        windlass_api::image::version_of(&self.pod(), port)
    }

    /// The role within a StormService, if it has one, and the revision, unless the pod is leaving. Each role has
    /// revisions of its own.
    pub(crate) fn living_revision(&self) -> Option<(Option<&str>, &str)> {
        let revision = self.revision.as_deref().filter(|_| self.state != PodState::Leaving)?;
        Some((self.kept.labels.get(ROLE_NAME).map(String::as_str), revision))
    }
}

/// A UID's hexadecimal digits as a number: UIDs are UUIDs.
pub(crate) fn parse_uid(uid: &str) -> Option<u128> {
    let digits: String = uid.chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&digits, 16).ok()
}

fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

fn state_of(pod: &Pod, known: Option<PodState>, clock: &Clock) -> PodState {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Leaving;
    }
    let now = clock.now();
    let ready = ready_condition(pod);
    if ready.is_some_and(|condition| condition.status == "True") {
        return match known {
            Some(PodState::Ready { since }) => PodState::Ready { since },
            // First heard of now: its readings are expected from now on.
            _ => PodState::Ready { since: now },
        };
    }
    match known {
        Some(PodState::Ready { .. }) => PodState::LostReadiness { since: now },
        Some(PodState::LostReadiness { since }) => PodState::LostReadiness { since },
        // Between two tries the container is not waiting: that is no news until the pod is ready.
        Some(PodState::Stuck) => PodState::Stuck,
        _ if is_refused(pod) => PodState::Stuck,
        _ => match lost_before(pod, ready, clock) {
            Some(since) => PodState::LostReadiness { since },
            None => PodState::Starting { since: created(pod, clock).unwrap_or(now) },
        },
    }
}

fn created(pod: &Pod, clock: &Clock) -> Option<Instant> {
    Some(clock.of_wall(pod.metadata.creation_timestamp.as_ref()?.0))
}

/// When a pod that we meet unready lost its readiness, if it ever had it.
fn lost_before(pod: &Pod, ready: Option<&PodCondition>, clock: &Clock) -> Option<Instant> {
    let changed = ready?.last_transition_time.as_ref()?.0;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0;
    let after_start = Duration::try_from(changed.duration_since(started)).ok()?;
    (after_start > FIRST_CONDITIONS).then(|| clock.of_wall(changed))
}

fn is_refused(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut waiting =
        all.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    waiting.any(|reason| REFUSED.contains(&reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The state of a pod created `age` seconds ago whose Ready condition is (status, seconds after the start).
    fn check(extra: &serde_json::Value, ready: Option<(&str, i64)>, known: Option<PodState>, expect: &str) {
        let clock = Clock::start();
        let created = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(100);
        let conditions: Vec<_> = ready
            .into_iter()
            .map(|(status, after)| {
                let changed = created + jiff::SignedDuration::from_secs(after);
                json!({"type": "Ready", "status": status, "lastTransitionTime": changed.to_string()})
            })
            .collect();
        let mut pod = json!({
            "metadata": {"name": "p", "uid": "6b0b1f6e-8f2a-4a53-9c3e-2f6f0f1d2c3b", "creationTimestamp": created.to_string()},
            "status": {"phase": "Running", "startTime": created.to_string(), "conditions": conditions},
        });
        merge(&mut pod, extra);
        let known = known.map(|state| PodEntry {
            uid: PodUid(1),
            kept: Arc::new(Kept::of(Pod::default())),
            state,
            controller: None,
            revision: None,
        });
        let entry = PodEntry::read(serde_json::from_value(pod).unwrap(), known.as_ref(), &clock);
        let shown = entry.map_or("none".to_owned(), |entry| match entry.state {
            PodState::Starting { since } => {
                format!("starting for {:.0}", (clock.now() - since).as_secs_f64())
            }
            PodState::LostReadiness { since } => {
                format!("lost for {:.0}", (clock.now() - since).as_secs_f64())
            }
            state => format!("{state:?}").split(' ').next().unwrap_or_default().to_owned(),
        });
        assert_eq!(shown, expect, "{extra}, ready {ready:?}, known {:?}", known.map(|known| known.state));
    }

    fn merge(into: &mut serde_json::Value, from: &serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    #[test]
    fn where_a_pod_stands() {
        let plain = json!({});
        let waiting = |reason: &str| {
            json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason}}}]}})
        };
        let ready = PodState::Ready { since: Instant::ZERO };
        check(&plain, None, None, "starting for 100");
        check(&plain, Some(("False", 0)), None, "starting for 100");
        check(&plain, Some(("True", 30)), None, "Ready");
        check(&plain, Some(("False", 60)), None, "lost for 40");
        check(&plain, Some(("False", 60)), Some(ready), "lost for 0");
        check(&waiting("ContainerCreating"), Some(("False", 0)), None, "starting for 100");
        // It was killed under load: its load is not gone.
        check(&waiting("CrashLoopBackOff"), Some(("False", 60)), Some(ready), "lost for 0");
        check(&waiting("CrashLoopBackOff"), Some(("False", 60)), None, "Stuck");
        check(&waiting("ImagePullBackOff"), Some(("False", 0)), None, "Stuck");
        check(&plain, Some(("False", 0)), Some(PodState::Stuck), "Stuck");
        check(&plain, Some(("True", 30)), Some(PodState::Stuck), "Ready");
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        check(&deleted, Some(("True", 30)), Some(ready), "Leaving");
        check(&json!({"status": {"phase": "Failed"}}), None, Some(ready), "none");
        check(&json!({"status": {"phase": "Succeeded"}}), None, None, "none");
        check(&json!({"metadata": {"uid": "not hexadecimal"}}), None, None, "none");
    }
}
