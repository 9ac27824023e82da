//! What this process takes of the machine: memory and processor time.

/// Bytes of memory that are resident now; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    status("VmRSS:")
}

/// Bytes that the program has asked jemalloc for and not given back: without what freed memory and pages only partly used
/// add to the resident ones, which goes up and down by tens of megabytes. 0 if the program uses another allocator.
pub fn allocated_bytes() -> u64 {
    jemalloc(tikv_jemalloc_ctl::stats::allocated::read)
}

/// Bytes of the pages that these lie in: more if pages are only partly used. 0 if the program uses another allocator.
pub fn active_bytes() -> u64 {
    jemalloc(tikv_jemalloc_ctl::stats::active::read)
}

fn jemalloc(read: fn() -> tikv_jemalloc_ctl::Result<usize>) -> u64 {
    // Its figures are as of the last time it was told to bring them up to date.
    tikv_jemalloc_ctl::epoch::advance().and_then(|_| read()).unwrap_or(0) as u64
}

/// The most bytes of memory that were resident at any time; 0 where the system does not tell.
pub fn peak_bytes() -> u64 {
    status("VmHWM:")
}

/// Seconds of processor time of all threads so far, in steps of a hundredth; 0 where the system does not tell. Others on
/// the machine disturb it less than the time on the wall.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; 11 fields lie between it and the two times.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let times = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
