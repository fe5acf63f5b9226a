//! `over`: a tunnel whose packets another tunnel protects once more (RFC 4301 §4.4.1, nested SAs).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use adit_db::{ChildConfig, Connection, ConnectionName, Encap, HostSpec, Mode, TsSpec};
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;

use super::Draft;
use crate::config::fields::Fields;
use crate::config::report::{ConfigError, Mistake};

/// Most tunnels that protect one packet.
const NESTING_MAX: usize = 4;

/// Reads `over`; gives the place of the name.
pub(super) fn read(fields: &mut Fields<'_>, connection: &mut Connection) -> Option<Range<usize>> {
    let over = fields.parsed::<ConnectionName>("over", |error, _| error.to_string())?;
    if over.value == connection.name {
        fields.mistake(
            Mistake::new(over.span, "a tunnel cannot go through itself")
                .label("its own name")
                .help("name another tunnel, or leave the key out"),
        );
        return None;
    }
    let hosts = &connection.remote_addresses;
    if hosts.is_empty() || !hosts.iter().all(|host| matches!(host, HostSpec::Address(_))) {
        fields.mistake(
            Mistake::new(
                over.span.clone(),
                format!("the peer's address is needed to reach it through {}", over.value),
            )
            .label("goes through another tunnel")
            .help("write peer = \"203.0.113.7\", an address and no name"),
        );
    }
    connection.over = Some(over.value);
    Some(over.span)
}

/// Whether each tunnel's outer one is there and carries its packets, at most [`NESTING_MAX`] deep.
pub(in crate::config) fn judge(drafts: &[Draft<'_>]) -> Vec<ConfigError> {
    let by_name: BTreeMap<&ConnectionName, &Draft<'_>> =
        drafts.iter().map(|draft| (&draft.tunnel.connection.name, draft)).collect();
    let mistake = |draft: &Draft<'_>| {
        let connection = &draft.tunnel.connection;
        let (over, span) = (connection.over.as_ref()?, draft.over.clone()?);
        let Some(outer) = by_name.get(over) else {
            return Some(no_such_tunnel(over, span, by_name.keys().copied()).render(draft.file));
        };
        let mistake = too_deep(&by_name, draft, &span)
            .or_else(|| same_ends(connection, &outer.tunnel.connection, &span))
            .or_else(|| uncarried(connection, &outer.tunnel.connection, span))?;
        Some(mistake.render(draft.file))
    };
    drafts.iter().filter_map(mistake).collect()
}

fn no_such_tunnel<'a, 'b>(
    over: &ConnectionName,
    span: Range<usize>,
    known: impl Iterator<Item = &'b ConnectionName>,
) -> Mistake<'a> {
    let nearest = adit_db::nearest(over.as_str(), known.map(ConnectionName::as_str));
    Mistake::new(span, format!("there is no tunnel {over}"))
        .label("must be the name of another tunnel's file")
        .help_some(nearest.map(|name| format!("did you mean \"{name}\"?")))
}

/// A circle, or a tunnel too many.
fn too_deep<'a>(
    by_name: &BTreeMap<&ConnectionName, &Draft<'_>>,
    draft: &Draft<'_>,
    span: &Range<usize>,
) -> Option<Mistake<'a>> {
    let first = &draft.tunnel.connection.name;
    let mut names = vec![first];
    let mut next = draft;
    while let Some(over) = &next.tunnel.connection.over {
        if names.contains(&over) {
            names.push(over);
            let sentence = "tunnels go through each other in a circle";
            let help = "let one of them be the outermost: without `over`";
            return Some(Mistake::new(span.clone(), sentence).label(chain(&names)).help(help));
        }
        names.push(over);
        if names.len() > NESTING_MAX {
            let sentence = format!("more than {NESTING_MAX} tunnels are nested");
            let help = format!("a packet is protected at most {NESTING_MAX} times: leave one out");
            return Some(Mistake::new(span.clone(), sentence).label(chain(&names)).help(help));
        }
        next = by_name.get(over)?;
    }
    None
}

fn chain(names: &[&ConnectionName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" over ")
}

/// The peer tells two tunnels apart by who they say they are.
fn same_ends<'a>(
    inner: &Connection,
    outer: &Connection,
    span: &Range<usize>,
) -> Option<Mistake<'a>> {
    let is_shared = |host: &HostSpec| outer.remote_addresses.contains(host);
    let same_peer = inner.remote_addresses.iter().any(is_shared);
    let same_names =
        (&inner.pad.local_id, &inner.pad.remote_id) == (&outer.pad.local_id, &outer.pad.remote_id);
    (same_peer && same_names).then(|| {
        Mistake::new(span.clone(), format!("nobody can tell this tunnel from {}", outer.name))
            .label("the same peer, and the same identities on both sides")
            .help("give it identities of its own, id = \"net.oslo.example\" and peer_id = \"net.berlin.example\"")
    })
}

