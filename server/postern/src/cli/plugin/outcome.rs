//! What a plugin made of a fixture, as lines of text: the same lines tell what was expected, so that a difference can
//! be shown, and what two versions of a plugin did.

use super::fixture::{Fixture, Note};
use super::scene::{Answer, Scene, failures_of};
use anyhow::Context as _;
use postern_core::hook::{Decision, FailureAction, HookPoint, Routed};
use postern_core::message::HeaderBlock;
use postern_plugin_host::PluginSet;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What happened.
pub struct Outcome {
    /// A line for each call.
    pub calls: Vec<String>,
    /// A line for each change; empty if the message was not taken.
    pub changes: Vec<String>,
    /// The whole message as it would be queued; none if it was not taken, or never there.
    pub content: Option<Vec<u8>>,
}

/// Octets of one read of a body.
const PIECE: usize = 256 << 10;

/// Runs a fixture.
///
/// # Errors
/// The fixture's values can't be used, or the body can't be read.
pub async fn run(plugins: &PluginSet, fixture: &Fixture) -> anyhow::Result<Outcome> {
    let plugin = plugins.plugins().first().context("there is no plugin")?;
    let (mut scene, calls) = Scene::new(fixture, &plugin.hooks())?;
    let before = scene.clone();
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for (index, call) in calls.iter().enumerate() {
        let failures = failures_of(plugin, call.hook);
        let answer = scene.ask(plugins, call).await;
        let failed = failures_of(plugin, call.hook).into_iter().zip(failures).find(|(now, then)| now.1 > then.1);
        lines.push(match failed {
            Some(((kind, _), _)) => format!("{}: failed: {}", call.label(), cause(&answer, kind.name())),
            None => format!("{}: {}", call.label(), said(call.hook, &answer)),
        });
        if call.hook == HookPoint::Rcpt && !matches!(answer, Answer::Pass) {
            refused.extend(call.recipient.iter().map(|recipient| recipient.address.as_str().to_owned()));
            // The client has nobody left to send to.
            let others = calls[index + 1..].iter().any(|call| call.hook == HookPoint::Rcpt);
            if others || !scene.transaction.envelope.recipients.is_empty() {
                continue;
            }
        }
        if !matches!(answer, Answer::Pass | Answer::Held(_)) {
            return Ok(Outcome { calls: lines, changes: Vec::new(), content: None });
        }
    }
    let content = content(&scene).await?;
    let changes = changes(fixture, &before, &scene, &refused, content.as_deref());
    Ok(Outcome { calls: lines, changes, content })
}

/// What is expected, in the same lines: those of calls, then those of changes.
///
/// # Errors
/// The fixture's values can't be used.
pub fn expected(fixture: &Fixture, exported: &[HookPoint]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (_, calls) = Scene::new(fixture, exported)?;
    let expect = &fixture.expect;
    let mut lines = Vec::new();
    let recipients = calls.iter().filter(|call| call.hook == HookPoint::Rcpt).count();
    let (mut asked, mut refused) = (0, 0);
    for call in &calls {
        let is_rcpt = call.hook == HookPoint::Rcpt;
        let pass = pass_word(call.hook);
        let verdict = expect.verdict(call.hook, if is_rcpt { asked } else { 0 }).unwrap_or(pass);
        lines.push(format!("{}: {verdict}", call.label()));
        asked += usize::from(is_rcpt);
        let goes_on = verdict == pass || verdict.starts_with("hold");
        refused += usize::from(is_rcpt && !goes_on);
        if !goes_on && (!is_rcpt || refused == recipients) {
            return Ok((lines, Vec::new()));
        }
    }
    let mut changes = Vec::new();
    for (what, fields) in [("removed", &expect.removed), ("changed", &expect.changed), ("added", &expect.added)] {
        changes.extend(fields.iter().map(|field| format!("header {what}: {field}")));
    }
    changes.extend(expect.from.iter().map(|from| format!("from: <{from}>")));
    changes.extend(expect.to.iter().map(|to| format!("to: {}", to.join(", "))));
    changes.extend(expect.zone.iter().map(|zone| format!("zone: {zone}")));
    changes.extend(expect.delay.iter().map(|delay| format!("delay: {}", span(delay.0))));
    for (name, note) in &expect.attributes {
        changes.push(match note {
            Note::Value(value) => format!("attribute {name}: {value}"),
            Note::Is(there) => format!("attribute {name}{}", if *there { ": *" } else { " removed" }),
        });
    }
    for (address, route) in &expect.routes {
        changes.push(route_line(
            address,
            [
                ("zone", route.zone.clone()),
                ("next_hop", route.next_hop.clone()),
                ("pool", route.pool.clone()),
                ("delay", route.delay.map(|delay| span(delay.0))),
                ("hold", route.hold.clone()),
            ],
        ));
    }
    if let Some(delivery) = &expect.delivery {
        changes.extend(delivery.next_hop.iter().map(|hop| format!("delivery next_hop: {hop}")));
        changes.extend(delivery.sources.iter().map(|sources| format!("delivery sources: {}", listed(sources))));
        changes.extend(delivery.tls.iter().map(|tls| format!("delivery tls: {tls}")));
        changes.extend(delivery.top.iter().map(|field| format!("delivery top: {field}")));
    }
    changes.extend(expect.failures.iter().map(|(address, action)| format!("failure <{address}>: {action}")));
    Ok((lines, changes))
}

