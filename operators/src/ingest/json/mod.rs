//! JSON read once and strictly: the whole event is checked, and only the wanted paths are remembered.
//!
//! What is accepted is exactly RFC 8259 with an object at the top, at most 128 levels deep, in valid UTF-8 and without
//! half surrogate pairs. Of a key that stands twice, the last counts.

mod array;
mod bytes;
mod fields;
mod keys;
mod names;
mod number;
mod padded;
mod paths;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

pub use padded::PaddedEvent;

pub(crate) use array::elements;
pub(crate) use fields::{Field, Fields};
pub(crate) use names::NameTable;
pub(crate) use number::short_whole;
pub(crate) use paths::{Node, PathTree};
pub(crate) use scanner::{Member, Scanner};
pub(crate) use string::unescape;

/// The event is not what this module accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadJson;
