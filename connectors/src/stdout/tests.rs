#![allow(clippy::unwrap_used)]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::json;
use tidewater_connector_api::{DeliveryError, Sink, conformance};

use super::*;
use crate::{ConnectorConfig, test_support::arrivals};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_a_sink() {
    let out = Shared::default();
    let make = async || StdoutSink::to(Box::new(out.clone()));
    let read = async || arrivals(&out.0.lock().unwrap());
    conformance::sink::check(make, read).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_gone_is_no_reason_to_retry() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = StdoutSink::to(Box::new(Closed));
    let result = sink.deliver(&[Arc::new(conformance::sink::sample(1))]).await;
    assert!(matches!(result, Err(DeliveryError::Refused { .. })), "{result:?}");
}

#[test]
fn there_are_no_settings() {
    assert!(StdoutSinkConfig::from_value(&json!({"type": "stdout"})).is_ok());
    let errors = StdoutSinkConfig::from_value(&json!({"path": "x"})).unwrap_err();
    assert_eq!(errors[0].path, ["path"]);
}
