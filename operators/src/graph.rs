//! The timely operators around the stages: one operator when there is one worker, a chain of hops otherwise.
//!
//! With several workers every stage is a [`hop`]: it takes the messages addressed to this worker, answers them or
//! lays them in the inbox of the stage that needs them, and may act once the epoch is complete at its input. The
//! longest way of a link is look → first home → second home → everyone, so the merges of an epoch are complete at
//! the fourth hop.

use std::{cell::RefCell, rc::Rc};

use serde::{Deserialize, Serialize};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::{Exchange, Pipeline},
        operators::{
            Capability,
            generic::{Operator, OutputBuilder, builder_rc::OperatorBuilder},
        },
    },
};

use crate::{
    activation::MembershipRow,
    dataflow::EpochInput,
    epoch::Inbox,
    identity::{
        State,
        messages::{Look, Meeting, Merge, Outbox, Relabel, RemoteFold, RemoteJoin, Vertex},
    },
};

/// The engine's logical time: the epoch.
pub type Time = u64;

/// A change of `assignments`: ((identifier, profile), epoch, +1 or -1).
pub(crate) type AssignmentUpdate = ((u128, u128), Time, isize);

type Builder<T> = CapacityContainerBuilder<Vec<T>>;
type Shared = Rc<RefCell<Worker>>;

/// What the operators of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) state: State,
    pub(crate) inbox: Inbox,
    /// The epoch under way.
    pub(crate) epoch: Option<Time>,
    /// The batch of the epoch under way, to be used again.
    pub(crate) recycled: Option<crate::ingest::EventBatch>,
}

/// The two collections that leave the operators.
pub(crate) struct Published<'scope> {
    pub(crate) memberships: StreamVec<'scope, Time, MembershipRow>,
    pub(crate) assignments: StreamVec<'scope, Time, AssignmentUpdate>,
}

/// A message and the worker it is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Routed {
    to: u8,
    message: Message,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    Look(Look),
    Meeting(Meeting),
    Merge(Merge),
    Fold(RemoteFold),
    Join(RemoteJoin),
    Vertex(Vertex),
    Relabel(Relabel),
}

/// One worker: everything happens as soon as the epoch's input is there.
pub(crate) fn single<'scope>(
    input: StreamVec<'scope, Time, EpochInput>,
    worker: Shared,
) -> Published<'scope> {
    let mut builder = OperatorBuilder::new("Profiles".into(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (memberships, memberships_stream) = builder.new_output::<Vec<MembershipRow>>();
    let (assignments, assignments_stream) = builder.new_output::<Vec<AssignmentUpdate>>();
    let mut memberships = OutputBuilder::<Time, Builder<MembershipRow>>::from(memberships);
    let mut assignments = OutputBuilder::<Time, Builder<AssignmentUpdate>>::from(assignments);
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_frontiers| {
            let (mut memberships, mut assignments) = (memberships.activate(), assignments.activate());
            input.for_each(|capability, inputs| {
                let Some(time) = capability.least().copied() else { return };
                let worker = &mut *worker.borrow_mut();
                for epoch in inputs.drain(..) {
                    worker.state.run_epoch(&epoch);
                    worker.recycled = Some(epoch.events);
                }
                let mut rows = membership_rows(&worker.state, time);
                let at = capability.delayed(&time, 0);
                memberships.session(&at).give_container(&mut rows);
                let mut updates = std::mem::take(&mut worker.state.epoch.assignments);
                let at = capability.delayed(&time, 1);
                assignments.session(&at).give_container(&mut updates);
            });
        }
    });
    Published { memberships: memberships_stream, assignments: assignments_stream }
}

/// All of an epoch at once, so that they are copied no more than they must.
fn membership_rows(state: &State, time: Time) -> Vec<MembershipRow> {
    let rows = state.epoch.changes.rows.iter();
    rows.map(|row| MembershipRow::new(row.segment, row.profile, time, row.entered)).collect()
}

