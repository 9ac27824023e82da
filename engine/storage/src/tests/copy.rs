//! Copies: what is in one is what was durable when it was made, and an unfinished one is refused, wherever it ended.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::sim::{Fault, Operation};
use crate::{
    AckFile, Appended, Checkpoints, Copied, DeadLetterOptions, DeadLetters, Extent, Filter, Manifest,
    NewBatch, NewDeadLetter, NewRecord, Outbox, OutboxOptions, Pushed, Quarantine, StateFile,
};

const COPY: &str = "copy";

/// A directory that is written to, with something in every part of it.
struct Running {
    state: StateDir,
    log: LogWriter,
    quarantine: Quarantine,
    acks: AckFile,
    checkpoints: Checkpoints,
    made: Vec<Manifest>,
    next: u64,
}

impl Running {
    fn new(files: &SimFiles) -> Self {
        let state = state(files);
        let (log, _) = state.open_log(LogOptions { file_bytes: 250 }).unwrap();
        let (quarantine, _) = state.open_quarantine(Default::default()).unwrap();
        let (acks, _) = state.open_acks("updates").unwrap();
        let checkpoints = state.open_checkpoints().unwrap();
        let mut running = Self { state, log, quarantine, acks, checkpoints, made: Vec::new(), next: 1 };
        (0..10).for_each(|_| running.step());
        running
    }

    /// An epoch, a refused event and an acknowledgement; every third time a checkpoint on top of the one before.
    fn step(&mut self) {
        let epoch = self.next;
        self.next += 1;
        let new = NewRecord {
            reason: "bad_time",
            source: "web",
            received_at: Timestamp(0),
            bytes: &[b'x'; 9],
            original_len: 9,
        };
        assert_eq!(self.quarantine.append(&new).unwrap(), Appended::Stored(epoch));
        self.quarantine.sync().unwrap();
        self.log.append(&entries(epoch)[epoch as usize - 1]).unwrap();
        self.log.sync().unwrap();
        self.acks.record(epoch, b"there").unwrap();
        if epoch.is_multiple_of(3) {
            let piece = |writer: &mut crate::StateFileWriter<'_>| writer.append(1, &epoch.to_le_bytes());
            let mut files: Vec<StateFile> = vec![self.checkpoints.write_state(epoch, piece).unwrap()];
            files.extend(self.made.last().iter().flat_map(|before| &before.files));
            let manifest = Manifest {
                epoch,
                now: Timestamp(0),
                latest: Timestamp(0),
                dedup_half: 0,
                next_place: 0,
                positions: Vec::new(),
                definitions: Vec::new(),
                delivered: Vec::new(),
                files,
                is_base: false,
            };
            self.checkpoints.commit(&manifest).unwrap();
            self.made.push(manifest);
        }
    }

    fn copy(&mut self) -> Result<Copied, StorageError> {
        self.copy_while(|_| {})
    }

    /// Makes a copy; `meanwhile` comes between its parts.
    fn copy_while(&mut self, meanwhile: impl FnOnce(&mut Self)) -> Result<Copied, StorageError> {
        let reader = self.state.reader().clone();
        reader.copy_to(COPY.as_ref(), || {
            meanwhile(self);
            Extent::of(&self.log, &self.quarantine)
        })
    }
}

