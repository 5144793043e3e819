//! The name of a client's address.

use super::Resolver;
use postern_core::mail::valid_domain;
use postern_core::zone::IpVersion;
use std::net::IpAddr;

/// Names of one address that are looked up.
const MAX_NAMES: usize = 4;

/// A name that the DNS has for the address, and the address for the name (RFC 8601 section 3, iprev): whoever owns the
/// address alone could call it anything. None if there is none, or the DNS does not say.
pub async fn confirmed_name(resolver: &dyn Resolver, address: IpAddr) -> Option<String> {
    let address = address.to_canonical();
    let version = if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    let names = resolver.names(address).await.ok()?;
    for name in names.iter().filter(|name| name.is_ascii() && valid_domain(name)).take(MAX_NAMES) {
        if resolver.addresses(name, version).await.is_ok_and(|addresses| addresses.contains(&address)) {
            return Some(name.to_ascii_lowercase());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;

    #[tokio::test]
    async fn both_ways() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let table = Table::default()
            .with_names(address, &["liar.example", "[192.0.2.1]", "Mail.Example"])
            .with_names(other, &["liar.example", "nowhere.example"])
            .with_host("liar.example", &["198.51.100.1".parse().unwrap()])
            .with_host("mail.example", &[other, address]);
        assert_eq!(confirmed_name(&table, address).await.as_deref(), Some("mail.example"));
        assert_eq!(confirmed_name(&table, "::ffff:192.0.2.1".parse().unwrap()).await.as_deref(), Some("mail.example"));
        assert_eq!(confirmed_name(&table, other).await, None);
        assert_eq!(confirmed_name(&table, "192.0.2.3".parse().unwrap()).await, None);
    }
}
