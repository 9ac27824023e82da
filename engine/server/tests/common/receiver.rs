//! A receiver of webhooks: remembers under which id every delta came, and how often.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How long it thinks about a request, so that some are open when the sender dies.
const THINKS: Duration = Duration::from_millis(2);

/// Listens until the test ends.
pub struct Receiver {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    open: Arc<AtomicUsize>,
}

/// What came.
#[derive(Default)]
struct Heard {
    /// By the delta, the request's id; both as hashes.
    ids: HashMap<u64, u64>,
    deltas: u64,
    /// The first delta that came under two ids.
    twice: Option<String>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, open) = (Arc::<Mutex<Heard>>::default(), Arc::<AtomicUsize>::default());
        let shared = (Arc::clone(&heard), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, open) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                // A connection that breaks is one whose sender was killed.
                std::thread::spawn(move || _ = serve(stream, &heard, &open));
            }
        });
        Self { address, heard, open }
    }

    /// How many requests have begun to come and are not answered.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Forgets everything; how many deltas came, and how many different ones.
    pub fn forget(&self) -> (u64, u64) {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        (heard.deltas, heard.ids.len() as u64)
    }

    /// Asserts that exactly these deltas came, each under one id.
    pub fn assert_heard<'a>(&self, deltas: impl Iterator<Item = &'a str>) {
        let heard = self.heard.lock().unwrap();
        assert_eq!(heard.twice, None, "a delta came under two ids");
        let mut count = 0;
        for delta in deltas {
            assert!(heard.ids.contains_key(&hash(delta)), "never came: {delta}");
            count += 1;
        }
        assert_eq!(heard.ids.len(), count, "deltas came that are not in the file");
    }
}

fn serve(stream: TcpStream, heard: &Mutex<Heard>, open: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        open.fetch_add(1, Ordering::SeqCst);
        let done = answer(&mut requests, &mut answers, heard);
        open.fetch_sub(1, Ordering::SeqCst);
        done?;
    }
}

fn answer(
    requests: &mut impl BufRead,
    answers: &mut impl Write,
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    let (mut line, mut id, mut length) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        requests.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "webhook-id" => value.trim().clone_into(&mut id),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    requests.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    let deltas = body.split_once("\"deltas\":[").unwrap().1.strip_suffix("]}").unwrap();
    {
        let mut heard = heard.lock().unwrap();
        // No text inside a delta can look like the beginning of one, since quotes are escaped there.
        for (number, rest) in deltas.split(",{\"epoch\":").enumerate() {
            let delta = if number == 0 { rest.to_owned() } else { format!("{{\"epoch\":{rest}") };
            heard.deltas += 1;
            let before = heard.ids.insert(hash(&delta), hash(&id));
            if before.is_some_and(|before| before != hash(&id)) {
                heard.twice.get_or_insert(delta);
            }
        }
    }
    std::thread::sleep(THINKS);
    answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