/// Opens the copy and looks at everything in it: the last epoch of its log.
fn check_copy(files: &SimFiles) -> Result<u64, StorageError> {
    let reader = StateReader::open_with(Arc::new(files.clone()), COPY)?;
    assert_eq!(reader.meta(), super::reader(files).meta());
    let (read, end) = read_all(reader.log(1));
    end.unwrap();
    let last = read.len() as u64;
    assert_eq!(read, entries(last));
    let refused: Vec<u64> =
        reader.quarantine(Filter::All).unwrap().map(|record| record.unwrap().id).collect();
    assert_eq!(refused, (1..=last).collect::<Vec<_>>(), "as of the log's last epoch");
    let ack = reader.ack("updates").unwrap().unwrap();
    assert!(ack.epoch <= last, "nothing is acknowledged that is not in the log");
    let manifests: Vec<Manifest> = reader.checkpoints().unwrap().into_iter().map(Result::unwrap).collect();
    assert!(manifests.iter().all(|manifest| manifest.epoch <= last));
    for file in manifests.iter().flat_map(|manifest| &manifest.files) {
        reader.state_file(file).unwrap().check().unwrap();
    }
    // It can be run on.
    let state = StateDir::open_with(Arc::new(files.clone()), COPY, &new_state())?;
    let (mut log, cut) = state.open_log(LogOptions::default()).unwrap();
    assert_eq!((cut, log.next_epoch()), (None, last + 1));
    log.append(&entries(last + 1)[last as usize]).unwrap();
    log.sync().unwrap();
    assert_eq!(state.open_quarantine(Default::default()).unwrap().1, None);
    assert_eq!(state.open_acks("updates").unwrap().0.last(), Some(&ack));
    Ok(last)
}

#[test]
fn a_copy_of_a_directory_that_is_written_to_is_of_one_epoch() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let copied = running.copy_while(|running| (0..4).for_each(|_| running.step())).unwrap();
    (0..4).for_each(|_| running.step());
    assert_eq!((copied.epoch, running.log.durable_epoch()), (14, 18));
    let in_copy = |path: &&PathBuf| path.starts_with(COPY) && !path.ends_with("meta");
    let bytes: usize =
        files.paths().iter().filter(in_copy).map(|path| files.contents(path).unwrap().len()).sum();
    assert_eq!(copied.bytes, bytes as u64);
    assert!(copied.linked_bytes > 0 && copied.linked_bytes < copied.bytes);
    assert_eq!(check_copy(&files).unwrap(), 14);
    // Neither has changed the other.
    assert_eq!(read_log(&files).0, entries(18));
    files.crash(7);
    assert_eq!(read_log(&files).0, entries(18));
    assert_eq!(read_all(StateReader::open_with(Arc::new(files), COPY).unwrap().log(1)).0, entries(15));
}

#[test]
fn nothing_is_removed_while_it_is_copied() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let there = |files: &SimFiles| reader(files).checkpoints().unwrap().len();
    running.copy_while(|running| running.checkpoints.keep(&[]).unwrap()).unwrap();
    assert_eq!(there(&files), 3);
    running.checkpoints.keep(&[]).unwrap();
    assert_eq!(there(&files), 0);
    check_copy(&files).unwrap();
    let copied = StateReader::open_with(Arc::new(files), COPY).unwrap();
    assert_eq!(copied.checkpoints().unwrap().len(), 3);
}

/// Bytes of all files.
fn used(files: &SimFiles) -> u64 {
    files.paths().iter().map(|path| files.contents(path).unwrap().len() as u64).sum()
}

#[test]
fn what_was_sealed_while_it_was_copied_gives_its_room_back_on_a_full_disk() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let archive = running.state.open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    let mut written = 0;
    running
        .copy_while(|_| {
            seal_all(&archive).unwrap();
            let before = files.count(Operation::Write);
            seal_all(&archive).unwrap();
            written = files.count(Operation::Write) - before;
        })
        .unwrap();
    assert_eq!(written, 0, "once is enough");
    assert!(full.len() > 1 && archive.unsealed().unwrap() == full, "both forms are there");
    files.set_capacity(Some(used(&files)));
    seal_all(&archive).unwrap();
    assert_eq!(archive.unsealed().unwrap(), [0; 0]);
    assert!(full.iter().all(|base| files.contents(&log_path(*base)).is_none()));
    assert_eq!(read_log(&files).0, entries(10));
    files.set_capacity(None);
    check_copy(&files).unwrap();
}

