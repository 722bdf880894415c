//! Two writers of one count: another PodAutoscaler, a HorizontalPodAutoscaler, a KEDA ScaledObject.
//!
//! Of PodAutoscalers the oldest goes on (by creation, then by uid: the same after every restart), the others write
//! nothing. Any other autoscaler does not know of us and will not stop: while it is there, we write nothing, whoever is
//! older. Pods that several selectors match are no conflict: each counts for the target that controls it.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::core::DynamicObject;
use windlass_api::{Part, TargetRef};

use super::Index;
use crate::autoscaler::{Autoscaler, Key};
use crate::pod::ControllerRef;

/// A kind of autoscaler that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RivalKind {
    HorizontalPodAutoscaler,
    ScaledObject,
}

/// What an autoscaler that is not ours scales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) target: TargetRef,
    /// Whose it is.
    pub(crate) controller: Option<ControllerRef>,
}

impl Rival {
    pub(crate) fn of_hpa(hpa: &HorizontalPodAutoscaler) -> Self {
        let reference = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref);
        let (kind, name) = reference.map_or(("", ""), |reference| (&reference.kind, &reference.name));
        let api_version = reference.and_then(|reference| reference.api_version.as_deref());
        // Without a group it is the core's, as in any object reference.
        Self::of(api_version.unwrap_or("v1"), kind, name, hpa)
    }

    /// With KEDA's defaults.
    pub(crate) fn of_scaled_object(object: &DynamicObject) -> Self {
        let reference = &object.data["spec"]["scaleTargetRef"];
        let text = |field: &str, default| reference[field].as_str().unwrap_or(default);
        Self::of(text("apiVersion", "apps/v1"), text("kind", "Deployment"), text("name", ""), object)
    }

    fn of(api_version: &str, kind: &str, name: &str, object: &impl ResourceExt) -> Self {
        let (api_version, kind, name) = (api_version.to_owned(), kind.to_owned(), name.to_owned());
        let target = TargetRef { api_version, kind, name, part: Part::Whole };
        Self { target, controller: ControllerRef::of(object) }
    }
}

/// The autoscalers that are not ours, by namespace, kind and name.
#[derive(Default)]
pub(super) struct Rivals(HashMap<String, BTreeMap<(RivalKind, String), Rival>>);

/// Who else scales the target of a PodAutoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Conflict {
    /// This one writes nothing.
    pub(crate) yields: bool,
    /// Who, who goes on, and what to do.
    pub(crate) message: String,
}

/// A PodAutoscaler that scales some object; ordered by age.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim<'a> {
    created: Option<Timestamp>,
    uid: Option<&'a str>,
    key: &'a Key,
}

impl Index {
    pub(crate) fn rival_seen(&mut self, kind: RivalKind, namespace: &str, name: &str, rival: &Rival) {
        let target = rival.target.name.clone();
        let known = self.rivals.0.entry(namespace.to_owned()).or_default();
        let before = known.insert((kind, name.to_owned()), rival.clone());
        if before.as_ref() == Some(rival) {
            return;
        }
        if let Some(before) = before.filter(|before| before.target.name != target) {
            self.find_conflicts(namespace, &before.target.name);
        }
        self.find_conflicts(namespace, &target);
    }

    pub(crate) fn rival_gone(&mut self, kind: RivalKind, namespace: &str, name: &str) {
        let Some(known) = self.rivals.0.get_mut(namespace) else { return };
        if let Some(gone) = known.remove(&(kind, name.to_owned())) {
            if kind == RivalKind::HorizontalPodAutoscaler {
                self.settle(namespace, &gone.target);
            }
            self.find_conflicts(namespace, &gone.target.name);
        }
    }

    /// After a new list: what is not in it is gone.
    pub(crate) fn retain_rivals(&mut self, kind: RivalKind, listed: &HashSet<(String, String)>) {
        let all = self.rivals.0.iter().flat_map(|(namespace, known)| {
            known.keys().filter(|(of, _)| *of == kind).map(|(_, name)| (namespace.clone(), name.clone()))
        });
        let gone: Vec<_> = all.filter(|rival| !listed.contains(rival)).collect();
        for (namespace, name) in gone {
            self.rival_gone(kind, &namespace, &name);
        }
    }

