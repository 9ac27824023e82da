//! Full files of the log in a bucket, from the command line, against a server that speaks S3's API (`./test` installs it).
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::*;

/// moto, on a port of its own. Killed when dropped.
struct Bucket {
    server: Child,
    address: String,
}

impl Bucket {
    /// One bucket, `logs`. `None` without a server to run.
    fn start() -> Option<Self> {
        let Some(moto) = std::env::var_os("TIDEWATER_MOTO") else {
            println!("skipped: TIDEWATER_MOTO names no moto_server");
            return None;
        };
        let mut server = Command::new(moto)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "moto ended");
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.split_whitespace().next().unwrap().to_owned();
            }
        };
        // It goes on telling of every request.
        std::thread::spawn(move || stderr.lines().for_each(drop));
        let bucket = Self { server, address };
        assert_eq!(bucket.request("PUT", "/logs").0, 200);
        Some(bucket)
    }

    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        http(
            &self.address,
            &format!(
                "{head}Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request\r\nContent-Length: 0\r\n\r\n"
            ),
        )
    }

    /// The names below a prefix.
    fn list(&self, prefix: &str) -> BTreeSet<String> {
        let (status, text) = self.request("GET", &format!("/logs?list-type=2&prefix={prefix}/"));
        assert_eq!(status, 200, "{text}");
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        keys.map(|key| key.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command(arguments);
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true");
        command
    }

    fn run(&self, place: &Place, arguments: &[&str]) -> Output {
        self.command(place, arguments).output().unwrap()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn sealed_here(place: &Place) -> usize {
    let names = std::fs::read_dir(place.path("state/log")).unwrap();
    names
        .filter(|name| {
            Path::new(&name.as_ref().unwrap().file_name()).extension().is_some_and(|end| end == "sealed")
        })
        .count()
}

#[test]
fn full_files_of_the_log_go_to_the_bucket_and_every_command_finds_them() {
    let Some(bucket) = Bucket::start() else { return };
    let place = Place::with_shop(100_000);
    let alone = Place::new();
    std::fs::hard_link(place.path("events.ndjson"), alone.path("events.ndjson")).unwrap();
    for place in [&place, &alone] {
        place.write("tidewater.yaml", PIPELINE);
    }
    assert_success(&alone.run(&["run"]));

    // Full files are put there beside the stream; an end does not wait for all of them.
    let options = ["run", "--log-store", "s3://logs/shop/", "--log-file-bytes", "1MiB"];
    place.write("tidewater.yaml", &PIPELINE.replace("events.ndjson }", "events.ndjson, follow: true }"));
    let mut running = Running::spawn(&mut bucket.command(&place, &options));
    running.until("ready");
    let start = Instant::now();
    while bucket.list("shop").len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(120), "{:?}", bucket.list("shop"));
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert_eq!(sealed_here(&place), 0);
    place.write("tidewater.yaml", PIPELINE);
    assert_success(&bucket.run(&place, &["run"]));
    // From now on the directory knows it.
    let exported = bucket.run(&place, &["export", "events"]);
    assert_success(&exported);
    assert!(exported.stdout == alone.run(&["export", "events"]).stdout);
    let deltas = place.read("deltas.ndjson");
    for command in [&["export", "memberships"][..], &["verify"], &["plan"], &["redrive"]] {
        assert_success(&bucket.run(&place, command));
    }
    // Without checkpoints all of the log is read again.
    std::fs::remove_dir_all(place.path("state/checkpoints")).unwrap();
    assert_success(&bucket.run(&place, &["run"]));
    assert_eq!(place.read("deltas.ndjson"), deltas);

    // Another directory may not use it, and this one no other.
    assert_fails(
        &bucket.run(&alone, &["run", "--log-store", "s3://logs/shop"]),
        78,
        &["holds something already"],
    );
    let other = bucket.run(&place, &["run", "--log-store", "s3://logs/other"]);
    assert_fails(&other, 78, &["sealed log files are in s3://logs/shop, not in s3://logs/other"]);
    // A copy would share it with the original.
    assert_fails(&bucket.run(&place, &["checkpoint", "--to", "copy"]), 78, &["s3://logs/shop"]);
    // Out of reach is said, with the address.
    let mut lost = bucket.command(&place, &["export", "events"]);
    lost.env("AWS_ENDPOINT", "http://127.0.0.1:1");
    assert_fails(&lost.output().unwrap(), 70, &["s3://logs/shop"]);
}

#[test]
fn what_is_no_address_is_a_config_error() {
    let place = Place::with_shop(10);
    place.write("tidewater.yaml", PIPELINE);
    for address in ["ftp://logs/shop", "s3://", "s3://logs", "logs"] {
        assert_fails(&place.run(&["run", "--log-store", address]), 78, &["log store ", "s3://BUCKET/PREFIX"]);
    }
    assert!(!Path::new(&place.path("state")).exists());
    place.write("tidewater.yaml", &PIPELINE.replace("state: ./state", ""));
    assert_fails(&place.run(&["run", "--log-store", "s3://logs/shop"]), 78, &["the pipeline has no `state`"]);
}
