//! Holds membership changes back from their arrangement until there are many.
//!
//! An arrangement merges its batches two by two, so a row is written anew for every doubling from its batch to the whole.
//! Few large batches cost less than many small ones, and whoever reads the arrangement between two epochs can as well add
//! what is held here. With operators of somebody's own behind it nothing is held.

use std::{cell::RefCell, rc::Rc};

use differential_dataflow::Hashable;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{StreamVec, channels::pact::Exchange, operators::generic::Operator},
};

use crate::{activation::batcher::MembershipRow, graph::Time};

/// At most so many rows, 2 MiB, are held: what sorting and handing over more would take of time and memory at once shows, and what
/// it saves the arrangement does not.
const MOST_ROWS: usize = 1 << 16;

/// And at most this part of what has been handed over so far.
const PART: usize = 4;

/// The rows of one worker that its arrangement does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Held {
    rows: Vec<MembershipRow>,
    handed_over: usize,
}

impl Held {
    /// What is held of a segment: profiles in order, each once, and by how much its count changes.
    pub(crate) fn of(&self, segment: u32) -> Vec<(u128, isize)> {
        let rows = self.rows.iter().filter(|row| row.segment() == segment);
        let mut rows: Vec<(u128, isize)> = rows.map(|row| (row.profile(), row.diff())).collect();
        differential_dataflow::consolidation::consolidate(&mut rows);
        rows
    }

    fn is_full(&self) -> bool {
        self.rows.len() > MOST_ROWS.min(self.handed_over / PART)
    }
}

/// Brings the rows to the workers of their segments, and holds them there if they may be held.
pub(crate) fn hold<'scope>(
    input: StreamVec<'scope, Time, MembershipRow>,
    may_hold: bool,
) -> (StreamVec<'scope, Time, MembershipRow>, Rc<RefCell<Held>>) {
    let held = Rc::new(RefCell::new(Held::default()));
    let own = Rc::clone(&held);
    let by_segment = Exchange::new(|row: &MembershipRow| row.segment().hashed());
    let output = input.unary::<CapacityContainerBuilder<Vec<MembershipRow>>, _, _, _>(
        by_segment,
        "Hold",
        move |_, _| {
            move |input, output| {
                input.for_each(|capability, rows| {
                    let held = &mut *own.borrow_mut();
                    match held.rows.is_empty() {
                        true => std::mem::swap(&mut held.rows, rows),
                        false => held.rows.append(rows),
                    }
                    if may_hold && !held.is_full() {
                        return;
                    }
                    let Some(time) = capability.least().copied() else { return };
                    held.rows.iter_mut().for_each(|row| row.time = time);
                    held.handed_over += held.rows.len();
                    output.session(&capability).give_container(&mut held.rows);
                    held.rows.clear();
                });
            }
        },
    );
    (output, held)
}
