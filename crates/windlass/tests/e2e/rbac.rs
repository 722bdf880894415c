//! The controller under the rights that are shipped, and no others.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::Kubeconfig;
use windlass_testbed::audit;

use crate::fixture::{Namespace, OWN_CONTROLLERS, autoscaler, deployment, testbed_files, windlass};

const ACCOUNT: &str = "system:serviceaccount:windlass-system:windlass-controller";
const IDENTITY: &str = "under-its-own-account";

/// Killed when dropped.
struct Confined(Child);

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The administrator's kubeconfig, acting as the controller's account.
fn kubeconfig_of_the_account(admin: &Path, file: &Path) {
    let mut config = Kubeconfig::read_from(admin).unwrap();
    for user in &mut config.auth_infos {
        user.auth_info.get_or_insert_default().impersonate = Some(ACCOUNT.to_owned());
    }
    std::fs::write(file, serde_json::to_string(&config).unwrap()).unwrap();
}

fn start(kubeconfig: &Path, log: &Path) -> Confined {
    let log = std::fs::File::create(log).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["controller", "--exit-with-stdin", "--admin-address", "127.0.0.1:0"])
        .args(["--lease-namespace", "windlass-system", "--lease-name", "windlass-controller"])
        .args(["--identity", IDENTITY, "--selector", &format!("{OWN_CONTROLLERS}=rbac"), "--log", "debug"])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    Confined(child)
}

#[tokio::test]
async fn the_shipped_rights_are_enough_and_not_more() {
    let namespace = Namespace::new("rbac").await;
    let rights = windlass(&["rbac"]).await;
    assert!(rights.status.success());
    let own = Namespace::new("windlass-system").await;
    own.apply(&String::from_utf8(rights.stdout).unwrap()).await;
    namespace.apply(&deployment("engine", "engine", 3, &[])).await;
    namespace.ready("engine", 3).await;

    let (admin, audit_log) = testbed_files().await;
    let folder = std::env::temp_dir().join(format!("windlass-rbac-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (kubeconfig, log) = (folder.join("kubeconfig"), folder.join("log"));
    kubeconfig_of_the_account(&admin, &kubeconfig);
    let controller = start(&kubeconfig, &log);
    let labels = format!("{{name: pa, labels: {{{OWN_CONTROLLERS}: rbac}}}}");
    namespace
        .apply(&autoscaler("pa", "Deployment/engine", "KPA", (1, 10)).replace("{name: pa}", &labels))
        .await;
    namespace.ready("engine", 5).await;
    namespace.condition("pa", "Ready", "True", "AsExpected").await;
    namespace.condition("pa", "AbleToScale", "True", "SucceededGetScale").await;
    let begun = Instant::now();
    loop {
        let events = namespace.kubectl(&["get", "events", "--field-selector=involvedObject.name=pa"]).await;
        if events.contains("SuccessfulRescale") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no event: {events}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let status = namespace.autoscaler("pa").await["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let unverified = |condition: &serde_json::Value| condition["type"] == "PodSetUnverified";
    assert!(!conditions.iter().any(|one| unverified(one) && one["status"] == "True"), "{status:#}");
    let holder = ["get", "lease", "-n", "windlass-system", "windlass-controller", "-o"];
    let holder = namespace.kubectl(&[&holder[..], &["jsonpath={.spec.holderIdentity}"]].concat()).await;
    assert_eq!(holder, IDENTITY);
    drop(controller);

    let log = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.to_lowercase().contains("forbidden") || line.contains("cannot be looked at"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let writes = audit::read(&audit_log).unwrap();
    let ours: Vec<_> = writes.iter().filter(|write| write.user_agent.contains(IDENTITY)).collect();
    let made = |resource: &str, subresource: &str| {
        let is = |write: &&&audit::Write| {
            let object = &write.object_ref;
            object.resource == resource && object.subresource == subresource && write.succeeded()
        };
        ours.iter().filter(is).count()
    };
    for (resource, subresource) in
        [("deployments", "scale"), ("podautoscalers", "status"), ("events", ""), ("leases", "")]
    {
        assert!(made(resource, subresource) > 0, "{resource}/{subresource}: {ours:#?}");
    }
    assert!(ours.iter().all(|write| write.code() != 403), "{ours:#?}");
}

#[tokio::test]
async fn what_the_controller_does_not_need_it_may_not_do() {
    let namespace = Namespace::new("limited-system").await;
    let rights = windlass(&["rbac", "--target", "leaderworkerset.x-k8s.io/leaderworkersets"]).await;
    // Under names of its own: the rights of the other test stay as they are.
    let rights = String::from_utf8(rights.stdout).unwrap().replace("windlass-", "limited-");
    namespace.apply(&rights).await;
    let account = "system:serviceaccount:limited-system:limited-controller";
    for (verb, group, resource, allowed) in [
        ("update", "apps", "deployments/scale", true),
        ("patch", "orchestration.aibrix.ai", "stormservices/", true),
        ("create", "autoscaling", "horizontalpodautoscalers/", true),
        ("list", "external.metrics.k8s.io", "anything/", true),
        ("update", "leaderworkerset.x-k8s.io", "leaderworkersets/scale", true),
        ("get", "", "secrets/", false),
        ("list", "", "secrets/", false),
        ("update", "apps", "deployments/", false),
        ("patch", "autoscaling.aibrix.ai", "podautoscalers/", false),
        ("delete", "", "pods/", false),
        ("update", "jobset.x-k8s.io", "jobsets/scale", false),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings/", false),
    ] {
        let (plural, subresource) = resource.split_once('/').unwrap();
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": {
                "verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": "default",
            }},
        });
        let arguments = ["create", "-o", "jsonpath={.status.allowed}", "-f", "-"];
        let answer = namespace.try_kubectl(&arguments, &review.to_string()).await;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert_eq!(said == "true", allowed, "{verb} {group} {resource}: {answer:?}");
    }
}
