//! Activation: membership changes, net per epoch, with their reasons.

mod batcher;
mod changes;
mod hold;
mod merge;

pub(crate) use batcher::{MembershipBatcher, MembershipRow};
pub use changes::Changes;
pub(crate) use changes::{Cause, ChangeRow, bits_of, set_bits};
pub(crate) use hold::{Held, hold};
pub use merge::merge;
