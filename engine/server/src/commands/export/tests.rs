#![allow(clippy::unwrap_used)]

use tidewater::{Millis, ProfileId, Timestamp};
use tidewater_model::Decimal;

use super::*;

fn names() -> Names {
    Names {
        identifiers: vec!["user_id".into(), "email".into(), "phone".into()],
        traits: vec!["orders".into(), "plan".into(), "last_seen".into(), "none".into(), "is_new".into()],
    }
}

fn profile() -> Profile {
    Profile {
        id: ProfileId(0),
        identifiers: vec![vec!["u,1".into()], vec!["a@example.com".into(), "b\"@example.com".into()], vec![]],
        traits: vec![
            Value::Number(Decimal::parse(b"12.50").unwrap()),
            Value::String("pro \"x\"".into()),
            Value::Time(Timestamp(1_767_608_100_000)),
            Value::Null,
            Value::Bool(true),
        ],
        segments: vec![],
    }
}

fn written(write: impl FnOnce(&mut Output)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let mut output = Output::open(Some(&path)).unwrap();
    write(&mut output);
    output.finish().unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn ndjson_is_the_contracts() {
    let (names, profile) = (names(), profile());
    let mut rows = Ndjson::default();
    let text = written(|output| {
        let since = Timestamp(1_767_608_100_000);
        let row = MembershipRow { segment: "loyal", names: &names, profile: &profile, since };
        rows.memberships(output, &[row]).unwrap();
        rows.profiles(output, &names, std::slice::from_ref(&profile)).unwrap();
        let row = IdentityRow { identifier: "user_id", value: "u,1", profile: profile.id };
        rows.identities(output, &[row]).unwrap();
    });
    let id = "00000000000000000000000000";
    let identifiers = r#"{"user_id":["u,1"],"email":["a@example.com","b\"@example.com"]}"#;
    let expected = [
        format!(
            r#"{{"segment":"loyal","profile":"{id}","identifiers":{identifiers},"since":"2026-01-05T10:15:00.000Z"}}"#
        ),
        format!(
            r#"{{"profile":"{id}","identifiers":{identifiers},"traits":{{"orders":12.5,"plan":"pro \"x\"","last_seen":"2026-01-05T10:15:00.000Z","none":null,"is_new":true}}}}"#
        ),
        format!(r#"{{"identifier":"user_id","value":"u,1","profile":"{id}"}}"#),
    ];
    assert_eq!(text, expected.map(|line| line + "\n").concat());
}

#[test]
fn csv_quotes_what_it_must_and_nothing_else() {
    let (names, profile) = (names(), profile());
    let mut rows = Csv::new(&names);
    let text = written(|output| {
        rows.profiles(output, &names, std::slice::from_ref(&profile)).unwrap();
        let row = MembershipRow { segment: "loyal", names: &names, profile: &profile, since: Timestamp(0) };
        rows.memberships(output, &[row]).unwrap();
    });
    let id = "00000000000000000000000000";
    let identifiers = "\"u,1\",\"a@example.com\nb\"\"@example.com\",";
    let expected = format!(
        "profile,user_id,email,phone,orders,plan,last_seen,none,is_new\r\n\
         {id},{identifiers},12.5,\"pro \"\"x\"\"\",2026-01-05T10:15:00.000Z,,true\r\n\
         segment,profile,since,user_id,email,phone\r\n\
         loyal,{id},1970-01-01T00:00:00.000Z,{identifiers}\r\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn an_output_that_is_not_finished_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    std::fs::write(&path, "before").unwrap();
    let mut output = Output::open(Some(&path)).unwrap();
    output.write(b"after").unwrap();
    drop(output);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let spans = [Millis(90_000)].map(|span| {
        let mut out = Vec::new();
        write_value(&mut out, &Value::Span(span));
        String::from_utf8(out).unwrap()
    });
    assert_eq!(spans, ["\"90s\""]);
}
