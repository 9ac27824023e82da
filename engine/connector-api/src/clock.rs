//! The one way to read the time: whoever needs the clock is given one, so that tests and replay decide what it says.

use std::time::{SystemTime, UNIX_EPOCH};

use tidewater_model::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present, in milliseconds since 1970. It may go back when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// Asks to be told whenever the time jumps. Only a clock that is moved by hand has something to tell; one that
    /// runs by itself is read when a timer is due.
    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) {
        drop(changed);
    }
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 gives a negative time rather than a panic.
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp(millis)
    }
}
