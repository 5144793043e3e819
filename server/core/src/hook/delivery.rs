//! Attempts as hooks see and change them: before they begin, and after they failed.

use super::{Attributes, Change};
use crate::mail::{Address, EnhancedCode, QueueId, Reply, ReversePath, Scope, Seq};
use crate::message::ContentSource;
use crate::time::Timestamp;
use crate::zone::TlsMode;
use std::net::IpAddr;
use std::sync::Arc;

/// An attempt that is about to begin, and what plugins make of it.
#[derive(Clone)]
pub struct Delivery {
    /// The message.
    pub id: QueueId,
    /// Its reverse-path.
    pub reverse_path: ReversePath,
    /// Whom the attempt is for.
    pub recipients: Arc<[Address]>,
    /// The zone.
    pub zone: Arc<str>,
    /// What it goes to.
    pub next_hop: Arc<str>,
    /// The addresses that it may leave from, the first choice first.
    pub sources: Vec<IpAddr>,
    /// The zone's TLS mode, or its smart host's.
    pub tls: TlsMode,
    /// The zone's TLS mode for hosts that plugins choose.
    pub redirected_tls: TlsMode,
    /// The TLS mode that a plugin chose.
    pub chosen_tls: Option<TlsMode>,
    /// Does the smart host get credentials, so that TLS must not get weaker?
    pub has_credentials: bool,
    /// Attempts before this one, of the recipient that has had most.
    pub attempts: u32,
    /// When the message was accepted.
    pub accepted: Timestamp,
    /// Who submitted it.
    pub user: Option<Arc<str>>,
    /// Notes from intake.
    pub attributes: Arc<Attributes>,
    /// The whole content, whose first octets are the header block.
    pub content: Arc<dyn ContentSource>,
    /// Octets of the header block.
    pub header_len: u64,
    /// Header fields above the message, as they will be sent.
    pub top: Vec<u8>,
    /// Another next hop for this attempt: a [destination](crate::route::NextHop::destination).
    pub redirected: Option<Arc<str>>,
    /// What plugins changed, in order.
    pub changes: Vec<Change>,
}

impl Delivery {
    /// The TLS mode as it stands: what was chosen, else that of the next hop as it stands.
    #[must_use]
    pub fn tls(&self) -> TlsMode {
        let of_next_hop = if self.redirected.is_some() { self.redirected_tls } else { self.tls };
        self.chosen_tls.unwrap_or(of_next_hop)
    }

    /// The weakest TLS mode that may be chosen: credentials go only where they would have gone without plugins.
    #[must_use]
    pub fn least_tls(&self) -> TlsMode {
        if self.has_credentials && self.redirected.is_none() { self.tls } else { TlsMode::Off }
    }
}

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It begins.
    Go,
    /// Its recipients are deferred by the retry schedule.
    Defer {
        /// One line for the sender.
        public: String,
        /// Who said so, for the log.
        detail: String,
    },
    /// Its recipients bounce with this reply.
    Bounce {
        /// As if the next hop had said it.
        reply: Reply,
        /// Who said so, for the log.
        detail: String,
    },
}

/// The recipients of one message for which an attempt failed.
#[derive(Clone)]
pub struct Failures {
    /// The message.
    pub id: QueueId,
    /// Its reverse-path.
    pub reverse_path: ReversePath,
    /// The zone.
    pub zone: Arc<str>,
    /// The host that was spoken to, as in the log; empty if there was none.
    pub next_hop: String,
    /// Who submitted it.
    pub user: Option<Arc<str>>,
    /// Notes from intake.
    pub attributes: Arc<Attributes>,
    /// Who failed, and how.
    pub failed: Vec<Failed>,
    /// What plugins changed, in order.
    pub changes: Vec<Change>,
}

/// One recipient for which an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Who.
    pub recipient: Address,
    /// Its number in the message.
    pub seq: Seq,
    /// What becomes of it.
    pub action: FailureAction,
    /// The status.
    pub status: EnhancedCode,
    /// What the next hop said.
    pub reply: Option<Reply>,
    /// The failure in a sentence.
    pub text: String,
    /// What it is about.
    pub scope: Scope,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// It is not too old to be tried again.
    pub may_defer: bool,
    /// The sender is not told.
    pub suppress_dsn: bool,
}

/// What becomes of a recipient that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureAction {
    /// It is tried again.
    Defer,
    /// It is returned.
    Bounce,
    /// It is returned, for its age alone.
    Expire,
}

impl FailureAction {
    /// As plugins read it: `defer`, `bounce`, `expire`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Bounce => "bounce",
            Self::Expire => "expire",
        }
    }
}
