//! A running engine that is asked for checkpoints and copies, as a user would ask it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use common::*;
use serde_json::Value;

/// The pipeline of these tests on a source that may grow.
fn following(state: &str, deltas: &str, follow: bool) -> String {
    PIPELINE
        .replace("./state", state)
        .replace("path: deltas.ndjson", &format!("path: {deltas}"))
        .replace("path: events.ndjson", &format!("path: events.ndjson, follow: {follow}"))
}

/// What `export` writes of a state directory, without the times that depend on how epochs were cut.
fn export(place: &Place, what: &str, state: &str) -> BTreeSet<String> {
    let done = place.run(&["export", what, "--state", state]);
    assert_success(&done);
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row.as_object_mut().unwrap().remove("since");
        row.to_string()
    };
    stdout(&done).lines().map(row).collect()
}

fn everything(place: &Place, state: &str) -> [BTreeSet<String>; 3] {
    ["memberships", "profiles", "identities"].map(|what| export(place, what, state))
}

/// Asks until it has come so far: an engine that has just been started may not have come to its socket.
fn ask_until_answered(place: &Place, arguments: &[&str]) -> String {
    for _ in 0..3_000 {
        let done = place.run(arguments);
        if done.status.success() {
            return stdout(&done);
        }
        assert_fails(&done, 69, &["no engine answers"]);
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never answered");
}

fn raw(place: &Place, request: &[u8]) -> Value {
    let mut stream = UnixStream::connect(place.path("state/control.sock")).unwrap();
    // Also what is too long is read to its end: a reset would take the answer with it.
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with('\n'));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn copies_taken_in_the_middle_of_a_load_start_and_are_exact() {
    const COPIES: usize = 4;
    let place = Place::with_shop(20_000);
    // Some of them are no UTF-8.
    let events = std::fs::read(place.path("events.ndjson")).unwrap();
    let lines: Vec<&[u8]> = events.split_inclusive(|byte| *byte == b'\n').collect();
    let parts: Vec<Vec<u8>> =
        lines.chunks(lines.len() / (COPIES + 1) + 1).map(|part| part.concat()).collect();
    std::fs::write(place.path("events.ndjson"), &parts[0]).unwrap();
    place.write("tidewater.yaml", &following("./state", "deltas.ndjson", true));
    let mut running = place.start(&["run", "--checkpoint-every", "30ms"]);
    running.until("ready");
    for (copy, part) in parts[1..].iter().enumerate() {
        let to = format!("copy{copy}");
        ask_until_answered(&place, &["checkpoint"]);
        // The part before this one may not be through: nobody waits for it.
        let said = ask_until_answered(&place, &["checkpoint", "--to", &to]);
        assert!(said.starts_with("copied to /") && said.contains(&to), "{said}");
        // Whoever moves an engine moves what its file sinks wrote.
        std::fs::copy(place.path("deltas.ndjson"), place.path(&format!("deltas{copy}.ndjson"))).unwrap();
        let mut file = OpenOptions::new().append(true).open(place.path("events.ndjson")).unwrap();
        file.write_all(part).unwrap();
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    // Whatever it had not come to yet.
    place.write("tidewater.yaml", &following("./state", "deltas.ndjson", false));
    assert_success(&place.run(&["run"]));
    let expected = everything(&place, "./state");
    let accepted = stdout(&place.run(&["export", "events"]));

    let mut counts = BTreeSet::new();
    for copy in 0..COPIES {
        let (state, deltas) = (format!("copy{copy}"), format!("deltas{copy}.ndjson"));
        let count = stdout(&place.run(&["export", "events", "--state", &state])).lines().count();
        assert!(count < accepted.lines().count(), "it was made before the last events came");
        counts.insert(count);
        assert_success(&place.run(&["verify", "--state", &state]));
        let file = format!("{state}.yaml");
        place.write(&file, &following(&state, &deltas, false));
        assert_success(&place.run(&["run", &file]));
        assert_success(&place.run(&["verify", "--state", &state]));
        assert_eq!(everything(&place, &state), expected, "copy {copy}");
        assert_eq!(stdout(&place.run(&["export", "events", "--state", &state])), accepted);
        // Folded, every delta changes something: none is missing, none stands twice.
        std::fs::copy(place.path(&deltas), place.path("deltas.ndjson")).unwrap();
        assert_eq!(place.folded(), place.memberships(), "copy {copy}");
    }
    assert!(counts.len() > 1, "they are of different moments: {counts:?}");
}

#[test]
fn a_checkpoint_is_made_on_request_and_without_an_engine_it_is_said_what_there_is() {
    let place = Place::with_shop(2_000);
    assert_fails(&place.run(&["checkpoint"]), 78, &["./state is not a state directory"]);
    place.write("tidewater.yaml", &following("./state", "deltas.ndjson", true));
    let mut running = place.start(&["run"]);
    running.until("ready");
    let said = ask_until_answered(&place, &["checkpoint"]);
    assert!(said.starts_with("checkpoint of epoch ") && said.contains(" bytes written, "), "{said}");
    let mode = std::fs::metadata(place.path("state/control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is in use, and answers: a copy does not have to wait for its end.
    assert_success(&place.run(&["checkpoint", "--to", "made/by/hand"]));
    assert_fails(&place.run(&["checkpoint", "--to", "made/by/hand"]), 78, &["by/hand is not empty"]);
    assert_fails(&place.run(&["checkpoint", "--to", "state"]), 2, &["state is in the state directory"]);
    running.signal("KILL");
    running.end();

    assert!(place.path("state/control.sock").exists(), "it was left behind");
    let alone = place.run(&["checkpoint"]);
    assert_fails(
        &alone,
        69,
        &["no engine answers at ./state/control.sock; the newest checkpoint is of epoch "],
    );
    // The next one replaces it.
    let mut running = place.start(&["run"]);
    running.until("ready");
    ask_until_answered(&place, &["checkpoint"]);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(!place.path("state/control.sock").exists());
    assert_fails(&place.run(&["checkpoint"]), 69, &["no engine answers"]);
}

#[test]
fn a_stopped_directory_is_copied_and_an_unfinished_copy_refused() {
    let place = Place::with_shop(5_000);
    assert_success(&place.run(&["run"]));
    let said = place.run(&["checkpoint", "--to", "copy"]);
    assert_success(&said);
    assert!(stdout(&said).contains(" are linked"), "{}", stdout(&said));
    assert_eq!(everything(&place, "copy"), everything(&place, "./state"));
    assert_success(&place.run(&["verify", "--state", "copy"]));
    let quarantined = |state: &str| stdout(&place.run(&["export", "quarantine", "--state", state]));
    assert_eq!(quarantined("copy"), quarantined("./state"));
    assert!(!quarantined("copy").is_empty());

    for inside in ["state", "./state/copy", "state/no/../copy", "copy/../state/deep/copy"] {
        assert_fails(&place.run(&["checkpoint", "--to", inside]), 2, &["is in the state directory"]);
    }
    assert!(!place.path("state/copy").exists() && !place.path("state/deep").exists());

    place.write("copy/unfinished-copy", "");
    place.write("copy.yaml", &following("./copy", "other.ndjson", false));
    for command in [
        &["run", "copy.yaml"][..],
        &["export", "memberships", "--state", "copy"],
        &["verify", "--state", "copy"],
        &["redrive", "--state", "copy"],
        &["checkpoint", "--state", "copy"],
        &["checkpoint", "--to", "copy"],
    ] {
        assert_fails(&place.run(command), 78, &["copy holds an unfinished copy of a state directory"]);
    }
}

#[test]
fn what_is_no_request_gets_an_answer_that_says_so() {
    let place = Place::with_shop(100);
    place.write("tidewater.yaml", &following("./state", "deltas.ndjson", true));
    let mut running = place.start(&["run"]);
    running.until("ready");
    ask_until_answered(&place, &["checkpoint"]);
    let long = vec![b'x'; 4 << 20];
    let requests: [&[u8]; 9] = [
        b"",
        b"\n",
        b"{}\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"copy\"}\n",
        b"{\"command\":\"copy\",\"to\":\"relative\"}\n",
        b"{\"command\":\"retry_dead_letters\",\"sink\":\"no such\"}\n",
        b"{\"command\":\"redrive\",\"id\":7}\n",
        &long,
    ];
    for request in requests {
        let answer = raw(&place, request);
        assert_eq!(answer["error"]["exit"], 2, "{answer}");
    }
    // Connections that ask for nothing hold nobody else up for good, and are not waited for at the end.
    let idle: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(place.path("state/control.sock")).unwrap()).collect();
    let answer = raw(&place, b"{\"command\":\"checkpoint\"}\n");
    assert!(answer["ok"]["epoch"].as_u64().unwrap() > 0, "{answer}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    drop(idle);
}

#[test]
fn a_directory_with_a_path_too_long_for_a_socket_is_run_on_without_one() {
    let place = Place::with_shop(100);
    let state = format!("./{}", ["a-long-name-of-a-directory"; 5].join("/"));
    place.write("tidewater.yaml", &following(&state, "deltas.ndjson", true));
    let mut running = place.start(&["run"]);
    let said = running.until("no control socket");
    assert!(said.contains("the path is too long for a socket"), "{said}");
    running.until("ready");
    let asked = place.run(&["checkpoint", "--state", &state]);
    assert_fails(&asked, 69, &["no engine answers"]);
    let copied = place.run(&["checkpoint", "--state", &state, "--to", "copy"]);
    assert_fails(&copied, 69, &["is in use by another process", "which does not answer at"]);
    assert!(!Path::new(&place.path("copy")).exists());
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}
