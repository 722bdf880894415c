use kube::core::GroupVersionKind;

use super::*;

fn target(kind: &str, part: Part) -> TargetRef {
    let api_version = if kind == "Thing" { "example.com/v1" } else { "orchestration.aibrix.ai/v1alpha1" };
    TargetRef { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "pool".to_owned(), part }
}

fn read(target: &TargetRef, content: Value) -> Result<Scale, String> {
    let kind = GroupVersionKind::gvk(target.group(), target.version(), &target.kind);
    let resource = ApiResource::from_gvk(&kind);
    let mut object = DynamicObject::new(&target.name, &resource);
    object.metadata.uid = Some("u".to_owned());
    object.data = content;
    of_object(&object, target, &resource).map_err(|problem| problem.message)
}

fn storm_service() -> Value {
    json!({"spec": {"replicas": 2, "template": {"spec": {"roles": [
        {"name": "prefill", "replicas": 1},
        {"name": "decode", "replicas": 3, "podGroupSize": 2},
        {"name": "router"},
    ]}}}})
}

#[track_caller]
fn selects(scale: &Scale, labels: &[(&str, &str)]) -> bool {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    scale.selector.as_ref().unwrap().matches(&labels)
}

#[test]
fn the_count_of_a_storm_service() {
    let role = |name: &str| Part::Role(name.to_owned());
    let by_role = |name: &str| Part::ReplicasByRole(name.to_owned());
    for (part, count, replicas, pods) in [
        (Part::Whole, Count::Spec, 2, 4),
        (role("prefill"), Count::Role(0), 1, 1),
        (role("decode"), Count::Role(1), 3, 1),
        (role("router"), Count::Role(2), 0, 1),
        (by_role("prefill"), Count::Spec, 2, 1),
        (by_role("decode"), Count::Spec, 2, 3),
    ] {
        let scale = read(&target("StormService", part.clone()), storm_service()).unwrap();
        assert_eq!(
            (scale.count, scale.replicas, scale.pods_per_replica),
            (count, replicas, pods),
            "{part:?}"
        );
    }
    let unset = json!({"spec": {"template": {"spec": {"roles": [{"name": "prefill"}]}}}});
    assert_eq!(read(&target("StormService", Part::Whole), unset).unwrap().replicas, 1);
}

#[test]
fn a_role_that_is_not_there_is_said_with_those_that_are() {
    for part in [Part::Role("decoder".to_owned()), Part::ReplicasByRole("decoder".to_owned())] {
        let target = target("StormService", part);
        let expect = "StormService/pool has no role \"decoder\": it has prefill, decode, router; correct \
                      spec.subTargetSelector.roleName";
        assert_eq!(read(&target, storm_service()).unwrap_err(), expect);
        let none = read(&target, json!({"spec": {"replicas": 1}})).unwrap_err();
        assert!(none.contains("no role \"decoder\": it has none;"), "{none}");
    }
}

#[test]
fn leaders_are_the_replicas_of_a_storm_service() {
    let of = |part| read(&target("StormService", part), storm_service()).unwrap();
    let (name, prefill, decode) =
        (("storm-service-name", "pool"), ("role-name", "prefill"), ("role-name", "decode"));
    let index = |at| ("stormservice.orchestration.aibrix.ai/pod-group-index", at);
    let pods = [
        vec![name, prefill],
        vec![name, decode, index("0")],
        vec![name, decode, index("1")],
        vec![name, decode],
        vec![("storm-service-name", "other"), prefill],
    ];
    for (part, expect) in [
        (Part::Whole, [true, true, false, true, false]),
        (Part::Role("prefill".to_owned()), [true, false, false, false, false]),
        (Part::Role("decode".to_owned()), [false, true, false, false, false]),
        (Part::ReplicasByRole("decode".to_owned()), [false, true, false, false, false]),
    ] {
        let scale = of(part.clone());
        assert_eq!(pods.each_ref().map(|labels| selects(&scale, labels)), expect, "{part:?}");
    }
}

