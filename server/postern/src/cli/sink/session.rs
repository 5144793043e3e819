//! One session of the sink.

use super::{MAX_LINE, ScriptedReply, SinkOptions, Tally, When};
use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A client that says nothing for so long is cut.
const IDLE: Duration = Duration::from_secs(300);
/// At most so much of a message is printed.
const MAX_PRINTED: usize = 1 << 20;

pub(super) async fn run(stream: TcpStream, options: &SinkOptions, tally: &Tally) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = BufReader::with_capacity(64 * 1024, stream);
    let mut session =
        Session { stream, options, tally, out: Vec::new(), helo: String::new(), from: None, to: Vec::new() };
    sleep(Duration::from_millis(options.greeting_delay)).await;
    session.reply_or(When::Greeting, None, "220 sink ESMTP");
    loop {
        // Replies to pipelined commands go out together, once no command is left in the buffer.
        if session.stream.buffer().is_empty() {
            session.flush().await?;
        }
        let Some(line) = session.line().await? else { return Ok(()) };
        if !session.command(&line).await? {
            return session.flush().await;
        }
    }
}

struct Session<'a> {
    stream: BufReader<TcpStream>,
    options: &'a SinkOptions,
    tally: &'a Tally,
    out: Vec<u8>,
    helo: String,
    from: Option<String>,
    to: Vec<String>,
}

impl Session<'_> {
    /// Does one command; false ends the session.
    async fn command(&mut self, line: &str) -> io::Result<bool> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo(rest),
            "HELO" => {
                self.helo = rest.to_owned();
                self.reply_or(When::Ehlo, None, "250 sink");
            }
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" if self.to.is_empty() => self.reply("503 5.5.1 no recipients"),
            "DATA" => {
                if self.reply_or(When::Data, None, "354 go on") {
                    return self.data().await;
                }
            }
            "RSET" => {
                self.reset();
                self.reply("250 2.0.0 reset");
            }
            "NOOP" => self.reply("250 2.0.0 ok"),
            "QUIT" => {
                self.reply("221 2.0.0 bye");
                return Ok(false);
            }
            _ => self.reply("500 5.5.2 unknown command"),
        }
        Ok(true)
    }

    fn ehlo(&mut self, name: &str) {
        self.helo = name.to_owned();
        self.reset();
        let options = self.options;
        if let Some(scripted) = self.scripted(When::Ehlo, None) {
            return self.reply(&scripted);
        }
        self.reply("250-sink");
        for (offered, keyword) in [
            (!options.no_pipelining, "PIPELINING"),
            (!options.no_8bitmime, "8BITMIME"),
            (!options.no_smtputf8, "SMTPUTF8"),
            (true, "ENHANCEDSTATUSCODES"),
        ] {
            if offered {
                self.reply(&format!("250-{keyword}"));
            }
        }
        self.reply(&format!("250 SIZE {}", options.max_size));
    }

    fn mail(&mut self, rest: &str) {
        let Some(path) = path(rest, "FROM:") else { return self.reply("501 5.5.4 MAIL FROM:<path>") };
        if self.from.is_some() {
            return self.reply("503 5.5.1 in a transaction already");
        }
        if self.reply_or(When::Mail, None, "250 2.1.0 ok") {
            self.from = Some(path.to_owned());
        }
    }

    fn rcpt(&mut self, rest: &str) {
        let Some(path) = path(rest, "TO:") else { return self.reply("501 5.5.4 RCPT TO:<path>") };
        if self.from.is_none() {
            return self.reply("503 5.5.1 MAIL first");
        }
        if self.to.len() >= self.options.max_recipients {
            return self.reply("452 4.5.3 too many recipients");
        }
        if self.reply_or(When::Rcpt, Some(path), "250 2.1.5 ok") {
            self.to.push(path.to_owned());
        }
    }

    /// Takes content up to the final dot; false ends the session.
    async fn data(&mut self) -> io::Result<bool> {
        self.flush().await?;
        let number = self.tally.contents.fetch_add(1, Relaxed) + 1;
        let mut keeper = Keeper::new(self.options, number).await?;
        let mut decoder = DotDecoder::default();
        let mut text = Vec::with_capacity(64 * 1024);
        let mut octets = 0;
        loop {
            let input = timeout(IDLE, self.stream.fill_buf()).await??;
            if input.is_empty() {
                keeper.remove().await;
                return Ok(false);
            }
            text.clear();
            let (used, done) = decoder.decode(input, &mut text);
            self.stream.consume(used);
            octets += text.len() as u64;
            if octets <= self.options.max_size {
                keeper.keep(&text).await?;
            }
            if done {
                break;
            }
        }
        sleep(Duration::from_millis(self.options.reply_delay)).await;
        self.end_of_data(number, octets, keeper).await
    }

    async fn end_of_data(&mut self, number: u64, octets: u64, keeper: Keeper) -> io::Result<bool> {
        let every = |n: Option<u64>| n.is_some_and(|n| n > 0 && number.is_multiple_of(n));
        let refusal = if octets > self.options.max_size {
            Some("552 5.3.4 too large".to_owned())
        } else if every(self.options.fail_every) {
            Some("451 4.3.0 this one fails".to_owned())
        } else {
            self.scripted(When::Dot, None)
        };
        if let Some(refusal) = refusal.filter(|reply| !reply.starts_with('2')) {
            keeper.remove().await;
            self.reply(&refusal);
            self.reset();
            return Ok(true);
        }
        let from = self.from.take().unwrap_or_default();
        let to = std::mem::take(&mut self.to);
        self.tally.messages.fetch_add(1, Relaxed);
        self.tally.recipients.fetch_add(to.len() as u64, Relaxed);
        self.tally.octets.fetch_add(octets, Relaxed);
        if !self.options.quiet {
            let list = to.iter().map(|to| format!("<{}>", to.escape_debug())).collect::<Vec<_>>().join(",");
            writeln!(io::stdout(), "{number} from=<{}> to={list} size={octets}", from.escape_debug())?;
        }
        let envelope = serde_json::json!({ "helo": self.helo, "from": from, "to": to, "size": octets });
        keeper.finish(&envelope).await?;
        if every(self.options.drop_after_data) {
            self.out.clear();
            return Ok(false);
        }
        self.reply(&format!("250 2.0.0 taken as {number}"));
        Ok(true)
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn scripted(&self, when: When, recipient: Option<&str>) -> Option<String> {
        let fits = |reply: &&ScriptedReply| {
            reply.when == when && reply.recipient.as_deref().is_none_or(|wanted| Some(wanted) == recipient)
        };
        self.options.replies.iter().find(fits).map(|reply| reply.line.clone())
    }

    /// Gives the scripted reply or else `usual`; false if it refuses.
    fn reply_or(&mut self, when: When, recipient: Option<&str>, usual: &str) -> bool {
        let line = self.scripted(when, recipient).unwrap_or_else(|| usual.to_owned());
        self.reply(&line);
        matches!(line.as_bytes().first(), Some(b'2' | b'3'))
    }

    fn reply(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    async fn flush(&mut self) -> io::Result<()> {
        timeout(IDLE, self.stream.get_mut().write_all(&self.out)).await??;
        self.out.clear();
        Ok(())
    }

    /// A command line without its end; None at the end of the stream or past [`MAX_LINE`].
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let input = timeout(IDLE, self.stream.fill_buf()).await??;
            let end = memchr::memchr(b'\n', input);
            let used = end.map_or(input.len(), |end| end + 1);
            if input.is_empty() || line.len() + used > MAX_LINE {
                return Ok(None);
            }
            line.extend_from_slice(&input[..used]);
            self.stream.consume(used);
            if end.is_some() {
                return Ok(Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
            }
        }
    }
}

