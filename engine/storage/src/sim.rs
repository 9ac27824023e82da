//! A file system in memory whose calls fail on request, and whose crashes lose and tear what was not synced.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{Blob, Files, Locking, Mode};

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Files::open`].
    Open,
    /// [`Blob::read_at`].
    Read,
    /// [`Blob::write_at`].
    Write,
    /// [`Blob::set_len`].
    SetLen,
    /// [`Blob::sync`].
    Sync,
    /// [`Files::rename`].
    Rename,
    /// [`Files::sync_dir`].
    SyncDir,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It returns this error and does nothing. A failed sync also forgets what it should have written: the contents
    /// can still be read but are not written by a later sync, as on Linux.
    Error(io::ErrorKind),
    /// A write takes only so many bytes (at least one) and reports that.
    Short(usize),
    /// The power goes before it is done, as [`SimFiles::cut_power`] with this seed; a write may still have taken its bytes.
    PowerCut(u64),
}

/// Is told of every call but those that change names alone, before it is done, and says how it fails, if it does.
pub type OnCall = Arc<dyn Fn(Operation, &Path) -> Option<Fault> + Send + Sync>;

/// The file system; clones share it, and belong to the same life of it.
#[derive(Clone, Debug, Default)]
pub struct SimFiles {
    disk: Arc<Mutex<Disk>>,
    /// Which life of the machine or process it is used in.
    life: u64,
}

#[derive(Default)]
struct Disk {
    life: u64,
    on_call: Option<OnCall>,
    broken_rules: Vec<String>,
    directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    nodes: Vec<Node>,
    faults: Vec<(Operation, u64, Fault)>,
    counts: BTreeMap<Operation, u64>,
    capacity: Option<u64>,
    locks: BTreeMap<PathBuf, std::sync::Weak<()>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("life", &self.life).field("names", &self.names).finish_non_exhaustive()
    }
}

/// A file's contents: as read, as a crash leaves them, and what lies between.
#[derive(Debug, Default)]
struct Node {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// The life in which a sync of it failed: nothing may be written to it any more then, nor be synced.
    failed_in: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    AddDirectory(PathBuf),
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn directory(&self) -> &Path {
        let (Self::AddDirectory(path) | Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _)) =
            self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, directories: &mut BTreeSet<PathBuf>, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::AddDirectory(path) => _ = directories.insert(path.clone()),
            Self::Add(path, node) => _ = names.insert(path.clone(), *node),
            Self::Remove(path) => _ = names.remove(path),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*offset..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => contents.resize(*len, 0),
        }
    }
}

impl SimFiles {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` next call (0: the very next) of this kind fail, once.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut disk = self.disk();
        let at = disk.counts.get(&operation).copied().unwrap_or(0) + nth;
        disk.faults.push((operation, at, fault));
    }

    /// Forgets the faults that have not been met.
    pub fn clear_faults(&self) {
        self.disk().faults.clear();
    }

    /// How many calls of this kind there have been.
    pub fn count(&self, operation: Operation) -> u64 {
        self.disk().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Limits the bytes of all files together; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Cuts the power. Of what was not synced each change is at random kept, lost or torn; names as the first so many of
    /// their changes; what is in a directory that is lost is lost with it. All locks are gone; handles opened before must no
    /// longer be used.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        let mut disk = self.disk();
        let disk = &mut *disk;
        for node in &mut disk.nodes {
            for change in node.pending.drain(..) {
                match (random.below(3), change) {
                    (0, _) => {}
                    (1, Change::Write { offset, mut bytes }) => {
                        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
                        Change::Write { offset, bytes }.apply(&mut node.durable);
                    }
                    (_, change) => change.apply(&mut node.durable),
                }
            }
            node.current.clone_from(&node.durable);
        }
        let kept = random.below(disk.pending_names.len() as u64 + 1) as usize;
        for change in disk.pending_names.drain(..).take(kept) {
            change.apply(&mut disk.durable_directories, &mut disk.durable_names);
        }
        let there = disk.durable_directories.clone();
        let is_lost =
            |path: &Path| path.ancestors().skip(1).any(|above| !is_root(above) && !there.contains(above));
        disk.durable_directories.retain(|path| !is_lost(path));
        disk.durable_names.retain(|path, _| !is_lost(path));
        disk.directories.clone_from(&disk.durable_directories);
        disk.names.clone_from(&disk.durable_names);
        disk.locks.clear();
    }

    /// Ends the process without a power cut: contents stay, locks are gone.
    pub fn kill(&self) {
        self.disk().locks.clear();
    }

    /// Cuts the power as [`crash`](Self::crash) does; whoever used the disk before finds that nothing works any more.
    pub fn cut_power(&self, seed: u64) {
        self.crash(seed);
        self.disk().life += 1;
    }

    /// Ends the process as [`kill`](Self::kill) does; whatever of it still runs finds that nothing works any more.
    pub fn end_process(&self) {
        let mut disk = self.disk();
        disk.locks.clear();
        disk.life += 1;
    }

    /// Whether this life of the machine or process is over.
    pub fn is_over(&self) -> bool {
        self.life != self.disk().life
    }

    /// The same disk in the life that has begun behind the last power cut or the last end of a process.
    pub fn next_life(&self) -> Self {
        let life = self.disk().life;
        Self { disk: Arc::clone(&self.disk), life }
    }

    /// Asks this before every call.
    pub fn on_call(&self, on_call: Option<OnCall>) {
        self.disk().on_call = on_call;
    }

    /// Rules that were broken: files that were written or synced again in the life in which a sync of them had failed.
    pub fn broken_rules(&self) -> Vec<String> {
        self.disk().broken_rules.clone()
    }

    /// Takes note of a call, and fails it if it is to fail.
    fn enter(&self, operation: Operation, path: &Path) -> io::Result<Option<Fault>> {
        let on_call = self.disk().on_call.clone();
        // Outside of the lock: other threads may go on meanwhile.
        let asked = on_call.and_then(|on_call| on_call(operation, path));
        let mut disk = self.disk();
        if self.life != disk.life {
            return Err(io::Error::other("the power is off"));
        }
        Ok(disk.enter(operation).or(asked))
    }

    fn enter_or_fail(&self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.enter(operation, path)? {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::PowerCut(seed)) => {
                self.cut_power(seed);
                Err(io::Error::other("the power is off"))
            }
            _ => Ok(()),
        }
    }

    /// The contents of a file as they would be read.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(path).map(|&node| disk.nodes[node].current.clone())
    }

    /// Replaces the contents of a file, durably, with the directories it is in.
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.disk();
        for directory in path.ancestors().skip(1) {
            disk.directories.insert(directory.to_owned());
            disk.durable_directories.insert(directory.to_owned());
        }
        let node = Node { current: bytes.to_vec(), durable: bytes.to_vec(), ..Node::default() };
        disk.nodes.push(node);
        let node = disk.nodes.len() - 1;
        disk.names.insert(path.to_owned(), node);
        disk.durable_names.insert(path.to_owned(), node);
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    /// A copy that shares nothing with this one; its locks are free and no fault is planned.
    pub fn fork(&self) -> Self {
        let disk = self.disk();
        let nodes = disk.nodes.iter().map(|node| Node {
            current: node.current.clone(),
            durable: node.durable.clone(),
            pending: node.pending.clone(),
            failed_in: None,
        });
        let disk = Disk {
            directories: disk.directories.clone(),
            durable_directories: disk.durable_directories.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            pending_names: disk.pending_names.clone(),
            nodes: nodes.collect(),
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(disk)), life: 0 }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts a call and returns the fault planned for it.
    fn enter(&mut self, operation: Operation) -> Option<Fault> {
        let count = self.counts.entry(operation).or_default();
        let at = *count;
        *count += 1;
        let index = self.faults.iter().position(|fault| fault.0 == operation && fault.1 == at)?;
        Some(self.faults.swap_remove(index).2)
    }

    /// Takes note if a file may not be used any more.
    fn use_of(&mut self, node: usize, path: &Path, how: &str) {
        if self.nodes[node].failed_in == Some(self.life) {
            self.broken_rules.push(format!("{} {how} although a sync of it has failed", path.display()));
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.directories, &mut self.names);
        self.pending_names.push(change);
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&node| self.nodes[node].current.len() as u64).sum()
    }
}

