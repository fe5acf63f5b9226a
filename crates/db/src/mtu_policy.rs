//! How the path MTU of a tunnel is found and kept (RFC 4301 §8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What an operator says about the path MTU of a child.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MtuPolicy {
    /// Where the path MTU comes from.
    pub path: PathMtuRule,
    /// For how long is believed what was learnt (RFC 4301 §8.2.2).
    pub ageing: Duration,
    /// Where an IPv4 packet is cut that is too long and may be cut.
    pub fragment: FragmentPolicy,
    /// What TCP is told when a connection begins.
    pub mss: MssClamp,
    /// Whom echo requests ask, where the peer answers no probes.
    pub echo: EchoRule,
}

impl MtuPolicy {
    /// Ten minutes (RFC 1191 §6.3).
    pub const AGEING_DEFAULT: Duration = Duration::from_secs(600);

    /// That of a child about which the operator says nothing.
    pub const DEFAULT: Self = Self {
        path: PathMtuRule::Discover,
        ageing: Self::AGEING_DEFAULT,
        fragment: FragmentPolicy::Before,
        mss: MssClamp::ToPath,
        echo: EchoRule::DEFAULT,
    };
}

impl Default for MtuPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where a path MTU comes from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PathMtuRule {
    /// From the link, and from what is learnt.
    #[default]
    Discover,
    /// It does not matter: no packet is refused for its length, and none forbids routers to cut it.
    Ignore,
    /// It is this, octets.
    Fixed(u16),
}

/// Where a packet is cut that is too long for its SA and that routers may cut (RFC 4301 §8.1, §7).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FragmentPolicy {
    /// Before it is protected: its receiver joins it.
    #[default]
    Before,
    /// What was protected is cut: the peer joins it.
    After,
}

/// The maximum segment size (RFC 9293 §3.7.1) that TCP connections through a tunnel may begin with.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MssClamp {
    /// So much that a segment fits the SA.
    #[default]
    ToPath,
    /// What the hosts say.
    Off,
    /// At most this, octets.
    To(u16),
}

/// Whom echo requests ask whether a size passes (RFC 8899), where the peer answers no probes of ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EchoRule {
    /// Whether in transport mode the peer itself is asked.
    pub asks_peer: bool,
    /// Hosts behind the peer, or its own inside addresses; in tunnel mode without them nobody is asked.
    pub to: PerFamily,
    /// Our addresses inside; without them those that this host has within the selectors.
    pub from: PerFamily,
}

impl EchoRule {
    /// That of a child about which the operator says nothing.
    pub const DEFAULT: Self = Self { asks_peer: true, to: PerFamily::NONE, from: PerFamily::NONE };
}

/// One address of each family, at most.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct PerFamily {
    /// That of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// That of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl PerFamily {
    /// No address.
    pub const NONE: Self = Self { v4: None, v6: None };

    /// Puts an address in its place; false if there is one already.
    pub fn put(&mut self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.replace(address).is_none(),
            IpAddr::V6(address) => self.v6.replace(address).is_none(),
        }
    }

    /// The address of the same family as this one.
    #[must_use]
    pub fn beside(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// Those that are there, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v6 = self.v6.map(IpAddr::V6);
        self.v4.map(IpAddr::V4).into_iter().chain(v6)
    }
}

/// Least and most that may be said about a path, octets: below the first no IPv4 host is reached
/// (RFC 791 §3.2), and the second is the longest IP packet.
pub const PATH_MTU_RANGE: std::ops::RangeInclusive<u16> = 576..=65_535;
