//! Activation: membership changes, net per epoch, with their reasons.

mod batcher;
mod changes;
mod merge;

pub(crate) use batcher::{MembershipBatcher, MembershipRow};
pub use changes::Changes;
pub(crate) use changes::{Cause, ChangeRow, bits_of, set_bits};
pub use merge::merge;
