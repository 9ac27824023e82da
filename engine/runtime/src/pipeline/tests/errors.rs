use super::{super::ErrorKind::*, super::*, IDENTIFIERS, check, errors, load};

#[test]
fn five_mistakes_are_five_errors() {
    check(
        "‸sorces: {}
identifiers:
  user_id: { from: userId, ‸normalise: email }
traits:
  orders: { count: Order Completed, window: ‸7 days }
segments:
  loyal: ‸oders >= 3
sinks:
  out: ‸file
",
        &[
            (UnknownKey, "unknown key `sorces` in a pipeline", "did you mean `sources`?"),
            (UnknownKey, "unknown key `normalise` in an identifier", "did you mean `normalize`?"),
            (InvalidValue, "expected a duration such as", ""),
            (Expression, "oders", "did you mean `orders`?"),
            (WrongType, "expected a mapping such as `{ type: file, path: events.ndjson }`, found `file`", ""),
        ],
    );
}

#[test]
fn errors_are_shown_with_line_mark_and_hint() {
    let errors = Pipeline::from_yaml(
        "identifiers: { user_id: { from: userId } }\nsegments:\n  vip: has(user_idd)\nstat: x\n",
        &FixedEnvironment::new(),
    )
    .unwrap_err();
    assert_eq!(errors.len(), 2);
    let text = errors.to_string();
    let (first, second) = text.split_once("\n\n").unwrap();
    let (head, rest) = first.split_once('\n').unwrap();
    assert!(head.starts_with("tidewater.yaml:3:12: "), "{first}");
    assert_eq!(
        rest,
        "  3 |   vip: has(user_idd)\n    |            ^^^^^^^^\n  hint: did you mean `user_id`?"
    );
    assert_eq!(
        second,
        "tidewater.yaml:4:1: unknown key `stat` in a pipeline\n  4 | stat: x\n    | ^^^^\n  hint: did you mean `state`?"
    );
    let error = errors.iter().next().unwrap();
    assert_eq!((error.line(), error.column(), error.path.as_str()), (Some(3), Some(12), "segments.vip"));
}

#[test]
fn keys() {
    check(
        "‸x: 1\nidentifiers: { a: { from: b } }",
        &[(UnknownKey, "unknown key `x`", "a pipeline has the keys `state`")],
    );
    check("identifiers: { a: { from: b, ‸From: b } }", &[(UnknownKey, "`From`", "`from`")]);
    check(
        "identifiers:\n  a: { from: b }\n  ‸a: { from: c }",
        &[(DuplicateKey, "`a` stands twice", "yaml:2:3")],
    );
    check("identifiers: { a: { from: b, ‸from: c } }", &[(DuplicateKey, "`from` stands twice", "yaml:1:21")]);
    check("identifiers: { ‸a: {} }", &[(MissingKey, "`a` has no `from`", "")]);
    check(
        &format!("{IDENTIFIERS}segments: {{ ‸a: {{ description: x }} }}"),
        &[(MissingKey, "has no `where`", "")],
    );
    check(&format!("{IDENTIFIERS}admin: ‸{{}}"), &[(MissingKey, "`admin` has no `listen`", "")]);
    check(
        &format!("{IDENTIFIERS}admin: {{ listen: 'a:1', ‸port: 1 }}"),
        &[(UnknownKey, "in `admin`", "")].map(|(k, m, _)| (k, m, "`admin` has the keys `listen`")),
    );
    check(
        &format!("{IDENTIFIERS}segments: {{ a: {{ where: has(email), ‸wher: x }} }}"),
        &[(UnknownKey, "unknown key `wher` in a segment", "`where`")],
    );
}

#[test]
fn at_least_one_identifier() {
    for text in ["state: x", "traits: {}"] {
        let errors = errors(text);
        assert_eq!((errors.len(), errors[0].kind, errors[0].position), (1, MissingKey, None), "{text}");
    }
    check("‸identifiers:\nstate: x", &[(MissingKey, "at least one identifier", "for example")]);
    check("‸identifiers: {}", &[(MissingKey, "at least one identifier", "for example")]);
    check(
        "identifiers: ‸[a]",
        &[(WrongType, "expected a mapping of names to identifiers, found a list", "")],
    );
}

