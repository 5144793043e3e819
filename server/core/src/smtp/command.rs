//! SMTP commands as a server reads them (RFC 5321 section 4.1.1), one line at a time.

use super::xclient::Xclient;
use crate::mail::{
    Address, AddressError, BodyType, EnvelopeId, Notify, OriginalRecipient, Recipient, Ret, ReversePath,
};
use crate::time::Timestamp;
use std::time::Duration;

/// A command line that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(String),
    /// HELO with the client's name.
    Helo(String),
    /// LHLO (RFC 2033) with the client's name.
    Lhlo(String),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// The mechanism's name.
        mechanism: String,
        /// The initial response, as it was sent: base64, or `=` for an empty one.
        initial: Option<String>,
    },
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Recipient),
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat {
        /// Octets of the chunk, which follow the line at once.
        octets: u64,
        /// The content is complete with it.
        last: bool,
    },
    /// XCLIENT.
    Xclient(Xclient),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
}

/// MAIL FROM with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The path between the angle brackets.
    pub reverse_path: ReversePath,
    /// SIZE (RFC 1870), in octets.
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461).
    pub envid: Option<EnvelopeId>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865).
    pub hold: Option<HoldRequest>,
}

/// When a client wants delivery to begin (RFC 4865).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldRequest {
    /// After this time.
    For(Duration),
    /// Then.
    Until(Timestamp),
}

impl HoldRequest {
    /// The parameter that asks for it.
    #[must_use]
    pub fn parameter(self) -> &'static str {
        match self {
            Self::For(_) => "HOLDFOR",
            Self::Until(_) => "HOLDUNTIL",
        }
    }

    /// The time, for a message that comes in at `now`.
    #[must_use]
    pub fn until(self, now: Timestamp) -> Timestamp {
        match self {
            Self::For(span) => now.after(span),
            Self::Until(time) => time,
        }
    }

    /// `future-release-integer`: 1 to 9 digits that don't begin with 0.
    fn seconds(value: &str) -> Option<Self> {
        let fits = value.len() <= 9 && !value.starts_with('0') && value.bytes().all(|b| b.is_ascii_digit());
        let seconds = value.parse().ok().filter(|_| fits)?;
        Some(Self::For(Duration::from_secs(seconds)))
    }

    /// `Internet-style-date-time-UTC`.
    fn date(value: &str) -> Option<Self> {
        let date = mail_parser::DateTime::parse_rfc3339(value).filter(|_| value.ends_with('Z'))?;
        let time = Timestamp(u64::try_from(date.to_timestamp()).ok()?.checked_mul(1000)?);
        // The parser takes a 30th of February for a day in March.
        let is_a_date = time.to_rfc3339().get(..19) == value.get(..19);
        is_a_date.then_some(Self::Until(time))
    }
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not a command of SMTP. 500.
    #[error("Command not recognized")]
    Unknown,
    /// Another protocol: the request line or a header field of HTTP. A browser can be made to send those to a port on
    /// loopback, with commands in the body; the session must end before it gets there.
    #[error("This is not an SMTP client")]
    Foreign,
    /// A command of SMTP that this server does not have. 502.
    #[error("Command not implemented")]
    NotImplemented,
    /// Arguments missing or malformed; the text is the syntax. 501.
    #[error("Syntax: {0}")]
    Syntax(&'static str),
    /// The reverse-path is not an address. 501 5.1.7.
    #[error("The sender address is not valid: {0}")]
    Sender(AddressError),
    /// The forward-path is not an address. 501 5.1.3.
    #[error("The recipient address is not valid: {0}")]
    Recipient(AddressError),
    /// A parameter is known and its value is not. 501 5.5.4.
    #[error("The value of {0} is not valid")]
    Value(&'static str),
    /// A parameter of no extension that was offered. 555 5.5.4.
    #[error("The parameter {0} is not supported")]
    Parameter(String),
    /// Non-ASCII where SMTPUTF8 was not asked for. 553 5.6.7.
    #[error("The address needs SMTPUTF8")]
    NeedsUtf8,
}

const MAIL_SYNTAX: &str = "MAIL FROM:<reverse-path> [parameters]";
const RCPT_SYNTAX: &str = "RCPT TO:<forward-path> [parameters]";

impl Command {
    /// Parses a command line without its line end. `smtputf8` says whether the transaction is one with SMTPUTF8
    /// (matters for RCPT only; MAIL brings the parameter along).
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn parse(line: &[u8], smtputf8: bool) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::Unknown)?;
        if text.chars().any(char::is_control) {
            return Err(CommandError::Unknown);
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let argument = rest.trim();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => client_name(argument, "EHLO domain").map(Self::Ehlo),
            "HELO" => client_name(argument, "HELO domain").map(Self::Helo),
            "LHLO" => client_name(argument, "LHLO domain").map(Self::Lhlo),
            "MAIL" => mail(argument),
            "RCPT" => rcpt(argument, smtputf8),
            "DATA" => bare(argument, Self::Data, "DATA"),
            "BDAT" => bdat(argument),
            "STARTTLS" => bare(argument, Self::StartTls, "STARTTLS"),
            "AUTH" => auth(argument),
            "XCLIENT" => {
                let syntax = CommandError::Syntax("XCLIENT attribute=value ...");
                Xclient::parse(argument).map(Self::Xclient).ok_or(syntax)
            }
            "RSET" => bare(argument, Self::Rset, "RSET"),
            "QUIT" => bare(argument, Self::Quit, "QUIT"),
            "NOOP" => Ok(Self::Noop),
            "VRFY" if argument.is_empty() => Err(CommandError::Syntax("VRFY string")),
            "VRFY" => Ok(Self::Vrfy),
            "HELP" => Ok(Self::Help),
            "EXPN" | "TURN" | "ETRN" | "ATRN" | "SEND" | "SOML" | "SAML" | "BURL" => Err(CommandError::NotImplemented),
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" | "PATCH" | "DELETE" | "TRACE" => {
                Err(CommandError::Foreign)
            }
            _ if verb.ends_with(':') => Err(CommandError::Foreign),
            _ => Err(CommandError::Unknown),
        }
    }
}

