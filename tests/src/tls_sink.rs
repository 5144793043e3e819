//! aiosmtpd as a next hop with STARTTLS (over OpenSSL) and AUTH, and the certificates for it.

use crate::sink::json_lines;
use crate::{Daemon, PYTHON, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// What it offers.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsSetup<'a> {
    /// The name that its certificate is for; empty: it has no STARTTLS. A name of a host or an address.
    pub name: &'a str,
    /// The AUTH mechanisms that it has; it demands AUTH if there are any. The user is `app`, the password `open sesame`.
    pub mechanisms: &'a [&'a str],
}

/// A running aiosmtpd.
pub struct TlsSink {
    _daemon: Daemon,
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
}

/// Where it demands anything, it refuses mail without; each message that it takes is a line of JSON.
const PROGRAM: &str = r#"
import asyncio, json, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

port, tls, mechanisms = int(sys.argv[1]), sys.argv[2] == 'tls', sys.argv[3].split()

class Handler:
    async def handle_DATA(self, server, session, envelope):
        login = getattr(session.auth_data, 'login', b'').decode()
        record = dict(tls=session.ssl is not None, login=login, rcpt_tos=envelope.rcpt_tos,
                      content=envelope.original_content.decode())
        with open('messages', 'a') as out:
            out.write(json.dumps(record) + '\n')
        return '250 2.0.0 stored'

def authenticate(server, session, envelope, mechanism, data):
    with open('logins', 'a') as out:
        out.write('%s tls=%s\n' % (mechanism, session.ssl is not None))
    right = data.login == b'app' and data.password == b'open sesame'
    return AuthResult(success=right, handled=False, auth_data=data)

class Sink(Controller):
    def factory(self):
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain('certificate.pem', 'key.pem')
        return SMTP(self.handler, hostname='sink.example', tls_context=context, require_starttls=tls,
                    authenticator=authenticate, auth_required=bool(mechanisms), auth_require_tls=tls,
                    auth_exclude_mechanism=[m for m in ('PLAIN', 'LOGIN') if m not in mechanisms])

Sink(Handler(), hostname='127.0.0.1', port=port).start()
asyncio.new_event_loop().run_forever()
"#;

impl TlsSink {
    /// Starts it on loopback.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start(setup: TlsSetup<'_>) -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        if !setup.name.is_empty() {
            write_certificates(&dir, setup.name);
        }
        let tls = if setup.name.is_empty() { "clear" } else { "tls" };
        // It prints a traceback for each handshake that a client breaks off.
        let errors = File::create(dir.path().join("errors")).expect("a file");
        let mut command = Command::new(PYTHON);
        command
            .args(["-c", PROGRAM, &port.to_string(), tls, &setup.mechanisms.join(" ")])
            .current_dir(dir.path())
            .stderr(errors);
        Self { _daemon: Daemon::start(command, port), dir, port }
    }

    /// The certificate of the CA that its own is signed by.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The messages taken so far: `tls`, `login`, `rcpt_tos`, `content`.
    ///
    /// # Panics
    /// The file has something else in it.
    #[must_use]
    pub fn messages(&self) -> Vec<serde_json::Value> {
        json_lines(&self.dir.path().join("messages"))
    }

    /// The attempts at AUTH so far, right or wrong: `PLAIN tls=True`.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("logins")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn write_certificates(dir: &TempDir, name: &str) {
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, key()).expect("a CA");
    let (params, own_key) = (CertificateParams::new(vec![name.to_owned()]).expect("a name"), key());
    let certificate = params.signed_by(&own_key, &ca).expect("a certificate");
    for (file, pem) in
        [("ca.pem", ca.pem()), ("certificate.pem", certificate.pem()), ("key.pem", own_key.serialize_pem())]
    {
        std::fs::write(dir.path().join(file), pem).expect("a file");
    }
}
