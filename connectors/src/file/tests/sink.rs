use std::{fs, sync::Arc};

use tidewater_connector_api::{
    Acknowledged, DeliveryError, Position, Sink,
    conformance::{self, sink::sample},
};

use super::super::*;
use crate::test_support::arrivals;

fn path(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

fn sink(path: &str) -> FileSink {
    FileSink::new(FileSinkConfig::new(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_a_sink() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory, "made/for/it/deltas.ndjson");
    let read = async || arrivals(&fs::read(&path).unwrap());
    conformance::sink::check(async || sink(&path), read).await.unwrap();
}

#[tokio::test]
async fn a_first_start_goes_on_behind_what_others_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory, "deltas.ndjson");
    fs::write(&path, "someone else's, unfinished").unwrap();
    let mut first = sink(&path);
    let start = first.open(None).await.unwrap();
    first.deliver(&[Arc::new(sample(1))]).await.unwrap();
    drop(first);
    // A crash before the first acknowledgement: the same delta comes again and stands there once.
    let mut second = sink(&path);
    second.open(Some(&Acknowledged { epoch: 0, position: start })).await.unwrap();
    second.deliver(&[Arc::new(sample(1))]).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (before, lines) = text.split_once('\n').unwrap();
    assert_eq!(before, "someone else's, unfinished");
    assert_eq!(arrivals(lines.as_bytes()).len(), sample(1).len());
}

#[tokio::test]
async fn what_was_acknowledged_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory, "deltas.ndjson");
    fs::write(&path, "{}\n").unwrap();
    let acknowledged = |bytes: &[u8]| Acknowledged { epoch: 1, position: Position(bytes.to_vec()) };
    let refusal = |result| match result {
        Err(DeliveryError::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refusal(sink(&path).open(Some(&acknowledged(&4u64.to_le_bytes()))).await);
    assert!(reason.contains(&path) && reason.contains("3 bytes, but 4"), "{reason}");
    refusal(sink(&path).open(Some(&acknowledged(b"?"))).await);
    assert_eq!(fs::read(&path).unwrap(), b"{}\n", "a refusal changes nothing");
}

#[tokio::test]
async fn a_refused_file_is_opened_once_it_is_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory, "deltas.ndjson");
    let mut sink = sink(&path);
    sink.open(None).await.unwrap();
    let position = sink.deliver(&[Arc::new(sample(1))]).await.unwrap();
    let acknowledged = Acknowledged { epoch: 1, position };
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "{}\n").unwrap();
    for attempt in 1..=2 {
        match sink.open(Some(&acknowledged)).await {
            Err(DeliveryError::Refused { reason }) => {
                assert!(reason.contains("3 bytes, but"), "{attempt}: {reason}");
            }
            other => panic!("{attempt}: {other:?}"),
        }
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(sink.open(Some(&acknowledged)).await.unwrap(), acknowledged.position);
    sink.deliver(&[Arc::new(sample(2))]).await.unwrap();
    let delivered = arrivals(&fs::read(&path).unwrap());
    assert_eq!(delivered.len(), sample(1).len() + sample(2).len());
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory, "deltas.ndjson");
    let mut sink = sink(&path);
    sink.open(None).await.unwrap();
    sink.deliver(&[Arc::new(sample(1))]).await.unwrap();
    fs::rename(&path, format!("{path}.1")).unwrap();
    let result = sink.deliver(&[Arc::new(sample(2))]).await;
    assert!(matches!(result, Err(DeliveryError::Refused { .. })), "{result:?}");
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    for path in [folder, "/dev/null", &format!("{folder}/a\0b")] {
        let result = sink(path).open(None).await;
        assert!(matches!(result, Err(DeliveryError::Refused { .. })), "{path}: {result:?}");
    }
}
