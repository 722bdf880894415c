//! The readings of one page, from poll to poll, made into values.

use tokio::time::Instant;
use windlass_metrics::{Meter, Readings, Sample};

/// The value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// In the metric's unit; counters as their rate per second.
    pub value: f64,
    /// Where what it tells of begins: for a rate when the page before was asked for, else when this one was.
    pub since: Instant,
}

/// Each metric of a page from reading to reading.
pub(crate) struct Meters {
    /// And when the page of a counter's last reading was asked for.
    meters: Vec<(Meter, Instant)>,
    first: Instant,
}

impl Meters {
    /// Of so many metrics.
    pub(crate) fn new(count: usize) -> Self {
        let first = Instant::now();
        Self { meters: vec![(Meter::default(), first); count], first }
    }

    /// One value per metric, from a page that was asked for and received then.
    pub(crate) fn take(
        &mut self,
        readings: &Readings,
        asked: Instant,
        received: Instant,
    ) -> Vec<Option<Value>> {
        let at = received - self.first;
        let pairs = readings.iter().zip(&mut self.meters);
        pairs
            .map(|(reading, (meter, counted))| {
                let reading = reading.as_ref()?;
                let since = match reading.sample {
                    Sample::Gauge(_) => asked,
                    _ => std::mem::replace(counted, asked),
                };
                meter.push(reading, at).map(|value| Value { value, since })
            })
            .collect()
    }
}
