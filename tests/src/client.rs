//! A bare SMTP client: what the tests need to see that no real client shows (each single reply, odd octets, a session
//! left in the middle). Where a real client will do, the tests use one.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its code.
    pub code: u16,
    /// Its lines, without code.
    pub lines: Vec<String>,
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a port on loopback; the greeting is not read yet.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(port: u16) -> Result<Self> {
        Self::on(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// As [`Client::connect`], and gives up after `limit`.
    ///
    /// # Errors
    /// Nobody listens, or nobody answers in time.
    pub fn connect_within(port: u16, limit: Duration) -> Result<Self> {
        Self::on(TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), limit)?)
    }

    fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Connects, reads the greeting and says EHLO.
    ///
    /// # Errors
    /// The connection breaks or the server does not want to talk.
    pub fn hello(port: u16) -> Result<Self> {
        let mut client = Self::connect(port)?;
        client.expect(2)?;
        client.command("EHLO client.example", 2)?;
        Ok(client)
    }

    /// How long a reply may take.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn patience(&self, limit: Duration) -> Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// One line, without its line end; None at the end of the connection.
    ///
    /// # Errors
    /// The connection breaks, or the line does not end with CR LF.
    pub fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.strip_suffix("\r\n").ok_or_else(|| Error::new(ErrorKind::InvalidData, "no CR LF"))?;
        Ok(Some(line.to_owned()))
    }

    /// One whole reply.
    ///
    /// # Errors
    /// The connection ends or breaks, or that is no reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| Error::new(ErrorKind::InvalidData, line.clone()))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// One reply of the class `class` (its first digit).
    ///
    /// # Errors
    /// It is of another class, or none.
    pub fn expect(&mut self, class: u16) -> Result<Reply> {
        let reply = self.reply()?;
        if reply.code / 100 == class { Ok(reply) } else { Err(Error::other(format!("{reply:?}"))) }
    }

    /// Sends a line and expects a reply of `class`.
    ///
    /// # Errors
    /// As [`Client::expect`].
    pub fn command(&mut self, line: &str, class: u16) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.expect(class)
    }

    /// MAIL, RCPT and DATA.
    ///
    /// # Errors
    /// One of them is refused.
    pub fn open(&mut self, from: &str, to: &[&str]) -> Result<()> {
        self.command(&format!("MAIL FROM:<{from}>"), 2)?;
        for to in to {
            self.command(&format!("RCPT TO:<{to}>"), 2)?;
        }
        self.command("DATA", 3)?;
        Ok(())
    }

    /// A whole transaction; `content` must be dot-stuffed and end with CR LF. Gives the reply to the final dot.
    ///
    /// # Errors
    /// The connection ends, or MAIL, RCPT or DATA is refused.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &str) -> Result<Reply> {
        self.open(from, to)?;
        self.send(format!("{content}.\r\n").as_bytes())?;
        self.reply()
    }

    /// The port that it has connected from.
    ///
    /// # Errors
    /// The system does not know.
    pub fn local_port(&self) -> Result<u16> {
        Ok(self.stream.get_ref().local_addr()?.port())
    }

    /// As [`Client::mail`], with all commands sent at once.
    ///
    /// # Errors
    /// As [`Client::mail`].
    pub fn mail_at_once(&mut self, from: &str, to: &[&str], content: &str) -> Result<Reply> {
        let mut commands = format!("MAIL FROM:<{from}>\r\n");
        for to in to {
            commands.push_str(&format!("RCPT TO:<{to}>\r\n"));
        }
        commands.push_str("DATA\r\n");
        self.send(commands.as_bytes())?;
        for _ in 0..=to.len() {
            self.expect(2)?;
        }
        self.expect(3)?;
        self.send(format!("{content}.\r\n").as_bytes())?;
        self.reply()
    }

    /// Ends the sending side.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn shutdown(&self) -> Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }
}
