//! Who speaks with whom: outer addresses, senders, selectors.

use std::net::IpAddr;

use adit_db::{Directions, Mode, SENDERS_MAX, TsSpec};
use adit_wire::iana::ProtocolId;
use adit_wire::ikev2::TrafficSelector;

use super::Halves;
use crate::config::fields::{Fields, Placed};
use crate::config::report::Mistake;
use crate::config::tunnel::read_side;

/// The outer addresses.
pub(super) struct Ends {
    pub(super) address: IpAddr,
    pub(super) far: Far,
}

/// The other end.
#[derive(Clone, Copy)]
pub(super) enum Far {
    Peer(IpAddr),
    Group(IpAddr),
}

impl Far {
    pub(super) fn address(self) -> IpAddr {
        match self {
            Self::Peer(address) | Self::Group(address) => address,
        }
    }
}

impl Ends {
    pub(super) fn is_group(&self) -> bool {
        matches!(self.far, Far::Group(_))
    }
}

/// `address`, and `peer` or `group`.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Ends> {
    if !fields.has("address") {
        fields.missing("address", "\"192.0.2.1\", our address on the outside");
    }
    let address = read_host(fields, "address", "of this host");
    let both = fields.key_span("peer").zip(fields.key_span("group"));
    if let Some((peer, group)) = both {
        fields.mistake(
            Mistake::new(group, "`peer` and `group` are two ways to say who is at the other end")
                .label("a multicast group")
                .note(peer, "one host")
                .help("keep one of the two"),
        );
    } else if !fields.has("peer") && !fields.has("group") {
        fields.missing("peer", "\"192.0.2.2\", the peer's address, or group = \"239.1.1.1\"");
    }
    let peer = read_host(fields, "peer", "of a host");
    let group = read_ip(fields, "group", "of a multicast group");
    let group = group.filter(|group| {
        let fits = group.value.is_multicast();
        if !fits {
            fields.mistake(
                Mistake::new(group.span.clone(), "`group` is no multicast group")
                    .label("must be an address such as \"239.1.1.1\" or \"ff15::1\"")
                    .help("write one host as `peer`"),
            );
        }
        fits
    });
    let far = match (peer, group) {
        (Some(peer), None) => peer.map(Far::Peer),
        (None, Some(group)) => group.map(Far::Group),
        _ => return None,
    };
    let address = address?;
    if address.value.is_ipv4() != far.value.address().is_ipv4() {
        fields.mistake(
            Mistake::new(far.span, "the two ends are of different families")
                .label("IPv4 and IPv6 do not meet in one packet")
                .note(address.span, "our end"),
        );
        return None;
    }
    Some(Ends { address: address.value, far: far.value })
}

fn read_ip(fields: &mut Fields<'_>, key: &'static str, whose: &str) -> Option<Placed<IpAddr>> {
    fields.parsed::<IpAddr>(key, |_, text| format!("\"{text}\" is no IP address {whose}"))
}

/// The address of one host.
fn read_host(fields: &mut Fields<'_>, key: &'static str, whose: &str) -> Option<Placed<IpAddr>> {
    let host = read_ip(fields, key, whose)?;
    if !host.value.is_multicast() && !host.value.is_unspecified() {
        return Some(host);
    }
    fields.mistake(
        Mistake::new(host.span, format!("`{key}` is not the address of one host"))
            .label("a group, or nobody")
            .help("write a multicast group as `group`"),
    );
    None
}

const ENCAP: &[(&str, bool)] = &[("esp", false), ("udp", true)];

/// `encap`: whether ESP goes in UDP.
pub(super) fn read_encap(
    fields: &mut Fields<'_>,
    protocol: ProtocolId,
    ends: Option<&Ends>,
) -> bool {
    let Some(encap) = fields.word("encap", ENCAP) else { return false };
    let obstacle = match protocol {
        ProtocolId::AH => "AH covers the addresses that a NAT changes",
        _ if ends.is_some_and(Ends::is_group) => "it is for passing a NAT, which no group does",
        _ => return encap.value,
    };
    if encap.value {
        fields.mistake(
            Mistake::new(encap.span, "UDP is for ESP between two hosts")
                .label(obstacle)
                .help("encap = \"esp\", or leave the key out"),
        );
    }
    false
}

