//! Decoded octets of a text part to UTF-8, by the name of their charset.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

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
