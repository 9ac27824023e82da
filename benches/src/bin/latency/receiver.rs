//! The webhook's receiver: notes when the delta of each request arrived, then answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use memchr::memmem;
use tidewater_benches::{Failure, clock};

/// What stands before the number of the request in a delta.
const BEFORE_NUMBER: &[u8] = b"\"user\":[\"r";

/// When the delta of each request arrived, in microseconds since 1970.
type Arrivals = Arc<Mutex<Vec<Option<i64>>>>;

/// A listening receiver; it listens until the process ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    arrivals: Arrivals,
}

impl Receiver {
    /// Listens for the deltas of so many requests.
    pub(crate) fn start(requests: usize) -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let arrivals: Arrivals = Arc::new(Mutex::new(vec![None; requests]));
        let noted = Arc::clone(&arrivals);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                // A connection that breaks shows in the deltas that are missing.
                thread::spawn(move || serve(stream, &noted));
            }
        });
        Ok(Self { address, arrivals })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// When the delta of each request arrived.
    pub(crate) fn arrivals(&self) -> Vec<Option<i64>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads requests of one connection and answers each.
fn serve(stream: TcpStream, arrivals: &Arrivals) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        requests.read_exact(&mut body)?;
        note(&body, clock::unix_micros(), arrivals);
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

fn note(body: &[u8], arrived: i64, arrivals: &Arrivals) {
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    for place in memmem::find_iter(body, BEFORE_NUMBER) {
        let digits = body[place + BEFORE_NUMBER.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let number = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        if let Some(slot) = arrivals.get_mut(number) {
            slot.get_or_insert(arrived);
        }
    }
}
