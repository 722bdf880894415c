//! Defaults that were others, and windows that meant something else.

use crate::podautoscaler::PodAutoscaler;
use crate::resolve::Resolved;
use crate::settings::Origin;

use super::{Against, List};

/// A default that is not AIBrix's.
struct Other {
    against: Against,
    strategy: &'static str,
    /// As `Resolved::settings` calls it.
    setting: &'static str,
    /// What AIBrix does.
    theirs: &'static str,
    why: &'static str,
    /// What to write to keep it.
    keep: &'static str,
}

const FAST: &str = "the windows of v0.2 to v0.4 and Knative see a burst in seconds";

static OTHERS: [Other; 6] = [
    Other {
        against: Against::Classic,
        strategy: "KPA",
        setting: "down window",
        theirs: "30m (scale-down-delay)",
        why: "5m is current AIBrix's and Kubernetes' default, and costs fewer idle GPUs",
        keep: "kpa.autoscaling.aibrix.ai/scale-down-delay: 30m",
    },
    Other {
        against: Against::Classic,
        strategy: "APA",
        setting: "down tolerance",
        theirs: "0.2",
        why: "0.1 is current AIBrix's default, the same as upwards",
        keep: "apa.autoscaling.aibrix.ai/down-fluctuation-tolerance: \"0.2\"",
    },
    Other {
        against: Against::Classic,
        strategy: "APA",
        setting: "down window",
        theirs: "none: APA lowers at once",
        why: "5m is current AIBrix's and Kubernetes' default, and a dip is no reason to stop engines that start slowly",
        keep: "autoscaling.aibrix.ai/scale-down-cooldown-window: 0s",
    },
    Other {
        against: Against::Current,
        strategy: "KPA",
        setting: "stable window",
        theirs: "180s",
        why: FAST,
        keep: "spec.observeWindowSeconds: 180",
    },
    Other {
        against: Against::Current,
        strategy: "KPA",
        setting: "panic window",
        theirs: "60s",
        why: FAST,
        keep: "spec.panicWindowSeconds: 60",
    },
    Other {
        against: Against::Current,
        strategy: "APA",
        setting: "window",
        theirs: "180s",
        why: "the window of v0.2 to v0.4 sees a burst sooner",
        keep: "spec.observeWindowSeconds: 180",
    },
];

pub(super) fn compare(object: &PodAutoscaler, resolved: &Resolved, list: &mut List) {
    let strategy = object.spec.scaling_strategy.as_str();
    let setting = |name: &str| resolved.settings.iter().find(|setting| setting.name == name);
    for other in OTHERS.iter().filter(|other| other.strategy == strategy) {
        if let Some(ours) = setting(other.setting).filter(|setting| setting.origin == Origin::Default) {
            let Other { theirs, why, keep, .. } = other;
            let sentence =
                format!("its default is {theirs}, here it is {}: {why}; to keep it: {keep}", ours.value);
            list.push(other.against, other.setting, sentence);
        }
    }
    if strategy == "HPA" {
        if let Some(setting) = setting("down window").filter(|setting| setting.origin != Origin::Default) {
            let sentence =
                format!("it writes 300 s whatever is asked for; here {} is written", setting.value);
            list.push(Against::Current, "down window", sentence);
        }
        return;
    }
    if let Some(down) = setting("down window").filter(|setting| setting.value != "0s") {
        let sentence = format!(
            "it lowers at once to the least count of the window; here a lower count must have been wanted for all of \
             it ({}), as the name says and as in a HorizontalPodAutoscaler",
            down.value
        );
        list.push(Against::Current, "down window", sentence);
    }
    if let Some(up) = setting("up window").filter(|setting| setting.value != "0s") {
        let sentence = format!(
            "it raises at once to the greatest count of the window; here a higher count must have been wanted for all \
             of it ({})",
            up.value
        );
        list.push(Against::Current, "up window", sentence);
    }
}
