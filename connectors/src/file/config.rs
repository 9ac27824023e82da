//! Settings of the file source and the file sink.

use serde_json::{Map, Value};

use crate::{
    LARGEST_EVENT,
    config::{ConfigError, ConfigKey, ConnectorConfig, KeyKind, Reader},
};

/// Largest line by default; a file of one's own may hold larger events than a stranger's request.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Settings of a [`FileSource`](super::FileSource).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSourceConfig {
    /// What to read: file names, globs (`events/**/*.ndjson.gz`), or `-` for standard input.
    pub path: Vec<String>,
    /// Wait for more lines and more files instead of ending.
    pub follow: bool,
    /// A longer line goes to quarantine as `too_large`: whole, or with this many bytes if it has more than
    /// [`LARGEST_EVENT`].
    pub max_event_bytes: usize,
}

impl FileSourceConfig {
    /// Reads `path` to its end.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: vec![path.into()], follow: false, max_event_bytes: MAX_EVENT_BYTES }
    }
}

impl ConnectorConfig for FileSourceConfig {
    const TYPE: &'static str = "file";
    const KEYS: &'static [ConfigKey] = &[
        ConfigKey {
            name: "path",
            kind: KeyKind::Texts,
            default: None,
            help: "files to read, one JSON object a line; globs, .gz and .zst, `-` for standard input",
        },
        ConfigKey {
            name: "follow",
            kind: KeyKind::Flag,
            default: Some("false"),
            help: "wait for new lines and new files instead of ending",
        },
        ConfigKey {
            name: "max_event_bytes",
            kind: KeyKind::Bytes,
            default: Some("1MiB"),
            help: "a longer line goes to quarantine, whole if it has at most 16 MiB",
        },
    ];

    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(map, Self::KEYS);
        let path = reader.texts("path");
        for (place, pattern) in path.iter().enumerate() {
            if let Err(error) = glob::Pattern::new(pattern) {
                reader.error("path", format!("`{pattern}` (number {place}) is no glob: {}", error.msg));
            }
        }
        let follow = reader.flag("follow", false);
        if follow && path.iter().any(|path| path == "-") {
            reader.error("follow", "standard input can't be followed: it ends when its writer does");
        }
        let max_event_bytes = reader.bytes("max_event_bytes", MAX_EVENT_BYTES, 16..=LARGEST_EVENT);
        reader.finish(Self { path, follow, max_event_bytes })
    }
}

/// Settings of a [`FileSink`](super::FileSink).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSinkConfig {
    /// The file to append to; made, with its directories, if it is not there.
    pub path: String,
}

impl FileSinkConfig {
    /// Appends to `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into() }
    }
}

impl ConnectorConfig for FileSinkConfig {
    const TYPE: &'static str = "file";
    const KEYS: &'static [ConfigKey] = &[ConfigKey {
        name: "path",
        kind: KeyKind::Text,
        default: None,
        help: "file to append deltas to, one JSON object a line",
    }];

    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(map, Self::KEYS);
        let path = reader.text("path").unwrap_or_default();
        if path == "-" {
            reader.error("path", "`-` is no file; for standard output use `type: stdout`");
        }
        reader.finish(Self { path })
    }
}
