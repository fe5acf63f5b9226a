//! The selectors of an SA (RFC 4301 §4.4.2), and what else says what it carries.

use std::net::IpAddr;

use adit_db::{
    ChildSa, Hosts, IcmpInterfaces, IcmpPassage, IcmpRed, IcmpRules, IcmpSide, Mode,
    SecurityFailures,
};
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{FlowKey, Icmp};

/// Negotiated selectors: any of ours with any of the peer's.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Selectors {
    local: Side,
    remote: Side,
    /// What most SAs have not.
    rare: Option<Box<Rare>>,
}

/// What is to be known beside selectors in other modes than tunnel mode, or of ICMP if somebody has
/// set that.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Rare {
    /// In transport mode the two ends, in BEET mode the hosts behind them: they alone may speak.
    hosts: Option<Hosts>,
    /// What becomes of ICMP messages.
    icmp: IcmpRules,
}

impl Rare {
    const NONE: Self = Self { hosts: None, icmp: IcmpRules::DEFAULT };
}

impl Selectors {
    pub(super) fn of(sa: &ChildSa) -> Self {
        let hosts = match sa.mode {
            Mode::Tunnel => None,
            Mode::Transport => Some(hosts(sa)),
            Mode::Beet => inner_hosts(sa),
        };
        let rare = Rare { hosts, icmp: sa.icmp.clone() };
        Self {
            local: Side::of(&sa.local_ts),
            remote: Side::of(&sa.remote_ts),
            rare: (rare != Rare::NONE).then(|| Box::new(rare)),
        }
    }

    /// The two hosts that alone may speak, if there are such.
    pub(super) fn hosts(&self) -> Option<Hosts> {
        self.rare.as_ref().and_then(|rare| rare.hosts)
    }

    /// For a group, which has not two ends.
    pub(super) fn forget_hosts(&mut self) {
        self.rare.iter_mut().for_each(|rare| rare.hosts = None);
    }

    /// Whether the peer's first one is of IPv6.
    pub(super) fn begin_with_ipv6(&self) -> bool {
        self.remote.first.is_some_and(|selector| !selector.is_ipv4())
    }

    /// How an ICMP message passes.
    pub(super) fn passage(&self, side: IcmpSide, protocol: IpProtocol, icmp: Icmp) -> IcmpPassage {
        self.rare.as_deref().unwrap_or(&Rare::NONE).icmp.passage(side, protocol, icmp)
    }

    /// What becomes of an ICMP message from outside.
    pub(super) fn red(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpRed {
        self.rare.as_deref().unwrap_or(&Rare::NONE).icmp.red(protocol, icmp)
    }

    /// Where outside is, if somebody says so.
    pub(super) fn interfaces(&self) -> Option<&IcmpInterfaces> {
        let named = self.rare.as_deref().map(|rare| &rare.icmp.interfaces);
        named.filter(|named| !named.is_none())
    }

    /// Who is told of packets that are refused.
    pub(super) fn security_failures(&self) -> SecurityFailures {
        self.rare.as_deref().unwrap_or(&Rare::NONE).icmp.security_failures
    }

    /// Whether they contain the addresses of a packet that leaves, of whatever protocol.
    pub(super) fn contain_addresses(&self, flow: &FlowKey) -> bool {
        let has = |side: &Side, address: IpAddr| {
            side.any(|selector| {
                selector.is_ipv4() == address.is_ipv4()
                    && (selector.start..=selector.end).contains(&address)
            })
        };
        self.are_hosts_of(flow) && has(&self.local, flow.src) && has(&self.remote, flow.dst)
    }

    /// Whether a packet that leaves is between the two hosts that alone may speak, if there are such.
    fn are_hosts_of(&self, flow: &FlowKey) -> bool {
        self.hosts().is_none_or(|hosts| (hosts.local, hosts.remote) == (flow.src, flow.dst))
    }

    /// Whether they contain a packet that leaves.
    pub(super) fn contain(&self, flow: &FlowKey) -> bool {
        self.are_hosts_of(flow)
            && self.local.any(|selector| selector.contains_source(flow))
            && self.remote.any(|selector| selector.contains_destination(flow))
    }
}

/// The selectors of one side. There is mostly one, and that lies at hand.
#[derive(Debug, Eq, PartialEq)]
struct Side {
    first: Option<TrafficSelector>,
    others: Box<[TrafficSelector]>,
}

impl Side {
    fn of(selectors: &[TrafficSelector]) -> Self {
        let (first, others) = selectors.split_first().unzip();
        Self { first: first.copied(), others: others.unwrap_or_default().into() }
    }

    fn any(&self, is_right: impl Fn(&TrafficSelector) -> bool) -> bool {
        self.first.iter().chain(&self.others).any(is_right)
    }
}

/// In BEET mode all selectors are of the one host of each side.
fn inner_hosts(sa: &ChildSa) -> Option<Hosts> {
    Some(Hosts { local: sa.local_ts.first()?.start, remote: sa.remote_ts.first()?.start })
}

/// The two ends.
pub(super) fn hosts(sa: &ChildSa) -> Hosts {
    Hosts { local: sa.encap.local.ip(), remote: sa.encap.remote.ip() }
}
