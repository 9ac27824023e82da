#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use tidewater_model::{Change, DeltaBatchBuilder, ProfileId, delta::DeltaNames};

use super::*;

fn lines(batch: &tidewater_model::DeltaBatch) -> Vec<String> {
    batch
        .iter()
        .map(|delta| {
            let mut out = Vec::new();
            write_delta(&mut out, batch.epoch(), batch.now(), &delta);
            String::from_utf8(out).unwrap()
        })
        .collect()
}

#[test]
fn as_the_contract_shows_it() {
    let names = Arc::new(DeltaNames::new(
        vec!["loyal".into(), "lapsed".into()],
        vec!["user_id".into(), "email".into(), "anonymous_id".into()],
    ));
    let mut builder = DeltaBatchBuilder::new(41, Timestamp(1_767_608_100_000), names);
    builder.delta(0, ProfileId(7), Change::Entered);
    builder.reason("orders 2 -> 3");
    builder.identifier(0, "u42");
    builder.identifier(1, "p42@example.com");
    builder.identifier(1, "q\"\\\u{1}\n€");
    builder.delta(1, ProfileId(8), Change::Exited);
    builder.identifier(2, "a1");
    builder.more(1, 3);
    builder.more(2, 9);
    assert_eq!(
        lines(&builder.finish()),
        [
            r#"{"epoch":41,"now":"2026-01-05T10:15:00.000Z","segment":"lapsed","profile":"00000000000000000000000008","change":"exited","reason":"","identifiers":{"anonymous_id":["a1"]},"more":{"email":3,"anonymous_id":9}}"#,
            r#"{"epoch":41,"now":"2026-01-05T10:15:00.000Z","segment":"loyal","profile":"00000000000000000000000007","change":"entered","reason":"orders 2 -> 3","identifiers":{"user_id":["u42"],"email":["p42@example.com","q\"\\\u0001\n€"]}}"#,
        ]
    );
}

proptest! {
    #[test]
    fn strings_read_back(text in ".*|[\\x00-\\x30\"\\\\]*") {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        prop_assert_eq!(out, serde_json::to_vec(&text).unwrap(), "the same bytes as serde_json");
    }

    /// Details that deltas share or do not share, many or few of them.
    #[test]
    fn a_batch_is_written_as_its_deltas_are(
        details in prop::collection::vec(("[a-z\"]{0,3}", prop::collection::vec("[a-z]{1,3}", 0..3), 1..6_u32), 0..20),
    ) {
        let names = Arc::new(DeltaNames::new((0..6).map(|at| format!("s{at}")).collect(), vec!["email".into()]));
        let mut builder = DeltaBatchBuilder::new(1, Timestamp(0), names);
        for (profile, (reason, values, segments)) in (0..).zip(&details) {
            for segment in 0..*segments {
                builder.delta(segment as usize, ProfileId(profile), Change::Entered);
                match segment {
                    0 => {
                        builder.reason(reason);
                        values.iter().for_each(|value| builder.identifier(0, value));
                    }
                    // The same identifiers, but another reason.
                    3 => {
                        builder.reason("other");
                        builder.same_identifiers();
                    }
                    _ => {
                        builder.same_reason();
                        builder.same_identifiers();
                        // The same as before, and then more.
                        if segment == 4 {
                            builder.more(0, 2);
                        }
                    }
                }
            }
        }
        let batch = builder.finish();
        let mut writer = DeltaWriter::of_batch(&batch);
        let written: Vec<String> = batch
            .iter()
            .map(|delta| {
                let mut out = Vec::new();
                writer.write(&mut out, &delta);
                String::from_utf8(out).unwrap()
            })
            .collect();
        prop_assert_eq!(written, lines(&batch));
    }

    #[test]
    fn numbers_read_back(number: u64) {
        let mut out = Vec::new();
        write_u64(&mut out, number);
        prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}
