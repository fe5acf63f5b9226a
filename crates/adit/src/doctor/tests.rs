//! Each check in worlds with one fault.

use adit_mgmt::Code;
use adit_mgmt::api::{ChildStatus, Fate, SaStatus, TunnelState, TunnelStatus, Why};
use adit_mgmt::{Diagnosis, Severity};

use super::facts::{Answer, Echo, Facts, Host, Outer, OwnCertificate, Pieces, Ports, Tunnel};
use super::firewall::Blocked;
use super::judge;
use crate::echo::Flow;
use crate::echo::size::Sizes;
use crate::echo::way::Way;

/// A tunnel that works, on a host in order.
fn sound() -> Facts {
    let child = ChildStatus {
        name: "berlin".into(),
        up: true,
        local: vec!["10.1.0.0/24".into()],
        remote: vec!["10.2.0.0/24".into()],
        udp: true,
        ..ChildStatus::default()
    };
    let status = TunnelStatus {
        name: "berlin".into(),
        state: TunnelState::Up,
        packets_in: 1_000,
        children: vec![child],
        ..TunnelStatus::default()
    };
    let echo = Echo {
        to: Some([10, 2, 0, 1].into()),
        sent: 4,
        answered: 4,
        flow: Flow { packets_out: 4, packets_in: 4 },
        refused: None,
        numbers: Flow { packets_out: 4, packets_in: 4 },
        sizes: Some(Sizes { largest: 1_400, whole: 1_400, ..Sizes::default() }),
        whole_cut: None,
    };
    let tunnel = Tunnel {
        status,
        outer: Some(Outer { interface: "wan0".into(), mtu: 1_500, filters_peer: None }),
        ports: Some(Ports {
            peer: [203, 0, 113, 2].into(),
            ike: Answer::Yes,
            nat: Answer::Yes,
            pieces: Answer::Yes,
        }),
        echo: Some(echo),
        ..Tunnel::default()
    };
    let host = Host {
        forwards_v4: Some(true),
        forwards_v6: Some(false),
        blocked: Some(Vec::new()),
        unix_time_s: 1_800_000_000,
        clock_synchronised: Some(true),
        ..Host::default()
    };
    Facts { known: Vec::new(), host, tunnels: vec![tunnel] }
}

/// The codes of what is wrong in a world that was changed.
fn codes(change: impl FnOnce(&mut Facts)) -> Vec<Code> {
    let mut facts = sound();
    change(&mut facts);
    judge(&facts).problems.into_iter().map(|problem| problem.code).collect()
}

fn echo(facts: &mut Facts) -> &mut Echo {
    facts.tunnels[0].echo.as_mut().unwrap()
}

/// Nobody answers, and nothing else is sent.
fn unanswered(facts: &mut Facts) {
    let echo = echo(facts);
    (echo.answered, echo.sizes) = (0, None);
    echo.flow = Flow { packets_out: 4, packets_in: 0 };
    echo.numbers = echo.flow;
}

/// Nor is what is sent besides.
fn silent(facts: &mut Facts) {
    unanswered(facts);
    echo(facts).numbers.packets_out = 7;
}

fn ports(facts: &mut Facts, ike: Answer, nat: Answer) {
    let ports = facts.tunnels[0].ports.as_mut().unwrap();
    (ports.ike, ports.nat) = (ike, nat);
}

#[test]
fn a_sound_world_has_no_problem_and_says_what_was_looked_at() {
    let findings = judge(&sound());
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    let looked = |name: &str| {
        let check = findings.checks.iter().find(|looked| looked.check == name).unwrap();
        check.at.clone().unwrap_or_default()
    };
    assert_eq!(looked("one-way"), "berlin: 4 of 4 echo requests answered, 4 out, 4 in");
    assert_eq!(looked("mtu"), "berlin: 1400 of 1400 octets pass both ways");
    assert_eq!(looked("port 4500"), "berlin: 500 answers, 4500 answers");
    assert_eq!(looked("certificates"), "");
}

#[test]
fn what_the_daemon_knows_is_told_once_and_first() {
    let known = || Diagnosis::new(Code::E203, "the secrets differ").tunnel("berlin");
    assert_eq!(codes(|facts| facts.known.extend([known(), known()])), [Code::E203]);
    let codes = codes(|facts| {
        facts.known.push(Diagnosis::forwarding_off(&Default::default(), false));
        facts.host.forwards_v4 = Some(false);
    });
    assert_eq!(codes, [Code::E505]);
}

