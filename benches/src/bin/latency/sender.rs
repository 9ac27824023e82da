//! The open load: every connection sends its requests when they are due, one event each, and waits for the answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tidewater_benches::{Failure, clock, figures::Durations};

/// What to send.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// Where the engine listens.
    #[arg(long)]
    address: SocketAddr,
    /// The write key.
    #[arg(long)]
    key: String,
    /// When the first request is due, in microseconds since 1970.
    #[arg(long)]
    start: i64,
    /// Requests a second.
    #[arg(long)]
    rate: u64,
    /// How many in all.
    #[arg(long)]
    requests: u64,
    /// How many of them are not counted.
    #[arg(long)]
    skip: u64,
    /// Connections, which take turns.
    #[arg(long)]
    connections: u64,
}

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    /// From when a request was due to when it was answered.
    answered: Vec<f64>,
    /// From when a request was due to when it was sent: how good this sender is.
    late: Vec<f64>,
    refused: u64,
}

/// Sends it all and prints what was seen.
pub(crate) fn send(load: &Load) -> Result<(), Failure> {
    let connections: Vec<_> = (0..load.connections)
        .map(|connection| {
            let load = load.clone();
            thread::spawn(move || send_on(&load, connection))
        })
        .collect();
    let (mut answered, mut late, mut refused) = (Durations::default(), Durations::default(), 0);
    for connection in connections {
        let seen = connection.join().map_err(|_| "a connection's thread panicked")??;
        seen.answered.into_iter().for_each(|micros| answered.push_micros(micros));
        seen.late.into_iter().for_each(|micros| late.push_micros(micros));
        refused += seen.refused;
    }
    let report =
        json!({ "due_to_answered": answered.to_json(), "due_to_sent": late.to_json(), "refused": refused });
    println!("{report}");
    Ok(())
}

fn send_on(load: &Load, connection: u64) -> Result<Seen, Failure> {
    let mut stream = TcpStream::connect(load.address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let credentials = base64(format!("{}:", load.key).as_bytes());
    let mut seen = Seen::default();
    for number in (connection..load.requests).step_by(load.connections as usize) {
        let due = load.start + (number * 1_000_000 / load.rate) as i64;
        let request = request(number, &credentials);
        let wait = due - clock::unix_micros();
        if wait > 0 {
            thread::sleep(Duration::from_micros(wait as u64));
        }
        let sent = clock::unix_micros();
        stream.write_all(&request)?;
        let status = read_answer(&mut answers)?;
        if status != 200 {
            seen.refused += 1;
        }
        if number >= load.skip {
            seen.answered.push((clock::unix_micros() - due) as f64);
            seen.late.push((sent - due) as f64);
        }
    }
    Ok(seen)
}

/// A new customer puts something into the cart, and so enters a segment.
fn request(number: u64, credentials: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"messageId":"m{number}","anonymousId":"a{number}","userId":"r{number}","event":"Product Added","properties":{{"path":"/p/{}","category":"books"}}}}"#,
        number % 5_000
    );
    let length = body.len();
    format!(
        "POST /v1/track HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Reads one answer; its status.
fn read_answer(answers: &mut impl BufRead) -> Result<u16, Failure> {
    let (mut line, mut status, mut length) = (String::new(), None, 0);
    loop {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err("the engine closed a connection".into());
        }
        if status.is_none() {
            status = line.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        } else if line.trim_end().is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    std::io::copy(&mut answers.take(length), &mut std::io::sink())?;
    Ok(status.ok_or("an answer without a status")?)
}

/// The few bytes of a write key as base64, for which no crate is needed.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { letter.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_padded() {
        assert_eq!(base64(b"bench:"), "YmVuY2g6");
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"a"), "YQ==");
    }
}
