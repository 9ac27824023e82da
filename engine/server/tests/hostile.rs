//! Input made to hurt, sent to a whole process by file and by HTTP: what can't be used ends in quarantine under its
//! reason, the rest goes on, and memory stays small.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use common::*;

const PIPELINE: &str = "
state: ./state
workers: 1
admin: { listen: 127.0.0.1:0 }
sources:
  lines: { type: file, path: events.ndjson, follow: true, FILE_LIMITS }
  web: { type: http, listen: WEB, write_keys: [wk], WEB_LIMITS }
identifiers:
  user_id: { from: userId }
traits:
  orders:  { count: Order Completed }
  revenue: { sum: properties.revenue, event: Order Completed }
segments:
  customer: orders >= 1
  paid:     revenue > 0
sinks:
  updates: { type: file, path: deltas.ndjson }
";

/// The limits that hold if a pipeline says nothing of them.
const FILE_LIMITS: &str = "max_event_bytes: 1MiB";
const WEB_LIMITS: &str = "max_event_bytes: 32KiB, max_body_bytes: 500KB";

/// What a hostile event comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Quarantined(&'static str),
    Accepted,
}
use Fate::{Accepted, Quarantined};

/// A run that reads `events.ndjson` as it grows and listens for events.
struct Service {
    place: Place,
    running: Running,
    admin: String,
    web: String,
}

impl Service {
    /// With these limits of the two sources.
    fn start(file_limits: &str, web_limits: &str) -> Self {
        let place = Place::new();
        // The source does not say which port it was given, so it is given one that was free just now.
        let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let limited = PIPELINE.replace("FILE_LIMITS", file_limits).replace("WEB_LIMITS", web_limits);
        place.write("tidewater.yaml", &limited.replace("WEB", &web));
        place.write("events.ndjson", "");
        let mut running = place.start(&["run", "--color", "never"]);
        let line = running.until("admin listener open");
        let admin = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        running.until("ready");
        let start = Instant::now();
        while TcpStream::connect(&web).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "nobody listens at {web}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { place, running, admin, web }
    }

    /// Appends to the file that is followed.
    fn append(&self, pieces: &[&[u8]]) {
        let path = self.place.path("events.ndjson");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        pieces.iter().for_each(|piece| file.write_all(piece).unwrap());
    }

