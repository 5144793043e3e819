//! submit-lettre PORT MODE CERTIFICATE USER PASSWORD MECHANISM COUNT: submits messages on one pool of connections.
//!
//! MODE is `starttls` or `implicit`; CERTIFICATE (PEM) is trusted, and nothing else; MECHANISM is `plain` or `login`.

use lettre::message::{Attachment, MultiPart, SinglePart, header::ContentType};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, mode, certificate, user, password, mechanism, count] = &args[..] else {
        return Err("PORT MODE CERTIFICATE USER PASSWORD MECHANISM COUNT".into());
    };
    let certificate = Certificate::from_pem(&std::fs::read(certificate)?)?;
    let tls = TlsParameters::builder("localhost".to_owned())
        .certificate_store(CertificateStore::None)
        .add_root_certificate(certificate)
        .build()?;
    let mailer = SmtpTransport::builder_dangerous("127.0.0.1")
        .port(port.parse()?)
        .tls(if mode == "implicit" { Tls::Wrapper(tls) } else { Tls::Required(tls) })
        .credentials(Credentials::new(user.clone(), password.clone()))
        .authentication(vec![if mechanism == "login" { Mechanism::Login } else { Mechanism::Plain }])
        .pool_config(PoolConfig::new().max_size(2))
        .build();
    for number in 0..count.parse::<usize>()? {
        let text = "Grüße\r\n.\r\n..dots\r\n.QUIT\r\n".to_owned();
        let parts = MultiPart::mixed()
            .singlepart(SinglePart::plain(text))
            .singlepart(Attachment::new("dots.txt".to_owned()).body("..\r\n.\r\n".to_owned(), ContentType::TEXT_PLAIN));
        let message = Message::builder()
            .from("Ann <ann@example.com>".parse()?)
            .to("Bob <bob@d.example>".parse()?)
            .cc("carol@d.example".parse()?)
            .bcc("hidden@d.example".parse()?)
            .subject(format!("lettre {mode} {mechanism} {number}"))
            .multipart(parts)?;
        let reply = mailer.send(&message)?;
        println!("{} {}", reply.code(), reply.first_line().unwrap_or_default());
    }
    Ok(())
}
