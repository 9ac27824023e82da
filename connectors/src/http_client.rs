//! A small HTTP/1.1 client for sinks: one endpoint, one kept connection, one request at a time, in order.
//!
//! hyper directly rather than reqwest: a sink needs no redirects, proxies, cookies or pools, reqwest would bring some
//! sixty more crates, and here the connection is driven by the task that waits for the answer, so that a request
//! never waits for another thread to be woken. TLS is rustls with ring, which needs neither cmake nor OpenSSL.

use std::{fs, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

/// How much of an answer's body is shown.
const EXCERPT_BYTES: usize = 200;
/// An answer with a longer body costs the connection.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where requests go.
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: Uri,
}

impl Endpoint {
    /// Reads a URL. The message never holds it, as there may be a token in it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL such as `https://example.com/hook`".to_owned())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("expected a URL that begins with `https://` or `http://`".into()),
        };
        let authority = uri.authority().ok_or("the URL names no host")?;
        if authority.as_str().contains('@') {
            return Err("a user name in the URL is not supported; use `headers: { Authorization: … }`".into());
        }
        let host_header = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            // A query may stand directly behind the host, but what is asked for begins with the root.
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Ok(Self {
            https,
            // Of `[::1]` the brackets are the URL's.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            host_header,
            path: path.parse().map_err(|_| "the URL's path is not valid".to_owned())?,
        })
    }
}

/// The certificates to trust: those of a PEM file, else the public ones as of this build.
pub(crate) fn trusting(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let failed =
                |error: &dyn std::fmt::Display| format!("cannot read certificates from {path}: {error}");
            let pem = fs::read(path).map_err(|error| failed(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            if roots.is_empty() {
                return Err(failed(&"there are none in it"));
            }
        }
    }
    // The provider is named, so that nothing depends on what else the process has linked or installed.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Not a byte of the request has left.
    NotSent(String),
    /// It may have arrived.
    MaybeSent(String),
}

/// An answer, as far as a sink looks at it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// The first characters of the body, on one line.
    pub(crate) body: String,
}

/// Sends requests to one endpoint.
pub(crate) struct HttpClient {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    timeout: Duration,
    name: String,
    connection: Option<Connection>,
}

impl HttpClient {
    /// Makes a client; `tls` is needed for `https`.
    pub(crate) fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Self {
        let name = format!("{}:{}", endpoint.host, endpoint.port);
        Self { endpoint, tls: tls.map(TlsConnector::from), timeout, name, connection: None }
    }

    /// Host and port, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Posts a body. Dropping the future closes the connection.
    pub(crate) async fn post(&mut self, headers: HeaderMap, body: Bytes) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + self.timeout;
        let wait_ms = self.timeout.as_millis();
        let late = |name: &str, what| format!("{name} did not {what} within {wait_ms} ms");
        let connected = timeout_at(deadline, self.take_connection()).await;
        let mut connection =
            connected.map_err(|_| ClientError::NotSent(late(&self.name, "accept a connection")))??;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.path.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.endpoint.host_header.clone());
        let answered = timeout_at(deadline, connection.exchange(request)).await;
        let answered = answered.map_err(|_| ClientError::MaybeSent(late(&self.name, "answer")))?;
        let (answer, reusable) = answered.map_err(|error| {
            let reason = format!("{} closed the connection without an answer: {error}", self.name);
            // Cancelled means that the connection was gone before the request was written to it.
            if error.is_canceled() { ClientError::NotSent(reason) } else { ClientError::MaybeSent(reason) }
        })?;
        if reusable {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// The kept connection if the server has not closed it, else a new one.
    async fn take_connection(&mut self) -> Result<Connection, ClientError> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_open().await
        {
            return Ok(kept);
        }
        connect(&self.endpoint, self.tls.as_ref())
            .await
            .map_err(|error| ClientError::NotSent(format!("cannot connect to {}: {error}", self.name)))
    }
}

async fn connect(
    endpoint: &Endpoint,
    tls: Option<&TlsConnector>,
) -> Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    // A request is one write and its answer is awaited: nothing to gather.
    stream.set_nodelay(true)?;
    match tls {
        None => Connection::begin(stream).await,
        Some(tls) => {
            let server = ServerName::try_from(endpoint.host.clone())?;
            Connection::begin(tls.connect(server, stream).await?).await
        }
    }
}

/// A connection, moved forward by whoever waits for something from it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

impl Connection {
    async fn begin(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Whether a request can be sent. Also sees that the server has closed the connection meanwhile.
    async fn is_open(&mut self) -> bool {
        let Self { sender, driver } = self;
        drive(driver, sender.ready()).await.is_ok()
    }

    /// Sends a request and reads its answer; `true` if the connection can be used again.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<(Answer, bool)> {
        let response = drive(&mut self.driver, self.sender.send_request(request)).await?;
        let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let (body, whole) = drive(&mut self.driver, read_body(response)).await;
        let text = String::from_utf8_lossy(&body);
        let excerpt: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let answer = Answer {
            status,
            retry_after: retry_after.and_then(|value| value.to_str().ok().map(str::to_owned)),
            body: excerpt.chars().filter(|character| !character.is_control()).take(EXCERPT_BYTES).collect(),
        };
        Ok((answer, whole && self.driver.is_some()))
    }
}

/// Awaits `work` while the connection moves.
async fn drive<T>(
    driver: &mut Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        // First the connection, which brings what the work waits for. One that has ended must not be polled again;
        // the work learns of it by itself.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(context)
    })
    .await
}

/// The beginning of a body, and whether that was all of it. A body that breaks off does not unsay the status.
async fn read_body(response: Response<Incoming>) -> (Vec<u8>, bool) {
    let mut body = response.into_body();
    let (mut excerpt, mut len) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (excerpt, false) };
        let Some(data) = frame.data_ref() else { continue };
        len += data.len();
        let room = (4 * EXCERPT_BYTES).saturating_sub(excerpt.len());
        excerpt.extend_from_slice(&data[..data.len().min(room)]);
        if len > ANSWER_BYTES_MAX {
            return (excerpt, false);
        }
    }
    (excerpt, true)
}
