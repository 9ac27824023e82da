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
    let names = Arc::new(DeltaNames {
        segments: vec!["loyal".into(), "lapsed".into()],
        identifiers: vec!["user_id".into(), "email".into(), "anonymous_id".into()],
    });
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

#[test]
fn times_at_the_edges() {
    let show = |millis| {
        let mut out = Vec::new();
        write_time(&mut out, Timestamp(millis));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(show(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(show(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(show(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(show(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    assert_eq!(show(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    assert_eq!(show(i64::MAX), "9999-12-31T23:59:59.999Z");
    assert_eq!(show(i64::MIN), "0000-01-01T00:00:00.000Z");
}

proptest! {
    #[test]
    fn strings_read_back(text in ".*|[\\x00-\\x30\"\\\\]*") {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        prop_assert_eq!(out, serde_json::to_vec(&text).unwrap(), "the same bytes as serde_json");
    }

    #[test]
    fn numbers_read_back(number: u64) {
        let mut out = Vec::new();
        write_u64(&mut out, number);
        prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}