#[test]
fn one_direction_is_told_from_a_blocked_port_and_from_a_dead_peer() {
    assert_eq!(codes(silent), [Code::E405]);
    let blocked = codes(|facts| {
        silent(facts);
        ports(facts, Answer::Yes, Answer::Silence);
    });
    assert_eq!(blocked, [Code::E121]);
    let dead = codes(|facts| {
        silent(facts);
        ports(facts, Answer::Silence, Answer::Silence);
    });
    assert_eq!(dead, [Code::E110]);
}

/// An idle tunnel to a network whose first address nobody has is sound, and so is one in which the
/// peer's engine is heard: then nobody but the one who was asked keeps silent.
#[test]
fn an_address_without_a_host_is_no_problem() {
    let notes = |change: &dyn Fn(&mut Facts)| {
        let mut facts = sound();
        unanswered(&mut facts);
        change(&mut facts);
        let findings = judge(&facts);
        assert!(findings.is_good(), "{:?}", findings.problems);
        findings.notes
    };
    let said = ["berlin: nobody at 10.2.0.1 answers; try adit ping berlin ADDRESS"];
    assert_eq!(notes(&|_| {}), said);
    let heard = |facts: &mut Facts| echo(facts).numbers = Flow { packets_out: 9, packets_in: 1 };
    assert_eq!(notes(&heard), said);
    let few = |facts: &mut Facts| {
        (facts.tunnels[0].status.packets_in, facts.tunnels[0].status.packets_out) = (0, 12);
    };
    assert_eq!(notes(&few), said, "of a doctor before");
    let never = codes(|facts| {
        unanswered(facts);
        (facts.tunnels[0].status.packets_in, facts.tunnels[0].status.packets_out) = (0, 5_000);
    });
    assert_eq!(never, [Code::E405]);
    let traffic = codes(|facts| {
        unanswered(facts);
        echo(facts).flow.packets_out = 20;
    });
    assert_eq!(traffic, [Code::E405]);
    assert!(
        judge(&{
            let mut facts = sound();
            silent(&mut facts);
            facts
        })
        .notes
        .is_empty(),
        "the problem says it"
    );
}

/// An error that comes back says more than silence, and is the SA's: both ways work.
#[test]
fn who_says_that_nobody_is_there_is_named() {
    let mut facts = sound();
    unanswered(&mut facts);
    let said = "10.2.0.254 finds no host with the address 10.2.0.1 (ICMP 3/1)";
    echo(&mut facts).refused = Some(said.into());
    echo(&mut facts).flow.packets_in = 1;
    let findings = judge(&facts);
    assert!(findings.is_good(), "{:?}", findings.problems);
    assert_eq!(findings.notes, [format!("berlin: {said}; try adit ping berlin ADDRESS")]);
}

