//! Decoded octets of a text part to UTF-8 and back, by the name of their charset.

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Most octets that are turned into text at a time.
pub const MAX_TEXT: usize = 4 << 20;

/// Text, and how sure it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// In UTF-8, line ends as they were, without a byte order mark.
    pub text: String,
    /// The charset it was read in, by its name in the WHATWG Encoding Standard.
    pub charset: &'static str,
    /// The charset is a guess: none was named, or one that is not known.
    pub is_guess: bool,
    /// Some octets meant nothing in the charset and are U+FFFD now.
    pub is_lossy: bool,
}

/// Why octets are not turned into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharsetError {
    /// More than [`MAX_TEXT`].
    #[error("text is read up to 4 MiB at a time")]
    TooLong,
}

/// Reads `octets` in the charset called `label`.
///
/// Without a label, or with one that is not known, they are UTF-8 if they can be and windows-1252 if not. The same goes
/// for `us-ascii`, under which 8-bit text is sent in either. A byte order mark outweighs the label.
///
/// # Errors
/// `octets` are more than [`MAX_TEXT`].
pub fn to_text(octets: &[u8], label: Option<&str>) -> Result<Text, CharsetError> {
    if octets.len() > MAX_TEXT {
        return Err(CharsetError::TooLong);
    }
    let label = label.map(|label| label.trim().trim_matches('"')).filter(|label| !label.is_empty());
    let known = label.and_then(|label| Encoding::for_label_no_replacement(label.as_bytes()));
    let is_ascii = label.is_some_and(|label| ["us-ascii", "ascii"].iter().any(|a| label.eq_ignore_ascii_case(a)));
    let guess = if std::str::from_utf8(octets).is_ok() { UTF_8 } else { WINDOWS_1252 };
    let is_guess = known.is_none() || is_ascii && !octets.is_ascii();
    let encoding = known.filter(|_| !is_ascii).unwrap_or(guess);
    let (text, encoding, is_lossy) = encoding.decode(octets);
    Ok(Text { text: text.into_owned(), charset: encoding.name(), is_guess, is_lossy })
}

/// A charset by which text can be added to a part, or all of it be turned into UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// By its name.
    Named(&'static Encoding),
    /// US-ASCII, or none is said: 8-bit text is UTF-8 if it can be, and windows-1252 if not.
    Ascii,
    /// Its name is not known.
    Unknown,
}

impl Charset {
    /// The charset called `label`; none is US-ASCII (RFC 2045 section 5.2).
    #[must_use]
    pub fn new(label: Option<&str>) -> Self {
        let label = label.map(|label| label.trim().trim_matches('"')).filter(|label| !label.is_empty());
        match label {
            None => Self::Ascii,
            Some(label) if ["us-ascii", "ascii"].iter().any(|a| label.eq_ignore_ascii_case(a)) => Self::Ascii,
            Some(label) => Encoding::for_label_no_replacement(label.as_bytes()).map_or(Self::Unknown, Self::Named),
        }
    }

    /// `text` in this charset; none if the charset does not have all of it, or is not written any more (UTF-16).
    #[must_use]
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Ascii | Self::Unknown => text.is_ascii().then(|| text.as_bytes().to_vec()),
            Self::Named(encoding) if encoding.output_encoding() != encoding => None,
            Self::Named(encoding) => {
                let (octets, _, is_lossy) = encoding.encode(text);
                (!is_lossy).then(|| octets.into_owned())
            }
        }
    }

    /// Are the line ends of text in it other octets than CR and LF, as in UTF-16?
    #[must_use]
    pub fn is_wide(self) -> bool {
        matches!(self, Self::Named(encoding) if encoding == UTF_16LE || encoding == UTF_16BE)
    }
}

/// Turns octets of a charset into UTF-8, piece by piece. What means nothing in the charset becomes U+FFFD, a byte order
/// mark is dropped.
pub struct ToUtf8 {
    decoder: Decoder,
    is_lossy: bool,
}

impl ToUtf8 {
    /// Of this charset: of UTF-8 for [`Charset::Ascii`] if `is_utf8`, of windows-1252 if not. None of an unknown one.
    #[must_use]
    pub fn new(charset: Charset, is_utf8: bool) -> Option<Self> {
        let encoding = match charset {
            Charset::Named(encoding) => encoding,
            Charset::Ascii if is_utf8 => UTF_8,
            Charset::Ascii => WINDOWS_1252,
            Charset::Unknown => return None,
        };
        Some(Self { decoder: encoding.new_decoder(), is_lossy: false })
    }

    /// Takes the next piece, the last one if `is_last`, and appends what it says.
    pub fn push(&mut self, mut piece: &[u8], is_last: bool, out: &mut String) {
        loop {
            out.reserve(piece.len() + 16);
            let (result, read, is_lossy) = self.decoder.decode_to_string(piece, out, is_last);
            self.is_lossy |= is_lossy;
            piece = &piece[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }

    /// Has anything meant nothing so far?
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }
}
