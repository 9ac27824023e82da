//! What is answered to whom.

use std::time::Duration;

use serde_json::{Value, json};

use super::{super::*, Server, config, exchange, get, post};
use crate::ConnectorConfig;

const EVENT: &[u8] = b"{\"userId\":\"u\"}";

#[tokio::test(flavor = "multi_thread")]
async fn every_path_has_its_type() {
    let server = Server::start(config()).await;
    let mut expected = Vec::new();
    for (paths, kind) in [
        (["track", "t"], "track"),
        (["identify", "i"], "identify"),
        (["page", "p"], "page"),
        (["screen", "s"], "screen"),
        (["group", "g"], "group"),
        (["alias", "a/"], "alias"),
    ] {
        for path in paths {
            assert_eq!(server.post(&format!("/v1/{path}"), "", EVENT).await.status, 200);
            expected.push(format!("{{\"userId\":\"u\",\"type\":\"{kind}\"}}"));
        }
    }
    for path in ["batch", "import", "b"] {
        assert_eq!(server.post(&format!("/v1/{path}"), "", b"{\"batch\":[{}]}").await.status, 200);
        expected.push("{}".to_owned());
    }
    assert_eq!(server.post("/v1/batch", "", b"{\"batch\":[]}").await.status, 200);
    assert_eq!(server.events(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_come_in_four_ways_and_the_first_decides() {
    let mut config = config();
    config.write_keys.push(crate::Secret::new("w k"));
    let server = Server::start(config).await;
    let at = server.address;
    // "wk:pass", "w k" without colon
    for headers in
        ["Authorization: Basic d2s6cGFzcw==\r\n", "authorization: basic dyBr\r\n", "X-Write-Key: wk\r\n"]
    {
        assert_eq!(post(at, "/v1/t", headers, EVENT).await.status, 200, "{headers}");
    }
    assert_eq!(post(at, "/v1/t", "", br#"{"writeKey":"w k"}"#).await.status, 200);
    assert_eq!(post(at, "/v1/t?a=b&writeKey=w%20k", "", EVENT).await.status, 200);
    assert_eq!(post(at, "/v1/t", "Authorization: Bearer x\r\nX-Write-Key: wk\r\n", EVENT).await.status, 200);
    for (path, headers, body) in [
        ("/v1/t", "", EVENT),
        ("/v1/t?writeKey=w", "", EVENT),
        ("/v1/t", "X-Write-Key: WK\r\n", EVENT),
        ("/v1/t", "Authorization: Basic ????\r\nX-Write-Key: wk\r\n", EVENT),
        ("/v1/t?writeKey=wk", "", br#"{"writeKey":"no"}"#),
        ("/v1/t?writeKey=wk", "Authorization: Basic bm86\r\n", br#"{"writeKey":"wk"}"#),
    ] {
        let answer = post(at, path, headers, body).await;
        assert_eq!(answer.status, 401, "{path} {headers}");
        assert!(answer.body.contains("unauthorized"));
    }
    assert_eq!(server.events().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_told_only_once_the_events_are_durable() {
    let server = Server::start(config()).await;
    server.recorder.hold();
    let asking = tokio::spawn(post(server.address, "/v1/t?writeKey=wk", "", EVENT));
    server.recorder.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!asking.is_finished(), "the events are taken, not logged");
    server.recorder.release();
    assert_eq!(asking.await.unwrap().status, 200);
    server.recorder.set_failure(Some("disk full"));
    let answer = server.post("/v1/t", "", EVENT).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(answer.body.contains("disk full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_lags_answers_429_in_whole_seconds() {
    let server = Server::start(config()).await;
    for (retry_after, expected) in [(0, "1"), (1_000, "1"), (1_001, "2")] {
        server.recorder.set_full(Some(Duration::from_millis(retry_after)));
        let answer = server.post("/v1/t", "", EVENT).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(expected)));
    }
    assert!(server.events().is_empty());
    let one = Server::start(HttpSourceConfig { max_requests: 1, ..config() }).await;
    one.recorder.hold();
    let first = tokio::spawn(post(one.address, "/v1/t?writeKey=wk", "", EVENT));
    one.recorder.wait_for(1).await;
    let answer = one.post("/v1/t", "", EVENT).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    one.recorder.release();
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_begun_and_takes_nothing_new() {
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    let server = Server::start(config()).await;
    server.recorder.hold();
    let logged = tokio::spawn(post(server.address, "/v1/t?writeKey=wk", "", EVENT));
    server.recorder.wait_for(1).await;
    // A request whose headers are in and whose body is not.
    let mut late = TcpStream::connect(server.address).await.unwrap();
    let head =
        "POST /v1/t?writeKey=wk HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n";
    late.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut late, &mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    server.recorder.close();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    late.write_all(EVENT).await.unwrap();
    let answer = super::read_answer(&mut late).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    server.recorder.release();
    assert_eq!(logged.await.unwrap().status, 200);
    server.task.await.unwrap().unwrap();
    assert_eq!(server.recorder.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_ask_first() {
    let server = Server::start(config()).await;
    let request = "OPTIONS /v1/t HTTP/1.1\r\nHost: h\r\nOrigin: http://a.example\r\nConnection: close\r\n\
        Access-Control-Request-Headers: authorization\r\n\r\n";
    let answer = exchange(server.address, request.as_bytes()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.example"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    let answer = get(server.address, "/v1/projects/wk/settings").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!({"integrations": {"Segment.io": {"apiKey": "wk", "apiHost": "h:1/v1", "protocol": "http"}},
            "plan": {}, "edgeFunction": {}})
    );
    assert_eq!(get(server.address, "/v1/projects/no/settings").await.status, 404);
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    assert_eq!(get(server.address, "/").await.status, 404);
    assert_eq!(get(server.address, "/v1/batch").await.status, 405);
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let first = HttpSource::bind(config()).await.unwrap();
    let taken = HttpSourceConfig { listen: first.local_addr().unwrap(), ..config() };
    let error = HttpSource::bind(taken.clone()).await.unwrap_err().to_string();
    assert!(error.contains(&taken.listen.to_string()), "{error}");
}

#[test]
fn settings_are_read_and_every_mistake_is_told() {
    let value = json!({"type": "http", "listen": "127.0.0.1:8000", "write_keys": ["a", "b"]});
    let config = HttpSourceConfig::from_value(&value).unwrap();
    assert_eq!(config.write_keys.len(), 2);
    assert_eq!(
        HttpSourceConfig { write_keys: Vec::new(), ..config },
        HttpSourceConfig {
            write_keys: Vec::new(),
            ..HttpSourceConfig::new("127.0.0.1:8000".parse().unwrap(), "")
        }
    );
    let value = json!({"listen": "8000", "write_key": "a", "body_timeout": "0s"});
    let errors = HttpSourceConfig::from_value(&value).unwrap_err();
    let paths: Vec<String> = errors.iter().map(|error| error.path.join(".")).collect();
    assert_eq!(paths, ["write_key", "", "listen", "body_timeout"]);
    let errors = HttpSourceConfig::from_value(&json!({"write_keys": ["geheim:", "x"]})).unwrap_err();
    assert!(errors.len() == 1 && !errors[0].to_string().contains("geheim"), "{errors:?}");
    assert!(!format!("{:?}", HttpSourceConfig::new(([1, 1, 1, 1], 1).into(), "geheim")).contains("geheim"));
    let documented = HttpSourceConfig::KEYS.iter().filter_map(|key| Some((key.name, key.default?)));
    let map: serde_json::Map<String, Value> =
        documented.map(|(name, default)| (name.to_owned(), Value::from(default))).collect();
    let mut value = Value::Object(map);
    value["write_keys"] = json!("wk");
    let expected = HttpSourceConfig::new("127.0.0.1:8000".parse().unwrap(), "wk");
    assert_eq!(
        HttpSourceConfig::from_value(&value),
        Ok(expected),
        "the documented defaults are the defaults"
    );
}
