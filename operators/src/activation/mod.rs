//! Activation: membership changes, net per epoch, with their reasons.

mod changes;
mod merge;

pub use changes::Changes;
pub(crate) use changes::{Cause, ChangeRow, set_bits};
pub use merge::merge;
