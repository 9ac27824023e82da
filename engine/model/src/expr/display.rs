//! Canonical text.
use super::{Names, Predicate};
use std::fmt;
pub(super) struct Displayed<'a> {
    pub(super) predicate: &'a Predicate,
    pub(super) names: &'a Names<'a>,
}
impl fmt::Display for Displayed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.predicate, self.names.traits.len())
    }
}