/// What an outer tunnel does not take of an inner one's packets.
fn uncarried<'a>(
    inner: &Connection,
    outer: &Connection,
    span: Range<usize>,
) -> Option<Mistake<'a>> {
    let (child, around) = (inner.children.first()?, outer.children.first()?);
    let name = &outer.name;
    if outer.children.len() > 1 {
        return Some(
            Mistake::new(span, format!("{name} divides its packets by class"))
                .label("which of its SAs would take this tunnel's packets?")
                .help(format!("leave `classes` out in {name}.toml, or go over another tunnel")),
        );
    }
    if child.is_ah_only() && !around.is_ah_only() && around.mode != Mode::Tunnel {
        let mode = around.mode.word();
        return Some(
            Mistake::new(span, format!("AH cannot go through {mode} mode of ESP"))
                .label("does not keep the header that AH covers")
                .help(format!("let {name} go over this one, or write mode = \"tunnel\" there")),
        );
    }
    let ours = own_address(inner).or_else(|| own_address(outer));
    let local = |protocols: &[Carried]| {
        carries(&around.local_ts, ours, own_address(outer), protocols, true)
    };
    for peer in inner.remote_addresses.iter().filter_map(HostSpec::address) {
        let dynamic = outer.remote_addresses.iter().filter_map(HostSpec::address);
        let dynamic =
            dynamic.clone().find(|other| *other == peer).or_else(|| dynamic.clone().next());
        let remote = |protocols: &[Carried]| {
            carries(&around.remote_ts, Some(peer), dynamic, protocols, false)
        };
        let ways = sealed(inner, child);
        if !remote(&[Carried::Any]) {
            return Some(outside(span, name, "remote", &format!("{peer}, this tunnel's peer")));
        }
        if !local(&[Carried::Any]) {
            let what = ours.map_or_else(
                || "our address: write it in this file, address = \"192.0.2.1\"".to_owned(),
                |ours| format!("{ours}, our address"),
            );
            return Some(outside(span, name, "local", &what));
        }
        if !ways.iter().any(|way| remote(&[*way]) && local(&[*way])) {
            return Some(narrow(span, name, &ways));
        }
        let direct = outer.remote_addresses.contains(&HostSpec::Address(peer));
        if !direct && carries(&child.remote_ts, Some(peer), Some(peer), &[Carried::Udp(500)], false)
        {
            return Some(
                Mistake::new(span, "IKE with the peer would wait for the tunnel that it makes")
                    .label(format!("`remote` contains {peer}, which is reached through {name}"))
                    .help("take the peer's address out of `remote`, or narrow it to protocols"),
            );
        }
        let ike = [Carried::Udp(500), Carried::Udp(4500)];
        if !direct && !ike.iter().all(|port| remote(&[*port]) && local(&[*port])) {
            return Some(narrow(span, name, &ike));
        }
    }
    None
}

fn outside<'a>(span: Range<usize>, outer: &ConnectionName, key: &str, what: &str) -> Mistake<'a> {
    Mistake::new(span, format!("tunnel {outer} does not carry this tunnel's packets"))
        .label(format!("`{key}` of {outer} does not contain {what}"))
        .help(format!("widen `{key}` in {outer}.toml, or go over another tunnel"))
}

fn narrow<'a>(span: Range<usize>, outer: &ConnectionName, ways: &[Carried]) -> Mistake<'a> {
    let words: Vec<String> = ways.iter().map(|way| way.words()).collect();
    Mistake::new(span, format!("tunnel {outer} does not carry this tunnel's packets"))
        .label(format!("the protocols of {outer} do not contain {}", words.join(" and ")))
        .help(format!("name them in `local` and `remote` of {outer}.toml, or no protocol there"))
}

/// What must pass through an outer tunnel.
#[derive(Clone, Copy)]
enum Carried {
    /// Whatever it is.
    Any,
    Esp,
    Ah,
    /// UDP between ports of this number.
    Udp(u16),
}

impl Carried {
    fn words(self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Esp => "[esp]".to_owned(),
            Self::Ah => "[ah]".to_owned(),
            Self::Udp(port) => format!("[udp/{port}]"),
        }
    }

    fn is_within(self, selector: &TrafficSelector, address: IpAddr, is_source: bool) -> bool {
        let flow = match self {
            Self::Any => {
                return (selector.start..=selector.end).contains(&address)
                    && selector.is_ipv4() == address.is_ipv4();
            }
            Self::Esp => FlowKey::without_ports(address, address, IpProtocol::ESP.0),
            Self::Ah => FlowKey::without_ports(address, address, IpProtocol::AH.0),
            Self::Udp(port) => FlowKey::new(address, address, IpProtocol::UDP.0, port, port),
        };
        if is_source {
            selector.contains_source(&flow)
        } else {
            selector.contains_destination(&flow)
        }
    }
}

/// How the packets of a child may look outside.
fn sealed(connection: &Connection, child: &ChildConfig) -> Vec<Carried> {
    match connection.encap {
        _ if child.is_ah_only() => vec![Carried::Ah],
        Encap::Esp => vec![Carried::Esp],
        // Of what goes through another tunnel nothing is in TCP: the file would not have been read.
        Encap::Udp | Encap::Tcp => vec![Carried::Udp(4500)],
        Encap::Auto => vec![Carried::Esp, Carried::Udp(4500)],
    }
}

/// Whether selectors contain an address with these protocols. Where nobody knows our address yet, it is
/// what `dynamic` will be.
fn carries(
    specs: &[TsSpec],
    address: Option<IpAddr>,
    dynamic: Option<IpAddr>,
    all: &[Carried],
    is_source: bool,
) -> bool {
    let within = |spec: &TsSpec, one: Carried| match (address, spec.selector()) {
        (Some(address), Some(selector)) => one.is_within(&selector, address, is_source),
        (Some(address), None) => {
            one.is_within(&spec.resolve(dynamic.unwrap_or(address)), address, is_source)
        }
        (None, Some(_)) => false,
        (None, None) => {
            let any = IpAddr::from([192, 0, 2, 1]);
            one.is_within(&spec.resolve(any), any, is_source)
        }
    };
    all.iter().all(|one| specs.iter().any(|spec| within(spec, *one)))
}

fn own_address(connection: &Connection) -> Option<IpAddr> {
    connection.local_addresses.first().and_then(HostSpec::address)
}
