//! House rules as tests: who may import whom, how long a file gets, and what never stands in one.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Lines of a file, its tests apart.
const LONGEST_FILE: usize = 600;

/// Who may import what of the house; whoever is not listed may import anything.
const MAY_IMPORT: [(&str, &[&str]); 7] = [
    ("tidewater-model", &[]),
    ("tidewater-connector-api", &["tidewater-model"]),
    ("tidewater-storage", &["tidewater-model"]),
    ("tidewater-oracle", &["tidewater-model"]),
    ("tidewater-operators", &["tidewater-model"]),
    (
        "tidewater",
        &["tidewater-model", "tidewater-connector-api", "tidewater-storage", "tidewater-operators"],
    ),
    ("tidewater-connectors", &["tidewater-model", "tidewater-connector-api"]),
];

/// What a crate must never see.
const NEVER: [(&str, &[&str]); 6] = [
    ("tidewater-model", &["timely", "differential-dataflow", "tokio"]),
    ("tidewater-connector-api", &["timely", "differential-dataflow"]),
    // It has tokio for its feature `object-store` alone, whose crate can't do without.
    ("tidewater-storage", &["timely", "differential-dataflow"]),
    ("tidewater-oracle", &["timely", "differential-dataflow", "tokio"]),
    ("tidewater-operators", &["tokio", "crossbeam"]),
    ("tidewater", &["clap", "axum", "hyper"]),
];

/// A test runs in its package, wherever it was built: checkouts may share a cache.
fn root() -> PathBuf {
    std::env::current_dir().unwrap().ancestors().nth(2).unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The dependencies of each crate of the workspace that are in what it builds, not only in its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let built = all.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        built.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), of(package))).collect()
}

#[test]
fn crates_import_only_what_they_may() {
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for (name, allowed) in MAY_IMPORT {
        let house = dependencies[name].iter().filter(|other| other.starts_with("tidewater"));
        wrong.extend(
            house
                .filter(|other| !allowed.contains(&other.as_str()))
                .map(|other| format!("{name} -> {other}")),
        );
    }
    for (name, never) in NEVER {
        let seen = never.iter().filter(|other| dependencies[name].contains(**other));
        wrong.extend(seen.map(|other| format!("{name} -> {other}")));
    }
    for (name, all) in &dependencies {
        let is_outermost = ["tidewater-benches", "tidewater-examples"].contains(&name.as_str());
        wrong.extend(all.contains("tidewater-server").then(|| format!("{name} -> tidewater-server")));
        let ships_testkit = all.contains("tidewater-testkit") && !is_outermost;
        wrong.extend(ships_testkit.then(|| format!("{name} -> tidewater-testkit")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_crate_takes_the_houses_lints() {
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains("missing_docs = \"warn\""), "the workspace no longer asks for documentation");
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let text = read(Path::new(manifest));
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest} has no `lints.workspace`");
    }
}

/// Every file that is or will be in the repository: not ignored, text.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    // Without git (in an unpacked archive) the rules are held by whoever has it.
    listed.split_terminator('\0').map(|path| root().join(path)).filter(|path| path.is_file()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The lines of a file before the tests in it.
fn own_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_tests = |line: &str, next: &str| line == "#[cfg(test)]" && next == "mod tests {";
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.windows(2).position(|pair| is_tests(pair[0], pair[1])).unwrap_or(lines.len());
    (1..).zip(lines.into_iter().take(end))
}

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    let long: Vec<String> = sources()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, own_lines(&text).count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = ["TO", "FIX", "unimple", "to", "#[ig"];
    let ends = ["DO", "ME", "mented!", "do!(", "nore"];
    let words: Vec<String> = words.iter().zip(ends).map(|(word, end)| format!("{word}{end}")).collect();
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = ["tmp", "work", "root", "home"].map(|place| format!("/{place}/"));
    let is_place = |line: &str| {
        places.iter().any(|place| {
            // A path begins there: `a/home/b` of a URL or of the checkout does not.
            let begins = |at: usize| at == 0 || " \"'`=(:".contains(char::from(line.as_bytes()[at - 1]));
            line.match_indices(place.as_str()).any(|(at, _)| begins(at))
        })
    };
    let mut found = Vec::new();
    for path in files() {
        for (number, line) in (1..).zip(read(&path).lines()) {
            if is_place(line) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("operators/src/intrinsics.rs") || path.ends_with("testkit/tests/tidy.rs") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            let is_word =
                |at: usize| !code[at + 6..].starts_with(|end: char| end.is_alphanumeric() || end == '_');
            if code.match_indices("unsafe").any(|(at, _)| is_word(at)) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_module_says_what_it_keeps_true() {
    let silent: Vec<String> = sources()
        .filter(|(path, text)| !is_test(path) && !text.starts_with("//!") && !text.starts_with("#!["))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}