#[test]
fn settings() {
    let setting =
        |text: &str, kind, message: &str| check(&format!("{IDENTIFIERS}{text}"), &[(kind, message, "")]);
    setting("state: ‸[x]", WrongType, "expected a directory, found a list");
    setting("state‸:", WrongType, "expected a directory, found nothing");
    setting("state: ‸''", WrongType, "expected a directory, found an empty text");
    for workers in ["0", "65", "-1", "two", "1.5", "99999999999999999999"] {
        setting(&format!("workers: ‸{workers}"), InvalidValue, "expected a number from 1 to 64, found `");
    }
    check(
        &format!("{IDENTIFIERS}clock: ‸evnt"),
        &[(InvalidValue, "expected `wall` or `event`, found `evnt`", "did you mean `event`?")],
    );
    setting("dedup: ‸always", InvalidValue, "expected a duration");
    setting("dedup: ‸0s", InvalidValue, "expected at least 1ms, found `0s`");
    setting("max_future: ‸-1s", InvalidValue, "expected a duration");
    setting("max_future: ‸5220w", InvalidValue, "expected at most 36500d, found `5220w`");
    setting("max_future: ‸99999999999999999999d", InvalidValue, "expected a duration");
    setting("min_time: ‸yesterday", InvalidValue, "expected a time");
    setting("min_time: ‸2000-13-01", InvalidValue, "expected a time");
    setting("min_time: ‸2000-01-01T00:00:00", InvalidValue, "expected a time");
    setting("min_time: ‸9223372036854775807", InvalidValue, "expected a time");
    setting("admin: ‸9000", WrongType, "expected a mapping such as `{ listen");
    setting(
        "admin: { listen: ‸9000 }",
        InvalidValue,
        "expected an address such as `127.0.0.1:9000`, found `9000`",
    );
    setting("admin: { listen: ‸'localhost:99999' }", InvalidValue, "expected an address");
    setting("id_key: ‸short", InvalidValue, "expected a secret of at least 8 characters");
    setting("id_key‸:", InvalidValue, "expected a secret of at least 8 characters");
}

#[test]
fn names() {
    let name = |name: &str, message: &str| {
        check(&format!("identifiers: {{ ‸{name}: {{ from: b }} }}"), &[(InvalidName, message, "")]);
        check(&format!("{IDENTIFIERS}traits: {{ ‸{name}: {{ count: b }} }}"), &[(InvalidName, message, "")]);
        check(&format!("{IDENTIFIERS}segments: {{ ‸{name}: has(email) }}"), &[(InvalidName, message, "")]);
    };
    for text in ["1a", "a-b", "'a b'", "größe", "''", "a.b"] {
        name(text, "is no name: expected letters, digits and `_`, not beginning with a digit");
    }
    for text in ["and", "NOT", "has", "in_segment", "now", "'true'", "then", "within"] {
        name(text, "is a word of the segment language");
    }
    name(&"x".repeat(65), "is longer than 64 characters");
    load_name(&"x".repeat(64));
    load_name("_");
    check(
        &format!("{IDENTIFIERS}sinks: {{ ‸a/b: {{ type: x }} }}"),
        &[(InvalidName, "`a/b` is no name", "")],
    );
    super::load(&format!("{IDENTIFIERS}sinks: {{ and-more_1: {{ type: x }} }}"));
}

fn load_name(name: &str) {
    super::load(&format!("identifiers: {{ {name}: {{ from: b }} }}"));
}

#[test]
fn one_name_is_one_thing() {
    check(
        "segments: { email: has(email) }\nidentifiers: { ‸email: { from: x } }\ntraits: { ‸email: { count: x } }",
        &[
            (
                DuplicateName,
                "`email` is already the name of a segment",
                "a segment `email` is at tidewater.yaml:1:13",
            ),
            (DuplicateName, "`email` is already the name of a segment", "tidewater.yaml:1:13"),
        ],
    );
    // Sources and sinks have their own.
    super::load(&format!(
        "{IDENTIFIERS}sources: {{ email: {{ type: x }} }}\nsinks: {{ email: {{ type: x }} }}"
    ));
}

