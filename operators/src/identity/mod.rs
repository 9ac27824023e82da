//! Identity: which identifiers are one, kept exact while links appear and go away.
//!
//! One epoch: [`fold`] events and send out new links · [`connect`] both ends' clusters · [`unite`] what meets ·
//! [`split`] what lost a link. What the workers tell each other is in [`messages`]; [`state`] is what each one
//! remembers.

pub(crate) mod alias;
mod assignments;
mod carry;
mod connect;
pub(crate) mod fold;
pub(crate) mod links;
pub(crate) mod messages;
mod places;
mod split;
pub(crate) mod state;
mod unite;

pub(crate) use assignments::AssignmentBatcher;
pub(crate) use links::LinkList;
pub(crate) use state::State;
