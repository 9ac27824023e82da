use super::{super::ErrorKind::Expression, IDENTIFIERS, check, errors};

/// `nobody` is a name that nothing has; the error must stand at its first letter.
#[track_caller]
fn at_mark(segment: &str) {
    check(&format!("{IDENTIFIERS}segments:\n  a: {segment}\n"), &[(Expression, "nobody", "")]);
}

#[test]
fn plain_and_quoted_scalars_on_one_line_are_exact() {
    at_mark("‸nobody > 1");
    at_mark("has(email) and ‸nobody > 1   # comment");
    at_mark("'has(email) and ‸nobody > 1'");
    at_mark("'email == ''é'' and ‸nobody > 1'");
    at_mark(r#""email == 'é' and ‸nobody > 1""#);
    at_mark(r#""email == \"\x41\u00e9\U0001F600\" and ‸nobody > 1""#);
    at_mark(r#""has(email)\tand\n‸nobody > 1""#);
    at_mark("!!str ‸nobody > 1");
    at_mark("&x '‸nobody > 1'");
    at_mark("{ where: has(email) and ‸nobody > 1 }");
    at_mark("'email == \"a$$b$$\" and ‸nobody > 1'");
    at_mark("email == \"größe\" and ‸nobody > 1");
}

#[test]
fn values_over_several_lines_have_the_right_line() {
    at_mark("|\n    has(email)\n    and ‸nobody > 1");
    at_mark("|2-\n\n      has(email) and\n\n      ‸nobody > 1");
    at_mark(">\n    has(email)\n    and\n\n    ‸nobody > 1");
    at_mark("has(email)\n    and ‸nobody\n    > 1");
    at_mark("'has(email)\n    and ‸nobody\n    > 1'");
    at_mark("\"has(email) \\\n    and ‸nobody\n    > 1\"");
    at_mark("{ where: has(email)\n    and ‸nobody > 1,\n    description: x }");
}

#[test]
fn the_mark_covers_the_token() {
    let text = format!("{IDENTIFIERS}segments:\n  a: has(email) and\n    nobody > 1\n");
    let shown = errors(&text)[0].to_string();
    assert!(shown.contains("\n  4 |     nobody > 1\n    |     ^^^^^^"), "{shown}");
}

#[test]
fn long_lines_show_the_surroundings() {
    let text = format!("{IDENTIFIERS}segments: {{ a: '{}nobody > 1' }}", "has(email) and ".repeat(2_000));
    let error = &errors(&text)[0];
    assert_eq!(error.position, Some((2, 17 + 15 * 2_000)));
    let shown = error.to_string();
    assert!(shown.len() < 600 && shown.contains("nobody > 1"), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    let at = |line: &str, what: &str| line[..line.find(what).unwrap()].chars().count();
    assert_eq!(at(lines[1], "nobody"), at(lines[2], "^"));
}

#[test]
fn columns_count_characters_and_control_characters_are_not_printed() {
    let text = format!("{IDENTIFIERS}\"größe\\e[31m\": 1");
    let error = &errors(&text)[0];
    assert_eq!(error.position, Some((2, 1)));
    assert!(!error.to_string().contains('\u{1b}'));
    check(
        "größe: 1\nidentifiers: { ä: ‸1 }".replace("ä", "‸ä").replace("größe", "‸größe").as_str(),
        &[
            (super::ErrorKind::UnknownKey, "größe", "keys"),
            (super::ErrorKind::InvalidName, "ä", ""),
            (super::ErrorKind::WrongType, "found `1`", ""),
        ],
    );
}
