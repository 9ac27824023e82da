#![allow(clippy::unwrap_used)]

use tidewater::{Pipeline, pipeline::FixedEnvironment};
use tidewater_model::{Decimal, Value};

use super::*;

const PIPELINE: &str = "
identifiers: { user_id: { from: userId } }
traits:      { orders: { count: Order Completed } }
segments:    { loyal: orders >= 3 }
";

fn profile(id: u128, orders: i64, segments: &[usize]) -> Profile {
    Profile {
        id: ProfileId(id),
        identifiers: vec![vec![format!("u{id}")]],
        traits: vec![Value::Number(Decimal::from_int(orders))],
        segments: segments.to_vec(),
    }
}

fn expected() -> Outcome {
    Outcome {
        profiles: vec![profile(1, 3, &[0]), profile(2, 0, &[]), profile(4, 1, &[])],
        identities: vec![
            (0, "u1".into(), ProfileId(1)),
            (0, "u2".into(), ProfileId(2)),
            (0, "u4".into(), ProfileId(4)),
        ],
        memberships: vec![(0, ProfileId(1))],
        unusable: vec![],
    }
}

/// The identities and memberships can only be made by the runtime, so the state's are left empty here; the tests of the
/// command see them.
fn differences(profiles: Vec<Profile>, expected: &Outcome, limit: usize) -> Differences {
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new()).unwrap();
    let found = Computed { profiles, identities: vec![], memberships: vec![] };
    Differences::between(pipeline.spec(), &found, expected, limit)
}

#[test]
fn equal_states_do_not_differ() {
    let expected = Outcome { identities: vec![], memberships: vec![], ..expected() };
    assert_eq!(differences(expected.profiles.clone(), &expected, 9).count, 0);
}

#[test]
fn every_difference_is_named_and_counted() {
    let id = |number| ProfileId(number).to_string();
    let mut outcome = expected();
    outcome.unusable = vec![(7, tidewater::RejectReason::BadTime)];
    let found = vec![profile(1, 2, &[]), profile(2, 0, &[]), profile(3, 0, &[])];
    let differences = differences(found, &outcome, 100);
    let expected = [
        "event 7 in the log can't be used: bad_time".to_owned(),
        "identity user_id \"u1\": is in the log, not in the state".to_owned(),
        "identity user_id \"u2\": is in the log, not in the state".to_owned(),
        "identity user_id \"u4\": is in the log, not in the state".to_owned(),
        format!("profile {}: orders is 2 in the state, 3 by the log", id(1)),
        format!("profile {}: is in loyal by the log, not in the state", id(1)),
        format!("profile {}: is in the state, not by the log", id(3)),
        format!("profile {}: is in the log, not in the state", id(4)),
        format!("membership of {}: is in loyal by the log, not in the state", id(1)),
    ];
    assert_eq!(differences.lines, expected);
    assert_eq!(differences.count, 9);
}

#[test]
fn what_is_beyond_the_limit_is_still_counted() {
    let differences = differences(vec![], &expected(), 2);
    assert_eq!((differences.lines.len(), differences.count), (2, 7));
}