#[test]
fn a_sealed_file_that_is_damaged_while_it_is_copied_costs_the_plain_one_nothing() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let archive = running.state.open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    running.copy_while(|_| seal_all(&archive).unwrap()).unwrap();
    let whole = files.contents(&sealed_path(full[0])).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let files = files.fork();
        files.set_contents(&sealed_path(full[0]), &bytes);
        let archive = state(&files).open_log_archive().unwrap();
        seal_all(&archive).unwrap();
        assert_eq!(files.contents(&sealed_path(full[0])).unwrap(), whole, "byte {at}");
        assert_eq!(read_log(&files).0, entries(10), "byte {at}");
    }
}

#[test]
fn a_checkpoint_that_lacks_a_file_is_left_out() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let path = PathBuf::from(format!("{DIR}/checkpoints/{:020}.state", 6));
    crate::Files::remove(&files, &path).unwrap();
    running.copy().unwrap();
    check_copy(&files).unwrap();
    let copied = StateReader::open_with(Arc::new(files), COPY).unwrap();
    let epochs: Vec<u64> =
        copied.checkpoints().unwrap().into_iter().map(|made| made.unwrap().epoch).collect();
    assert_eq!(epochs, [3]);
}

#[test]
fn a_copy_needs_a_directory_of_its_own() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    running.copy().unwrap();
    assert!(matches!(running.copy(), Err(StorageError::NotEmpty { .. })));
    let onto_itself =
        running.state.reader().copy_to(DIR.as_ref(), || Extent::of(&running.log, &running.quarantine));
    assert!(matches!(onto_itself, Err(StorageError::NotEmpty { .. })));
    check_copy(&files).unwrap();
}

#[test]
fn a_copy_that_ends_anywhere_is_whole_or_refused() {
    let operations = [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::SyncDir,
        Operation::Rename,
        Operation::Read,
    ];
    let (mut refused, mut whole) = (0, 0);
    for operation in operations {
        let clean = SimFiles::new();
        let mut running = Running::new(&clean);
        let before = clean.count(operation);
        running.copy().unwrap();
        for nth in 0..clean.count(operation) - before {
            let files = SimFiles::new();
            let mut running = Running::new(&files);
            files.fail(operation, nth, Fault::Error(std::io::ErrorKind::Other));
            let copied = running.copy();
            files.clear_faults();
            files.crash(nth * 31 + operation as u64);
            let found = check_copy(&files);
            assert!(copied.is_err() || found.is_ok(), "{operation:?} {nth}");
            match found {
                Ok(last) => {
                    assert_eq!(last, 10);
                    whole += 1;
                }
                Err(StorageError::Unfinished { .. } | StorageError::NotFound { .. }) => refused += 1,
                Err(error) => panic!("{operation:?} {nth}: {error}"),
            }
            assert_eq!(read_log(&files).0, entries(10), "the original is as it was");
        }
    }
    assert!(refused > 20, "{refused} were refused, {whole} were whole");
}

#[test]
fn what_waits_for_a_sink_and_what_it_would_not_take_is_in_the_copy() {
    let files = SimFiles::new();
    let mut running = Running::new(&files);
    let acknowledged = running.acks.last().unwrap().epoch;
    let (mut outbox, _) = running.state.open_outbox("updates", Default::default(), acknowledged).unwrap();
    let (mut letters, _) = running.state.open_dead_letters("updates", Default::default()).unwrap();
    let (after, context) = (acknowledged, b"names".as_slice());
    let batch = NewBatch { after, epoch: after + 2, context, bytes: b"deltas" };
    assert_eq!(outbox.push(batch, false).unwrap(), Pushed::Queued);
    let letter = NewDeadLetter {
        epoch: after - 1,
        cause: "refused",
        reason: "no",
        attempts: 1,
        first_failed_at: Timestamp(0),
        last_failed_at: Timestamp(0),
        context,
        bytes: b"delta",
    };
    assert_eq!(letters.append(&letter).unwrap(), Appended::Stored(1));
    running.copy().unwrap();
    let check = |files: SimFiles| {
        let copy = StateDir::open_with(Arc::new(files), COPY, &new_state()).unwrap();
        let (mut outbox, cut) = copy.open_outbox("updates", Default::default(), acknowledged).unwrap();
        assert_eq!((cut, outbox.span().through), (None, after + 2));
        assert_eq!(outbox.pop(after).unwrap().unwrap().bytes, b"deltas");
        let letters: Vec<_> = copy.reader().dead_letters("updates").unwrap().map(Result::unwrap).collect();
        assert_eq!((letters.len(), letters[0].bytes.as_slice()), (1, b"delta".as_slice()));
    };
    // Once it is made no power cut takes anything of it.
    for seed in 0..8 {
        let lost = files.fork();
        lost.crash(seed);
        check(lost);
    }
    check(files.clone());
}

