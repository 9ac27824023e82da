use super::{super::ErrorKind::*, super::*, EXAMPLE, IDENTIFIERS, check, environment, errors, load};

#[test]
fn variables_files_and_defaults() {
    let environment = FixedEnvironment::new()
        .variable("A", "alpha")
        .variable("EMPTY", "")
        .variable("N", "3")
        .variable("NULL", "null")
        .file("/run/secrets/key", "from-file\r\n")
        .file("two", "one\ntwo\n\n");
    let text = format!(
        "{IDENTIFIERS}workers: ${{N}}\ndedup: ${{DEDUP:-2d}}\nsources:\n  s:\n    type: x\n    a: ${{A}}-${{A}}\n    b: '${{B:-}}'\n    \
         c: \"${{EMPTY}}\"\n    d: ${{EMPTY:-instead}}\n    e: ${{file:/run/secrets/key}}\n    f: $${{A}} $A $\n    \
         g: ${{N}}\n    h: '${{N}}'\n    i: ${{file:two}}\n    j: ${{B:-a:-b $x}}\n    \
         k: ${{EMPTY}}\n    l: [\"${{EMPTY}}\"]\n    m: ${{NULL}}\n    n: ${{B:-}}\n    o: ${{B:-~}}\n"
    );
    let pipeline = Pipeline::from_yaml(&text, &environment).unwrap();
    assert_eq!(pipeline.workers(), 3);
    assert_eq!(pipeline.definitions().dedup, "2d");
    let config = pipeline.sources()[0].config();
    let expected = serde_json::json!({
        "a": "alpha-alpha", "b": "", "c": "", "d": "instead", "e": "from-file", "f": "${A} $A $", "g": 3, "h": "3",
        "i": "one\ntwo", "j": "a:-b $x", "k": "", "l": [""], "m": "null", "n": "", "o": "~",
    });
    assert_eq!(serde_json::Value::Object(config.clone()), expected);
}

#[test]
fn a_variable_set_to_nothing_is_no_key_left_out() {
    let environment = FixedEnvironment::new().variable("EMPTY", "");
    for text in
        ["state: ${EMPTY}", "workers: ${EMPTY}", "id_key: ${EMPTY}", "traits: ${EMPTY}", "sinks: ${EMPTY}"]
    {
        let errors = Pipeline::from_yaml(&format!("{IDENTIFIERS}{text}\n"), &environment).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}: {errors}");
    }
}

#[test]
fn what_cannot_be_substituted_is_an_error_at_its_place() {
    check(
        &format!(
            "{IDENTIFIERS}state: a/‸${{MISSING}}/‸${{ALSO}}\nsources:\n  s: {{ type: x, a: [\"\\t‸${{file:nope}}\"], b: '‸${{1x}}', c: \
             '‸${{A', d: \"‸${{file:}}\", e: '‸${{A-b}}', f: '‸${{WEB_WRITE_KEY:-${{META_TOKEN}}}}', g: '‸${{B:-${{META_TOKEN}}}}' }}\n"
        ),
        &[
            (Environment, "the environment variable `MISSING` is not set", "${MISSING:-default}"),
            (Environment, "the environment variable `ALSO` is not set", "${ALSO:-default}"),
            (Environment, "cannot read the file `nope`", ""),
            (Environment, "`1x` is no variable's name; expected `${NAME}`", ""),
            (Environment, "`${` without its `}`", "`$$`"),
            (Environment, "no path; expected", ""),
            (Environment, "`A-b` is no variable's name", ""),
            (Environment, "a default can't hold another reference", ""),
            (Environment, "a default can't hold another reference", ""),
        ],
    );
}

#[test]
fn definitions_hold_no_substituted_value() {
    let what = "a definition cannot hold a substituted value";
    for text in [
        "identifiers: { a: { from: ‸'${META_TOKEN}' } }".to_owned(),
        "identifiers: { a: { from: x, block: [‸'${META_TOKEN}'] } }".to_owned(),
        format!("{IDENTIFIERS}traits: {{ a: {{ count: ‸'${{META_TOKEN:-x}}' }} }}"),
        format!("{IDENTIFIERS}traits: {{ a: {{ count: x, where: ‸'a == \"${{META_TOKEN}}\"' }} }}"),
        format!("{IDENTIFIERS}segments: {{ a: ‸'email == \"${{META_TOKEN}}\"' }}"),
        format!("{IDENTIFIERS}segments: {{ a: {{ where: has(email), description: ‸'${{META_TOKEN}}' }} }}"),
        format!("{IDENTIFIERS}sinks: {{ a: {{ type: ‸'${{META_TOKEN}}' }} }}"),
    ] {
        check(&text, &[(Environment, what, "write the value itself")]);
    }
    let stored = load(EXAMPLE).definitions().to_json().unwrap();
    assert!(!stored.contains("tok-7772") && !stored.contains("wk-5551"), "{stored}");
}