#[test]
fn heads_are_the_replicas_of_a_fleet_of_ray_clusters() {
    let scale = json!({"spec": {"replicas": 2}, "status": {"replicas": 2, "selector": "app=engine"}});
    let scale: autoscaling::Scale = serde_json::from_value(scale).unwrap();
    for (kind, expect) in [("RayClusterFleet", [true, false, false]), ("StatefulSet", [true, true, true])] {
        let target = target(kind, Part::Whole);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("g", "v1", kind));
        let scale = of_scale(&scale, &target, &resource);
        let pods = [("ray.io/node-type", "head"), ("ray.io/node-type", "worker"), ("a", "b")];
        assert_eq!(pods.map(|label| selects(&scale, &[("app", "engine"), label])), expect, "{kind}");
    }
}

#[test]
fn an_object_without_scale_is_read_itself() {
    let thing = target("Thing", Part::Whole);
    let labels = [("app", "engine")];
    for (content, selector) in [
        (json!({"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "engine"}}}}), Ok(true)),
        (json!({"spec": {"replicas": 3, "selector": {"app": "engine"}}}), Ok(true)),
        (json!({"spec": {"replicas": 3, "selector": "app=other"}}), Ok(false)),
        (
            json!({"spec": {"replicas": 3, "selector": {"app": "other"}}, "status": {"selector": "app=engine"}}),
            Ok(true),
        ),
        (json!({"spec": {"replicas": 3}}), Err(SelectorError::Missing)),
        (json!({"spec": {"replicas": 3}, "status": {"selector": ""}}), Err(SelectorError::Empty)),
    ] {
        let scale = read(&thing, content.clone()).unwrap();
        assert_eq!((scale.count, scale.replicas), (Count::Spec, 3));
        let got = scale.selector.as_ref().map(|_| selects(&scale, &labels)).map_err(Clone::clone);
        assert_eq!(got, selector, "{content}");
    }
    for content in [json!({"data": {}}), json!({"spec": {}}), json!({"spec": {"replicas": "three"}})] {
        let problem = read(&thing, content).unwrap_err();
        assert!(
            problem.starts_with("Thing/pool has no /scale subresource and no count in spec.replicas"),
            "{problem}"
        );
    }
}

#[test]
fn who_set_the_count_last() {
    let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields});
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let roles = json!({"f:spec": {"f:template": {"f:spec": {"f:roles": {}}}}});
    let entries = json!([
        entry("argocd", "2026-11-24T08:00:00Z", replicas.clone()),
        entry("kubectl", "2026-11-24T09:00:00Z", replicas),
        entry("helm", "2026-11-24T10:00:00Z", roles),
        entry("kube-controller-manager", "2026-11-24T11:00:00Z", json!({"f:status": {"f:replicas": {}}})),
    ]);
    let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(entries).unwrap();
    assert_eq!(set_by(Some(&entries), Count::Scale).as_deref(), Some("kubectl"));
    assert_eq!(set_by(Some(&entries), Count::Role(1)).as_deref(), Some("helm"));
    assert_eq!(set_by(Some(&entries[3..]), Count::Spec), None);
    assert_eq!(set_by(None, Count::Spec), None);
}

#[test]
fn a_patch_touches_the_count_alone() {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("g", "v1", "StormService"));
    let mut object = DynamicObject::new("pool", &resource);
    object.metadata.resource_version = Some("7".to_owned());
    let role = target("StormService", Part::Role("decode".to_owned()));
    let CountPatch::Json(patch_of_role) = patch(&object, &role, Count::Role(1), 4) else { panic!("a list") };
    let expect = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "test", "path": "/spec/template/spec/roles/1/name", "value": "decode"},
        {"op": "add", "path": "/spec/template/spec/roles/1/replicas", "value": 4},
    ]);
    assert_eq!(patch_of_role, expect);
    let whole = target("StormService", Part::Whole);
    let CountPatch::Merge(merge) = patch(&object, &whole, Count::Spec, 4) else { panic!("an object") };
    assert_eq!(merge, json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 4}}));
}
