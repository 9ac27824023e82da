//! Figures are told the same way everywhere: durations as percentiles in microseconds, many runs as a median.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of the same thing, each kept, so that percentiles are exact.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    micros: Vec<f64>,
}

impl Durations {
    /// Adds one.
    pub fn push(&mut self, duration: Duration) {
        self.push_micros(duration.as_secs_f64() * 1e6);
    }

    /// Adds one, in microseconds.
    pub fn push_micros(&mut self, micros: f64) {
        self.micros.push(micros);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The mean in microseconds.
    pub fn mean(&self) -> f64 {
        self.micros.iter().sum::<f64>() / self.micros.len().max(1) as f64
    }

    /// The duration in microseconds that this share of all does not exceed.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * share) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Count, p50, p99 and the longest, in microseconds.
    pub fn to_json(&self) -> Value {
        json!({
            "count": self.len(),
            "p50_us": round(self.percentile(0.50)),
            "p99_us": round(self.percentile(0.99)),
            "max_us": round(self.percentile(1.0)),
        })
    }
}

/// The middle of some figures; of an even number the upper one of the two in the middle.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// How many of something a second.
pub fn per_second(count: usize, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64()).round()
}

/// Three digits behind the point: nothing here is measured better than that.
pub fn round(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// Median, least and greatest of some figures, rounded.
pub fn spread(figures: &[f64]) -> Value {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = figures.iter().copied().fold(0.0, f64::max);
    json!({ "median": round(median(figures)), "least": round(least), "greatest": round(greatest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_added() {
        let mut durations = Durations::default();
        (1..=100).rev().for_each(|micros| durations.push(Duration::from_micros(micros)));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(durations.percentile(0.50), 51.0));
        assert!(close(durations.percentile(0.99), 100.0));
        assert!(close(durations.percentile(1.0), 100.0));
        assert!(close(durations.mean(), 50.5));
        assert!(close(Durations::default().percentile(0.5), 0.0));
    }

    #[test]
    fn the_median_does_not_mind_an_outlier() {
        assert!((median(&[1.0, 1_000.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
