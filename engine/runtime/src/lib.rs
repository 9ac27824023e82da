//! Tidewater, embeddable: identity clusters, profile traits and segment memberships kept exact in real time.
//!
//! A [`Pipeline`] says what is computed; an [`Engine`] computes it: customer events in, net membership deltas out.
//! Events come from [`Source`]s or through the handle, deltas go to [`Sink`]s and [`Subscription`]s. Everything is a
//! pure function of the pipeline, the accepted events and the clock, whatever the order of arrival.
//!
//! tokio drives sources and sinks; the dataflow runs on threads of its own; between them every queue is bounded, so
//! that a slow disk or dataflow slows ingest down and a slow sink slows nothing. Engines share nothing: any number of
//! them run in one process.

mod absent;
mod assembly;
mod builder;
mod change_plan;
mod checkpoint;
mod clock;
mod copy;
pub mod dataflow;
mod dead_letters;
mod delivery;
mod engine;
mod era;
mod error;
mod event;
mod history;
mod lifecycle;
mod lockstep;
mod logger;
pub mod metrics;
mod monitor;
mod newcomers;
pub mod offline;
mod opening;
pub mod pipeline;
mod progress;
mod publisher;
mod quarantine;
mod query;
mod rebuild;
mod retention;
mod sequencer;
mod settings;
mod shutdown;
mod sources;
mod status;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
mod worker;

pub use builder::Builder;
pub use checkpoint::control::CheckpointStatus;
pub use clock::{Clock, ManualClock, Random, SystemClock, SystemRandom};
pub use dead_letters::{DeadLetter, DeadLetterFilter};
pub use engine::Engine;
pub use error::{Error, ErrorKind};
pub use event::IntoEvent;
pub use lifecycle::EngineState;
pub use pipeline::{Pipeline, PipelineError, PipelineErrors};
pub use progress::Epochs;
pub use quarantine::{QuarantineFilter, QuarantineView, QuarantinedEvent, QuarantinedEvents, Redriven};
pub use query::{Memberships, MembershipsQuery, ProfileQuery};
pub use settings::{RetrySettings, Settings};
pub use status::{
    Counts, Flushed, ReplayProgress, ShutdownReport, SinkState, SinkStatus, SourceState, SourceStatus, Status,
};
pub use subscription::{OwnedDelta, Subscription, Update};
pub use tidewater_connector_api::{
    Accepted, Acknowledged, DeliveryError, Position, RawEvents, ReadError, Receipt, SendError, Sink,
    SinkCapabilities, Source, SourceCapabilities, SourceContext, TrySendError,
};
pub use tidewater_model::{
    Change, Delta, DeltaBatch, Millis, Normalize, PipelineSpec, Profile, ProfileId, RejectReason, Timestamp,
    Value,
};
pub use tidewater_operators::dataflow::WorkerStats;
pub use tidewater_storage::{Copied, Files, StateReader, Store as LogStore};
