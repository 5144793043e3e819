//! Which addresses are meant: one, those of a domain, those of its subdomains, or all.

use postern_plugin_sdk::{Error, Result};

/// Addresses that a user has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Any,
    /// `example.com`
    Domain(String),
    /// `*.example.com`
    Subdomains(String),
    /// `ann@example.com`
    Address(String),
}

impl Rule {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_domain = |name: &str| !name.is_empty() && !name.contains(['@', '*', ' ', '<', '>']);
        let rule = match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && is_domain(domain) => Some(Self::Address(text.to_owned())),
            Some(_) => None,
            None if text == "*" => Some(Self::Any),
            None => match text.strip_prefix("*.") {
                Some(domain) => is_domain(domain).then(|| Self::Subdomains(domain.to_owned())),
                None => is_domain(text).then(|| Self::Domain(text.to_owned())),
            },
        };
        rule.ok_or_else(|| Error::new(format!("{text:?} is not an address, a domain, *.domain or *")))
    }

    pub(crate) fn fits(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        match self {
            Self::Any => true,
            Self::Domain(own) => domain.eq_ignore_ascii_case(own),
            Self::Subdomains(of) => {
                let ends = domain.len().checked_sub(of.len()).and_then(|at| domain.get(at..));
                let before = domain.len().checked_sub(of.len() + 1).and_then(|at| domain.as_bytes().get(at));
                ends.is_some_and(|end| end.eq_ignore_ascii_case(of)) && before == Some(&b'.')
            }
            Self::Address(own) => same_address(own, address),
        }
    }
}

/// Local parts may differ by case (RFC 5321 section 2.4), domains don't.
pub(crate) fn same_address(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, domain)), Some((other_local, other_domain))) => {
            local == other_local && domain.eq_ignore_ascii_case(other_domain)
        }
        _ => false,
    }
}
