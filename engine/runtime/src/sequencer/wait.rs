//! What the sequencer waits for: a message, or the moment at which time alone changes something.

use std::time::Duration;

use tidewater_model::ClockKind;

use super::{Sequencer, message::Message};
use crate::threads::{RecvTimeoutError, TryRecvError};

/// While a timer is due later than this, the wall clock is looked at in between: it may be set, and a machine that
/// slept wakes up late.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why the sequencer stops waiting.
pub(super) enum Next {
    Message(Message),
    TimerDue,
    /// No handle, source or worker is left.
    Gone,
}

impl Sequencer {
    /// Waits for a message or for the next timer.
    pub(super) fn next(&mut self) -> Next {
        if let Some(message) = self.flow.postponed.pop_front() {
            return Next::Message(message);
        }
        match self.until_timer() {
            None => self.receiver.recv().map_or(Next::Gone, Next::Message),
            Some(Duration::ZERO) => match self.receiver.try_recv() {
                Ok(message) => Next::Message(message),
                Err(TryRecvError::Empty) => Next::TimerDue,
                Err(TryRecvError::Disconnected) => Next::Gone,
            },
            Some(wait) => match self.receiver.recv_timeout(wait.min(LONGEST_WAIT)) {
                Ok(message) => Next::Message(message),
                Err(RecvTimeoutError::Timeout) => Next::Message(Message::Wake),
                Err(RecvTimeoutError::Disconnected) => Next::Gone,
            },
        }
    }

    /// How long until an epoch is due by time alone. Under `clock: event` time passes with events only. While epochs
    /// are being computed nobody knows yet; their completion is a message.
    fn until_timer(&self) -> Option<Duration> {
        if self.clock_kind == ClockKind::Event || self.in_flight() > 0 {
            return None;
        }
        let timer = self.flow.next_timer?;
        let wait = timer.0.saturating_sub(self.clock.now().0);
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    }
}
