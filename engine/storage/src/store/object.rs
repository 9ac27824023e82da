//! A bucket, or whatever else crate `object_store` reaches, as a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::{MultipartUpload, ObjectStore as Bucket, ObjectStoreExt, PutPayload, path};

use super::Store;
use crate::files::{Files, Mode, read_full};

/// A file is sent in parts of so many bytes, one in memory at a time: more than the 5 MiB that S3 wants, and 10,000 of them,
/// which it allows, are more than a file of the log can be.
const PART_BYTES: usize = 8 << 20;

/// Objects below one prefix of an object store. Which one is the caller's: S3, for example, is a feature of crate
/// `object_store`.
pub struct ObjectStore {
    bucket: Arc<dyn Bucket>,
    prefix: path::Path,
    address: String,
    /// Requests are made one at a time by the thread that waits for them. There until it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl ObjectStore {
    /// The objects below `prefix`, which no other state directory may use. Messages call them by `address`.
    ///
    /// # Errors
    /// If the system gives no more resources for a runtime.
    pub fn new(bucket: Arc<dyn Bucket>, prefix: &str, address: impl Into<String>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { bucket, prefix: path::Path::from(prefix), address: address.into(), runtime: Some(runtime) })
    }

    fn at(&self, name: &str) -> path::Path {
        self.prefix.clone().join(name)
    }

    /// Waits for a request, also where the caller is a thread of another runtime: none may wait inside one.
    fn wait<T: Send>(&self, request: impl Future<Output = object_store::Result<T>> + Send) -> io::Result<T> {
        let run = || self.runtime.as_ref().map(|runtime| runtime.block_on(request));
        match std::thread::scope(|scope| scope.spawn(run).join()) {
            Ok(Some(done)) => done.map_err(io_error),
            Ok(None) | Err(_) => Err(io::Error::other("a request to the object store panicked")),
        }
    }
}

impl Store for ObjectStore {
    fn path_of(&self, name: &str) -> PathBuf {
        Path::new(&self.address).join(name)
    }

    fn put(&self, name: &str, files: &dyn Files, from: &Path) -> io::Result<()> {
        let mut blob = files.open(from, Mode::Read)?;
        let to = self.at(name);
        // The object is there once all parts are: until then there is nothing to be seen.
        let mut upload: Box<dyn MultipartUpload> = self.wait(self.bucket.put_multipart(&to))?;
        let (mut part, mut offset) = (vec![0; PART_BYTES], 0);
        let sent: io::Result<()> = (|| {
            loop {
                let count = read_full(&mut *blob, &mut part, offset)?;
                if count > 0 {
                    self.wait(upload.put_part(PutPayload::from(part[..count].to_vec())))?;
                }
                offset += count as u64;
                if count < part.len() {
                    return self.wait(upload.complete()).map(|_| ());
                }
            }
        })();
        if sent.is_err() {
            // What is left of it costs money, not correctness; buckets have a rule that clears it.
            let _ = self.wait(upload.abort());
        }
        sent
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let at = self.at(name);
        let bytes = self.wait(async { self.bucket.get(&at).await?.bytes().await })?;
        Ok(bytes.to_vec())
    }

    fn get_range(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (at, range) = (self.at(name), offset..offset + buffer.len() as u64);
        let bytes = self.wait(self.bucket.get_range(&at, range))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let at = self.at(name);
        Ok(self.wait(self.bucket.head(&at))?.size)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let found = self.wait(self.bucket.list_with_delimiter(Some(&self.prefix)))?;
        Ok(found.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let at = self.at(name);
        match self.wait(self.bucket.delete(&at)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        // The last one who knows the store may be a task, and a runtime that waits for its end must not be dropped there.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStore").field("address", &self.address).finish_non_exhaustive()
    }
}

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        error => io::Error::other(error),
    }
}
