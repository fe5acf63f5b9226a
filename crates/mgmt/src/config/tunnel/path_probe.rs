//! `path_probe` and `path_probe_from`: whom echo requests ask how long packets may be, where the peer
//! answers no probes (RFC 8899), and who asks.

use std::net::IpAddr;
use std::ops::Range;

use adit_db::{ChildConfig, Connection, Encap, Mode, PathMtuRule, PerFamily};

use super::super::fields::{Fields, Placed};
use super::super::overlap::PlacedSelector;
use super::super::report::Mistake;

/// Reads both keys; all else of the child has been read. `sides` are its fixed selectors, ours first.
pub(super) fn read(
    fields: &mut Fields<'_>,
    connection: &Connection,
    child: &mut ChildConfig,
    [local, remote]: [&[PlacedSelector]; 2],
) {
    let key = fields.key_span("path_probe");
    if fields.is_flag("path_probe") {
        child.mtu.echo.asks_peer = fields.flag("path_probe", &[]).is_some_and(|flag| flag.value);
        if let Some(span) = key.clone().filter(|_| child.mtu.echo.asks_peer) {
            let example = match child.mode {
                Mode::Transport => "leave it out: in transport mode the peer itself is asked",
                Mode::Tunnel | Mode::Beet => "path_probe = \"10.2.0.1\", a host behind the peer",
            };
            let mistake = Mistake::new(span, "`path_probe` must be an address, or false");
            fields.mistake(mistake.label("whom is to be asked?").help(example));
        }
    } else {
        child.mtu.echo.to = addresses(fields, "path_probe", ("remote", remote));
    }
    let from = fields.key_span("path_probe_from");
    child.mtu.echo.from = addresses(fields, "path_probe_from", ("local", local));
    let is_named = child.mtu.echo.to != PerFamily::NONE;
    if let Some(place) = from.filter(|_| key.is_none()) {
        fields.mistake(
            Mistake::new(place, "`path_probe_from` without `path_probe`")
                .label("nobody is asked from there")
                .help("path_probe = \"10.2.0.1\", a host behind the peer, or leave this out"),
        );
    }
    let why = impossible(connection, child).filter(|_| is_named);
    if let (Some(place), Some((why, help))) = (key, why) {
        fields.mistake(
            Mistake::new(place, "the path is not probed by echo requests")
                .label(why)
                .help(format!("leave `path_probe` out, {help}")),
        );
    }
}

/// Why nobody can be asked, and what is to be written so that somebody can.
fn impossible(
    connection: &Connection,
    child: &ChildConfig,
) -> Option<(&'static str, &'static str)> {
    if child.mode == Mode::Transport {
        let why = "in transport mode the peer itself is asked, nobody else";
        return Some((why, "or write false, which asks nobody"));
    }
    if child.mode == Mode::Beet {
        return Some(("not in BEET mode", "or write mode = \"tunnel\""));
    }
    if connection.over.is_some() {
        return Some(("not through another tunnel", "or write it in the outer one's file"));
    }
    if connection.encap == Encap::Tcp {
        return Some(("a stream has no longest packet", "or write encap = \"auto\""));
    }
    if !child.is_esp_only() {
        return Some(("not with AH", "or write protocol = \"esp\""));
    }
    if child.tfc.padding > 0 {
        return Some(("`tfc_padding` hides lengths", "or that"));
    }
    if child.mtu.path != PathMtuRule::Discover {
        return Some(("`path_mtu` says already what the path takes", "or that"));
    }
    None
}

/// One address of each family, inside the selectors of its side as far as those are known.
fn addresses(
    fields: &mut Fields<'_>,
    key: &'static str,
    (side, selectors): (&str, &[PlacedSelector]),
) -> PerFamily {
    let mut found = PerFamily::NONE;
    if !fields.has(key) {
        fields.optional(key);
        return found;
    }
    for text in fields.strings(key).unwrap_or_default() {
        let Some(address) = address(fields, key, &text) else { continue };
        if !found.put(address) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            fields.mistake(
                Mistake::new(text.span, format!("`{key}` has two addresses of {family}"))
                    .label("the second one")
                    .help("keep one for each family"),
            );
        } else if let Some(wide) = outside(address, selectors) {
            fields.mistake(
                Mistake::new(text.span, format!("{address} is outside of `{side}`"))
                    .label("echo requests would not go through this tunnel")
                    .note(wide, format!("`{side}`"))
                    .help(format!("write an address inside `{side}`")),
            );
        }
    }
    found
}

fn address(fields: &mut Fields<'_>, key: &str, text: &Placed<String>) -> Option<IpAddr> {
    let address = text.value.parse::<IpAddr>().ok();
    let is_host = |address: &IpAddr| !address.is_multicast() && !address.is_unspecified();
    if address.is_none_or(|address| !is_host(&address)) {
        fields.mistake(
            Mistake::new(text.span.clone(), format!("`{key}` cannot be understood"))
                .label(format!("\"{}\" is no address of a host", text.value))
                .help(format!("{key} = \"10.2.0.1\", or a list of one address of each family")),
        );
        return None;
    }
    address
}

/// Where the selectors stand, if none of them has the address; without fixed ones nobody knows yet.
fn outside(address: IpAddr, selectors: &[PlacedSelector]) -> Option<Range<usize>> {
    let first = selectors.first()?.span.clone();
    let has = |one: &PlacedSelector| one.selector.contains_address(address);
    (!selectors.iter().any(has)).then_some(first)
}
