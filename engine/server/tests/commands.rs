//! Every command that needs no running engine beside it, with its exit codes.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use serde_json::Value;

#[test]
fn without_arguments_it_says_what_it_can_do() {
    let place = Place::new();
    assert_fails(&place.run(&[]), 2, &["Usage: tidewater", "demo", "validate"]);
    let help = place.run(&["--help"]);
    assert_success(&help);
    assert!(stdout(&help).contains("69 a service is unreachable"));
    assert_success(&place.run(&["--version"]));
}

#[test]
fn what_it_does_not_know_is_a_usage_error() {
    let place = Place::new();
    assert_fails(&place.run(&["demmo"]), 2, &["unrecognized subcommand", "demo"]);
    assert_fails(&place.run(&["generate", "--bad", "200%"]), 2, &["expected a share such as `1%`"]);
    assert_fails(&place.run(&["generate", "--span", "1y"]), 2, &["such as `500ms`"]);
    assert_fails(&place.run(&["redrive", "--reason", "bad_jsn"]), 2, &["did you mean `bad_json`?"]);
}

#[test]
fn what_is_not_built_is_named() {
    let place = Place::with_shop(10);
    let explain = ["explain", "loyal", "--profile", "6H2S"];
    assert_fails(&place.run(&explain), 78, &["`tidewater explain` is not built yet"]);
    let parquet = ["export", "profiles", "--format", "parquet"];
    assert_fails(&place.run(&parquet), 78, &["`--format parquet` is not built yet"]);
}

#[test]
fn generate_is_deterministic_and_carries_the_seed() {
    let place = Place::new();
    let generate = |seed: &str| stdout(&place.run(&["generate", "--events", "500", "--seed", seed]));
    let first = generate("7");
    assert_eq!(first.lines().count(), 500);
    assert_eq!(first, generate("7"));
    assert_ne!(first, generate("8"));
    assert!(first.contains("\"messageId\":\"shop-7-1\""));
    // The same into a file, and nothing beside it.
    assert_success(&place.run(&["generate", "--events", "500", "--seed", "7", "--out", "e.ndjson"]));
    assert_eq!(String::from_utf8_lossy(&std::fs::read(place.path("e.ndjson")).unwrap()), first);
    assert!(!place.path("e.ndjson.part").exists());
    assert_fails(&place.run(&["generate", "--out", "no/such/place"]), 78, &["cannot write no/such/place"]);
}

#[test]
fn schema_is_json() {
    let schema: Value = serde_json::from_str(&stdout(&Place::new().run(&["schema"]))).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
}

