//! Gathers the facts: asks the daemon, reads the host, and lets [`probe`] try the tunnels.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use adit_db::AuthSpec;
use adit_mgmt::api::{self, SadReport, Status, TunnelState, TunnelStatus};
use adit_mgmt::config::{self, Files, SecretFile, SourceFile};
use adit_sys::filter::ruleset;
use adit_sys::netlink::{Family, Netlink};
use adit_sys::route::{MARK, filters_reverse_path, forwarding_enabled};
use adit_sys::{clock, clock_sync};
use ipnet::IpNet;

use crate::daemon::Daemon;
use crate::doctor::facts::{Facts, Host, Outer, OwnCertificate, Pieces, Tunnel};
use crate::doctor::{Wish, firewall, probe};
use crate::echo;
use crate::echo::network::why;
use crate::error::Error;
use crate::verb::act::find_tunnel;
use crate::verb::check;

/// Everything that the checks look at.
pub(super) fn gather(daemon: &mut Daemon, wish: &Wish) -> Result<Facts, Error> {
    let status = daemon.status()?;
    let wanted = match &wish.tunnel {
        Some(name) => vec![find_tunnel(status.clone(), name)?],
        None => status.tunnels.clone(),
    };
    let mut netlink = Netlink::open()?;
    let before = pieces();
    let mut tunnels = Vec::new();
    for (index, one) in wanted.into_iter().enumerate() {
        let mut tunnel = look_at(one, daemon, &mut netlink)?;
        // What is not wanted, or has no end in sight, is looked at and not tried.
        if !wish.quiet && index < TRIED_MAX {
            probe::try_out(&mut tunnel, daemon, &mut netlink)?;
        } else if !wish.quiet {
            tunnel.skipped = Some("16 tunnels are tried in one go; `adit doctor NAME` tries it");
        }
        tunnels.push(tunnel);
    }
    if !wish.quiet {
        look_again(&mut tunnels, &daemon.status()?);
    }
    let report = daemon.sad()?;
    for tunnel in &mut tunnels {
        tunnel.sas = sas(tunnel.name(), &report);
    }
    let known = known(&status, wish.tunnel.as_deref());
    let after = pieces();
    let pieces = Pieces {
        joined: after.joined.saturating_sub(before.joined),
        failed: after.failed.saturating_sub(before.failed),
    };
    let mut host = Host { pieces, ..host(wish.config.as_deref()) };
    host.certificates.retain(|one| wish.tunnel.as_ref().is_none_or(|name| one.tunnel == *name));
    Ok(Facts { known, host, tunnels })
}

/// What the daemon has learnt about the paths while the tunnels were tried.
fn look_again(tunnels: &mut [Tunnel], status: &Status) {
    for tunnel in tunnels {
        let now = status.tunnels.iter().find(|one| one.name == tunnel.status.name);
        let Some(now) = now else { continue };
        let before = tunnel.probed();
        tunnel.status.path_mtu = now.path_mtu;
        tunnel.status.path_mtu_source.clone_from(&now.path_mtu_source);
        tunnel.narrowed = before.is_none() && tunnel.probed().is_some();
    }
}

/// What the daemon says is wrong, with the host and with the tunnels that were asked about.
fn known(status: &Status, tunnel: Option<&str>) -> Vec<adit_mgmt::Diagnosis> {
    let wanted = |one: &&TunnelStatus| tunnel.is_none_or(|name| one.name == name);
    let of_tunnels = status.tunnels.iter().filter(wanted).filter_map(|one| one.problem.as_ref());
    of_tunnels.chain(&status.daemon.problems).cloned().collect()
}

fn sas(tunnel: &str, report: &SadReport) -> Vec<api::SaStatus> {
    echo::sas_of(tunnel, report).cloned().collect()
}

