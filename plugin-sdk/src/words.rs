//! Enums of words that the host says and takes, open for words of later hosts.

/// An enum whose variants are words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that this version of the SDK does not know.
            Other(String),
        }

        impl $name {
            /// The word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                Self::from(word.to_owned())
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, word: &&str) -> bool {
                self.as_str() == *word
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// How a client authenticates.
    Mechanism {
        /// SASL PLAIN (RFC 4616).
        Plain = "PLAIN",
        /// SASL LOGIN.
        Login = "LOGIN",
        /// Google's token mechanism.
        Xoauth2 = "XOAUTH2",
        /// RFC 7628.
        OauthBearer = "OAUTHBEARER",
        /// HTTP's Basic (RFC 7617).
        HttpBasic = "HTTP-BASIC",
        /// HTTP's Bearer (RFC 6750).
        HttpBearer = "HTTP-BEARER",
    }
}

words! {
    /// What an attempt asks of TLS.
    Tls {
        /// None.
        Off = "off",
        /// If it is offered, whatever the certificate.
        Opportunistic = "opportunistic",
        /// It must be offered.
        Require = "require",
        /// It must be offered with a certificate that is valid for the host.
        Verify = "verify",
    }
}

words! {
    /// What becomes of a recipient that failed.
    Action {
        /// It is tried again.
        Defer = "defer",
        /// It is given up.
        Bounce = "bounce",
        /// It is given up for its age alone.
        Expire = "expire",
    }
}

words! {
    /// What a failure is about.
    Scope {
        /// The recipient.
        Recipient = "recipient",
        /// The message, with all its recipients.
        Message = "message",
        /// The session with the next hop.
        Session = "session",
        /// The next hop, whatever is sent to it.
        NextHop = "next-hop",
        /// This server.
        Local = "local",
    }
}

words! {
    /// What happened to a message.
    EventKind {
        /// It was queued.
        Accepted = "accepted",
        /// A recipient's next hop took it.
        Delivered = "delivered",
        /// A recipient is tried again later.
        Deferred = "deferred",
        /// A recipient was given up.
        Bounced = "bounced",
        /// A recipient was given up for its age.
        Expired = "expired",
        /// A recipient waits for an operator.
        Held = "held",
        /// An operator let it go on.
        Released = "released",
        /// An operator deleted it.
        Deleted = "deleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        assert_eq!(Tls::from("require"), Tls::Require);
        assert_eq!(Tls::from("later".to_owned()), Tls::Other("later".into()));
        assert_eq!(Scope::NextHop.as_str(), "next-hop");
        assert_eq!(EventKind::from("quarantined").to_string(), "quarantined");
        assert!(Mechanism::OauthBearer == "OAUTHBEARER");
    }
}
