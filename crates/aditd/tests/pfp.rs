//! SAs whose selectors come from packets: each host behind the peer has its own. Needs root.

mod common;

use adit_mgmt::api::{Fate, TunnelState};
use adit_mgmt::vici::{Initiate, Request};
use common::{Pair, Site, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// The remote selectors of a site's SAs.
fn remotes(site: &Site) -> Vec<String> {
    let mut remotes: Vec<_> = site.sad().sas.into_iter().flat_map(|sa| sa.remote).collect();
    remotes.sort();
    remotes
}

/// RFC 4301 §4.4.1.2. No packet is lost for the first one, nor for new keys, and each SA carries what
/// it is for.
#[test]
fn each_host_has_an_sa_of_its_own() {
    let Some(mut pair) = Pair::new("pfp") else { return };
    let mut netlink = pair.berlin.namespace.netlink().unwrap();
    let lo = netlink.link_by_name("lo").unwrap().index;
    netlink.add_address(lo, "10.2.0.2/32".parse().unwrap()).unwrap();
    let pfp = "keep = \"on-demand\"\npfp = [\"remote\", \"protocol\"]\nidle = \"3s\"";
    pair.start(&tunnel(1, 2, pfp), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    assert_eq!(pair.oslo.spd().entries[0].pfp, ["remote", "protocol"]);

    let why = pair.oslo.why("10.1.0.1", "10.2.0.1", 6, Some(443));
    assert_eq!(why.fate, Fate::Waiting);
    assert!(why.problem.unwrap().fixes.iter().any(|fix| fix.contains("send it")));
    for host in ["10.2.0.1", "10.2.0.2"] {
        let report = pair.oslo.ping("10.1.0.1", host, 5);
        assert_eq!(report.lost(), 0, "{report:?}\n{}", pair.oslo.log());
    }
    assert_eq!(remotes(&pair.oslo), ["10.2.0.1/32[icmp]", "10.2.0.2/32[icmp]"]);
    assert!(pair.oslo.sad().sas.iter().all(|sa| sa.local == ["10.1.0.0/24[icmp]"]));
    let packets: Vec<_> =
        pair.oslo.sad().sas.iter().map(|sa| (sa.packets_out, sa.packets_in)).collect();
    assert_eq!(packets, [(5, 5); 2]);
    let why = pair.oslo.why("10.1.0.1", "10.2.0.2", 1, None);
    assert_eq!(why.sa.map(|sa| sa.remote), Some(vec!["10.2.0.2/32[icmp]".to_owned()]));
    assert_eq!(pair.oslo.why("10.1.0.1", "10.2.0.1", 6, Some(443)).fate, Fate::Waiting);

    // Nothing but packets opens SAs, and they are gone when nothing passes.
    let answer = pair
        .oslo
        .call(&Request::Initiate(Initiate { child: Some("tunnel".into()), ..Initiate::default() }));
    assert!(format!("{answer:?}").contains("packet"), "{answer:?}");
    wait_until("they are idle", || {
        pair.oslo.sad().sas.is_empty() && pair.berlin.sad().sas.is_empty()
    });
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.2", 2).lost(), 0, "{}", pair.oslo.log());
    assert_eq!(remotes(&pair.oslo), ["10.2.0.2/32[icmp]"]);
}
