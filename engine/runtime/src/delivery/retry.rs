//! When to try again: exponential backoff with full jitter. Decided here, without a clock; waited for elsewhere.

use std::time::Duration;

use crate::settings::RetrySettings;

/// The failed attempts in a row of one sink or source.
#[derive(Debug)]
pub(crate) struct Backoff {
    settings: RetrySettings,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(settings: RetrySettings) -> Self {
        Self { settings, attempts: 0 }
    }

    /// Counts a failed attempt and says how long to wait before the next. `random` is any 64 random bits;
    /// `retry_after` is what the destination asked for, and it is never asked again sooner than that.
    pub(crate) fn failed(&mut self, random: u64, retry_after: Option<Duration>) -> Duration {
        let doublings = self.attempts.min(63);
        self.attempts = self.attempts.saturating_add(1);
        let ceiling = self.settings.first_ms.saturating_mul(1 << doublings).min(self.settings.longest_ms);
        // A hundredth of the first wait at least: a random zero would be no wait at all.
        let floor = self.settings.first_ms.min(ceiling) / 100;
        let jittered = floor + random % (ceiling - floor + 1);
        Duration::from_millis(jittered).max(retry_after.unwrap_or_default())
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(settings: &RetrySettings, attempts: u32) -> u64 {
        let mut backoff = Backoff::new(settings.clone());
        let mut wait = Duration::ZERO;
        for _ in 0..attempts {
            // The random number whose remainder is the whole range.
            let ceiling = settings.first_ms.saturating_mul(1 << backoff.attempts().min(63));
            let ceiling = ceiling.min(settings.longest_ms);
            wait = backoff.failed(ceiling - settings.first_ms / 100, None);
        }
        wait.as_millis() as u64
    }

    #[test]
    fn the_upper_end_doubles_up_to_the_longest() {
        let settings = RetrySettings::default();
        let ends: Vec<u64> = (1..=10).map(|attempts| longest(&settings, attempts)).collect();
        assert_eq!(ends, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(longest(&settings, 200), 60_000);
    }

    #[test]
    fn jitter_covers_the_whole_range_and_is_never_nothing() {
        let settings = RetrySettings::default();
        let waits =
            (0..1_000u64).map(|random| Backoff::new(settings.clone()).failed(random, None).as_millis());
        let waits: Vec<u128> = waits.collect();
        assert_eq!(waits.iter().min(), Some(&2));
        assert_eq!(waits.iter().max(), Some(&250));
    }

    #[test]
    fn the_destination_is_left_alone_as_long_as_it_asks() {
        let mut backoff = Backoff::new(RetrySettings::default());
        let asked = Duration::from_secs(90);
        assert_eq!(backoff.failed(7, Some(asked)), asked);
        assert!(backoff.failed(u64::MAX, Some(Duration::from_millis(1))) > Duration::from_millis(1));
        assert_eq!(backoff.attempts(), 2);
    }

    #[test]
    fn a_wait_of_nothing_can_be_set() {
        let mut backoff = Backoff::new(RetrySettings { first_ms: 0, longest_ms: 0 });
        assert_eq!(backoff.failed(u64::MAX, None), Duration::ZERO);
    }
}
