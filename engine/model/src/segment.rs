//! Segments: groups of profiles, each defined by a predicate.

use serde::{Deserialize, Serialize};

use crate::expr::Predicate;

/// One entry of the pipeline's `segments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentSpec {
    /// The name, unique among identifiers, traits and segments.
    pub name: String,
    /// Who is a member.
    pub predicate: Predicate,
    /// What people read about it.
    pub description: Option<String>,
}
