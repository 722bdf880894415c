//! What a HorizontalPodAutoscaler tells of itself.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use windlass_api::status::ScalingRecord;

/// The status of a HorizontalPodAutoscaler, but for what changes all the time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mirror {
    pub(crate) name: String,
    /// Absent until its controller looked at the target.
    pub(crate) current: Option<i32>,
    pub(crate) desired: i32,
    pub(crate) last_scale_time: Option<Time>,
    pub(crate) conditions: Vec<MirroredCondition>,
}

/// A condition of a HorizontalPodAutoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MirroredCondition {
    pub(crate) type_: &'static str,
    pub(crate) status: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The conditions that are carried over; AIBrix's.
const CONDITIONS: [&str; 3] = ["AbleToScale", "ScalingActive", "ScalingLimited"];

impl Mirror {
    pub(crate) fn of(hpa: &HorizontalPodAutoscaler) -> Self {
        let status = hpa.status.clone().unwrap_or_default();
        let given = status.conditions.unwrap_or_default();
        let conditions = CONDITIONS.into_iter().filter_map(|type_| {
            let condition = given.iter().find(|condition| condition.type_ == type_)?;
            Some(MirroredCondition {
                type_,
                status: condition.status == "True",
                reason: condition
                    .reason
                    .clone()
                    .filter(|reason| !reason.is_empty())
                    .unwrap_or_else(|| "Unknown".to_owned()),
                message: condition.message.clone().unwrap_or_default(),
            })
        });
        let conditions: Vec<_> = conditions.collect();
        Self {
            name: hpa.metadata.name.clone().unwrap_or_default(),
            current: status.current_replicas.filter(|_| !conditions.is_empty()),
            desired: status.desired_replicas,
            last_scale_time: status.last_scale_time,
            conditions,
        }
    }

    /// Whether its controller looked at it.
    pub(crate) fn is_observed(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// The change of replicas that this status tells of, if it is the status of the very sync that made one: later ones
    /// do not say from where it came.
    pub(crate) fn rescale(&self) -> Option<ScalingRecord> {
        let able = self.conditions.iter().find(|condition| condition.type_ == "AbleToScale")?;
        let (timestamp, previous_scale) = (self.last_scale_time.clone()?, self.current?);
        (able.reason == "SucceededRescale" && previous_scale != self.desired).then(|| ScalingRecord {
            timestamp,
            previous_scale,
            new_scale: self.desired,
            reason: format!("HorizontalPodAutoscaler {}", self.name),
            success: true,
            error: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mirror(reason: &str, current: i32, desired: i32) -> Mirror {
        let hpa = json!({
            "metadata": {"name": "pa-hpa"},
            "spec": {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "engine"}},
            "status": {"currentReplicas": current, "desiredReplicas": desired, "lastScaleTime": "2026-11-24T08:00:00Z",
                "conditions": [
                    {"type": "AbleToScale", "status": "True", "reason": reason},
                    {"type": "Other", "status": "True"},
                    {"type": "ScalingActive", "status": "Unknown"},
                ]},
        });
        Mirror::of(&serde_json::from_value(hpa).unwrap())
    }

    #[test]
    fn a_change_is_known_only_from_the_status_that_made_it() {
        for (reason, current, desired, expected) in [
            ("SucceededRescale", 1, 3, Some((1, 3))),
            ("SucceededRescale", 3, 3, None),
            ("ReadyForNewScale", 1, 3, None),
        ] {
            let record = mirror(reason, current, desired).rescale();
            assert_eq!(record.map(|record| (record.previous_scale, record.new_scale)), expected, "{reason}");
        }
    }

    #[test]
    fn conditions_are_carried_over() {
        let mirror = mirror("ReadyForNewScale", 1, 1);
        let shown: Vec<_> = mirror
            .conditions
            .iter()
            .map(|known| (known.type_, known.status, known.reason.as_str()))
            .collect();
        assert_eq!(shown, [("AbleToScale", true, "ReadyForNewScale"), ("ScalingActive", false, "Unknown")]);
        let fresh = Mirror::of(&HorizontalPodAutoscaler::default());
        assert!(!fresh.is_observed() && fresh.current.is_none());
    }
}