impl Command {
    /// Does it lead to no message?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(
            self,
            Self::Ehlo(_) | Self::Helo(_) | Self::Lhlo(_) | Self::Rset | Self::Noop | Self::Vrfy | Self::Help
        )
    }
}

fn bdat(argument: &str) -> Result<Command, CommandError> {
    let wrong = CommandError::Syntax("BDAT octets [LAST]");
    let (digits, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let is_number = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let last = match rest.trim_start() {
        "" => false,
        word if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(wrong),
    };
    match digits.parse() {
        Ok(octets) if is_number => Ok(Command::Bdat { octets, last }),
        _ => Err(wrong),
    }
}

fn bare(argument: &str, command: Command, syntax: &'static str) -> Result<Command, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Syntax(syntax)) }
}

fn auth(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(CommandError::Syntax("AUTH mechanism [initial-response]")),
    }
}

/// The name goes into Received and the log: characters that mean something there are refused, odd names are not.
fn client_name(argument: &str, syntax: &'static str) -> Result<String, CommandError> {
    if is_client_name(argument) { Ok(argument.to_owned()) } else { Err(CommandError::Syntax(syntax)) }
}

/// What a client may call itself: nothing that could end a line or a comment.
pub(super) fn is_client_name(name: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !name.is_empty() && name.len() <= 255 && name.chars().all(harmless)
}

