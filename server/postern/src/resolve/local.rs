//! Is an address one of this machine's?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Has this machine that address? Asked of the system with a UDP socket that sends nothing; when the system does not
/// say, the answer is no.
#[must_use]
pub fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return true;
    }
    if ip.is_unspecified() || ip.is_multicast() || UdpSocket::bind((ip, 0)).is_err() {
        return false;
    }
    // Where the system lets one bind to any address (ip_nonlocal_bind), that it could be done shows nothing; then the
    // route does: the way to an address of ours starts at that address.
    let (any, documentation) = match ip {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        IpAddr::V6(_) => {
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)))
        }
    };
    if UdpSocket::bind((documentation, 0)).is_err() {
        return true;
    }
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_and_the_internet_is_not() {
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("8.8.8.8", false),
            ("203.0.113.7", false),
            ("2606:4700::1111", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(is_local(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
