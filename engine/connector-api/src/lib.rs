//! The contract between the engine and the outside world: what a source and a sink promise, and what they get.
//!
//! A [`Source`] hands [`RawEvents`] to its [`SourceContext`], each batch with the [`Position`] behind it, and the
//! [`Receipt`] says when they are durable. A [`Sink`] is given the [`DeltaBatch`](tidewater_model::DeltaBatch)es of
//! consecutive epochs and acknowledges them with a position of its own. Both are plain async traits; a list of
//! them is held as [`BoxSource`] and [`BoxSink`]. Nothing here knows the engine, a file format or a protocol.
//!
//! The feature `conformance` holds the suites that every connector passes; run them on your own.

mod capability;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod error;
mod ingress;
pub mod json;
mod position;
mod raw_events;
mod receipt;
mod sink;
mod source;

pub use capability::{SinkCapabilities, SourceCapabilities};
pub use clock::{Clock, SystemClock};
pub use context::SourceContext;
pub use error::{DeliveryError, ReadError, SendError, TrySendError};
pub use ingress::{BoxFuture, Ingress};
pub use position::{Acknowledged, Position};
pub use raw_events::{EVENT_PADDING, LineLimits, RawEvents};
pub use receipt::{Accepted, Receipt, ReceiptSender};
pub use sink::{BoxSink, Sink};
pub use source::{BoxSource, Source};