/// `senders`: who may send to the group, each with a replay window of its own.
pub(super) fn read_senders(
    fields: &mut Fields<'_>,
    ends: Option<&Ends>,
    halves: &Halves,
) -> Vec<IpAddr> {
    if !fields.has("senders") {
        fields.optional("senders");
        return Vec::new();
    }
    let span = fields.key_span("senders").unwrap_or(0..0);
    let texts = fields.strings("senders").unwrap_or_default();
    if ends.is_some_and(|ends| !ends.is_group()) || halves.spi_in.is_none() {
        fields.mistake(
            Mistake::new(span, "`senders` is for what comes from a group")
                .label("nobody else sends here")
                .help("leave the key out"),
        );
        return Vec::new();
    }
    if texts.len() > SENDERS_MAX {
        let label = format!("at most {SENDERS_MAX}");
        fields.mistake(Mistake::new(span, "too many senders").label(label));
        return Vec::new();
    }
    let mut senders = Vec::new();
    for text in texts {
        let address = text.value.parse::<IpAddr>().ok().filter(|address| {
            !address.is_multicast()
                && !address.is_unspecified()
                && ends.is_none_or(|ends| ends.address.is_ipv4() == address.is_ipv4())
        });
        match address {
            Some(address) => senders.push(address),
            None => fields.mistake(
                Mistake::new(text.span, "`senders` cannot be understood")
                    .label("must be the address of a host, of the family of the group"),
            ),
        }
    }
    senders.sort_unstable();
    senders.dedup();
    senders
}

/// The selectors of both sides as they are written.
type Sides = [Vec<Placed<TsSpec>>; 2];

/// `local` and `remote`. Whoever listens to a group may leave open who speaks.
pub(super) fn read_sides(fields: &mut Fields<'_>, mode: Mode, from_group: bool) -> Sides {
    let (local_example, remote_example) = match mode {
        Mode::Tunnel | Mode::Beet => (
            Some("\"10.1.0.0/24\", whom the packets inside are from, or for"),
            Some("\"10.2.0.0/24\", the same at the other end"),
        ),
        Mode::Transport => (None, None),
    };
    let local = read_side(fields, "local", local_example);
    if from_group && mode == Mode::Transport && !fields.has("remote") {
        fields.optional("remote");
        return [local, Vec::new()];
    }
    [local, read_side(fields, "remote", remote_example)]
}

/// The selectors, now that the ends are known.
pub(super) fn settle(
    fields: &mut Fields<'_>,
    mode: Mode,
    ends: &Ends,
    directions: &Directions,
    [local, remote]: Sides,
) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let (here, there) = match directions {
        Directions::FromGroup { .. } => (ends.far.address(), None),
        Directions::Both { .. } | Directions::ToGroup(_) => {
            (ends.address, Some(ends.far.address()))
        }
    };
    if mode == Mode::Transport {
        keep_to(fields, &local, Some(here));
        keep_to(fields, &remote, there);
    }
    let local = local.iter().map(|ts| ts.value.resolve(here)).collect();
    if remote.is_empty() {
        return (local, anyone(directions, here.is_ipv4()));
    }
    let mut others = Vec::new();
    for ts in remote {
        match (ts.value.selector(), there) {
            (Some(selector), _) => others.push(selector),
            (None, Some(there)) => others.push(ts.value.resolve(there)),
            (None, None) => fields.mistake(
                Mistake::new(ts.span, "`remote` cannot be \"dynamic\" here")
                    .label("a group has many senders")
                    .help("write their network"),
            ),
        }
    }
    (local, others)
}

/// The senders that are named, or everybody.
fn anyone(directions: &Directions, ipv4: bool) -> Vec<TrafficSelector> {
    match directions {
        Directions::FromGroup { senders, .. } if !senders.is_empty() => {
            senders.iter().map(|sender| TsSpec::DYNAMIC.resolve(*sender)).collect()
        }
        _ if ipv4 => vec![TrafficSelector::ANY_V4],
        Directions::Both { .. } | Directions::ToGroup(_) | Directions::FromGroup { .. } => {
            vec![TrafficSelector::ANY_V6]
        }
    }
}

/// RFC 4301 §4.1: transport mode is for the ends themselves.
fn keep_to(fields: &mut Fields<'_>, side: &[Placed<TsSpec>], end: Option<IpAddr>) {
    let Some(end) = end else { return };
    let is_end = |ts: &Placed<TsSpec>| {
        ts.value.selector().is_none_or(|selector| (selector.start, selector.end) == (end, end))
    };
    if let Some(beyond) = side.iter().find(|ts| !is_end(ts)) {
        fields.mistake(
            Mistake::new(beyond.span.clone(), "transport mode is for the two ends alone")
                .label("more than the address of one end")
                .help("leave the key out, or write mode = \"tunnel\""),
        );
    }
}
