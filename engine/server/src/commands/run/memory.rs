//! How much memory the engine may use before it turns events away: that is better than being killed.

use std::{fs, path::Path, str::FromStr};

/// What `--memory-limit` says; `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit(Option<u64>);

impl MemoryLimit {
    /// The limit in bytes.
    pub(super) fn bytes(self) -> Option<u64> {
        self.0
    }
}

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let size = parse_size(text).map_err(|error| format!("{error}, or `none`"))?;
        Ok(Self(Some(size)))
    }
}

/// A size as people write it.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "expected a size such as `2GiB`".to_owned())
}

/// The limit in bytes: what was asked for, else four fifths of what this process may use.
pub(super) fn limit(asked: Option<MemoryLimit>) -> Option<u64> {
    match asked {
        Some(MemoryLimit(limit)) => limit,
        None => available(Path::new("/")).map(|bytes| bytes / 5 * 4),
    }
}

/// The machine's memory, or that of a control group where that is less. `root` is where `proc` and `sys` are.
fn available(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_of(&text));
    machine.into_iter().chain(group_limit(root)).min()
}

/// Where each version of control groups is found, its controller in `/proc/self/cgroup`, and the file with a group's limit.
const GROUPS: [(&str, &str, &str); 2] =
    [("sys/fs/cgroup", "", "memory.max"), ("sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes")];

/// The least that the process's control groups may use. A container sees its own as the root; a service's is somewhere
/// below, and each group above it has its say too.
fn group_limit(root: &Path) -> Option<u64> {
    let memberships = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let least = |(mount, controller, file): &(&str, &str, &str)| {
        // A container may be told of a path that is there only outside of it: then the root alone is left.
        let group = Path::new(group_of(&memberships, controller).unwrap_or("/"));
        let limit = |group: &Path| {
            let path = root.join(mount).join(group.strip_prefix("/").unwrap_or(group)).join(file);
            // Without a limit it says `max`, or a number larger than any machine.
            fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
        };
        group.ancestors().filter_map(limit).min()
    };
    GROUPS.iter().filter_map(least).min()
}

/// The path in a line such as `0::/system.slice` or `5:cpu,memory:/docker`.
fn group_of<'a>(memberships: &'a str, controller: &str) -> Option<&'a str> {
    memberships.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!("2GiB".parse(), Ok(MemoryLimit(Some(2 << 30))));
        assert_eq!("500MB".parse(), Ok(MemoryLimit(Some(500_000_000))));
        assert_eq!("none".parse(), Ok(MemoryLimit(None)));
        for text in ["", "2", "GiB", "2 GiB", "-2GiB", "0MB", "99999999999999GiB"] {
            assert!(text.parse::<MemoryLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_machine_says_how_much_there_is() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert!(limit(None).is_none_or(|bytes| bytes > 1 << 20));
        assert_eq!(limit(Some(MemoryLimit(None))), None);
    }

    /// What a process with these files may use, on a machine of 16 GiB.
    fn available_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", "MemTotal: 16777216 kB\n")].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    #[test]
    fn the_least_limit_of_a_service_and_all_above_it_counts() {
        const SERVICE: &str = "sys/fs/cgroup/system.slice/tidewater.service/memory.max";
        const SLICE: &str = "sys/fs/cgroup/system.slice/memory.max";
        const OTHER: &str = "sys/fs/cgroup/system.slice/other.service/memory.max";
        let own = ("proc/self/cgroup", "0::/system.slice/tidewater.service\n");
        let other = (OTHER, "1000\n");
        assert_eq!(available_with(&[]), Some(16 << 30));
        assert_eq!(available_with(&[own, other, (SERVICE, "max\n"), (SLICE, "max\n")]), Some(16 << 30));
        assert_eq!(available_with(&[own, other, (SERVICE, "4096000\n"), (SLICE, "max\n")]), Some(4_096_000));
        assert_eq!(available_with(&[own, (SERVICE, "4096000\n"), (SLICE, "2048000\n")]), Some(2_048_000));
        // A container's own group is its root, whether or not it is told of a path outside.
        let root = ("sys/fs/cgroup/memory.max", "1024000\n");
        for member in ["0::/\n", "0::/docker/1f\n", "0::/../outside\n"] {
            assert_eq!(available_with(&[("proc/self/cgroup", member), root]), Some(1_024_000), "{member}");
        }
        assert_eq!(available_with(&[root]), Some(1_024_000));
    }

    #[test]
    fn groups_of_the_first_version_are_asked_too() {
        const MOUNT: &str = "sys/fs/cgroup/memory";
        let unlimited = "9223372036854771712\n";
        let own = ("proc/self/cgroup", "9:cpu:/a\n5:hugetlb,memory:/a/b\n1:name=systemd:/a\n0::/c\n");
        let file = |group: &str| format!("{MOUNT}{group}/memory.limit_in_bytes");
        let (root, above, below) = (file(""), file("/a"), file("/a/b"));
        let (root, above, below) = (root.as_str(), above.as_str(), below.as_str());
        assert_eq!(available_with(&[own, (root, unlimited), (below, "4096000\n")]), Some(4_096_000));
        assert_eq!(available_with(&[own, (above, "2048000\n"), (below, unlimited)]), Some(2_048_000));
        assert_eq!(available_with(&[own, (root, "1024000\n"), (below, unlimited)]), Some(1_024_000));
        assert_eq!(available_with(&[own, (root, unlimited)]), Some(16 << 30));
    }
}
