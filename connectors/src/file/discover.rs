//! Which files the configured names and globs stand for, in the order in which they are read.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use glob::MatchOptions;
use tidewater_connector_api::ReadError;

/// What stands for standard input.
pub(super) const STDIN: &str = "-";

/// The files of all patterns: the patterns as they are listed, the files of one sorted by name, none twice. A pattern
/// that nothing matches is an error, unless `may_miss`.
pub(super) fn discover(patterns: &[String], may_miss: bool) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for pattern in patterns {
        let found = matching(pattern)?;
        if found.is_empty() && !may_miss {
            let reason = if is_glob(pattern) {
                format!("no file matches `{pattern}`")
            } else {
                format!("no such file: {pattern}")
            };
            return Err(ReadError::failed(reason));
        }
        files.extend(found.into_iter().filter(|path| seen.insert(path.clone())));
    }
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, ReadError> {
    // A file whose very name has brackets in it comes before the glob that the name would be.
    if pattern == STDIN || !is_glob(pattern) || Path::new(pattern).exists() {
        let path = PathBuf::from(pattern);
        return Ok(if pattern == STDIN || path.exists() { vec![path] } else { Vec::new() });
    }
    let options = MatchOptions { case_sensitive: true, ..MatchOptions::default() };
    let paths = glob::glob_with(pattern, options)
        .map_err(|error| ReadError::failed(format!("`{pattern}` is no glob: {}", error.msg)))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            ReadError::failed(format!("cannot list {}: {}", error.path().display(), error.error()))
        })?;
        if !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}