/// CHECKLIST PM-25: on which way long packets are lost.
#[test]
fn a_black_hole_is_told_with_its_way() {
    let told = |lost_on, narrowed| {
        let mut facts = sound();
        let lost = Some(1_219);
        let sizes = Sizes { largest: 1_218, whole: 1_400, lost, lost_on, told: false };
        echo(&mut facts).sizes = Some(sizes);
        facts.tunnels[0].narrowed = narrowed;
        judge(&facts).problems[0].render(false)
    };
    insta::assert_snapshot!(told(Some(Way::Back), false), @r#"
    warning[E401]: berlin: packets above 1,218 octets are lost inside the tunnel
      measured       1,218 octets pass both ways uncut, 1,219 vanish without a word on the way back; this host sends up to 1,400
      fix            let ICMP type 3 code 4 and ICMPv6 type 2 pass on the way
      or             set df = "clear" in berlin's file, so that routers cut the outer packets
    "#);
    assert!(told(None, false).contains("without a word; this host"));
    assert!(told(None, true).contains("without a word on the way there; this host"));
    // No router cuts what has an outer header of IPv6.
    let mut facts = sound();
    facts.tunnels[0].status.peer = "2001:db8::2".into();
    echo(&mut facts).sizes =
        Some(Sizes { largest: 1_318, whole: 1_390, lost: Some(1_319), ..Sizes::default() });
    let told = judge(&facts).problems[0].render(false);
    assert!(told.contains("set path_mtu in berlin's file") && !told.contains("df ="), "{told}");
}

#[test]
fn what_was_not_tried_is_said() {
    let mut facts = sound();
    facts.tunnels[0].skipped = Some("ask with `adit ping NAME ADDRESS`");
    let findings = judge(&facts);
    assert!(findings.is_good());
    let said = "berlin: no echo requests were sent: ask with `adit ping berlin ADDRESS`";
    assert_eq!(findings.notes, [said]);
    facts.tunnels[0].failures = vec!["not permitted".into(), "not permitted".into()];
    let findings = judge(&facts);
    assert!(findings.problems.is_empty() && !findings.is_good());
    assert_eq!(findings.untried, ["berlin: not permitted"]);
}

/// A peer may keep silent to strangers, as long as its tunnel works.
#[test]
fn silence_to_strangers_is_no_problem() {
    assert!(codes(|facts| ports(facts, Answer::Yes, Answer::Silence)).is_empty());
    assert!(codes(|facts| ports(facts, Answer::Silence, Answer::Silence)).is_empty());
}

/// CHECKLIST PM-25: what vanishes on its way in one piece is told from what vanishes in several.
#[test]
fn a_black_hole_is_told_from_lost_pieces() {
    let narrow = |facts: &mut Facts| {
        let sizes = Sizes { largest: 1_218, whole: 1_400, lost: Some(1_219), ..Sizes::default() };
        echo(facts).sizes = Some(sizes);
    };
    let cut = |facts: &mut Facts| {
        facts.tunnels[0].ports.as_mut().unwrap().pieces = Answer::Silence;
    };
    assert_eq!(codes(narrow), [Code::E401]);
    assert!(codes(cut).is_empty(), "one question is no tunnel");
    let down = codes(|facts| {
        cut(facts);
        facts.tunnels[0].status.state = TunnelState::Down;
    });
    assert_eq!(down, [Code::E406]);
    let both = codes(|facts| {
        narrow(facts);
        cut(facts);
    });
    assert_eq!(both, [Code::E406], "the cause alone");
    let of_host = |joined, failed| codes(|facts| facts.host.pieces = Pieces { joined, failed });
    assert_eq!(of_host(3, 5), [Code::E406]);
    assert!(of_host(3, 2).is_empty(), "now and then");
    assert!(of_host(1_000, 5).is_empty(), "few of many");
    let told = Sizes { largest: 1_218, whole: 1_400, told: true, ..Sizes::default() };
    assert!(codes(|facts| echo(facts).sizes = Some(told)).is_empty(), "senders hear of it");
}

/// CHECKLIST PM-25: what the daemon's probes find while the doctor looks is a black hole, too; what they
/// had found before is made up for.
#[test]
fn a_black_hole_that_probes_have_found_is_told() {
    let probed = |facts: &mut Facts, narrowed| {
        let tunnel = &mut facts.tunnels[0];
        (tunnel.status.path_mtu, tunnel.narrowed) = (Some(1_280), narrowed);
        tunnel.status.path_mtu_source = Some("probe".into());
    };
    let mut facts = sound();
    probed(&mut facts, true);
    insta::assert_snapshot!(judge(&facts).problems[0].render(false), @r"
    warning[E401]: berlin: packets above 1,280 octets are lost on the way
      found          by probing, just now; the first link takes 1,500
      means          traffic passes again, in shorter packets
      fix            let ICMP type 3 code 4 and ICMPv6 type 2 pass on the way
    ");
    let mut facts = sound();
    probed(&mut facts, false);
    let findings = judge(&facts);
    assert!(findings.is_good(), "{:?}", findings.problems);
    let said = "berlin: the way takes 1,280 octets, its first link 1,500: found by probing, so traffic \
        passes";
    assert_eq!(findings.notes, [said]);
    facts.tunnels[0].status.path_mtu_source = Some("echo".into());
    assert_eq!(judge(&facts).notes, [said.replace("probing", "echo requests")]);
    silent(&mut facts);
    assert!(judge(&facts).notes.is_empty(), "traffic does not pass, whatever was found");
    let cut = codes(|facts| {
        probed(facts, false);
        facts.tunnels[0].ports.as_mut().unwrap().pieces = Answer::Silence;
    });
    assert_eq!(cut, [Code::E406], "the way is narrow");
}

#[test]
fn packets_that_stray_are_told_with_the_daemons_words() {
    let problem = Diagnosis::new(Code::E501, "this host sends 10.2.0.0/24 elsewhere");
    let why = |fate| Why { fate, problem: Some(problem.clone()), ..Why::default() };
    let of = |fate| codes(|facts| facts.tunnels[0].whys = vec![Why::default(), why(fate)]);
    assert_eq!(of(Fate::Astray), [Code::E501]);
    assert!(of(Fate::Protected).is_empty());
}

#[test]
fn many_drops_of_a_bad_kind_are_a_problem() {
    let of = |reason: &str, packets, passed| {
        codes(|facts| {
            facts.tunnels[0].sas = vec![SaStatus {
                packets_in: passed,
                drops_in: vec![(reason.to_owned(), packets)],
                ..SaStatus::default()
            }];
        })
    };
    assert_eq!(of("bad_icv", 20, 1_000), [Code::E407]);
    assert!(of("bad_icv", 9, 10).is_empty(), "now and then");
    assert!(of("bad_icv", 20, 100_000).is_empty(), "few of many");
    assert!(of("dummy", 5_000, 10).is_empty(), "made to be dropped");
    assert!(of("icmp_refused", 5_000, 10).is_empty(), "the operator wants it");
}

#[test]
fn the_host_is_looked_at() {
    assert_eq!(codes(|facts| facts.host.forwards_v4 = Some(false)), [Code::E505]);
    let small = |facts: &mut Facts| facts.tunnels[0].outer.as_mut().unwrap().mtu = 1_000;
    assert_eq!(codes(small), [Code::E528]);
    let peer = Some([10, 2, 0, 9].into());
    let strict = |facts: &mut Facts| facts.tunnels[0].outer.as_mut().unwrap().filters_peer = peer;
    assert_eq!(codes(strict), [Code::E506]);
    let blocked = Blocked {
        what: "UDP 4500".into(),
        place: "table inet filter, chain input".into(),
        how: "a rule says drop".into(),
        families: [true, false],
    };
    let world = |heard: bool, families, peer: &str| {
        let mut facts = sound();
        facts.host.blocked = Some(vec![Blocked { families, ..blocked.clone() }]);
        facts.tunnels[0].status.peer = peer.into();
        if !heard {
            unanswered(&mut facts);
        }
        let findings = judge(&facts);
        let codes: Vec<_> = findings.problems.iter().map(|problem| problem.code).collect();
        (codes, findings.notes.join("; ").contains("firewall lets in answers alone at UDP 4500"))
    };
    let [v4, v6] = [[true, false], [false, true]];
    assert_eq!(world(false, v4, "203.0.113.2"), (vec![Code::E526], false));
    assert_eq!(world(false, v6, "2001:db8::2"), (vec![Code::E526], false));
    assert_eq!(world(false, v4, "gw.example"), (vec![Code::E526], false), "who knows");
    assert_eq!(world(false, v6, "203.0.113.2"), (vec![], false), "another family");
    // What follows our own first word comes in.
    assert_eq!(world(true, v4, "203.0.113.2"), (vec![], true));
    assert!(codes(|facts| facts.host.blocked = None).is_empty(), "nothing is known");
}

#[test]
fn clock_and_certificates_are_looked_at_together() {
    let certificate = |until_s| OwnCertificate {
        tunnel: "berlin".into(),
        subject: "CN=gw.oslo.example".into(),
        until_s,
        until: "then".into(),
    };
    let now = sound().host.unix_time_s;
    let of = |until_s, kept| {
        codes(|facts| {
            facts.host.certificates = vec![certificate(until_s)];
            facts.host.clock_synchronised = Some(kept);
        })
    };
    assert!(of(now + 90 * 86_400, true).is_empty());
    assert_eq!(of(now + 3 * 86_400, true), [Code::E529]);
    assert_eq!(of(now - 1, true), [Code::E529]);
    assert_eq!(of(now + 90 * 86_400, false), [Code::E527]);
    assert_eq!(codes(|facts| facts.host.unix_time_s = 0), [Code::E527]);
    let free = |facts: &mut Facts| facts.host.clock_synchronised = Some(false);
    assert!(codes(free).is_empty(), "nothing is judged by it");
}

#[test]
fn errors_come_before_warnings() {
    let mut facts = sound();
    silent(&mut facts);
    facts.known.push(Diagnosis::forwarding_off(&Default::default(), false));
    let severities: Vec<_> =
        judge(&facts).problems.into_iter().map(|problem| problem.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
}

#[test]
fn a_one_way_tunnel_is_told_in_words() {
    let mut facts = sound();
    silent(&mut facts);
    insta::assert_snapshot!(judge(&facts).problems[0].render(false), @r"
    error[E405]: berlin: packets go out, and none comes back
      saw            more than the echo requests was sent on its SAs meanwhile, and 0 received
      asked          10.2.0.1, without an answer
      peer           its IKE answers at 203.0.113.2, so it lives
      means          what the peer sends on the SA does not arrive any more, or it sends nothing
      fix            let ESP pass in both directions, and look at the routes and drops of the peer
      or             adit ping berlin ADDRESS asks another host behind the peer
    ");
}
