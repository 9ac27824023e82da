//! Housekeeping of the log: files that are full are sealed, and sealed ones that nobody needs are retired.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidewater_model::HashKey;

use crate::copy::Holds;
use crate::error::StorageError;
use crate::log::place::{LogPlace, is_missing};
use crate::log::sealed::{self, SealedFile};
use crate::meta::MetaFile;
use crate::state::Claim;

/// Seals and retires log files while others are written and read; there is one at a time. It may be shared by threads, one of
/// which seals and one of which retires.
pub struct LogArchive {
    place: LogPlace,
    meta: MetaFile,
    key: HashKey,
    /// Sealed files that have been looked at: they do not change.
    known: Mutex<BTreeMap<u64, SealedFile>>,
    holds: Arc<Holds>,
    _claim: Claim,
}

impl LogArchive {
    pub(crate) fn new(
        place: LogPlace,
        meta: MetaFile,
        key: HashKey,
        holds: Arc<Holds>,
        claim: Claim,
    ) -> Self {
        Self { place, meta, key, known: Mutex::default(), holds, _claim: claim }
    }

    /// The first epochs of the files that are full and not sealed yet, oldest first.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    pub fn unsealed(&self) -> Result<Vec<u64>, StorageError> {
        let here = self.place.list_here()?;
        let mut plain: Vec<u64> =
            here.into_iter().filter(|(_, forms)| forms.is_plain).map(|(base, _)| base).collect();
        // The last one is being written to.
        plain.pop();
        Ok(plain)
    }

    /// Seals a file of [`unsealed`](Self::unsealed). `go_on` is asked before each block of about a megabyte, and may take
    /// its time; once it says no, nothing has changed and `None` is returned. While a copy of the directory is made both forms
    /// stay, and the file is one of `unsealed` until a later call.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if the file is; [`StorageError::Refused`] if an epoch is too large for a block;
    /// [`StorageError::NoSpace`], [`StorageError::Poisoned`], [`StorageError::Io`]: the plain file is still there, and
    /// sealing it may be tried again.
    pub fn seal(
        &self,
        first_epoch: u64,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<SealedFile>, StorageError> {
        if let Some(file) = self.sealed_before(first_epoch)? {
            return Ok(Some(file));
        }
        let plain = self.place.open_plain(first_epoch)?;
        let to = self.place.sealing_path(first_epoch);
        let Some(file) = sealed::write(self.place.files(), &to, self.key, plain, go_on)? else {
            return Ok(None);
        };
        self.place.put_sealed(first_epoch)?;
        // The only other copy goes when this one has been read.
        self.place.open_sealed(first_epoch)?.check()?;
        self.remove_plain(first_epoch)?;
        Ok(Some(file))
    }

    /// Does with a file that is sealed already what an earlier call had to leave: once no copy is made any more its plain form
    /// goes. That takes no room, which there may be none of. `None`: it is not sealed, or its sealed form is damaged.
    fn sealed_before(&self, first_epoch: u64) -> Result<Option<SealedFile>, StorageError> {
        let sealed = match self.place.open_sealed(first_epoch) {
            Err(error) if is_missing(&error) => return Ok(None),
            Err(StorageError::Damaged { .. }) => return Ok(None),
            sealed => sealed?,
        };
        let file = sealed.info();
        if self.holds.removing().is_none() {
            return Ok(Some(file));
        }
        match sealed.check() {
            Err(StorageError::Damaged { .. }) => return Ok(None),
            checked => checked?,
        }
        self.remove_plain(first_epoch)?;
        Ok(Some(file))
    }

    /// Removes the plain form of a file that is sealed, unless a copy is being made of it: then a later call does.
    fn remove_plain(&self, first_epoch: u64) -> Result<(), StorageError> {
        match self.holds.removing() {
            Some(_removing) => self.place.remove_plain(first_epoch),
            None => Ok(()),
        }
    }

    /// The sealed files with nothing but sealed ones before them, oldest first, and the bytes of all files of the log.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn sealed(&self) -> Result<(Vec<SealedFile>, u64), StorageError> {
        let log_starts = self.meta.read()?.log_starts;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sealed, mut bytes, mut is_front) = (Vec::new(), 0, true);
        for (base, forms) in self.place.list()?.range(log_starts..) {
            is_front &= !forms.is_plain;
            if forms.is_plain {
                match self.place.open_plain(*base) {
                    Ok(plain) => bytes += plain.len(),
                    // Sealed since the names were read.
                    Err(StorageError::Io { .. }) => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            let file = match known.get(base) {
                Some(file) => *file,
                None => self.place.open_sealed(*base)?.info(),
            };
            known.insert(*base, file);
            bytes += file.bytes;
            if is_front {
                sealed.push(file);
            }
        }
        Ok((sealed, bytes))
    }

    /// Retires the sealed files before the one whose first epoch is `log_starts`: from then on the log begins there. False, and
    /// nothing has changed, while a copy of the directory is being made.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if no file begins there, or one before it is not sealed; [`StorageError::NoSpace`],
    /// [`StorageError::Io`] before the log's beginning has moved: nothing has changed; after that files that are left are
    /// removed by the next call or the next opening. [`StorageError::Poisoned`]: a crash may bring the old beginning back,
    /// and no file has been removed.
    pub fn retire(&self, log_starts: u64) -> Result<bool, StorageError> {
        let Some(_removing) = self.holds.removing() else { return Ok(false) };
        let all = self.place.list()?;
        let meta = self.meta.read()?;
        let before = || all.range(meta.log_starts..log_starts);
        if log_starts < meta.log_starts
            || !all.contains_key(&log_starts)
            || before().any(|(_, forms)| forms.is_plain)
        {
            return Err(StorageError::refused(format!("the log can't begin at epoch {log_starts}")));
        }
        if log_starts > meta.log_starts {
            self.meta.change(|meta| meta.log_starts = log_starts)?;
        }
        // An earlier call may have got no further than the name.
        self.meta.settle()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|base, _| *base >= log_starts);
        all.range(..log_starts).try_for_each(|(base, forms)| self.place.remove(*base, *forms))?;
        Ok(true)
    }
}
