//! Mailboxes of header fields.

/// A mailbox of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded.
    pub name: Option<String>,
    /// The address without angle brackets.
    pub address: String,
}

impl Mailbox {
    /// What follows the last `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_follows_the_last_at() {
        assert_eq!(Mailbox { name: None, address: "\"a@b\"@c".into() }.domain(), "c");
    }
}
