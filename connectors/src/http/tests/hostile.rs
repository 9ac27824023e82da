//! Clients that mean harm, or might as well.

use std::time::Duration;

use flate2::{Compression, write::ZlibEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{super::HttpSourceConfig, BASIC, Server, config, exchange, gzip, read_answer};

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_before_it_goes_off() {
    let server = Server::start(config()).await;
    let bomb = gzip(&vec![b' '; 100 << 20]);
    assert!(bomb.len() < 500_000, "{}", bomb.len());
    let answer = server.post("/v1/batch", "Content-Encoding: gzip\r\n", &bomb).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("inflates"), "{answer:?}");
    assert!(server.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nearly_the_same_events_may_compress_as_well_as_it_does() {
    let server = Server::start(config()).await;
    let event = |n| {
        format!(
            r#"{{"type":"track","event":"Product Viewed","userId":"user","properties":{{"name":"{:a>200}","n":{}}}}}"#,
            "",
            n % 10
        )
    };
    let events: Vec<String> = (0..2_500).map(event).collect();
    let body = format!("{{\"batch\":[{}]}}", events.join(","));
    let raw = gzip(body.as_bytes());
    assert!(raw.len() * 100 < body.len(), "{} of {}", raw.len(), body.len());
    assert_eq!(server.post("/v1/batch", "Content-Encoding: gzip\r\n", &raw).await.status, 200);
    assert_eq!(server.events().len(), 2_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn deflate_comes_in_two_kinds_and_garbage_in_many() {
    use std::io::Write;

    let server = Server::start(config()).await;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"{\"batch\":[{\"n\":1}]}").unwrap();
    let zlib = encoder.finish().unwrap();
    let header = "Content-Encoding: deflate\r\n";
    assert_eq!(server.post("/v1/batch", header, &zlib).await.status, 200);
    // Raw deflate is zlib without its header and checksum.
    assert_eq!(server.post("/v1/batch", header, &zlib[2..zlib.len() - 4]).await.status, 200);
    assert_eq!(server.events(), ["{\"n\":1}", "{\"n\":1}"]);
    for (encoding, body) in [("gzip", &b"{\"batch\":[]}"[..]), ("deflate", b"\0\0\0"), ("br", b"")] {
        let answer = server.post("/v1/batch", &format!("Content-Encoding: {encoding}\r\n"), body).await;
        assert_eq!(answer.status, 400, "{encoding}");
    }
    let truncated = gzip(b"{\"batch\":[{\"n\":1}]}");
    let half = &truncated[..truncated.len() - 9];
    assert_eq!(server.post("/v1/batch", "Content-Encoding: gzip\r\n", half).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused_whether_announced_or_not() {
    let server = Server::start(config()).await;
    let head = format!("POST /v1/batch HTTP/1.1\r\nHost: h\r\n{BASIC}Content-Length: 100000000\r\n\r\n");
    let answer = exchange(server.address, head.as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("larger than 500000 bytes"), "{answer:?}");
    let head = format!("POST /v1/batch HTTP/1.1\r\nHost: h\r\n{BASIC}Transfer-Encoding: chunked\r\n\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    // 100 MB, should anybody read them.
    while sent < 1_600 && stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_600, "the server stops reading");
    assert!(server.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_costs_the_others_nothing() {
    let server = Server::start(config()).await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(40_000));
    let body =
        [&b"{\"batch\":[{\"n\":1},{\"bad\":\"\xff\"},"[..], large.as_bytes(), b",{\"n\":2}]}"].concat();
    let answer = server.post("/v1/batch", "", &body).await;
    assert_eq!((answer.status, answer.header("x-rejected")), (200, Some("1")));
    let batches = server.recorder.batches();
    let events = &batches[0].events;
    assert_eq!(events.get(1), b"{\"bad\":\"\xff\"}", "the engine is to judge");
    assert_eq!((events.get(2), events.oversized(2)), (large.as_bytes(), Some(large.len() as u64)));
    assert_eq!((events.get(3), events.len()), (&b"{\"n\":2}"[..], 4));
    let answer = server.post("/v1/t", "", large.as_bytes()).await;
    assert_eq!((answer.status, answer.header("x-rejected")), (200, Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_a_400_that_says_so() {
    let server = Server::start(config()).await;
    for body in [&b""[..], b"hello", b"\0\0", b"{\"batch\":", b"{\"batch\":[{\"a\":1}"] {
        let answer = server.post("/v1/batch", "", body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.starts_with(r#"{"code":"invalid_request","message":""#), "{answer:?}");
    }
    let many = format!("{{\"batch\":[{}]}}", vec!["{}"; 2_501].join(","));
    let answer = server.post("/v1/batch", "", many.as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("2500"), "{answer:?}");
    assert!(server.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_dawdle_are_cut_off_and_do_not_keep_others_out() {
    let config = HttpSourceConfig {
        header_timeout: Duration::from_millis(100),
        body_timeout: Duration::from_millis(100),
        max_connections: 2,
        ..config()
    };
    let server = Server::start(config).await;
    let mut headers = TcpStream::connect(server.address).await.unwrap();
    headers.write_all(b"POST /v1/t HTTP/1.1\r\nHost: ").await.unwrap();
    let mut body = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST /v1/t HTTP/1.1\r\nHost: h\r\n{BASIC}Content-Length: 100\r\n\r\n{{");
    body.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut body).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    let mut rest = Vec::new();
    let _ = headers.read_to_end(&mut rest).await;
    // Both places are taken again, by connections that never send a thing.
    let _idle = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    assert_eq!(server.post("/v1/t", "", b"{}").await.status, 200);
}
