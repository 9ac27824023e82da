//! The arrangement of memberships: how its rows are sorted, kept, merged and read.
//!
//! Differential's own batches have an offset into lists of times for every row, and each of their vectors grows with the
//! batch. Here nearly every page of rows has one time for all of them, since history is forgotten at every epoch, so that
//! two batches merge in one plain pass; and the pages that a merge frees are those that the next one takes, whatever the
//! sizes of the two, so that memory stays what it is while members come and go.

mod batch;
mod batcher;
mod cursor;
mod merger;
mod pages;

use std::rc::Rc;

use differential_dataflow::trace::implementations::spine_fueled::Spine;

pub(crate) use batcher::{MembershipBatcher, MembershipRow};

/// The trace that keeps memberships.
pub(crate) type MembershipSpine = Spine<Rc<batch::MembershipBatch>>;

#[cfg(test)]
mod tests;
