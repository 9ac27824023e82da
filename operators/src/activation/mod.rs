//! Activation: membership changes, net per epoch, with their reasons.

mod changes;
mod memberships;
mod merge;

pub use changes::Changes;
pub(crate) use changes::{Cause, ChangeRow, bits_of, set_bits};
pub(crate) use memberships::{MembershipBatcher, MembershipRow, MembershipSpine};
pub use merge::merge;
