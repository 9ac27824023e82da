#![allow(clippy::unwrap_used)]

mod delivery;
mod receiver;
mod tls;

use std::sync::Arc;

use serde_json::json;
use tidewater_connector_api::{Clock, DeliveryError, Sink};
use tidewater_model::{Change, DeltaBatch, DeltaBatchBuilder, ProfileId, Timestamp, delta::DeltaNames};

use super::{signature::Signer, *};
use crate::{ConnectorConfig, Secret};
use receiver::Receiver;

/// The secret of the example in the Standard Webhooks specification.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_608_100_999)
    }
}

fn config(receiver: &Receiver) -> WebhookConfig {
    WebhookConfig {
        secret: vec![Secret::new(SECRET)],
        ..WebhookConfig::new(format!("http://{}/hook?token=t", receiver.address))
    }
}

async fn opened(config: WebhookConfig) -> WebhookSink {
    let mut sink = WebhookSink::new(config, "deployment", "updates").with_clock(Arc::new(FixedClock));
    sink.open(None).await.unwrap();
    sink
}

/// An epoch of `count` deltas.
fn epoch(epoch: u64, count: u64) -> Arc<DeltaBatch> {
    let names = DeltaNames::new(vec!["loyal".into()], vec!["user_id".into()]);
    let mut builder = DeltaBatchBuilder::new(epoch, Timestamp(1_767_608_100_000), Arc::new(names));
    for number in 0..count {
        builder.delta(0, ProfileId(u128::from(number)), Change::Entered);
        builder.reason("orders 2 -> 3");
        builder.identifier(0, &format!("u{number}"));
    }
    Arc::new(builder.finish())
}

#[test]
fn signs_as_the_specification_shows() {
    let signer = Signer::new(&[Secret::new(SECRET), Secret::new("plain")]).unwrap();
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let signatures = signer.sign(id, "1614265330", br#"{"test": 2432232314}"#).unwrap();
    let (first, second) = signatures.split_once(' ').unwrap();
    assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert!(second.starts_with("v1,") && second != first);
    assert_eq!(Signer::new(&[]).unwrap().sign(id, "1", b""), None);
}

#[test]
fn an_empty_key_is_refused_beside_any_other() {
    for empty in ["whsec_", ""] {
        let refused = Signer::new(&[Secret::new(SECRET), Secret::new(empty)]).map(|_| ());
        assert_eq!(refused.unwrap_err(), "secret number 1 is empty: anybody could sign with it", "{empty:?}");
    }
    let value = json!({ "url": "https://example.com/", "secret": "whsec_" });
    let errors = WebhookConfig::from_value(&value).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["secret: secret number 0 is empty: anybody could sign with it"]);
}

#[test]
fn settings_are_read_and_every_mistake_is_told() {
    let value = json!({
        "type": "webhook", "url": "https://example.com/hook", "secret": SECRET,
        "headers": {"Authorization": "Bearer geheim"}, "timeout": "2s", "batch": 10, "max_bytes": "64KiB"
    });
    let config = WebhookConfig::from_value(&value).unwrap();
    assert_eq!((config.batch, config.max_bytes, config.secret.len()), (10, 65_536, 1));
    let shown = format!("{config:?} {:?}", WebhookSink::new(config.clone(), "d", "n"));
    assert!(!shown.contains("geheim") && !shown.contains("MfKQ") && !shown.contains("hook\""), "{shown}");
    let value = json!({
        "url": "ftp://geheim", "secret": ["whsec_???", "x"], "batch": 0, "endpoint": "x",
        "headers": {"webhook-id": "x", "a b": "geheim", "x": "geheim\n"}
    });
    let errors = WebhookConfig::from_value(&value).unwrap_err();
    let paths: Vec<String> = errors.iter().map(|error| error.path.join(".")).collect();
    assert_eq!(paths, ["endpoint", "url", "batch", "secret", "headers", "headers", "headers"]);
    assert!(errors.iter().all(|error| !error.to_string().contains("geheim")), "{errors:?}");
    for url in ["", "/hook", "https://", "https://user:geheim@example.com/", "http://a b"] {
        assert!(WebhookConfig::from_value(&json!({ "url": url })).is_err(), "{url}");
    }
}

#[tokio::test]
async fn what_was_never_opened_sends_nothing() {
    let mut sink = WebhookSink::new(WebhookConfig::new("http://127.0.0.1:1/"), "d", "n");
    assert!(matches!(sink.deliver(&[epoch(1, 1)]).await, Err(DeliveryError::Refused { .. })));
}
