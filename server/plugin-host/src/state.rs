//! What the host keeps beside each instance: the subject of the call in progress, and the meters that end a call which
//! takes too much.

use crate::capabilities::Reach;
use crate::error::{HostError, NOT_NOW, error};
use crate::handles::Handles;
use crate::log::LogLimiter;
use crate::meters::{CpuMeter, MemoryMeter};
use crate::parts::Parts;
use crate::services::Random;
use crate::subject::Subject;
use postern_core::hook::{Change, Delivery, Failures, HookPoint, Routing, Session, Transaction};
use postern_core::mail::{QueueId, Recipient};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// Behind a guest's `session`. A guest can't forge handles, and there is one session a call, so it holds nothing.
pub struct SessionHandle;
/// Behind a guest's `credentials`.
pub struct CredentialsHandle;
/// Behind a guest's `envelope`.
pub struct EnvelopeHandle;
/// Behind a guest's `recipient`.
pub struct RecipientHandle;
/// Behind a guest's `message`.
pub struct MessageHandle;
/// Behind a guest's `part`; which one is the handle's own number.
pub struct PartHandle;
/// Behind a guest's `routing`.
pub struct RoutingHandle;
/// Behind a guest's `delivery`.
pub struct DeliveryHandle;
/// Behind a guest's `failures`.
pub struct FailuresHandle;
/// Behind a guest's `request` of the hook `http`.
pub struct RequestHandle;
/// Behind its `response`.
pub struct ResponseHandle;

/// How many edits one call may make.
const MAX_EDITS: usize = 10_000;
/// How many of them are remembered with their author, for the log; the others are counted.
const MAX_CHANGES: usize = 50;
/// Longest description of an edit in characters.
const MAX_WHAT: usize = 200;

/// Who a plugin is, shared by its instances.
pub(crate) struct Identity {
    /// As in `[[plugin]]`.
    pub(crate) name: Arc<str>,
    /// Name and version: the author of changes.
    pub(crate) author: Arc<str>,
    /// The config as JSON.
    pub(crate) config: serde_json::Value,
    pub(crate) log: LogLimiter,
    /// What it may use of the server.
    pub(crate) reach: Reach,
}

pub(crate) struct GuestState {
    pub(crate) identity: Arc<Identity>,
    pub(crate) cpu: CpuMeter,
    pub(crate) memory: MemoryMeter,
    /// MIME parts of the message of the call.
    pub(crate) parts: Parts,
    /// Requests and answers that the guest holds.
    pub(crate) handles: Handles,
    /// Octets of bodies that the guest gave in this call.
    pub(crate) body_octets: usize,
    /// Handles of parts that the guest has and did not drop.
    pub(crate) parts_out: usize,
    pub(crate) random: Random,
    #[cfg(feature = "wasi")]
    pub(crate) wasi: crate::capabilities::Wasi,
    /// When the call in progress must have ended.
    pub(crate) deadline: Option<Instant>,
    point: Option<HookPoint>,
    subject: Subject,
    edits: usize,
    changes: Vec<Change>,
    /// Has the log been told in this call that content could not be read or kept?
    io_told: bool,
}

impl GuestState {
    pub(crate) fn new(identity: Arc<Identity>, ticks: Arc<AtomicU64>, memory: usize) -> Self {
        Self {
            identity,
            handles: Handles::default(),
            body_octets: 0,
            parts_out: 0,
            random: Random::default(),
            #[cfg(feature = "wasi")]
            wasi: crate::capabilities::Wasi::default(),
            cpu: CpuMeter::new(ticks),
            memory: MemoryMeter::new(memory),
            parts: Parts::default(),
            deadline: None,
            point: None,
            subject: Subject::None,
            edits: 0,
            changes: Vec::new(),
            io_told: false,
        }
    }

    /// Takes the subject in for a call.
    pub(crate) fn begin(&mut self, point: HookPoint, subject: &mut Subject, deadline: Instant) {
        self.point = Some(point);
        std::mem::swap(&mut self.subject, subject);
        self.deadline = Some(deadline);
        (self.edits, self.body_octets) = (0, 0);
        self.io_told = false;
    }

    /// Gives the subject back with its edits, and tells what they were.
    pub(crate) fn finish(&mut self, subject: &mut Subject) -> Vec<Change> {
        (self.point, self.deadline) = (None, None);
        std::mem::swap(&mut self.subject, subject);
        self.parts.clear();
        self.handles.clear();
        let mut changes = std::mem::take(&mut self.changes);
        if let Some(more) = self.edits.checked_sub(MAX_CHANGES).filter(|more| *more > 0) {
            let what = format!("and {} more", thousands(more));
            changes.push(Change { author: self.identity.author.clone(), what });
        }
        changes
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(crate) fn subject_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }

