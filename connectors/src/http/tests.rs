#![allow(clippy::unwrap_used)]

mod api;
mod clients;
mod hostile;

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use tidewater_connector_api::{ReadError, Source, SourceContext, conformance::Recorder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::{HttpSource, HttpSourceConfig};

/// `wk:` as Basic authorization.
const BASIC: &str = "Authorization: Basic d2s6\r\n";

fn config() -> HttpSourceConfig {
    HttpSourceConfig::new(([127, 0, 0, 1], 0).into(), "wk")
}

/// A source at work, and what it recorded.
struct Server {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    task: JoinHandle<Result<(), ReadError>>,
}

impl Server {
    async fn start(config: HttpSourceConfig) -> Self {
        let recorder = Recorder::new();
        let mut source = HttpSource::bind(config).await.unwrap();
        let address = source.local_addr().unwrap();
        let context = SourceContext::new("test", None, Arc::clone(&recorder) as _);
        let task = tokio::spawn(async move { source.run(context).await });
        Self { address, recorder, task }
    }

    /// POSTs a body with the key in the headers.
    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        post(self.address, path, &format!("{BASIC}{headers}"), body).await
    }

    /// The events so far, as text.
    fn events(&self) -> Vec<String> {
        let events = self.recorder.events();
        events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect()
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

async fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n\r\n").as_bytes())
        .await
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read all.
    let _ = stream.write_all(request).await;
    read_answer(&mut stream).await
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes));
    let _ = reading.await.expect("an answer within a minute");
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
