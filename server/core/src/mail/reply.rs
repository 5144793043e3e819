//! SMTP replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463).

use std::fmt;

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl EnhancedCode {
    /// Reads a code of class 2, 4 or 5 such as `5.1.1` (the whole text).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let fits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let mut parts = text.split('.');
        let class = number(parts.next()?)?;
        let code = Self(u8::try_from(class).ok()?, number(parts.next()?)?, number(parts.next()?)?);
        (matches!(code.0, 2 | 4 | 5) && parts.next().is_none()).then_some(code)
    }
}

/// One reply: code, enhanced code and text. Lines of the text are joined by `\n`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// RFC 2034: only 2yz, 4yz and 5yz replies have one.
    pub enhanced: Option<EnhancedCode>,
    /// Without code and enhanced code; several lines are separated by `\n`.
    pub text: String,
}

impl Reply {
    /// A reply with an enhanced code.
    #[must_use]
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without an enhanced code (greeting, EHLO, 354).
    #[must_use]
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// 2yz?
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz?
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it goes over the wire: each line with code and enhanced code, ended by CRLF. A CR or
    /// another control character in the text is written as a space.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            // Writing to a Vec does not fail.
            let _ = write!(out, "{}{mark}", self.code);
            if let Some(enhanced) = self.enhanced {
                let _ = write!(out, "{enhanced} ");
            }
            for c in line.chars() {
                let shown = if c.is_control() { ' ' } else { c };
                let _ = write!(out, "{shown}");
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    /// On one line: `550 5.1.1 No such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n') {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_wire() {
        let mut out = Vec::new();
        Reply::new(550, EnhancedCode(5, 1, 1), "no\nsuch\ruser").write_to(&mut out);
        assert_eq!(out, b"550-5.1.1 no\r\n550 5.1.1 such user\r\n");
        assert_eq!(Reply::plain(220, "hi").to_string(), "220 hi");
    }

    #[test]
    fn enhanced_codes() {
        assert_eq!(EnhancedCode::parse("5.1.1"), Some(EnhancedCode(5, 1, 1)));
        assert_eq!(EnhancedCode::parse("4.7.650"), Some(EnhancedCode(4, 7, 650)));
        for bad in ["3.1.1", "5.1", "5.1.1.1", "5..1", "5.1.+1", "5.1.1000", ""] {
            assert_eq!(EnhancedCode::parse(bad), None, "{bad}");
        }
    }
}
