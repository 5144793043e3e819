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

/// What a process had in memory at most while something was done, beyond what it has now; in KiB.
///
/// # Panics
/// There is no such process, or it is not ours.
#[must_use]
pub fn growth_kib(pid: u32, act: impl FnOnce()) -> u64 {
    // 5 sets the peak to what there is now (proc(5)).
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
    let before = resident_kib(pid);
    act();
    peak_kib(pid).saturating_sub(before)
}

/// Raises this process's limit of open files as far as it may go, and gives it.
///
/// # Panics
/// The system does not say.
#[must_use]
#[allow(unsafe_code, reason = "std has no way to set a limit")]
pub fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid pointer to a struct of theirs that lives as long as they run.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}

/// Do the tests run as root?
#[must_use]
#[allow(unsafe_code, reason = "std does not say")]
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) takes nothing and can't fail.
    unsafe { libc::geteuid() == 0 }
}
