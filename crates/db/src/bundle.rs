//! Bundles of AH and ESP (RFC 2401 §4.3, transport adjacency): ESP protects a packet and AH covers what ESP
//! made of it, with one outer IP header in front of both.
//!
//! ```text
//! tunnel      outer IP | AH | ESP | inner IP packet
//! transport         IP | AH | ESP | payload
//! ```
//!
//! IKEv1 negotiates both in one quick mode (RFC 2408 §4.2), and they come and go as one. IKEv2 has no bundles
//! (RFC 4301 §4.1).

use adit_crypto::Protection;
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;

use crate::child_sa::{ChildKeys, ChildSa, Encapsulation};
use crate::connection::{Mode, Tfc};
use crate::icmp::IcmpRules;
use crate::ids::{ChildSaId, PolicyId};
use crate::lifetime::Lifetime;

/// The pair of AH SAs around a pair of ESP SAs.
#[derive(Debug)]
pub struct OuterAh {
    /// Our number for it; no IKE SA has a child of this number.
    pub id: ChildSaId,
    /// SPI of what the peer sends; we chose it.
    pub spi_in: Spi,
    /// SPI of what we send; the peer chose it.
    pub spi_out: Spi,
    /// The algorithm of AH, the same in both directions.
    pub protection: Protection,
    /// Whether sequence numbers have 64 bits (RFC 4302 §2.5.1).
    pub esn: bool,
    /// Keys of what the peer sends.
    pub keys_in: ChildKeys,
    /// Keys of what we send.
    pub keys_out: ChildKeys,
}

impl OuterAh {
    /// The policy of these SAs alone: ESP of this bundle comes out of no others, and goes into no others.
    ///
    /// Policies that are configured are numbered from zero and never get there.
    pub fn policy(&self) -> PolicyId {
        PolicyId(FIRST_POLICY | self.id.0)
    }
}

/// Where the numbers of such policies begin.
const FIRST_POLICY: u32 = 1 << 31;

impl ChildSa {
    /// Takes AH from around ESP, as SAs of its own: in transport mode, for what the two gateways say to each
    /// other. They have no limits beside their sequence numbers, since the ESP SAs end them.
    pub fn take_outer(&mut self) -> Option<Self> {
        let outer = *self.outer.take()?;
        let host = |address: std::net::SocketAddr| TrafficSelector::from_address(address.ip());
        Some(Self {
            id: outer.id,
            ike: self.ike,
            connection: self.connection.clone(),
            child: self.child.clone(),
            spi_in: outer.spi_in,
            spi_out: outer.spi_out,
            protection: outer.protection,
            mode: Mode::Transport,
            peer_view: None,
            esn: outer.esn,
            keys_in: outer.keys_in,
            keys_out: outer.keys_out,
            local_ts: vec![host(self.encap.local)],
            remote_ts: vec![host(self.encap.remote)],
            encap: Encapsulation { udp: false, tcp: false, ..self.encap },
            lifetime: Lifetime::default(),
            replay_window: self.replay_window,
            icmp: IcmpRules::default(),
            dscp: self.dscp,
            ecn: self.ecn,
            df: self.df,
            mtu: self.mtu,
            tfc: Tfc::OFF,
            ipcomp: None,
            aggfrag: None,
            path_probe: false,
            notices: false,
            outer: None,
            rekeys: None,
        })
    }
}