/// The inside of the angle brackets after `keyword`.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = rest.split_at_checked(keyword.len())?;
    let rest = rest.trim_start().strip_prefix('<').filter(|_| found.eq_ignore_ascii_case(keyword))?;
    // A quoted local part may hold a bracket; a parameter can't.
    rest.split_once("> ").map(|(path, _)| path).or_else(|| rest.strip_suffix('>'))
}

/// Where a message goes.
struct Keeper {
    file: Option<(tokio::fs::File, PathBuf)>,
    printed: Option<Vec<u8>>,
}

impl Keeper {
    async fn new(options: &SinkOptions, number: u64) -> io::Result<Self> {
        let file = match &options.dump {
            Some(dir) => {
                let path = dir.join(format!("{number}.eml"));
                Some((tokio::fs::File::create(&path).await?, path))
            }
            None => None,
        };
        Ok(Self { file, printed: options.print.then(Vec::new) })
    }

    async fn keep(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(printed) = &mut self.printed {
            printed.extend_from_slice(&text[..text.len().min(MAX_PRINTED - printed.len())]);
        }
        match &mut self.file {
            Some((file, _)) => file.write_all(text).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self, envelope: &serde_json::Value) -> io::Result<()> {
        if let Some((file, path)) = &mut self.file {
            file.flush().await?;
            tokio::fs::write(path.with_extension("json"), format!("{envelope}\n")).await?;
        }
        match &self.printed {
            Some(printed) => io::stdout().write_all(&[printed, &b"\n"[..]].concat()),
            None => Ok(()),
        }
    }

    async fn remove(self) {
        if let Some((_, path)) = self.file {
            // Nobody was told that it is kept.
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}

/// Takes doubled dots out and finds the final one: CRLF, dot, CRLF and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DotDecoder {
    #[default]
    LineStart,
    InLine,
    Cr,
    Dot,
    DotCr,
}

impl DotDecoder {
    /// Appends content to `text`; says how much of `input` was used and whether the final dot was in it.
    pub(super) fn decode(&mut self, input: &[u8], text: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while at < input.len() {
            let b = input[at];
            *self = match (*self, b) {
                (Self::InLine, _) => {
                    let end = memchr::memchr(b'\r', &input[at..]).map_or(input.len(), |found| at + found + 1);
                    text.extend_from_slice(&input[at..end]);
                    at = end;
                    if input[end - 1] == b'\r' {
                        *self = Self::Cr;
                    }
                    continue;
                }
                (Self::LineStart, b'.') => Self::Dot,
                (Self::Dot, b'\r') => Self::DotCr,
                (Self::DotCr, b'\n') => return (at + 1, true),
                (Self::DotCr, _) => {
                    // It was a dot that is content (taken out), then a bare CR.
                    text.push(b'\r');
                    *self = Self::Cr;
                    continue;
                }
                (before, _) => {
                    text.push(b);
                    match (before, b) {
                        (Self::Cr, b'\n') => Self::LineStart,
                        (_, b'\r') => Self::Cr,
                        _ => Self::InLine,
                    }
                }
            };
            at += 1;
        }
        (at, false)
    }
}
