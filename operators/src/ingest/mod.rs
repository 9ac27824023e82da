//! Raw events in, decoded columns out: parse, normalize, reject, deduplicate.
//!
//! One [`Decoder`] and one [`Dedup`] window see all events of an engine, in one thread. What they make of the same
//! events in the same order is always the same.

mod alias;
mod batch;
mod conditions;
mod decoder;
mod dedupe;
mod identifiers;
mod json;
mod kinds;
mod message;
mod normalize;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod values;
mod waiting;

pub use batch::EventBatch;
pub use decoder::{DecodeStats, Decoded, Decoder, Scanned};
pub use dedupe::{Dedup, Refile, Verdict};
pub use json::PaddedEvent;
pub use message::MessageKey;
pub use normalize::comparable;

pub(crate) use batch::{AliasLinkKind, AliasLinkRow, EventRow, IdentifierRow};
pub(crate) use identifiers::compile_block_patterns;
pub(crate) use waiting::{OpenAlias, open_aliases};