#[test]
fn identifiers() {
    let identifier = |text: &str, kind, message: &str| {
        check(&format!("identifiers: {{ a: {text} }}"), &[(kind, message, "")])
    };
    identifier("‸userId", WrongType, "expected a mapping such as `{ from: userId }`, found `userId`");
    identifier("{ from: ‸a..b }", InvalidValue, "`a..b` is no path");
    identifier("{ from: [a, ‸.b] }", InvalidValue, "`.b` is no path");
    identifier("{ from: ‸[] }", InvalidValue, "at least one path");
    identifier(
        "{ from: [a, ‸[b]] }",
        WrongType,
        "expected a path such as `context.traits.email`, found a list",
    );
    identifier("{ from: ‸{ x: y } }", WrongType, "found a mapping");
    identifier("{ from: a, block: ‸{ x: y } }", WrongType, "expected a value or a `/regular expression/`");
    identifier("{ from: a, block: [‸~] }", WrongType, "found nothing");
    identifier(
        "{ from: a, block: [x, ‸'/(/'] }",
        InvalidValue,
        "`(` is no regular expression: unclosed group",
    );
    identifier("{ from: a, block: ‸'/a{1000}{1000}{1000}/' }", InvalidValue, "is no regular expression");
    check(
        "identifiers: { a: { from: a, normalize: ‸emial } }",
        &[(InvalidValue, "expected `email`, `lowercase` or `trim`, found `emial`", "did you mean `email`?")],
    );
    identifier(
        "{ from: a, normalize: ‸{ country: US } }",
        WrongType,
        "expected `email`, `lowercase` or `trim`",
    );
    let mark = |n: usize, at: usize| if n == at { "‸" } else { "" };
    let many: String = (0..70).map(|n| format!("  {}i{n}: {{ from: a }}\n", mark(n, 64))).collect();
    check(&format!("identifiers:\n{many}"), &[(Limit, "more than 64 identifiers", "")]);
    let many: String = (0..4_097).map(|n| format!("  {}t{n}: {{ count: a }}\n", mark(n, 4_096))).collect();
    let who = "identifiers: { a: { from: a } }";
    check(&format!("{who}\ntraits:\n{many}"), &[(Limit, "more than 4096 traits", "")]);
    let many: String = (0..16_385).map(|n| format!("  {}s{n}: t > {n}\n", mark(n, 16_384))).collect();
    let traits = "traits: { t: { count: a } }";
    check(&format!("{who}\n{traits}\nsegments:\n{many}"), &[(Limit, "more than 16384 segments", "")]);
}

#[test]
fn what_blocks_nothing_is_no_rule() {
    check(
        "identifiers:
  email: { from: a, normalize: email, block: [‸Test@Example.com, test@example.com, 'NULL', /Test/] }
  device: { from: b, block: ‸' d', normalize: trim }
  user_id: { from: c, block: [‸/^dev-/i, ‸/a/b/g, ‸/x$$/misg, Test, /shop/u1, /] }
",
        &[
            (
                InvalidValue,
                "blocks nothing: `email` is normalized, so no value of it is `Test@Example.com`",
                "did you mean `test@example.com`?",
            ),
            (InvalidValue, "`device` is normalized, so no value of it is ` d`", "did you mean `d`?"),
            (
                InvalidValue,
                "no flags can stand behind a regular expression, found `/^dev-/i`",
                "did you mean `/(?i)^dev-/`?",
            ),
            (InvalidValue, "found `/a/b/g`", "did you mean `/a/b/`?"),
            (InvalidValue, "found `/x$/misg`", "did you mean `/(?ims)x$/`?"),
        ],
    );
    // A state that was made with such a rule still opens.
    let mut stored = load("identifiers: { email: { from: a, normalize: email } }").definitions();
    stored.identifiers[0].block = vec!["Test@Example.com".to_owned(), "/^dev-/i".to_owned()];
    let opened = Pipeline::from_definitions(&stored).unwrap();
    assert_eq!(opened.definitions(), stored);
}

