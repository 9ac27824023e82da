//! https, with certificates of one's own.

use std::{fs, sync::Arc};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tidewater_connector_api::{DeliveryError, Sink};
use tokio_rustls::TlsAcceptor;

use super::{super::*, Receiver, epoch, opened};

/// An acceptor for `localhost`, and its certificate as PEM.
fn acceptor() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_trusted() {
    let (tls, pem) = acceptor();
    let receiver = Receiver::start_tls(Some(tls)).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem").to_str().unwrap().to_owned();
    fs::write(&ca_file, pem).unwrap();
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let trusting = WebhookConfig { ca_file: Some(ca_file.clone()), ..WebhookConfig::new(url.clone()) };
    opened(trusting.clone()).await.deliver(&[epoch(1, 2)]).await.unwrap();
    assert_eq!(receiver.arrivals().len(), 2);
    let error = opened(WebhookConfig::new(url)).await.deliver(&[epoch(1, 2)]).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotApplied { .. }), "{error}");
    assert_eq!(receiver.requests().len(), 1);
    fs::write(&ca_file, "no certificate").unwrap();
    let error = WebhookSink::new(trusting, "d", "n").open(None).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Refused { reason } if reason.contains(&ca_file)), "{error}");
}
