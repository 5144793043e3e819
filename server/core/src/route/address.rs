//! Which addresses of a host may be connected to, and in which order.

use crate::zone::IpVersion;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// At most so many addresses of one host are used.
pub const MAX_ADDRESSES: usize = 8;
/// Where both IP versions are used, the one that comes second keeps so many places.
const SECOND_FAMILY: usize = 2;

/// Is this an address of a host on the internet? Not: this machine, private networks, links, documentation,
/// benchmarks, multicast, what is reserved, and IPv6 forms that carry such an IPv4 address (RFC 6890 and the registries
/// that continue it).
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_4(ip),
        IpAddr::V6(ip) => is_public_6(ip),
    }
}

/// Can mail be sent to it at all? To connect to `0.0.0.0` is to connect to oneself, on Linux.
pub(super) fn is_unicast(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

fn is_public_4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

fn is_public_6(ip: Ipv6Addr) -> bool {
    let octets = ip.octets();
    let carried = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match ip.segments() {
        // NAT64 (RFC 6052): in a network without IPv4 this is how hosts that have no other are reached.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_4(carried(12)),
        // Teredo, ORCHID, benchmarks and what else the IETF keeps; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // 6to4.
        [0x2002, ..] => is_public_4(carried(2)),
        // All that has been given out as global unicast. Mapped IPv4, ULA, link-local and multicast are not in it.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The addresses of the zone's IP version, at most [`MAX_ADDRESSES`], in the order to try.
///
/// Within an IP version the order is by chance: that of DNS means nothing, and would be the same for as long as the
/// answer is kept.
pub(super) fn order(addresses: Vec<IpAddr>, version: IpVersion, rng: &mut fastrand::Rng) -> Vec<IpAddr> {
    let (mut four, mut six): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().map(|ip| ip.to_canonical()).partition(IpAddr::is_ipv4);
    for family in [&mut four, &mut six] {
        family.sort_unstable();
        family.dedup();
        rng.shuffle(family);
    }
    match version {
        IpVersion::V4 => cut(four, MAX_ADDRESSES),
        IpVersion::V6 => cut(six, MAX_ADDRESSES),
        IpVersion::Prefer4 => preferred(four, six),
        IpVersion::Prefer6 => preferred(six, four),
        IpVersion::Any => cut(interleaved(six, four), MAX_ADDRESSES),
    }
}

fn cut(mut addresses: Vec<IpAddr>, limit: usize) -> Vec<IpAddr> {
    addresses.truncate(limit);
    addresses
}

fn preferred(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let first = cut(first, MAX_ADDRESSES - second.len().min(SECOND_FAMILY));
    let rest = MAX_ADDRESSES - first.len();
    first.into_iter().chain(cut(second, rest)).collect()
}

/// One of each in turn, so that a broken IP version costs one time-out and not eight.
fn interleaved(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_on_the_internet() {
        for ip in ["8.8.8.8", "1.1.1.1", "192.0.3.1", "172.32.0.1", "100.128.0.1", "100.63.255.255", "223.255.255.255"]
        {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["2a00:1450::1a", "2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn addresses_elsewhere() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn addresses_that_are_no_hosts() {
        for ip in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:0.0.0.0"] {
            assert!(!is_unicast(ip.parse().unwrap()), "{ip}");
        }
        assert!(is_unicast("127.0.0.1".parse().unwrap()));
    }

    /// `four` and `six` addresses of each kind; the expected order as a text of 4 and 6.
    fn check(version: IpVersion, four: u16, six: u16, expected: &str) {
        let four = (0..four).map(|n| IpAddr::from([10, 0, 0, u8::try_from(n).unwrap()]));
        let six = (0..six).map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]));
        let ordered = order(four.chain(six).collect(), version, &mut fastrand::Rng::with_seed(1));
        let kinds: String = ordered.iter().map(|ip| if ip.is_ipv4() { '4' } else { '6' }).collect();
        assert_eq!(kinds, expected, "{version:?}");
    }

    #[test]
    fn versions_and_limits() {
        check(IpVersion::Any, 1, 1, "64");
        check(IpVersion::Any, 3, 1, "6444");
        check(IpVersion::Any, 1, 3, "6466");
        check(IpVersion::Any, 200, 200, "64646464");
        check(IpVersion::Any, 200, 1, "64444444");
        check(IpVersion::V4, 2, 2, "44");
        check(IpVersion::V4, 0, 2, "");
        check(IpVersion::V6, 2, 2, "66");
        check(IpVersion::V6, 200, 0, "");
        check(IpVersion::V4, 200, 0, "44444444");
        check(IpVersion::Prefer4, 2, 2, "4466");
        check(IpVersion::Prefer4, 0, 2, "66");
        check(IpVersion::Prefer4, 200, 200, "44444466");
        check(IpVersion::Prefer6, 2, 2, "6644");
        check(IpVersion::Prefer6, 200, 200, "66666644");
        check(IpVersion::Prefer6, 1, 200, "66666664");
        check(IpVersion::Prefer6, 200, 1, "64444444");
    }

    #[test]
    fn one_address_is_tried_once() {
        let same = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"].map(|ip| ip.parse().unwrap()).to_vec();
        let once = order(same, IpVersion::Any, &mut fastrand::Rng::with_seed(1));
        assert_eq!(once, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn each_address_comes_first_at_times() {
        let all: Vec<IpAddr> = (1..=4).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut first: Vec<IpAddr> = (0..100).map(|_| order(all.clone(), IpVersion::Any, &mut rng)[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first, all);
    }
}
