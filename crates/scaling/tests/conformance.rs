//! The peers' own figures: Knative's decision function and AIBrix's APA function.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use windlass_conformance::check;
use windlass_scaling::{Instant, apa, kpa};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KpaCase {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "note", default)]
    _note: Option<String>,
    config: Decider,
    start: Start,
    steps: Vec<KpaStep>,
}

/// A Knative decider's settings.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decider {
    target: f64,
    total_capacity: f64,
    target_burst_capacity: f64,
    max_scale_up_rate: f64,
    max_scale_down_rate: f64,
    panic_threshold: f64,
    stable_window_s: f64,
    scale_down_delay_s: u64,
    activation_scale: u32,
    reachable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    ready: u32,
    t: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KpaStep {
    t: f64,
    ready: u32,
    stable: f64,
    panic: f64,
    error: Option<String>,
    update: Option<Decider>,
    expect: KpaExpect,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct KpaExpect {
    valid: bool,
    desired: u32,
    ebc: i64,
    panicking: bool,
    panic_t: Option<f64>,
    max_panic_pods: u32,
}

/// Knative's scale-down delay: the greatest count of the slots (2 s) inside the delay.
struct DelayWindow {
    slots: i64,
    counts: VecDeque<(i64, u32)>,
}

impl DelayWindow {
    fn new(delay_secs: u64) -> Option<Self> {
        (delay_secs > 0)
            .then(|| Self { slots: delay_secs.div_ceil(2).cast_signed(), counts: VecDeque::new() })
    }

    fn greatest_with(&mut self, t: f64, count: u32) -> u32 {
        let slot = t.floor() as i64 / 2;
        self.counts.push_back((slot, count));
        self.counts.retain(|(seen, _)| *seen > slot - self.slots);
        self.counts.iter().map(|(_, count)| *count).max().unwrap_or(count)
    }
}

fn instant(t: f64) -> Instant {
    Instant::from_micros((t * 1e6).round() as u64)
}

/// What Knative's autoscaler puts round the decision function.
fn knative_scale(
    config: &Decider,
    state: &mut kpa::State,
    delay: Option<&mut DelayWindow>,
    step: &KpaStep,
) -> KpaExpect {
    let mut scale = KpaExpect {
        // A ready count that is not found is 0, not an error.
        valid: matches!(step.error.as_deref(), None | Some("ready_count_not_found")),
        desired: 0,
        ebc: 0,
        panicking: state.panic_since.is_some(),
        panic_t: None,
        max_panic_pods: 0,
    };
    if scale.valid {
        let ready = f64::from(step.ready.max(1));
        let up = (config.max_scale_up_rate * ready).ceil() as u32;
        let down = if config.reachable { (ready / config.max_scale_down_rate).floor() as u32 } else { 0 };
        let input = kpa::Input {
            stable: step.stable,
            panic: step.panic,
            target: config.target,
            ready: step.ready,
            panic_threshold: config.panic_threshold,
            stable_window: Duration::from_secs_f64(config.stable_window_s),
            stay_in_panic: false,
        };
        let outcome = kpa::step(state, &input, instant(step.t), |wanted| {
            let limited = wanted.max(down).min(up);
            if wanted > 0 { limited.max(config.activation_scale.max(1)) } else { limited }
        });
        scale.desired = match delay {
            Some(window) if config.reachable => window.greatest_with(step.t, outcome.desired),
            _ => outcome.desired,
        };
        scale.panicking = outcome.panicking;
        scale.ebc = match config.target_burst_capacity {
            0.0 => 0,
            -1.0 => -1,
            burst => (f64::from(step.ready) * config.total_capacity - burst - step.panic).floor() as i64,
        };
    }
    scale.panic_t = state.panic_since.map(Instant::as_secs_f64);
    scale.max_panic_pods = state.max_panic_replicas;
    scale
}

#[test]
fn knative_kpa() {
    check("knative_kpa.json", |case: &KpaCase| {
        let mut config = case.config.clone();
        let mut delay = DelayWindow::new(config.scale_down_delay_s);
        // A decider that finds several ready pods starts in panic.
        let mut state = kpa::State {
            panic_since: (case.start.ready > 1).then(|| instant(case.start.t)),
            max_panic_replicas: case.start.ready,
        };
        for (index, step) in case.steps.iter().enumerate() {
            if let Some(update) = &step.update {
                config = update.clone();
            }
            let got = knative_scale(&config, &mut state, delay.as_mut(), step);
            if got != step.expect {
                return Err(format!("step {index}: {got:?}, expected {:?}", step.expect));
            }
        }
        Ok(case.steps.len())
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApaCase {
    #[serde(rename = "name")]
    _name: String,
    config: ApaConfig,
    input: ApaInput,
    expect: ApaExpect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApaConfig {
    target: f64,
    up_tolerance: f64,
    down_tolerance: f64,
    max_scale_up_rate: f64,
    max_scale_down_rate: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApaInput {
    pods: u32,
    use_per_pod: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApaExpect {
    desired: u32,
}

#[test]
fn aibrix_classic_apa_fn() {
    check("aibrix_classic_apa_fn.json", |case: &ApaCase| {
        let ApaInput { pods, use_per_pod } = case.input;
        if pods == 0 {
            // No pods, no proposal: there the current count is kept, AIBrix's 0 included.
            return if case.expect.desired == 0 { Ok(1) } else { Err("a count out of nothing".into()) };
        }
        let input = apa::Input {
            total: use_per_pod * f64::from(pods),
            target: case.config.target,
            replicas: pods,
            current: pods,
            saturating: None,
            up_tolerance: case.config.up_tolerance,
            down_tolerance: case.config.down_tolerance,
        };
        let (proposed, _) = apa::propose(&input);
        // AIBrix limits the rates inside the function; in Windlass that is a stage of its own.
        let current = f64::from(pods);
        let up = (current * case.config.max_scale_up_rate).ceil() as u32;
        let down = (current / case.config.max_scale_down_rate).floor() as u32;
        let got = proposed.min(up.max(pods)).max(down.min(pods));
        if got == case.expect.desired {
            Ok(1)
        } else {
            Err(format!("{got}, expected {}", case.expect.desired))
        }
    });
}