impl Files for SimFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let mut above: Vec<&Path> = path.ancestors().filter(|above| !is_root(above)).collect();
        above.reverse();
        for directory in above {
            if !disk.directories.contains(directory) {
                disk.change_name(NameChange::AddDirectory(directory.to_owned()));
            }
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        if !is_root(directory) && !disk.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = disk.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(paths.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn Blob>> {
        self.enter_or_fail(Operation::Open, path)?;
        let mut disk = self.disk();
        let node = match (disk.names.get(path).copied(), mode) {
            (Some(node), Mode::Create) => {
                let node_mut = &mut disk.nodes[node];
                node_mut.current.clear();
                node_mut.failed_in = None;
                node_mut.pending.push(Change::SetLen(0));
                node
            }
            (Some(node), _) => node,
            (None, Mode::Create) => {
                disk.nodes.push(Node::default());
                let node = disk.nodes.len() - 1;
                disk.change_name(NameChange::Add(path.to_owned(), node));
                node
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(SimBlob { files: self.clone(), path: path.to_owned(), node }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let node = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.change_name(NameChange::Add(to.to_owned(), node));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter_or_fail(Operation::Rename, to)?;
        let mut disk = self.disk();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if self.life != disk.life {
            return Err(io::Error::other("the power is off"));
        }
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.enter_or_fail(Operation::SyncDir, directory)?;
        let mut disk = self.disk();
        let disk = &mut *disk;
        disk.pending_names.retain(|change| {
            let here = change.directory() == directory;
            if here {
                change.apply(&mut disk.durable_directories, &mut disk.durable_names);
            }
            !here
        });
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut disk = self.disk();
        if self.life != disk.life {
            return Err(io::Error::other("the power is off"));
        }
        if disk.locks.get(path).is_some_and(|lock| lock.upgrade().is_some()) {
            return Ok(Locking::Busy { holder: None });
        }
        let lock = Arc::new(());
        disk.locks.insert(path.to_owned(), Arc::downgrade(&lock));
        let lock: Box<dyn Any + Send + Sync> = Box::new(lock);
        Ok(Locking::Held(lock))
    }
}

struct SimBlob {
    files: SimFiles,
    path: PathBuf,
    node: usize,
}

impl Blob for SimBlob {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.files.enter_or_fail(Operation::Read, &self.path)?;
        let disk = self.files.disk();
        let contents = &disk.nodes[self.node].current;
        let rest = &contents[contents.len().min(offset as usize)..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let fault = self.files.enter(Operation::Write, &self.path)?;
        let mut disk = self.files.disk();
        disk.use_of(self.node, &self.path, "is written");
        match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Short(count)) => bytes.truncate(count.max(1)),
            Some(Fault::PowerCut(seed)) => {
                // Any part of it may have come to the disk.
                disk.nodes[self.node].pending.push(Change::Write { offset: offset as usize, bytes });
                drop(disk);
                self.files.cut_power(seed);
                return Err(io::Error::other("the power is off"));
            }
            None => {}
        }
        if let Some(capacity) = disk.capacity {
            let len = disk.nodes[self.node].current.len() as u64;
            let room = len.saturating_sub(offset) + capacity.saturating_sub(disk.used());
            if room == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.truncate(room as usize);
        }
        let count = bytes.len();
        let change = Change::Write { offset: offset as usize, bytes };
        let node = &mut disk.nodes[self.node];
        change.apply(&mut node.current);
        node.pending.push(change);
        Ok(count)
    }

    fn len(&mut self) -> io::Result<u64> {
        Ok(self.files.disk().nodes[self.node].current.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.files.enter_or_fail(Operation::SetLen, &self.path)?;
        let mut disk = self.files.disk();
        disk.use_of(self.node, &self.path, "is cut");
        let change = Change::SetLen(len as usize);
        let node = &mut disk.nodes[self.node];
        change.apply(&mut node.current);
        node.pending.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let result = self.files.enter_or_fail(Operation::Sync, &self.path);
        let mut disk = self.files.disk();
        if self.files.life != disk.life {
            return result;
        }
        disk.use_of(self.node, &self.path, "is synced");
        let life = disk.life;
        let node = &mut disk.nodes[self.node];
        if result.is_err() {
            node.failed_in = Some(life);
        }
        for change in node.pending.drain(..) {
            if result.is_ok() {
                change.apply(&mut node.durable);
            }
        }
        result
    }
}

/// Whether a directory is in none, and so always there.
fn is_root(directory: &Path) -> bool {
    directory.parent().is_none()
}

/// splitmix64: small, and the same everywhere for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }
}
