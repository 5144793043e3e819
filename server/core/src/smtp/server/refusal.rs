//! Replies of the server's own, and what refusals lead to: too many of them end the session.

use super::{Event, Refused, Server, State};
use crate::mail::{EnhancedCode, Reply};
use crate::smtp::command::CommandError;

impl Server {
    pub(super) fn reply_to(&mut self, code: u16, enhanced: EnhancedCode, text: &str) -> Option<Event> {
        self.reply(&Reply::new(code, enhanced, text));
        None
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.out);
    }

    pub(super) fn refuse(&mut self, code: u16, enhanced: EnhancedCode, text: impl Into<String>) {
        self.log_and_reply("COMMAND", Reply::new(code, enhanced, text));
        self.count_error();
    }

    pub(super) fn refuse_command(&mut self, error: &CommandError) {
        let (code, enhanced) = codes(error);
        self.refuse(code, enhanced, error.to_string());
        if *error == CommandError::Foreign {
            self.state = State::Closed;
        }
    }

    /// RFC 3461 section 4: its parameters belong to the extension, which HELO does not offer.
    pub(super) fn not_offered(&mut self, parameter: &str) {
        self.refuse_command(&CommandError::Parameter(parameter.to_owned()));
    }

    pub(super) fn log_and_reply(&mut self, stage: &'static str, reply: Reply) {
        self.reply(&reply);
        self.refusals.push(Refused { stage, reply });
    }

    pub(super) fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.limits.max_errors.min(self.patience) && self.state != State::Closed {
            let reply = Reply::new(421, EnhancedCode(4, 7, 0), format!("{} too many errors", self.hostname));
            self.log_and_reply("COMMAND", reply);
            self.state = State::Closed;
        }
    }
}

fn codes(error: &CommandError) -> (u16, EnhancedCode) {
    match error {
        CommandError::Unknown => (500, EnhancedCode(5, 5, 1)),
        CommandError::Foreign => (554, EnhancedCode(5, 5, 1)),
        CommandError::NotImplemented => (502, EnhancedCode(5, 5, 1)),
        CommandError::Syntax(_) => (501, EnhancedCode(5, 5, 4)),
        CommandError::Sender(_) => (501, EnhancedCode(5, 1, 7)),
        CommandError::Recipient(_) => (501, EnhancedCode(5, 1, 3)),
        CommandError::Value(_) => (501, EnhancedCode(5, 5, 4)),
        CommandError::Parameter(_) => (555, EnhancedCode(5, 5, 4)),
        CommandError::NeedsUtf8 => (553, EnhancedCode(5, 6, 7)),
    }
}
