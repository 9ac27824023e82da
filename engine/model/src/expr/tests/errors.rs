//! What people read when an expression is wrong: every message, with its place.

use super::*;

fn errors(text: &str) -> Vec<ParseError> {
    parse_segment(text, &Shop::new().names()).expect_err(text)
}

/// Compares all errors of a text, as they are shown, one a line.
fn check(text: &str, expected: &[&str]) {
    let shown: Vec<String> = errors(text).iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn names() {
    check("loyal", &["1:1: `loyal` is a segment; did you mean `in_segment(loyal)`?"]);
    check("ordrs > 3", &["1:1: no trait or identifier is named `ordrs`; did you mean `orders`?"]);
    check(
        "ordrs > 3 and emial == 'x' or in_segment(loyl) and has(lasst_seen)",
        &[
            "1:1: no trait or identifier is named `ordrs`; did you mean `orders`?",
            "1:15: no trait or identifier is named `emial`; did you mean `email`?",
            "1:42: no segment is named `loyl`; did you mean `loyal`?",
            "1:56: no trait or identifier is named `lasst_seen`; did you mean `last_seen`?",
        ],
    );
    check("loyl", &["1:1: no trait or identifier is named `loyl`; did you mean `in_segment(loyal)`?"]);
    check("has('email')", &["1:5: `has` takes a name, which has no quotes; did you mean `email`?"]);
    check("has(loyal)", &["1:1: `loyal` is a segment; did you mean `in_segment(loyal)`?"]);
    check("in_segment(orders)", &["1:12: `orders` is a trait, no segment"]);
    check("in_segment(email)", &["1:12: `email` is an identifier, no segment"]);
    check(
        "in_segment('loyal')",
        &["1:12: `in_segment` takes a name, which has no quotes; did you mean `loyal`?"],
    );
    check("in_segment(x)", &["1:12: no segment is named `x`"]);
    check("hass(email)", &["1:1: there is no function `hass`; did you mean `has`?"]);
    check("count(orders) > 2", &["1:1: there is no function `count`"]);
    check("loyal == true", &["1:1: `loyal` is a segment; did you mean `in_segment(loyal)`?"]);
    check(
        "orders > 1\n  and revenu > 2",
        &["2:7: no trait or identifier is named `revenu`; did you mean `revenue`?"],
    );
    check(
        "plan == 'é' and ordrs > 2",
        &["1:17: no trait or identifier is named `ordrs`; did you mean `orders`?"],
    );
}

#[test]
fn values_and_predicates_are_told_apart() {
    check(
        "orders",
        &["1:1: `orders` is not a predicate: write a comparison such as `orders > 0` or `has(orders)`"],
    );
    check(
        "last_seen",
        &[
            "1:1: `last_seen` is not a predicate: write a comparison such as `now - last_seen < 30d` or `has(last_seen)`",
        ],
    );
    check("email", &[r#"1:1: `email` is not a predicate: write `has(email)` or `email == "…"`"#]);
    check(
        "now",
        &[r#"1:1: `now` is not a predicate: write a comparison such as `now > "2026-01-01T00:00:00Z"`"#],
    );
    check("3", &["1:1: `3` is a value, not a predicate: write a comparison"]);
    check(r#""x""#, &[r#"1:1: `"x"` is a value, not a predicate: write a comparison"#]);
    check("orders + 1", &["1:1: `orders + 1` is a value, not a predicate: write a comparison"]);
    check("null", &["1:1: nothing compares with null: write `has(x)` or `not has(x)`"]);
    check(
        "orders AND revenue > 3",
        &[
            "1:1: `orders` is not a predicate: write a comparison such as `orders > 0` or `has(orders)`",
            "1:8: `and` is written in lower case; did you mean `and`?",
        ],
    );
    check("orders == null", &["1:11: nothing compares with null: write `has(x)` or `not has(x)`"]);
    check("has(now)", &["1:5: `now` always has a value"]);
    check("has(orders) > 3", &["1:1: `has(orders)` is a predicate, where a value is expected"]);
    check("(orders > 1) == true", &["1:1: `(orders > 1)` is a predicate, where a value is expected"]);
}

#[test]
fn identifiers_are_compared_with_strings_only() {
    check(
        "email != 'x'",
        &[
            "1:1: an identifier may stand only in `has()` and on one side of `==` with a string; did you mean `not email == 'x'`?",
        ],
    );
    check(
        "email > 3",
        &["1:1: an identifier may stand only in `has()` and on one side of `==` with a string"],
    );
    check(
        "email == plan",
        &["1:1: an identifier may stand only in `has()` and on one side of `==` with a string"],
    );
    check(
        "email == user_id",
        &["1:1: an identifier may stand only in `has()` and on one side of `==` with a string"],
    );
    check("email == ordrs", &["1:10: no trait or identifier is named `ordrs`; did you mean `orders`?"]);
    check(
        "plan == email",
        &["1:1: an identifier may stand only in `has()` and on one side of `==` with a string"],
    );
    check(
        "email + 1 > 2",
        &["1:1: an identifier may stand only in `has()` and on one side of `==` with a string"],
    );
}

#[test]
fn types_that_never_fit_are_errors() {
    check("now > 5", &["1:1: never true: `now` is a time and `5` is a number"]);
    check(
        "last_seen > 1735689600000",
        &[
            r#"1:1: never true: `last_seen` is a time and `1735689600000` is a number; did you mean `last_seen > "2025-01-01T00:00:00.000Z"`?"#,
        ],
    );
    check(
        "last_seen > '2026-01-01'",
        &[
            r#"1:13: a time is expected here: not an RFC 3339 time such as `2026-01-05T10:15:00Z`; did you mean `"2026-01-01T00:00:00Z"`?"#,
        ],
    );
    check(
        "last_seen > '2026-01-01T00:00:00'",
        &[
            r#"1:13: a time is expected here: a time without `Z` or an offset such as `+01:00`; did you mean `"2026-01-01T00:00:00Z"`?"#,
        ],
    );
    check(
        "last_seen > 'yesterday'",
        &["1:13: a time is expected here: not an RFC 3339 time such as `2026-01-05T10:15:00Z`"],
    );
    check("last_seen > 30d", &["1:1: never true: `last_seen` is a time and `30d` is a duration"]);
    check(
        "orders > 30d",
        &["1:1: never true: `orders` is a boolean, a number or a string and `30d` is a duration"],
    );
    check(
        "now - orders > 30d",
        &["1:1: always null: `now` is a time and `orders` is a boolean, a number or a string"],
    );
    check("now + last_seen > now", &["1:1: always null: `now` is a time and `last_seen` is a time"]);
    check("'a' + 1 > 2", &["1:1: always null: `'a'` is a string and `1` is a number"]);
    check("-'a' == 3", &["1:1: always null: `'a'` is a string"]);
    check("true + 1 == 2", &["1:1: always null: `true` is a boolean and `1` is a number"]);
    check("-now > now", &["1:1: always null: `now` is a time"]);
}

#[test]
fn other_languages_are_corrected() {
    check(
        "orders = 3 && revenue > 2 || !has(email)",
        &[
            "1:8: `=` is written `==` here; did you mean `==`?",
            "1:12: `&&` is written `and` here; did you mean `and`?",
            "1:27: `||` is written `or` here; did you mean `or`?",
            "1:30: `!` is written `not` here; did you mean `not`?",
        ],
    );
    check("orders === 3", &["1:8: `===` is written `==` here; did you mean `==`?"]);
    check("orders <> 3", &["1:8: `<>` is written `!=` here; did you mean `!=`?"]);
    check(
        "1 < orders < 3",
        &[
            "1:1: comparisons can't be chained; write two of them with `and` between; did you mean `1 < orders and orders < 3`?",
        ],
    );
    check("NOT has(email)", &["1:1: `not` is written in lower case; did you mean `not`?"]);
    check("orders > 1 OR orders < 0", &["1:12: `or` is written in lower case; did you mean `or`?"]);
    check("True", &["1:1: `true` is written in lower case; did you mean `true`?"]);
    check("orders > NOW", &["1:10: `now` is written in lower case; did you mean `now`?"]);
}

#[test]
fn tokens() {
    check("has(orders, plan)", &["1:11: unexpected character `,`"]);
    check(
        "orders > 007",
        &[r#"1:10: a number has no leading zeros; an identifier's value is a string; did you mean `"007"`?"#],
    );
    check(
        "user_id == 007",
        &[r#"1:12: a number has no leading zeros; an identifier's value is a string; did you mean `"007"`?"#],
    );
    check("orders > .5", &["1:10: a number begins with a digit; did you mean `0.5`?"]);
    check("orders > 5.", &["1:11: unexpected character `.`"]);
    check("orders > 1e400", &["1:10: numbers are at most 10^18 in size"]);
    check(
        "now - last_seen > 30days",
        &[
            "1:19: `30days` is no duration: write a whole number and ms, s, m, h, d or w, such as `30d`; did you mean `30d`?",
        ],
    );
    check(
        "now - last_seen > 1.5h",
        &["1:19: `1.5h` is no duration: write a whole number and ms, s, m, h, d or w, such as `30d`"],
    );
    check(
        "now - last_seen > 1M",
        &["1:19: `1M` is no duration: write a whole number and ms, s, m, h, d or w, such as `30d`"],
    );
    check("now - last_seen > 99999999999w", &["1:19: `99999999999w` is too long a duration"]);
    check(r#"plan == "abc"#, &[r#"1:9: this " is never closed"#]);
    check(
        r#"plan == 'a\qb'"#,
        &[r#"1:11: unknown escape: write \\ for a backslash, or one of \n \r \t \u{…} and the quotes"#],
    );
    check("orders > #3", &["1:10: unexpected character `#`"]);
    check("orders % 2 == 1", &["1:8: unexpected character `%`"]);
    check("`` > 3", &["1:1: a name is missing between the backticks"]);
    check("`orders > 3", &["1:1: this ` is never closed"]);
}

#[test]
fn structure() {
    check("", &["1:1: expected a predicate such as `orders > 0`, found the end"]);
    check("  ", &["1:3: expected a predicate such as `orders > 0`, found the end"]);
    check("has(orders", &["1:11: expected `)`, since `has` takes one name, found the end"]);
    check("(orders > 1", &["1:12: expected `)`, found the end"]);
    check("((orders > 1", &["1:13: expected `)`, found the end"]);
    check("orders > 1)", &["1:11: this `)` closes nothing"]);
    check(
        "orders > 1))) and revenu > 2",
        &[
            "1:11: this `)` closes nothing",
            "1:12: this `)` closes nothing",
            "1:13: this `)` closes nothing",
            "1:19: no trait or identifier is named `revenu`; did you mean `revenue`?",
        ],
    );
    check("orders >", &["1:9: expected a value, found the end"]);
    check("> 3", &["1:1: expected a value, found `>`"]);
    check("orders > > 3", &["1:10: expected a value, found `>`"]);
    check("orders 3", &["1:8: expected `and`, `or` or the end, found `3`"]);
    check("and orders > 1", &["1:1: expected a value, found `and`"]);
    check("has()", &["1:5: expected a name, found `)`"]);
    check("has(1)", &["1:5: expected a name, found `1`"]);
}

#[test]
fn sequences_are_not_built() {
    check(
        r#""Checkout Started" then not "Order Completed" within 30m"#,
        &["1:20: sequences of events with `then` are not built yet"],
    );
    check("orders > 3 within 7d", &["1:12: sequences of events with `within` are not built yet"]);
}

fn check_condition(text: &str, expected: &[&str]) {
    let errors = parse_condition(text).expect_err(text);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn conditions_see_one_event() {
    check_condition("now > 3", &["1:1: `now` can't be used in `where`"]);
    check_condition(
        "in_segment(x)",
        &["1:12: `in_segment` can't be used in `where`, which sees one event only"],
    );
    check_condition(
        "properties.x > 30d",
        &["1:1: never true: `properties.x` is a boolean, a number or a string and `30d` is a duration"],
    );
    check_condition(
        "properties.x == null",
        &["1:17: nothing compares with null: write `has(x)` or `not has(x)`"],
    );
    check_condition("`a..b` > 2", &["1:1: `a..b` is no path: a step of it is empty"]);
    check_condition(
        "properties.x",
        &[
            "1:1: `properties.x` is not a predicate: write a comparison such as `properties.x == true` or `has(properties.x)`",
        ],
    );
    check_condition("properties.x == True", &["1:17: `true` is written in lower case; did you mean `true`?"]);
}

#[test]
fn errors_know_their_kind_and_place() {
    let text = "has(plan) and\n  'é' == plan and ordrs > 3";
    let [error] = errors(text).try_into().unwrap();
    assert_eq!(error.kind, ParseErrorKind::UnknownName);
    assert_eq!(&text[error.start..error.end], "ordrs");
    assert_eq!((error.line, error.column), (2, 19));
    assert_eq!(error.suggestion.as_deref(), Some("orders"));

    let kind = |text: &str| errors(text)[0].kind;
    assert_eq!(kind("orders >"), ParseErrorKind::Syntax);
    assert_eq!(kind("orders"), ParseErrorKind::Misuse);
    assert_eq!(kind("\"A\" then \"B\""), ParseErrorKind::NotBuilt);
    let [missing] = errors("orders > ").try_into().unwrap();
    assert_eq!((missing.start, missing.end, missing.column), (9, 9, 10));
}

#[test]
fn a_suggestion_replaces_its_place() {
    for text in [
        "ordrs > 3",
        "now > 0 - 0 or ordrs > 3",
        "orders = 3",
        "orders && 3",
        "1 < orders < 3",
        "email != 'x'",
        "has(loyal)",
        "loyal",
        "in_segment('loyal')",
        "last_seen > 1735689600000",
        "last_seen > '2026-01-01'",
        "last_seen > '2026-01-01T10:15'",
        "now - last_seen > 30days",
        "orders > .5",
        "user_id == 007",
        "has(`views 8d`)",
    ] {
        let mut fixed = text.to_owned();
        for error in errors(text).iter().rev() {
            if let Some(suggestion) = &error.suggestion {
                fixed.replace_range(error.start..error.end, suggestion);
            }
        }
        let remaining = parse_segment(&fixed, &Shop::new().names());
        let is_hopeless = text.contains("&&") || text.contains("0 - 0");
        assert_eq!(remaining.is_ok(), !is_hopeless, "{text} -> {fixed}: {remaining:?}");
    }
}

#[test]
fn nesting_ends_at_64_levels() {
    let deep = |text: String| {
        let [error] = errors(&text).try_into().unwrap();
        assert_eq!(error.kind, ParseErrorKind::TooDeep);
    };
    deep("(".repeat(100_000));
    deep(format!("{}orders > 1{}", "(".repeat(65), ")".repeat(65)));
    deep(format!("{}has(orders)", "not ".repeat(100_000)));
    deep(format!("{}orders > 1", "-".repeat(100_000)));
    deep(format!("orders{} > 1", " + 1".repeat(100_000)));
    deep(format!("has(plan) and {}has(plan){}", "(has(plan) and ".repeat(70), ")".repeat(70)));
    segment(&format!("{}orders > 1{}", "(".repeat(64), ")".repeat(64)));
    segment(&format!("{}has(orders)", "not ".repeat(63)));
    segment(&format!("orders{} > 1", " + 1".repeat(62)));
    // Lists are as long as they like.
    segment(&vec!["has(orders)"; 10_000].join(" and "));
}

#[test]
fn a_hundred_errors_are_enough() {
    for text in ["#".repeat(10_000), ")".repeat(10_000), "orders 3 and ".repeat(10_000), "= ".repeat(10_000)]
    {
        let count = errors(&text).len();
        assert!((1..=202).contains(&count), "{count}");
    }
}
