//! Which file a path stands for, so that two ways of writing it are known to be one.

use std::path::{Component, Path, PathBuf, absolute};

/// The path from the root, without `.` and `..`; of what is there already, links are followed.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = path.ancestors().find_map(|ancestor| {
        let rest = path.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    let mut plain = PathBuf::new();
    for component in real.as_deref().unwrap_or(&path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_file_has_one_path_whether_it_is_there_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for written in ["a.nd", "./a.nd", "no/../a.nd", "no/such/./../../a.nd", ".//a.nd"] {
            assert_eq!(resolved(&root.join(written)), root.join("a.nd"), "{written}");
        }
        assert_eq!(resolved(Path::new("a.nd")), resolved(&std::env::current_dir().unwrap().join("a.nd")));
        assert_ne!(resolved(&root.join("no/a.nd")), root.join("a.nd"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        assert_eq!(resolved(&root.join("link/new/a.nd")), root.join("real/new/a.nd"));
        std::fs::write(root.join("real/a.nd"), "").unwrap();
        std::os::unix::fs::symlink(root.join("real/a.nd"), root.join("b.nd")).unwrap();
        assert_eq!(resolved(&root.join("b.nd")), root.join("real/a.nd"));
    }
}
