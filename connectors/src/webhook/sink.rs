//! Webhook sink: at least once, in order, and a repeated request carries the same id as before.
//!
//! One request holds deltas of one epoch, at most `batch` of them. Its `webhook-id` names the deployment, the sink, the
//! epoch and the range of deltas in it: a receiver that remembers the ids it has applied takes each delta exactly once.
//! Within a process deltas whose request was answered 2xx are not sent again, even if a later one of the same epoch
//! fails, or comes alone because of that.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT},
};
use tidewater_connector_api::{Acknowledged, Clock, DeliveryError, Position, Sink, SystemClock, json};
use tidewater_model::{DeltaBatch, HashKey};

use super::{WebhookConfig, config::header, signature::Signer};
use crate::http_client::{Answer, ClientError, Endpoint, HttpClient, trusting};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Posts deltas to one endpoint, one request at a time.
pub struct WebhookSink {
    config: WebhookConfig,
    /// First part of every id.
    origin: String,
    clock: Arc<dyn Clock>,
    /// Made by `open`.
    ready: Option<Ready>,
    /// Requests of epochs not yet acknowledged that were answered 2xx: epoch, first delta, and the one behind the last.
    delivered: BTreeSet<(u64, usize, usize)>,
}

/// What the settings come to.
struct Ready {
    client: HttpClient,
    signer: Signer,
    headers: HeaderMap,
}

/// One request: deltas `first..end` of an epoch, of which a batch may be a part.
struct Part {
    first: usize,
    end: usize,
    body: Vec<u8>,
}

impl WebhookSink {
    /// Makes a sink. `deployment` and `name` tell its ids from those of others: give something that never changes
    /// and is no other deployment's, such as a random id in the state directory.
    pub fn new(config: WebhookConfig, deployment: &str, name: &str) -> Self {
        // The fixed key: ids must not change between versions, and hide nothing.
        let hash = HashKey::FIXED.seed("webhook").hash(format!("{deployment}\0{name}").as_bytes());
        Self {
            config,
            origin: format!("msg_{:016x}", (hash >> 64) as u64),
            clock: Arc::new(SystemClock),
            ready: None,
            delivered: BTreeSet::new(),
        }
    }

    /// Takes the time of requests from another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn prepare(&self) -> Result<Ready, DeliveryError> {
        let endpoint = Endpoint::parse(self.config.url.reveal()).map_err(DeliveryError::refused)?;
        let tls = endpoint.https.then(|| trusting(self.config.ca_file.as_deref())).transpose();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("tidewater/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.config.headers {
            let (name, value) = header(name, value).map_err(DeliveryError::refused)?;
            headers.insert(name, value);
        }
        Ok(Ready {
            client: HttpClient::new(endpoint, tls.map_err(DeliveryError::refused)?, self.config.timeout),
            signer: Signer::new(&self.config.secret).map_err(DeliveryError::refused)?,
            headers,
        })
    }

    /// The end of the request that a delta of an epoch was delivered with.
    fn delivered_up_to(&self, epoch: u64, delta: usize) -> Option<usize> {
        let before = self.delivered.range((epoch, 0, 0)..=(epoch, delta, usize::MAX));
        before.map(|(_, _, end)| *end).next_back().filter(|end| *end > delta)
    }

    async fn send(&mut self, epoch: u64, part: Part) -> Result<(), DeliveryError> {
        let Some(ready) = &mut self.ready else {
            return Err(DeliveryError::refused("the webhook was never opened"));
        };
        let Part { first, end, body } = part;
        let id = format!("{}_{epoch}_{first}-{end}", self.origin);
        let now = self.clock.now();
        let timestamp = now.0.div_euclid(1_000).to_string();
        let mut headers = ready.headers.clone();
        let signature = ready.signer.sign(&id, &timestamp, &body);
        for (name, value) in
            [(WEBHOOK_ID, Some(id)), (WEBHOOK_TIMESTAMP, Some(timestamp)), (WEBHOOK_SIGNATURE, signature)]
        {
            let Some(value) = value else { continue };
            let value =
                HeaderValue::try_from(value).map_err(|error| DeliveryError::refused(error.to_string()))?;
            headers.insert(name, value);
        }
        match ready.client.post(headers, Bytes::from(body)).await {
            Ok(answer) => judge(&answer, now.0, ready.client.name()),
            Err(ClientError::NotSent(reason)) => Err(DeliveryError::not_applied(reason)),
            Err(ClientError::MaybeSent(reason)) => Err(DeliveryError::maybe_applied(reason)),
        }
    }
}

