//! Where the files of a log are, and in which form: plain as they were written, sealed, or for a moment both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StorageError;
use crate::files::{Files, Mode, temporary};
use crate::frame::{FrameReader, Kind};
use crate::log::sealed::SealedReader;
use crate::store::{self, DirectoryStore, Store};

const PLAIN: &str = ".log";
const SEALED: &str = ".sealed";

/// In which forms a file is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    pub(crate) is_plain: bool,
    /// Sealed, in the state directory.
    pub(crate) is_sealed: bool,
    /// Sealed, in the store that the log has besides.
    pub(crate) is_away: bool,
}

/// The files of a log.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    files: Arc<dyn Files>,
    directory: PathBuf,
    local: Arc<dyn Store>,
    /// Where new sealed files go instead.
    away: Option<Arc<dyn Store>>,
}

/// An open file.
pub(crate) enum LogFile {
    Plain(FrameReader),
    Sealed(Box<SealedReader>),
}

impl LogPlace {
    pub(crate) fn new(files: Arc<dyn Files>, directory: PathBuf, away: Option<Arc<dyn Store>>) -> Self {
        let local = Arc::new(DirectoryStore::new(Arc::clone(&files), directory.clone()));
        Self { files, directory, local, away }
    }

    pub(crate) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// The path of the plain file whose first epoch is `base`.
    pub(crate) fn plain_path(&self, base: u64) -> PathBuf {
        self.directory.join(format!("{base:020}{PLAIN}"))
    }

    /// Where the sealed file is written before it has its name.
    pub(crate) fn sealing_path(&self, base: u64) -> PathBuf {
        temporary(&self.directory.join(sealed_name(base)))
    }

    /// The files there are, by their first epochs.
    pub(crate) fn list(&self) -> Result<BTreeMap<u64, Forms>, StorageError> {
        let mut all = self.list_here()?;
        if let Some(away) = &self.away {
            let names = away.list().map_err(|error| StorageError::io("list", &away.path_of(""), error))?;
            for base in names.iter().filter_map(|name| base_of(name, SEALED)) {
                all.entry(base).or_default().is_away = true;
            }
        }
        Ok(all)
    }

    /// The names of the files in the state directory before the one that is written to.
    pub(crate) fn full_names(&self, last: &Path) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        for (base, forms) in self.list_here()? {
            if self.plain_path(base).as_path() >= last {
                break;
            }
            // In both forms for a moment: either will do, and the sealed one may be about to be replaced.
            names.push(if forms.is_plain { format!("{base:020}{PLAIN}") } else { sealed_name(base) });
        }
        Ok(names)
    }

    /// Those of them that are in the state directory.
    pub(crate) fn list_here(&self) -> Result<BTreeMap<u64, Forms>, StorageError> {
        let names = self.files.list(&self.directory);
        let names = names.map_err(|error| StorageError::io("list", &self.directory, error))?;
        let mut all: BTreeMap<u64, Forms> = BTreeMap::new();
        for name in &names {
            if let Some(base) = base_of(name, PLAIN) {
                all.entry(base).or_default().is_plain = true;
            }
            if let Some(base) = base_of(name, SEALED) {
                all.entry(base).or_default().is_sealed = true;
            }
        }
        Ok(all)
    }

    /// Opens a file. As long as the plain one is there it counts.
    pub(crate) fn open(&self, base: u64) -> Result<LogFile, StorageError> {
        match self.open_plain(base) {
            Err(error) if is_missing(&error) => {}
            opened => return Ok(LogFile::Plain(opened?)),
        }
        match self.open_sealed(base) {
            Err(error) if is_missing(&error) => {
                Err(StorageError::damaged(&self.plain_path(base), 0, "this file of the log is missing"))
            }
            opened => Ok(LogFile::Sealed(Box::new(opened?))),
        }
    }

    pub(crate) fn open_plain(&self, base: u64) -> Result<FrameReader, StorageError> {
        let path = self.plain_path(base);
        let reader = FrameReader::open(&*self.files, &path, Kind::Log)?;
        let found = reader.header().base;
        if found != base {
            let detail = format!("the header says that its first epoch is {found}");
            return Err(StorageError::damaged(&path, 24, detail));
        }
        Ok(reader)
    }

    pub(crate) fn open_sealed(&self, base: u64) -> Result<SealedReader, StorageError> {
        let name = sealed_name(base);
        let path = self.local.path_of(&name);
        let (blob, path) = match (self.files.open(&path, Mode::Read), &self.away) {
            (Err(error), Some(away)) if error.kind() == std::io::ErrorKind::NotFound => {
                (store::open(away, &name), away.path_of(&name))
            }
            (opened, _) => (opened, path),
        };
        let blob = blob.map_err(|error| StorageError::io("open", &path, error))?;
        SealedReader::open(blob, path, base)
    }

    /// Gives the sealed file its name; it was written to [`sealing_path`](Self::sealing_path).
    pub(crate) fn put_sealed(&self, base: u64) -> Result<(), StorageError> {
        let (name, from) = (sealed_name(base), self.sealing_path(base));
        let store = self.away.as_ref().unwrap_or(&self.local);
        let put = store.put(&name, &*self.files, &from);
        if self.away.is_some() || put.is_err() {
            // It is of no use any more; what is left of it goes with the next opening.
            let _ = self.files.remove(&from);
        }
        put.map_err(|error| StorageError::io("store", &store.path_of(&name), error))
    }

    pub(crate) fn remove_plain(&self, base: u64) -> Result<(), StorageError> {
        let path = self.plain_path(base);
        match self.files.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a file in the forms in which it is there.
    pub(crate) fn remove(&self, base: u64, forms: Forms) -> Result<(), StorageError> {
        let name = sealed_name(base);
        let remove = |store: &Arc<dyn Store>| {
            store.delete(&name).map_err(|error| StorageError::io("remove", &store.path_of(&name), error))
        };
        if forms.is_sealed {
            remove(&self.local)?;
        }
        if let Some(away) = self.away.as_ref().filter(|_| forms.is_away) {
            remove(away)?;
        }
        if forms.is_plain { self.remove_plain(base) } else { Ok(()) }
    }

    /// Before the log is written to: removes what a crash has left of files that were retired or sealed. Of a file that is
    /// there in both forms the plain one goes, unless the sealed one is damaged; then that one goes.
    pub(crate) fn settle(&self, log_starts: u64) -> Result<BTreeMap<u64, Forms>, StorageError> {
        let mut all = self.list()?;
        let retired: Vec<u64> = all.range(..log_starts).map(|(base, _)| *base).collect();
        for base in retired {
            if let Some(forms) = all.remove(&base) {
                self.remove(base, forms)?;
            }
        }
        for (base, forms) in &mut all {
            if !forms.is_plain || !(forms.is_sealed || forms.is_away) {
                continue;
            }
            match self.open_sealed(*base).and_then(SealedReader::check) {
                Ok(()) => {
                    self.remove_plain(*base)?;
                    forms.is_plain = false;
                }
                Err(StorageError::Damaged { .. }) => {
                    self.remove(*base, Forms { is_plain: false, ..*forms })?;
                    (forms.is_sealed, forms.is_away) = (false, false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

fn sealed_name(base: u64) -> String {
    format!("{base:020}{SEALED}")
}

fn base_of(name: &str, suffix: &str) -> Option<u64> {
    name.strip_suffix(suffix).filter(|digits| digits.len() == 20)?.parse().ok()
}

pub(super) fn is_missing(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
