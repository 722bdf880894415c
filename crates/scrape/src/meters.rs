//! The readings of one page, from poll to poll, made into values.

use tokio::time::Instant;
use windlass_metrics::{Meter, Readings, Sample};

/// The value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// In the metric's unit; counters as their rate per second.
    pub value: f64,
    /// Where what it tells of begins: for a rate when the page that it counts from was asked for, else when this one was.
    pub since: Instant,
}

/// Each metric of a page from reading to reading.
pub(crate) struct Meters {
    meters: Vec<Meter>,
    first: Instant,
}

impl Meters {
    /// Of so many metrics.
    pub(crate) fn new(count: usize) -> Self {
        let first = Instant::now();
        Self { meters: vec![Meter::default(); count], first }
    }

    /// One value per metric, from a page that was asked for then.
    pub(crate) fn take(&mut self, readings: &Readings, asked: Instant) -> Vec<Option<Value>> {
        let pairs = readings.iter().zip(&mut self.meters);
        pairs
            .map(|(reading, meter)| {
                let reading = reading.as_ref()?;
                let value = meter.push(reading, asked - self.first)?;
                let since = match reading.sample {
                    Sample::Gauge(_) => asked,
                    _ => meter.since().map_or(asked, |since| self.first + since),
                };
                Some(Value { value, since })
            })
            .collect()
    }
}
