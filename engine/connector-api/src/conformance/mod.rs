//! The suites that hold every connector, ours or a user's, to the rules of [`Source`](crate::Source) and
//! [`Sink`](crate::Sink).
//!
//! A suite returns the first rule that is broken as a [`Violation`], so a test is one line:
//! `conformance::source::check(|| MySource::new(..), &events).await.unwrap();`

mod recorder;
pub mod sink;
pub mod source;

use std::time::Duration;

pub use recorder::{Recorded, Recorder};

/// Longer than any healthy connector takes on a loaded machine: only one that hangs gets here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A rule that a connector breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The rule, in a few words.
    pub rule: &'static str,
    /// What happened instead.
    pub detail: String,
}

fn ensure(holds: bool, rule: &'static str, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

async fn within<T>(rule: &'static str, future: impl Future<Output = T>) -> Result<T, Violation> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| Violation { rule, detail: format!("nothing happened for {} s", PATIENCE.as_secs()) })
}
