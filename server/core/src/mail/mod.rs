//! The values of mail: addresses, the envelope, queue ids, replies and outcomes. Parsed once, at the edge, and
//! valid from then on.

mod address;
mod envelope;
mod notification;
mod outcome;
mod queue_id;
mod reply;

pub use address::{Address, AddressError, valid_domain};
pub use envelope::{BodyType, Envelope, Recipient, ReversePath};
pub(crate) use notification::xtext_decode;
pub use notification::{EnvelopeId, MAX_ENVID, MAX_ORCPT, Notify, OriginalRecipient, Ret, utf8_encode};
pub use outcome::{Outcome, Reason, Scope};
pub use queue_id::{IdGenerator, ParseIdError, QueueId, RecipientId, Seq};
pub use reply::{EnhancedCode, Reply};