/// What a hook says when it lets things go on.
fn pass_word(hook: HookPoint) -> &'static str {
    match hook {
        HookPoint::Connect | HookPoint::Mail | HookPoint::Rcpt => "pass",
        HookPoint::Spam => "accept",
        HookPoint::DeliveryBefore => "go",
        _ => "ok",
    }
}

fn said(hook: HookPoint, answer: &Answer) -> String {
    let with_reason = |word: &str, reason: &str| match reason {
        "" => word.to_owned(),
        reason => format!("{word}: {reason}"),
    };
    match answer {
        Answer::Pass | Answer::Stopped(Decision::Go) => pass_word(hook).to_owned(),
        Answer::Refused(refusal) => refusal.reply.to_string(),
        Answer::Held(reason) => with_reason("hold", reason),
        Answer::Discarded(reason) => with_reason("discard", reason),
        Answer::Stopped(Decision::Defer { public, .. }) => with_reason("defer", public),
        Answer::Stopped(Decision::Bounce { reply, .. }) => reply.to_string(),
        Answer::Failed(why) => with_reason("failed", why),
    }
}

/// Why a call failed, as the log would tell it; where the host does not say, the kind alone.
fn cause(answer: &Answer, kind: &str) -> String {
    let detail = match answer {
        Answer::Refused(refusal) => &refusal.detail,
        Answer::Stopped(Decision::Defer { detail, .. } | Decision::Bounce { detail, .. }) => detail,
        Answer::Failed(why) => why,
        _ => kind,
    };
    // `plugin NAME, hook HOOK: KIND: what happened`
    let from = detail.find(&format!("{kind}: ")).unwrap_or(0);
    detail[from..].lines().next().unwrap_or(kind).to_owned()
}

async fn content(scene: &Scene) -> anyhow::Result<Option<Vec<u8>>> {
    let transaction = &scene.transaction;
    if transaction.queue_id.is_none() {
        return Ok(None);
    }
    let mut content = transaction.header.to_bytes().to_vec();
    let mut offset = 0;
    loop {
        let piece = transaction.body.read(offset, PIECE).await.context("can't read the body")?;
        if piece.is_empty() {
            return Ok(Some(content));
        }
        offset += piece.len() as u64;
        content.extend_from_slice(&piece);
    }
}

