//! A checkpoint is written with rests: it takes at most half of a core and half of the disk's time, since epochs wait for both.

use std::time::{Duration, Instant};

use super::control::Control;
use crate::{lifecycle::Lifecycle, threads};

/// The thread rests once it has worked for so long: about as long as a piece takes to be compressed, written and synced.
const STRETCH: Duration = Duration::from_millis(5);

/// It rests as long as it has worked, but no longer than this: what a slow disk takes is not drawn out much further.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// So much of the time between two checkpoints may pass with rests, so that one is done long before the next is due.
const PART: u32 = 4;

/// More time between checkpoints than this is no reason to rest for longer.
const LONGEST_BETWEEN: Duration = Duration::from_secs(3_600);

/// When the checkpoint thread rests while it writes one.
pub(super) struct Pace<'a> {
    lifecycle: &'a Lifecycle,
    control: &'a Control,
    /// For how long the thread has worked since its last rest, up to `since`.
    worked: Duration,
    since: Instant,
    until: Instant,
}

impl<'a> Pace<'a> {
    /// Of a checkpoint that begins now, and the next one is due after `every`.
    pub(super) fn new(lifecycle: &'a Lifecycle, control: &'a Control, every: Duration) -> Self {
        let since = threads::now();
        let until = since + every.min(LONGEST_BETWEEN) / PART;
        Self { lifecycle, control, worked: Duration::ZERO, since, until }
    }

    /// The thread has waited, which is no work, and goes on.
    pub(super) fn go_on(&mut self) {
        self.since = threads::now();
    }

    /// Rests, if it is time to.
    pub(super) fn rest(&mut self) {
        let now = threads::now();
        self.worked += now.duration_since(self.since);
        if self.worked >= STRETCH {
            threads::sleep(self.rest_at(now));
            self.worked = Duration::ZERO;
        }
        self.go_on();
    }

    /// How long a rest at that time is. An engine that stops waits for its checkpoint, and so may others.
    fn rest_at(&self, now: Instant) -> Duration {
        match now < self.until && !self.control.is_awaited() && !self.lifecycle.is_stopping() {
            true => self.worked.min(LONGEST_REST),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_while_the_thread_rests() {
        let (lifecycle, control) = (Lifecycle::new(), Control::default());
        let rest = |every, worked| {
            let pace = Pace { worked, ..Pace::new(&lifecycle, &control, every) };
            pace.rest_at(pace.since + worked)
        };
        control.begin(false);
        assert_eq!(rest(Duration::MAX, STRETCH), STRETCH);
        assert_eq!(rest(Duration::MAX, 2 * LONGEST_REST), LONGEST_REST);
        assert_eq!(rest(PART * STRETCH, STRETCH), Duration::ZERO, "the next one is due");
        control.hurry();
        assert_eq!(rest(Duration::MAX, STRETCH), Duration::ZERO, "somebody asks for the next one");
        control.begin(true);
        assert_eq!(rest(Duration::MAX, STRETCH), Duration::ZERO, "somebody has asked for it");
        control.begin(false);
        assert_eq!(rest(Duration::MAX, STRETCH), STRETCH);
        lifecycle.drain();
        assert_eq!(rest(Duration::MAX, STRETCH), Duration::ZERO, "the engine stops");
    }
}