    /// Posts a body to a path; the status, and how many of its events were refused.
    fn post(&self, path: &str, body: &[&[u8]]) -> (u16, u64) {
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Write-Key: wk\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(&self.web).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too large is refused by its announced length, and the rest of it may find nobody.
        let _ = body.iter().try_for_each(|piece| stream.write_all(piece));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
        let rejected =
            answer.split_once("x-rejected: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
        (status, rejected.parse().unwrap())
    }

    /// A metric's value, summed over its labels; 0 as long as nothing was counted.
    fn metric(&self, name: &str) -> f64 {
        let samples = samples(&get(&self.admin, "/metrics").1);
        let of = |sample: &str| sample.split('{').next() == Some(name);
        samples.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
    }

    /// Waits until so many events have been accepted or refused.
    fn until_seen(&self, count: u64) {
        let start = Instant::now();
        let seen =
            || self.metric("tidewater_events_total") + self.metric("tidewater_events_quarantined_total");
        while seen() < count as f64 {
            assert!(start.elapsed() < Duration::from_secs(120), "{} of {count} seen", seen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The most memory that the process has ever held, in bytes.
    fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Stops it, and takes the reason, source and size of everything in quarantine.
    fn stop(self) -> (Place, Vec<(String, String, u64)>) {
        self.running.signal("TERM");
        let (code, said) = self.running.end();
        assert_eq!(code, Some(0), "{said}");
        assert_success(&self.place.run(&["verify"]));
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let rows = self.place.export("quarantine").into_iter();
        let rows =
            rows.map(|row| (text(&row["reason"]), text(&row["source"]), row["bytes"].as_u64().unwrap()));
        (self.place, rows.collect())
    }
}

/// An order of a user with these bytes in it, behind a comma.
fn order(user: &str, extra: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"type":"track","event":"Order Completed","userId":"{user}","#);
    [head.as_bytes(), extra, b"}"].concat()
}

fn nested(open: &str, close: &str, depth: usize) -> Vec<u8> {
    order("deep", format!("\"unread\":{}0{}", open.repeat(depth), close.repeat(depth)).as_bytes())
}

/// Lines of which nobody could say where a value ends: bytes of a binary file, and an event that breaks off.
const UNCLEAR: [&[u8]; 3] = [b"\x00\x00\x00\x00", b"\xff\xfe\x00", b"{\"userId\":\"u\",\"traits\":{"];

/// Every kind of hostile event that fits the limits of both sources, without a line break in it.
fn hostile() -> Vec<(Vec<u8>, Fate)> {
    let digits = "9".repeat(10_000);
    let mut all = vec![
        (nested("[", "]", 10_000), Quarantined("bad_json")),
        (nested("{\"a\":", "}", 5_000), Quarantined("bad_json")),
        (order("u", b"\"unread\":\"\xff\xfe\""), Quarantined("bad_json")),
        (order("u", b"\"unread\":\"\xed\xa0\x80\""), Quarantined("bad_json")),
        (order("u", b"\"unread\":\"\x00\""), Quarantined("bad_json")),
        (order("u", b"\"properties\":{\"revenue\":5,\"unread\":01}"), Quarantined("bad_json")),
        (order("u", b"\"properties\":{\"revenue\":5,\"unread\":nope}"), Quarantined("bad_json")),
        (order("u", b"\"properties\":{\"revenue\":5,\"unread\":\"\\x\"}"), Quarantined("bad_json")),
        (order("u", b"\"properties\":{\"revenue\":5,\"unread\":[1,]}"), Quarantined("bad_json")),
    ];
    for (time, reason) in [
        ("\"1970-01-01T00:00:00Z\"", "bad_time"),
        ("\"1999-12-31T23:59:59.999Z\"", "bad_time"),
        ("\"10000-01-01T00:00:00Z\"", "bad_time"),
        ("\"2026-02-30T00:00:00Z\"", "bad_time"),
        ("\"2026-01-01T00:00:00\"", "bad_time"),
        ("-1", "bad_time"),
        ("1e400", "bad_time"),
        ("99999999999999999999999999", "bad_time"),
        (digits.as_str(), "bad_time"),
        ("\"9999-12-31T23:59:59.999Z\"", "future_time"),
    ] {
        all.push((order("u", format!("\"timestamp\":{time}").as_bytes()), Quarantined(reason)));
    }
    for number in ["1e400", "-1e400", "1000000000000000001", digits.as_str(), "\"1e400\""] {
        let extra = format!("\"properties\":{{\"revenue\":{number}}}");
        all.push((order("huge", extra.as_bytes()), Accepted));
    }
    all
}

#[test]
fn what_cannot_be_used_is_quarantined_with_its_reason_and_the_rest_goes_on() {
    const LONG: usize = 100 << 20;
    let service = Service::start(FILE_LIMITS, WEB_LIMITS);
    let idle = service.peak_bytes();
    let all = hostile();
    let long = order("long", &[b"\"unread\":\"".as_slice(), &vec![b'x'; LONG], b"\""].concat());
    let good = |user: &str| order(user, b"\"properties\":{\"revenue\":7}");

    // By file: all of them, the long line, and then an event like any other.
    for event in all.iter().map(|(event, _)| event.as_slice()).chain(UNCLEAR) {
        service.append(&[event, b"\n"]);
    }
    service.append(&[&long, b"\n", &good("after"), b"\n"]);
    service.until_seen((all.len() + UNCLEAR.len()) as u64 + 2);

    // By HTTP: one batch with all of them between two good ones. A body that can't be cut into events is refused as a
    // whole, as is one beyond its limit.
    let (first, last) = (good("first"), good("last"));
    let events = std::iter::once(&first).chain(all.iter().map(|(event, _)| event)).chain([&last]);
    let batch = events.map(Vec::as_slice).collect::<Vec<_>>().join(&b","[..]);
    let refused = all.iter().filter(|(_, fate)| *fate != Accepted).count() as u64;
    assert_eq!(service.post("/v1/batch", &[b"{\"batch\":[", &batch, b"]}"]), (200, refused));
    for body in UNCLEAR {
        assert_eq!(service.post("/v1/batch", &[b"{\"batch\":[", body, b"]}"]), (400, 0));
    }
    assert_eq!(service.post("/v1/track", &[&long]), (400, 0));
    let too_large = order("large", &[b"\"unread\":\"".as_slice(), &vec![b'x'; 40 << 10], b"\""].concat());
    assert_eq!(service.post("/v1/track", &[&too_large]), (200, 1));
    assert_eq!(service.post("/v1/track", &[&good("single")]), (200, 0));

    // Each huge number was read as null and counted, once by file and once by HTTP.
    let huge = all.iter().filter(|(_, fate)| *fate == Accepted).count() as f64;
    assert_eq!(service.metric("tidewater_values_not_numeric_total"), 2.0 * huge);
    let quarantined = service.metric("tidewater_events_quarantined_total");
    assert_eq!(quarantined, 2.0 * refused as f64 + UNCLEAR.len() as f64 + 2.0);

    // The long line was never held.
    let peak = service.peak_bytes();
    assert!(peak < idle + LONG as u64, "{idle} bytes idle, {peak} after the long line");

    let (place, mut found) = service.stop();
    let mut expected = Vec::new();
    for source in ["lines", "web"] {
        for (event, fate) in &all {
            if let Quarantined(reason) = fate {
                expected.push(((*reason).to_owned(), source.to_owned(), event.len() as u64));
            }
        }
        let length = if source == "lines" { long.len() } else { too_large.len() };
        expected.push(("too_large".to_owned(), source.to_owned(), length as u64));
    }
    let unclear = UNCLEAR.iter().map(|line| line.len() as u64);
    expected.extend(unclear.map(|length| ("bad_json".to_owned(), "lines".to_owned(), length)));
    // Within a batch what is too large is refused before the rest is looked at, so the order says nothing.
    found.sort();
    expected.sort();
    assert_eq!(found, expected);

    // Who was only in broken events is nobody; whose numbers were too large has paid nothing.
    let profiles = place.export("profiles").into_iter();
    let mut profiles: Vec<(String, String)> = profiles
        .map(|row| (row["identifiers"]["user_id"][0].to_string(), row["traits"].to_string()))
        .collect();
    profiles.sort();
    let paid = |user: &str| (format!("\"{user}\""), "{\"orders\":1,\"revenue\":7}".to_owned());
    let huge = ("\"huge\"".to_owned(), format!("{{\"orders\":{},\"revenue\":0}}", 2.0 * huge));
    assert_eq!(profiles, [paid("after"), paid("first"), huge, paid("last"), paid("single")]);
}

#[test]
fn a_million_distinct_keys_cost_little_memory() {
    const KEYS: usize = 1_000_000;
    const MOST: u64 = 200 << 20;
    let keys = |range: std::ops::Range<usize>| {
        let text: String = range.map(|key| format!("\"{key:x}\":1,")).collect();
        text.trim_end_matches(',').to_owned()
    };
    let wide = |range| order("wide", format!("\"properties\":{{\"revenue\":7,{}}}", keys(range)).as_bytes());
    let whole = wide(0..KEYS);

    // In events that the limits allow.
    let service = Service::start(FILE_LIMITS, WEB_LIMITS);
    let idle = service.peak_bytes();
    for first in (0..KEYS).step_by(100_000) {
        service.append(&[&wide(first..first + 100_000), b"\n"]);
    }
    for first in (0..KEYS).step_by(2_500) {
        assert_eq!(service.post("/v1/track", &[&wide(first..first + 2_500)]), (200, 0));
    }
    service.until_seen((KEYS / 100_000 + KEYS / 2_500) as u64);
    let peak = service.peak_bytes();
    assert!(peak <= idle + MOST, "{idle} bytes idle, {peak} with many keys in many events");
    assert_eq!(service.stop().1, []);

    // In one event, with limits under which each source hands it on whole.
    for source in ["file", "http"] {
        let service =
            Service::start("max_event_bytes: 16MiB", "max_event_bytes: 16MiB, max_body_bytes: 16MiB");
        let idle = service.peak_bytes();
        match source {
            "file" => service.append(&[&whole, b"\n"]),
            _ => assert_eq!(service.post("/v1/track", &[&whole]).0, 200),
        }
        service.until_seen(1);
        let peak = service.peak_bytes();
        assert!(peak <= idle + MOST, "{source}: {idle} bytes idle, {peak} with many keys in one event");
        service.stop();
    }
}