fn changes(
    fixture: &Fixture,
    before: &Scene,
    after: &Scene,
    refused: &[String],
    content: Option<&[u8]>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let (old, new) = (&before.transaction, &after.transaction);
    if let Some(content) = content {
        lines.extend(header_changes(&before.header, &new.header));
        let body = &content[new.header.len().min(content.len())..];
        if body != &before.body[..] {
            let hash: String = Sha256::digest(body).iter().take(8).map(|octet| format!("{octet:02x}")).collect();
            lines.push(format!("body: {} octets, sha256 {hash}…", body.len()));
        }
    }
    if old.envelope.reverse_path != new.envelope.reverse_path {
        lines.push(format!("from: {}", new.envelope.reverse_path));
    }
    let to: Vec<&str> = new.envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    let taken: Vec<&str> =
        fixture.envelope.to.iter().map(String::as_str).filter(|to| !refused.iter().any(|one| one == to)).collect();
    if to != taken && (content.is_some() || !to.is_empty()) {
        lines.push(format!("to: {}", to.join(", ")));
    }
    if let Some(zone) = new.zone.as_deref().filter(|zone| old.zone.as_deref() != Some(zone)) {
        lines.push(format!("zone: {zone}"));
    }
    lines.extend(new.delay.map(|delay| format!("delay: {}", span(delay))));
    lines.extend(attribute_changes(&old.attributes, &new.attributes));
    let mut routes: Vec<String> = after
        .routing
        .iter()
        .flat_map(|routing| &routing.recipients)
        .filter_map(|routed| {
            let zone = new.zone.as_deref().unwrap_or(&fixture.server.claimed);
            changed_route(routed, zone)
        })
        .collect();
    routes.sort();
    lines.extend(routes);
    lines.extend(attempt_changes(before, after));
    lines
}

/// Fields that went, got another value or came. Fields of one name are compared in order.
fn header_changes(before: &HeaderBlock, after: &HeaderBlock) -> Vec<String> {
    type Named = BTreeMap<String, Vec<(usize, String)>>;
    let read = |block: &HeaderBlock| {
        let mut fields = Named::new();
        for (index, field) in block.fields().enumerate() {
            let name = String::from_utf8_lossy(field.name()).into_owned();
            let line = (index, format!("{name}: {}", field.value()));
            fields.entry(name.to_ascii_lowercase()).or_default().push(line);
        }
        fields
    };
    let (mut old, mut new) = (read(before), read(after));
    let (mut removed, mut changed, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for (name, fields) in &mut new {
        let mut left = old.remove(name).unwrap_or_default();
        let value = |line: &str| line.split_once(':').map(|(_, value)| value.to_owned());
        fields.retain(|(_, line)| {
            let same = left.iter().position(|(_, other)| value(other) == value(line));
            same.map(|index| left.remove(index)).is_none()
        });
        let pairs = left.len().min(fields.len());
        changed.extend(fields.drain(..pairs));
        added.append(fields);
        removed.extend(left.drain(pairs..));
    }
    removed.extend(old.into_values().flatten());
    let lines = |what: &str, mut fields: Vec<(usize, String)>| {
        fields.sort();
        fields.into_iter().map(|(_, field)| format!("header {what}: {field}")).collect::<Vec<_>>()
    };
    [lines("removed", removed), lines("changed", changed), lines("added", added)].concat()
}

fn attribute_changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match new.get(name) {
        None => Some(format!("attribute {name} removed")),
        Some(value) if old.get(name) != Some(value) => Some(format!("attribute {name}: {value}")),
        Some(_) => None,
    };
    names.into_iter().filter_map(line).collect()
}

/// What a plugin chose for a recipient; none if it is as the zone has it.
fn changed_route(routed: &Routed, zone: &str) -> Option<String> {
    let destination = &*routed.queue.destination;
    let is_own = destination == routed.address.domain().to_lowercase();
    let chosen = [
        ("zone", (&*routed.queue.zone != zone).then(|| routed.queue.zone.to_string())),
        ("next_hop", (!is_own).then(|| destination.strip_prefix("via:").unwrap_or(destination).to_owned())),
        ("pool", routed.pool.as_deref().map(str::to_owned)),
        ("delay", routed.delay.map(span)),
        ("hold", routed.hold.as_deref().map(str::to_owned)),
    ];
    let any = chosen.iter().any(|(_, value)| value.is_some());
    any.then(|| route_line(routed.address.as_str(), chosen))
}

