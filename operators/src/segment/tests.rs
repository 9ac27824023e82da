//! The evaluator against a plain evaluation of the predicates, at every millisecond.

#![allow(clippy::unwrap_used)]

mod cases;
mod generate;
mod naive;
#[cfg(feature = "planted-bugs")]
mod planted;
mod random;
mod reasons;
mod world;
