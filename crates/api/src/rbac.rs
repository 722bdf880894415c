//! What the controller may do in a cluster: the one list of rules, each with its reason.
//!
//! `windlass rbac` prints it and `config/rbac` is it; an end-to-end test runs the controller under exactly these rights.

use std::fmt::Write as _;

/// The controller's account and the name of its roles.
const ACCOUNT: &str = "windlass-controller";
/// The name of the role of the election.
const ELECTION: &str = "windlass-leader-election";

/// Which rights, for whom.
#[derive(Debug, Clone)]
pub struct Rbac {
    /// Where the controller runs.
    pub namespace: String,
    /// The Lease of the election.
    pub lease: String,
    /// Further kinds that are targets.
    pub targets: Vec<Target>,
    /// Secrets of every namespace, for metric sources that name some.
    pub secrets: bool,
}

impl Default for Rbac {
    fn default() -> Self {
        Self {
            namespace: "windlass-system".to_owned(),
            lease: "windlass-controller".to_owned(),
            targets: Vec::new(),
            secrets: false,
        }
    }
}

/// A kind whose objects are scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// API group, for example `leaderworkerset.x-k8s.io`.
    group: String,
    /// Plural, for example `leaderworkersets`.
    resource: String,
    /// Whether `/scale` is what is written; else `spec.replicas` of the object itself.
    has_scale: bool,
}

/// A target that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not GROUP/RESOURCE in lower case with the plural, for example leaderworkerset.x-k8s.io/leaderworkersets"
)]
pub struct TargetError(String);

impl Target {
    /// Reads `GROUP/RESOURCE`. Without a `/scale` subresource the object itself is written, which needs more rights.
    pub fn parse(text: &str, has_scale: bool) -> Result<Self, TargetError> {
        let is_name = |part: &str, dots: bool| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-') || (dots && byte == b'.'))
        };
        match text.split_once('/') {
            Some((group, resource)) if is_name(group, true) && is_name(resource, false) => {
                Ok(Self { group: group.to_owned(), resource: resource.to_owned(), has_scale })
            }
            _ => Err(TargetError(text.to_owned())),
        }
    }
}

/// One rule of a role and why it is there.
struct Rule<'a> {
    why: &'a str,
    groups: &'a [&'a str],
    resources: &'a [&'a str],
    /// Only these objects; none: all.
    names: &'a [&'a str],
    verbs: &'a [&'a str],
}

/// A rule about all objects of some resources.
const fn rule<'a>(
    why: &'a str,
    groups: &'a [&'a str],
    resources: &'a [&'a str],
    verbs: &'a [&'a str],
) -> Rule<'a> {
    Rule { why, groups, resources, names: &[], verbs }
}

const READ: &[&str] = &["get", "list", "watch"];
const SCALE: &[&str] = &["get", "patch", "update"];
const AIBRIX: &[&str] = &["orchestration.aibrix.ai"];

/// Only where it is asked for: whoever may create a PodAutoscaler can have a Secret of its namespace sent where he wants.
static SECRETS: Rule<'static> = rule(
    "Bearer tokens and CA certificates that metric sources name, each in its object's own namespace, read when they are used.",
    &[""],
    &["secrets"],
    &["get"],
);

/// What the controller may do in every namespace.
static CLUSTER: [Rule<'static>; 15] = [
    rule("What it is told to do.", &["autoscaling.aibrix.ai"], &["podautoscalers"], READ),
    rule("What it tells.", &["autoscaling.aibrix.ai"], &["podautoscalers/status"], &["patch"]),
    rule(
        "Where the API server asks who owns an object to be allowed to change its owner (for the HorizontalPodAutoscalers).",
        &["autoscaling.aibrix.ai"],
        &["podautoscalers/finalizers"],
        &["update"],
    ),
    rule("Whose metrics are read and how many are ready.", &[""], &["pods"], &["list", "watch"]),
    rule(
        "Targets, and the chain from a pod to its target: metadata is read.",
        &["apps"],
        &["deployments", "replicasets", "statefulsets"],
        READ,
    ),
    rule(
        "Replicas of targets.",
        &["apps"],
        &["deployments/scale", "replicasets/scale", "statefulsets/scale"],
        SCALE,
    ),
    rule(
        "AIBrix's kinds, and the chain from their pods.",
        AIBRIX,
        &["podsets", "rayclusterfleets", "rayclusterreplicasets", "rolesets", "stormservices"],
        READ,
    ),
    rule("Of a RayClusterFleet's pods.", &["ray.io"], &["rayclusters"], &["get"]),
    rule(
        "Replicas of AIBrix's kinds.",
        AIBRIX,
        &[
            "podsets/scale",
            "rayclusterfleets/scale",
            "rayclusterreplicasets/scale",
            "rolesets/scale",
            "stormservices/scale",
        ],
        SCALE,
    ),
    rule(
        "A role of a StormService has no /scale: its count is a field of the object.",
        AIBRIX,
        &["stormservices"],
        &["patch"],
    ),
    rule(
        "Strategy HPA is carried out by a HorizontalPodAutoscaler; others' are watched, to say that two scale one target.",
        &["autoscaling"],
        &["horizontalpodautoscalers"],
        &["get", "list", "watch", "create", "update", "patch", "delete"],
    ),
    rule("Watched for the same reason.", &["keda.sh"], &["scaledobjects"], READ),
    rule(
        "Metric sources resource, custom and external.",
        &["metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"],
        &["*"],
        &["get", "list"],
    ),
    rule("What happened.", &["events.k8s.io"], &["events"], &["create", "patch"]),
    Rule {
        why: "Whether the served CRD has the fields it reads.",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &["podautoscalers.autoscaling.aibrix.ai"],
        verbs: &["get"],
    },
];

