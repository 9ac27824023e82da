//! The operating system fails the real command: every fsync and every write of a small run once, and a disk that is full
//! for a while. It says so, and a restart is exact.
//!
//! Short writes are simulated (`storage`'s disk, and the tmpfs below ends with one): strace can only make a call *say* that it
//! wrote less, which is a disk that lies.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::*;
use serde_json::Value;

const EVENTS: u64 = 3_000;

/// The most calls of one kind that are failed one by one, should a run have so many.
const MOST_CALLS: usize = 60;

/// Whether strace may follow processes here; some containers forbid it.
fn can_trace() -> bool {
    let traced =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: strace is missing, or may not trace here");
    }
    can
}

/// A run under strace, with what is given to it before.
fn traced(place: &Place, options: &[&str]) -> (Option<i32>, String) {
    let run = place.command(&["run", "--checkpoint-every", "20ms"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).arg(run.get_program()).args(run.get_args());
    strace.current_dir(place.path("")).env_remove("WEB_WRITE_KEY").stdin(Stdio::null());
    let done = strace.output().unwrap();
    (done.status.code(), stderr(&done))
}

/// Has strace follow a run that is under way; `None` if it may not. It ends with the run.
fn attach(running: &Running, options: &[&str]) -> Option<Running> {
    let id = running.child.id().to_string();
    let mut strace = Command::new("strace");
    let mut strace = Running::spawn(strace.args(["-f", "-o", "/dev/null", "-p", &id]).args(options));
    let line = strace.until("attach");
    if !line.contains("attached") {
        println!("skipped: strace may not attach here: {line}");
    }
    line.contains("attached").then_some(strace)
}

/// How many of these calls the busiest thread of an undisturbed run makes; strace counts for each thread.
fn most_calls(input: &Path, calls: &str) -> usize {
    let place = with_input(input);
    let trace = place.path("trace").display().to_string();
    assert_eq!(traced(&place, &["-o", &trace, "-e", &format!("trace={calls}")]).0, Some(0));
    let mut threads = std::collections::BTreeMap::new();
    for line in place.read("trace").lines().filter(|line| line.contains('(')) {
        let thread = line.split(' ').next().unwrap().to_owned();
        *threads.entry(thread).or_insert(0) += 1;
    }
    threads.into_values().max().unwrap_or(0)
}

fn with_input(input: &Path) -> Place {
    let place = Place::new();
    place.write("tidewater.yaml", &format!("workers: 1\n{PIPELINE}"));
    std::fs::hard_link(input, place.path("events.ndjson")).unwrap();
    place
}

/// Fails the `when`th call of each thread; whatever comes of it, the next start must be exact.
fn fail_each(calls: &str, error: &str) {
    let source = Place::with_shop(EVENTS);
    let input: PathBuf = source.path("events.ndjson");
    assert_success(&source.run(&["run"]));
    let expected = stdout(&source.run(&["export", "events"]));
    let most = most_calls(&input, calls);
    assert!(most > 3, "a run makes {most} of these calls");
    let mut ends: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for when in 1..=most.min(MOST_CALLS) {
        let place = with_input(&input);
        let inject = format!("inject={calls}:error={error}:when={when}");
        let (code, said) =
            traced(&place, &["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject]);
        assert!(!said.contains("panicked"), "call {when}:\n{said}");
        // It goes on where that is right (a checkpoint that fails), and else says what has failed.
        assert!(matches!(code, Some(0 | 69 | 70 | 78)), "call {when} ends it with {code:?}:\n{said}");
        assert!(code == Some(0) || said.contains("ERROR") || said.contains("error"), "call {when}:\n{said}");
        *ends.entry(format!("{code:?}")).or_default() += 1;
        assert_success(&place.run(&["run"]));
        let deltas = place.read("deltas.ndjson");
        let mut lines = HashSet::new();
        assert!(deltas.lines().all(|line| lines.insert(line)), "call {when}: a line stands twice");
        assert_eq!(place.folded(), place.memberships(), "call {when}");
        assert_eq!(stdout(&place.run(&["export", "events"])), expected, "call {when}");
        assert_success(&place.run(&["verify"]));
    }
    println!(
        "{calls}: calls 1 to {} of each thread failed with {error}, ends {ends:?}",
        most.min(MOST_CALLS)
    );
}

#[test]
fn every_fsync_that_fails_leaves_a_state_that_is_exact_after_a_restart() {
    if can_trace() {
        fail_each("fsync,fdatasync", "EIO");
    }
}

#[test]
fn every_write_that_fails_leaves_a_state_that_is_exact_after_a_restart() {
    if can_trace() {
        // What the state directory is written with; messages and the file sink use `write`.
        fail_each("writev,pwritev,pwrite64", "EIO");
    }
}

/// Takes events by HTTP.
const WEB: &str = "
state: ./state
workers: 1
sources: { web: { type: http, listen: ADDRESS, write_keys: [wk] } }
identifiers: { user_id: { from: userId } }
traits: { orders: { count: Order Completed } }
segments: { customer: orders >= 1 }
sinks: { updates: { type: file, path: deltas.ndjson } }
";

/// Clients that send at the same time, so that several wait for the sync that fails.
const CLIENTS: usize = 3;

/// What one of them gets for an event: the status and whether it is told to come again; nothing if nobody is there.
fn post(address: &str, id: &str) -> Option<(u16, bool)> {
    let body = format!(
        "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"{id}\",\"userId\":\"{id}\"}}"
    );
    let head = "POST /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Write-Key: wk";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().unwrap();
    Some((status, answer.to_ascii_lowercase().contains("\r\nretry-after: ")))
}

/// Sends events until one is not taken: their ids, and what became of the last.
fn post_until_refused(address: &str, client: usize) -> (Vec<String>, Option<(u16, bool)>) {
    let mut ids = Vec::new();
    loop {
        ids.push(format!("c{client}-{}", ids.len()));
        match post(address, &ids[ids.len() - 1]) {
            Some((200, _)) => assert!(ids.len() < 10_000, "no sync fails"),
            refused => return (ids, refused),
        }
    }
}

fn until_it_listens(address: &str) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody listens at {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_sync_of_the_log_that_fails_is_answered_with_503_and_a_restart_is_exact() {
    if !can_trace() {
        return;
    }
    let mut refused = Vec::new();
    for when in [1, 2, 5, 20] {
        let place = Place::new();
        // The source does not say which port it was given, so it is given one that was free just now.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        place.write("tidewater.yaml", &WEB.replace("ADDRESS", &address));
        let mut life = place.start(&["run"]);
        life.until("ready");
        until_it_listens(&address);
        let calls = "fsync,fdatasync";
        let inject = format!("inject={calls}:error=EIO:when={when}");
        let Some(strace) = attach(&life, &["-e", &format!("trace={calls}"), "-e", &inject]) else { return };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let address = address.clone();
                std::thread::spawn(move || post_until_refused(&address, client))
            })
            .collect();
        let sent: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let (code, said) = life.end();
        strace.end();
        assert_eq!(code, Some(70), "call {when}:\n{said}");
        assert!(said.contains("Input/output error") && said.contains("/log/"), "call {when}:\n{said}");
        assert!(!said.contains("panicked"), "call {when}:\n{said}");
        // Whoever is answered at all is told that it is not taken now, and to come again.
        refused.extend(sent.iter().filter_map(|(_, answer)| *answer));

        let taken = |place: &Place| -> Vec<String> {
            let id = |event: Value| event["messageId"].as_str().unwrap().to_owned();
            place.export("events").into_iter().map(id).collect()
        };
        let mut life = place.start(&["run"]);
        life.until("ready");
        until_it_listens(&address);
        let after: HashSet<String> = taken(&place).into_iter().collect();
        for (ids, _) in &sent {
            let missing: Vec<_> = ids[..ids.len() - 1].iter().filter(|id| !after.contains(*id)).collect();
            assert!(missing.is_empty(), "call {when}: answered 200 and lost: {missing:?}");
            // They come again with what was not taken, and with one that was.
            for id in ids.iter().rev().take(2) {
                assert_eq!(post(&address, id).map(|(status, _)| status), Some(200));
            }
        }
        life.signal("TERM");
        assert_eq!(life.end().0, Some(0));
        let mut events = taken(&place);
        events.sort();
        let mut expected: Vec<String> = sent.into_iter().flat_map(|(ids, _)| ids).collect();
        expected.sort();
        assert_eq!(events, expected, "call {when}");
        assert_eq!(place.folded(), place.memberships(), "call {when}");
        assert_eq!(place.folded().len(), expected.len(), "call {when}");
        assert_success(&place.run(&["verify"]));
    }
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|answer| *answer == (503, true)), "{refused:?}");
    println!("{} of {} clients were answered 503, the others found nobody", refused.len(), 4 * CLIENTS);
}

