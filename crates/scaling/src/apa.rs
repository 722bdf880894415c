//! AIBrix's ratio with tolerances, on totals.

use crate::numbers::replicas_for;
use crate::{Basis, significant};

/// What the proposal looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input {
    /// Mean total over the window, in the metric's unit.
    pub total: f64,
    /// Target per replica; above 0.
    pub target: f64,
    /// Replicas the total is divided by: ready + starting for additive metrics, else ready; above 0.
    pub replicas: u32,
    /// `spec.replicas`: what is kept inside the tolerance band.
    pub current: u32,
    /// A saturating metric (utilisation, latency): the ready replicas, for the saturation test.
    pub saturating: Option<u32>,
    /// No raise while the ratio is at most `1 + up_tolerance`.
    pub up_tolerance: f64,
    /// No lowering while the ratio is at least `1 - down_tolerance`.
    pub down_tolerance: f64,
}

/// Replicas asked for, and how that came about.
///
/// `ratio = total ÷ (replicas × target)`; inside the band the current count, else `ceil(total ÷ target)`.
pub fn propose(input: &Input) -> (u32, Basis) {
    let load = input.total / input.target;
    let ratio = significant(load / f64::from(input.replicas.max(1)));
    let above = significant(1.0 + input.up_tolerance);
    let below = significant(1.0 - input.down_tolerance);
    if (below..=above).contains(&ratio) {
        return (input.current, Basis::WithinTolerance { ratio });
    }
    let proposed = replicas_for(significant(load));
    if let Some(ready) = input.saturating {
        let ratio = significant(load / f64::from(ready.max(1)));
        if ratio > above && proposed < input.current {
            return (input.current, Basis::Saturated { ratio });
        }
    }
    (proposed, Basis::Ratio { ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `use_per_pod` on `pods` pods against a target of 30 with tolerances of 0.1.
    fn check(pods: u32, use_per_pod: f64, expect: u32) {
        let input = Input {
            total: use_per_pod * f64::from(pods),
            target: 30.0,
            replicas: pods,
            current: pods,
            saturating: None,
            up_tolerance: 0.1,
            down_tolerance: 0.1,
        };
        assert_eq!(propose(&input).0, expect, "{pods} pods at {use_per_pod}");
    }

    #[test]
    fn aibrix_published_figures() {
        for (pods, use_per_pod, expect) in
            [(2, 45.0, 3), (2, 35.0, 3), (6, 20.0, 4), (6, 18.0, 4), (2, 33.0, 2), (2, 27.0, 2), (6, 10.0, 2)]
        {
            check(pods, use_per_pod, expect);
        }
    }

    #[test]
    fn a_saturated_metric_never_lowers() {
        let input = Input {
            total: 2.0 * 0.95,
            target: 0.8,
            replicas: 2,
            current: 6,
            saturating: Some(2),
            up_tolerance: 0.1,
            down_tolerance: 0.1,
        };
        assert_eq!(propose(&input), (6, Basis::Saturated { ratio: 1.1875 }));
        assert_eq!(propose(&Input { saturating: None, ..input }).0, 3);
    }
}
