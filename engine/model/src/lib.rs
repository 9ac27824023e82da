//! Tidewater's vocabulary: plain data that every other crate speaks, without IO, async or dataflow.
//!
//! Modules in the order data flows: [`event`], [`identifier`], [`traits`], [`segment`], [`delta`], with
//! the value types ([`time`], [`decimal`], [`value`]) and the segment language ([`expr`]) beside them;
//! [`base`] is what is left of events that are no longer there, [`suggest`] finds the nearest name for a typo.

pub mod base;
pub mod decimal;
pub mod delta;
pub mod event;
pub mod expr;
pub mod hash;
pub mod identifier;
pub mod order;
pub mod pipeline;
pub mod profile;
pub mod segment;
pub mod suggest;
pub mod time;
pub mod traits;
pub mod value;

pub use decimal::Decimal;
pub use delta::{Change, Delta, DeltaBatch, DeltaBatchBuilder};
pub use event::{EventKind, Path, RejectReason};
pub use hash::{HashKey, IdentifierSeed};
pub use identifier::{BlockRule, IdentifierSpec, Normalize};
pub use pipeline::{ClockKind, Dedup, PipelineSpec};
pub use profile::{Profile, ProfileId};
pub use segment::SegmentSpec;
pub use time::{Millis, TimeError, Timestamp};
pub use traits::{Aggregate, EventFilter, TraitSpec, Window};
pub use value::{Scalar, Value};