/// A small file system in memory; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where that is not allowed.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let size = format!("size={size}");
        let mounted =
            mount_status(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at));
        mounted.then(|| Self(at))
    }

    fn resize(&self, size: &str) {
        let size = format!("remount,size={size}");
        assert!(mount_status(Command::new("mount").args(["-o", &size]).arg(&self.0)));
    }
}

fn mount_status(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_makes_it_wait_and_say_so_and_it_goes_on_by_itself() {
    let place = Place::with_shop(30_000);
    let Some(disk) = Tmpfs::mount(place.path("disk"), "2m") else {
        println!("skipped: only root may mount a small file system");
        return;
    };
    let pipeline = PIPELINE.replace("./state", "./disk/state");
    place.write("tidewater.yaml", &format!("workers: 1\nadmin: {{ listen: 127.0.0.1:0 }}\n{pipeline}"));
    let mut life = place.start(&["run", "--color", "never"]);
    let line = life.until("admin listener open");
    let admin = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    life.until("the log waits");
    let start = Instant::now();
    loop {
        let (status, body) = get(&admin, "/readyz");
        if status == 503 && body.contains("cannot write its log: no space left") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{status} {body}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let stuck = samples(&get(&admin, "/metrics").1);
    let queued = stuck.iter().find(|(name, _)| name.starts_with("tidewater_ingest_queue_bytes")).unwrap().1;
    assert!(*queued <= f64::from(32 << 20), "{queued} bytes wait");
    disk.resize("64m");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(place.folded(), place.memberships_in("disk/state"));
    assert_success(&place.run(&["verify", "--state", "disk/state"]));
}
