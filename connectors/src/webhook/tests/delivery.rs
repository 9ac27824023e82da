//! What is sent, and what each answer means.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{DeliveryError, Position, Sink, conformance};
use tokio::{net::TcpListener, sync::oneshot};

use super::{super::*, Receiver, SECRET, config, epoch, opened, receiver::Reply};
use crate::{ConnectorConfig, Secret};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_a_sink() {
    let receiver = Receiver::start().await;
    let config = WebhookConfig { batch: 2, ..config(&receiver) };
    let make = async || WebhookSink::new(config.clone(), "deployment", "updates");
    let read = async || receiver.arrivals();
    conformance::sink::check(make, read).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_signed_and_names_its_deltas() {
    let receiver = Receiver::start().await;
    let headers = vec![("X-Team".to_owned(), Secret::new("growth"))];
    let mut sink = opened(WebhookConfig { headers, batch: 2, ..config(&receiver) }).await;
    let position = sink.deliver(&[epoch(6, 0), epoch(7, 3), epoch(8, 0)]).await.unwrap();
    assert_eq!(position, Position(8u64.to_le_bytes().to_vec()));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    let first = &requests[0];
    assert_eq!(first.path, "/hook?token=t");
    assert_eq!(first.headers["x-team"], "growth");
    assert_eq!(first.headers["webhook-timestamp"], "1767608100");
    assert_eq!(first.headers["host"], receiver.address.to_string().as_str());
    let body = String::from_utf8(first.bytes.clone()).unwrap();
    assert!(body.starts_with(
        r#"{"epoch":7,"now":"2026-01-05T10:15:00.000Z","deltas":[{"epoch":7,"now":"2026-01-05T10:15:00.000Z","segment":"loyal","#
    ));
    assert!(requests[0].id.ends_with("_7_0-2") && requests[1].id.ends_with("_7_2-3"), "{requests:?}");
    assert_eq!(receiver.connections(), 1, "the connection is kept");
    // The same deltas of another sink, or of another deployment, are another message.
    for (deployment, name) in [("deployment", "other"), ("other", "updates")] {
        let mut other = WebhookSink::new(config(&receiver), deployment, name);
        other.open(None).await.unwrap();
        other.deliver(&[epoch(7, 3)]).await.unwrap();
        let requests = receiver.requests();
        assert_ne!(requests.last().unwrap().id.split('_').nth(1), requests[0].id.split('_').nth(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_may_stand_directly_behind_the_host() {
    let receiver = Receiver::start().await;
    let settings =
        serde_json::json!({ "url": format!("http://{}?token=t", receiver.address), "secret": SECRET });
    let mut sink = opened(WebhookConfig::from_value(&settings).unwrap()).await;
    sink.deliver(&[epoch(1, 1)]).await.unwrap();
    assert_eq!(receiver.requests()[0].path, "/?token=t");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stay_within_their_size_but_for_a_single_delta() {
    let receiver = Receiver::start().await;
    let mut sink = opened(WebhookConfig { max_bytes: 600, ..config(&receiver) }).await;
    sink.deliver(&[epoch(1, 7)]).await.unwrap();
    let requests = receiver.requests();
    assert!(requests.len() > 2 && requests.iter().all(|request| request.bytes.len() <= 600));
    assert_eq!(receiver.arrivals().len(), 7);
    let mut sink = opened(WebhookConfig { max_bytes: 1, ..config(&receiver) }).await;
    sink.deliver(&[epoch(2, 3)]).await.unwrap();
    assert_eq!(receiver.requests().len(), requests.len() + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_means_what_it_says() {
    let receiver = Receiver::start().await;
    let mut sink = opened(config(&receiver)).await;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let cases: &[(Reply, &str, Option<Duration>)] = &[
        (Reply::Status(429, &[("retry-after", "7")]), "not applied", seconds(7)),
        (Reply::Status(429, &[]), "not applied", None),
        (
            Reply::Status(503, &[("retry-after", "Mon, 05 Jan 2026 10:15:03 GMT")]),
            "not applied",
            Some(Duration::from_millis(2_001)),
        ),
        (Reply::Status(503, &[]), "maybe applied", None),
        (Reply::Status(500, &[("retry-after", "1")]), "maybe applied", seconds(1)),
        (Reply::Status(502, &[]), "maybe applied", None),
        (Reply::Status(408, &[]), "maybe applied", None),
        (Reply::Close, "maybe applied", None),
        (Reply::Status(410, &[]), "refused", None),
        (Reply::Status(401, &[("retry-after", "1")]), "refused", None),
        (Reply::Status(413, &[]), "refused", None),
        (Reply::Status(302, &[("location", "http://elsewhere.example")]), "refused", None),
    ];
    for (reply, expected, retry_after) in cases {
        receiver.script(std::slice::from_ref(reply));
        let error = sink.deliver(&[epoch(1, 1)]).await.unwrap_err();
        let got = match &error {
            DeliveryError::NotApplied { .. } => "not applied",
            DeliveryError::MaybeApplied { .. } => "maybe applied",
            _ => "refused",
        };
        assert_eq!((got, error.retry_after()), (*expected, *retry_after), "{reply:?}: {error}");
        let name = receiver.address.to_string();
        assert!(error.to_string().contains(&name) && !error.to_string().contains("token"), "{error}");
        if let Reply::Status(status, _) = reply {
            assert!(
                error.to_string().contains(&format!("{status} ")) && error.to_string().contains("thank you")
            );
        }
    }
    sink.deliver(&[epoch(1, 1)]).await.unwrap();
    let ids: Vec<String> = receiver.requests().into_iter().map(|request| request.id).collect();
    assert!(ids.len() == cases.len() + 1 && ids.iter().all(|id| *id == ids[0]), "a retry repeats the id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_where_it_failed() {
    let receiver = Receiver::start().await;
    let mut sink = opened(WebhookConfig { batch: 1, ..config(&receiver) }).await;
    let ok = Reply::Status(202, &[]);
    receiver.script(&[ok.clone(), ok.clone(), Reply::Status(500, &[]), ok.clone(), Reply::Close]);
    let batches = [epoch(1, 2), epoch(2, 3)];
    sink.deliver(&batches).await.unwrap_err();
    sink.deliver(&batches).await.unwrap_err();
    // More epochs have come meanwhile.
    sink.deliver(&[&batches[..], &[epoch(3, 1)]].concat()).await.unwrap();
    let ends: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| request.id.splitn(3, '_').nth(2).unwrap().to_owned())
        .collect();
    assert_eq!(ends, ["1_0-1", "1_1-2", "2_0-1", "2_0-1", "2_1-2", "2_1-2", "2_2-3", "3_0-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_epoch_have_names_of_their_own_and_repeat_nothing() {
    let receiver = Receiver::start().await;
    let mut sink = opened(WebhookConfig { batch: 3, ..config(&receiver) }).await;
    let (ok, refused) = (Reply::Status(202, &[]), Reply::Status(422, &[]));
    let whole = epoch(4, 8);
    // The second of three requests is refused; then the engine asks about parts.
    receiver.script(&[ok.clone(), refused.clone()]);
    assert!(matches!(sink.deliver(std::slice::from_ref(&whole)).await, Err(DeliveryError::Refused { .. })));
    let part = |range: std::ops::Range<usize>| [Arc::new(whole.part(range))];
    sink.deliver(&part(0..1)).await.unwrap();
    receiver.script(&[refused]);
    assert!(sink.deliver(&part(4..5)).await.is_err());
    sink.deliver(&part(1..4)).await.unwrap();
    sink.deliver(&part(5..8)).await.unwrap();
    // Later, it will have it.
    sink.deliver(&[epoch(5, 1)]).await.unwrap();
    sink.deliver(&part(4..5)).await.unwrap();
    let ends: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| request.id.splitn(3, '_').nth(2).unwrap().to_owned())
        .collect();
    assert_eq!(ends, ["4_0-3", "4_3-6", "4_4-5", "4_3-4", "4_5-8", "5_0-1", "4_4-5"]);
    let users = |at: usize| -> Vec<String> {
        let deltas = receiver.requests()[at].body["deltas"].as_array().unwrap().clone();
        deltas.iter().map(|delta| delta["identifiers"]["user_id"][0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((users(2), users(4)), (vec!["u4".to_owned()], vec!["u5".into(), "u6".into(), "u7".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_got_nothing_and_a_silent_one_perhaps() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut sink = opened(WebhookConfig::new(format!("http://{free}/"))).await;
    let error = sink.deliver(&[epoch(1, 1)]).await.unwrap_err();
    assert!(
        matches!(error, DeliveryError::NotApplied { .. }) && error.to_string().contains("cannot connect")
    );
    let receiver = Receiver::start().await;
    receiver.script(&[Reply::Hang]);
    let mut sink = opened(WebhookConfig { timeout: Duration::from_millis(200), ..config(&receiver) }).await;
    let error = sink.deliver(&[epoch(1, 1)]).await.unwrap_err();
    assert!(matches!(error, DeliveryError::MaybeApplied { .. }), "{error}");
    assert!(error.to_string().contains("did not answer within 200 ms"), "{error}");
    sink.deliver(&[epoch(1, 1)]).await.unwrap();
    assert_eq!(receiver.connections(), 2, "what a hung request left behind is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let receiver = Receiver::start().await;
    let mut sink = opened(config(&receiver)).await;
    receiver.script(&[Reply::Status(200, &[("connection", "close")])]);
    for number in 1..=3 {
        sink.deliver(&[epoch(number, 1)]).await.unwrap();
    }
    assert_eq!((receiver.requests().len(), receiver.connections()), (3, 2));
    // Closed while nothing was asked.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = opened(WebhookConfig::new(format!("http://{}/", listener.local_addr().unwrap()))).await;
    let (closed, wait) = oneshot::channel();
    let server = tokio::spawn(async move {
        let mut requests = 0;
        let mut closed = Some(closed);
        while requests < 2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            // Headers and body may come apart; the answer to a part of the request would do.
            if tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap() > 0 {
                requests += 1;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            }
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
            if let Some(closed) = closed.take() {
                let _ = closed.send(());
            }
            // Read to the end, or closing would reset the connection under the answer.
            while tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap_or(0) > 0 {}
            drop(stream);
        }
    });
    // The server reads until the client closes, which it does on seeing the end: at the next request at the latest. One that is
    // sent before the end has come may have arrived, and is an error; so the runtime gets a moment to hear of it.
    sink.deliver(&[epoch(1, 1)]).await.unwrap();
    wait.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    sink.deliver(&[epoch(2, 1)]).await.unwrap();
    server.await.unwrap();
}
