//! Every answer: what clients act on is its status, what people read is its message.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONNECTION, CONTENT_TYPE,
        HeaderValue, ORIGIN, RETRY_AFTER, VARY,
    },
};
use tidewater_connector_api::json::write_string;

/// What goes back to a client.
pub(super) type Reply = Response<Full<Bytes>>;

/// Headers that the clients in the field send across origins.
const ALLOWED_HEADERS: &str = "authorization, content-type, content-encoding, x-write-key, x-retry-count, \
    anonymousid, sentat, rsa-info, rsa-version, rsa-source";

/// Why a request is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with a status of its own.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// 400: no retry will help. Also for what is too large, as the original answers it.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 401.
    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 429: the client retries after at least a second.
    pub(super) fn busy(message: &str, retry_after: Duration) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(retry_after), ..refusal }
    }

    /// 503: whoever comes after a restart is welcome.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(Duration::from_secs(5)), ..refusal }
    }

    /// 500: clients retry.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The answer.
    pub(super) fn into_reply(self) -> Reply {
        let mut body = Vec::new();
        body.extend_from_slice(b"{\"code\":");
        write_string(&mut body, self.code);
        body.extend_from_slice(b",\"message\":");
        write_string(&mut body, &self.message);
        body.push(b'}');
        let mut reply = json(self.status, body);
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
            insert(&mut reply, RETRY_AFTER, &seconds.to_string());
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body may still come, and is no request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// 200: the events are durable. `rejected` of them are in quarantine.
pub(super) fn success(rejected: u64) -> Reply {
    let mut reply = json(StatusCode::OK, b"{\"success\":true}".to_vec());
    if rejected > 0 {
        reply.headers_mut().insert("x-rejected", HeaderValue::from(rejected));
    }
    reply
}

/// 200 with a text.
pub(super) fn text(text: &'static str) -> Reply {
    let mut reply = Response::new(Full::from(text));
    insert(&mut reply, CONTENT_TYPE, "text/plain; charset=utf-8");
    reply
}

/// An answer in JSON that may be kept for a while.
pub(super) fn cacheable(body: Vec<u8>) -> Reply {
    let mut reply = json(StatusCode::OK, body);
    insert(&mut reply, CACHE_CONTROL, "public, max-age=300");
    reply
}

/// The answer to a preflight.
pub(super) fn preflight() -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    insert(&mut reply, ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
    insert(&mut reply, ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    insert(&mut reply, ACCESS_CONTROL_MAX_AGE, "86400");
    reply
}

/// Lets pages of any origin read the answer: what they may do is decided by the write key alone.
pub(super) fn allow_origin(reply: &mut Reply, request: &HeaderMap) {
    let headers = reply.headers_mut();
    match request.get(ORIGIN) {
        Some(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(VARY, HeaderValue::from_static("origin"));
        }
        None => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    insert(&mut reply, CONTENT_TYPE, "application/json");
    reply
}

fn insert(reply: &mut Reply, name: hyper::header::HeaderName, value: &str) {
    // All values are made here, of visible characters; one that is not would be left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
