//! What a connector promises about itself; the engine plans by it and the conformance suites hold it to it.

/// What a source promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCapabilities {
    /// Its [`run`](crate::Source::run) returns by itself once everything is sent. An engine whose sources are all
    /// finite drains and stops.
    pub finite: bool,
    /// It resumes from a [`Position`](crate::Position) with exactly the events behind it. What a source without
    /// this has sent must be durable before it is answered.
    pub replayable: bool,
}

/// What a sink promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkCapabilities {
    /// After a crash nothing stands twice at the destination. A sink without this repeats deltas that were
    /// delivered and not yet acknowledged, under the same key where its destination knows one.
    pub exactly_once: bool,
}
