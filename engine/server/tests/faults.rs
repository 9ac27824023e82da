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
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::*;

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
