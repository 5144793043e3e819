//! What the system says of a process: memory, CPU time, descriptors, whose it is.

fn status(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).expect("a figure")
}

/// Memory of a process now, in KiB.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS")
}

/// The most memory that a process ever had, in KiB.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn peak_kib(pid: u32) -> u64 {
    status(pid, "VmHWM")
}

/// CPU time of a process, in hundredths of a second.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in parentheses, may have anything in it; user and system time are the 14th and 15th field.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a figure")).sum()
}

/// How many descriptors a process has open.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Do the tests run as root?
#[must_use]
#[allow(unsafe_code, reason = "std does not say")]
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) takes nothing and can't fail.
    unsafe { libc::geteuid() == 0 }
}
