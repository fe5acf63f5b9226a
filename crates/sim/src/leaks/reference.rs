//! What policies and selectors mean, said as plainly as RFC 4301 §4.4.1 does: a list that is
//! walked. Nothing here is shared with the databases it judges.

use std::net::IpAddr;

use adit_db::{Action, Rank, Sides, SpdEntry};
use adit_wire::ikev2::TrafficSelector;

/// What a whole packet shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flow {
    /// Who sends it.
    pub(super) src: IpAddr,
    /// Who gets it.
    pub(super) dst: IpAddr,
    /// What is above IP.
    pub(super) protocol: u8,
    /// The ports, if the protocol has any.
    pub(super) ports: Option<(u16, u16)>,
}

/// One end of a flow.
#[derive(Clone, Copy)]
struct Place {
    address: IpAddr,
    protocol: u8,
    port: Option<u16>,
}

impl Flow {
    fn sender(self) -> Place {
        let port = self.ports.map(|(port, _)| port);
        Place { address: self.src, protocol: self.protocol, port }
    }

    fn receiver(self) -> Place {
        let port = self.ports.map(|(_, port)| port);
        Place { address: self.dst, protocol: self.protocol, port }
    }
}

/// The near end's policies in order of precedence.
#[derive(Debug, Default)]
pub(super) struct Reference(pub(super) Vec<(Rank, SpdEntry)>);

impl Reference {
    /// Adds an entry at its place.
    pub(super) fn insert(&mut self, rank: Rank, entry: SpdEntry) {
        let at = self.0.partition_point(|(other, _)| *other < rank);
        self.0.insert(at, (rank, entry));
    }

    /// Removes the entry of this rank.
    pub(super) fn remove(&mut self, rank: Rank) {
        self.0.retain(|(other, _)| *other != rank);
    }

    /// What happens to a packet that leaves.
    pub(super) fn outbound(&self, flow: &Flow) -> Option<Action> {
        self.first(flow.sender(), flow.receiver())
    }

    /// What should have happened to a packet that comes in.
    pub(super) fn inbound(&self, flow: &Flow) -> Option<Action> {
        self.first(flow.receiver(), flow.sender())
    }

    fn first(&self, near: Place, far: Place) -> Option<Action> {
        let matches = |entry: &SpdEntry| any(&entry.local, near) && any(&entry.remote, far);
        self.0.iter().find(|(_, entry)| matches(entry)).map(|(_, entry)| entry.action)
    }
}

/// Whether a child SA's selectors let a packet out.
pub(super) fn lets_out(sides: &Sides, flow: &Flow) -> bool {
    any(&sides.local, flow.sender()) && any(&sides.remote, flow.receiver())
}

/// Whether a child SA's selectors let a packet in.
pub(super) fn lets_in(sides: &Sides, flow: &Flow) -> bool {
    any(&sides.local, flow.receiver()) && any(&sides.remote, flow.sender())
}

fn any(selectors: &[TrafficSelector], place: Place) -> bool {
    selectors.iter().any(|selector| selects(selector, place))
}

fn selects(selector: &TrafficSelector, place: Place) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6, address.to_bits()),
    };
    let (first, last) = (selector.ports.start, selector.ports.end);
    let port = match place.port {
        Some(port) => (first..=last).contains(&port),
        // RFC 7296 §3.13.1: ANY is 0 to 65535, OPAQUE is 65535 to 0.
        None => matches!((first, last), (0, 65_535) | (65_535, 0)),
    };
    (number(selector.start)..=number(selector.end)).contains(&number(place.address))
        && (selector.protocol == 0 || selector.protocol == place.protocol)
        && port
}

#[cfg(test)]
mod tests {
    use adit_db::{PolicyId, TsSpec};

    use super::*;

    #[test]
    fn the_first_entry_that_matches_decides() {
        let ts = |text: &str| vec![text.parse::<TsSpec>().unwrap().selector().unwrap()];
        let entry =
            |remote: &str, action| SpdEntry { local: ts("0.0.0.0/0"), remote: ts(remote), action };
        let mut list = Reference::default();
        list.insert(Rank(9), entry("10.2.0.0/16", Action::Bypass));
        list.insert(Rank(5), entry("10.2.0.0/16[udp/53]", Action::Protect(PolicyId(1))));
        let flow = |dst: [u8; 4], ports| Flow {
            src: [10, 1, 0, 1].into(),
            dst: dst.into(),
            protocol: 17,
            ports,
        };
        let dns = flow([10, 2, 0, 1], Some((9, 53)));
        assert_eq!(list.outbound(&dns), Some(Action::Protect(PolicyId(1))));
        assert_eq!(list.outbound(&flow([10, 2, 0, 1], Some((53, 9)))), Some(Action::Bypass));
        assert_eq!(list.outbound(&flow([10, 2, 0, 1], None)), Some(Action::Bypass));
        assert_eq!(list.outbound(&flow([10, 3, 0, 1], None)), None);
        assert_eq!(list.inbound(&dns), None);
        list.remove(Rank(5));
        assert_eq!(list.outbound(&dns), Some(Action::Bypass));
    }
}
