//! What fixtures say of attempts: what `delivery-before` and `bounce` are given.

use super::fixture::{FailureTable, Fixture};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use postern_core::hook::{Delivery, Failed, FailureAction, Failures, Transaction};
use postern_core::mail::{Address, EnhancedCode, QueueId, Recipient, Reply, Scope, Seq};
use postern_core::message::MemorySource;
use postern_core::time::Timestamp;
use postern_core::zone::{DEFAULT_ZONE, TlsMode};
use std::sync::Arc;

/// The id of a fixture's message.
const ID: QueueId = QueueId(0x1234_5678_9abc_def0);

/// The attempt of `[delivery]`; none without recipients.
pub fn delivery(
    fixture: &Fixture,
    transaction: &Transaction,
    to: &[Recipient],
    header: &Bytes,
    body: &Bytes,
) -> anyhow::Result<Option<Delivery>> {
    let Some(first) = to.first() else { return Ok(None) };
    let table = fixture.delivery.clone().unwrap_or_default();
    let Some(tls) = TlsMode::by_name(&table.tls) else {
        let modes = TlsMode::ALL.map(TlsMode::name).join(", ");
        bail!("{}: delivery.tls: there is no mode `{}`, only {modes}", fixture.path.display(), table.tls);
    };
    let next_hop = if table.next_hop.is_empty() { first.address.domain() } else { &table.next_hop };
    let content = [&header[..], &body[..]].concat();
    Ok(Some(Delivery {
        id: ID,
        reverse_path: transaction.envelope.reverse_path.clone(),
        recipients: to.iter().map(|recipient| recipient.address.clone()).collect(),
        zone: zone(transaction),
        next_hop: next_hop.into(),
        sources: table.sources,
        tls,
        redirected_tls: tls,
        chosen_tls: None,
        has_credentials: false,
        attempts: table.attempts,
        accepted: Timestamp(1_700_000_000_000),
        user: transaction.session.user.clone(),
        attributes: Arc::new(transaction.attributes.clone()),
        content: Arc::new(MemorySource(content.into())),
        header_len: header.len() as u64,
        top: Vec::new(),
        redirected: None,
        changes: Vec::new(),
    }))
}

/// The failures of `[[failure]]`; none if there are none.
pub fn failures(fixture: &Fixture, transaction: &Transaction) -> anyhow::Result<Option<Failures>> {
    if fixture.failure.is_empty() {
        return Ok(None);
    }
    let failed = fixture.failure.iter().enumerate().map(|(index, table)| {
        failed(index, table).with_context(|| format!("{}: failure[{index}]", fixture.path.display()))
    });
    let next_hop = fixture.delivery.as_ref().map(|table| table.next_hop.clone()).unwrap_or_default();
    Ok(Some(Failures {
        id: ID,
        reverse_path: transaction.envelope.reverse_path.clone(),
        zone: zone(transaction),
        next_hop: if next_hop.is_empty() { "mx.example.net".to_owned() } else { next_hop },
        user: transaction.session.user.clone(),
        attributes: Arc::new(transaction.attributes.clone()),
        failed: failed.collect::<anyhow::Result<_>>()?,
        changes: Vec::new(),
    }))
}

fn zone(transaction: &Transaction) -> Arc<str> {
    transaction.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.into())
}

fn failed(index: usize, table: &FailureTable) -> anyhow::Result<Failed> {
    let actions = [FailureAction::Defer, FailureAction::Bounce, FailureAction::Expire];
    let Some(action) = actions.into_iter().find(|action| action.name() == table.action) else {
        bail!("there is no action `{}`, only {}", table.action, actions.map(FailureAction::name).join(", "));
    };
    let reply = table.reply.as_deref().map(reply).transpose()?;
    let class = if action == FailureAction::Defer { 4 } else { 5 };
    let status = reply.as_ref().and_then(|reply| reply.enhanced).unwrap_or(EnhancedCode(class, 0, 0));
    Ok(Failed {
        recipient: Address::parse(&table.to).with_context(|| format!("to `{}`", table.to))?,
        seq: Seq::from_index(index),
        action,
        status,
        text: reply.as_ref().map_or_else(|| "the attempt failed".to_owned(), ToString::to_string),
        reply,
        scope: Scope::Recipient,
        attempts: table.attempts,
        may_defer: action != FailureAction::Expire,
        suppress_dsn: false,
    })
}

/// `550 5.1.1 No such user`
fn reply(text: &str) -> anyhow::Result<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = code.parse().ok().filter(|code| (400..600).contains(code));
    let Some(code) = code else { bail!("reply: `{text}` does not begin with a code from 400 to 599") };
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(match EnhancedCode::parse(first) {
        Some(enhanced) => Reply::new(code, enhanced, after),
        None => Reply::plain(code, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let check = |text: &str, expected: &str| {
            let said = reply(text).map_or_else(|error| error.to_string(), |reply| format!("{reply:?}"));
            assert!(said.contains(expected), "{text}: {said}");
        };
        check("550 5.1.1 No such user", "enhanced: Some(EnhancedCode(5, 1, 1)), text: \"No such user\"");
        check("421 Busy", "code: 421, enhanced: None, text: \"Busy\"");
        check("250 Fine", "does not begin with a code from 400 to 599");
        check("No", "does not begin with a code");
    }

    #[test]
    fn mistakes_name_their_place() {
        let check = |text: &str, expected: &str| {
            let fixture: Fixture = toml::from_str(text).unwrap();
            let error = super::super::scene::Scene::new(&fixture, &[]).map(|_| ()).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains(expected), "{text}: {said}");
        };
        check("delivery.tls = 'on'", "delivery.tls: there is no mode `on`, only off, opportunistic");
        check("[[failure]]\nto = 'a@b.example'\naction = 'drop'", "failure[0]: there is no action `drop`, only defer");
        check("[[failure]]\nto = 'a'\naction = 'defer'", "failure[0]: to `a`");
    }
}
