//! Tidewater's contract as a plain batch evaluator: slow, obvious, and sharing no code with the operators that it
//! is compared with.
//!
//! [`evaluate`] takes the accepted events of a log and `now` and gives everything the contract says about them;
//! [`evaluate_from`] does so from plain facts about events that are no longer there and the events since;
//! [`Oracle`] adds what happens before the log (quarantine, duplicates, epochs) for tests that drive an engine and
//! the contract side by side; [`check_event`] is acceptance of a single event, duplicates aside.
//!
//! ```
//! use tidewater_model::{
//!     Aggregate, EventFilter, HashKey, IdentifierSpec, Normalize, Path, PipelineSpec, Timestamp, TraitSpec,
//! };
//! use tidewater_oracle::{Event, evaluate};
//!
//! let from = Path::parse("userId").into_iter().collect();
//! let user = IdentifierSpec { name: "user_id".into(), from, normalize: Normalize::None, block: Vec::new() };
//! let events = TraitSpec {
//!     name: "events".into(),
//!     aggregate: Aggregate::Count,
//!     events: EventFilter::Any,
//!     condition: None,
//!     window: None,
//! };
//! let spec = PipelineSpec { identifiers: vec![user], traits: vec![events], ..PipelineSpec::default() };
//!
//! let now = Timestamp(1_700_000_000_000);
//! let event = Event { place: 0, accepted_at: now, bytes: br#"{"type":"track","userId":"u42"}"# };
//! let outcome = evaluate(&spec, HashKey::FIXED, &[event], now);
//! assert_eq!(outcome.profiles[0].identifiers[0], ["u42"]);
//! ```
//!
//! # Where the contract leaves something open
//! These are decisions; the operators decide the same.
//!
//! **JSON.** Half a surrogate pair (`"\ud800"`) and a byte order mark are bad JSON. 128 objects and arrays may be
//! open at once, the event itself included. Of a key that stands twice the last counts as a whole: objects are not
//! merged.
//!
//! **Reasons.** An event with several faults is rejected for the first of: bad JSON, type, no identifier, time.
//! Duplicates are looked for only among events that are otherwise fine.
//!
//! **Time.** `null` is the same as missing; a number may have a fraction, which is cut off, and an exponent; anything
//! else that is no time (also `""` or digits in a string) is `bad_time`, without a look at `originalTimestamp`. The wall clock as an
//! event's time is not held against `min_time`.
//!
//! **Type and name.** `type` is matched exactly. An `event` that is a string counts, also an empty one; any
//! other is as if it was missing.
//!
//! **Identifiers.** An array gives its scalars; objects, arrays and nulls in it are passed over. A number is the
//! text it was written as: `1.0` and `1` are two identifiers. Every value is found by
//! every path; the same value at two paths is one identifier.
//!
//! **Alias.** If `userId` is an array, the smallest usable value is the owner. What the owner of an alias is linked with
//! is everything else the event carries, and `previousId`. Each scalar of an array `previousId` counts. "Carries"
//! means at one of the paths of the identifier; another alias's `previousId` carries nothing. The event whose own
//! `userId` equals its `previousId` is not another event. If no identifier is fed by `userId`, an alias has no
//! identifier.
//!
//! **Numbers.** A string that is a JSON number counts as one for sum, min, max and avg, and in `where` in arithmetic and
//! where it is compared with a number. first and last keep a string as it is. Objects and arrays are
//! null everywhere, so `has()` of one is false. A sum may exceed 10^18; arithmetic with it that does not come
//! back below is null.
//!
//! **Duplicates.** A messageId is a non-empty string or a number (as its text); anything else is as if it was
//! missing. Two events have the same content if they have the same top-level keys with values written the same
//! byte for byte, in any order, `sentAt`, `receivedAt` and `_metadata` aside. A message is remembered while the
//! engine's clock is at most `dedup` past its acceptance; under `clock: event` that clock is the greatest event
//! time accepted before. A duplicate does not renew it.

mod evaluate;
mod event;
mod identifier;
mod identity;
mod intake;
mod json;
mod predicate;
mod segments;
mod traits;

pub use evaluate::{Event, Outcome, evaluate, evaluate_from, evaluate_with};
pub use event::{EventInfo, check_event};
pub use identity::Unlinked;
pub use intake::{Oracle, Pushed};
