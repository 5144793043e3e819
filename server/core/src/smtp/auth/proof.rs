//! The server's side of a SCRAM exchange (RFC 5802 section 5): client-first, server-first, client-final, server-final.

use super::scram::Verifier;
use data_encoding::BASE64;

/// Longest nonce of a client, in octets.
const MAX_NONCE: usize = 256;

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    /// Who it says it is.
    pub user: String,
    header: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads `n,,n=user,r=nonce`. None if it is not that, wants channel binding, or to act as somebody else.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut parts = text.splitn(3, ',');
        let (binding, authorization, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let mut fields = bare.split(',');
        let user = name(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        let printable = |nonce: &str| nonce.bytes().all(|octet| octet.is_ascii_graphic());
        if nonce.is_empty() || nonce.len() > MAX_NONCE || !printable(nonce) {
            return None;
        }
        if !authorization.is_empty() && name(authorization.strip_prefix("a=")?)? != user {
            return None;
        }
        let header = text[..text.len() - bare.len()].to_owned();
        Some(Self { user, header, bare: bare.to_owned(), nonce: nonce.to_owned() })
    }
}

/// An exchange that waits for the client's last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who the client says it is.
    pub user: String,
    verifier: Verifier,
    header: String,
    nonce: String,
    messages: String,
}

/// Answers the first message: the challenge, and what goes on from there. `nonce` must be new, and without a comma.
#[must_use]
pub fn challenge(first: ClientFirst, verifier: Verifier, nonce: &str) -> (String, Waiting) {
    let ClientFirst { user, header, bare, nonce: of_client } = first;
    let nonce = format!("{of_client}{nonce}");
    let challenge = format!("r={nonce},s={},i={}", BASE64.encode(verifier.salt()), verifier.iterations());
    let messages = format!("{bare},{challenge}");
    (challenge, Waiting { user, verifier, header, nonce, messages })
}

impl Waiting {
    /// The client's last message: the server's last one if the proof is right.
    ///
    /// # Errors
    /// None if the proof is wrong, or of another exchange.
    #[must_use]
    pub fn finish(&self, message: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(message).ok()?;
        let (unproved, proof) = text.rsplit_once(",p=")?;
        let mut fields = unproved.split(',');
        let binding = BASE64.decode(fields.next()?.strip_prefix("c=")?.as_bytes()).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if binding != self.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let proof: [u8; 32] = BASE64.decode(proof.as_bytes()).ok()?.try_into().ok()?;
        let signature = self.verifier.check(format!("{},{unproved}", self.messages).as_bytes(), &proof)?;
        Some(format!("v={}", BASE64.encode(&signature)))
    }
}

/// A name with `,` and `=` written out (RFC 5802 section 5.1).
fn name(text: &str) -> Option<String> {
    let mut pieces = text.split('=');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            name.push(',');
            name.push_str(rest);
        } else {
            name.push('=');
            name.push_str(piece.strip_prefix("3D")?);
        }
    }
    (!name.is_empty() && !name.chars().any(char::is_control)).then(|| super::prepared(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    /// The exchange of RFC 7677 section 3.
    #[test]
    fn exchange_as_in_rfc_7677() {
        let verifier = Verifier::parse(VERIFIER).unwrap();
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.user, "user");
        let (text, waiting) = challenge(first, verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(text, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let wanted = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(waiting.finish(last.as_bytes()).as_deref(), Some(wanted));
        for wrong in [
            last.replace("biws", "eSws"),
            last.replace("r=rO", "r=RO"),
            last.replace("p=dH", "p=eH"),
            last.replace(",p=", ",x=1,p="),
            "c=biws".to_owned(),
            String::new(),
        ] {
            assert_eq!(waiting.finish(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn first_messages() {
        let user = |text: &str| ClientFirst::parse(text.as_bytes()).map(|first| first.user);
        assert_eq!(user("y,,n=a=2Cb=3Dc,r=x").as_deref(), Some("a,b=c"));
        assert_eq!(user("n,a=u,n=u,r=x").as_deref(), Some("u"));
        for wrong in [
            "",
            "n,,",
            "n,,n=,r=x",
            "n,,n=u,r=",
            "n,,n=u",
            "p=tls-unique,,n=u,r=x",
            "n,a=v,n=u,r=x",
            "n,,m=x,n=u,r=x",
            "n,,n=a=b,r=x",
            "n,,n=u,r=x y",
            "n,,n=a\u{1}b,r=x",
        ] {
            assert_eq!(user(wrong), None, "{wrong}");
        }
    }
}
