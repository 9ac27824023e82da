//! Where values that do not stand in the file come from, and the wrapper that keeps them out of every output.

use std::{collections::HashMap, fmt, io};

/// A text that is never printed: its `Debug` shows no character of it and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never log it or put it in an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What `${NAME}` and `${file:PATH}` in a pipeline file stand for.
pub trait Environment {
    /// The variable's value; `None` if it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// Whatever keeps it from being read as UTF-8 text of at most [`MAX_SECRET_BYTES`].
    fn file(&self, path: &str) -> io::Result<String>;
}

/// The largest file that `${file:PATH}` reads, in bytes.
pub const MAX_SECRET_BYTES: u64 = 65_536;

/// The process's environment variables and the files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> io::Result<String> {
        super::source::read_limited(path.as_ref(), MAX_SECRET_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text")))
    }
}

/// A fixed set of variables and files, for tests and for programs that get their secrets elsewhere.
#[derive(Clone, Default)]
pub struct FixedEnvironment {
    variables: HashMap<String, String>,
    files: HashMap<String, String>,
}

impl FixedEnvironment {
    /// Without any variable or file.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// With one more file.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }
}

impl fmt::Debug for FixedEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (variables, files) = (self.variables.len(), self.files.len());
        f.debug_struct("FixedEnvironment").field("variables", &variables).field("files", &files).finish()
    }
}

impl Environment for FixedEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &str) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