/// Without sending anything.
fn look_at(
    status: TunnelStatus,
    daemon: &mut Daemon,
    netlink: &mut Netlink,
) -> Result<Tunnel, Error> {
    let outer = peer(&status).and_then(|peer| outer(&status, peer, netlink));
    let is_up = matches!(status.state, TunnelState::Up | TunnelState::Sick);
    let mut whys = Vec::new();
    for to in echo::each_inside(&status).filter(|_| is_up).take(NETWORKS_MAX) {
        let from = netlink.lookup_route(to, None, 0).ok().and_then(|route| route.source);
        if let Some(from) = from {
            whys.push(why(daemon, from, to)?);
        }
    }
    Ok(Tunnel { status, outer, whys, ..Tunnel::default() })
}

/// The peer's address, where the tunnel is or should be.
pub(super) fn peer(status: &TunnelStatus) -> Option<IpAddr> {
    let now = status.peer_address.as_ref().and_then(|text| text.parse::<SocketAddr>().ok());
    now.map(|address| address.ip()).or_else(|| status.peer.parse().ok())
}

fn outer(status: &TunnelStatus, peer: IpAddr, netlink: &mut Netlink) -> Option<Outer> {
    let route = netlink.lookup_route(peer, None, MARK).ok()?;
    let link = netlink.links().ok()?.into_iter().find(|link| link.index == route.interface)?;
    let remote = status.children.iter().flat_map(|child| &child.remote);
    let mut networks = remote.filter_map(|text| text.split('[').next()?.parse::<IpNet>().ok());
    let inside = peer.is_ipv4() && networks.any(|network| network.contains(&peer));
    let strict = inside && filters_reverse_path(&link.name).unwrap_or(false);
    Some(Outer { mtu: link.mtu, filters_peer: strict.then_some(peer), interface: link.name })
}

fn host(config: Option<&Path>) -> Host {
    let rules = ruleset().ok().and_then(|text| serde_json::from_str(&text).ok());
    Host {
        forwards_v4: forwarding_enabled(Family::V4).ok(),
        forwards_v6: forwarding_enabled(Family::V6).ok(),
        blocked: rules.map(|rules| firewall::blocked(&rules)),
        unix_time_s: clock::unix_time().as_secs(),
        clock_synchronised: clock_sync::is_synchronised().ok(),
        certificates: config.map(certificates).unwrap_or_default(),
        pieces: Pieces::default(),
    }
}

/// Our own certificates, as the files name them. Files with mistakes are for `adit check`.
fn certificates(config: &Path) -> Vec<OwnCertificate> {
    let secret = |path: &Path| -> Result<SecretFile, String> { check::read_secret(path) };
    let Ok(files) = check::read_files(&config.join("tunnels")) else { return Vec::new() };
    let none: &[SourceFile] = &[];
    let kinds = Files { tunnels: &files, policies: none, sas: none };
    let Ok(configuration) = config::load_all(kinds, &secret) else { return Vec::new() };
    let mut found = Vec::new();
    for (name, tunnel) in &configuration.tunnels {
        let AuthSpec::Signature(spec) = &tunnel.connection.pad.local_auth else { continue };
        found.extend(spec.certificates.iter().map(|certificate| {
            let (_, until) = certificate.validity();
            OwnCertificate {
                tunnel: name.clone(),
                subject: certificate.subject_text(),
                until_s: until.0,
                until: until.to_string(),
            }
        }));
    }
    found
}

/// What the kernel counts about pieces in the namespace of the calling thread.
fn pieces() -> Pieces {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
    };
    let (v4, v6) = (read("snmp"), read("snmp6"));
    let sum = |name: &str| v4_count(&v4, name).saturating_add(v6_count(&v6, name));
    Pieces { joined: sum("ReasmOKs"), failed: sum("ReasmFails") }
}

