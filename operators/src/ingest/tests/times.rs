//! Event times.

use proptest::prelude::*;
use tidewater_model::{ClockKind, Millis};

use super::*;

fn time_of(run: &mut Run, members: &str) -> Result<i64, RejectReason> {
    run.push(&format!(r#"{{"type":"track","userId":"u"{members}}}"#)).map(|event| event.time)
}

#[test]
fn timestamp_goes_before_original_timestamp_before_acceptance() {
    let run = &mut Run::new(spec(), 1);
    assert_eq!(
        time_of(run, r#","timestamp":1600000000000,"originalTimestamp":1500000000000"#),
        Ok(1_600_000_000_000)
    );
    assert_eq!(time_of(run, r#","originalTimestamp":1500000000000"#), Ok(1_500_000_000_000));
    assert_eq!(time_of(run, r#","timestamp":null,"originalTimestamp":1500000000000"#), Ok(1_500_000_000_000));
    assert_eq!(time_of(run, r#","timestamp":null,"originalTimestamp":null"#), Ok(WALL.0));
    assert_eq!(time_of(run, ""), Ok(WALL.0));
    assert_eq!(
        time_of(run, r#","timestamp":"","originalTimestamp":1500000000000"#),
        Err(RejectReason::BadTime)
    );
    let run = &mut Run::new(PipelineSpec { clock: ClockKind::Event, ..spec() }, 1);
    assert_eq!(time_of(run, ""), Err(RejectReason::NoTime));
    assert_eq!(time_of(run, r#","timestamp":null"#), Err(RejectReason::NoTime));
    assert_eq!(time_of(run, r#","originalTimestamp":1500000000000"#), Ok(1_500_000_000_000));
}

#[test]
fn what_is_no_time_is_refused() {
    let run = &mut Run::new(spec(), 1);
    for time in [
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"1600000000000\"",
        "\"2020-01-01\"",
        "\"2020-01-01T00:00:00\"",
        "\"2020-02-30T00:00:00Z\"",
        "\"1999-12-31T23:59:59.999Z\"",
        "946684799999",
        "0",
        "-1",
        "1e308",
        "1e99999999999999999999",
        "253402300800000",
        "\"10000-01-01T00:00:00Z\"",
        "99999999999999999999",
    ] {
        assert_eq!(time_of(run, &format!(r#","timestamp":{time}"#)), Err(RejectReason::BadTime), "{time}");
    }
    assert_eq!(time_of(run, r#","timestamp":"2020-01-01T00:00:00\u005a""#), Ok(1_577_836_800_000));
    assert_eq!(time_of(run, r#","timestamp":"2020-01-01T01:00:00.0019+01:00""#), Ok(1_577_836_800_001));
    assert_eq!(time_of(run, r#","timestamp":946684800000"#), Ok(946_684_800_000));
}

#[test]
fn the_future_is_held_against_the_wall_clock() {
    let spec = PipelineSpec { max_future: Millis(1_000), ..spec() };
    let run = &mut Run::new(spec, 1);
    assert_eq!(time_of(run, &format!(r#","timestamp":{}"#, WALL.0 + 1_000)), Ok(WALL.0 + 1_000));
    assert_eq!(time_of(run, &format!(r#","timestamp":{}"#, WALL.0 + 1_001)), Err(RejectReason::FutureTime));
    assert_eq!(time_of(run, &format!(r#","timestamp":{}"#, Timestamp::MAX.0)), Err(RejectReason::FutureTime));
    // Replay does not decide again.
    let event = format!(r#"{{"type":"track","userId":"u","timestamp":{}}}"#, Timestamp::MAX.0);
    let mut scratch = Vec::new();
    let scanned = run.decoder.scan(PaddedEvent::copied(event.as_bytes(), &mut scratch), WALL, Timestamp::MAX);
    assert_eq!(scanned.unwrap().time, Timestamp::MAX);
}

#[test]
fn an_event_without_a_time_is_of_no_future_though_the_clock_was_set_back() {
    let spec = PipelineSpec { max_future: Millis(0), ..spec() };
    let run = &mut Run::new(spec, 1);
    let mut scan = |event: &str, wall: i64| {
        let mut scratch = Vec::new();
        let event = PaddedEvent::copied(event.as_bytes(), &mut scratch);
        run.decoder.scan(event, WALL, Timestamp(wall)).map(|scanned| scanned.time)
    };
    for back in [0, 1, 3_600_000] {
        assert_eq!(scan(r#"{"type":"track","userId":"u"}"#, WALL.0 - back), Ok(WALL), "{back} ms back");
    }
    let dated = format!(r#"{{"type":"track","userId":"u","timestamp":{}}}"#, WALL.0);
    assert_eq!(scan(&dated, WALL.0), Ok(WALL));
    assert_eq!(scan(&dated, WALL.0 - 1), Err(RejectReason::FutureTime));
}

proptest! {
    /// Numbers of every form against long arithmetic on their digits.
    #[test]
    fn numbers_are_cut_off_below_a_millisecond(
        negative in any::<bool>(), whole in "0|[1-9][0-9]{0,15}", fraction in "[0-9]{0,12}", exponent in prop::option::of(-20..20i32),
    ) {
        let spec = PipelineSpec { min_time: Timestamp(i64::MIN), max_future: Millis(i64::MAX), ..spec() };
        let run = &mut Run::new(spec, 1);
        let mut text = format!("{}{whole}", if negative { "-" } else { "" });
        if !fraction.is_empty() {
            text.push_str(&format!(".{fraction}"));
        }
        if let Some(exponent) = exponent {
            text.push_str(&format!("e{exponent:+}"));
        }
        // digits * 10^-scale, rounded down.
        let mut digits: i128 = format!("{whole}{fraction}").parse().unwrap();
        let scale = fraction.len() as i32 - exponent.unwrap_or(0);
        if negative {
            digits = -digits;
        }
        let time = if scale >= 0 {
            digits.div_euclid(10i128.checked_pow(scale as u32).unwrap_or(i128::MAX))
        } else {
            digits.saturating_mul(10i128.pow(-scale as u32))
        };
        let expected = i64::try_from(time).ok().filter(|time| *time <= Timestamp::MAX.0).filter(|time| time.abs() < 1_000_000_000_000_000_000);
        prop_assert_eq!(time_of(run, &format!(r#","timestamp":{text}"#)).ok(), expected, "{}", text);
    }
}
