//! Runs the command as a user would: a process, its output, its exit code.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod receiver;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// The pipeline of most tests: something of everything that is built.
pub const PIPELINE: &str = "
state: ./state
clock: event
sources:
  history: { type: file, path: events.ndjson }
identifiers:
  user_id:      { from: userId }
  email:        { from: traits.email, normalize: email }
  anonymous_id: { from: anonymousId }
traits:
  plan:      { last: traits.plan }
  orders:    { count: Order Completed }
  revenue:   { sum: properties.revenue, event: Order Completed }
  views_1d:  { count: Product Viewed, window: 1d }
  last_seen: { last_time: \"*\" }
segments:
  loyal:       orders >= 2
  big_spender: revenue >= 300
  prospect:    has(email) and orders == 0
  active:      views_1d >= 3
  lapsed:      orders >= 1 and now - last_seen > 5d
  top:         in_segment(loyal) and in_segment(big_spender)
sinks:
  updates: { type: file, path: deltas.ndjson }
";

/// A directory of its own for one test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a pipeline file, and a shop's events.
    pub fn with_shop(events: u64) -> Self {
        let place = Self::new();
        place.write("tidewater.yaml", PIPELINE);
        place.generate(events);
        place
    }

    pub fn generate(&self, events: u64) {
        let events = events.to_string();
        let done = self.run(&["generate", "--events", &events, "--bad", "1%", "--out", "events.ndjson"]);
        assert_success(&done);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        command_in(self.0.path(), arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same with nobody at the other end of its standard output, as behind a `head` that has seen enough.
    pub fn run_unread(&self, arguments: &[&str]) -> Output {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command(arguments).stdout(writer).output().unwrap()
    }

    /// Starts a `run` that is not waited for.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::spawn(&mut self.command(arguments))
    }

    /// The deltas of the file sink, folded: every membership that holds now. Panics on a delta that repeats the
    /// state there is.
    pub fn folded(&self) -> BTreeSet<(String, String)> {
        let mut members = BTreeSet::new();
        for line in self.read("deltas.ndjson").lines() {
            let delta: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| delta[key].as_str().unwrap().to_owned();
            let member = (text("segment"), text("profile"));
            let changed = match delta["change"].as_str().unwrap() {
                "entered" => members.insert(member),
                _ => members.remove(&member),
            };
            assert!(changed, "a delta that changes nothing: {line}");
        }
        members
    }

    /// What `export` writes, as JSON.
    pub fn export(&self, what: &str) -> Vec<Value> {
        let done = self.run(&["export", what]);
        assert_success(&done);
        stdout(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn memberships(&self) -> BTreeSet<(String, String)> {
        self.memberships_in("state")
    }

    /// The same of another state directory.
    pub fn memberships_in(&self, state: &str) -> BTreeSet<(String, String)> {
        let done = self.run(&["export", "memberships", "--state", state]);
        assert_success(&done);
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = stdout(&done);
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (text(&row, "segment"), text(&row, "profile"))).collect()
    }
}

/// A `run` under way. Killed when dropped.
pub struct Running {
    pub child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    pub said: String,
}

impl Running {
    /// A `run` by this command.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, said: String::new() }
    }

    /// Waits for a log line that holds this text, and returns it.
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self.stderr.read_line(&mut line).unwrap();
            assert!(count > 0, "it ended without saying {text:?}, but:\n{}", self.said);
            self.said.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end; the exit code, if it was not killed.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        self.said.push_str(&rest);
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command_in(directory: &Path, arguments: &[&str]) -> Command {
    // A long run is made with a release binary.
    let binary =
        std::env::var_os("TIDEWATER_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tidewater").into());
    let mut command = Command::new(binary);
    command.current_dir(directory).args(arguments).stdin(Stdio::null()).env_remove("WEB_WRITE_KEY");
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "{:?}\n{}\n{}", output.status, stdout(output), stderr(output));
}

/// Asserts the exit code and that standard error holds these texts.
pub fn assert_fails(output: &Output, code: i32, texts: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{}\n{said}", stdout(output));
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
}

/// One HTTP request; status and body.
pub fn http(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

pub fn get(address: &str, path: &str) -> (u16, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

/// The samples of a Prometheus text: name with labels, value.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}
