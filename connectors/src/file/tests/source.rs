use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use tidewater_connector_api::{
    Accepted, BoxFuture, Clock, Ingress, Position, RawEvents, ReadError, Receipt, SendError, Source,
    SourceContext, TrySendError,
    conformance::{self, Recorder},
};

use super::{super::position::*, super::*, append, events, gzip, lines, zstd};

pub(super) fn source(pattern: &Path, follow: bool) -> FileSource {
    let config = FileSourceConfig { follow, ..FileSourceConfig::new(pattern.to_str().unwrap()) };
    FileSource::new(config).with_batch_events(3)
}

/// Runs to the end of finite input: the events, the last position, and how it ended.
pub(super) async fn run(
    mut source: FileSource,
    resume: Option<Position>,
) -> (Vec<Vec<u8>>, Option<Position>, Result<(), ReadError>) {
    let recorder = Recorder::new();
    let result = source.run(SourceContext::new("test", resume, Arc::clone(&recorder) as _)).await;
    let position = recorder.batches().last().and_then(|batch| batch.position.clone());
    (recorder.events(), position, result)
}

/// A follower that runs until the recorder is closed.
pub(super) fn follow(
    pattern: &Path,
    resume: Option<Position>,
) -> (Arc<Recorder>, tokio::task::JoinHandle<Result<(), ReadError>>) {
    let recorder = Recorder::new();
    let context = SourceContext::new("test", resume, Arc::clone(&recorder) as _);
    let mut source = source(pattern, true);
    (recorder, tokio::spawn(async move { source.run(context).await }))
}

/// Waits for that many events; far longer than it takes, so that a hang has a name.
pub(super) async fn arrived(recorder: &Recorder, events: usize) {
    let waiting = tokio::time::timeout(Duration::from_secs(60), recorder.wait_for(events));
    if waiting.await.is_err() {
        let got: Vec<String> =
            recorder.events().iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        panic!("waited for {events} events, got {got:?}");
    }
}