#[test]
fn validate_reports_every_mistake_at_its_place() {
    let place = Place::new();
    place.write("tidewater.yaml", PIPELINE);
    let valid = place.run(&["validate"]);
    assert_success(&valid);
    assert!(stdout(&valid).contains("is valid: 1 source, 3 identifiers, 5 traits, 6 segments, 1 sink"));

    // Seven mistakes in seven places, connectors' among them.
    let broken = PIPELINE
        .replace("clock: event", "clock: evnt")
        .replace("type: file, path: events.ndjson", "type: file, pth: events.ndjson")
        .replace("orders >= 2", "oders >= 2")
        .replace("window: 1d", "window: 1x")
        .replace("type: file, path: deltas.ndjson", "type: flie, path: deltas.ndjson");
    let broken = format!("{broken}  ads: {{ type: meta_custom_audience, token: x }}\n");
    place.write("broken.yaml", &broken);
    let expected = [
        "broken.yaml:3:8: ",
        "broken.yaml:5:3: missing key `path`",
        "broken.yaml:5:26: unknown key `pth`; did you mean `path`?",
        "broken.yaml:14:",
        "broken.yaml:17:16: ",
        "did you mean `orders`?",
        "broken.yaml:24:20: unknown sink type `flie`",
        "did you mean `file`?",
        "the sink type `meta_custom_audience` is not built yet",
    ];
    assert_fails(&place.run(&["validate", "broken.yaml"]), 1, &expected);
    assert_fails(&place.run(&["run", "broken.yaml"]), 78, &expected);

    let json = place.run(&["validate", "broken.yaml", "--format", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["valid"], false);
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 7, "{errors:#?}");
    assert_eq!((&errors[0]["line"], &errors[0]["column"]), (&3.into(), &8.into()));
    let json = place.run(&["validate", "--format", "json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["valid"], &report["errors"]), (&true.into(), &Value::Array(vec![])));

    assert_fails(&place.run(&["validate", "none.yaml"]), 1, &["none.yaml: cannot read it"]);
    assert_fails(&place.run(&["run", "none.yaml"]), 78, &["none.yaml: cannot read it"]);
}

#[test]
fn two_sinks_on_one_file_are_a_mistake_however_it_is_written() {
    let place = Place::new();
    let absolute = place.path("deltas.ndjson").display().to_string();
    for again in ["deltas.ndjson", "./deltas.ndjson", "no/../deltas.ndjson", &absolute] {
        place.write("tidewater.yaml", &format!("{PIPELINE}  again: {{ type: file, path: {again} }}\n"));
        let expected = ["tidewater.yaml:25:", "sink `again` writes the same file as sink `updates`"];
        assert_fails(&place.run(&["validate"]), 1, &expected);
        for command in ["run", "plan"] {
            assert_fails(&place.run(&[command]), 78, &expected);
        }
    }
    place.write("tidewater.yaml", &format!("{PIPELINE}  other: {{ type: file, path: no/deltas.ndjson }}\n"));
    assert_success(&place.run(&["validate"]));
}

#[test]
fn two_listeners_at_one_address_are_a_mistake() {
    let place = Place::new();
    let write = |admin: &str, first: &str, second: &str| {
        let source = |name, listen| format!("\n  {name}: {{ type: http, write_keys: [wk]{listen} }}");
        let sources = format!("sources:{}{}", source("web", first), source("again", second));
        place.write("tidewater.yaml", &format!("{admin}{}", PIPELINE.replace("sources:", &sources)));
    };
    let again = "source `again` listens at the same address as source `web`";
    for (first, second, at) in [
        (", listen: 127.0.0.1:7", ", listen: 127.0.0.1:7", "tidewater.yaml:6:50: "),
        (", listen: 127.0.0.1:7", ", listen: 0.0.0.0:7", "tidewater.yaml:6:50: "),
        (", listen: 127.0.0.1:8000", "", "tidewater.yaml:6:3: "),
        ("", "", "tidewater.yaml:6:3: "),
    ] {
        write("", first, second);
        assert_fails(&place.run(&["validate"]), 1, &[at, again, "give each a port of its own"]);
        assert_fails(&place.run(&["run"]), 78, &[at, again]);
    }
    let web = "source `web` listens at the same address as `admin`";
    for admin in ["127.0.0.1:7", "0.0.0.0:7"] {
        write(&format!("admin: {{ listen: {admin} }}"), ", listen: 127.0.0.1:7", "");
        assert_fails(&place.run(&["validate"]), 1, &["tidewater.yaml:5:48: ", web]);
        assert_fails(&place.run(&["run"]), 78, &[web]);
    }
    let free = ", listen: 127.0.0.1:0";
    for (admin, first, second) in [
        ("127.0.0.1:0", free, free),
        ("127.0.0.1:7", ", listen: 127.0.0.2:7", ", listen: 127.0.0.1:8"),
        ("localhost:7", ", listen: 127.0.0.1:7", ", listen: '[::1]:7'"),
    ] {
        write(&format!("admin: {{ listen: '{admin}' }}"), first, second);
        assert_success(&place.run(&["validate"]));
    }
}

#[test]
fn what_a_connector_without_keys_is_given_is_said() {
    let place = Place::new();
    place
        .write("tidewater.yaml", &PIPELINE.replace("type: file, path: deltas", "type: stdout, path: deltas"));
    assert_fails(&place.run(&["validate"]), 1, &["unknown key `path`; it takes none"]);
}

#[test]
fn a_url_is_shown_without_what_is_secret_in_it() {
    let place = Place::new();
    for url in [
        "https://u:hunter2@example.com/hook",
        "https://example.com/hook?key=hunter2",
        "https://example.com/hunter2/hook",
    ] {
        let sink = format!("  hook: {{ type: webhook, url: \"{url}\", oops: 1 }}\n");
        place.write("tidewater.yaml", &format!("{PIPELINE}{sink}"));
        for command in ["validate", "plan", "run"] {
            let said = stderr(&place.run(&[command]));
            assert!(said.contains("unknown key `oops`") && said.contains("example.com/"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn a_secret_that_is_set_to_nothing_does_not_turn_signing_off() {
    let place = Place::new();
    for key in ["ca_file", "secret"] {
        let hook =
            format!("  hook:\n    type: webhook\n    url: https://example.com/hook\n    {key}: ${{HOOK}}\n");
        place.write("tidewater.yaml", &format!("{PIPELINE}{hook}"));
        for command in ["validate", "run"] {
            let done = place.command(&[command]).env("HOOK", "").output().unwrap();
            let code = if command == "validate" { 1 } else { 78 };
            assert_fails(&done, code, &["tidewater.yaml:28:", "expected a text, found an empty one"]);
        }
    }
    assert_success(
        &place.command(&["validate"]).env("HOOK", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==").output().unwrap(),
    );
    // Nor is nothing a key.
    let hook = "  hook:\n    type: webhook\n    url: https://example.com/\n    secret: whsec_${HOOK}\n";
    place.write("tidewater.yaml", &format!("{PIPELINE}{hook}"));
    let done = place.command(&["validate"]).env("HOOK", "").output().unwrap();
    assert_fails(&done, 1, &["tidewater.yaml:28:", "is empty: anybody could sign with it"]);
}

#[test]
fn the_exit_code_is_the_same_if_nobody_reads_the_output() {
    let place = Place::with_shop(100);
    place.write("broken.yaml", &PIPELINE.replace("clock: event", "clock: evnt"));
    assert_fails(&place.run_unread(&["validate", "broken.yaml", "--format", "json"]), 1, &[]);
    assert_success(&place.run(&["run"]));
    assert_fails(&place.run_unread(&["redrive", "--id", "999"]), 1, &["not in quarantine: 999"]);
    let plan = ["plan", "--state", "state", "other.yaml"];
    place.write("other.yaml", &PIPELINE.replace("state: ./state", "state: ./state\nid_key: another key"));
    assert_fails(&place.run_unread(&plan), 78, &[]);
    // Where there is nothing to find out, there is nothing left to do.
    for command in [&["validate"][..], &["schema"], &["export", "events"], &["generate"]] {
        assert_success(&place.run_unread(command));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_named() {
    let place = Place::new();
    let full = ["generate", "--events", "10", "--out", "/dev/full"];
    assert_fails(&place.run(&full), 70, &["cannot write /dev/full: "]);
}

#[test]
fn commands_on_no_state_directory_say_so_and_make_none() {
    let place = Place::new();
    for command in [&["export", "profiles"][..], &["export", "events"], &["verify"], &["redrive"]] {
        assert_fails(&place.run(command), 78, &["./state is not a state directory"]);
        assert!(!place.path("state").exists());
    }
}

#[test]
fn demo_ends_with_a_summary() {
    let place = Place::new();
    let arguments = ["demo", "--events", "150000", "--quiet"];
    let done = place.run(&arguments);
    assert_success(&done);
    let text = stdout(&done);
    let value = |what: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(what))
            .unwrap_or_else(|| panic!("{what}: {text}"));
        line.split_whitespace().nth(1).unwrap().replace(',', "").parse::<u64>().unwrap()
    };
    assert_eq!(value("events"), 150_000);
    assert_eq!(value("accepted") + value("duplicates") + value("quarantined"), 150_000);
    assert!(value("deltas") > 1_000 && value("profiles") > 1_000 && value("merges") > 100, "{text}");
    let segments = ["new_visitor", "window_shopper", "gardener", "prospect", "cart_abandoner"];
    for segment in segments.into_iter().chain(["loyal", "big_spender", "vip", "paying_member", "lapsed"]) {
        assert!(value(segment) > 0, "{segment} is empty:\n{text}");
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "it keeps nothing");

    // Where every event went depends on the seed alone, not on how fast it was taken.
    let sizes = |text: &str| text.split_once("segments\n").unwrap().1.to_owned();
    let again = place.run(&["demo", "--events", "150000", "--quiet", "--workers", "2"]);
    assert_eq!(sizes(&text), sizes(&stdout(&again)));
    let other = place.run(&["demo", "--events", "150000", "--quiet", "--seed", "5"]);
    assert_ne!(sizes(&text), sizes(&stdout(&other)));
}

#[test]
fn demo_without_a_terminal_prints_lines() {
    let done = Place::new().run(&["demo", "--events", "15000", "--rate", "10000"]);
    assert_success(&done);
    let text = stdout(&done);
    assert!(text.contains("events/s)") || text.contains("/s) |"), "{text}");
    assert!(text.contains(" entered ") && !text.contains('\x1b'), "{text}");
}
