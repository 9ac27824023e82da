#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Timestamp, TimeError> {
    Timestamp::parse(text.as_bytes())
}

#[test]
fn known_moments() {
    for (text, ms) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("2026-01-05T10:15:00Z", 1_767_608_100_000),
        ("2000-02-29T12:00:00Z", 951_825_600_000),
        ("9999-12-31T23:59:59.999Z", Timestamp::MAX.0),
        ("0000-01-01T00:00:00Z", Timestamp::MIN.0),
        ("0000-03-01T00:00:00Z", Timestamp::MIN.0 + 60 * Millis::DAY.0),
    ] {
        assert_eq!(parse(text), Ok(Timestamp(ms)), "{text}");
    }
    assert_eq!(Timestamp::MIN.0, -62_167_219_200_000);
}

#[test]
fn accepted_spellings_mean_the_same() {
    let expected = parse("2026-01-05T10:15:00Z").unwrap();
    for text in [
        "2026-01-05t10:15:00z",
        "2026-01-05 10:15:00Z",
        "2026-01-05T10:15:00+00:00",
        "2026-01-05T10:15:00-00:00",
        "2026-01-05T10:15:00.0Z",
        "2026-01-05T10:15:00.000999999Z",
        "2026-01-05T11:15:00+01:00",
        "2026-01-05T04:45:00-05:30",
        "2026-01-06T10:14:00+23:59",
    ] {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn offsets_may_lead_over_the_ends() {
    assert_eq!(parse("9999-12-31T23:59:59-01:00"), Ok(Timestamp(Timestamp::MAX.0 - 999 + Millis::HOUR.0)));
    assert_eq!(parse("0000-01-01T00:00:00+01:00"), Ok(Timestamp(Timestamp::MIN.0 - Millis::HOUR.0)));
}

#[test]
fn fractions_are_cut_off_and_leap_seconds_stay_in_their_minute() {
    let second = parse("2026-01-05T10:15:07Z").unwrap().0;
    for (fraction, ms) in
        [(".1", 100), (".12", 120), (".129", 129), (".1299999999999999999999999", 129), (".9999", 999)]
    {
        assert_eq!(parse(&format!("2026-01-05T10:15:07{fraction}Z")), Ok(Timestamp(second + ms)));
    }
    // Before 1970, too, cutting off goes towards the past.
    assert_eq!(parse("1969-12-31T23:59:59.9989Z"), Ok(Timestamp(-2)));
    assert_eq!(parse("2016-12-31T23:59:60Z"), parse("2016-12-31T23:59:59.999Z"));
    assert_eq!(parse("2016-12-31T23:59:60.5Z"), parse("2016-12-31T23:59:59.999Z"));
}

#[test]
fn what_is_no_time_says_why() {
    for text in [
        "",
        "2026",
        "2026-01-05",
        "2026-01-05T10:15Z",
        "2026-01-05T10:15:00.Z",
        "2026-01-05T10:15:00,5Z",
        "2026-01-05T10:15:00+0100",
        "2026-01-05T10:15:00+01",
        "2026-01-05T10:15:00ZZ",
        "2026-01-05T10:15:00 Z",
        " 2026-01-05T10:15:00Z",
        "2026/01/05T10:15:00Z",
        "2026-01-05_10:15:00Z",
        "2026-1-05T10:15:00.00Z",
        "20x6-01-05T10:15:00Z",
        "+2026-01-05T10:15:00Z",
        "2026-01-05T10:15:00+01:0x",
        "1767608100000",
        "２026-01-05T10:15:00Z",
    ] {
        assert_eq!(parse(text), Err(TimeError::Malformed), "{text}");
    }
    for text in ["2026-01-05T10:15:00", "2026-01-05T10:15:00.123"] {
        assert_eq!(parse(text), Err(TimeError::NoOffset), "{text}");
    }
    for text in [
        "2026-00-05T10:15:00Z",
        "2026-13-05T10:15:00Z",
        "2026-01-00T10:15:00Z",
        "2026-01-32T10:15:00Z",
        "2026-04-31T10:15:00Z",
        "2026-02-29T10:15:00Z",
        "1900-02-29T10:15:00Z",
        "2000-02-30T10:15:00Z",
        "2026-01-05T24:00:00Z",
        "2026-01-05T10:60:00Z",
        "2026-01-05T10:15:61Z",
        "2026-01-05T10:15:00+24:00",
        "2026-01-05T10:15:00+01:60",
    ] {
        assert_eq!(parse(text), Err(TimeError::OutOfRange), "{text}");
    }
}

/// Every day from the year 0 to 9999 in order, counted by the plainest calendar there is.
#[test]
fn every_day_has_its_date() {
    let mut day_start = Timestamp::MIN.0;
    for year in 0..=9_999u32 {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (month, days) in
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate()
        {
            for day in 1..=*days {
                let text = format!("{year:04}-{:02}-{day:02}T00:00:00.000Z", month + 1);
                assert_eq!(parse(&text), Ok(Timestamp(day_start)));
                assert_eq!(&Timestamp(day_start).write_rfc3339(), text.as_bytes());
                day_start += Millis::DAY.0;
            }
        }
    }
    assert_eq!(day_start, Timestamp::MAX.0 + 1);
}

#[test]
fn times_outside_the_four_digit_years_are_written_with_a_sign() {
    assert_eq!(Timestamp(Timestamp::MAX.0 + 1).to_string(), "+010000-01-01T00:00:00.000Z");
    assert_eq!(Timestamp(Timestamp::MIN.0 - 1).to_string(), "-000001-12-31T23:59:59.999Z");
    assert_eq!(&Timestamp(i64::MAX).write_rfc3339(), b"9999-12-31T23:59:59.999Z");
    assert_eq!(&Timestamp(i64::MIN).write_rfc3339(), b"0000-01-01T00:00:00.000Z");
    assert_eq!(Timestamp(i64::MAX).to_string(), "+292278994-08-17T07:12:55.807Z");
    assert_eq!(Timestamp(i64::MIN).to_string(), "-292275055-05-16T16:47:04.192Z");
}

#[test]
fn rounding_up_counts_from_1970() {
    let up = |ms, resolution| Timestamp(ms).round_up(Millis(resolution)).0;
    assert_eq!(up(0, 1_000), 0);
    assert_eq!(up(1, 1_000), 1_000);
    assert_eq!(up(1_000, 1_000), 1_000);
    assert_eq!(up(-1, 1_000), 0);
    assert_eq!(up(-1_000, 1_000), -1_000);
    assert_eq!(up(-1_001, 1_000), -1_000);
    assert_eq!(up(7, 1), 7);
    assert_eq!(up(7, 0), 7);
    assert_eq!(up(i64::MAX, 1_000), i64::MAX);
}

#[test]
fn spans_are_read_and_written() {
    for (text, ms) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("90s", 90_000),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("30d", 2_592_000_000),
        ("4w", 2_419_200_000),
        ("0s", 0),
    ] {
        assert_eq!(Millis::parse(text), Some(Millis(ms)), "{text}");
        assert_eq!(Millis(ms).to_string(), text);
    }
    for (text, canonical) in [("24h", "1d"), ("60s", "1m"), ("7d", "1w"), ("007m", "7m"), ("0w", "0s")] {
        assert_eq!(Millis::parse(text).unwrap().to_string(), canonical);
    }
    for text in [
        "",
        "30",
        "d",
        "1.5h",
        "-3d",
        "+3d",
        "3 d",
        "3D",
        "3days",
        "1h30m",
        "9223372036854775808ms",
        "999999999999w",
    ] {
        assert_eq!(Millis::parse(text), None, "{text}");
    }
    assert_eq!(Millis(-1_800_000).to_string(), "-30m");
    assert_eq!(Millis(-1).to_string(), "-1ms");
    assert_eq!(Millis(i64::MIN).to_string(), "-9223372036854775808ms");
    assert_eq!(format!("{:>6}|{:<6}|", Millis(1_000), Millis(0)), "    1s|0s    |");
}

proptest! {
    #[test]
    fn written_times_read_back(ms in Timestamp::MIN.0..=Timestamp::MAX.0) {
        let text = Timestamp(ms).to_string();
        prop_assert_eq!(text.as_bytes(), Timestamp(ms).write_rfc3339());
        prop_assert_eq!(parse(&text), Ok(Timestamp(ms)));
    }

    #[test]
    fn offsets_are_taken_off(ms in 0..=253_000_000_000_000i64, offset in -1_439..=1_439i64) {
        let local = Timestamp(ms + offset * 60_000).to_string();
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        let text = format!("{}{sign}{hours:02}:{minutes:02}", local.trim_end_matches('Z'));
        prop_assert_eq!(parse(&text), Ok(Timestamp(ms)), "{}", text);
    }

    #[test]
    fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = Timestamp::parse(&text);
    }

    #[test]
    fn nearly_times_never_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?[Zz+-]?[0-9:]{0,5}") {
        if let Ok(time) = parse(&text) {
            let day = Millis::DAY.0;
            prop_assert!(time.0 >= Timestamp::MIN.0 - day && time.0 <= Timestamp::MAX.0 + day);
        }
    }

    #[test]
    fn rounding_up_is_the_next_multiple(ms in -1i64 << 60..1 << 60, resolution in 1i64..1 << 40) {
        let up = Timestamp(ms).round_up(Millis(resolution)).0;
        prop_assert!(up % resolution == 0 && up >= ms && up - ms < resolution);
    }

    #[test]
    fn written_spans_read_back(ms in 0i64..) {
        prop_assert_eq!(Millis::parse(&Millis(ms).to_string()), Some(Millis(ms)));
    }
}
