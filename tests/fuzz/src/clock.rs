//! The processor's time of a thread: unlike the wall's, it does not depend on what else the machine does.

use std::time::Duration;

/// How long this thread has run.
#[allow(unsafe_code, reason = "the standard library has no such clock")]
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
