//! Raw events in, decoded columns out: parse, normalize, reject, deduplicate.

mod batch;

pub use batch::EventBatch;
pub(crate) use batch::{AliasLinkRow, EventRow, IdentifierRow};
