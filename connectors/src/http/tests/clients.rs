//! Requests as real clients send them, captured on the wire.

use tidewater_connector_api::conformance;

use super::{super::HttpSource, Server, config, gzip, post};

const SEGMENT_NODE: &str = r#"{"batch":[{"timestamp":"2026-11-23T12:36:10.859Z","integrations":{},"event":"Order Completed","type":"track","properties":{"revenue":9.5,"currency":"USD"},"context":{"library":{"name":"@segment/analytics-node","version":"3.1.0"}},"userId":"u1","anonymousId":"an1","messageId":"node-next-1795437370859-a1602e5d","_metadata":{"nodeVersion":"v20.20.2","jsRuntime":"node"}}],"writeKey":"wk","sentAt":"2026-11-23T12:36:10.869Z"}"#;

const ANALYTICS_NEXT_ALIAS: &str = r#"{"timestamp":"2026-11-23T12:36:10.859Z","integrations":{"Segment.io":true},"userId":"u9","type":"alias","context":{"page":{"path":"/shop","referrer":"http://ref.example/","search":"?utm_source=goog&utm_campaign=cc&gclid=G1","title":"T","url":"http://shop.example/shop"},"userAgent":"jsdom","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"goog","name":"cc"},"timezone":"UTC"},"messageId":"ajs-next-1","anonymousId":"72cde5b4","previousId":"u9","sentAt":"2026-11-23T12:36:10.869Z","_metadata":{"bundled":["Segment.io"],"unbundled":[],"bundledIds":[]}}"#;

const RUDDER_NODE: &str = r#"{"batch":[{"userId":"u1","traits":{"email":"x@y.z"},"context":{"traits":{"email":"x@y.z"},"library":{"name":"analytics-node","version":"3.0.13"}},"type":"identify","channel":"server","originalTimestamp":"2026-11-23T12:36:10.859Z","messageId":"r1","sentAt":"2026-11-23T12:36:10.869Z"}],"timestamp":"2026-11-23T12:36:10.869Z","sentAt":"2026-11-23T12:36:10.870Z"}"#;

/// As the library puts it together, not captured.
const RUDDER_BEACON: &str = r#"{"batch":[{"type":"page","channel":"web","anonymousId":"an2","originalTimestamp":"2026-11-23T12:36:10.859Z","messageId":"b1","sentAt":"2026-11-23T12:36:10.869Z"}]}"#;

const SEGMENT_PYTHON: &str = r#"{"batch":[{"integrations":{},"anonymousId":null,"timestamp":"2026-11-23T12:36:10.859000+00:00","type":"page","context":{},"userId":7,"messageId":"p1"},{"type":"track"}],"sentAt":"2026-11-23T12:36:11Z","writeKey":"wk"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_a_source() {
    let source = HttpSource::bind(config()).await.unwrap();
    let address = source.local_addr().unwrap();
    let expected: Vec<Vec<u8>> =
        (0..30).map(|n| format!("{{\"type\":\"track\",\"n\":{n}}}").into_bytes()).collect();
    let feed = async {
        for chunk in expected.chunks(4) {
            let body = [&b"{\"batch\":["[..], &chunk.join(&b','), b"]}"].concat();
            let answer = post(address, "/v1/batch?writeKey=wk", "", &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    conformance::source::check_fed(source, feed, &expected).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_node_sends_a_plain_batch() {
    let server = Server::start(config()).await;
    let answer =
        server.post("/v1/batch", "Content-Type: application/json\r\n", SEGMENT_NODE.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let event = SEGMENT_NODE.strip_prefix(r#"{"batch":["#).unwrap().split("}],\"writeKey\"").next().unwrap();
    assert_eq!(server.events(), [format!("{event},\"sentAt\":\"2026-11-23T12:36:10.869Z\"}}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_sends_one_event_a_request_as_text() {
    let server = Server::start(config()).await;
    let headers = "Content-Type: text/plain\r\nOrigin: http://shop.example\r\n";
    let answer = server.post("/v1/a", headers, ANALYTICS_NEXT_ALIAS.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://shop.example"));
    assert_eq!(server.events(), [ANALYTICS_NEXT_ALIAS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rudder_node_sends_gzip_under_a_form_s_content_type() {
    let server = Server::start(config()).await;
    let headers = "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n";
    let answer = server.post("/v1/batch", headers, &gzip(RUDDER_NODE.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = RUDDER_NODE.strip_prefix(r#"{"batch":["#).unwrap().split("],\"timestamp\"").next().unwrap();
    assert_eq!(
        server.events(),
        [event],
        "an event's own sentAt stays, and a batch's timestamp is not its events'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rudder_s_beacon_is_a_batch_as_text_with_the_key_in_its_path() {
    let server = Server::start(config()).await;
    let headers = "Content-Type: text/plain;charset=UTF-8\r\nOrigin: http://shop.example\r\n";
    let answer =
        post(server.address, "/beacon/v1/batch?writeKey=wk", headers, RUDDER_BEACON.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = RUDDER_BEACON.strip_prefix(r#"{"batch":["#).unwrap().strip_suffix("]}").unwrap();
    assert_eq!(server.events(), [event]);
    let unknown = "/beacon/v1/batch?writeKey=other";
    assert_eq!(post(server.address, unknown, headers, RUDDER_BEACON.as_bytes()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_python_sends_nulls_and_offsets() {
    let server = Server::start(config()).await;
    assert_eq!(post(server.address, "/v1/import", "", SEGMENT_PYTHON.as_bytes()).await.status, 200);
    let events = server.events();
    assert_eq!(events.len(), 2);
    assert!(events[0].contains(r#""anonymousId":null,"timestamp":"2026-11-23T12:36:10.859000+00:00""#));
    assert_eq!(events[1], r#"{"type":"track","sentAt":"2026-11-23T12:36:11Z"}"#);
}
