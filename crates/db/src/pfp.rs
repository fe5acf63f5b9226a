//! Populate-from-packet flags, RFC 4301 §4.4.1.2: which selectors of an SA are not those of its
//! policy but those of the packet that asked for it.
//!
//! Packets that agree in the flagged selectors are of one [`FlowClass`], and share an SA. The
//! message types of ICMP and Mobile IPv6 stand in the place of ports but are left as the policy has
//! them: an answer has another type than its question, and would need an SA of its own.

use std::net::IpAddr;

use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, FlowSide};

use crate::spd::Sides;

/// The flags of one policy.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Pfp {
    /// Our address.
    pub local: bool,
    /// The other address.
    pub remote: bool,
    /// The protocol above IP.
    pub protocol: bool,
    /// Our port.
    pub local_port: bool,
    /// The other port.
    pub remote_port: bool,
}

/// The flagged selectors of a packet; what is not flagged is not there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowClass {
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    protocol: Option<u8>,
    local_port: Option<u16>,
    remote_port: Option<u16>,
}

/// What the flags take from one end of a packet.
#[derive(Clone, Copy)]
struct Taken {
    address: Option<IpAddr>,
    protocol: Option<u8>,
    port: Option<u16>,
}

impl Pfp {
    /// No flag: all packets of a policy are of one class.
    pub const NONE: Self = Self {
        local: false,
        remote: false,
        protocol: false,
        local_port: false,
        remote_port: false,
    };