/// Splits `FROM:<path> parameters` into path and parameters. A space after the colon is let pass, as Postfix does.
fn path<'a>(argument: &'a str, keyword: &str, syntax: &'static str) -> Result<(&'a str, &'a str), CommandError> {
    let wrong = CommandError::Syntax(syntax);
    let Some((word, rest)) = argument.split_once(':') else { return Err(wrong) };
    if !word.trim_end().eq_ignore_ascii_case(keyword) {
        return Err(wrong);
    }
    let Some(inside) = rest.trim_start().strip_prefix('<') else { return Err(wrong) };
    let Some(end) = end_of_path(inside) else { return Err(wrong) };
    let parameters = &inside[end + 1..];
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(wrong);
    }
    Ok((without_source_route(&inside[..end]), parameters))
}

/// Index of the `>` that ends the path: the first outside a quoted string.
fn end_of_path(inside: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// `@a,@b:user@c` is `user@c`: source routes are to be ignored (RFC 5321 appendix C).
fn without_source_route(path: &str) -> &str {
    if path.starts_with('@') { path.split_once(':').map_or(path, |(_, mailbox)| mailbox) } else { path }
}

fn mail(argument: &str) -> Result<Command, CommandError> {
    let (path, parameters) = path(argument, "FROM", MAIL_SYNTAX)?;
    let reverse_path = match path {
        "" => ReversePath::Null,
        path => ReversePath::Path(Address::parse(path).map_err(CommandError::Sender)?),
    };
    let mut mail = Mail {
        reverse_path,
        size: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        hold: None,
    };
    for (key, value) in pairs(parameters) {
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(digits)) if digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                mail.size = Some(digits.parse().map_err(|_| CommandError::Value("SIZE"))?);
            }
            ("SIZE", _) => return Err(CommandError::Value("SIZE")),
            ("BODY", Some(kind)) if kind.eq_ignore_ascii_case("7BIT") => mail.body = BodyType::SevenBit,
            ("BODY", Some(kind)) if kind.eq_ignore_ascii_case("8BITMIME") => mail.body = BodyType::EightBit,
            ("BODY", _) => return Err(CommandError::Value("BODY")),
            ("RET", value) => once(&mut mail.ret, "RET", value.and_then(Ret::parse))?,
            ("ENVID", value) => once(&mut mail.envid, "ENVID", value.and_then(EnvelopeId::parse))?,
            ("HOLDFOR", value) => once(&mut mail.hold, "HOLDFOR", value.and_then(HoldRequest::seconds))?,
            ("HOLDUNTIL", value) => once(&mut mail.hold, "HOLDUNTIL", value.and_then(HoldRequest::date))?,
            // Who wrote the message (RFC 4954 section 5): nothing is made of it.
            ("AUTH", Some(_)) => {}
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("SMTPUTF8", Some(_)) => return Err(CommandError::Value("SMTPUTF8")),
            _ => return Err(CommandError::Parameter(shortened(key))),
        }
    }
    match &mail.reverse_path {
        ReversePath::Path(address) if address.is_international() && !mail.smtputf8 => Err(CommandError::NeedsUtf8),
        _ => Ok(Command::Mail(mail)),
    }
}

fn rcpt(argument: &str, smtputf8: bool) -> Result<Command, CommandError> {
    let (path, parameters) = path(argument, "TO", RCPT_SYNTAX)?;
    let address = Address::parse(path).map_err(CommandError::Recipient)?;
    let mut recipient = Recipient::new(address);
    for (key, value) in pairs(parameters) {
        match key.to_ascii_uppercase().as_str() {
            "NOTIFY" => once(&mut recipient.notify, "NOTIFY", value.and_then(Notify::parse))?,
            "ORCPT" => {
                let original = value.and_then(|value| OriginalRecipient::parse(value, smtputf8));
                once(&mut recipient.orcpt, "ORCPT", original)?;
            }
            _ => return Err(CommandError::Parameter(shortened(key))),
        }
    }
    if recipient.address.is_international() && !smtputf8 {
        return Err(CommandError::NeedsUtf8);
    }
    Ok(Command::Rcpt(recipient))
}

