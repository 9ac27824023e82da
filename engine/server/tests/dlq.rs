//! Dead letters on the command line: a receiver that will not have some deltas, until it will.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use common::*;
use serde_json::Value;

/// A request that was answered 200, or not: id, users, status.
type Seen = (String, Vec<String>, u16);

/// Answers 422 to whatever is about one of these users.
struct Receiver {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    unwanted: Arc<Mutex<BTreeSet<String>>>,
}

impl Receiver {
    fn start(unwanted: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let unwanted = unwanted.iter().map(|user| (*user).to_owned()).collect();
        let receiver = Self { address, seen, unwanted: Arc::new(Mutex::new(unwanted)) };
        let (seen, unwanted) = (Arc::clone(&receiver.seen), Arc::clone(&receiver.unwanted));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, unwanted) = (Arc::clone(&seen), Arc::clone(&unwanted));
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &unwanted));
            }
        });
        receiver
    }

    fn delivered(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut users: Vec<String> =
            seen.iter().filter(|request| request.2 == 200).flat_map(|request| request.1.clone()).collect();
        users.sort();
        users
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Seen>>, unwanted: &Mutex<BTreeSet<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim().split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
                Some((name, value)) if name == "webhook-id" => id = value.to_owned(),
                Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let user = |delta: &Value| delta["identifiers"]["user_id"][0].as_str().unwrap().to_owned();
        let users: Vec<String> = body["deltas"].as_array().unwrap().iter().map(user).collect();
        let refused = users.iter().any(|user| unwanted.lock().unwrap().contains(user));
        let status = if refused { 422 } else { 200 };
        seen.lock().unwrap().push((id, users, status));
        let text = if refused { "no such person" } else { "" };
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn place(receiver: &Receiver, users: u32, follow: bool) -> Place {
    let place = Place::new();
    let pipeline = format!(
        "
state: ./state
sources: {{ history: {{ type: file, path: events.ndjson, follow: {follow} }} }}
identifiers: {{ user_id: {{ from: userId }} }}
traits: {{ orders: {{ count: Order Completed }} }}
segments: {{ buyer: orders >= 1 }}
sinks: {{ hook: {{ type: webhook, url: \"http://{}/\" }} }}
",
        receiver.address
    );
    place.write("tidewater.yaml", &pipeline);
    let order = |user| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"m{user}\",\"userId\":\"u{user}\"}}\n"
        )
    };
    place.write("events.ndjson", &(0..users).map(order).collect::<String>());
    place
}

fn listed(place: &Place) -> Vec<Value> {
    let done = place.run(&["dlq", "list", "--format", "json"]);
    assert_success(&done);
    stdout(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn refused_deltas_are_listed_tried_again_and_dropped() {
    let receiver = Receiver::start(&["u5", "u6", "u30"]);
    let place = place(&receiver, 50, false);
    assert_success(&place.run(&["run"]));
    assert_eq!(receiver.delivered().len(), 47);
    let letters = listed(&place);
    let mut users: Vec<&str> =
        letters.iter().map(|letter| letter["delta"]["identifiers"]["user_id"][0].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["u30", "u5", "u6"]);
    for letter in &letters {
        assert_eq!((&letter["sink"], &letter["cause"]), (&"hook".into(), &"refused".into()));
        assert!(letter["reason"].as_str().unwrap().contains("422"));
        assert_eq!(letter["retry"], false);
    }
    let text = stdout(&place.run(&["dlq", "list", "--sink", "hook"]));
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("no such person") && text.contains(" buyer ") && text.contains(" entered"));
    let shown = place.run(&["dlq", "show", "--sink", "hook", "--id", "2"]);
    assert_success(&shown);
    assert!(stdout(&shown).contains("first failed at"));
    assert_fails(&place.run(&["dlq", "show", "--sink", "hook", "--id", "9"]), 1, &["no dead letter: 9"]);
    assert_fails(&place.run(&["dlq", "list", "--sink", "hok"]), 2, &["did you mean `hook`?"]);
    assert_fails(&place.run(&["dlq", "retry", "--sink", "hook"]), 2, &["--all"]);

    // One is dropped; the others are tried again by the next run, under the ids that were refused.
    let dropped = letters.iter().find(|letter| letter["delta"]["identifiers"]["user_id"][0] == "u6").unwrap();
    let id = dropped["id"].to_string();
    assert_eq!(stdout(&place.run(&["dlq", "drop", "--sink", "hook", "--id", &id])), "1 dropped\n");
    let retried = place.run(&["dlq", "retry", "--sink", "hook", "--all"]);
    assert!(stdout(&retried).starts_with("2 to be delivered again, first thing"));
    assert!(listed(&place).iter().all(|letter| letter["retry"] == true));
    receiver.unwanted.lock().unwrap().clear();
    let before: BTreeSet<String> = receiver.seen.lock().unwrap().drain(..).map(|request| request.0).collect();
    assert_success(&place.run(&["run"]));
    let seen = receiver.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|(id, users, status)| before.contains(id) && users.len() == 1 && *status == 200));
    assert!(listed(&place).is_empty());
}

#[test]
fn a_running_engine_delivers_again_and_drops_at_once() {
    let receiver = Receiver::start(&["u5", "u6", "u30"]);
    let place = place(&receiver, 50, true);
    let mut running = place.start(&["run"]);
    running.until("ready");
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..6_000 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} never came");
    };
    until("letters", &|| receiver.delivered().len() == 47 && listed(&place).len() == 3);
    let number = |user: &str| {
        let of = |letter: &Value| letter["delta"]["identifiers"]["user_id"][0] == user;
        listed(&place).iter().find(|letter| of(letter)).unwrap()["id"].to_string()
    };
    let drop = ["dlq", "drop", "--sink", "hook", "--id", &number("u6")];
    assert_eq!(stdout(&place.run(&drop)), "1 dropped\n");
    assert_fails(&place.run(&drop), 1, &["no dead letter: "]);
    assert_eq!(listed(&place).len(), 2);

    // It refuses one of them again.
    receiver.unwanted.lock().unwrap().remove("u5");
    let retried = place.run(&["dlq", "retry", "--sink", "hook", "--all"]);
    assert_eq!(stdout(&retried), "2 to be delivered again, now\n");
    let left = |place: &Place| listed(place).iter().map(|letter| letter["retry"] == true).collect::<Vec<_>>();
    until("a refusal", &|| left(&place) == [false]);
    assert_eq!(receiver.delivered().len(), 48);
    receiver.unwanted.lock().unwrap().clear();
    let one = place.run(&["dlq", "retry", "--sink", "hook", "--id", &number("u30"), "--id", "99"]);
    assert_fails(&one, 1, &["no dead letter: 99"]);
    until("the last", &|| listed(&place).is_empty() && receiver.delivered().len() == 49);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_receiver_that_refuses_everything_is_named_and_gets_it_all_later() {
    let users: Vec<String> = (0..40).map(|user| format!("u{user}")).collect();
    let receiver = Receiver::start(&users.iter().map(String::as_str).collect::<Vec<_>>());
    let place = place(&receiver, 40, false);
    assert_fails(&place.run(&["run"]), 69, &["sink `hook` is parked", "422"]);
    assert!(listed(&place).is_empty());
    receiver.unwanted.lock().unwrap().clear();
    assert_success(&place.run(&["run"]));
    assert_eq!(receiver.delivered().len(), 40);
}