pub(super) async fn stop(
    recorder: Arc<Recorder>,
    task: tokio::task::JoinHandle<Result<(), ReadError>>,
) -> (Vec<Vec<u8>>, Option<Position>) {
    recorder.close();
    task.await.unwrap().unwrap();
    (recorder.events(), recorder.batches().last().and_then(|batch| batch.position.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_a_source() {
    let directory = tempfile::tempdir().unwrap();
    // In the order of their names, whatever order they are made in; one without a last newline.
    fs::write(directory.path().join("d.ndjson"), &lines(30..41)[..]).unwrap();
    fs::write(directory.path().join("b.ndjson.gz"), [gzip(&lines(10..15)), gzip(&lines(15..20))].concat())
        .unwrap();
    fs::write(directory.path().join("c.ndjson.zst"), [zstd(&lines(20..25)), zstd(&lines(25..30))].concat())
        .unwrap();
    fs::write(directory.path().join("a.ndjson"), lines(0..10).strip_suffix(b"\n").unwrap()).unwrap();
    fs::write(directory.path().join("empty.ndjson"), b"").unwrap();
    fs::create_dir(directory.path().join("folder.ndjson")).unwrap();
    let pattern = directory.path().join("*.ndjson*");
    conformance::source::check(async || source(&pattern, false), &events(0..41)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_when_following() {
    let directory = tempfile::tempdir().unwrap();
    // One file at a time: between several followed files there is no order.
    for (name, content) in [("a.log", lines(0..10)), ("b.log.gz", gzip(&lines(0..10)))] {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        conformance::source::check(async || source(&path, true), &events(0..10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_what_was_appended_and_no_finished_file_again() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a.x"), directory.path().join("b.x.gz"));
    fs::write(&a, lines(0..4)).unwrap();
    fs::write(&b, gzip(&lines(4..9))).unwrap();
    let pattern = directory.path().join("*.x*");
    let (got, position, result) = run(source(&pattern, false), None).await;
    assert_eq!((got, result), (events(0..9), Ok(())));
    let (got, _, result) = run(source(&pattern, false), position.clone()).await;
    assert_eq!((got, result), (events(0..0), Ok(())));
    append(&a, &lines(9..11));
    append(&b, &gzip(&lines(11..13)));
    fs::write(directory.path().join("0.x"), lines(13..15)).unwrap();
    let (got, second, result) = run(source(&pattern, false), position).await;
    let expected = [events(13..15), events(9..11), events(11..13)].concat();
    assert_eq!((got, result), (expected, Ok(())));
    let (got, _, result) = run(source(&pattern, false), second).await;
    assert_eq!((got, result), (events(0..0), Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_behind_a_position_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.x");
    fs::write(&path, lines(0..9)).unwrap();
    let recorder = Recorder::new();
    recorder.close_after(1);
    let mut first = source(&path, false);
    first.run(SourceContext::new("test", None, Arc::clone(&recorder) as _)).await.unwrap();
    let position = recorder.batches()[0].position.clone();
    let bad = |result| match result {
        Err(ReadError::BadPosition { reason }) => reason,
        other => panic!("{other:?}"),
    };
    fs::write(&path, lines(5..9)).unwrap();
    let (got, _, result) = run(source(&path, false), position.clone()).await;
    let reason = bad(result);
    assert!(
        reason.contains("another file now")
            && reason.contains("put it back, or give the source another name")
            && got.is_empty(),
        "{reason}"
    );
    fs::write(&path, &lines(0..9)[..20]).unwrap();
    let (_, _, result) = run(source(&path, false), position.clone()).await;
    let reason = bad(result);
    assert!(reason.contains("a.x") && reason.contains("put it back"), "{reason}");
    // Renamed it is the same file still.
    fs::write(&path, lines(0..9)).unwrap();
    fs::rename(&path, directory.path().join("b.x")).unwrap();
    let (got, _, result) = run(source(&directory.path().join("*.x"), false), position.clone()).await;
    assert_eq!((got, result), (events(3..9), Ok(())));
    fs::rename(directory.path().join("b.x"), directory.path().join("gone")).unwrap();
    fs::write(directory.path().join("c.x"), lines(0..1)).unwrap();
    let (_, _, result) = run(source(&directory.path().join("*.x"), false), position).await;
    let reason = bad(result);
    assert!(
        reason.contains("is gone") && reason.contains("put it back, or give the source another name"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (name, expected) in [("no.x", "no such file"), ("*.x", "no file matches"), ("", "is a directory")] {
        let (got, _, result) = run(source(&directory.path().join(name), false), None).await;
        let Err(ReadError::Failed { reason }) = result else { panic!("{result:?}") };
        assert!(reason.contains(expected) && reason.contains(directory.path().to_str().unwrap()), "{reason}");
        assert!(got.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_tail_is_told_after_everything_before_it() {
    let directory = tempfile::tempdir().unwrap();
    for (name, packed) in [("a.gz", gzip(&lines(0..50_000))), ("a.zst", zstd(&lines(0..50_000)))] {
        let path = directory.path().join(name);
        fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let config = FileSourceConfig::new(path.to_str().unwrap());
        let (got, position, result) = run(FileSource::new(config.clone()), None).await;
        let Err(ReadError::Failed { reason }) = result else { panic!("{result:?}") };
        assert!(reason.contains(name) && reason.contains("behind byte"), "{reason}");
        assert!(!got.is_empty() && got[..] == events(0..50_000)[..got.len()]);
        // Repaired, the rest follows exactly.
        fs::write(&path, packed).unwrap();
        let (rest, _, result) = run(FileSource::new(config), position).await;
        assert_eq!(result, Ok(()));
        assert_eq!([got, rest].concat(), events(0..50_000));
    }
    let path = directory.path().join("plain.gz");
    fs::write(&path, lines(0..3)).unwrap();
    let (got, _, result) = run(source(&path, false), None).await;
    assert!(got.is_empty() && matches!(result, Err(ReadError::Failed { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_line_and_odd_bytes_get_through_to_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.x");
    let huge = vec![b'x'; 17 << 20];
    fs::write(&path, [&b"\xff\xfe\0\n"[..], &huge, b"\n{}\n"].concat()).unwrap();
    let recorder = Recorder::new();
    let mut source = FileSource::new(FileSourceConfig::new(path.to_str().unwrap()));
    source.run(SourceContext::new("test", None, Arc::clone(&recorder) as _)).await.unwrap();
    let got = recorder.events();
    assert_eq!(
        (got[0].as_slice(), got[1].len(), got[2].as_slice()),
        (&b"\xff\xfe\0"[..], 1 << 20, &b"{}"[..])
    );
    let batches = recorder.batches();
    let large: Vec<u64> = batches
        .iter()
        .flat_map(|batch| (0..batch.events.len()).filter_map(|place| batch.events.oversized(place)))
        .collect();
    assert_eq!(large, [17 << 20]);
    let len = fs::metadata(&path).unwrap().len();
    assert_eq!(recorder.last_progress(), Some((len, Some(len))));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_survives_appends_rotation_truncation_and_new_files() {
    let directory = tempfile::tempdir().unwrap();
    let (log, pattern) = (directory.path().join("app.log"), directory.path().join("*.log"));
    let (recorder, task) = follow(&pattern, None);
    append(&log, &lines(0..2));
    arrived(&recorder, 2).await;
    // Half a line waits for its end.
    append(&log, b"{\"n\":");
    append(&log, b"2}\n");
    arrived(&recorder, 3).await;
    // Rotated: the writer goes on in the old file for a moment, then in a new one.
    fs::rename(&log, directory.path().join("app.log.1")).unwrap();
    append(&directory.path().join("app.log.1"), &lines(3..4));
    arrived(&recorder, 4).await;
    append(&log, &lines(4..6));
    arrived(&recorder, 6).await;
    append(&directory.path().join("other.log"), &lines(6..7));
    arrived(&recorder, 7).await;
    fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, &lines(7..8));
    arrived(&recorder, 8).await;
    let (got, position) = stop(recorder, task).await;
    assert_eq!(got, events(0..8));
    // Away for a while: the log was rotated, so its rest lies out of reach of the pattern.
    append(&log, &lines(8..9));
    fs::rename(&log, directory.path().join("app.log.2")).unwrap();
    append(&log, &lines(9..10));
    let (recorder, task) = follow(&pattern, position);
    arrived(&recorder, 2).await;
    let (got, _) = stop(recorder, task).await;
    assert_eq!(got, events(8..10));
}

/// An engine in which a file grows faster than it is read.
struct Busy {
    file: PathBuf,
    others: Arc<Recorder>,
}

const BUSY: &[u8] = b"{\"busy\":true}\n";

impl Ingress for Busy {
    fn send(
        &self,
        events: RawEvents,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<Receipt, SendError>> {
        append(&self.file, &BUSY.repeat(2 * events.len()));
        let others: RawEvents = events.iter().filter(|event| *event != BUSY.trim_ascii_end()).collect();
        if others.is_empty() && !self.others.is_closing() {
            return Box::pin(async { Ok(Receipt::ready(Ok(Accepted::default()))) });
        }
        self.others.send(others, position)
    }

    fn try_send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, TrySendError> {
        self.others.try_send(events, position)
    }

    fn closing(&self) -> BoxFuture<'_, ()> {
        self.others.closing()
    }

    fn is_closing(&self) -> bool {
        self.others.is_closing()
    }

    fn progress(&self, done_bytes: u64, total_bytes: Option<u64>) {
        self.others.progress(done_bytes, total_bytes);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.others.clock()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_never_read_to_its_end_hides_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let (file, others) = (directory.path().join("busy.log"), Recorder::new());
    append(&file, &BUSY.repeat(1_000));
    let busy = Busy { file: file.clone(), others: Arc::clone(&others) };
    let context = SourceContext::new("test", None, Arc::new(busy) as _);
    let mut source = source(&directory.path().join("*.log"), true);
    let task = tokio::spawn(async move { source.run(context).await });
    // It has begun, so what comes now was not there at the first look.
    let read = async {
        while fs::metadata(&file).unwrap().len() <= 1_000 * BUSY.len() as u64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap();
    append(&directory.path().join("new.log"), &lines(0..2));
    arrived(&others, 2).await;
    let (got, _) = stop(others, task).await;
    assert_eq!(got, events(0..2));
}

#[test]
fn garbage_is_no_position() {
    for bytes in
        [&b""[..], b"\x01", b"\x03\0\0", b"\x01\0\0\0", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
    {
        let result = FilePosition::decode(&Position(bytes.to_vec()));
        assert!(matches!(result, Err(ReadError::BadPosition { .. })), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn positions_read_back(
        active in proptest::collection::vec((".*", any::<u64>(), any::<u64>(), any::<Vec<u8>>()), 0..4),
        finished in proptest::collection::vec((".*", any::<u64>(), any::<u64>()), 0..4),
    ) {
        let mut position = FilePosition::default();
        for (name, offset, len) in finished {
            position.finish(&name, len, Mark::new(offset, name.as_bytes()), (len, offset as u32));
        }
        for (name, inode, offset, head) in active {
            position.update(&name, inode, Mark::new(offset, &head));
        }
        prop_assert_eq!(FilePosition::decode(&position.encode()), Ok(position));
    }
}
