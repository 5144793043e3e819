//! Puts a footer under the texts of messages. The README says where.

mod place;

use postern_plugin_sdk::prelude::*;

/// More than this no text can be fetched at once.
const MAX_TEXT: u64 = 1 << 20;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    html: String,
    #[serde(default)]
    text: String,
    #[serde(default = "max_size")]
    max_size: Size,
    only_with: Option<HeaderName>,
    not_with: Option<HeaderName>,
}

fn max_size() -> Size {
    Size(MAX_TEXT)
}

/// The plugin: its config as used.
#[derive(Debug)]
pub struct HtmlFooter {
    /// Empty for none, as the next one.
    html: String,
    text: String,
    max_size: u64,
    only_with: Option<HeaderName>,
    not_with: Option<HeaderName>,
}

impl Plugin for HtmlFooter {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        let (html, text) = (crlf(config.html.trim()), crlf(config.text.trim_matches(['\r', '\n'])));
        if html.is_empty() && text.trim().is_empty() {
            return Err(Error::new("html, text: at least one of them is needed"));
        }
        if config.max_size.0 > MAX_TEXT {
            return Err(Error::new("max_size: \"1MiB\" at most"));
        }
        Ok(Self { html, text, max_size: config.max_size.0, only_with: config.only_with, not_with: config.not_with })
    }
}

/// With the line ends of mail.
fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Html,
    Plain,
}

impl Kind {
    /// Of a part that people read as the message, and that may be edited.
    fn of(part: &Part) -> Option<Self> {
        let kind = match part.content_type().as_str() {
            "text/html" => Self::Html,
            "text/plain" => Self::Plain,
            _ => return None,
        };
        let is_file = part.is_attachment() || part.file_name().is_some();
        (!is_file && !part.is_sealed()).then_some(kind)
    }
}

impl HtmlFooter {
    fn footer(&self, kind: Kind) -> &str {
        match kind {
            Kind::Html => &self.html,
            Kind::Plain => &self.text,
        }
    }

    fn wants(&self, message: &Message) -> bool {
        let has = |name: &HeaderName| message.header(name.as_str()).is_some();
        self.only_with.as_ref().is_none_or(has) && !self.not_with.as_ref().is_some_and(has)
    }
}

impl RewritePart for HtmlFooter {
    fn select(&mut self, _: &Session, _: &Envelope, message: &Message, part: &Part) -> Result<bool> {
        let Some(kind) = Kind::of(part).filter(|kind| !self.footer(*kind).is_empty()) else { return Ok(false) };
        if !self.wants(message) {
            return Ok(false);
        }
        // The first of its kind: what follows is a list's footer, or text between pictures.
        let first = message.parts()?.into_iter().find(|other| Kind::of(other) == Some(kind));
        Ok(first.is_some_and(|first| first.section() == part.section()))
    }

    fn rewrite_part(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<()> {
        let Some(kind) = Kind::of(part) else { return Ok(()) };
        let text = match part.text() {
            Ok(text) if text.len() as u64 <= self.max_size => text,
            Err(error) if error.kind() != ErrorKind::TooLarge => return Err(error.into()),
            _ => {
                metrics::count("too_large", 1);
                log::warn(&format!("part {} has more than max_size: it gets no footer", part.section()));
                return Ok(());
            }
        };
        let with_footer = match kind {
            Kind::Html => place::into_html(&text, &self.html),
            Kind::Plain => place::under_text(&text, &self.text),
        };
        if let Some(text) = with_footer {
            part.set_text(&text).map_err(|e| Error::from(e).context(format!("part {}", part.section())))?;
            metrics::count("added", 1);
        }
        Ok(())
    }
}

export_plugin!(HtmlFooter: RewritePart);

#[cfg(test)]
mod tests;