    /// Finds out who scales the objects of this name, and tells all of them.
    pub(super) fn find_conflicts(&mut self, namespace: &str, object: &str) {
        let mut found: Vec<(Key, Option<Conflict>)> = Vec::new();
        let mut claims: Vec<(Claim<'_>, &TargetRef)> = self
            .known_in(namespace)
            .filter_map(|(key, known)| Some((Claim::of(&known.object, key), known.target()?)))
            .filter(|(_, target)| target.name == object)
            .collect();
        claims.sort_by(|(one, _), (other, _)| one.cmp(other));
        // The oldest first: who yields stands in nobody's way.
        let mut going_on: Vec<(&Key, &TargetRef)> = Vec::new();
        for (claim, target) in &claims {
            let rivals: Vec<String> = self.rivals_of(claim, target);
            let older = going_on.iter().find(|(_, other)| other.overlaps(target)).map(|(key, _)| *key);
            let others = claims.iter().filter(|(other, _)| other.key != claim.key);
            let overlapping: Vec<&str> = others
                .filter(|(_, other)| other.overlaps(target))
                .map(|(other, _)| other.key.name.as_str())
                .collect();
            if older.is_none() {
                going_on.push((claim.key, target));
            }
            let conflict = match older {
                Some(older) => Some(with_older(older, claim.key, target)),
                None if !rivals.is_empty() => Some(with_rivals(claim.key, target, &rivals)),
                None if !overlapping.is_empty() => Some(with_younger(claim.key, &overlapping, target)),
                None => None,
            };
            found.push((claim.key.clone(), conflict));
        }
        for (key, conflict) in found {
            let Some(known) = self.autoscalers.get_mut(&key).and_then(Autoscaler::conflict) else { continue };
            if *known != conflict {
                *known = conflict;
                self.status_due.insert(key.clone());
                self.decide(&key);
            }
        }
    }

    /// The autoscalers that are not the claim's own and scale its target: kind and name.
    fn rivals_of(&self, claim: &Claim<'_>, target: &TargetRef) -> Vec<String> {
        let Some(known) = self.rivals.0.get(&claim.key.namespace) else { return Vec::new() };
        let on_it = known.iter().filter(|(_, rival)| rival.target.same_object(target));
        let of_itself = on_it.filter(|(_, rival)| {
            let owner = rival.controller.as_ref();
            owner.is_none_or(|owner| match owner.kind.as_str() {
                // One that a ScaledObject made is spoken for by that.
                "ScaledObject" => !known.contains_key(&(RivalKind::ScaledObject, owner.name.clone())),
                // Another PodAutoscaler's writes for as long as it is there, even if its object yields or is not valid.
                "PodAutoscaler" => claim.uid != Some(&owner.uid),
                _ => true,
            })
        });
        of_itself.map(|((kind, name), _)| format!("{kind:?} {name}")).collect()
    }
}

impl<'a> Claim<'a> {
    fn of(object: &'a windlass_api::PodAutoscaler, key: &'a Key) -> Self {
        let metadata = &object.metadata;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        Self { created, uid: metadata.uid.as_deref(), key }
    }
}

fn with_rivals(key: &Key, target: &TargetRef, rivals: &[String]) -> Conflict {
    let (them, both, two) =
        if rivals.len() > 1 { ("they are", "all", "them") } else { ("it is", "both", "the two") };
    let (rivals, name) = (rivals.join(" and "), &key.name);
    let message = format!(
        "{rivals} and PodAutoscaler {name} {both} scale {target}: nothing is written for PodAutoscaler {name} while {them} \
         there; keep one of {two}"
    );
    Conflict { yields: true, message }
}

/// The same sentence on both objects; on the older one it names all that are younger.
fn all(older: &str, younger: &[&str], target: &TargetRef) -> String {
    let (both, write, two) =
        if younger.len() > 1 { ("all", "write", "them") } else { ("both", "writes", "the two") };
    let names = younger.join(" and ");
    format!(
        "PodAutoscalers {older} and {names} {both} scale {}/{}: {older} is older and goes on, {names} {write} nothing; \
         keep one of {two}",
        target.kind, target.name
    )
}

fn with_older(older: &Key, key: &Key, target: &TargetRef) -> Conflict {
    Conflict { yields: true, message: all(&older.name, &[&key.name], target) }
}

fn with_younger(key: &Key, others: &[&str], target: &TargetRef) -> Conflict {
    Conflict { yields: false, message: all(&key.name, others, target) }
}

#[cfg(test)]
mod tests;