impl Sink for WebhookSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.ready = Some(self.prepare()?);
        Ok(acknowledged.map(|acknowledged| acknowledged.position.clone()).unwrap_or_default())
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let mut position = Position::default();
        // Earlier epochs are acknowledged, so they never come again.
        let oldest = batches.first().map_or(0, |batch| batch.epoch());
        self.delivered.retain(|(epoch, _, _)| *epoch >= oldest);
        for batch in batches {
            let (epoch, mut first) = (batch.epoch(), batch.offset());
            while first < batch.offset() + batch.len() {
                if let Some(end) = self.delivered_up_to(epoch, first) {
                    first = end;
                    continue;
                }
                let part = next_part(batch, first, &self.config);
                let end = part.end;
                self.send(epoch, part).await?;
                self.delivered.insert((epoch, first, end));
                first = end;
            }
            position = Position(epoch.to_le_bytes().to_vec());
        }
        Ok(position)
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink").field("config", &self.config).field("origin", &self.origin).finish()
    }
}

/// The request that starts with delta `first` of the epoch: as many as fit. The same deltas always make the same requests.
fn next_part(batch: &DeltaBatch, first: usize, config: &WebhookConfig) -> Part {
    let mut body = Vec::with_capacity(4 << 10);
    body.extend_from_slice(b"{\"epoch\":");
    json::write_u64(&mut body, batch.epoch());
    body.extend_from_slice(b",\"now\":\"");
    json::write_time(&mut body, batch.now());
    body.extend_from_slice(b"\",\"deltas\":[");
    let mut end = first;
    for delta in batch.iter().skip(first - batch.offset()).take(config.batch.max(1)) {
        let before = body.len();
        if end > first {
            body.push(b',');
        }
        json::write_delta(&mut body, batch.epoch(), batch.now(), &delta);
        // Two more close the body.
        if end > first && body.len() + 2 > config.max_bytes {
            body.truncate(before);
            break;
        }
        end += 1;
    }
    body.extend_from_slice(b"]}");
    Part { first, end, body }
}

/// What an answer means for the delivery.
fn judge(answer: &Answer, now_ms: i64, name: &str) -> Result<(), DeliveryError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let said = if answer.body.is_empty() { String::new() } else { format!(": {}", answer.body) };
    let reason = format!("{name} answered {status}{said}");
    let retry_after = answer.retry_after.as_deref().and_then(|text| retry_after(text, now_ms));
    match status {
        // Said before the request was looked at.
        StatusCode::TOO_MANY_REQUESTS => Err(DeliveryError::NotApplied { reason, retry_after }),
        StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
            Err(DeliveryError::NotApplied { reason, retry_after })
        }
        // The application may have failed after it had stored the deltas.
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(DeliveryError::MaybeApplied { reason, retry_after })
        }
        _ if status.is_redirection() => {
            Err(DeliveryError::Refused { reason: format!("{reason}; redirects are not followed") })
        }
        _ => Err(DeliveryError::Refused { reason }),
    }
}

/// Reads `Retry-After`: seconds, or a date. At most a day, lest a wrong clock there stops this sink for good.
fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(86_400);
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(MOST));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now = Duration::from_millis(u64::try_from(now_ms).ok()?);
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.saturating_sub(now).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 1_767_608_100_000; // 2026-01-05T10:15:00Z
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Mon, 05 Jan 2026 10:15:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 05 Jan 2026 10:14:30 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999", now), Some(Duration::from_secs(86_400)));
        assert_eq!(retry_after("soon", now), None);
    }
}
