//! MAIL and RCPT as a client writes them, with the parameters that the server offers.

use super::Extensions;
use crate::mail::{BodyType, EnvelopeId, Recipient, Ret, ReversePath};
use std::io::Write as _;

/// What MAIL says about a message.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// MAIL FROM.
    pub reverse_path: &'a ReversePath,
    /// Octets of the content, dots not doubled.
    pub size: u64,
    /// Is the content 8-bit?
    pub body: BodyType,
    /// Does the header or the reverse-path need SMTPUTF8? International recipients are seen to.
    pub smtputf8: bool,
    /// RET, for a next hop that offers DSN (RFC 3461).
    pub ret: Option<Ret>,
    /// ENVID, likewise.
    pub envid: Option<&'a EnvelopeId>,
}

impl Transaction<'_> {
    /// Appends MAIL. What the message needs and the server lacks is the caller's to refuse; what the sender asked of
    /// DSNs is left out where they are not offered (RFC 3461 section 5.2.2).
    pub(super) fn write_mail(&self, out: &mut Vec<u8>, offered: &Extensions, utf8: bool) {
        // Writing to a Vec does not fail.
        let _ = write!(out, "MAIL FROM:<{}>", self.reverse_path.as_str());
        if offered.size.is_some() {
            let _ = write!(out, " SIZE={}", self.size);
        }
        if self.body == BodyType::EightBit {
            out.extend_from_slice(b" BODY=8BITMIME");
        }
        if utf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if let Some(ret) = self.ret.filter(|_| offered.dsn) {
            let _ = write!(out, " RET={}", ret.as_str());
        }
        if let Some(envid) = self.envid.filter(|_| offered.dsn) {
            let _ = write!(out, " ENVID={}", envid.to_parameter());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends RCPT. NOTIFY and ORCPT go on only as they were given: none means the next hop's own default.
pub(super) fn write_rcpt(out: &mut Vec<u8>, recipient: &Recipient, offered: &Extensions) {
    let Recipient { address, notify, orcpt, .. } = recipient;
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(address.as_str().as_bytes());
    out.push(b'>');
    if let Some(notify) = notify.filter(|_| offered.dsn) {
        let _ = write!(out, " NOTIFY={notify}");
    }
    if let Some(orcpt) = orcpt.as_ref().filter(|_| offered.dsn) {
        let _ = write!(out, " ORCPT={}", orcpt.to_parameter());
    }
    out.extend_from_slice(b"\r\n");
}
