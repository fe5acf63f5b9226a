//! What is wrong with this host.

use adit_mgmt::diagnosis::Context;
use adit_mgmt::{Code, Diagnosis};
use ipnet::IpNet;

use super::{is_up, of_each, seen_of_each};
use crate::doctor::facts::{Echo, Facts, OwnCertificate, Tunnel};
use crate::doctor::firewall::Blocked;
use crate::doctor::look;
use crate::words::count;

/// The link towards the peer is smaller than IPv6 allows any to be; or it has a strict filter of
/// sources while the peer lies inside the tunnel.
pub(super) fn links(facts: &Facts) -> Vec<Diagnosis> {
    let mut found = of_each(facts, |tunnel| {
        let outer = tunnel.outer.as_ref().filter(|outer| outer.mtu < MTU_MIN)?;
        let interface = &outer.interface;
        Some(
            Diagnosis::new(Code::E528, "the link towards the peer is too small")
                .line("saw", format!("{interface} takes {} octets", outer.mtu))
                .fix(format!("ip link set dev {interface} mtu 1500, if nothing needs it so small")),
        )
    });
    found.extend(of_each(facts, |tunnel| {
        let outer = tunnel.outer.as_ref()?;
        let cx = Context::of(tunnel.name());
        Some(Diagnosis::reverse_path_filtered(&cx, outer.filters_peer?, &outer.interface))
    }));
    found
}

pub(super) fn links_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let outer = tunnel.outer.as_ref()?;
        Some(format!("by {}, {} octets", outer.interface, outer.mtu))
    })
}

/// A tunnel for a network behind this host, which passes nothing on.
pub(super) fn forwarding(facts: &Facts) -> Vec<Diagnosis> {
    let wanted = |ipv6| facts.tunnels.iter().any(|tunnel| has_network(tunnel, ipv6));
    let off = |ipv6| Diagnosis::forwarding_off(&Context::default(), ipv6);
    let v4 = (facts.host.forwards_v4 == Some(false) && wanted(false)).then(|| off(false));
    let v6 = (facts.host.forwards_v6 == Some(false) && wanted(true)).then(|| off(true));
    v4.into_iter().chain(v6).collect()
}

/// Whether its local side is more than one address, and not everything.
fn has_network(tunnel: &Tunnel, ipv6: bool) -> bool {
    let networks = tunnel.status.children.iter().flat_map(|child| &child.local);
    let mut networks = networks.filter_map(|text| text.split('[').next()?.parse::<IpNet>().ok());
    networks.any(|network| {
        let is_one = network.prefix_len() == network.max_prefix_len();
        network.addr().is_ipv6() == ipv6 && !is_one && network.prefix_len() > 0
    })
}