    /// The words of the configuration.
    pub const WORDS: [&'static str; 5] =
        ["local", "remote", "protocol", "local_port", "remote_port"];

    /// Sets the flag of a word; `false` if it is none of [`Self::WORDS`].
    pub fn set(&mut self, word: &str) -> bool {
        let flag = match word {
            "local" => &mut self.local,
            "remote" => &mut self.remote,
            "protocol" => &mut self.protocol,
            "local_port" => &mut self.local_port,
            "remote_port" => &mut self.remote_port,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The words of the flags that are set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let Self { local, remote, protocol, local_port, remote_port } = self;
        let flags = [local, remote, protocol, local_port, remote_port];
        Self::WORDS.into_iter().zip(flags).filter_map(|(word, is_set)| is_set.then_some(word))
    }

    /// Whether no flag is set.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether more than addresses is taken, so that a fragment does not show its class.
    pub fn looks_above_ip(self) -> bool {
        self.protocol || self.local_port || self.remote_port
    }

    /// The class of a packet that leaves.
    pub fn class(self, flow: &FlowKey) -> FlowClass {
        let (local, remote) = self.taken(flow);
        FlowClass {
            local: local.address,
            remote: remote.address,
            protocol: local.protocol,
            local_port: local.port,
            remote_port: remote.port,
        }
    }

    /// The selectors of the SA for a packet that leaves: those of its policy, which the packet must
    /// match, with what is flagged taken from it. `None` if the packet does not match.
    pub fn populate(self, sides: &Sides, flow: &FlowKey) -> Option<Sides> {
        let family = (self.local || self.remote).then_some(flow.src.is_ipv4());
        let populate = |side: &[TrafficSelector], taken: Taken| {
            let in_family = |ts: &&TrafficSelector| family.is_none_or(|v4| v4 == ts.is_ipv4());
            let mut side: Vec<TrafficSelector> =
                side.iter().filter(in_family).filter_map(|ts| taken.put_into(ts)).collect();
            side.sort_unstable();
            side.dedup();
            side
        };
        let (local, remote) = self.taken(flow);
        let populated =
            Sides { local: populate(&sides.local, local), remote: populate(&sides.remote, remote) };
        (!populated.local.is_empty() && !populated.remote.is_empty()).then_some(populated)
    }

    /// Whether an SA with these selectors was made for packets of the class of `flow`, whether or not
    /// the peer narrowed them so far that it carries this one.
    pub fn is_for(self, sides: &Sides, flow: &FlowKey) -> bool {
        let (local, remote) = self.taken(flow);
        sides.local.iter().all(|ts| local.is_in(ts))
            && sides.remote.iter().all(|ts| remote.is_in(ts))
    }

    fn taken(self, flow: &FlowKey) -> (Taken, Taken) {
        let taken = |side: FlowSide, address: bool, port: bool| Taken {
            address: address.then_some(side.address),
            protocol: self.protocol.then_some(side.protocol),
            port: side.port.filter(|_| port && has_ports(side.protocol)),
        };
        (
            taken(flow.source(), self.local, self.local_port),
            taken(flow.destination(), self.remote, self.remote_port),
        )
    }
}

impl Taken {
    /// The selector with what was taken; `None` if that is not part of it.
    fn put_into(self, ts: &TrafficSelector) -> Option<TrafficSelector> {
        let taken = TrafficSelector {
            protocol: self.protocol.unwrap_or(ts.protocol),
            ports: self.port.map_or(ts.ports, PortRange::single),
            start: self.address.unwrap_or(ts.start),
            end: self.address.unwrap_or(ts.end),
        };
        taken.is_subset_of(ts).then_some(taken)
    }

    /// Whether a selector has what was taken, and nothing beside it.
    fn is_in(self, ts: &TrafficSelector) -> bool {
        self.address.is_none_or(|address| (ts.start, ts.end) == (address, address))
            && self.protocol.is_none_or(|protocol| ts.protocol == protocol)
            && self.port.is_none_or(|port| ts.ports == PortRange::single(port))
    }
}

/// Whether what stands in the place of a packet's ports are ports (RFC 7296 §3.13.1).
fn has_ports(protocol: u8) -> bool {
    !matches!(IpProtocol(protocol), IpProtocol::ICMP | IpProtocol::ICMPV6 | IpProtocol::MOBILITY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags(words: &str) -> Pfp {
        let mut pfp = Pfp::NONE;
        for word in words.split_whitespace() {
            assert!(pfp.set(word), "{word}");
        }
        assert!(
            pfp.words().eq(Pfp::WORDS
                .into_iter()
                .filter(|word| { words.split_whitespace().any(|one| one == *word) }))
        );
        pfp
    }

    fn side(texts: &str) -> Vec<TrafficSelector> {
        texts.split(' ').map(|text| text.parse().unwrap()).collect()
    }

    fn sides(local: &str, remote: &str) -> Sides {
        Sides { local: side(local), remote: side(remote) }
    }

    fn tcp(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> FlowKey {
        FlowKey::new(src.into(), dst.into(), 6, src_port, dst_port)
    }

    /// RFC 4301 §4.4.1: one policy, one packet, and what each flag takes from it.
    #[test]
    fn flagged_selectors_are_those_of_the_packet() {
        let policy = sides("10.1.0.0/24", "10.2.0.0/24");
        let packet = tcp([10, 1, 0, 5], [10, 2, 0, 7], 40_000, 443);
        for (words, local, remote) in [
            ("", "10.1.0.0/24", "10.2.0.0/24"),
            ("local", "10.1.0.5", "10.2.0.0/24"),
            ("remote", "10.1.0.0/24", "10.2.0.7"),
            ("local remote", "10.1.0.5", "10.2.0.7"),
            ("protocol", "10.1.0.0/24[tcp]", "10.2.0.0/24[tcp]"),
            ("protocol remote_port", "10.1.0.0/24[tcp]", "10.2.0.0/24[tcp/443]"),
            (
                "local remote protocol local_port remote_port",
                "10.1.0.5[tcp/40000]",
                "10.2.0.7[tcp/443]",
            ),
        ] {
            let populated = flags(words).populate(&policy, &packet).unwrap();
            assert_eq!(populated, sides(local, remote), "{words}");
            assert!(flags(words).is_for(&populated, &packet), "{words}");
        }
    }

    /// Of several selectors those stay that the packet's values fit.
    #[test]
    fn selectors_of_other_families_and_protocols_drop_out() {
        let policy = sides(
            "10.1.0.0/24 10.3.0.0/24 fd01::/64",
            "10.2.0.0/24[udp] 10.2.0.0/24[tcp/80-90] 10.4.0.0/24 fd02::/64",
        );
        let packet = tcp([10, 1, 0, 5], [10, 2, 0, 7], 40_000, 80);
        assert_eq!(
            flags("remote protocol remote_port").populate(&policy, &packet).unwrap(),
            sides("10.1.0.0/24[tcp] 10.3.0.0/24[tcp]", "10.2.0.7[tcp/80]")
        );
        // Both families, as no address is taken.
        let both = flags("protocol").populate(&policy, &packet).unwrap();
        assert_eq!(both.local, side("10.1.0.0/24[tcp] 10.3.0.0/24[tcp] fd01::/64[tcp]"));
        let outside = tcp([10, 1, 0, 5], [10, 9, 0, 7], 40_000, 80);
        assert_eq!(flags("remote").populate(&policy, &outside), None);
    }

    /// A ping and its answer are of one class on either side.
    #[test]
    fn message_types_are_no_ports() {
        let all = flags("local remote protocol local_port remote_port");
        let policy = sides("10.1.0.0/24", "10.2.0.0/24");
        let message = |kind: u16| {
            FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 1, kind << 8, kind << 8)
        };
        let populated = all.populate(&policy, &message(8)).unwrap();
        assert_eq!(populated, sides("10.1.0.5[icmp]", "10.2.0.7[icmp]"));
        assert_eq!(all.class(&message(8)), all.class(&message(0)));
    }

    prop_compose! {
        fn any_flow()(
            src in 0_u8..4, dst in 0_u8..4, protocol in prop::sample::select(vec![1_u8, 6, 17, 47]),
            ports in (0_u16..3, 0_u16..3), opaque: bool,
        ) -> FlowKey {
            let (src, dst) = ([10, 1, 0, src].into(), [10, 2, 0, dst].into());
            FlowKey { opaque, ..FlowKey::new(src, dst, protocol, ports.0, ports.1) }
        }
    }

    proptest! {
        /// Packets share an SA exactly if they are of one class, whatever the flags.
        #[test]
        fn a_class_is_what_shares_an_sa(
            set in prop::array::uniform5(any::<bool>()), one in any_flow(), other in any_flow(),
        ) {
            let mut pfp = Pfp::NONE;
            for (word, _) in Pfp::WORDS.into_iter().zip(set).filter(|(_, set)| *set) {
                pfp.set(word);
            }
            let policy = sides("10.1.0.0/24", "10.2.0.0/24");
            let [first, second] = [&one, &other].map(|flow| pfp.populate(&policy, flow).unwrap());
            prop_assert_eq!(first == second, pfp.class(&one) == pfp.class(&other));
            prop_assert!(pfp.is_for(&first, &one));
            if pfp.class(&one) == pfp.class(&other) {
                prop_assert!(pfp.is_for(&first, &other));
            }
        }
    }
}
