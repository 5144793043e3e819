//! Header values with placeholders: `{queue-id}`, `{header:Subject}`. `{{` and `}}` are braces.

use postern_plugin_sdk::prelude::*;

/// A value, read once when the plugin starts.
#[derive(Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    QueueId,
    ReversePath,
    Recipient,
    Header(String),
    Listener,
    Helo,
    Peer,
    User,
}

/// What the error about an unknown placeholder lists.
const KNOWN: &str =
    "{queue-id}, {reverse-path}, {recipient}, {header:NAME}, {listener}, {helo}, {peer}, {user}; {{ is a brace";

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(Error::new(format!("a header value must not contain {c:?}")));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').filter(|_| brace == "{").ok_or_else(|| {
                Error::new(format!("`{brace}` without its other half; write `{brace}{brace}` for a brace"))
            })?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::parse(name)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// The value for one message; none if there are placeholders and not one of them had a value.
    pub fn render(&self, session: &Session, envelope: &Envelope, message: &Message) -> Option<String> {
        let mut value = String::new();
        let (mut asked, mut found) = (false, false);
        for piece in &self.0 {
            let text = match piece {
                Piece::Text(text) => {
                    value.push_str(text);
                    continue;
                }
                Piece::QueueId => message.id(),
                Piece::ReversePath => envelope.reverse_path(),
                // With several, a header would tell each recipient about the others.
                Piece::Recipient if envelope.recipient_count() == 1 => envelope.recipient(0).unwrap_or_default(),
                Piece::Recipient => String::new(),
                Piece::Header(name) => message.header(name).unwrap_or_default(),
                Piece::Listener => session.listener(),
                Piece::Helo => session.helo(),
                Piece::Peer => session.peer_address(),
                Piece::User => session.user().unwrap_or_default(),
            };
            asked = true;
            found |= !text.is_empty();
            value.push_str(&text);
        }
        (found || !asked).then_some(value)
    }
}

impl Piece {
    fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "queue-id" => Self::QueueId,
            "reverse-path" => Self::ReversePath,
            "recipient" => Self::Recipient,
            "listener" => Self::Listener,
            "helo" => Self::Helo,
            "peer" => Self::Peer,
            "user" => Self::User,
            _ => match name.strip_prefix("header:") {
                Some(header) => Self::Header(crate::header_name(header)?),
                None => return Err(Error::new(format!("unknown placeholder {{{name}}}; there are {KNOWN}"))),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pieces_and_braces() {
        let text = |text: &str| Piece::Text(text.into());
        let check = |template: &str, expected: Vec<Piece>| {
            assert_eq!(Template::parse(template).unwrap(), Template(expected), "{template}");
        };
        check("", vec![]);
        check("plain", vec![text("plain")]);
        check("{user}", vec![Piece::User]);
        check("a {queue-id} b", vec![text("a "), Piece::QueueId, text(" b")]);
        check("{{user}}", vec![text("{user}")]);
        check("{header:X-A}{helo}", vec![Piece::Header("X-A".into()), Piece::Helo]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (template, part) in [
            ("{nope}", "unknown placeholder {nope}"),
            ("{}", "unknown placeholder {}"),
            ("{user", "`{` without"),
            ("user}", "`}` without"),
            ("{header:}", "not a header field name"),
            ("{header:A B}", "not a header field name"),
            ("a\r\nb", "must not contain '\\r'"),
        ] {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
    }
}
