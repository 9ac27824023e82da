//! The machine's clock, which two processes of one benchmark have in common.

/// Microseconds since 1970. Only for what one process sends and another receives; all else is timed by `Instant`.
#[expect(clippy::disallowed_methods, reason = "the wall clock is all that two processes share")]
pub fn unix_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
