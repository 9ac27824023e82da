//! Sealed files in a store besides the directory: the same log, whichever store it is.

use std::sync::Arc;

use super::*;
use crate::sim::{Fault, Operation};
use crate::{DirectoryStore, Files, Store};

/// The same for every store.
fn check(store: &Arc<dyn Store>) {
    let all = entries(20);
    let files = SimFiles::new();
    let options = LogOptions { file_bytes: 250 };
    let open = |files: &SimFiles| {
        let mut state = state(files);
        state.set_log_store("test://store", Arc::clone(store)).unwrap();
        state
    };
    let (mut log, _) = open(&files).open_log(options).unwrap();
    for entry in &all {
        log.append(entry).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let state = open(&files);
    let archive = state.open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    seal_all(&archive).unwrap();
    let mut names = store.list().unwrap();
    names.sort();
    assert_eq!(names, full.iter().map(|base| format!("{base:020}.sealed")).collect::<Vec<_>>());
    assert_eq!(files.paths().iter().filter(|path| path.starts_with("state/log")).count(), 1);
    let (sealed, bytes) = archive.sealed().unwrap();
    assert!(sealed.len() == full.len() && bytes > sealed.iter().map(|file| file.bytes).sum::<u64>());
    for from in 1..=20 {
        assert_eq!(read_all(state.reader().log(from)).0, all[from as usize - 1..]);
    }
    // Objects as such.
    let bytes = store.get(&names[0]).unwrap();
    assert_eq!(store.len(&names[0]).unwrap(), bytes.len() as u64);
    let mut part = [0; 30];
    assert_eq!(store.get_range(&names[0], &mut part, 8).unwrap(), 30);
    assert_eq!(part, bytes[8..38]);
    let missing = store.get("missing").unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    store.delete("missing").unwrap();
    drop(archive);
    let before = reader(&files);
    assert!(before.log(1).err().unwrap().to_string().contains("test://store"), "the reader was not given it");
    // The next life finds it all, and retires there.
    let (log, cut) = state.open_log(options).unwrap();
    assert_eq!((cut, log.next_epoch()), (None, 21));
    let archive = state.open_log_archive().unwrap();
    archive.retire(full[2]).unwrap();
    assert_eq!(store.list().unwrap().len(), full.len() - 2);
    assert_eq!(read_all(state.reader().log(full[2])).0, all[full[2] as usize - 1..]);
    drop((log, archive, state));
    let other = super::state(&files).set_log_store("test://other", Arc::clone(store));
    assert!(matches!(other, Err(StorageError::Refused { .. })));
}

#[test]
fn another_directory_is_a_store() {
    let files = SimFiles::new();
    files.create_dir(&PathBuf::from("away")).unwrap();
    // Files are renamed into it, so it must be of the same file system; this one copies like a bucket does.
    #[derive(Debug)]
    struct Copying(SimFiles, DirectoryStore);
    impl Store for Copying {
        fn path_of(&self, name: &str) -> PathBuf {
            self.1.path_of(name)
        }
        fn put(&self, name: &str, from_files: &dyn Files, from: &std::path::Path) -> std::io::Result<()> {
            let mut blob = from_files.open(from, crate::files::Mode::Read)?;
            let mut bytes = vec![0; blob.len()? as usize];
            crate::files::read_full(&mut *blob, &mut bytes, 0)?;
            self.0.set_contents(&self.path_of(name), &bytes);
            Ok(())
        }
        fn get(&self, name: &str) -> std::io::Result<Vec<u8>> {
            self.1.get(name)
        }
        fn get_range(&self, name: &str, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.1.get_range(name, buffer, offset)
        }
        fn len(&self, name: &str) -> std::io::Result<u64> {
            self.1.len(name)
        }
        fn list(&self) -> std::io::Result<Vec<String>> {
            self.1.list()
        }
        fn delete(&self, name: &str) -> std::io::Result<()> {
            self.1.delete(name)
        }
    }
    let directory = DirectoryStore::new(Arc::new(files.clone()), "away".into());
    let store: Arc<dyn Store> = Arc::new(Copying(files.clone(), directory));
    check(&store);
    // One that holds something already belongs to another state directory.
    files.set_contents(&PathBuf::from("away/x"), b"x");
    let refused = state(&SimFiles::new()).set_log_store("test://store", Arc::clone(&store));
    assert!(matches!(refused, Err(StorageError::Refused { .. })));
    files.clear_faults();
    files.fail(Operation::Open, 0, Fault::Error(std::io::ErrorKind::Other));
    assert!(store.get("x").is_err() && store.get("x").is_ok());
}

#[cfg(feature = "object-store")]
#[test]
fn object_stores_are_stores() {
    let memory = object_store::memory::InMemory::new();
    let store = crate::ObjectStore::new(Arc::new(memory), "some/prefix", "memory://some/prefix").unwrap();
    check(&(Arc::new(store) as Arc<dyn Store>));
    let directory = tempfile::tempdir().unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(directory.path()).unwrap();
    let store = crate::ObjectStore::new(Arc::new(local), "logs", "file://logs").unwrap();
    check(&(Arc::new(store) as Arc<dyn Store>));
}

/// A request may be made by a thread of somebody else's runtime, and the store be dropped there.
#[cfg(feature = "object-store")]
#[test]
fn an_object_store_can_be_waited_for_and_dropped_inside_a_runtime() {
    let memory = object_store::memory::InMemory::new();
    let store = crate::ObjectStore::new(Arc::new(memory), "p", "memory://p").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move { assert!(store.list().unwrap().is_empty()) });
}