/// Several workers: the stages as hops.
pub(crate) fn sharded<'scope>(
    input: StreamVec<'scope, Time, EpochInput>,
    worker: &Shared,
) -> Published<'scope> {
    let own = Rc::clone(worker);
    let start = input.unary::<Builder<Routed>, _, _, _>(Pipeline, "Fold", move |_, _| {
        move |input, output| {
            input.for_each(|capability, inputs| {
                let worker = &mut *own.borrow_mut();
                let mut out = Outbox::default();
                for epoch in inputs.drain(..) {
                    worker.state.start_epoch(&epoch, &mut out);
                    worker.recycled = Some(epoch.events);
                }
                output.session(&capability).give_iterator(route(out, worker.state.workers));
            });
        }
    });
    let nothing = |_: &mut Worker, _: &mut Outbox| {};
    let looked = hop(start, "Look", worker, nothing);
    let met = hop(looked, "FirstHome", worker, nothing);
    let merged = hop(met, "SecondHome", worker, nothing);
    let united = hop(merged, "Unite", worker, |worker, out| {
        let merges = std::mem::take(&mut worker.inbox.merges);
        for cluster in worker.state.unite(merges, out) {
            out.vertices.extend(worker.state.vertices(cluster));
        }
    });
    let solved = hop(united, "Solve", worker, |worker, out| {
        let vertices = std::mem::take(&mut worker.inbox.vertices);
        worker.state.solve_all(vertices, out);
    });
    let relabelled = hop(solved, "Relabel", worker, nothing);
    finish(relabelled, Rc::clone(worker))
}

/// Takes messages for this worker, and acts when no more of the epoch's can come.
fn hop<'scope>(
    input: StreamVec<'scope, Time, Routed>,
    name: &str,
    worker: &Shared,
    mut at_end: impl FnMut(&mut Worker, &mut Outbox) + 'static,
) -> StreamVec<'scope, Time, Routed> {
    let worker = Rc::clone(worker);
    let pact = Exchange::new(|routed: &Routed| u64::from(routed.to));
    input.unary_frontier::<Builder<Routed>, _, _, _>(pact, name, move |capability, _| {
        let mut held = Some(capability);
        let mut early: Vec<(Capability<Time>, Vec<Routed>)> = Vec::new();
        move |(input, frontier), output| {
            let worker = &mut *worker.borrow_mut();
            input.for_each(|capability, messages| {
                if let Some(time) = capability.least().copied() {
                    early.push((capability.delayed(&time, 0), std::mem::take(messages)));
                }
            });
            // Another worker may see an epoch end and begin the next one first. Its messages wait until this one
            // is fed too, so that between two epochs the state is exactly that of the earlier one.
            let epoch = worker.epoch;
            for (capability, messages) in early.extract_if(.., |(own, _)| Some(*own.time()) == epoch) {
                let mut out = Outbox::default();
                messages.into_iter().for_each(|routed| receive(worker, routed.message, &mut out));
                output.session(&capability).give_iterator(route(out, worker.state.workers));
            }
            let Some(own) = &mut held else { return };
            let next = frontier.frontier().first().copied();
            if next.is_some_and(|next| next <= *own.time()) {
                return;
            }
            if let Some(epoch) = ended(worker.epoch, *own.time(), next) {
                own.downgrade(&epoch);
                let mut out = Outbox::default();
                at_end(worker, &mut out);
                output.session(&*own).give_iterator(route(out, worker.state.workers));
            }
            match next {
                Some(next) => own.downgrade(&next),
                None => held = None,
            }
        }
    })
}

/// The epoch under way, if the frontier has just moved from `held` past it to `next`.
fn ended(epoch: Option<Time>, held: Time, next: Option<Time>) -> Option<Time> {
    epoch.filter(|epoch| held <= *epoch && next.is_none_or(|next| *epoch < next))
}

