#![allow(clippy::unwrap_used)]

mod configs;
mod renamed;
mod sink;
mod source;

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};

/// Compresses with gzip.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses with zstd.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Lines `{"n":from}` to `{"n":to - 1}`.
fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect()
}

/// The events in those lines.
fn events(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| format!("{{\"n\":{n}}}").into_bytes()).collect()
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
}