#[test]
fn traits() {
    let check_trait = |text: &str, kind, message: &str, hint: &str| {
        check(&format!("{IDENTIFIERS}traits: {text}"), &[(kind, message, hint)]);
    };
    check_trait("‸[]", WrongType, "expected a mapping of names to traits, found a list", "");
    check_trait("{ a: ‸count }", WrongType, "expected a mapping such as `{ count: Order Completed }`", "");
    check_trait("{ ‸a: {} }", MissingKey, "`a` says nothing to compute", "give it one of `count`, `sum`");
    check_trait("{ ‸a: { event: x } }", MissingKey, "says nothing to compute", "or `last_time`");
    check_trait("{ a: { count: x, ‸sum: y } }", InvalidValue, "one thing, and `count` is already there", "");
    check_trait("{ a: { count: x, ‸event: y } }", InvalidValue, "`event` does not go with `count`", "");
    check_trait("{ a: { last_time: x, ‸event: y } }", InvalidValue, "does not go with `last_time`", "");
    check_trait("{ a: { count‸: } }", WrongType, "expected the name of an event, or `\"*\"`", "");
    check_trait("{ a: { sum: ‸a. } }", InvalidValue, "`a.` is no path", "");
    check_trait("{ a: { sum: ‸[a] } }", WrongType, "expected a path such as `properties.revenue`", "");
    check_trait("{ a: { sum: a, event: ‸[b] } }", WrongType, "expected the name of an event", "");
    check_trait("{ a: { count: x, window: ‸0s } }", InvalidValue, "expected at least 1ms", "");
    check_trait(
        "{ a: { count: x, window: 1h, resolution: ‸0ms } }",
        InvalidValue,
        "expected at least 1ms",
        "",
    );
    check_trait("{ a: { count: x, ‸resolution: 1s } }", MissingKey, "`resolution` needs a `window`", "");
    check_trait("{ a: { count: x, window: ‸soon, resolution: 1s } }", InvalidValue, "a duration", "");
    check_trait("{ a: { count: x, where: ‸[a] } }", WrongType, "expected a condition such as", "");
    check_trait("{ a: { ‸cuont: x, count: y } }", UnknownKey, "`cuont` in a trait", "did you mean `count`?");
}

#[test]
fn an_identifier_is_compared_with_what_it_can_be() {
    let identifiers = "identifiers: { user_id: { from: a }, email: { from: b, normalize: email }, device: { from: c, normalize: trim } }\n";
    check(
        &format!(
            "{identifiers}segments:\n  a: ‸email == \"Ada@Example.com\"\n  \
             b: {{ where: ‸'has(user_id) or not (\" d\" == device and true)' }}\n  c: ‸user_id == \"Anonymous\"\n  d: ‸email == \" NULL\"\n  \
             e: ‸user_id == 0\n"
        ),
        &[
            (
                Expression,
                "never true: `email` is normalized, so no value of it is `Ada@Example.com`",
                "did you mean `email == \"ada@example.com\"`?",
            ),
            (Expression, "so no value of it is ` d`", "did you mean `device == \"d\"`?"),
            (Expression, "never true: `Anonymous` is always blocked as an identifier", ""),
            (Expression, "never true: ` NULL` is always blocked", ""),
            (Expression, "never true: `0` is always blocked", ""),
        ],
    );
    load(&format!(
        "{identifiers}segments: {{ a: 'email == \"ada@example.com\" or user_id == \" Ada\" or device == \"Ada\" or user_id == 7' }}"
    ));
}