fn receive(worker: &mut Worker, message: Message, out: &mut Outbox) {
    let Worker { state, inbox, .. } = worker;
    match message {
        Message::Look(look) => state.answer_look(&look, out),
        Message::Meeting(meeting) => state.carry(meeting, out),
        Message::Relabel(relabel) => state.relabel(&relabel, out),
        Message::Merge(merge) => inbox.merges.push(merge),
        Message::Fold(fold) => inbox.folds.push(fold),
        Message::Join(join) => inbox.joins.push(join),
        Message::Vertex(vertex) => inbox.vertices.push(vertex),
    }
}

/// Addresses what a stage left; merges go to everyone.
fn route(out: Outbox, workers: usize) -> impl Iterator<Item = Routed> {
    let to = move |worker: u8, message| Routed { to: worker, message };
    let looks = out
        .looks
        .into_iter()
        .map(move |look| to(crate::worker_of(look.hash, workers) as u8, Message::Look(look)));
    let meetings = out.meetings.into_iter().map(move |meeting| {
        let next = if meeting.met.is_none() { meeting.a } else { meeting.b };
        to(next.worker, Message::Meeting(meeting))
    });
    let merges = out
        .merges
        .into_iter()
        .flat_map(move |merge| (0..workers).map(move |worker| to(worker as u8, Message::Merge(merge))));
    let folds = out.folds.into_iter().map(move |fold| to(fold.label.worker, Message::Fold(fold)));
    let joins = out.joins.into_iter().map(move |join| to(join.label.worker, Message::Join(join)));
    let vertices =
        out.vertices.into_iter().map(move |vertex| to(vertex.cluster.worker, Message::Vertex(vertex)));
    let relabels =
        out.relabels.into_iter().map(move |relabel| to(relabel.node.worker, Message::Relabel(relabel)));
    looks.chain(meetings).chain(merges).chain(folds).chain(joins).chain(vertices).chain(relabels)
}

/// The last stage: when everything of the epoch has arrived, values are rolled up and changes leave.
fn finish<'scope>(input: StreamVec<'scope, Time, Routed>, worker: Shared) -> Published<'scope> {
    let mut builder = OperatorBuilder::new("Profiles".into(), input.scope());
    let pact = Exchange::new(|routed: &Routed| u64::from(routed.to));
    let mut input = builder.new_input(input, pact);
    let (memberships, memberships_stream) = builder.new_output::<Vec<MembershipRow>>();
    let (assignments, assignments_stream) = builder.new_output::<Vec<AssignmentUpdate>>();
    let mut memberships = OutputBuilder::<Time, Builder<MembershipRow>>::from(memberships);
    let mut assignments = OutputBuilder::<Time, Builder<AssignmentUpdate>>::from(assignments);
    builder.build(move |capabilities| {
        let mut held: Option<[_; 2]> = capabilities.try_into().ok();
        move |frontiers| {
            let worker = &mut *worker.borrow_mut();
            let (mut memberships, mut assignments) = (memberships.activate(), assignments.activate());
            input.for_each(|_, messages| {
                let mut out = Outbox::default();
                messages.drain(..).for_each(|routed| receive(worker, routed.message, &mut out));
            });
            let Some(own) = &mut held else { return };
            let next = frontiers[0].frontier().first().copied();
            let time = *own[0].time();
            if next.is_some_and(|next| next <= time) {
                return;
            }
            if let Some(time) = ended(worker.epoch, time, next) {
                own.iter_mut().for_each(|capability| capability.downgrade(&time));
                let folds = std::mem::take(&mut worker.inbox.folds);
                let joins = std::mem::take(&mut worker.inbox.joins);
                worker.state.finish_epoch(folds, joins);
                memberships.session(&own[0]).give_container(&mut membership_rows(&worker.state, time));
                let mut updates = std::mem::take(&mut worker.state.epoch.assignments);
                assignments.session(&own[1]).give_container(&mut updates);
            }
            match next {
                Some(next) => own.iter_mut().for_each(|capability| capability.downgrade(&next)),
                None => held = None,
            }
        }
    });
    Published { memberships: memberships_stream, assignments: assignments_stream }
}
