//! A line of content as it passes, by DATA or by BDAT: how long it is, and the first fault of the content.

use super::data::ContentFault;

/// The line that content is at.
#[derive(Debug)]
pub(super) struct Line {
    /// Nothing of it has come: the octets before were a line end, or there were none.
    pub(super) at_start: bool,
    len: usize,
    max: usize,
    fault: Option<ContentFault>,
}

impl Line {
    /// The first line; longer ones than `max` octets (line end not counted) are a fault.
    pub(super) fn new(max: usize) -> Self {
        Self { at_start: true, len: 0, max, fault: None }
    }

    /// The first fault so far.
    pub(super) fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// `count` more octets on it.
    pub(super) fn text(&mut self, count: usize) {
        if count > 0 {
            self.at_start = false;
            self.len += count;
            if self.len > self.max {
                self.fault.get_or_insert(ContentFault::LongLine);
            }
        }
    }

    /// One more octet on it, which must not be there.
    pub(super) fn bad(&mut self, fault: ContentFault) {
        self.fault.get_or_insert(fault);
        self.text(1);
    }

    /// A true line end.
    pub(super) fn ended(&mut self) {
        (self.at_start, self.len) = (true, 0);
    }
}
