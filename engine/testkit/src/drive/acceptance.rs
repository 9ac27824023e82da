//! Acceptance: engine and oracle decide the same about every event, but that the engine may remember a message for
//! longer than its window.

use tidewater::testing::Acceptance;
use tidewater_model::{ClockKind, Dedup, HashKey, PipelineSpec, RejectReason};
use tidewater_oracle::{Oracle, Pushed};

use super::{Difference, Tandem};

/// What an engine can say to an event.
pub(super) type Decision = Result<Acceptance, RejectReason>;

impl Tandem {
    /// Offers an event to all; what became of it.
    ///
    /// # Errors
    /// If they decide differently.
    pub fn accept(&mut self, event: &str) -> Result<Decision, Difference> {
        self.engine.set_wall(self.wall);
        let found = self.engine.accept(event.as_bytes());
        let says_known = matches!(found, Ok(Acceptance::Duplicate) | Err(RejectReason::DuplicateConflict));
        if !(says_known && self.is_remembered_longer(event, found)) {
            let expected = match self.oracle.push(event.as_bytes(), self.wall) {
                Pushed::Accepted { time, .. } => {
                    self.times.push(time.0);
                    Ok(Acceptance::Accepted)
                }
                Pushed::Duplicate => Ok(Acceptance::Duplicate),
                Pushed::Rejected(reason) => Err(reason),
            };
            self.compare(&format!("acceptance of {event}"), &expected, &found)?;
        }
        match found {
            Ok(Acceptance::Accepted) => self.summary.accepted += 1,
            Ok(Acceptance::Duplicate) => self.summary.duplicates += 1,
            Err(_) => self.summary.refused += 1,
        }
        Ok(found)
    }

    /// Whether the event was accepted before, longer ago than its window but less than one and a half: then the
    /// engine may say so, although the contract only asks it to within the window.
    fn is_remembered_longer(&self, event: &str, found: Decision) -> bool {
        let Dedup::For(window) = self.spec.dedup else { return false };
        let longest = 3 * (window.0 / 2 + window.0 % 2);
        let mut clock_then = i64::MIN;
        let mut last = None;
        for (before, time) in self.oracle.events().zip(&self.times) {
            clock_then = clock_then.max(match self.spec.clock {
                ClockKind::Wall => before.accepted_at.0,
                ClockKind::Event => *time,
            });
            // Of two messages alone, remembered forever, the second shows what it is to the first.
            let spec = PipelineSpec { dedup: Dedup::Forever, ..self.spec.clone() };
            let mut pair = Oracle::new(spec, HashKey::FIXED);
            pair.push(before.bytes, before.accepted_at);
            let known = match pair.push(event.as_bytes(), self.wall) {
                Pushed::Duplicate => Ok(Acceptance::Duplicate),
                Pushed::Rejected(RejectReason::DuplicateConflict) => Err(RejectReason::DuplicateConflict),
                Pushed::Accepted { .. } | Pushed::Rejected(_) => continue,
            };
            last = Some((clock_then, known));
        }
        let clock_now = match self.spec.clock {
            ClockKind::Wall => self.wall.0,
            ClockKind::Event => clock_then,
        };
        last.is_some_and(|(then, known)| {
            let age = clock_now - then;
            age > window.0 && age < longest && known == found
        })
    }
}
