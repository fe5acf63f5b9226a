use adit_mgmt::Diagnosis;
use adit_mgmt::api::{PolicySource, SCHEMA, TunnelState};

use super::*;

fn asked(source: &str, destination: &str, protocol: Option<&str>) -> Result<String, String> {
    let args = Why {
        dscp: "0".to_owned(),
        source: source.into(),
        destination: destination.into(),
        protocol: protocol.map(Into::into),
        interface: None,
        json: false,
    };
    flow(&args).map(|flow| flow.to_string()).map_err(|error| error.to_string())
}

/// A port makes it TCP, none a ping; either may be said otherwise.
#[test]
fn a_packet_is_described_as_briefly_as_possible() {
    let good = |source, destination, protocol| asked(source, destination, protocol).unwrap();
    insta::assert_snapshot!(
        [
            good("10.1.0.5", "10.2.0.7:443", None),
            good("10.1.0.5:5000", "10.2.0.7:53", Some("udp")),
            good("fd01::5", "[fd02::7]:22", None),
            good("10.1.0.5", "10.2.0.7", None),
            good("fd01::5", "fd02::7", None),
            good("10.1.0.5", "10.2.0.7", Some("47")),
            good("10.1.0.5", "10.2.0.7", Some("udp")),
        ]
        .join("\n"),
        @"
    10.1.0.5:49152 > 10.2.0.7:443 tcp
    10.1.0.5:5000 > 10.2.0.7:53 udp
    [fd01::5]:49152 > [fd02::7]:22 tcp
    10.1.0.5:2048 > 10.2.0.7:2048 icmp
    [fd01::5]:32768 > [fd02::7]:32768 ipv6-icmp
    10.1.0.5 > 10.2.0.7 gre
    10.1.0.5 > 10.2.0.7 udp
    "
    );
    insta::assert_snapshot!(
        [
            asked("oslo", "10.2.0.7", None).unwrap_err(),
            asked("10.1.0.5", "fd02::7", None).unwrap_err(),
            asked("10.1.0.5", "10.2.0.7", Some("tpc")).unwrap_err(),
        ]
        .join("\n"),
        @r#"
    "oslo" is no address and no ADDRESS:PORT; IPv6 with a port is [ADDRESS]:PORT
    10.1.0.5 and fd02::7 are not of the same address family
    "tpc" is no protocol's name or number
    "#
    );
}

fn entry(number: usize, action: PolicyAction, name: &str) -> PolicyStatus {
    let source = match action {
        PolicyAction::Protect => PolicySource::Tunnel,
        PolicyAction::Bypass | PolicyAction::Discard => PolicySource::Operator,
    };
    let folder = if source == PolicySource::Operator { "policies" } else { "tunnels" };
    let child = (source == PolicySource::Tunnel).then(|| name.to_owned());
    PolicyStatus {
        number,
        action,
        source,
        name: name.into(),
        child,
        by_kernel: false,
        interface: None,
        mark: None,
        file: Some(format!("/etc/adit/{folder}/{name}.toml")),
        line: Some(3),
        local: vec!["10.1.0.0/24".into()],
        remote: vec!["10.2.0.0/24".into()],
        parts: Some(1),
        ..PolicyStatus::default()
    }
}

fn sa() -> SaStatus {
    SaStatus {
        tunnel: "berlin".into(),
        child: "berlin".into(),
        id: 1,
        state: "INSTALLED".into(),
        spi_in: "c0ffee01".into(),
        spi_out: "c0ffee02".into(),
        outer_local: "198.51.100.2:4500".into(),
        outer_remote: "203.0.113.7:4500".into(),
        protocol: "ESP".into(),
        udp: true,
        tcp: false,
        suite: "aes256gcm16-esn".into(),
        local: vec!["10.1.0.0/24".into()],
        remote: vec!["10.2.0.0/24".into()],
        packets_in: 1_200,
        octets_in: 96_000,
        packets_out: 1_180,
        octets_out: 94_400,
        last_in_ms: Some(200),
        last_out_ms: Some(1_300),
        rekey_in_s: Some(2_460),
        drops: vec![("replayed".into(), 3)],
        ..SaStatus::default()
    }
}

