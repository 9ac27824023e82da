//! Where a source resumes and what a sink has committed: bytes that only the connector itself can read.

/// An opaque place: of a source in its input, or of a sink in what it has written.
///
/// The engine stores it and gives it back unchanged, also to a later version of the connector; so start it with a
/// version. It is logged with every epoch: keep it short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position(pub Vec<u8>);

impl Position {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Position {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// What the engine recorded last of a sink: when it was first opened, then with each acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The last epoch whose deltas the sink has, 0 for none yet; deliveries go on behind it.
    pub epoch: u64,
    /// What [`deliver`](crate::Sink::deliver) returned for it, or [`open`](crate::Sink::open).
    pub position: Position,
}
