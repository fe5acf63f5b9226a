//! Transport mode between two hosts, perhaps with a NAT between them (RFC 7296 §1.3.1, §2.23.1), and
//! BEET mode, which has a notify of ours, for there is no standard one.

use std::net::IpAddr;

use adit_db::{Hosts, Mode};
use adit_wire::ikev2::TrafficSelector;

use crate::keymat::Role;
use crate::traffic_selector::SelectorPair;
use crate::v2::child::Ends;

/// The mode of a child that both ends agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Agreement {
    /// Tunnel mode.
    Tunnel,
    /// Transport mode.
    Transport {
        /// The two ends as the peer knows them, if that is not as we do.
        peer_view: Option<Hosts>,
    },
    /// BEET mode.
    Beet,
}

impl Agreement {
    /// Transport mode with the selectors that came from the peer, and these selectors as they are
    /// here; `None` if they are not those of two hosts that are the ends of the IKE SA.
    ///
    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.23.1
    //# If the server is behind a NAT, substitute the IP address in the TSr
    //# entries with the local address of the IKE SA.
    ///
    /// The same holds for each end that is behind a NAT, in the request and in the response.
    pub(crate) fn transport(
        theirs: &SelectorPair,
        role: Role,
        ends: Ends,
    ) -> Option<(Self, SelectorPair)> {
        let hosts = match role {
            Role::Initiator => Hosts {
                local: single_host(&theirs.initiator)?,
                remote: single_host(&theirs.responder)?,
            },
            Role::Responder => Hosts {
                local: single_host(&theirs.responder)?,
                remote: single_host(&theirs.initiator)?,
            },
        };
        let here = Hosts {
            local: if ends.we_are_behind_nat { ends.local } else { hosts.local },
            remote: if ends.peer_is_behind_nat { ends.remote } else { hosts.remote },
        };
        let same_family = here.local.is_ipv4() == here.remote.is_ipv4()
            && hosts.local.is_ipv4() == here.local.is_ipv4()
            && hosts.remote.is_ipv4() == here.remote.is_ipv4();
        if here != (Hosts { local: ends.local, remote: ends.remote }) || !same_family {
            return None;
        }
        let (initiator, responder) = match role {
            Role::Initiator => (here.local, here.remote),
            Role::Responder => (here.remote, here.local),
        };
        let selectors = SelectorPair {
            initiator: moved(&theirs.initiator, initiator),
            responder: moved(&theirs.responder, responder),
        };
        let peer_view = (hosts != here).then_some(hosts);
        Some((Self::Transport { peer_view }, selectors))
    }

    /// BEET mode with these selectors; `None` if they are not of one host on each side.
    pub(crate) fn beet(selectors: &SelectorPair) -> Option<Self> {
        let [one, other] =
            [&selectors.initiator, &selectors.responder].map(|side| single_host(side));
        (one?.is_ipv4() == other?.is_ipv4()).then_some(Self::Beet)
    }

    /// What is announced with a notify, or not.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Tunnel => Mode::Tunnel,
            Self::Transport { .. } => Mode::Transport,
            Self::Beet => Mode::Beet,
        }
    }

    pub(crate) fn peer_view(self) -> Option<Hosts> {
        match self {
            Self::Tunnel | Self::Beet => None,
            Self::Transport { peer_view } => peer_view,
        }
    }
}

/// The one address of all selectors.
fn single_host(selectors: &[TrafficSelector]) -> Option<IpAddr> {
    let address = selectors.first()?.start;
    selectors.iter().all(|one| one.start == address && one.end == address).then_some(address)
}

fn moved(selectors: &[TrafficSelector], address: IpAddr) -> Vec<TrafficSelector> {
    selectors.iter().map(|one| TrafficSelector { start: address, end: address, ..*one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pair(initiator: &str, responder: &str) -> SelectorPair {
        let side = |text: &str| vec![TrafficSelector::from_address(host(text)); 2];
        SelectorPair { initiator: side(initiator), responder: side(responder) }
    }

    /// The picture of RFC 7296 §2.23.1: client IP1 behind a NAT IPN1, server IP2 behind IPN2.
    const IP1: &str = "10.1.0.1";
    const IPN1: &str = "192.0.2.1";
    const IPN2: &str = "198.51.100.2";
    const IP2: &str = "10.2.0.2";

    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.23.1
    //= type=test
    //# If the server is behind a NAT, substitute the IP address in the TSr
    //# entries with the local address of the IKE SA.
    #[test]
    fn both_ends_see_their_own_addresses() {
        let server = Ends {
            udp: true,
            local: host(IP2),
            remote: host(IPN1),
            we_are_behind_nat: true,
            peer_is_behind_nat: true,
        };
        let (agreed, here) =
            Agreement::transport(&pair(IP1, IPN2), Role::Responder, server).unwrap();
        assert_eq!(here, pair(IPN1, IP2));
        assert_eq!(agreed.peer_view(), Some(Hosts { local: host(IPN2), remote: host(IP1) }));

        // The answer comes back with the server's addresses.
        let client = Ends { local: host(IP1), remote: host(IPN2), ..server };
        let (agreed, here) = Agreement::transport(&here, Role::Initiator, client).unwrap();
        assert_eq!(here, pair(IP1, IPN2));
        assert_eq!(agreed.peer_view(), Some(Hosts { local: host(IPN1), remote: host(IP2) }));
    }

    #[test]
    fn without_a_nat_the_selectors_are_those_of_the_ends() {
        let ends = Ends {
            udp: true,
            local: host(IP2),
            remote: host(IPN1),
            we_are_behind_nat: false,
            peer_is_behind_nat: false,
        };
        let transport = |theirs: &SelectorPair| Agreement::transport(theirs, Role::Responder, ends);
        let (agreed, here) = transport(&pair(IPN1, IP2)).unwrap();
        assert_eq!((agreed.mode(), agreed.peer_view()), (Mode::Transport, None));
        assert_eq!(here, pair(IPN1, IP2));

        assert_eq!(transport(&pair(IP1, IP2)), None);
        assert_eq!(transport(&pair(IPN1, IPN2)), None);
        let mut wide = pair(IPN1, IP2);
        wide.initiator[1].end = host("192.0.2.2");
        assert_eq!(transport(&wide), None);
        assert_eq!(transport(&SelectorPair::default()), None);
        assert_eq!(transport(&pair("::1", IP2)), None);
    }
}
