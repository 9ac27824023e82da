//! The user's documentation, as its readers would use it: files are written, commands are run, links are followed.
//!
//! Of a page's code blocks, `yaml` ones that begin with a file's name are written to that file, `sh` ones are run,
//! `sh service` ones too if there is a curl, and `json` ones must be JSON. `sh ignore` is for what can't be run here.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use common::*;

/// A test runs in its package, wherever it was built: checkouts may share a cache.
fn root() -> PathBuf {
    std::env::current_dir().unwrap().join("../..")
}

fn pages() -> Vec<PathBuf> {
    let guide = std::fs::read_dir(root().join("docs/guide")).unwrap().map(|page| page.unwrap().path());
    let mut pages: Vec<PathBuf> = guide.chain([root().join("README.md")]).collect();
    pages.sort();
    assert!(pages.len() >= 4);
    pages
}

/// The fenced blocks of a page: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block that never ends");
    blocks
}

fn run_script(place: &Place, script: &str) {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidewater")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    let done = shell.args(["-euc", script]).current_dir(place.path("")).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{script}\n{}\n{}", stdout(&done), stderr(&done));
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").output().is_ok_and(|done| done.status.success())
}

/// The ports of the documentation may be taken on this machine.
fn with_free_ports(text: &str, ports: &[(&str, String)]) -> String {
    ports.iter().fold(text.to_owned(), |text, (port, free)| text.replace(port, free))
}

#[test]
fn every_code_block_works() {
    for page in pages() {
        let place = Place::new();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let ports = [("127.0.0.1:8000", free()), ("127.0.0.1:9000", free())];
        let mut done = 0;
        for (info, text) in blocks(&std::fs::read_to_string(&page).unwrap()) {
            let text = with_free_ports(&text, &ports);
            match info.as_str() {
                "yaml" => {
                    let name = text.lines().next().unwrap().strip_prefix("# ").unwrap();
                    place.write(name, &text);
                    let valid = place.run(&["validate", name]);
                    assert!(valid.status.success(), "{}: {}", page.display(), stderr(&valid));
                }
                "sh" => run_script(&place, &text),
                "sh service" if has_curl() => run_script(&place, &text),
                "json" => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
                "sh ignore" | "sh service" => {}
                // Compiled and run with the examples.
                "rust" => {}
                other => panic!("{}: what is a block of {other:?}?", page.display()),
            }
            done += 1;
        }
        assert!(done >= 2, "{}", page.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("https://") {
                let target = page.parent().unwrap().join(link.split('#').next().unwrap());
                assert!(target.exists(), "{}: {link}", page.display());
            }
        }
    }
}

#[test]
fn every_option_that_is_named_exists_and_every_command_is_named() {
    let place = Place::new();
    let commands = [
        "run",
        "demo",
        "validate",
        "plan",
        "generate",
        "export",
        "verify",
        "redrive",
        "checkpoint",
        "schema",
    ];
    let mut help: String = commands.iter().map(|command| stdout(&place.run(&[command, "--help"]))).collect();
    for action in ["list", "show", "retry", "drop"] {
        help.push_str(&stdout(&place.run(&["dlq", action, "--help"])));
    }
    let page = std::fs::read_to_string(root().join("docs/guide/commands.md")).unwrap();
    for command in commands.into_iter().chain(["explain", "dlq"]) {
        assert!(page.contains(&format!("### {command}\n")), "{command}");
    }
    let option =
        |text: &str| -> String { text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect() };
    let named: BTreeSet<String> =
        page.split("--").skip(1).map(option).filter(|name| name.len() > 1).collect();
    for name in named.iter().filter(|name| !name.starts_with('-') && *name != "help") {
        assert!(help.contains(&format!("--{name}")), "--{name} is no option");
    }
}
