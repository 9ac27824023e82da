//! Files that have another name than when they were read.

use std::{fs, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tidewater_connector_api::{Position, Source, SourceContext, conformance::Recorder};

use super::{
    super::position::*,
    append, events, gzip, lines,
    source::{arrived, follow, run, source, stop},
    zstd,
};

/// A directory, and how far its files were read.
struct Place {
    directory: TempDir,
    position: Option<Position>,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), position: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Reads on from where the last run ended.
    async fn read(&mut self, pattern: &str) -> Vec<Vec<u8>> {
        let (events, position, result) = run(source(&self.path(pattern), false), self.position.clone()).await;
        assert_eq!(result, Ok(()));
        // Where nothing was read there is no new one.
        self.position = position.or(self.position.take());
        events
    }
}

/// The position as the version before this one wrote it.
fn of_version_1(position: &Position) -> Position {
    let mut bytes = vec![1, 0];
    let varint = |bytes: &mut Vec<u8>, mut number: u64| {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    };
    let position = FilePosition::decode(position).unwrap();
    assert!(position.active.is_empty());
    varint(&mut bytes, position.finished.len() as u64);
    for Finished { name_hash, mark, file_len, .. } in position.finished {
        bytes.extend_from_slice(&name_hash.to_le_bytes());
        varint(&mut bytes, mark.offset);
        varint(&mut bytes, mark.head_len);
        bytes.extend_from_slice(&mark.head_hash.to_le_bytes());
        varint(&mut bytes, file_len);
    }
    Position(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_file_is_not_read_again_once_it_has_been_rotated() {
    let mut place = Place::new();
    place.write("app.log", &lines(0..100));
    assert_eq!(place.read("app.log*").await, events(0..100));
    // Each day what is there gets the next name, and what came in since the last run is at the end of one of them.
    append(&place.path("app.log"), &lines(100..110));
    place.rename("app.log", "app.log.1");
    place.write("app.log", &lines(200..300));
    let expected = [events(200..300), events(100..110)].concat();
    assert_eq!(place.read("app.log*").await, expected);
    place.rename("app.log.1", "app.log.2");
    place.rename("app.log", "app.log.1");
    place.write("app.log", &lines(300..400));
    assert_eq!(place.read("app.log*").await, events(300..400));
    // The last one goes: the names are the same as before, and all stand for other files.
    place.rename("app.log.1", "app.log.2");
    place.rename("app.log", "app.log.1");
    place.write("app.log", &lines(400..500));
    assert_eq!(place.read("app.log*").await, events(400..500));
    assert_eq!(place.read("app.log*").await, events(0..0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_end_comes_behind_a_full_batch_is_finished_too() {
    let mut place = Place::new();
    // Two batches of three, and then nothing that its end could go with.
    place.write("a.x", &lines(0..6));
    assert_eq!(place.read("*.x").await, events(0..6));
    // Out of reach, but still there, so that nothing else has its inode.
    place.rename("a.x", "a.kept");
    place.write("b.x", &lines(10..16));
    assert_eq!(place.read("*.x").await, events(10..16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_copied_and_truncated_is_not_read_again() {
    let mut place = Place::new();
    place.write("app.log", &lines(0..100));
    assert_eq!(place.read("app.log*").await, events(0..100));
    fs::copy(place.path("app.log"), place.path("app.log.1")).unwrap();
    place.write("app.log", &lines(200..210));
    assert_eq!(place.read("app.log*").await, events(200..210));
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_are_known_under_other_names_too_also_by_a_follower() {
    let mut place = Place::new();
    place.write("c.gz", &gzip(&lines(0..100)));
    place.write("d.zst", &zstd(&lines(100..200)));
    assert_eq!(place.read("?.*").await, events(0..200));
    // In front of what is new, so that it would be read before it.
    place.rename("c.gz", "a.gz");
    place.rename("d.zst", "b.zst");
    append(&place.path("a.gz"), &gzip(&lines(200..204)));
    place.write("e.gz", &gzip(&lines(300..304)));
    let (recorder, task) = follow(&place.path("?.*"), place.position.clone());
    arrived(&recorder, 8).await;
    let (mut got, position) = stop(recorder, task).await;
    got.sort();
    assert_eq!(got, [events(200..204), events(300..304)].concat());
    place.position = position;
    place.rename("e.gz", "f.gz");
    place.rename("a.gz", "e.gz");
    assert_eq!(place.read("?.*").await, events(0..0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_files_all_are_read_as_long_as_all_are_there() {
    let mut place = Place::new();
    place.write("a.x", &lines(0..100));
    place.write("b.x", &lines(0..100));
    let twice = [events(0..100), events(0..100)].concat();
    assert_eq!(place.read("*.x").await, twice);
    place.write("0.x", &lines(0..100));
    place.write("c.x", &lines(0..100));
    assert_eq!(place.read("*.x").await, twice);
    fs::remove_file(place.path("a.x")).unwrap();
    place.write("d.x", &lines(0..100));
    place.write("e.x", &lines(0..100));
    // One of them is the one that is gone.
    assert_eq!(place.read("*.x").await, events(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_only_begin_alike_are_not_taken_for_each_other() {
    let mut place = Place::new();
    // An export a day, each with the same people first; the one of yesterday is removed.
    place.write("monday.x", &[lines(0..100), lines(500..600)].concat());
    assert_eq!(place.read("*.x").await.len(), 200);
    fs::remove_file(place.path("monday.x")).unwrap();
    place.write("tuesday.x", &[lines(0..100), lines(700..800), lines(500..601)].concat());
    assert_eq!(place.read("*.x").await.len(), 301);
    // The same under the same name.
    place.write("tuesday.x", &[lines(0..100), lines(800..900), lines(700..800), lines(500..600)].concat());
    assert_eq!(place.read("*.x").await.len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_short_files_are_known_by_their_inode() {
    let mut place = Place::new();
    place.write("empty.x", b"");
    place.write("short.x", &lines(0..1));
    assert_eq!(place.read("*.x").await, events(0..1));
    // Out of reach, but still there: nothing else has its inode.
    place.rename("short.x", "short.kept");
    place.rename("empty.x", "empty.kept");
    place.write("other.x", &lines(0..5));
    assert_eq!(place.read("*.x").await, events(0..5));
    if cfg!(unix) {
        place.rename("short.kept", "back.x");
        assert_eq!(place.read("*.x").await, events(0..0));
        append(&place.path("other.x"), &lines(5..6));
        place.rename("other.x", "next.x");
        assert_eq!(place.read("*.x").await, events(5..6));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_the_version_before_are_read_and_know_what_they_can() {
    let mut place = Place::new();
    place.write("a.x", &lines(0..100));
    place.write("b.x", &lines(100..200));
    place.write("c.x", &lines(200..300));
    place.write("d.x", &lines(300..301));
    assert_eq!(place.read("*.x").await, events(0..301));
    let position = of_version_1(&place.position.take().unwrap());
    place.position = Some(position);
    // Under their names as ever; under another one if beginning and length are the same.
    append(&place.path("a.x"), &lines(400..401));
    place.rename("b.x", "renamed.x");
    fs::remove_file(place.path("c.x")).unwrap();
    place.write("longer.x", &lines(200..311));
    assert_eq!(place.read("*.x").await, [events(400..401), events(200..311)].concat());
    // By now it is known of all of them what this version knows.
    append(&place.path("renamed.x"), &lines(500..501));
    place.rename("renamed.x", "again.x");
    place.rename("d.x", "short.x");
    let expected = if cfg!(unix) { events(500..501) } else { [events(500..501), events(300..301)].concat() };
    assert_eq!(place.read("*.x").await, expected);
}

// Where there are no inodes, the file that has the name now is said to be another one.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_rotated_before_it_was_finished_is_read_on_under_its_new_name() {
    let mut place = Place::new();
    place.write("app.log", &lines(0..9));
    let recorder = Recorder::new();
    recorder.close_after(1);
    let mut first = source(&place.path("app.log*"), false);
    first.run(SourceContext::new("test", None, Arc::clone(&recorder) as _)).await.unwrap();
    place.position = recorder.batches()[0].position.clone();
    place.rename("app.log", "app.log.1");
    place.write("app.log", &lines(20..29));
    assert_eq!(place.read("app.log*").await, [events(20..29), events(3..9)].concat());
}
