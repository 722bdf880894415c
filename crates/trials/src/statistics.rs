//! Quantiles of a handful of measurements.

/// Measurements in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Quantiles {
    sorted: Vec<f64>,
}

impl Quantiles {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The least measurement that at least this share of them do not exceed (nearest rank); NaN when there are none.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let quantiles = Quantiles::of((1..=20).rev().map(f64::from).collect());
        for (share, expected) in
            [(0.0, 1.0), (0.05, 1.0), (0.5, 10.0), (0.51, 11.0), (0.99, 20.0), (1.0, 20.0)]
        {
            assert_eq!(quantiles.at(share), expected, "{share}");
        }
        assert!(Quantiles::of(Vec::new()).at(0.5).is_nan());
    }
}
