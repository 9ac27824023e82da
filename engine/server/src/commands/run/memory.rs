//! How much memory the engine may use before it turns events away: that is better than being killed.

use std::{fs, str::FromStr};

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
        None => available().map(|bytes| bytes / 5 * 4),
    }
}

/// The machine's memory, or the container's where that is less.
fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let container = files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    machine.into_iter().chain(container).min()
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
}
