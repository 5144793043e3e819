//! What the plugin wrote into the log. Natively the lines go to standard error too, which the test harness shows.

use std::cell::RefCell;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = RefCell::default();
}

/// The lines so far.
#[must_use]
pub fn lines() -> Vec<(Level, String)> {
    LINES.with_borrow(Clone::clone)
}

pub(super) fn reset() {
    LINES.take();
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    use super::Level;

    /// Longer lines are cut.
    const MAX_LINE: usize = 1 << 10;

    fn write(level: Level, message: &str) {
        let mut line: String =
            message.chars().flat_map(|c| if c.is_control() { escaped(c) } else { vec![c] }).collect();
        line.truncate(line.floor_char_boundary(MAX_LINE));
        eprintln!("{level:?}: {line}");
        super::LINES.with_borrow_mut(|lines| lines.push((level, line)));
    }

    fn escaped(c: char) -> Vec<char> {
        c.escape_default().collect()
    }

    pub fn debug(message: &str) {
        write(Level::Debug, message);
    }
    pub fn info(message: &str) {
        write(Level::Info, message);
    }
    pub fn warn(message: &str) {
        write(Level::Warn, message);
    }
    pub fn error(message: &str) {
        write(Level::Error, message);
    }
}
