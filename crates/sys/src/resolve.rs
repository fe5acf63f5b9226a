//! Names to addresses through the host's own resolver.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// Most addresses taken from one answer.
pub const ADDRESSES_MAX: usize = 16;

/// Looks a name up with `getaddrinfo`; an address in text form comes back as itself.
///
/// Blocks for as long as the resolver takes (many seconds when DNS is down): give it its own
/// thread. The order is the system's preference, duplicates are removed.
///
/// # Errors
///
/// The resolver's answer; `NotFound` if it knows the name but no address for it.
pub fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (name, 0_u16).to_socket_addrs()?.map(|found| found.ip()) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_addresses_resolve_to_themselves_once() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(resolve("192.0.2.7").unwrap(), [IpAddr::from([192, 0, 2, 7])]);
        assert_eq!(resolve("2001:db8::1").unwrap(), [v6]);
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(resolve("no-such-host.invalid").is_err());
    }
}