/// The parameters of MAIL or RCPT, as key and value.
fn pairs(parameters: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let pair = |text| match str::split_once(text, '=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    parameters.split(' ').filter(|text| !text.is_empty()).map(pair)
}

/// Takes the value of a parameter that may be given once.
fn once<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), CommandError> {
    if slot.is_some() || value.is_none() {
        return Err(CommandError::Value(name));
    }
    *slot = value;
    Ok(())
}

/// What goes back to the client in an error text.
fn shortened(key: &str) -> String {
    key.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(line: &str) -> Result<String, CommandError> {
        Command::parse(line.as_bytes(), true).map(|command| match command {
            Command::Mail(mail) => mail.reverse_path.as_str().to_owned(),
            Command::Rcpt(recipient) => recipient.address.as_str().to_owned(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn paths() {
        let check = |line: &str, expected: &str| assert_eq!(path_of(line).as_deref(), Ok(expected), "{line}");
        check("MAIL FROM:<a@b.example>", "a@b.example");
        check("mail from: <a@b.example> size=10 BODY=8BITMIME", "a@b.example");
        check("MAIL FROM:<>", "");
        check("RCPT TO:<\"a> b\"@c.example>", "\"a> b\"@c.example");
        check("RCPT TO:<\"a@evil x\"@good.example>", "\"a@evil x\"@good.example");
        check("RCPT TO:<@r1.example,@r2.example:a@b.example>", "a@b.example");
        check("RCPT TO:<jõe@näide.ee>", "jõe@näide.ee");
    }

    #[test]
    fn parameters() {
        let line = b"MAIL FROM:<a@b> SIZE=1234 BODY=8BITMIME SMTPUTF8";
        let Ok(Command::Mail(mail)) = Command::parse(line, false) else { panic!("not MAIL") };
        assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(1234), BodyType::EightBit, true));
    }

    #[test]
    fn notifications() {
        let line = b"MAIL FROM:<a@b> ret=full ENVID=x+2By";
        let Ok(Command::Mail(mail)) = Command::parse(line, false) else { panic!("not MAIL") };
        assert_eq!((mail.ret, mail.envid.as_ref().map(EnvelopeId::as_str)), (Some(Ret::Full), Some("x+y")));
        let line = b"RCPT TO:<a@b> NOTIFY=success,delay ORCPT=rfc822;c@d";
        let Ok(Command::Rcpt(recipient)) = Command::parse(line, false) else { panic!("not RCPT") };
        assert_eq!(recipient.notify, Notify::parse("SUCCESS,DELAY"));
        assert_eq!(recipient.orcpt.unwrap().address(), "c@d");
        let check = |line: &str, name: &'static str| {
            assert_eq!(Command::parse(line.as_bytes(), false), Err(CommandError::Value(name)), "{line}");
        };
        check("MAIL FROM:<a@b> HOLDFOR", "HOLDFOR");
        check("MAIL FROM:<a@b> HOLDFOR=0", "HOLDFOR");
        check("MAIL FROM:<a@b> HOLDFOR=1000000000", "HOLDFOR");
        check("MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2027-01-01T00:00:00Z", "HOLDUNTIL");
        check("MAIL FROM:<a@b> HOLDUNTIL=2027-01-01", "HOLDUNTIL");
        check("MAIL FROM:<a@b> HOLDUNTIL=2027-02-30T00:00:00Z", "HOLDUNTIL");
        check("MAIL FROM:<a@b> HOLDUNTIL=2027-01-01T00:00:00+01:00", "HOLDUNTIL");
        check("MAIL FROM:<a@b> RET", "RET");
        check("MAIL FROM:<a@b> RET=SOME", "RET");
        check("MAIL FROM:<a@b> RET=HDRS RET=HDRS", "RET");
        check("MAIL FROM:<a@b> ENVID=", "ENVID");
        check("MAIL FROM:<a@b> ENVID=a ENVID=b", "ENVID");
        check("MAIL FROM:<a@b> ENVID=a+0D+0ARCPT", "ENVID");
        check("RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "NOTIFY");
        check("RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", "NOTIFY");
        check("RCPT TO:<a@b> ORCPT=rfc822;a+0D+0Ab@c", "ORCPT");
        check("RCPT TO:<a@b> ORCPT=rfc822;a@b ORCPT=rfc822;a@b", "ORCPT");
    }

    #[test]
    fn later_delivery() {
        let hold = |line: &[u8]| match Command::parse(line, false) {
            Ok(Command::Mail(mail)) => mail.hold,
            other => panic!("{other:?}"),
        };
        let for_a_day = hold(b"MAIL FROM:<a@b> HOLDFOR=86400").unwrap();
        assert_eq!(for_a_day.until(Timestamp(5)), Timestamp(86_400_005));
        let until = hold(b"MAIL FROM:<a@b> holduntil=2027-01-15T08:00:00Z").unwrap();
        assert_eq!(until.until(Timestamp(5)), Timestamp(1_800_000_000_000));
    }

    #[test]
    fn chunks() {
        let check = |line: &str, octets, last| {
            assert_eq!(Command::parse(line.as_bytes(), false), Ok(Command::Bdat { octets, last }), "{line}");
        };
        check("BDAT 0", 0, false);
        check("bdat 1000 last", 1000, true);
        check("BDAT 18446744073709551615  LAST", u64::MAX, true);
        for wrong in ["BDAT", "BDAT LAST", "BDAT -1", "BDAT +1", "BDAT 1 FIRST", "BDAT 1 LAST 2", "BDAT 1LAST"] {
            let expected = Err(CommandError::Syntax("BDAT octets [LAST]"));
            assert_eq!(Command::parse(wrong.as_bytes(), false), expected, "{wrong}");
        }
        let too_large = Command::parse(b"BDAT 18446744073709551616 LAST", false);
        assert_eq!(too_large, Err(CommandError::Syntax("BDAT octets [LAST]")));
    }

    #[test]
    fn refusals() {
        use CommandError::*;
        let check = |line: &str, expected: CommandError| {
            assert_eq!(Command::parse(line.as_bytes(), false), Err(expected), "{line}");
        };
        check("", Unknown);
        check("GET / HTTP/1.1", Foreign);
        check("Host: localhost", Foreign);
        check("EHLO jõe", Syntax("EHLO domain"));
        check("MAIL FROM:<a@b>\rRCPT TO:<v@w>", Unknown);
        check("STARTTLS now", Syntax("STARTTLS"));
        check("AUTH", Syntax("AUTH mechanism [initial-response]"));
        check("AUTH PLAIN a b", Syntax("AUTH mechanism [initial-response]"));
        check("BURL x", NotImplemented);
        check("DATA now", Syntax("DATA"));
        check("EHLO", Syntax("EHLO domain"));
        check("EHLO a b", Syntax("EHLO domain"));
        check("EHLO (x)", Syntax("EHLO domain"));
        check("MAIL TO:<a@b>", Syntax(MAIL_SYNTAX));
        check("MAIL FROM:a@b", Syntax(MAIL_SYNTAX));
        check("MAIL FROM:<a@b", Syntax(MAIL_SYNTAX));
        check("MAIL FROM:<a@b>SIZE=1", Syntax(MAIL_SYNTAX));
        check("MAIL FROM:<a>", Sender(AddressError::NoDomain));
        check("MAIL FROM:<a@b> SIZE=-1", Value("SIZE"));
        check("MAIL FROM:<a@b> SIZE=99999999999999999999", Value("SIZE"));
        check("MAIL FROM:<a@b> BODY=BINARYMIME", Value("BODY"));
        check("MAIL FROM:<a@b> FOO=1", Parameter("FOO".into()));
        check("MAIL FROM:<jõe@b>", NeedsUtf8);
        check("RCPT TO:<>", Recipient(AddressError::NoDomain));
        check("RCPT TO:<a@b> SIZE=1", Parameter("SIZE".into()));
        check("RCPT TO:<jõe@b>", NeedsUtf8);
    }
}