    pub(crate) fn session(&self) -> wasmtime::Result<&Session> {
        match &self.subject {
            Subject::Session(session) | Subject::Login(session, _) => Ok(session),
            Subject::Message(transaction) | Subject::Recipient(transaction, _) | Subject::Routing(transaction, _) => {
                Ok(&transaction.session)
            }
            _ => Err(no_call()),
        }
    }

    /// The session, where it is being decided on.
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.subject {
            Subject::Session(session) | Subject::Login(session, _) => Some(session),
            _ => None,
        }
    }

    /// The transaction of the call in progress. Without one no guest holds a handle whose methods ask for it.
    pub(crate) fn transaction(&self) -> wasmtime::Result<&Transaction> {
        match &self.subject {
            Subject::Message(transaction) | Subject::Recipient(transaction, _) | Subject::Routing(transaction, _) => {
                Ok(transaction)
            }
            _ => Err(no_call()),
        }
    }

    pub(crate) fn transaction_mut(&mut self) -> wasmtime::Result<&mut Transaction> {
        match &mut self.subject {
            Subject::Message(transaction) | Subject::Recipient(transaction, _) | Subject::Routing(transaction, _) => {
                Ok(transaction)
            }
            _ => Err(no_call()),
        }
    }

    pub(crate) fn recipient_mut(&mut self) -> wasmtime::Result<&mut Recipient> {
        match &mut self.subject {
            Subject::Recipient(_, recipient) => Ok(recipient),
            _ => Err(no_call()),
        }
    }

    pub(crate) fn routing_mut(&mut self) -> wasmtime::Result<&mut Routing> {
        match &mut self.subject {
            Subject::Routing(_, routing) => Ok(routing),
            _ => Err(no_call()),
        }
    }

    pub(crate) fn delivery(&self) -> wasmtime::Result<&Delivery> {
        match &self.subject {
            Subject::Delivery(delivery) => Ok(delivery),
            _ => Err(no_call()),
        }
    }

    pub(crate) fn delivery_mut(&mut self) -> wasmtime::Result<&mut Delivery> {
        match &mut self.subject {
            Subject::Delivery(delivery) => Ok(delivery),
            _ => Err(no_call()),
        }
    }

    pub(crate) fn failures(&self) -> wasmtime::Result<&Failures> {
        match &self.subject {
            Subject::Failures(failures) => Ok(failures),
            _ => Err(no_call()),
        }
    }

    pub(crate) fn failures_mut(&mut self) -> wasmtime::Result<&mut Failures> {
        match &mut self.subject {
            Subject::Failures(failures) => Ok(failures),
            _ => Err(no_call()),
        }
    }

    /// For the log: the message that is being worked on, if any.
    pub(crate) fn queue_id(&self) -> Option<QueueId> {
        self.subject.queue_id()
    }

    /// For the log: the session that is being worked on, if any.
    pub(crate) fn session_id(&self) -> Option<&str> {
        self.subject.session_id()
    }

    /// Is this the first time in this call that content could not be read or kept? A guest that goes on trying must not
    /// fill the log.
    pub(crate) fn is_first_io_error(&mut self) -> bool {
        !std::mem::replace(&mut self.io_told, true)
    }

    /// May the call make one more edit?
    pub(crate) fn may_edit(&self) -> Result<(), HostError> {
        if self.edits < MAX_EDITS {
            Ok(())
        } else {
            Err(error(crate::error::TOO_LARGE, "one call makes at most 10,000 edits"))
        }
    }

    /// Is the call of one of these hooks?
    pub(crate) fn only_in(&self, points: &[HookPoint]) -> Result<(), HostError> {
        if self.point.is_some_and(|point| points.contains(&point)) {
            return Ok(());
        }
        let names: Vec<_> = points.iter().map(|point| point.name()).collect();
        Err(error(NOT_NOW, format_args!("this is for the hooks {}", names.join(", "))))
    }

    /// Remembers an edit under the plugin's name.
    pub(crate) fn changed(&mut self, what: std::fmt::Arguments<'_>) {
        self.edits += 1;
        if self.edits > MAX_CHANGES {
            return;
        }
        let mut what = what.to_string();
        if what.len() > MAX_WHAT
            && let Some((end, _)) = what.char_indices().nth(MAX_WHAT)
        {
            what.truncate(end);
        }
        if what.contains(char::is_control) {
            what = what.replace(char::is_control, " ");
        }
        self.changes.push(Change { author: self.identity.author.clone(), what });
    }
}

/// At most six digits, as `9,950`.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

pub(crate) fn no_call() -> wasmtime::Error {
    wasmtime::Error::msg("there is no call in progress that this belongs to")
}