#[test]
fn nothing_prints_a_substituted_value() {
    const SECRET: &str = "tok-7772";
    let pipeline = load(&EXAMPLE.replace("state: ./state", "id_key: ${META_TOKEN}"));
    for shown in [format!("{pipeline:?}"), format!("{pipeline:#?}"), format!("{:?}", pipeline.sinks()[1])] {
        assert!(!shown.contains(SECRET) && !shown.contains("wk-5551"), "{shown}");
    }
    // Wherever a value is wrong, the message names the variable.
    for key in ["workers", "clock", "dedup", "max_future", "min_time", "admin"] {
        let text = if key == "admin" { "{ listen: '${META_TOKEN}' }" } else { "x${META_TOKEN}" };
        let errors = errors(&format!("{IDENTIFIERS}{key}: {text}"));
        let shown = format!("{} {:?}", errors[0], errors[0]);
        assert!(shown.contains("the value of `") && !shown.contains(SECRET), "{shown}");
    }
    for text in ["traits: '${META_TOKEN}'", "sinks: { a: '${META_TOKEN}' }", "id_key: ['${META_TOKEN}']"] {
        let errors = errors(&format!("{IDENTIFIERS}{text}"));
        assert!(!format!("{errors:?}").contains(SECRET), "{errors:?}");
    }
    assert_eq!(format!("{:?}", Secret::new(SECRET)), "Secret(***)");
    assert!(!format!("{:?}", environment()).contains(SECRET));
}

#[test]
fn connectors_errors_are_blotted_and_literal_secrets_in_the_line_masked() {
    let text = format!(
        "{IDENTIFIERS}sinks:\n  ads: {{ type: x, token: \"${{META_TOKEN}}\", url: 'http://${{WEB_WRITE_KEY}}/', write_keys: [literal-key], oops: 1 }}\n"
    );
    let pipeline = load(&text);
    let sink = &pipeline.sinks()[0];
    let message = "invalid value: string \"tok-7772\", http://wk-5551/ literal-key (wk-5551), expected less";
    let error = sink.value_error("token", message);
    assert_eq!(error.message, "invalid value: string \"***\", *** *** (***), expected less");
    let shown = sink.key_error("oops", "unknown key").to_string();
    assert!(
        shown.contains("token: \"${META_TOKEN}\"") && shown.contains("write_keys: [***********], oops"),
        "{shown}"
    );

    // So is every other message about the same line, also one about its YAML.
    let shown = errors(&text.replace("type: x,", "")).iter().map(ToString::to_string).collect::<String>();
    assert!(!shown.contains("literal-key"), "{shown}");
    let shown = errors(&text.replace("[literal-key]", "[literal-key"))
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    assert!(!shown.contains("literal-key"), "{shown}");
    let shown =
        errors(&format!("{IDENTIFIERS}id_key: secre7")).iter().map(ToString::to_string).collect::<String>();
    assert!(shown.contains("id_key: ******") && !shown.contains("secre7"), "{shown}");
}

#[test]
fn of_a_url_only_the_host_is_shown() {
    for (url, shown) in [
        ("https://u:hunter2@example.com/hook", "https://*********@example.com/****"),
        ("https://u:hun/ter2@example.com/hook", "https://***************************"),
        ("https://u:hun?ter2@example.com/hook", "https://***************************"),
        ("https://example.com/hook?key=hunter2", "https://example.com/****************"),
        ("'https://example.com/hook?key=hunter2'", "'https://example.com/****************'"),
        ("\"https://u:hunter2@example.com/?a=b\"", "\"https://*********@example.com/****\""),
        ("https://example.com?key=hunter2", "https://example.com?***********"),
        ("https://example.com:8443/a/hunter2/b", "https://example.com:8443/***********"),
        ("https:/example.com/hunter2", "https:/*******************"),
        ("u:hunter2@example.com/hook", "*********@example.com/****"),
        ("'${WEB_WRITE_KEY}/hunter2'", "'${WEB_WRITE_KEY}/*******'"),
        ("'${WEB_WRITE_KEY}'", "'${WEB_WRITE_KEY}'"),
        ("https://example.com/", "https://example.com/"),
        ("https://example.com", "https://example.com"),
    ] {
        let text = format!("{IDENTIFIERS}sinks:\n  s: {{ type: x, url: {url}, oops: 1 }}\n");
        let pipeline = load(&text);
        let error = pipeline.sinks()[0].key_error("oops", "unknown key");
        assert!(error.to_string().contains(&format!("url: {shown}, oops")), "{error}");
        let error = pipeline.sinks()[0].value_error("url", "no password `hunter2` in it, nor ?key=hunter2");
        assert!(!url.contains("hunter2") || !error.to_string().contains("hunter2"), "{error}");
    }
    // Of a glob a question mark says nothing.
    let text = format!("{IDENTIFIERS}sources:\n  s: {{ type: x, path: logs/app.log.?, oops: 1 }}\n");
    let error = load(&text).sources()[0].key_error("oops", "unknown key");
    assert!(error.to_string().contains("path: logs/app.log.?, oops"), "{error}");
    // A file's name is no secret.
    let error =
        &errors(&format!("{IDENTIFIERS}sinks:\n  s: {{ type: x, url: '${{file:/run/secrets/hook}}' }}\n"))[0];
    assert!(error.to_string().contains("url: '${file:/run/secrets/hook}'"), "{error}");
}