/// Whoever opens a file just when another takes its place is told that there is none.
#[test]
fn what_is_replaced_just_then_is_in_the_copy_all_the_same() {
    let opens_of = |directory: &'static str, missed: u64| {
        let files = SimFiles::new();
        let mut running = Running::new(&files);
        let mut ads = Ads::new(&running.state);
        (0..3).for_each(|_| ads.step());
        let (path, opens) = (format!("state/{directory}/ads"), Arc::new(Mutex::new(0)));
        let inside = Arc::clone(&opens);
        files.on_call(Some(Arc::new(move |operation, called| {
            if operation != Operation::Open || called != Path::new(&path) {
                return None;
            }
            let mut opens = inside.lock().unwrap();
            *opens += 1;
            (*opens <= missed).then_some(Fault::Error(ErrorKind::NotFound))
        })));
        running.copy().unwrap();
        files.on_call(None);
        assert_eq!(check_ads(&files, directory), 2);
        *opens.lock().unwrap()
    };
    for directory in ["acks", "dead_letters"] {
        assert_eq!(opens_of(directory, 2), opens_of(directory, 0) + 2, "{directory}");
    }
}

/// A sink at work: what it refuses becomes a letter, and every letter is tried again and delivered.
struct Ads {
    acks: AckFile,
    outbox: Outbox,
    letters: DeadLetters,
    /// Numbers and epochs of those there are.
    waiting: VecDeque<(u64, u8)>,
    /// The epochs that have come to the destination, which is what it acknowledges.
    standing: Vec<u8>,
    epoch: u8,
    steps: u64,
}

/// So many steps are of interest: letters have come and gone by then, and their file was begun anew.
const STEPS: u64 = 30;

/// The last epoch in the outbox, of which each epoch is a file.
const THROUGH: u8 = 20;

impl Ads {
    fn new(state: &StateDir) -> Self {
        let options = OutboxOptions { file_bytes: 1, ..OutboxOptions::default() };
        let mut outbox = state.open_outbox("ads", options, 0).unwrap().0;
        for epoch in 1..=u64::from(THROUGH) {
            let batch = NewBatch { after: epoch - 1, epoch, context: b"names", bytes: b"deltas" };
            assert_eq!(outbox.push(batch, false).unwrap(), Pushed::Queued);
        }
        let options = DeadLetterOptions { max_bytes: 260 };
        Self {
            acks: state.open_acks("ads").unwrap().0,
            outbox,
            letters: state.open_dead_letters("ads", options).unwrap().0,
            waiting: VecDeque::new(),
            standing: Vec::new(),
            epoch: 0,
            steps: 0,
        }
    }

    fn acknowledge(&mut self) {
        self.acks.record(self.epoch.into(), &self.standing).unwrap();
        self.outbox.forget(self.epoch.into()).unwrap();
    }

