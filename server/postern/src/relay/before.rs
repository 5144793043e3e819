//! The hook `delivery-before`: what plugins make of an attempt before anything is looked up or connected to.

use crate::deliver::{Attempt, Route, Topped};
use crate::observe::delivery_log;
use crate::spool::Leased;
use bytes::Bytes;
use postern_core::hook::{Decision, Delivery, HookPoint, Hooks};
use postern_core::mail::{EnhancedCode, Outcome, Reason, Scope, Seq};
use postern_core::message::ContentSource;
use postern_core::zone::{Source, TlsMode, Zone};
use std::net::IpAddr;
use std::sync::Arc;

/// An attempt as it is to be made.
pub struct Plan {
    /// Addresses of ours in another order than the route's, best first.
    pub sources: Option<Vec<Source>>,
    /// Another TLS mode than the route's.
    pub tls: Option<TlsMode>,
    /// Another destination than the queue's.
    pub redirected: Option<Arc<str>>,
    /// What is sent.
    pub content: Arc<dyn ContentSource>,
}

/// Asks the plugins about an attempt by the route with these `terms`.
///
/// # Errors
/// What has become of the recipients instead.
pub async fn ask(
    hooks: &dyn Hooks,
    zone: &Zone,
    destination: &str,
    terms: &Route,
    leased: &Leased,
    content: Arc<dyn ContentSource>,
) -> Result<Plan, Attempt> {
    if !hooks.wants(HookPoint::DeliveryBefore) {
        return Ok(Plan { sources: None, tls: None, redirected: None, content });
    }
    let mut delivery = delivery(zone, destination, terms, leased, Arc::clone(&content));
    let outcome = match hooks.delivery_before(&mut delivery).await {
        Decision::Go => return Ok(plan(leased, terms, delivery, content)),
        Decision::Defer { public, detail } => {
            let status = EnhancedCode(4, 3, 0);
            Outcome::Deferred(Reason { scope: Scope::Local, status, remote_reply: None, public, detail })
        }
        Decision::Bounce { reply, detail } => {
            let status = reply.enhanced.unwrap_or(EnhancedCode(5, 7, 1));
            let public = format!("it was refused: {reply}");
            Outcome::Bounced(Reason { scope: Scope::Message, status, remote_reply: Some(reply), public, detail })
        }
    };
    let outcome = |recipient: &crate::spool::LeasedRecipient| (recipient.token.recipient.seq, outcome.clone());
    Err(Attempt::unmade(leased.recipients.iter().map(outcome).collect()))
}

fn delivery(
    zone: &Zone,
    destination: &str,
    terms: &Route,
    leased: &Leased,
    content: Arc<dyn ContentSource>,
) -> Delivery {
    let message = &leased.message;
    let address = |seq: Seq| message.envelope.recipients[seq.index()].address.clone();
    Delivery {
        id: message.id,
        reverse_path: message.envelope.reverse_path.clone(),
        recipients: leased.recipients.iter().map(|recipient| address(recipient.token.recipient.seq)).collect(),
        zone: Arc::clone(&zone.name),
        next_hop: destination.into(),
        sources: terms.sources.iter().map(|source| source.ip).collect(),
        tls: terms.tls,
        redirected_tls: zone.tls,
        chosen_tls: None,
        has_credentials: terms.credentials.is_some(),
        attempts: leased.recipients.iter().map(|recipient| recipient.attempts).max().unwrap_or(0),
        accepted: message.accepted,
        user: message.origin.user.clone(),
        attributes: Arc::clone(&message.origin.attributes),
        content,
        header_len: message.header_len,
        top: Vec::new(),
        redirected: None,
        changes: Vec::new(),
    }
}

fn plan(leased: &Leased, terms: &Route, delivery: Delivery, content: Arc<dyn ContentSource>) -> Plan {
    for changes in delivery.changes.chunk_by(|a, b| a.author == b.author) {
        delivery_log::changed(leased.message.id, &leased.message.origin.session, changes);
    }
    let by_ip = |ip: &IpAddr| terms.sources.iter().find(|source| source.ip == *ip).cloned();
    let sources = Some(delivery.sources.iter().filter_map(by_ip).collect());
    let top = Bytes::from(delivery.top);
    let content: Arc<dyn ContentSource> = if top.is_empty() { content } else { Arc::new(Topped { top, content }) };
    Plan { sources, tls: delivery.chosen_tls, redirected: delivery.redirected, content }
}
