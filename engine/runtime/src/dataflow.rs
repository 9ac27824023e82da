//! Operators of one's own on the engine's collections: the only public place where timely and differential types stand.
//!
//! The engine keeps two collections for others to build on, each arranged and kept up to date at every epoch, under
//! merges, late events and the ends of windows alike:
//!
//! | collection | rows | what |
//! |---|---|---|
//! | [`Memberships`] | (segment's index, profile's id) | who is a member of what |
//! | [`Assignments`] | (identifier's hash, profile's id) | which profile or cluster an identifier belongs to |
//!
//! An [`Extension`] builds ordinary differential operators on them, with [`Relation`]s of its own beside them, and
//! takes the results out through an [`Output`]. It is given to
//! [`Builder::extension`](crate::Builder::extension); what it builds runs in the engine's own dataflow, on the
//! engine's worker threads, at the engine's own times: the epochs.
//!
//! # What to know before writing one
//!
//! - An epoch is complete only when every output is, so a slow extension slows the engine; a panic in one fails it.
//! - Workers must all build the same operators in the same order: [`Extension::build`] decides nothing by worker.
//! - Changes of a relation take effect together, with the next epoch. On an idle engine
//!   [`Engine::seal`](crate::Engine::seal) makes one.
//! - An output holds what was computed, which may be ahead of what is durable. After
//!   [`flush`](crate::Engine::flush) or [`seal`](crate::Engine::seal) everything up to the epoch that they name is both
//!   complete and durable: [`Output::take_through`] that epoch. Take often; nothing else bounds an output.
//! - Neither relations nor outputs are in the event log. After a restart the replay makes the changes of every logged
//!   epoch anew, with the relations as they are then: insert their rows before the engine is started, and skip the
//!   epochs whose changes were put to use already.
//! - [`timely`] and [`differential_dataflow`] break with each of their minor versions, and with them whoever uses this
//!   module. Use the two crates as they are found here, and their versions always fit.
//!
//! # Example
//!
//! Every segment has a budget, and its members share it:
//!
//! ```
//! use tidewater::{
//!     Engine, Pipeline,
//!     dataflow::{Context, Extension, Output, Relation},
//!     pipeline::FixedEnvironment,
//! };
//!
//! /// Who may be shown something, and for which budget.
//! struct Budgets {
//!     budgets: Relation<(u32, u64)>,
//!     members: Output<(u128, u64)>,
//! }
//!
//! impl Extension for Budgets {
//!     fn build<'scope>(&self, context: &mut Context<'_, 'scope>) {
//!         let budgets = context.relation(&self.budgets).arrange_by_key_named("Budgets");
//!         let members = context.memberships().join_core(budgets, |_, profile, budget| Some((*profile, *budget)));
//!         context.output(members, &self.members);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::from_yaml(
//!     "
//!     workers: 1
//!     identifiers: { user_id: { from: userId } }
//!     traits:      { orders: { count: Order Completed } }
//!     segments:    { buyer: orders >= 1, loyal: orders >= 3 }
//!     ",
//!     &FixedEnvironment::new(),
//! )?;
//! let (budgets, members) = (Relation::new(100), Output::new());
//! let extension = Budgets { budgets: budgets.clone(), members: members.clone() };
//! let engine = Engine::builder(&pipeline).extension(extension).start().await?;
//!
//! engine.ingest(r#"{"type":"track","event":"Order Completed","messageId":"m1","userId":"u1"}"#).await?;
//! budgets.insert((0, 500))?;
//! let epoch = engine.seal().await?;
//! let changes = members.take_through(epoch);
//! assert_eq!(changes.len(), 1);
//! let ((_profile, budget), _epoch, change) = changes[0];
//! assert_eq!((budget, change), (500, 1));
//! # engine.shutdown(std::time::Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

pub use differential_dataflow;
pub use tidewater_operators::extension::{
    Assignments, Context, Extension, Memberships, Output, Relation, RelationFull, Row, Time,
};
pub use timely;