#[test]
fn conditions_and_segments() {
    check(
        &format!("{IDENTIFIERS}traits: {{ a: {{ count: x, where: properties.a > ‸now }} }}"),
        &[(Expression, "now", "")],
    );
    check(&format!("{IDENTIFIERS}segments: {{ a: ‸[x] }}"), &[(WrongType, "or a mapping with `where`", "")]);
    check(
        &format!("{IDENTIFIERS}segments:\n  a‸:"),
        &[(WrongType, "expected a condition such as `orders >= 3`, found nothing", "")],
    );
    check(
        &format!("{IDENTIFIERS}segments: {{ a: has(‸emial), b: in_segment(‸c) }}"),
        &[(Expression, "emial", "did you mean `email`?"), (Expression, "c", "")],
    );
    // A segment with a mistake is still a name for the others.
    check(&format!("{IDENTIFIERS}segments: {{ a: 'has(‸x)', b: in_segment(a) }}"), &[(Expression, "x", "")]);
    check(
        &format!("{IDENTIFIERS}segments: {{ a: {{ where: has(email), description: ‸[a] }} }}"),
        &[(WrongType, "expected a text, found a list", "")],
    );
}

#[test]
fn segments_form_no_cycle() {
    check(
        &format!(
            "{IDENTIFIERS}segments:\n  ok: has(email)\n  ‸a: in_segment(b) or in_segment(ok)\n  b: not in_segment(c)\n  \
             c: {{ where: has(email) and in_segment(a) }}\n  ‸self: in_segment(self)\n  leads: in_segment(a)\n"
        ),
        &[
            (Cycle, "segments are defined by each other: `a` -> `b` -> `c` -> `a`", ""),
            (Cycle, "segments are defined by each other: `self` -> `self`", ""),
        ],
    );
}

#[test]
fn connectors() {
    let source = |text: &str, kind, message: &str| {
        check(&format!("{IDENTIFIERS}sources: {text}"), &[(kind, message, "")])
    };
    source("‸file", WrongType, "expected a mapping of names to sources, found `file`");
    source("{ a: ‸[] }", WrongType, "expected a mapping such as `{ type: file");
    source("{ ‸a: { path: x } }", MissingKey, "the source has no `type`");
    source("{ a: { type: ‸[x] } }", WrongType, "expected the name of a type, found a list");
    check(&format!("{IDENTIFIERS}sinks: {{ ‸a: {{}} }}"), &[(MissingKey, "the sink has no `type`", "")]);
}

#[test]
fn yaml() {
    check("identifiers: { a: { from: b }\n‸", &[(Syntax, "not valid YAML", "")]);
    check("identifiers:\n  a: ‸@b\n", &[(Syntax, "not valid YAML", "")]);
    check("a: 1\n‸---\nb: 1", &[(Syntax, "a second document", "")]);
    check("‸[a]: 1", &[(Syntax, "a key must be a plain text", "")]);
    check("identifiers: ‸!custom { a: 1 }", &[(Syntax, "the tag `!custom` means nothing here", "")]);
    check("a: &x [‸*x]", &[(Syntax, "inside its own anchor", "")]);
    check("‸- a", &[(WrongType, "expected a mapping with the keys of a pipeline, found a list", "")]);
    check("‸text", &[(WrongType, "expected a mapping with the keys of a pipeline, found `text`", "")]);
    check(
        &format!("{IDENTIFIERS}segments:\n  a: \"x\" ‸== email"),
        &[(Syntax, "not valid YAML", "a value that begins with a quote must be in quotes as a whole")],
    );
    check(
        &format!("{IDENTIFIERS}sinks: {{ a: $‸{{X}} }}"),
        &[(Syntax, "not valid YAML", "a `${...}` must be in quotes")],
    );
    for text in ["", "\n", "# only a comment"] {
        assert_eq!(errors(text)[0].message, "the file is empty", "{text:?}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let kind = |path: &std::path::Path| Pipeline::from_file(path).unwrap_err().iter().next().unwrap().clone();
    assert_eq!(kind(&path).kind, Io);
    assert!(kind(&path).to_string().contains("a.yaml: cannot read it: "), "{}", kind(&path));
    std::fs::write(&path, b"a: 1\nb: \xff").unwrap();
    assert_eq!((kind(&path).kind, kind(&path).message.as_str()), (Syntax, "not UTF-8 text in line 2"));
    std::fs::write(&path, vec![b'#'; MAX_FILE_BYTES as usize + 1]).unwrap();
    assert_eq!(kind(&path).kind, Limit);
}