    /// The next of what it does. A delivery is acknowledged behind the letter it leaves, and in front of the one it ends.
    fn step(&mut self) {
        self.steps += 1;
        match self.steps % 6 {
            1 => {
                self.epoch += 1;
                let letter = NewDeadLetter {
                    epoch: self.epoch.into(),
                    cause: "refused",
                    reason: "no",
                    attempts: 1,
                    first_failed_at: Timestamp(0),
                    last_failed_at: Timestamp(0),
                    context: b"names",
                    bytes: b"delta",
                };
                let Appended::Stored(id) = self.letters.append(&letter).unwrap() else { panic!("no room") };
                self.letters.sync().unwrap();
                self.waiting.push_back((id, self.epoch));
            }
            2 => self.acknowledge(),
            3 => {
                self.epoch += 1;
                self.standing.push(self.epoch);
                self.acknowledge();
            }
            4 => self.letters.mark(&BTreeSet::from([self.waiting[0].0])).unwrap(),
            5 => {
                self.standing.push(self.waiting[0].1);
                self.acknowledge();
            }
            _ => {
                let (id, _) = self.waiting.pop_front().unwrap();
                self.letters.remove(&BTreeSet::from([id])).unwrap();
            }
        }
    }
}

/// Makes a copy while the sink goes on: from the `nth` call on that is made for the copy it takes so many steps before each. How
/// many calls there were.
fn copy_beside(files: &SimFiles, running: &mut Running, ads: Ads, (nth, pace): (u64, u64)) -> u64 {
    let shared = Arc::new(Mutex::new((ads, 0)));
    let inside = Arc::clone(&shared);
    files.on_call(Some(Arc::new(move |_, _| {
        // What a step calls itself finds it locked.
        let Ok(mut inside) = inside.try_lock() else { return None };
        let (ads, calls) = &mut *inside;
        *calls += 1;
        if *calls > nth && ads.steps < STEPS {
            (0..pace).for_each(|_| ads.step());
        }
        None
    })));
    running.copy().unwrap();
    files.on_call(None);
    let inside = shared.lock().unwrap();
    inside.1
}

#[test]
fn a_sink_that_acknowledges_while_it_is_copied_finds_all_it_needs_in_the_copy() {
    let mut found = BTreeSet::new();
    for pace in 1..=4 {
        let (mut nth, mut calls) = (0, 1);
        while nth <= calls {
            let files = SimFiles::new();
            let mut running = Running::new(&files);
            let mut ads = Ads::new(&running.state);
            // Every moment of a round comes to lie at every call.
            (0..nth % 6).for_each(|_| ads.step());
            calls = copy_beside(&files, &mut running, ads, (nth, pace));
            found.insert(check_ads(&files, &format!("{pace} steps before each call from {nth} on")));
            nth += 1;
        }
    }
    assert!(found.len() > 5, "{found:?}");
}

/// Looks at what the copy has of the sink; what is acknowledged there.
fn check_ads(files: &SimFiles, which: &str) -> u64 {
    let copy = StateDir::open_with(Arc::new(files.clone()), COPY, &new_state()).unwrap();
    let ack = copy.reader().ack("ads").unwrap();
    let (epoch, standing) = ack.map_or((0, Vec::new()), |ack| (ack.epoch, ack.position));
    let (mut outbox, cut) = copy.open_outbox("ads", OutboxOptions::default(), epoch).unwrap();
    assert_eq!((cut, outbox.span().through), (None, THROUGH.into()), "{which}, acknowledged {epoch}");
    let mut waiting = Vec::new();
    while let Some(batch) = outbox.pop(epoch).unwrap() {
        waiting.push(batch.epoch);
    }
    assert_eq!(waiting, (epoch + 1..=THROUGH.into()).collect::<Vec<_>>(), "{which}");
    // What is acknowledged stands at the destination or waits in a letter.
    let letters = copy.reader().dead_letters("ads").unwrap().map(|letter| letter.unwrap().epoch);
    let has: BTreeSet<u64> = standing.into_iter().map(u64::from).chain(letters).collect();
    let lost: Vec<u64> = (1..=epoch).filter(|past| !has.contains(past)).collect();
    assert!(lost.is_empty(), "{which}, acknowledged {epoch}: {lost:?} are lost");
    epoch
}
