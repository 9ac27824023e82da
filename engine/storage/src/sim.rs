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
}

/// The file system; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimFiles(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    nodes: Vec<Node>,
    faults: Vec<(Operation, u64, Fault)>,
    counts: BTreeMap<Operation, u64>,
    capacity: Option<u64>,
    locks: BTreeMap<PathBuf, std::sync::Weak<()>>,
}

/// A file's contents: as read, as a crash leaves them, and what lies between.
#[derive(Debug, Default)]
struct Node {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn directory(&self) -> &Path {
        let (Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _)) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
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
    /// their changes. All locks are gone; handles opened before must no longer be used.
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
            change.apply(&mut disk.durable_names);
        }
        disk.names.clone_from(&disk.durable_names);
        disk.locks.clear();
    }

    /// Ends the process without a power cut: contents stay, locks are gone.
    pub fn kill(&self) {
        self.disk().locks.clear();
    }

    /// The contents of a file as they would be read.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(path).map(|&node| disk.nodes[node].current.clone())
    }

    /// Replaces the contents of a file, durably.
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.disk();
        let node = Node { current: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
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
        });
        Self(Arc::new(Mutex::new(Disk {
            directories: disk.directories.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            pending_names: disk.pending_names.clone(),
            nodes: nodes.collect(),
            ..Disk::default()
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn enter_or_fail(&mut self, operation: Operation) -> io::Result<()> {
        match self.enter(operation) {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&node| self.nodes[node].current.len() as u64).sum()
    }
}

impl Files for SimFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        if !disk.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = disk.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(paths.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn Blob>> {
        let mut disk = self.disk();
        disk.enter_or_fail(Operation::Open)?;
        let node = match (disk.names.get(path).copied(), mode) {
            (Some(node), Mode::Create) => {
                let node_mut = &mut disk.nodes[node];
                node_mut.current.clear();
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
        Ok(Box::new(SimBlob { files: self.clone(), node }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let node = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.change_name(NameChange::Add(to.to_owned(), node));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.enter_or_fail(Operation::Rename)?;
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.enter_or_fail(Operation::SyncDir)?;
        let disk = &mut *disk;
        disk.pending_names.retain(|change| {
            let here = change.directory() == directory;
            if here {
                change.apply(&mut disk.durable_names);
            }
            !here
        });
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut disk = self.disk();
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
    node: usize,
}

impl Blob for SimBlob {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.files.disk();
        disk.enter_or_fail(Operation::Read)?;
        let contents = &disk.nodes[self.node].current;
        let rest = &contents[contents.len().min(offset as usize)..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut disk = self.files.disk();
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        match disk.enter(Operation::Write) {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Short(count)) => bytes.truncate(count.max(1)),
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
        let mut disk = self.files.disk();
        disk.enter_or_fail(Operation::SetLen)?;
        let change = Change::SetLen(len as usize);
        let node = &mut disk.nodes[self.node];
        change.apply(&mut node.current);
        node.pending.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.files.disk();
        let result = disk.enter_or_fail(Operation::Sync);
        let node = &mut disk.nodes[self.node];
        for change in node.pending.drain(..) {
            if result.is_ok() {
                change.apply(&mut node.durable);
            }
        }
        result
    }
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
