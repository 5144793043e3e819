//! How a session ends: by QUIT, by the peer, by the caller. Whatever was still open is answered then.

use super::{Client, Phase};
use crate::mail::Reply;
use crate::smtp::client::{Cause, Failure, Loss, Stage};

/// Longest text of a reply that is kept in a failure, in octets.
const MAX_KEPT_TEXT: usize = 2048;

impl Client {
    /// Ends the session. The caller sends the output and need not wait for the reply.
    pub fn quit(&mut self) {
        if self.phase == Phase::Ready {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.phase = Phase::Quit;
        }
    }

    /// The connection is gone or a time limit has passed; `detail` is for the log.
    pub fn lost(&mut self, loss: Loss, detail: impl Into<String>) {
        if self.phase != Phase::Closed {
            self.end_session(Failure::new(self.stage(), Cause::Lost(loss)).with_detail(detail));
        }
    }

    /// Ends the session in the middle of the content for a reason of ours; the caller closes the connection.
    pub fn abort(&mut self, failure: Failure) {
        self.end_session(failure);
    }

    pub(super) fn unasked(&mut self, reply: Option<Reply>) {
        let detail = reply.map(|reply| kept(reply).to_string()).unwrap_or_default();
        let stage = if self.phase == Phase::Handshake { Stage::StartTls } else { self.stage() };
        self.end_session(Failure::new(stage, Cause::Lost(Loss::Unexpected)).with_detail(detail));
    }

    pub(super) fn refused_session(&mut self, stage: Stage, reply: Reply) {
        let cause = if reply.code < 400 { Cause::Lost(Loss::Unexpected) } else { Cause::Reply(kept(reply)) };
        self.end_session(Failure::new(stage, cause));
    }

    pub(super) fn end_session(&mut self, failure: Failure) {
        if !matches!(self.phase, Phase::Ready | Phase::Closed) && !self.answers.is_empty() {
            // A refused MAIL stays the reason, whatever ends the session before the rest was answered.
            let refused = self.mail_refused.take();
            self.resolve(refused.as_ref().unwrap_or(&failure));
            self.finish();
        }
        self.output.clear();
        self.failure = Some(failure);
        self.phase = Phase::Closed;
    }
}

/// The reply with its text cut to what is kept.
pub(super) fn kept(mut reply: Reply) -> Reply {
    if reply.text.len() > MAX_KEPT_TEXT {
        reply.text.truncate(reply.text.floor_char_boundary(MAX_KEPT_TEXT));
    }
    reply
}
