//! A receiver that checks signatures, remembers what came, and answers as it is told.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidewater_connector_api::conformance::sink::Arrival;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};

use super::SECRET;
use crate::test_support::arrival;

/// How one request is answered; 200 when nothing is left of the script.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Never.
    Hang,
    /// The connection is closed without a word.
    Close,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) headers: hyper::HeaderMap,
    pub(super) body: Value,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Received>>,
    script: Mutex<VecDeque<Reply>>,
    connections: AtomicUsize,
}

#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::start_tls(None).await
    }

    pub(super) async fn start_tls(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&receiver.state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (state, tls) = (Arc::clone(&state), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        receiver
    }

    /// How the next requests are answered.
    pub(super) fn script(&self, replies: &[Reply]) {
        self.state.script.lock().unwrap().extend(replies.iter().cloned());
    }

    /// Everything that came so far.
    pub(super) fn requests(&self) -> Vec<Received> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// All deltas in order, with their request's id and place as the key.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for request in self.requests() {
            for (place, delta) in request.body["deltas"].as_array().unwrap().iter().enumerate() {
                assert_eq!(delta["epoch"], request.body["epoch"]);
                assert_eq!(delta["now"], request.body["now"]);
                arrivals.push(arrival(delta, Some(&format!("{}/{place}", request.id))));
            }
        }
        arrivals
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    // An error is the script's `Close`.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[derive(Debug, thiserror::Error)]
#[error("closed by the script")]
struct Closed;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let header = |name: &str| parts.headers.get(name).unwrap().to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    if let Some(signature) = parts.headers.get("webhook-signature") {
        verify(&id, &timestamp, &bytes, signature.to_str().unwrap());
    }
    assert_eq!(header("content-type"), "application/json");
    let received = Received {
        id,
        path: parts.uri.to_string(),
        body: serde_json::from_slice(&bytes).unwrap(),
        bytes: bytes.to_vec(),
        headers: parts.headers,
    };
    state.requests.lock().unwrap().push(received);
    let reply = state.script.lock().unwrap().pop_front().unwrap_or(Reply::Status(200, &[]));
    match reply {
        Reply::Hang => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
        Reply::Close => Err(Closed),
        Reply::Status(status, headers) => {
            let mut builder = Response::builder().status(status);
            for (name, value) in headers {
                builder = builder.header(*name, *value);
            }
            Ok(builder.body(Full::from("thank\n you")).unwrap())
        }
    }
}

/// Does what the specification tells receivers to do.
fn verify(id: &str, timestamp: &str, body: &[u8], signatures: &str) {
    let secret = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let valid = signatures.split(' ').any(|signature| {
        let encoded = signature.strip_prefix("v1,").unwrap();
        ring::hmac::verify(&key, &content, &BASE64_STANDARD.decode(encoded).unwrap()).is_ok()
    });
    assert!(valid, "no valid signature among {signatures}");
}
