//! Where a command's results go: standard output or a file, which is there whole or not at all.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::exit::{Exit, Failure};

/// Enough that a write is rarely a system call.
const BUFFER_BYTES: usize = 256 << 10;

/// Prints all that a command has to say on standard output. That its reader goes away, as `head` does, changes nothing of
/// how the command ends.
///
/// # Errors
/// If it can't be written for another reason.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::output("standard output", &error)),
    }
}

/// Results on their way out, of a command that has nothing left to do once nobody reads them.
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    /// What messages call it.
    target: String,
    /// The file under its temporary name and its own.
    file: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Opens a file, or standard output for `None` and `-`.
    ///
    /// A file is written beside its place and moved there at the [end](Self::finish), so that a failure half-way leaves
    /// whatever was there before.
    ///
    /// # Errors
    /// If the file can't be made.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let path = path.filter(|path| *path != Path::new("-"));
        let Some(path) = path else {
            return Ok(Self::over(Box::new(io::stdout()), "standard output".to_owned(), None));
        };
        let target = path.display().to_string();
        let cannot = |error: io::Error| {
            Failure::new(Exit::Config, format!("cannot write {}: {error}", path.display()))
        };
        // A pipe or a device is written to directly.
        if path.exists() && !path.is_file() {
            return Ok(Self::over(Box::new(File::create(path).map_err(cannot)?), target, None));
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(cannot)?;
        Ok(Self::over(Box::new(file), target, Some((temporary, path.to_owned()))))
    }

    fn over(writer: Box<dyn Write>, target: String, file: Option<(PathBuf, PathBuf)>) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER_BYTES, writer), target, file }
    }

    /// Writes.
    ///
    /// # Errors
    /// If it can't be written. A reader that has gone away ends the command without a message.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| Failure::output(&self.target, &error))
    }

    /// Ends the output; only now a file stands under its name.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| Failure::output(&self.target, &error))?;
        if let Some((temporary, path)) = self.file.take() {
            std::fs::rename(&temporary, &path).map_err(|error| Failure::output(&self.target, &error))?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.file {
            // What was being done failed, and says so itself.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
