//! The engine's timer against the oracle: up to the instant it names, time alone changes nothing.

use tidewater_model::{HashKey, Timestamp};
use tidewater_oracle::{Event, evaluate_with};

use super::{Difference, Tandem};
use crate::generate::edges;

impl Tandem {
    /// Looks for an instant before the engine's next timer at which the oracle's members are others than now.
    pub(super) fn check_timer(&self, now: Timestamp) -> Result<(), Difference> {
        let timer = self.engine.next_timer();
        if timer.is_some_and(|timer| timer <= now) {
            return Err(self.difference(format!("a timer at {timer:?}, which is past: now is {now}")));
        }
        if self.probes == 0 {
            return Ok(());
        }
        let events: Vec<Event<'_>> = self.oracle.events().collect();
        for instant in self.instants(now, timer) {
            let then = evaluate_with(&self.spec, HashKey::FIXED, &events, instant, &self.unlinked);
            if then.memberships != self.outcome.memberships {
                let timer = timer.map_or("no timer".to_owned(), |timer| format!("the next timer at {timer}"));
                return Err(self.difference(format!(
                    "time alone changes members by {instant}, but the engine has {timer}\nnow      {:?}\nthen     {:?}",
                    self.outcome.memberships, then.memberships
                )));
            }
        }
        Ok(())
    }

    /// Instants in between, those where something is likely first.
    fn instants(&self, now: Timestamp, timer: Option<Timestamp>) -> Vec<Timestamp> {
        let end = timer.map_or(i64::MAX, |timer| timer.0);
        let near =
            edges(&self.spec, self.times.iter().copied()).into_iter().flat_map(|edge| [edge, edge + 1]);
        // The last instant before the timer, and some steps into the distance.
        let far = timer.map(|timer| timer.0 - 1).into_iter();
        let steps = [1, 300, 1_000, 7_000, 60_000, 4_000_000, 90_000_000].map(|step| now.0 + step);
        let between = |at: &i64| *at > now.0 && *at < end;
        let mut instants: Vec<i64> = near.filter(between).take(self.probes).collect();
        instants.extend(far.chain(steps).filter(between).take(self.probes / 2));
        instants.sort_unstable();
        instants.dedup();
        instants.into_iter().map(Timestamp).collect()
    }
}