impl Rbac {
    /// Everything as YAML, to be applied as it is.
    pub fn yaml(&self) -> String {
        let Self { namespace, lease, targets, secrets } = self;
        let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
        head(&mut text, "v1", "ServiceAccount", ACCOUNT, Some(namespace));
        let rbac = "rbac.authorization.k8s.io/v1";
        head(&mut text, rbac, "ClusterRole", ACCOUNT, None);
        text.push_str("rules:\n");
        for rule in CLUSTER.iter().chain(secrets.then_some(&SECRETS)) {
            write_rule(&mut text, rule);
        }
        for target in targets {
            target.write_rules(&mut text);
        }
        head(&mut text, rbac, "ClusterRoleBinding", ACCOUNT, None);
        binding(&mut text, "ClusterRole", ACCOUNT, namespace);
        head(&mut text, rbac, "Role", ELECTION, Some(namespace));
        text.push_str("rules:\n");
        let (groups, resources) = (&["coordination.k8s.io"], &["leases"]);
        let why = "Leader election: a Lease that does not exist yet has no name to be judged by.";
        write_rule(&mut text, &rule(why, groups, resources, &["create"]));
        let names = &[lease.as_str()][..];
        write_rule(
            &mut text,
            &Rule { why: "The Lease.", groups, resources, names, verbs: &["get", "update"] },
        );
        head(&mut text, rbac, "RoleBinding", ELECTION, Some(namespace));
        binding(&mut text, "Role", ELECTION, namespace);
        text
    }
}

impl Target {
    fn write_rules(&self, text: &mut String) {
        let groups = &[self.group.as_str()][..];
        let resource = self.resource.as_str();
        write_rule(text, &rule("A further kind of targets.", groups, &[resource], READ));
        if self.has_scale {
            let scale = format!("{resource}/scale");
            write_rule(text, &rule("Its replicas.", groups, &[&scale], SCALE));
        } else {
            write_rule(
                text,
                &rule("It has no /scale: spec.replicas is written.", groups, &[resource], &["patch"]),
            );
        }
    }
}

// Writing to a String cannot fail, here and below.

fn head(text: &mut String, api_version: &str, kind: &str, name: &str, namespace: Option<&str>) {
    let _ = write!(text, "---\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}\n");
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {namespace}");
    }
}

fn binding(text: &mut String, kind: &str, name: &str, namespace: &str) {
    let _ = write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\nsubjects:\n\
         - kind: ServiceAccount\n  name: {ACCOUNT}\n  namespace: {namespace}\n"
    );
}

fn write_rule(text: &mut String, rule: &Rule<'_>) {
    let list = |items: &[&str]| format!("[\"{}\"]", items.join("\", \""));
    for line in rule.why.lines() {
        let _ = writeln!(text, "# {}", line.trim_start());
    }
    let (groups, resources) = (list(rule.groups), list(rule.resources));
    let _ = writeln!(text, "- apiGroups: {groups}\n  resources: {resources}");
    if !rule.names.is_empty() {
        let _ = writeln!(text, "  resourceNames: {}", list(rule.names));
    }
    let _ = writeln!(text, "  verbs: {}", list(rule.verbs));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::{ClusterRole, Role};

    use super::*;

    fn documents(text: &str) -> Vec<&str> {
        text.split("---\n").collect()
    }

    #[test]
    fn it_is_what_kubernetes_reads() {
        let further = [("leaderworkerset.x-k8s.io/leaderworkersets", true), ("example.com/fleets", false)];
        let targets = further.map(|(text, has_scale)| Target::parse(text, has_scale).unwrap()).to_vec();
        let yaml = Rbac { targets, lease: "canary".to_owned(), ..Rbac::default() }.yaml();
        let documents = documents(&yaml);
        assert_eq!(documents.len(), 6);
        let role: ClusterRole = serde_saphyr::from_str(documents[2]).unwrap();
        let rules = role.rules.unwrap();
        let may = |group: &str, resource: &str, verb: &str| {
            let has = |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|one| one == word);
            rules.iter().any(|rule| {
                has(&rule.api_groups, group)
                    && has(&rule.resources, resource)
                    && rule.verbs.iter().any(|one| one == verb)
            })
        };
        assert!(may("leaderworkerset.x-k8s.io", "leaderworkersets/scale", "update"));
        assert!(may("leaderworkerset.x-k8s.io", "leaderworkersets", "watch"));
        assert!(!may("leaderworkerset.x-k8s.io", "leaderworkersets", "patch"));
        assert!(may("example.com", "fleets", "patch") && !may("example.com", "fleets/scale", "get"));
        let wild = |list: &Option<Vec<String>>| list.iter().flatten().any(|one| one.contains('*'));
        let writes = |verb: &String| !["get", "list", "watch"].contains(&verb.as_str());
        for rule in &rules {
            assert!(!wild(&rule.api_groups) && !rule.verbs.contains(&"*".to_owned()), "{rule:?}");
            assert!(!(wild(&rule.resources) && rule.verbs.iter().any(writes)), "{rule:?}");
        }
        let role: Role = serde_saphyr::from_str(documents[4]).unwrap();
        assert_eq!(role.rules.unwrap()[1].resource_names, Some(vec!["canary".to_owned()]));
    }

    #[test]
    fn targets_are_group_and_resource() {
        for (text, valid) in [
            ("leaderworkerset.x-k8s.io/leaderworkersets", true),
            ("apps/deployments", true),
            ("pods", false),
            ("/pods", false),
            ("a/", false),
            ("a/b/c", false),
            ("apps/Deployment", false),
            ("a/\"b", false),
        ] {
            assert_eq!(Target::parse(text, true).is_ok(), valid, "{text}");
        }
    }
}
