//! What the host refuses, in its words.

/// What the host's functions give: errors are `WORD: text`.
pub(crate) type HostResult<T = ()> = std::result::Result<T, String>;

/// Header block.
pub(crate) const MAX_HEADER: usize = 1 << 20;
/// Fields that `delivery.prepend-header` adds.
pub(crate) const MAX_PREPENDED: usize = 64 << 10;
/// Body of an answer of the hook `http`.
pub(crate) const MAX_ANSWER: usize = 1 << 20;
/// Header fields of an answer of the hook `http`, and their octets.
pub(crate) const MAX_FIELDS: usize = 64;
pub(crate) const MAX_FIELD_OCTETS: usize = 16 << 10;
/// Body of an answer to a request.
pub(crate) const MAX_RESPONSE: usize = 4 << 20;
/// A part as text.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// One piece of anything that is read.
pub(crate) const MAX_PIECE: u32 = 256 << 10;
/// Recipients of a message.
pub(crate) const MAX_RECIPIENTS: usize = 10_000;
/// Edits of a message in one call.
pub(crate) const MAX_EDITS: u32 = 10_000;
/// Notes in a session or on a message, and octets of one.
const MAX_NOTES: usize = 128;
const MAX_NOTE: usize = 4 << 10;
/// Fields of an HTTP answer that plugins do not write.
const OF_THE_SERVER: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// 30 days in milliseconds.
const MAX_DELAY: u64 = 30 * 24 * 3600 * 1000;

/// An error as the host writes it.
pub(crate) fn error<T>(word: &str, text: &str) -> HostResult<T> {
    Err(format!("{word}: {text}"))
}

pub(crate) fn header_name(name: &str) -> HostResult {
    if !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
        return Ok(());
    }
    error("bad-name", "a header field name is printable ASCII without colon or space")
}

/// Of an HTTP answer; some fields are the server's to say.
pub(crate) fn http_name(name: &str) -> HostResult {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return error("bad-name", "the name of an HTTP field is letters, digits and !#$%&'*+-.^_`|~");
    }
    if OF_THE_SERVER.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return error("bad-name", &format!("{} is the server's to say", name.to_ascii_lowercase()));
    }
    Ok(())
}

pub(crate) fn header_value(value: &str) -> HostResult {
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return error("bad-value", "a header value has no control characters");
    }
    Ok(())
}

/// Names of zones, pools, attributes, metrics.
pub(crate) fn name(name: &str) -> HostResult {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(ok) {
        return Ok(());
    }
    error("bad-name", "a name is 1 to 64 of a-z, A-Z, 0-9, dot, dash, underscore")
}

/// A text that is shown: a reason, a note.
pub(crate) fn line(text: &str) -> HostResult {
    if text.contains(char::is_control) { error("bad-value", "it contains a control character") } else { Ok(()) }
}

pub(crate) fn delay(milliseconds: u64) -> HostResult {
    if milliseconds > MAX_DELAY { error("too-large", "a delay is 30 days at most") } else { Ok(()) }
}

/// Far simpler than the host's.
pub(crate) fn address(text: &str) -> HostResult {
    let ok = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>');
    if ok && text.len() <= 254 && !text.contains(forbidden) {
        return Ok(());
    }
    error("bad-address", "not a mailbox")
}

/// `host`, `host:port`, `[192.0.2.1]:25`, `[2001:db8::1]:25`; the port is added if there is none.
pub(crate) fn next_hop(text: &str) -> HostResult<String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, rest)) if ip.parse::<std::net::IpAddr>().is_ok() => (format!("[{ip}]"), rest),
        Some(_) => return error("bad-address", "not an IP address in brackets"),
        None => {
            let at = text.find(':').unwrap_or(text.len());
            (text[..at].to_owned(), &text[at..])
        }
    };
    let in_host = |b: u8| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b);
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None if port.is_empty() => Some(25_u16),
        None => None,
    };
    match port {
        Some(port) if !host.is_empty() && host.bytes().all(in_host) => Ok(format!("{host}:{port}")),
        _ => error("bad-address", "not a host, host:port, [ip] or [ip]:port"),
    }
}

/// RFC 5321 section 2.4: domains compare without case, local parts with it.
pub(crate) fn same(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((a, in_a)), Some((b, in_b))) => a == b && in_a.eq_ignore_ascii_case(in_b),
        _ => a == b,
    }
}

/// Sets or removes a note.
pub(crate) fn set_note(
    notes: &mut std::collections::BTreeMap<String, String>,
    key: &str,
    value: Option<&str>,
) -> HostResult {
    name(key)?;
    let Some(value) = value else {
        notes.remove(key);
        return Ok(());
    };
    line(value)?;
    if value.len() > MAX_NOTE {
        return error("too-large", "an attribute has 4 KiB at most");
    }
    if notes.len() == MAX_NOTES && !notes.contains_key(key) {
        return error("too-large", "there are 128 attributes at most");
    }
    notes.insert(key.into(), value.into());
    Ok(())
}

/// At most `max` octets from `offset`.
pub(crate) fn piece(content: &[u8], offset: u64, max: u32) -> Vec<u8> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let end = start.saturating_add(max.min(MAX_PIECE) as usize).min(content.len());
    content[start..end].to_vec()
}

/// As an index, or `not-found`.
pub(crate) fn at<T>(items: &mut [T], index: u32) -> HostResult<&mut T> {
    items.get_mut(index as usize).ok_or_else(|| format!("not-found: there is nothing at {index}"))
}

pub(crate) fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(next_hop(text).ok().as_deref(), expected, "{text}");
        check("mx.example", Some("mx.example:25"));
        check("mx.example:2525", Some("mx.example:2525"));
        check("[192.0.2.1]", Some("[192.0.2.1]:25"));
        check("[2001:db8::1]:26", Some("[2001:db8::1]:26"));
        for bad in ["", ":25", "a b", "mx.example:", "mx.example:0", "mx.example:99999", "[x]:25", "[192.0.2.1]25"] {
            check(bad, None);
        }
    }
}
