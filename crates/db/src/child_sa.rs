//! A child SA as two peers agreed on it: RFC 7296 §1.3, RFC 4301 §4.4.2.1.
//!
//! This is the value that leaves the IKE machine and enters a packet engine, user space or kernel.
//! It carries keys, so it is neither `Clone` nor printed with them.

use std::net::{IpAddr, SocketAddr};

use adit_crypto::{Protection, Secret};
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ipcomp::Cpi;

use crate::bundle::OuterAh;
use crate::connection::{Mode, Tfc};
use crate::icmp::IcmpRules;
use crate::ids::{ChildSaId, IkeSaId};
use crate::lifetime::Lifetime;
use crate::mtu_policy::MtuPolicy;
use crate::names::{ChildName, ConnectionName};
use crate::outer_header::{DfPolicy, DscpPolicy, EcnPolicy};
use crate::replay::WindowSize;

/// One pair of ESP or AH SAs, both directions.
#[derive(Debug)]
pub struct ChildSa {
    /// Our number for it.
    pub id: ChildSaId,
    /// The IKE SA it was negotiated in.
    pub ike: IkeSaId,
    /// The connection it belongs to.
    pub connection: ConnectionName,
    /// The configuration it came from.
    pub child: ChildName,
    /// SPI of what the peer sends; we chose it.
    pub spi_in: Spi,
    /// SPI of what we send; the peer chose it.
    pub spi_out: Spi,
    /// Protocol and algorithms, the same in both directions.
    pub protection: Protection,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// In transport mode through a NAT: the two ends as the peer knows them, for the checksums of
    /// what it sends (RFC 7296 §2.23.1).
    pub peer_view: Option<Hosts>,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Keys of what the peer sends.
    pub keys_in: ChildKeys,
    /// Keys of what we send.
    pub keys_out: ChildKeys,
    /// What we speak for.
    pub local_ts: Vec<TrafficSelector>,
    /// What the peer speaks for.
    pub remote_ts: Vec<TrafficSelector>,
    /// How its packets travel.
    pub encap: Encapsulation,
    /// Its limits, counted from installation.
    pub lifetime: Lifetime,
    /// Replay window for what the peer sends.
    pub replay_window: WindowSize,
    /// What becomes of ICMP messages.
    pub icmp: IcmpRules,
    /// The DSCP of the outer header.
    pub dscp: DscpPolicy,
    /// The ECN field of the outer header.
    pub ecn: EcnPolicy,
    /// The DF bit of an outer IPv4 header; in tunnel mode.
    pub df: DfPolicy,
    /// How its path MTU is found and kept.
    pub mtu: MtuPolicy,
    /// Padding and dummy packets; off if the peer does not take them.
    pub tfc: Tfc,
    /// Compression of what is protected, if both peers want it.
    pub ipcomp: Option<IpComp>,
    /// Whether inner packets share ESP packets, if both peers want it (RFC 9347).
    pub aggfrag: Option<Aggfrag>,
    /// Whether the peer answers probes of the path MTU, as we do.
    pub path_probe: bool,
    /// Whether the peer takes [notices](crate::GatewayNotice) about it in the IKE SA.
    pub notices: bool,
    /// AH around its ESP, where both are a bundle (RFC 2401 §4.3).
    pub outer: Option<Box<OuterAh>>,
    /// The child SA it replaces.
    pub rekeys: Option<ChildSaId>,
}

/// Keys of one direction.
#[derive(Debug)]
pub struct ChildKeys {
    /// Encryption key, the salt of an AEAD behind it (RFC 4106 §8.1); empty with AH.
    pub encryption: Secret,
    /// Integrity key; empty for an AEAD. With AH and AES-GMAC the salt is behind it (RFC 4543 §5.3).
    pub integrity: Secret,
}

/// IP payload compression by DEFLATE (RFC 3173, RFC 2394), one association per direction.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IpComp {
    /// CPI of what the peer sends; we chose it.
    pub cpi_in: Cpi,
    /// CPI of what we send; the peer chose it.
    pub cpi_out: Cpi,
}

/// Aggregation and fragmentation of inner packets (RFC 9347), in both directions.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Aggfrag {
    /// Whether several TCP segments may travel in one piece: both peers are Adits and take that.
    pub super_packets: bool,
}

/// The two ends of an SA in transport mode.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hosts {
    /// Our address.
    pub local: IpAddr,
    /// The peer's address.
    pub remote: IpAddr,
}

/// How the packets of an SA travel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Encapsulation {
    /// Inside UDP (RFC 3948), else directly above IP, as AH always.
    pub udp: bool,
    /// Whether a TCP connection between the same two ends has the place of UDP (RFC 9329), which is
    /// then true, too: apart from who carries them the packets are the same.
    pub tcp: bool,
    /// Our address; the port counts only inside UDP.
    pub local: SocketAddr,
    /// The peer's address; the port counts only inside UDP.
    pub remote: SocketAddr,
}