pub(super) fn forwarding_seen(facts: &Facts) -> Option<String> {
    let word = |on: bool| if on { "on" } else { "off" };
    let v4 = facts.host.forwards_v4.map(|on| format!("IPv4 {}", word(on)));
    let v6 = facts.host.forwards_v6.map(|on| format!("IPv6 {}", word(on)));
    let words: Vec<String> = v4.into_iter().chain(v6).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Rules of this host that drop IKE or ESP, of the families that peers have.
fn blocked(facts: &Facts) -> Vec<&Blocked> {
    let peers = facts.tunnels.iter().filter_map(|tunnel| look::peer(&tunnel.status));
    let peers: Vec<usize> = peers.map(|peer| usize::from(peer.is_ipv6())).collect();
    let matters = |one: &&Blocked| {
        let sees = |family: &usize| one.families.get(*family) == Some(&true);
        peers.is_empty() || peers.iter().any(sees)
    };
    facts.host.blocked.iter().flatten().filter(matters).collect()
}

/// Whether all tunnels are up and bring something in: then the filter lets in what answers.
fn all_work(facts: &Facts) -> bool {
    let works = |tunnel: &Tunnel| {
        let heard = tunnel.echo.as_ref().map(Echo::is_heard);
        is_up(tunnel) && heard.unwrap_or(tunnel.status.packets_in > 0)
    };
    !facts.tunnels.is_empty() && facts.tunnels.iter().all(works)
}

/// What the filter drops while all tunnels work: only answers come in.
pub(super) fn answers_only(facts: &Facts) -> Vec<String> {
    let blocked = blocked(facts);
    if blocked.is_empty() || !all_work(facts) {
        return Vec::new();
    }
    let what: Vec<&str> = blocked.iter().map(|one| one.what.as_str()).collect();
    vec![format!(
        "this host's firewall lets in answers alone at {}: peers cannot be the first to speak",
        what.join(", ")
    )]
}

/// Rules of this host that drop IKE or ESP.
pub(super) fn firewall(facts: &Facts) -> Vec<Diagnosis> {
    let blocked = blocked(facts);
    if blocked.is_empty() || all_work(facts) {
        return Vec::new();
    }
    let mut found = Diagnosis::new(Code::E526, "this host's firewall drops the tunnel's packets");
    for one in &blocked {
        found = found.line("drops", format!("{}: {} ({})", one.what, one.how, one.place));
    }
    let what: Vec<&str> = blocked.iter().map(|one| one.what.as_str()).collect();
    vec![found.fix(format!(
        "accept {} in both directions: `nft list ruleset` shows the rule",
        what.join(", ")
    ))]
}

pub(super) fn firewall_seen(facts: &Facts) -> Option<String> {
    facts.host.blocked.as_ref()?;
    let obstacles = count(blocked(facts).len(), "obstacle");
    Some(format!("the packet filter; {obstacles} for IKE or ESP"))
}

/// The clock shows the past, or runs free while certificates are judged by it.
pub(super) fn clock(facts: &Facts) -> Vec<Diagnosis> {
    let host = &facts.host;
    let base = || Diagnosis::new(Code::E527, "this host's clock cannot be trusted");
    let fix = "timedatectl set-ntp true";
    if host.unix_time_s < RELEASED_S {
        return vec![
            base().line("saw", "it shows a time before this program was released").fix(fix),
        ];
    }
    let judged = facts.known.iter().any(|known| matches!(known.code, Code::E211 | Code::E212));
    if host.clock_synchronised == Some(false) && (judged || !host.certificates.is_empty()) {
        let saw = "no program corrects it (adjtimex), and certificates are judged by it";
        return vec![base().line("saw", saw).fix(fix)];
    }
    Vec::new()
}

pub(super) fn clock_seen(facts: &Facts) -> Option<String> {
    facts.host.clock_synchronised.map(|kept| {
        if kept { "kept right by a program".to_owned() } else { "runs free".to_owned() }
    })
}

/// Certificates of ours that end soon.
pub(super) fn certificates(facts: &Facts) -> Vec<Diagnosis> {
    let now = facts.host.unix_time_s;
    let of_one = |one: &OwnCertificate| {
        let left = one.until_s.saturating_sub(now);
        let sentence = match left {
            0 => "our certificate has ended".to_owned(),
            1..SOON_S => format!("our certificate ends in {} days", left / 86_400),
            _ => return None,
        };
        let found = Diagnosis::new(Code::E529, sentence).tunnel(&one.tunnel);
        let found =
            found.line("certificate", one.subject.as_str()).line("valid until", one.until.as_str());
        Some(found.fix("renew it, put it in place of the old one, and `adit reload`"))
    };
    facts.host.certificates.iter().filter_map(of_one).collect()
}

pub(super) fn certificates_seen(facts: &Facts) -> Option<String> {
    let all = &facts.host.certificates;
    (!all.is_empty()).then(|| format!("{} of ours", count(all.len(), "certificate")))
}

/// The smallest MTU of a link that carries IPv6 (RFC 8200 §5).
const MTU_MIN: u32 = 1_280;
/// The beginning of 2026, before which nobody had this program.
const RELEASED_S: u64 = 1_767_225_600;
const SOON_S: u64 = 14 * 86_400;