fn route_line(address: &str, chosen: [(&str, Option<String>); 5]) -> String {
    let mut line = format!("route <{address}>:");
    for (key, value) in chosen {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    line
}

fn attempt_changes(before: &Scene, after: &Scene) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(old), Some(new)) = (&before.delivery, &after.delivery) {
        let chosen = |hop: &Arc<str>| format!("delivery next_hop: {}", hop.strip_prefix("via:").unwrap_or(hop));
        lines.extend(new.redirected.iter().map(chosen));
        if old.sources != new.sources {
            lines.push(format!("delivery sources: {}", listed(&new.sources)));
        }
        if old.tls() != new.tls() {
            lines.push(format!("delivery tls: {}", new.tls().name()));
        }
        let top = HeaderBlock::parse(&new.top.clone().into());
        let field = |field: &postern_core::message::Field| {
            format!("delivery top: {}: {}", String::from_utf8_lossy(field.name()), field.value())
        };
        lines.extend(top.fields().map(field));
    }
    if let (Some(old), Some(new)) = (&before.failures, &after.failures) {
        let mut failures = Vec::new();
        for (old, new) in old.failed.iter().zip(&new.failed).filter(|(old, new)| old != new) {
            let silent = new.suppress_dsn && new.action != FailureAction::Defer;
            let dsn = if silent { " without DSN" } else { "" };
            let status = if old.status == new.status { String::new() } else { format!(" {}", new.status) };
            failures.push(format!("failure <{}>: {}{status}{dsn}", new.recipient.as_str(), new.action.name()));
        }
        failures.sort();
        lines.extend(failures);
    }
    lines
}

fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn listed(items: &[std::net::IpAddr]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_paired_by_name() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let block = |text: &str| HeaderBlock::parse(&text.replace('|', "\r\n").into_bytes().into());
            assert_eq!(header_changes(&block(before), &block(after)), expected, "{before} -> {after}");
        };
        check("A: 1|B: 2|", "B: 2|A: 1|", &[]);
        check("A: 1|", "a: 1|", &[]);
        check("A: 1|B: 2|", "B: 3|C: 4|", &["header removed: A: 1", "header changed: B: 3", "header added: C: 4"]);
        check("A: 1|A: 2|A: 3|", "A: 2|", &["header removed: A: 1", "header removed: A: 3"]);
        check("A: 1|", "A: 0|A: 1|", &["header added: A: 0"]);
        check("A: 1|A: 2|", "A: 3|A: 2|A: 4|", &["header changed: A: 3", "header added: A: 4"]);
    }

    /// As a plugin would change them: the hooks themselves are tested with plugins.
    #[test]
    fn changes_of_attempts_are_told_in_the_words_of_expectations() {
        let fixture: Fixture = toml::from_str(
            r#"
            [delivery]
            sources = ["192.0.2.10", "192.0.2.11"]
            [[failure]]
            to = "b@x.example"
            action = "bounce"
            reply = "550 5.1.1 No such user"
            [[failure]]
            to = "a@x.example"
            action = "bounce"
            [[failure]]
            to = "same@x.example"
            action = "defer"
            [expect]
            failures = { "a@x.example" = "defer", "b@x.example" = "bounce without DSN" }
            [expect.delivery]
            next_hop = "192.0.2.25:26"
            sources = ["192.0.2.11"]
            tls = "require"
            top = ["X-Attempt: 1"]
            "#,
        )
        .unwrap();
        let hooks = [HookPoint::DeliveryBefore, HookPoint::Bounce];
        let (before, calls) = Scene::new(&fixture, &hooks).unwrap();
        assert_eq!(calls.iter().map(|call| call.hook).collect::<Vec<_>>(), hooks);
        let mut after = before.clone();
        assert_eq!(changes(&fixture, &before, &after, &[], None), [""; 0]);
        let delivery = after.delivery.as_mut().unwrap();
        delivery.redirected = Some("via:192.0.2.25:26".into());
        delivery.sources.remove(0);
        delivery.chosen_tls = Some(postern_core::zone::TlsMode::Require);
        delivery.top = b"X-Attempt: 1\r\n".to_vec();
        let failed = &mut after.failures.as_mut().unwrap().failed;
        failed[0].suppress_dsn = true;
        failed[1].action = FailureAction::Defer;
        let (verdicts, expected) = expected(&fixture, &hooks).unwrap();
        assert_eq!(changes(&fixture, &before, &after, &[], None), expected);
        assert_eq!(verdicts, ["delivery-before: go", "bounce: ok"]);
    }
}