#[test]
fn policies_are_listed_in_their_order() {
    let any = PolicyStatus {
        local: vec!["0.0.0.0/0".into(), "::/0".into()],
        parts: Some(0),
        ..entry(3, PolicyAction::Bypass, "30-late")
    };
    let split = PolicyStatus { parts: Some(4), ..entry(2, PolicyAction::Protect, "berlin") };
    let entries = vec![entry(1, PolicyAction::Discard, "10-mail"), split, any];
    let report = SpdReport { schema: SCHEMA, total: 3, entries };
    insta::assert_snapshot!(spd_text(&report, Paint::PLAIN), @"
       ACTION   LOCAL        REMOTE       FROM              PARTS                      FILE
    1  discard  10.1.0.0/24  10.2.0.0/24  operator 10-mail  1                          /etc/adit/policies/10-mail.toml:3
    2  protect  10.1.0.0/24  10.2.0.0/24  tunnel berlin     4                          /etc/adit/tunnels/berlin.toml:3
    3  bypass   any          10.2.0.0/24  operator 30-late  none: no packet gets here  /etc/adit/policies/30-late.toml:3
    The first that matches decides; what none matches is dropped.
    ");
    insta::assert_snapshot!(spd_text(&SpdReport::default(), Paint::PLAIN), @"no policies: no tunnel is wanted, and nothing is routed here");
}

#[test]
fn sas_are_listed_without_keys() {
    let report = SadReport { schema: SCHEMA, sas: vec![sa()], ..SadReport::default() };
    insta::assert_snapshot!(sad_text(&report, Paint::PLAIN), @"
    TUNNEL  SPI IN    SPI OUT   PEER              TRAFFIC                      IN              OUT             REKEY   SUITE
    berlin  c0ffee01  c0ffee02  203.0.113.7:4500  10.1.0.0/24 <-> 10.2.0.0/24  1,200 (93 KiB)  1,180 (92 KiB)  41 min  aes256gcm16-esn  3 replayed dropped
    ");
    insta::assert_snapshot!(sad_text(&SadReport::default(), Paint::PLAIN), @"no SAs: `adit status` says how the tunnels stand");
}

fn protected() -> Answer {
    Answer {
        schema: SCHEMA,
        source: "10.1.0.5:49152".into(),
        destination: "10.2.0.7:443".into(),
        protocol: "tcp".into(),
        dscp: "cs0".into(),
        class: None,
        fate: Fate::Protected,
        route: "ip route get 10.2.0.7 -> dev adit0 table 44311".into(),
        reachable: true,
        routed_here: true,
        policy: Some(entry(2, PolicyAction::Protect, "berlin")),
        policies: 3,
        tunnel: Some(TunnelStatus {
            name: "berlin".into(),
            state: TunnelState::Up,
            since_s: Some(18_000),
            peer_address: Some("203.0.113.7:4500".into()),
            rekey_in_s: Some(2_460),
            ..TunnelStatus::default()
        }),
        sa: Some(sa()),
        over: Vec::new(),
        drops: vec![("no_policy".into(), 2)],
        problem: None,
    }
}

#[test]
fn a_packet_that_passes_is_followed_to_its_sa() {
    insta::assert_snapshot!(why_text(&protected(), Paint::PLAIN), @"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  PROTECTED by tunnel berlin

      route      into the tunnels' interface
                 ip route get 10.2.0.7 -> dev adit0 table 44311
      policy     2 of 3: protect 10.1.0.0/24 <-> 10.2.0.0/24
                 from tunnel berlin; the one before it does not match
                 /etc/adit/tunnels/berlin.toml:3
      tunnel     berlin UP for 5 h with 203.0.113.7:4500, rekey in 41 min
      sa         SPI c0ffee02 out, c0ffee01 in; ESP in UDP, aes256gcm16-esn
                 10.1.0.0/24 <-> 10.2.0.0/24
      packets    1,180 out, last 1.3 s ago; 1,200 in, last 200 ms ago; 3 replayed dropped
      drops      whole host: 2 no_policy dropped

    Nothing is wrong on this host.
    ");
}

/// A bypass alone brings no packet anywhere.
/// What the kernel protects never comes to us, and we say so.
#[test]
fn a_packet_of_the_kernel_is_followed_too() {
    let mut answer = protected();
    answer.routed_here = false;
    answer.policy.as_mut().unwrap().by_kernel = true;
    answer.sa.as_mut().unwrap().by_kernel = true;
    answer.route = "ip route get 10.2.0.7 -> dev eth1 via 203.0.113.7 table 44311".into();
    insta::assert_snapshot!(why_text(&answer, Paint::PLAIN), @"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  PROTECTED by tunnel berlin

      route      through the kernel's own IPsec
                 ip route get 10.2.0.7 -> dev eth1 via 203.0.113.7 table 44311
      policy     2 of 3: protect 10.1.0.0/24 <-> 10.2.0.0/24
                 from tunnel berlin (kernel); the one before it does not match
                 /etc/adit/tunnels/berlin.toml:3
      tunnel     berlin UP for 5 h with 203.0.113.7:4500, rekey in 41 min
      sa         SPI c0ffee02 out, c0ffee01 in; ESP in UDP by the kernel, aes256gcm16-esn
                 10.1.0.0/24 <-> 10.2.0.0/24
      packets    1,180 out, last 1.3 s ago; 1,200 in, last 200 ms ago; 3 replayed dropped

    Nothing is wrong on this host.
    ");
    let entries = vec![PolicyStatus {
        by_kernel: true,
        parts: None,
        ..entry(1, PolicyAction::Protect, "oslo")
    }];
    let report = SpdReport { schema: SCHEMA, total: 1, entries };
    insta::assert_snapshot!(spd_text(&report, Paint::PLAIN), @"
       ACTION   LOCAL        REMOTE       FROM                  PARTS  FILE
    1  protect  10.1.0.0/24  10.2.0.0/24  tunnel oslo (kernel)  -      /etc/adit/tunnels/oslo.toml:3
    The first that matches decides; what none matches is dropped.
    Those of the kernel are asked by it, before a packet comes to us: see `ip xfrm policy`.
    ");
    assert_eq!(engine(true, Some("vpn1"), None), " (kernel, interface vpn1)");
    assert_eq!(engine(true, None, Some("0x10/0xff")), " (kernel, mark 0x10/0xff)");
    assert_eq!(engine(false, Some("vpn1"), None), " (interface vpn1)");
    assert_eq!(engine(false, None, None), "");
}

#[test]
fn a_packet_in_clear_needs_a_route() {
    let stuck = Answer {
        fate: Fate::Bypassed,
        route: "ip route get 10.2.0.7 -> look up route: Network is unreachable".into(),
        reachable: false,
        policy: Some(entry(1, PolicyAction::Bypass, "10-printer")),
        tunnel: None,
        sa: None,
        ..protected()
    };
    insta::assert_snapshot!(why_text(&stuck, Paint::PLAIN), @"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  IN CLEAR by policy 10-printer

      route      into the tunnels' interface, then out in clear
                 ip route get 10.2.0.7 -> look up route: Network is unreachable
      policy     1 of 3: bypass 10.1.0.0/24 <-> 10.2.0.0/24
                 from operator 10-printer; the first one
                 /etc/adit/policies/10-printer.toml:3
      drops      whole host: 2 no_policy dropped

    The kernel has no route for it, and drops it: see `ip route`.
    ");
}

#[test]
fn a_packet_that_does_not_pass_has_a_code_and_a_fix() {
    let packet = "10.1.0.5:49152 > 10.2.0.7:443 tcp";
    let discarded = Answer {
        fate: Fate::Discarded,
        policy: Some(entry(1, PolicyAction::Discard, "10-web")),
        tunnel: None,
        sa: None,
        problem: Some(Diagnosis::discarded(packet, "10-web")),
        ..protected()
    };
    insta::assert_snapshot!(why_text(&discarded, Paint::PLAIN), @"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  DISCARDED by policy 10-web

      route      into the tunnels' interface
                 ip route get 10.2.0.7 -> dev adit0 table 44311
      policy     1 of 3: discard 10.1.0.0/24 <-> 10.2.0.0/24
                 from operator 10-web; the first one
                 /etc/adit/policies/10-web.toml:3
      drops      whole host: 2 no_policy dropped

    error[E403]: the policy 10-web discards this packet
      packet         10.1.0.5:49152 > 10.2.0.7:443 tcp
      fix            make policies/10-web.toml smaller, or put a bypass before it
    ");
    let blocked = Answer {
        fate: Fate::Blocked,
        policy: None,
        problem: Some(Diagnosis::no_policy(packet)),
        drops: Vec::new(),
        ..discarded
    };
    insta::assert_snapshot!(why_text(&blocked, Paint::PLAIN), @r#"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  BLOCKED: no policy matches, so it is dropped

      route      into the tunnels' interface
                 ip route get 10.2.0.7 -> dev adit0 table 44311
      policy     none of the 3 matches
      drops      whole host: none of any kind so far

    error[E402]: no policy lets this packet through
      packet         10.1.0.5:49152 > 10.2.0.7:443 tcp
      fix            send from an address in the tunnel's local networks, or widen them on both sides
      or             to let it pass in clear, write policies/NAME.toml with action = "bypass"
    "#);
}

/// CHECKLIST S10: the SAs of a nest, from the inside to the outside.
#[test]
fn a_nest_is_followed_to_its_last_sa() {
    let inner = SaStatus { over: Some("paris".into()), ..sa() };
    let outer = SaStatus {
        tunnel: "paris".into(),
        protocol: "AH".into(),
        udp: false,
        tcp: false,
        spi_out: "c0ffee04".into(),
        ..sa()
    };
    let table = SadReport {
        schema: SCHEMA,
        sas: vec![inner.clone(), outer.clone()],
        ..SadReport::default()
    };
    assert!(sad_text(&table, Paint::PLAIN).contains("\nberlin over paris  c0ffee01"));
    let said =
        why_text(&Answer { sa: Some(inner), over: vec![outer], ..protected() }, Paint::PLAIN);
    assert!(said.contains("PROTECTED by tunnel berlin over paris\n"), "{said}");
    let (first, then) = said.split_once("  over ").unwrap();
    assert!(first.contains("SPI c0ffee02 out") && then.contains("SPI c0ffee04 out"), "{said}");
    assert!(then.trim_start().starts_with("tunnel paris\n"), "{said}");
}

/// Where a tunnel has classes, each SA says whose, and a packet goes by its DSCP.
#[test]
fn classes_are_shown_where_there_are_some() {
    let voice = SaStatus { child: "berlin.1".into(), class: Some("cs5, ef".into()), ..sa() };
    let report =
        SadReport { schema: SCHEMA, sas: vec![voice.clone(), sa()], ..SadReport::default() };
    let text = sad_text(&report, Paint::PLAIN);
    assert!(text.contains("\nberlin (cs5, ef)  c0ffee01"), "{text}");
    assert!(text.contains("\nberlin            c0ffee01"), "{text}");
    let class = Some("berlin.1".into());
    let answer = Answer { dscp: "ef".into(), class, sa: Some(voice), ..protected() };
    let text = why_text(&answer, Paint::PLAIN);
    assert!(text.contains("  class      DSCP ef goes through berlin.1\n"), "{text}");
    assert!(!why_text(&protected(), Paint::PLAIN).contains("DSCP"));
    for (text, value) in [("ef", Some(46)), ("63", Some(63)), ("64", None), ("af44", None)] {
        assert_eq!(dscp(text).ok().map(Dscp::get), value, "{text}");
    }
}

/// RFC 4301 §4.4.1.2: what becomes of a packet that no SA carries yet.
#[test]
fn a_packet_may_open_an_sa_of_its_own() {
    let mut policy = entry(2, PolicyAction::Protect, "berlin");
    policy.pfp = vec!["remote".into(), "protocol".into()];
    let entries = vec![policy.clone()];
    let report = SpdReport { schema: SCHEMA, total: 1, entries };
    insta::assert_snapshot!(spd_text(&report, Paint::PLAIN), @"
       ACTION   LOCAL        REMOTE       FROM                                PARTS  FILE
    2  protect  10.1.0.0/24  10.2.0.0/24  tunnel berlin, pfp remote,protocol  1      /etc/adit/tunnels/berlin.toml:3
    The first that matches decides; what none matches is dropped.
    ");
    let packet = "10.1.0.5:49152 > 10.2.0.7:443 tcp";
    let problem = Some(Diagnosis::no_sa_yet(packet, "berlin", &policy.pfp));
    let policy = Some(policy);
    let waiting = Answer { fate: Fate::Waiting, policy, sa: None, problem, ..protected() };
    insta::assert_snapshot!(why_text(&waiting, Paint::PLAIN), @"
    10.1.0.5:49152 -> 10.2.0.7:443 tcp  =>  NOT SENT: its first packet opens an SA of its own in tunnel berlin

      route      into the tunnels' interface
                 ip route get 10.2.0.7 -> dev adit0 table 44311
      policy     2 of 3: protect 10.1.0.0/24 <-> 10.2.0.0/24
                 from tunnel berlin, pfp remote,protocol; the one before it does not match
                 /etc/adit/tunnels/berlin.toml:3
      tunnel     berlin UP for 5 h with 203.0.113.7:4500, rekey in 41 min
      drops      whole host: 2 no_policy dropped

    error[E404]: berlin: no SA carries this packet yet
      packet         10.1.0.5:49152 > 10.2.0.7:443 tcp
      pfp            remote, protocol: the SA takes them from its first packet
      fix            send it: adit why sends nothing itself
      or             adit sad lists the SAs there are; 256 are the most
    ");
}

/// RFC 4301 §4.4.1.1: the name of an entry is evidence.
#[test]
fn an_entry_for_an_identity_names_it() {
    let mut named = entry(2, PolicyAction::Protect, "berlin");
    named.peer_id = Some("*.berlin.example".into());
    let report = SpdReport { schema: SCHEMA, total: 1, entries: vec![named.clone()] };
    insta::assert_snapshot!(spd_text(&report, Paint::PLAIN), @"
       ACTION   LOCAL        REMOTE       FROM                                  PARTS  FILE
    2  protect  10.1.0.0/24  10.2.0.0/24  tunnel berlin, peer *.berlin.example  1      /etc/adit/tunnels/berlin.toml:3
    The first that matches decides; what none matches is dropped.
    ");
    assert_eq!(
        policy(&Answer { policy: Some(named), ..protected() }),
        "2 of 3: protect 10.1.0.0/24 <-> 10.2.0.0/24\n\
         from tunnel berlin, peer *.berlin.example; the one before it does not match\n\
         only through SAs of a peer that has proven to be *.berlin.example\n\
         /etc/adit/tunnels/berlin.toml:3"
    );
}

#[test]
fn compression_says_what_it_saves() {
    let compression = CompressionStatus {
        packets_out: 1_000,
        plain_octets_out: 1_300_000,
        compressed_octets_out: 300_000,
        ..CompressionStatus::default()
    };
    let said = packets(&SaStatus { compression: Some(compression), ..sa() });
    assert!(said.ends_with("\ncompressed 1,000 out to 23 %; 0 in"), "{said}");
    assert!(!packets(&sa()).contains("compressed"));
}