/// A counter of `/proc/net/snmp`: a line of names, then one of numbers.
fn v4_count(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let pairs = names.split_whitespace().zip(numbers.split_whitespace());
    let found = pairs.into_iter().find(|(one, _)| *one == name);
    found.and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// A counter of `/proc/net/snmp6`: `Ip6ReasmFails 3`.
fn v6_count(text: &str, name: &str) -> u64 {
    let wanted = format!("Ip6{name}");
    let mut lines = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let found = lines.find(|(one, _)| *one == wanted);
    found.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// Tunnels that are tried in one go: each takes up to some seconds.
const TRIED_MAX: usize = 16;
/// Networks of a tunnel whose ways are looked at.
const NETWORKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_certificates_are_found_by_the_tunnels_files() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["oslo.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "oslo");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2031, 1, 2);
        let certificate = params.self_signed(&key).unwrap().pem();
        let directory = std::env::temp_dir().join(format!("adit-look-{}", std::process::id()));
        let tunnels = directory.join("tunnels");
        std::fs::create_dir_all(&tunnels).unwrap();
        let file = "peer = \"192.0.2.2\"\nlocal = \"10.1.0.0/24\"\nremote = \"10.2.0.0/24\"\n\
            cert = \"file:own.pem\"\nkey = \"file:own.key\"\nca = \"file:own.pem\"\n\
            peer_id = \"*.example\"\n";
        std::fs::write(tunnels.join("berlin.toml"), file).unwrap();
        std::fs::write(tunnels.join("own.pem"), certificate).unwrap();
        adit_sys::file::write_private(&tunnels.join("own.key"), key.serialize_pem().as_bytes())
            .unwrap();

        let found = certificates(&directory);
        let read = check::read_files(&tunnels).unwrap();
        let kinds = Files { tunnels: &read, policies: &[], sas: &[] };
        let problems = config::load_all(kinds, &check::read_secret).err().unwrap_or_default();
        let problems: Vec<String> =
            problems.iter().map(|one| one.render(false).to_owned()).collect();
        assert!(problems.is_empty(), "{problems:?}");

        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].tunnel.as_str(), found[0].subject.as_str()), ("berlin", "CN=oslo"));
        assert_eq!(found[0].until, "2031-01-02 00:00 UTC");
        assert!(certificates(&directory).is_empty(), "no directory, no certificates");
    }

    /// CHECKLIST PM-25: what probes find is news only if it was not known before.
    #[test]
    fn a_path_that_became_narrow_meanwhile_is_noticed() {
        let with = |mtu, source: &str| TunnelStatus {
            name: "berlin".into(),
            path_mtu: Some(mtu),
            path_mtu_source: Some(source.into()),
            ..TunnelStatus::default()
        };
        let narrowed = |before, after| {
            let outer = Some(Outer { mtu: 1_500, ..Outer::default() });
            let mut tunnels = [Tunnel { status: before, outer, ..Tunnel::default() }];
            look_again(&mut tunnels, &Status { tunnels: vec![after], ..Status::default() });
            tunnels[0].narrowed
        };
        assert!(narrowed(with(1_500, "link"), with(1_280, "probe")));
        assert!(!narrowed(with(1_280, "probe"), with(1_280, "probe")));
        assert!(!narrowed(with(1_500, "link"), with(1_280, "icmp")), "somebody has said so");
        assert!(!narrowed(with(1_500, "link"), with(1_492, "probe")), "blocks of a cipher");
    }

    #[test]
    fn counters_are_found_by_name() {
        let snmp = "Ip: Forwarding ReasmOKs ReasmFails\nIp: 1 7 3\nIcmp: InMsgs\nIcmp: 9\n";
        assert_eq!((v4_count(snmp, "ReasmOKs"), v4_count(snmp, "ReasmFails")), (7, 3));
        assert_eq!(v4_count("", "ReasmOKs"), 0);
        let snmp6 = "Ip6InReceives   \t12\nIp6ReasmFails                  \t4\n";
        assert_eq!((v6_count(snmp6, "ReasmFails"), v6_count(snmp6, "ReasmOKs")), (4, 0));
    }
}
