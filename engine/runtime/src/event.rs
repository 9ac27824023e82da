//! What the handle takes as one event: the bytes of a JSON object, in whatever type the caller has them.

use tidewater_connector_api::RawEvents;

/// One event, as the bytes of a JSON object in the Segment spec.
pub trait IntoEvent {
    /// Adds the event to a batch.
    fn push_into(&self, events: &mut RawEvents);
}

macro_rules! bytes_are_events {
    ($($kind:ty),+) => {$(
        impl IntoEvent for $kind {
            fn push_into(&self, events: &mut RawEvents) {
                events.push(self.as_ref());
            }
        }
    )+};
}

bytes_are_events!([u8], Vec<u8>, str, String, bytes::Bytes);

impl<const N: usize> IntoEvent for [u8; N] {
    fn push_into(&self, events: &mut RawEvents) {
        events.push(self);
    }
}

impl IntoEvent for serde_json::Value {
    fn push_into(&self, events: &mut RawEvents) {
        events.push(self.to_string().as_bytes());
    }
}

impl<E: IntoEvent + ?Sized> IntoEvent for &E {
    fn push_into(&self, events: &mut RawEvents) {
        (**self).push_into(events);
    }
}

/// A batch of this one event.
pub(crate) fn batch_of(event: impl IntoEvent) -> RawEvents {
    let mut events = RawEvents::new();
    event.push_into(&mut events);
    events
}
