//! Section 3 of the contract: identifiers, owners, clusters, aliases, profiles and their ids.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use tidewater_model::{Aggregate, Normalize, PipelineSpec, identifier::DEFAULT_BLOCKED};
use tidewater_oracle::Unlinked;

/// The usable values of a single identifier `id` fed by `id`, of an event with `"id":…`.
fn values(pipeline: &Pipeline, json: &str) -> Vec<String> {
    let event = track("x", 0, &format!(r#""fallback":"f","id":{json}"#));
    let result = run(&pipeline.clone().identifier("fallback", &["fallback"]).build(), &[event], 0);
    assert_eq!(result.outcome.unusable, []);
    let own = result.outcome.identities.iter().filter(|(identifier, ..)| *identifier == 0);
    own.map(|(_, value, _)| value.clone()).collect()
}

fn plain(normalize: Normalize) -> Pipeline {
    Pipeline::empty().normalized("id", &["id"], normalize)
}

fn people() -> PipelineSpec {
    Pipeline::people().any("events", Aggregate::Count).build()
}

#[test]
fn every_path_of_from_that_gives_a_usable_value_counts() {
    let event = track("x", 0, r#""email":"a@x.org","traits":{"email":"B@x.org "}"#);
    let result = run(&people(), &[event], 0);
    assert_eq!(result.clusters(), ["email:a@x.org email:b@x.org"]);
    let twice = track("x", 0, r#""email":"a@x.org","traits":{"email":"A@x.org "}"#);
    assert_eq!(run(&people(), &[twice], 0).clusters(), ["email:a@x.org"]);
}

#[test]
fn of_an_array_of_scalars_each_counts() {
    let found = values(&plain(Normalize::None), r#"["a",7,null,["b"],{"c":1},"","a"]"#);
    assert_eq!(found, ["7", "a"]);
    assert_eq!(values(&plain(Normalize::None), r#"{"a":1}"#), [""; 0]);
    assert_eq!(values(&plain(Normalize::None), "[]"), [""; 0]);
}

#[test]
fn values_are_normalized() {
    let raw = r#"" \u00a0ÄB \t""#;
    assert_eq!(values(&plain(Normalize::None), raw), [" \u{a0}ÄB \t"]);
    assert_eq!(values(&plain(Normalize::Trim), raw), ["ÄB"]);
    assert_eq!(values(&plain(Normalize::Lowercase), raw), ["äb"]);
    assert_eq!(values(&plain(Normalize::Email), r#"" Jo.Doe@Example.COM\n""#), ["jo.doe@example.com"]);
}

#[test]
fn what_is_no_email_is_no_identifier() {
    for bad in ["jo", "@", "jo@", "@x.org", "a@b@c", "j o@x.org", "jo@x\\u0000.org", "jo@x.\\u2003org"] {
        assert_eq!(values(&plain(Normalize::Email), &format!("\"{bad}\"")), [""; 0], "{bad}");
    }
    assert_eq!(values(&plain(Normalize::Email), r#""a@b""#), ["a@b"]);
}

#[test]
fn blocked_by_default_trimmed_and_ignoring_case() {
    for blocked in DEFAULT_BLOCKED {
        for value in [blocked.to_owned(), blocked.to_uppercase(), format!(" {blocked}\\t")] {
            assert_eq!(values(&plain(Normalize::None), &format!("\"{value}\"")), [""; 0], "{value}");
        }
    }
    let zeros = "00000000-0000-0000-0000-000000000000";
    for value in ["", "  ", "0", "-", "--0", " 000 ", zeros] {
        assert_eq!(values(&plain(Normalize::None), &format!("\"{value}\"")), [""; 0], "{value}");
    }
    for json in ["0", "-0", "-1", "true", "false", "null"] {
        assert_eq!(values(&plain(Normalize::None), json), [""; 0], "{json}");
    }
    for value in ["nulls", "0.0", "10", "a b", "not-a-guest"] {
        assert_eq!(values(&plain(Normalize::None), &format!("\"{value}\"")), [value]);
    }
}

#[test]
fn block_is_exact_or_a_pattern_after_normalizing() {
    let blocking = plain(Normalize::Lowercase).block("test").block("/^dev-/").block("/bot/");
    for (raw, is_usable) in
        [("TEST", false), ("tests", true), ("Dev-1", false), ("my-dev-1", true), ("a-BOT-1", false)]
    {
        assert_eq!(values(&blocking, &format!("\"{raw}\"")).len(), usize::from(is_usable), "{raw}");
    }
    assert_eq!(values(&plain(Normalize::None).block("test"), r#""TEST""#), ["TEST"]);
}

#[test]
fn at_most_512_bytes_after_normalizing() {
    let of = |length: usize| format!("\"{}\"", "x".repeat(length));
    assert_eq!(values(&plain(Normalize::None), &of(512)).len(), 1);
    assert_eq!(values(&plain(Normalize::None), &of(513)).len(), 0);
    let padded = format!("\" {} \"", "x".repeat(512));
    assert_eq!(values(&plain(Normalize::Trim), &padded).len(), 1);
    // 257 characters of two bytes.
    assert_eq!(values(&plain(Normalize::None), &format!("\"{}\"", "é".repeat(257))).len(), 0);
}

#[test]
fn the_owner_is_the_highest_ranked_identifier_ties_by_the_smallest_value() {
    // Every event counts for exactly one cluster: after taking back all links each identifier has its own events.
    let events = [
        track("x", 0, r#""anonymousId":"a","email":"e@x.org","userId":"u""#),
        track("x", 0, r#""anonymousId":"a","email":["f@x.org","e@x.org"]"#),
        track("x", 0, r#""anonymousId":"a""#),
    ];
    let mut unlinked = Unlinked::default();
    let all = [(0, "u"), (1, "e@x.org"), (1, "f@x.org"), (2, "a")];
    for a in all {
        all.iter().filter(|b| **b != a).for_each(|b| unlinked.insert(a, *b));
    }
    let result = run_without(&people(), &events, 0, &unlinked);
    for owner in ["user_id:u", "email:e@x.org", "anonymous_id:a"] {
        assert_eq!(result.value(owner, "events"), number("1"), "{owner}");
    }
    assert_eq!(result.find("email:f@x.org"), None);
}

#[test]
fn an_event_links_the_owner_to_each_of_its_other_identifiers() {
    let events = [
        track("x", 0, r#""anonymousId":"a","email":"e@x.org","userId":"u""#),
        track("x", 0, r#""anonymousId":"b""#),
    ];
    assert_eq!(
        run(&people(), &events, 0).clusters(),
        ["anonymous_id:b", "user_id:u email:e@x.org anonymous_id:a"]
    );
    // The others are not linked with each other.
    let mut unlinked = Unlinked::default();
    unlinked.insert((0, "u"), (2, "a"));
    assert_eq!(
        run_without(&people(), &events, 0, &unlinked).clusters(),
        ["anonymous_id:a", "anonymous_id:b", "user_id:u email:e@x.org"]
    );
    unlinked.insert((1, "e@x.org"), (0, "u"));
    assert_eq!(run_without(&people(), &events, 0, &unlinked).clusters().len(), 4);
}

#[test]
fn clusters_are_the_connected_components_of_the_links() {
    let events = [
        track("x", 0, r#""anonymousId":"a","userId":"u""#),
        track("x", 0, r#""anonymousId":"b","userId":"v""#),
        track("x", 0, r#""anonymousId":"b","email":"e@x.org""#),
        track("x", 0, r#""anonymousId":"a","email":"e@x.org""#),
        track("x", 0, r#""anonymousId":"c""#),
    ];
    let result = run(&people(), &events, 0);
    assert_eq!(
        result.clusters(),
        ["anonymous_id:c", "user_id:u user_id:v email:e@x.org anonymous_id:a anonymous_id:b"]
    );
    assert_eq!(result.value("user_id:v", "events"), number("4"));
}

#[test]
fn a_link_counts_as_long_as_one_event_asserts_it() {
    let linked = track("x", 0, r#""anonymousId":"a","userId":"u""#);
    let twice = [linked.clone(), linked];
    let mut unlinked = Unlinked::default();
    unlinked.insert((2, "a"), (0, "u"));
    assert_eq!(run_without(&people(), &twice, 0, &unlinked).clusters(), ["anonymous_id:a", "user_id:u"]);
}

#[test]
fn profiles_are_the_clusters_of_which_an_identifier_owns_an_event() {
    let events = [track("x", 0, r#""anonymousId":"a","userId":"u""#)];
    let mut unlinked = Unlinked::default();
    unlinked.insert((2, "a"), (0, "u"));
    let result = run_without(&people(), &events, 0, &unlinked);
    assert!(result.find("user_id:u").is_some());
    assert_eq!(result.find("anonymous_id:a"), None);
    // It stands in the identities all the same.
    assert_eq!(result.id("anonymous_id:a"), id_of("anonymous_id", "a"));
}

#[test]
fn a_profile_lists_its_values_sorted_bytewise() {
    let events = [
        track("x", 0, r#""userId":"u","anonymousId":["b","B","é","a"]"#),
        track("x", 0, r#""userId":"u","email":"e@x.org""#),
    ];
    let result = run(&people(), &events, 0);
    assert_eq!(
        result.find("user_id:u").unwrap().identifiers,
        [vec!["u"], vec!["e@x.org"], vec!["B", "a", "b", "é"]]
    );
}

#[test]
fn the_profile_id_is_the_hash_of_the_identifier_that_came_first_in_the_log() {
    let events = [
        track("x", 500, r#""anonymousId":"a""#),
        track("x", 100, r#""userId":"u""#),
        track("x", 0, r#""anonymousId":"a","userId":"u""#),
    ];
    assert_eq!(run(&people(), &events, 0).id("user_id:u"), id_of("anonymous_id", "a"));
    let other_order = [events[1].clone(), events[0].clone(), events[2].clone()];
    assert_eq!(run(&people(), &other_order, 0).id("anonymous_id:a"), id_of("user_id", "u"));
}

#[test]
fn ties_for_the_first_go_by_rank_then_value() {
    let events = [track("x", 0, r#""anonymousId":"a","email":["f@x.org","e@x.org"],"userId":"u""#)];
    assert_eq!(run(&people(), &events, 0).id("anonymous_id:a"), id_of("user_id", "u"));
    let events = [track("x", 0, r#""anonymousId":"a","email":["f@x.org","e@x.org"]"#)];
    assert_eq!(run(&people(), &events, 0).id("anonymous_id:a"), id_of("email", "e@x.org"));
}

#[test]
fn a_merge_keeps_the_id_that_was_there_first_and_a_split_leaves_it_with_its_identifier() {
    let apart = vec![track("x", 0, r#""anonymousId":"a""#), track("x", 0, r#""userId":"u""#)];
    let before = run(&people(), &apart, 0);
    let mut joined = apart;
    joined.push(track("x", 0, r#""anonymousId":"a","userId":"u""#));
    assert_eq!(run(&people(), &joined, 0).id("user_id:u"), before.id("anonymous_id:a"));
    let mut unlinked = Unlinked::default();
    unlinked.insert((0, "u"), (2, "a"));
    let split = run_without(&people(), &joined, 0, &unlinked);
    assert_eq!(split.id("anonymous_id:a"), before.id("anonymous_id:a"));
    assert_eq!(split.id("user_id:u"), before.id("user_id:u"));
}

#[test]
fn an_alias_belongs_to_its_user_id() {
    let result = run(&people(), &[alias(0, "u", "a")], 0);
    assert_eq!(result.value("user_id:u", "events"), number("1"));
    // Also where another identifier has a higher rank.
    let spec = Pipeline::empty()
        .identifier("email", &["email"])
        .identifier("user_id", &["userId", "traits.id"])
        .any("events", Aggregate::Count)
        .build();
    let event = r#"{"type":"alias","userId":"u","traits":{"id":"t"},"email":"e","previousId":"p"}"#;
    let mut unlinked = Unlinked::default();
    unlinked.insert((0, "e"), (1, "u"));
    unlinked.insert((1, "t"), (1, "u"));
    let result = run_without(&spec, &[event.replace("\"e\"", "\"e1\"")], 0, &Unlinked::default());
    assert_eq!(result.clusters(), ["email:e1 user_id:t user_id:u"]);
    let result = run_without(&spec, &[event.to_owned()], 0, &unlinked);
    assert_eq!(result.value("user_id:u", "events"), number("1"));
    assert_eq!(result.find("email:e"), None);
    assert_eq!(result.find("user_id:t"), None);
}

#[test]
fn an_alias_without_a_usable_user_id_has_no_identifier() {
    let bad =
        |event: &str, spec: &PipelineSpec| run(spec, &[event.to_owned()], 0).outcome.unusable.len() == 1;
    assert!(bad(r#"{"type":"alias","previousId":"p","anonymousId":"a"}"#, &people()));
    assert!(bad(r#"{"type":"alias","previousId":"p","userId":"null","anonymousId":"a"}"#, &people()));
    let no_user = Pipeline::empty().identifier("anonymous_id", &["anonymousId"]).build();
    assert!(bad(r#"{"type":"alias","previousId":"p","userId":"u","anonymousId":"a"}"#, &no_user));
}

#[test]
fn previous_id_is_a_user_id_if_another_event_carries_it_there_before_or_after() {
    let carrying = track("x", 0, r#""userId":"p""#);
    let joined = ["user_id:p user_id:u"];
    assert_eq!(run(&people(), &[carrying.clone(), alias(0, "u", "p")], 0).clusters(), joined);
    assert_eq!(run(&people(), &[alias(0, "u", "p"), carrying], 0).clusters(), joined);
    // Another alias carries its userId, but not its previousId.
    let result = run(&people(), &[alias(0, "u", "p"), alias(0, "p", "q")], 0);
    assert_eq!(result.clusters(), ["user_id:p user_id:u anonymous_id:q"]);
    let result = run(&people(), &[alias(0, "u", "p"), alias(0, "v", "p")], 0);
    assert_eq!(result.clusters(), ["user_id:u user_id:v anonymous_id:p"]);
}

#[test]
fn else_previous_id_is_an_anonymous_id() {
    let events = [alias(0, "u", "p"), track("x", 0, r#""anonymousId":"p""#)];
    let result = run(&people(), &events, 0);
    assert_eq!(result.clusters(), ["user_id:u anonymous_id:p"]);
    assert_eq!(result.value("user_id:u", "events"), number("2"));
    // What carries the same text elsewhere says nothing about it.
    let events = [alias(0, "u", "p@x.org"), track("x", 0, r#""email":"p@x.org""#)];
    assert_eq!(run(&people(), &events, 0).clusters(), ["email:p@x.org", "user_id:u anonymous_id:p@x.org"]);
}

#[test]
fn an_alias_of_itself_is_not_another_event() {
    assert_eq!(run(&people(), &[alias(0, "u", "u")], 0).clusters(), ["user_id:u anonymous_id:u"]);
    let events = [alias(0, "u", "u"), track("x", 0, r#""userId":"u""#)];
    assert_eq!(run(&people(), &events, 0).clusters(), ["user_id:u"]);
}

#[test]
fn previous_id_is_normalized_and_blocked_like_the_identifier_it_stands_for() {
    let spec = Pipeline::empty()
        .normalized("user_id", &["userId"], Normalize::Lowercase)
        .block("root")
        .normalized("anonymous_id", &["anonymousId"], Normalize::Trim)
        .build();
    let clusters = |previous: &str, other: &str| {
        let events = [alias(0, "u", previous), track("x", 0, other)];
        run(&spec, &events, 0).clusters()
    };
    assert_eq!(clusters(" P", r#""userId":"p""#), ["user_id:p user_id:u"]);
    assert_eq!(clusters(" P", r#""userId":"z""#), ["user_id:u anonymous_id:P", "user_id:z"]);
    assert_eq!(clusters("Root", r#""userId":"z""#), ["user_id:u anonymous_id:Root", "user_id:z"]);
    assert_eq!(clusters("null", r#""userId":"z""#), ["user_id:u", "user_id:z"]);
    let no_anonymous = Pipeline::empty().identifier("user_id", &["userId"]).build();
    assert_eq!(run(&no_anonymous, &[alias(0, "u", "p")], 0).clusters(), ["user_id:u"]);
}

#[test]
fn an_alias_mentions_what_its_previous_id_stands_for() {
    // The device is first seen as a previousId, before the user id that it is later linked with.
    let events = [
        alias(0, "u", "a"),
        track("x", 0, r#""userId":"v""#),
        track("x", 0, r#""userId":"v","anonymousId":"a""#),
    ];
    let mut unlinked = Unlinked::default();
    unlinked.insert((0, "u"), (2, "a"));
    let result = run_without(&people(), &events, 0, &unlinked);
    assert_eq!(result.id("user_id:v"), id_of("anonymous_id", "a"));
    // Once it stands for a user id, the anonymous id is not mentioned at all.
    let events = [alias(0, "u", "p"), track("x", 0, r#""userId":"p""#)];
    assert_eq!(run(&people(), &events, 0).outcome.identities.len(), 2);
}

#[test]
fn identities_are_sorted_by_identifier_and_value() {
    let events = [
        track("x", 0, r#""anonymousId":"b","userId":"u2""#),
        track("x", 0, r#""anonymousId":"a""#),
        track("x", 0, r#""userId":"u1""#),
    ];
    let result = run(&people(), &events, 0);
    let order: Vec<_> = result.outcome.identities.iter().map(|(i, v, _)| (*i, v.as_str())).collect();
    assert_eq!(order, [(0, "u1"), (0, "u2"), (2, "a"), (2, "b")]);
    assert!(result.outcome.profiles.is_sorted_by_key(|profile| profile.id));
}
