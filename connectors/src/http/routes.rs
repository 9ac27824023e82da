//! What each path does. A request's events are taken before its client is told so, never after.

use std::{convert::Infallible, sync::Arc};

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{HOST, HeaderName},
};
use tidewater_connector_api::{SendError, SourceContext, TrySendError, json::write_string};
use tokio::sync::Semaphore;

use super::{
    HttpSourceConfig, auth, body, envelope,
    reply::{self, Refusal, Reply},
};

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: HttpSourceConfig,
    pub(super) context: SourceContext,
    pub(super) requests: Semaphore,
}

/// What a path is for.
enum Route<'a> {
    Health,
    Settings { write_key: &'a str },
    Batch,
    Single { kind: &'static str },
}

/// Answers one request.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (parts, body) = request.into_parts();
    let mut reply = if parts.method == Method::OPTIONS {
        reply::preflight()
    } else {
        let is_post = parts.method == Method::POST;
        let is_get = parts.method == Method::GET || parts.method == Method::HEAD;
        let answered = match route(parts.uri.path()) {
            Some(Route::Health) if is_get => Ok(reply::text("ok\n")),
            Some(Route::Settings { write_key }) if is_get => settings(&shared, write_key, &parts.headers),
            Some(route @ (Route::Batch | Route::Single { .. })) if is_post => {
                ingest(&shared, &route, &parts, body).await
            }
            Some(_) => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "events are sent with POST",
            )),
            None => {
                Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "no such path; events go to /v1/batch"))
            }
        };
        answered.unwrap_or_else(Refusal::into_reply)
    };
    reply::allow_origin(&mut reply, &parts.headers);
    Ok(reply)
}

fn route(path: &str) -> Option<Route<'_>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(match path.strip_prefix("/v1/").unwrap_or(path) {
        "/healthz" => Route::Health,
        // Where RudderStack's browser library sends with `useBeacon`; a beacon never learns that it failed.
        "batch" | "import" | "b" | "/beacon/v1/batch" => Route::Batch,
        "track" | "t" => Route::Single { kind: "track" },
        "identify" | "i" => Route::Single { kind: "identify" },
        "page" | "p" => Route::Single { kind: "page" },
        "screen" | "s" => Route::Single { kind: "screen" },
        "group" | "g" => Route::Single { kind: "group" },
        "alias" | "a" => Route::Single { kind: "alias" },
        rest => {
            let write_key = rest.strip_prefix("projects/")?.strip_suffix("/settings")?;
            Route::Settings { write_key }
        }
    })
}

/// What a browser asks for before it sends anything: where to send it.
fn settings(shared: &Shared, write_key: &str, headers: &HeaderMap) -> Result<Reply, Refusal> {
    if !auth::is_known(write_key.as_bytes(), &shared.config.write_keys) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "no such write key"));
    }
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = header(&HeaderName::from_static("x-forwarded-proto"));
    let protocol =
        if forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    let host = header(&HOST).map_or_else(|| shared.config.listen.to_string(), str::to_owned);
    let mut body = b"{\"integrations\":{\"Segment.io\":{\"apiKey\":".to_vec();
    write_string(&mut body, write_key);
    body.extend_from_slice(b",\"apiHost\":");
    write_string(&mut body, &format!("{host}/v1"));
    body.extend_from_slice(b",\"protocol\":");
    write_string(&mut body, protocol);
    body.extend_from_slice(b"}},\"plan\":{},\"edgeFunction\":{}}");
    Ok(reply::cacheable(body))
}

async fn ingest(
    shared: &Shared,
    route: &Route<'_>,
    parts: &hyper::http::request::Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let config = &shared.config;
    // Refused before its body is read: that is what makes it cheap.
    let second = std::time::Duration::from_secs(1);
    let Ok(_permit) = shared.requests.try_acquire() else {
        return Err(Refusal::busy("too many requests at a time", second));
    };
    if shared.context.is_closing() {
        return Err(Refusal::unavailable("the server is stopping"));
    }
    let known = |key: &[u8]| {
        if auth::is_known(key, &config.write_keys) {
            Ok(())
        } else {
            Err(Refusal::unauthorized("unknown write key"))
        }
    };
    let key = auth::from_headers(&parts.headers);
    key.as_deref().map(known).transpose()?;
    let bytes = body::read(body, &parts.headers, config).await?;
    let events = shared.context.buffer();
    let envelope = match route {
        Route::Single { kind } => envelope::single(&bytes, kind, events, config)?,
        _ => envelope::batch(&bytes, events, config)?,
    };
    if key.is_none() {
        match envelope.write_key.or_else(|| auth::from_query(&parts.uri)) {
            Some(key) => known(&key)?,
            None => return Err(Refusal::unauthorized("no write key")),
        }
    }
    if envelope.events.is_empty() {
        return Ok(reply::success(0));
    }
    let receipt = shared.context.try_send(envelope.events, None).map_err(|error| match error {
        TrySendError::Full { retry_after, .. } => Refusal::busy("the engine can't keep up", retry_after),
        TrySendError::Closed { .. } => Refusal::unavailable("the server is stopping"),
        error => Refusal::unavailable(error.to_string()),
    })?;
    match receipt.await {
        Ok(accepted) => Ok(reply::success(accepted.quarantined)),
        Err(SendError::Closed) => Err(Refusal::unavailable("the server is stopping")),
        Err(error) => Err(Refusal::unavailable(error.to_string())),
    }
}
