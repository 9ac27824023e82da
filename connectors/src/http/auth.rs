//! Which write key a request comes with. The first place that holds one decides; keys are compared in constant time.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, Uri, header::AUTHORIZATION};

use crate::config::Secret;

/// The key in a request's headers: the user name of Basic authorization, else `X-Write-Key`.
pub(super) fn from_headers(headers: &HeaderMap) -> Option<Vec<u8>> {
    basic(headers).or_else(|| headers.get("x-write-key").map(|value| value.as_bytes().to_vec()))
}

/// The key in a request's query: `?writeKey=`, as beacons send it.
pub(super) fn from_query(uri: &Uri) -> Option<Vec<u8>> {
    let pairs = uri.query()?.split('&');
    pairs.filter_map(|pair| pair.strip_prefix("writeKey=")).map(percent_decode).next()
}

/// Whether a key is one of those that clients may use.
pub(super) fn is_known(key: &[u8], known: &[Secret]) -> bool {
    // All are compared, so that the time tells nothing about which came near.
    known.iter().fold(false, |found, secret| found | same(key, secret.reveal().as_bytes()))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // Something that does not decode is a key that nobody knows.
    let decoded = BASE64_STANDARD.decode(credentials.trim()).unwrap_or_default();
    let user = decoded.split(|byte| *byte == b':').next().unwrap_or_default();
    Some(user.to_vec())
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}
