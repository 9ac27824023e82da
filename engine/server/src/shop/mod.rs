//! A made-up shop's clickstream in the Segment spec: the same seed and options give the same bytes, everywhere.
//!
//! Some dozens of visits run at the same time, each a little state machine over the life of a person with one to three
//! devices: browsing without a name, signing in, filling a cart, ordering or leaving. In a few households a device is
//! shared, so that two people become one cluster. Events come in the order of their times, a share of them
//! disturbed as real streams are: repeated, late, out of order, broken.

mod bad;
mod events;
mod json;
mod people;
mod rng;
mod session;

use std::str::FromStr;

use tidewater_model::{Millis, Timestamp};

use self::{events::Frame, people::People, rng::Rng, session::Session};

/// A share of events: written `1%` or `0.01`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// None at all.
    pub const NONE: Self = Self(0.0);

    /// This many in a hundred; kept within 0 and 100.
    pub fn percent(percent: f64) -> Self {
        Self((percent / 100.0).clamp(0.0, 1.0))
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.trim().strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text.trim(), 1.0),
        };
        let share = number.parse::<f64>().ok().map(|number| number / unit);
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or_else(|| "expected a share such as `1%` or `0.01`".to_owned())
    }
}

/// What the clickstream is like.
#[derive(Clone, Debug, PartialEq)]
pub struct ShopOptions {
    /// How many events, repeated and bad ones included.
    pub events: u64,
    /// How many people there are; how many of them come depends on the number of events.
    pub profiles: u32,
    /// Another seed, another stream; it is part of every messageId.
    pub seed: u64,
    /// Sent a second time, with the same messageId.
    pub duplicates: Share,
    /// Ten minutes to three days old when they come.
    pub late: Share,
    /// Up to two minutes older than the event before.
    pub out_of_order: Share,
    /// Can't be used: see the quarantine.
    pub bad: Share,
    /// The time of the first event.
    pub start: Timestamp,
    /// From the first event to the last.
    pub span: Millis,
}

impl Default for ShopOptions {
    fn default() -> Self {
        Self {
            events: 100_000,
            profiles: 10_000,
            seed: 42,
            duplicates: Share::percent(1.0),
            late: Share::percent(1.0),
            out_of_order: Share::percent(1.0),
            bad: Share::percent(0.1),
            // 2026-01-01T00:00:00Z: fixed, or the same seed would give other bytes tomorrow.
            start: Timestamp(1_767_225_600_000),
            span: Millis(30 * Millis::DAY.0),
        }
    }
}

/// How long a visitor takes from one event to the next, on average.
const PACE_MS: f64 = 45_000.0;
/// Visits at the same time; more would not fit their pace to the stream's.
const MOST_VISITS: f64 = 4_096.0;
/// Lines kept to be repeated.
const KEPT_LINES: usize = 256;

/// Generates the clickstream, event by event, with memory for the people alone.
#[derive(Clone, Debug)]
pub struct Shop {
    options: ShopOptions,
    rng: Rng,
    people: People,
    visits: Vec<Session>,
    /// Time from one event to the next.
    step_ms: f64,
    written: u64,
    orders: u64,
    kept: Vec<Vec<u8>>,
}

impl Shop {
    /// Opens the shop.
    pub fn new(options: ShopOptions) -> Self {
        let step_ms = options.span.0.max(0) as f64 / options.events.max(1) as f64;
        let mut rng = Rng::new(options.seed);
        let mut people = People::new(options.seed, options.profiles);
        let visits = (PACE_MS / step_ms.max(0.001)).clamp(4.0, MOST_VISITS) as usize;
        let visits = (0..visits).map(|_| Session::start(&mut people, &mut rng)).collect();
        Self { options, rng, people, visits, step_ms, written: 0, orders: 0, kept: Vec::new() }
    }

    /// How many events have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The time that the stream has reached.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.options.start.0.saturating_add((self.written as f64 * self.step_ms) as i64))
    }

    /// Appends the next event to `out`, without a newline. False, and nothing is appended, after the last one.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.written >= self.options.events {
            return false;
        }
        let message = self.written + 1;
        if !self.kept.is_empty() && self.rng.chance(self.options.duplicates.0) {
            let line = self.rng.below(self.kept.len() as u64) as usize;
            out.extend_from_slice(&self.kept[line]);
            self.written = message;
            return true;
        }
        let start = out.len();
        let time = self.next_time();
        let frame = Frame { seed: self.options.seed, message, time };
        self.write_event(out, &frame);
        if self.rng.chance(self.options.bad.0) {
            bad::spoil(out, start, &frame, &mut self.rng);
        } else if self.rng.chance(0.125) {
            self.keep(&out[start..]);
        }
        self.written = message;
        true
    }

    /// The time of the next event, disturbed or not.
    fn next_time(&mut self) -> Timestamp {
        let jitter = self.rng.unit() * self.step_ms;
        let time = self.time().0.saturating_add(jitter as i64);
        let roll = self.rng.unit();
        let back = if roll < self.options.late.0 {
            10 * Millis::MINUTE.0 + self.rng.below(3 * Millis::DAY.0 as u64) as i64
        } else if roll < self.options.late.0 + self.options.out_of_order.0 {
            1 + self.rng.below(2 * Millis::MINUTE.0 as u64) as i64
        } else {
            0
        };
        Timestamp((time - back).max(self.options.start.0))
    }

    fn write_event(&mut self, out: &mut Vec<u8>, frame: &Frame) {
        let visit = self.rng.below(self.visits.len() as u64) as usize;
        loop {
            let session = &mut self.visits[visit];
            match session.next(&mut self.people, &mut self.rng, &mut self.orders) {
                Some(action) => return events::write(out, frame, &self.people, session, action),
                // A new visit always begins with an event.
                None => *session = Session::start(&mut self.people, &mut self.rng),
            }
        }
    }

    fn keep(&mut self, line: &[u8]) {
        if self.kept.len() < KEPT_LINES {
            self.kept.push(line.to_vec());
            return;
        }
        let place = self.rng.below(KEPT_LINES as u64) as usize;
        let kept = &mut self.kept[place];
        kept.clear();
        kept.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests;
