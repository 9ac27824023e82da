//! `meta`: what a state directory was made with, and where its log begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_model::HashKey;

use crate::codec;
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FileHeader, FrameReader, Kind, Step, replace_file};

/// What a state directory was made with, and the definitions it was last run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The secret that profile ids depend on. Never printed.
    pub key: HashKey,
    /// The random number that names this deployment.
    pub deployment: u128,
    /// The first epoch still in the log.
    pub log_starts: u64,
    /// The pipeline's definitions, in the runtime's own encoding.
    pub definitions: Vec<u8>,
    /// Where sealed log files go instead of the directory, if anywhere: an address that says nothing secret.
    pub log_store: Option<String>,
}

impl Meta {
    /// Writes it to a file, which it replaces whole.
    pub(crate) fn write(&self, files: &dyn Files, path: &Path) -> Result<(), StorageError> {
        write(files, path, self)
    }
}

/// [`Meta`] but for the definitions, which follow as they are.
#[derive(Serialize, Deserialize)]
struct MetaHead {
    key: HashKey,
    deployment: u128,
    log_starts: u64,
}

/// The second frame, which is there only if it says something.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct MetaMore {
    log_store: Option<String>,
}

/// The file. It is replaced whole, by one thread at a time.
#[derive(Clone, Debug)]
pub(crate) struct MetaFile {
    files: Arc<dyn Files>,
    path: PathBuf,
}

impl MetaFile {
    pub(crate) fn new(files: Arc<dyn Files>, path: PathBuf) -> Self {
        Self { files, path }
    }

    pub(crate) fn read(&self) -> Result<Meta, StorageError> {
        read(&*self.files, &self.path)
    }

    /// Changes it, durably and all at once. If this fails and a later one is read as changed, it may still be lost in a
    /// crash: see [`settle`](Self::settle).
    pub(crate) fn change(&self, change: impl FnOnce(&mut Meta)) -> Result<Meta, StorageError> {
        let mut meta = self.read()?;
        change(&mut meta);
        write(&*self.files, &self.path, &meta)?;
        Ok(meta)
    }

    /// Makes what is read durable, whatever came of the change before.
    pub(crate) fn settle(&self) -> Result<(), StorageError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        self.files.sync_dir(directory).map_err(|error| StorageError::io("sync", directory, error))
    }
}

fn write(files: &dyn Files, path: &Path, meta: &Meta) -> Result<(), StorageError> {
    let encode = |bytes: &mut Vec<u8>, encoded: Result<(), bincode::Error>| {
        encoded.map(|()| std::mem::take(bytes)).map_err(|error| StorageError::refused(error.to_string()))
    };
    let head = MetaHead { key: meta.key, deployment: meta.deployment, log_starts: meta.log_starts };
    let more = MetaMore { log_store: meta.log_store.clone() };
    let mut bytes = Vec::new();
    let encoded = codec::encode_into(&mut bytes, &head);
    let head = encode(&mut bytes, encoded)?;
    let encoded = codec::encode_into(&mut bytes, &more);
    let more_bytes = encode(&mut bytes, encoded)?;
    let header = FileHeader::new(Kind::Meta, meta.key, 0);
    replace_file(files, path, header, |writer| {
        writer.append(&head, &meta.definitions)?;
        if more != MetaMore::default() {
            writer.append(&more_bytes, &[])?;
        }
        Ok(())
    })?;
    Ok(())
}

fn read(files: &dyn Files, path: &Path) -> Result<Meta, StorageError> {
    let mut reader = FrameReader::open(files, path, Kind::Meta)?;
    let mut payload = Vec::new();
    match reader.next(&mut payload, 0)? {
        Step::Frame(_) => {}
        Step::End => return Err(reader.damaged("the file ends behind its header")),
        Step::Bad(detail) => return Err(reader.damaged(detail)),
    }
    let (head, used) = codec::decode_prefix::<MetaHead>(&payload)
        .map_err(|_| reader.damaged("its contents cannot be decoded"))?;
    let definitions = payload.split_off(used);
    let more = match reader.offset() == reader.len() {
        true => MetaMore::default(),
        false => {
            let payload = reader.only()?;
            let more = codec::decode_prefix::<MetaMore>(&payload);
            more.map_err(|_| reader.damaged("its contents cannot be decoded"))?.0
        }
    };
    let MetaHead { key, deployment, log_starts } = head;
    Ok(Meta { key, deployment, log_starts, definitions, log_store: more.log_store })
}