#[test]
fn a_token_in_a_path_is_in_no_message() {
    const URL: &str = "https://hooks.example.com/services/T0/B0/s3cr3t";
    let pipeline = load(&format!("{IDENTIFIERS}sinks:\n  s: {{ type: x, url: {URL} }}\n"));
    let error = pipeline.sinks()[0].value_error("url", format!("{URL} is not there, nor is s3cr3t"));
    assert_eq!(error.message, "https://hooks.example.com/*** is not there, nor is ***");
    // Also where a mapping should stand.
    let error = &errors(&format!("{IDENTIFIERS}sinks: {{ s: '{URL}' }}"))[0];
    assert!(error.message.ends_with("found `https://hooks.example.com/***`"), "{error}");
    assert!(error.to_string().contains("'https://hooks.example.com/*********************'"), "{error}");
}

#[test]
fn of_headers_only_the_names_are_shown() {
    let headers = "{ Cookie: sid=s3cr3t, Via: '${WEB_WRITE_KEY}', X: [s3cr3t] }";
    let sinks = format!("sinks:\n  s: {{ type: x, headers: {headers}, header_timeout: soon, oops: 1 }}\n");
    let pipeline = load(&format!("{IDENTIFIERS}{sinks}"));
    let sink = &pipeline.sinks()[0];
    let shown = sink.key_error("oops", "unknown key").to_string();
    let masked =
        "headers: { Cookie: **********, Via: '${WEB_WRITE_KEY}', X: [******] }, header_timeout: soon, oops";
    assert!(shown.contains(masked), "{shown}");
    let error = sink.value_error("headers.Cookie", "expected no sid=s3cr3t, found s3cr3t");
    assert_eq!(error.message, "expected no ***, found ***");
    assert_eq!(sink.value_error("header_timeout", "found `soon`").message, "found `soon`");
}

#[test]
fn a_line_that_cannot_be_read_is_not_shown_if_it_may_hold_a_secret() {
    for sink in [
        "    headers:\n      X-Session: a\n      X-Session: s3cr3t\n",
        "    headers: { X: a, X: s3cr3t }\n",
        "    write_keys:\n      - !x s3cr3t\n",
        "    to: !x https://example.com/s3cr3t\n",
        "    url: !x example.com/s3cr3t\n",
    ] {
        let errors = errors(&format!("{IDENTIFIERS}sinks:\n  s:\n    type: x\n{sink}"));
        assert!(
            matches!(errors[0].kind, DuplicateKey | Syntax) && errors[0].position.is_some(),
            "{errors:?}"
        );
        assert!(!errors[0].to_string().contains("s3cr3t"), "{}", errors[0]);
    }
}

#[test]
fn a_key_is_the_hash_of_its_text() {
    let key = |text: &str| load(&format!("{IDENTIFIERS}id_key: {text}")).id_key();
    assert_eq!(key("abcdefgh"), key("'abcdefgh'"));
    assert_ne!(key("abcdefgh"), key("abcdefgi"));
}

#[test]
fn the_real_environment_reads_variables_and_small_files() {
    let environment = SystemEnvironment;
    assert!(super::super::Environment::variable(&environment, "PATH").is_some());
    assert_eq!(super::super::Environment::variable(&environment, "TIDEWATER_NO_SUCH_VARIABLE"), None);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let read = || super::super::Environment::file(&environment, path.to_str().unwrap());
    assert!(read().is_err());
    std::fs::write(&path, "x\n").unwrap();
    assert_eq!(read().unwrap(), "x\n");
    std::fs::write(&path, vec![b'x'; MAX_SECRET_BYTES as usize + 1]).unwrap();
    assert!(read().is_err());
}
