//! The real command, killed again and again at random moments: what is left in the end is what one undisturbed run
//! leaves, no line stands twice, and a receiver of webhooks gets every delta under one id.
//!
//! `TIDEWATER_KILLS` sets how many times it is killed, `TIDEWATER_KILL_EVENTS` how many events a load has and
//! `TIDEWATER_KILL_SEED` when; the seed is printed. `TIDEWATER_BINARY` names another command than the one just built. As many
//! loads are run as it takes.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use common::{receiver::Receiver, *};
use serde_json::Value;

/// From so many kills on each kind of moment must have been met.
const MANY_KILLS: u64 = 100;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Random numbers that are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// How lives ended.
#[derive(Default, Debug)]
struct Lives {
    loads: u64,
    killed: u64,
    /// Of those, how many had begun with a checkpoint.
    from_checkpoint: u64,
    /// Were killed when there was one.
    behind_checkpoint: u64,
    /// While one was written.
    during_checkpoint: u64,
    /// While a request to the webhook was open.
    during_request: u64,
    /// Before they were ready.
    while_starting: u64,
    /// Began on another number of workers than the one before.
    other_workers: u64,
    /// How far the log grew in a life: how many lives by megabytes, rounded up to a power of two.
    grown: BTreeMap<u64, u64>,
    /// The longest start that was waited for.
    slowest_start: Duration,
    deltas_received: u64,
    deltas: u64,
}

impl Lives {
    /// Whether there were enough of each kind.
    fn are_enough(&self, kills: u64) -> bool {
        let few = kills < MANY_KILLS;
        self.killed >= kills
            && (few || self.behind_checkpoint >= kills / 2)
            && (few || self.during_checkpoint >= kills / 10)
            && (few || self.during_request >= kills / 10)
    }
}

#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let (kills, events) = (number("TIDEWATER_KILLS", 10), number("TIDEWATER_KILL_EVENTS", 300_000));
    let seed = number("TIDEWATER_KILL_SEED", 1);
    println!("seed {seed}");
    // The undisturbed run: epochs are cut elsewhere, so ids and times may differ, but not who is where.
    let whole = Place::with_shop(events);
    assert_success(&whole.run(&["run"]));
    let expected = (exported(&whole, "events"), members(&whole));

    let receiver = Receiver::start();
    let mut random = Random(seed);
    let mut lives = Lives::default();
    while !lives.are_enough(kills) {
        assert!(lives.loads < kills, "the moments that are looked for do not come: {lives:?}");
        let place = Place::new();
        std::fs::hard_link(whole.path("events.ndjson"), place.path("events.ndjson")).unwrap();
        lives.loads += 1;
        kill_until_done(&place, &receiver, &mut random, &mut lives, kills);
        check(&place, &receiver, &mut lives);
        assert_eq!(exported(&place, "events"), expected.0, "the same events, each once, in the same order");
        assert_eq!(members(&place), expected.1);
        println!("{lives:?}");
    }
}

/// Kills it until it has read everything, or often enough.
fn kill_until_done(place: &Place, receiver: &Receiver, random: &mut Random, lives: &mut Lives, kills: u64) {
    let mut workers = 1;
    let mut logged = 0;
    while !lives.are_enough(kills) {
        let before = std::mem::replace(&mut workers, 1 + random.below(2));
        lives.other_workers += u64::from(before != workers);
        let hook = format!("  hook: {{ type: webhook, url: \"http://{}/deltas\" }}\n", receiver.address);
        place.write("tidewater.yaml", &format!("workers: {workers}\n{PIPELINE}{hook}"));
        let mut life = place.start(&["run", "--checkpoint-every", "40ms"]);
        let lives_until_ready = random.below(5) > 0;
        let mut checkpoint = false;
        if lives_until_ready {
            let started = Instant::now();
            checkpoint = !life.until("ready").contains("checkpoint=0 ");
            lives.slowest_start = lives.slowest_start.max(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(random.below(250)));
        let is_open = receiver.open() > 0;
        life.signal("KILL");
        match life.end() {
            (None, _) => {}
            // It was faster.
            (Some(0), _) => return,
            (Some(code), said) => panic!("it ended by itself with {code}:\n{said}"),
        }
        let files = |suffix| files(place, "state/checkpoints").iter().any(|(name, _)| name.ends_with(suffix));
        let log: u64 = self::files(place, "state/log").iter().map(|(_, bytes)| bytes).sum();
        let grown = log.saturating_sub(std::mem::replace(&mut logged, log)).div_ceil(1 << 20);
        *lives.grown.entry(grown.next_power_of_two() * u64::from(grown > 0)).or_default() += 1;
        lives.killed += 1;
        lives.from_checkpoint += u64::from(checkpoint);
        lives.behind_checkpoint += u64::from(files(".manifest"));
        lives.during_checkpoint += u64::from(files(".tmp"));
        lives.during_request += u64::from(is_open);
        lives.while_starting += u64::from(!lives_until_ready);
    }
}

/// Lets it come to its end, and checks what is left.
fn check(place: &Place, receiver: &Receiver, lives: &mut Lives) {
    assert_success(&place.run(&["run"]));
    let deltas = place.read("deltas.ndjson");
    let mut lines = HashSet::new();
    assert!(deltas.lines().all(|line| lines.insert(line)), "a line stands twice");
    assert_eq!(place.folded(), place.memberships());
    receiver.assert_heard(deltas.lines());
    let (received, different) = receiver.forget();
    lives.deltas_received += received;
    lives.deltas += different;
    assert_success(&place.run(&["verify"]));
}

/// Names and sizes of the files in a directory; none if there is no such directory.
fn files(place: &Place, directory: &str) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(place.path(directory)).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |found| found.len()))
    };
    entries.map(named).collect()
}

/// How many lines `export` writes, and a hash of them: there may be millions.
fn exported(place: &Place, what: &str) -> (u64, u64) {
    let mut export = place.command(&["export", what]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut count, mut hasher) = (0, DefaultHasher::new());
    for line in BufReader::new(export.stdout.take().unwrap()).lines() {
        line.unwrap().hash(&mut hasher);
        count += 1;
    }
    assert!(export.wait().unwrap().success());
    (count, hasher.finish())
}

/// Who is in which segment, by identifiers.
fn members(place: &Place) -> Vec<String> {
    let row = |row: &Value| format!("{} {}", row["segment"], row["identifiers"]);
    let mut members: Vec<String> = place.export("memberships").iter().map(row).collect();
    members.sort();
    members
}
