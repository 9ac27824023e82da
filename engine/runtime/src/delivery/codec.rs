//! Delta batches as bytes, for outbox and dead letters, and the names behind their indices, which are stored beside them.
//!
//! The files say their version; this is version 1 of what is in them.

use std::sync::Arc;

use tidewater_model::{Change, DeltaBatch, DeltaBatchBuilder, ProfileId, Timestamp, delta::DeltaNames};

/// Appends a batch to `out`.
pub(crate) fn encode(batch: &DeltaBatch, out: &mut Vec<u8>) {
    number(out, batch.epoch());
    number(out, batch.now().0 as u64);
    number(out, batch.offset() as u64);
    number(out, batch.len() as u64);
    for delta in batch.iter() {
        number(out, delta.segment_index() as u64);
        out.extend_from_slice(&delta.profile().0.to_le_bytes());
        out.push(u8::from(delta.change() == Change::Entered));
        text(out, delta.reason());
        number(out, delta.identifiers().count() as u64);
        for (identifier, value) in delta.identifiers() {
            number(out, identifier as u64);
            text(out, value);
        }
        number(out, delta.more().count() as u64);
        for (identifier, count) in delta.more() {
            number(out, identifier as u64);
            number(out, u64::from(count));
        }
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what [`encode`] wrote. `None` if it is something else.
pub(crate) fn decode(bytes: &[u8], names: &Arc<DeltaNames>) -> Option<DeltaBatch> {
    let mut input = Input(bytes);
    let (epoch, now) = (input.number()?, Timestamp(input.number()? as i64));
    let offset = usize::try_from(input.number()?).ok()?;
    let mut batch = DeltaBatchBuilder::part(epoch, now, Arc::clone(names), offset);
    for _ in 0..input.number()? {
        let segment = usize::try_from(input.number()?).ok().filter(|s| *s < names.segments().len())?;
        let profile = ProfileId(u128::from_le_bytes(input.take()?));
        let change = if input.take::<1>()? == [1] { Change::Entered } else { Change::Exited };
        batch.delta(segment, profile, change);
        batch.reason(input.text()?);
        for _ in 0..input.number()? {
            let identifier = usize::try_from(input.number()?).ok()?;
            batch.identifier(identifier, input.text()?);
        }
        for _ in 0..input.number()? {
            let identifier = usize::try_from(input.number()?).ok()?;
            batch.more(identifier, u32::try_from(input.number()?).ok()?);
        }
    }
    input.0.is_empty().then(|| batch.finish())
}

/// The names of a batch, to be stored beside it.
pub(crate) fn encode_names(names: &DeltaNames) -> Vec<u8> {
    let mut out = Vec::new();
    for list in [names.segments(), names.identifiers()] {
        number(&mut out, list.len() as u64);
        list.iter().for_each(|name| text(&mut out, name));
    }
    out
}

/// Reads what [`encode_names`] wrote. `None` if it is something else.
pub(crate) fn decode_names(bytes: &[u8]) -> Option<DeltaNames> {
    let mut input = Input(bytes);
    let mut list = || -> Option<Vec<String>> {
        let count = input.number()?;
        (0..count).map(|_| input.text().map(str::to_owned)).collect()
    };
    let (segments, identifiers) = (list()?, list()?);
    input.0.is_empty().then(|| DeltaNames::new(segments, identifiers))
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(taken).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn names() -> Arc<DeltaNames> {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Arc::new(DeltaNames::new(list(&["b", "a", "c"]), list(&["user_id", "email"])))
    }

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let bytes = encode_names(&names());
        assert_eq!(decode_names(&bytes).unwrap(), *names());
        for cut in 0..bytes.len() {
            assert!(decode_names(&bytes[..cut]).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            epoch in any::<u64>(),
            now in any::<i64>(),
            deltas in prop::collection::vec(
                (0..3usize, any::<u128>(), any::<bool>(), ".{0,12}",
                 prop::collection::vec((0..2usize, ".{0,9}"), 0..4), 0..3u32),
                0..20,
            ),
        ) {
            let mut builder = DeltaBatchBuilder::new(epoch, Timestamp(now), names());
            for (segment, profile, entered, reason, values, more) in &deltas {
                let change = if *entered { Change::Entered } else { Change::Exited };
                builder.delta(*segment, ProfileId(*profile), change);
                builder.reason(reason);
                for (identifier, value) in values {
                    builder.identifier(*identifier, value);
                }
                if *more > 0 {
                    builder.more(1, *more);
                }
            }
            // Also a part of it, which keeps its place.
            let whole = builder.finish();
            let batch = whole.part(whole.len() / 3..whole.len());
            let mut bytes = Vec::new();
            encode(&batch, &mut bytes);
            let read = decode(&bytes, &names()).unwrap();
            prop_assert_eq!((read.epoch(), read.now(), read.len()), (batch.epoch(), batch.now(), batch.len()));
            prop_assert_eq!(read.offset(), whole.len() / 3);
            let row = |batch: &DeltaBatch| -> Vec<String> {
                batch.iter().map(|delta| format!(
                    "{} {} {:?} {} {:?} {:?}", delta.segment(), delta.profile(), delta.change(), delta.reason(),
                    delta.identifiers().collect::<Vec<_>>(), delta.more().collect::<Vec<_>>(),
                )).collect()
            };
            prop_assert_eq!(row(&read), row(&batch));
            // Cut anywhere, it is refused.
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut], &names()).is_none());
            }
        }
    }
}
