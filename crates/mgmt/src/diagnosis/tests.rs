//! The blocks of every kind of failure, word for word.

use std::path::Path;
use std::time::Duration;

use adit_db::{Identity, IdentityPattern, ProposalSpec};
use adit_wire::iana::doi::GroupId;
use adit_wire::iana::{ExchangeType, KeyExchangeId, ProtocolId};
use adit_wire::ikev2::{Proposal, TrafficSelector};

use super::*;
use crate::secret::{SecretFacts, Weakness};

fn native() -> Context {
    Context {
        tunnel: Some("berlin".into()),
        file: Some("tunnels/berlin.toml".into()),
        key_lines: [("peer", 1), ("local", 2), ("remote", 3), ("secret", 4), ("id", 5)]
            .map(|(key, line)| (key.to_owned(), line))
            .into(),
        elapsed: Some(Duration::from_millis(18)),
        peer_software: Some("strongSwan".into()),
    }
}

fn swanctl() -> Context {
    Context { file: None, key_lines: Default::default(), ..native() }
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn pattern(text: &str) -> IdentityPattern {
    text.parse().unwrap()
}

fn selectors(texts: &[&str]) -> Vec<TrafficSelector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn offered(text: &str) -> Vec<Proposal> {
    let spec = ProposalSpec::ike(text).unwrap();
    vec![Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: spec.transforms().to_vec(),
    }]
}

fn esp_offered(text: &str) -> Vec<Proposal> {
    let spec = ProposalSpec::esp(text).unwrap();
    vec![Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: Vec::new(),
        transforms: spec.transforms().to_vec(),
    }]
}

const REMOTE: &str = "203.0.113.7:500";

#[test]
fn e101_refused_by_the_peer() {
    let ours = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    insta::assert_snapshot!(
        Diagnosis::no_common_ike_suite(&native(), Side::Peer, &ours, &[]), @r#"
        error[E101]: berlin: no common IKE algorithms
          we offered     aes256gcm16-prfsha384-x25519
          peer said      NO_PROPOSAL_CHOSEN, 18 ms after our first packet
          peer is        strongSwan, says its vendor id
          fix            make `ike` here and on the peer overlap
          or             set suite = "compat", for equipment from before 2018 (`adit explain E101`)
          in             tunnels/berlin.toml
        "#);
}

#[test]
fn e101_refused_by_us() {
    let ours = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    let theirs = offered("aes128-sha256-modp2048");
    insta::assert_snapshot!(
        Diagnosis::no_common_ike_suite(&swanctl(), Side::Us, &ours, &theirs), @r#"
        error[E101]: berlin: no common IKE algorithms
          we allow       aes256gcm16-prfsha384-x25519
          peer offered   aes128-prfsha256-sha256-modp2048
          peer is        strongSwan, says its vendor id
          fix            set proposals = "aes128-prfsha256-sha256-modp2048" here
        "#);
}

#[test]
fn e101_ec2n_groups_alone() {
    let ours = ProposalSpec::ike_list("aes256-sha256-modp2048").unwrap();
    let groups = [GroupId::EC2N_155, GroupId::EC2N_185];
    insta::assert_snapshot!(Diagnosis::ec2n_alone(&native(), &groups, &ours), @r#"
        error[E101]: berlin: the peer offers EC2N groups alone, which are not done here
          peer offered   group 3, EC2N-155
                         group 4, EC2N-185
          we allow       aes256-prfsha256-sha256-modp2048
          peer is        strongSwan, says its vendor id
          fix            let the peer use a group that we allow, best MODP-2048 (14) or ECP-256 (19)
          in             tunnels/berlin.toml
        "#);
    let text = Diagnosis::ec2n_alone(&native(), &[], &ours).to_string();
    assert!(text.contains("that it describes itself"), "{text}");
}

#[test]
fn e101_key_exchange_not_offered() {
    let ours = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    insta::assert_snapshot!(
        Diagnosis::key_exchange_not_offered(&native(), KeyExchangeId::BRAINPOOL_P512R1, &ours), @"
        error[E101]: berlin: the peer asks for a key exchange that we do not offer
          peer wants     BRAINPOOL_P512R1
          we offered     aes256gcm16-prfsha384-x25519
          peer is        strongSwan, says its vendor id
          fix            it is not supported here; let the peer accept x25519 or ecp384
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e101_key_exchange_that_we_have() {
    let ours = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    insta::assert_snapshot!(
        Diagnosis::key_exchange_not_offered(&native(), KeyExchangeId::MODP_4096, &ours), @"
        error[E101]: berlin: the peer asks for a key exchange that we do not offer
          peer wants     MODP_4096
          we offered     aes256gcm16-prfsha384-x25519
          peer is        strongSwan, says its vendor id
          fix            add modp4096 to `ike`
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e102_with_the_list_an_adit_peer_tells() {
    let ours = ProposalSpec::esp_list("aes256gcm16").unwrap();
    let theirs = esp_offered("aes128gcm16-esn");
    insta::assert_snapshot!(
        Diagnosis::no_common_esp_suite(&native(), Side::Peer, &ours, &theirs), @r#"
        error[E102]: berlin: no common ESP algorithms
          we offered     aes256gcm16-noesn
          peer said      NO_PROPOSAL_CHOSEN, 18 ms after our first packet
          peer allows    aes128gcm16-esn
          peer is        strongSwan, says its vendor id
          fix            set esp = "aes128gcm16-esn" here
          in             tunnels/berlin.toml
        "#);
}

#[test]
fn e110_peer_silent() {
    let cx = native();
    let waited = Duration::from_secs(165);
    insta::assert_snapshot!(
        Diagnosis::peer_silent(&cx, ExchangeType::IKE_SA_INIT, REMOTE.parse().unwrap(), 5, waited),
        @"
        error[E110]: berlin: 203.0.113.7 does not answer
          we sent        IKE_SA_INIT to 203.0.113.7:500, 5 times in 2 min
          came back      nothing
          means          wrong address, peer not running, or UDP 500/4500 filtered on the way
          fix            see whether our packets arrive there: tcpdump -ni any udp port 500
          in             tunnels/berlin.toml:1
        ");
    insta::assert_snapshot!(Diagnosis::handshake_timeout(&cx, Duration::from_secs(30)), @"
        error[E110]: berlin: the peer started a handshake and did not finish it
          waited         30 s
          means          our answers do not reach it, or it gave up: its log says which
        ");
}

#[test]
fn e111_peer_unreachable() {
    let remote = REMOTE.parse().unwrap();
    let waited = Duration::from_millis(4_200);
    insta::assert_snapshot!(
        Diagnosis::peer_unreachable(&native(), ExchangeType::IKE_SA_INIT, remote, 1, waited), @"
        error[E111]: berlin: 203.0.113.7 cannot be reached
          we sent        IKE_SA_INIT to 203.0.113.7:500, once in 4.2 s
          came back      ICMP: destination unreachable
          means          no route on the way, or nothing listens on UDP 500
          fix            start the peer's IKE daemon, or correct the address
          in             tunnels/berlin.toml:1
        ");
    insta::assert_snapshot!(Diagnosis::no_route(&native(), remote.ip()), @"
        error[E111]: berlin: this host has no route to 203.0.113.7
          fix            ip route get 203.0.113.7 must name an interface
          in             tunnels/berlin.toml:1
        ");
}

#[test]
fn e112_name_unknown() {
    insta::assert_snapshot!(Diagnosis::name_unknown(&native(), "gw.berlin.example"), @"
        error[E112]: berlin: the name gw.berlin.example does not resolve
          means          a typing error, or DNS cannot be reached without the tunnel
          fix            getent ahosts gw.berlin.example must print an address; or write the address
          in             tunnels/berlin.toml:1
        ");
}

#[test]
fn e121_nat_port_blocked() {
    let remote = "203.0.113.7:4500".parse().unwrap();
    let waited = Duration::from_secs(12);
    insta::assert_snapshot!(
        Diagnosis::nat_port_blocked(
            &native(), ExchangeType::IKE_AUTH, remote, 5, waited, (true, false)), @"
        error[E121]: berlin: UDP 500 works, UDP 4500 is blocked on the way
          saw            IKE_SA_INIT answered on 500 (we are behind a NAT)
                         IKE_AUTH to 203.0.113.7:4500, 5 times in 12 s: nothing back
          fix            allow UDP 4500 in both directions on the NAT device and both hosts, or set tcp = true if the peer listens for TCP (RFC 9329)
        ");
}

/// Where two Adits agreed on UDP, there is another way out.
#[test]
fn e121_without_a_nat() {
    let remote = "203.0.113.7:4500".parse().unwrap();
    let waited = Duration::from_secs(12);
    insta::assert_snapshot!(
        Diagnosis::nat_port_blocked(
            &native(), ExchangeType::IKE_AUTH, remote, 5, waited, (false, false)), @r#"
        error[E121]: berlin: UDP 500 works, UDP 4500 is blocked on the way
          saw            IKE_SA_INIT answered on 500 (no NAT, both sides prefer UDP)
                         IKE_AUTH to 203.0.113.7:4500, 5 times in 12 s: nothing back
          fix            allow UDP 4500 in both directions on the way, or set encap = "esp" for protocol 50
        "#);
}

#[test]
fn e122_no_tcp_connection() {
    let remote = "203.0.113.7:443".parse().unwrap();
    insta::assert_snapshot!(
        Diagnosis::no_tcp_connection(&native(), remote, "the connection was refused"), @"
        error[E122]: berlin: no TCP connection to 203.0.113.7:443
          saw            the connection was refused
          fix            let the peer listen: aditd --listen-tcp 443, and open the port on the way
          or             write the port that it listens on: tcp = 443
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e123_no_ike_over_tcp() {
    let remote = "203.0.113.7:443".parse().unwrap();
    insta::assert_snapshot!(
        Diagnosis::no_ike_over_tcp(&native(), remote, "the connection was closed"), @"
        error[E123]: berlin: 203.0.113.7:443 does not speak IKE over TCP
          saw            the connection was closed, before the peer had authenticated
          fix            write the port on which the peer takes IKE in TCP: tcp = 4500
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e130_closed_by_peer() {
    let cx = Context { elapsed: None, ..native() };
    insta::assert_snapshot!(Diagnosis::closed_by_peer(&cx), @"
        error[E130]: berlin: the peer closed the tunnel
          peer said      DELETE
          peer is        strongSwan, says its vendor id
          fix            see its log for the reason, which the protocol does not carry
        ");
}

#[test]
fn e201_no_secret() {
    let (local, remote) = (id("gw.oslo.example"), id("198.51.100.7"));
    insta::assert_snapshot!(Diagnosis::no_secret(&native(), &local, &remote), @r#"
        error[E201]: berlin: there is no secret for this peer
          we are         gw.oslo.example
          peer is        198.51.100.7
          fix            secret = "file:berlin.psk"
          in             tunnels/berlin.toml:4
        "#);
    insta::assert_snapshot!(Diagnosis::no_secret(&swanctl(), &local, &remote), @"
        error[E201]: berlin: there is no secret for this peer
          we are         gw.oslo.example
          peer is        198.51.100.7
          fix            give the secret these ids, or none, and run swanctl --load-creds
        ");
}

#[test]
fn e203_wrong_secret() {
    let (local, remote) = (id("gw.oslo.example"), pattern("gw.berlin.example"));
    let octets = [b'x'; 43];
    let facts = |by, certain| AuthFacts {
        by,
        local: &local,
        remote: &remote,
        certain,
        secret: Some(("file:berlin.psk", SecretFacts::of_file(&octets))),
    };
    let cx = native();
    insta::assert_snapshot!(Diagnosis::wrong_secret(&cx, &facts(Side::Peer, false)), @"
        error[E203]: berlin: the peer rejects our login; the pre-shared keys probably differ
          we are         gw.oslo.example
          peer is        gw.berlin.example (host name)
          our secret     file:berlin.psk, 43 bytes, no newline
          peer said      AUTHENTICATION_FAILED right after our AUTH
          or             it does not know gw.oslo.example (E204): its log says which of the two
          common cause   quotes in the secret's file, or hex that one side takes as text
          fix            make a new one with `adit secret new` and copy its file to both sides
          in             tunnels/berlin.toml:4
        ");
    insta::assert_snapshot!(Diagnosis::wrong_secret(&cx, &facts(Side::Peer, true)), @"
        error[E203]: berlin: the peer rejects our login: the pre-shared keys differ
          we are         gw.oslo.example
          peer is        gw.berlin.example (host name)
          our secret     file:berlin.psk, 43 bytes, no newline
          peer said      AUTHENTICATION_FAILED, and its own name: it did find a tunnel for us
          common cause   quotes in the secret's file, or hex that one side takes as text
          fix            make a new one with `adit secret new` and copy its file to both sides
          in             tunnels/berlin.toml:4
        ");
    insta::assert_snapshot!(Diagnosis::wrong_secret(&cx, &facts(Side::Us, true)), @"
        error[E203]: berlin: the peer's login is wrong: the pre-shared keys differ
          we are         gw.oslo.example
          peer is        gw.berlin.example (host name)
          our secret     file:berlin.psk, 43 bytes, no newline
          saw            its AUTH payload does not fit our secret
          common cause   quotes in the secret's file, or hex that one side takes as text
          fix            make a new one with `adit secret new` and copy its file to both sides
          in             tunnels/berlin.toml:4
        ");
}

#[test]
fn e204_unknown_to_peer() {
    let (local, remote) = (id("gw.oslo.example"), pattern("gw.berlin.example"));
    insta::assert_snapshot!(Diagnosis::unknown_to_peer(&native(), &local, &remote), @r#"
        error[E204]: berlin: the peer does not know us by this name
          we said        gw.oslo.example (host name)
          asked for      gw.berlin.example (host name)
          peer said      AUTHENTICATION_FAILED, without proving its own identity first
          fix            set id here to the name the peer expects
          or             set peer_id = "gw.oslo.example" there
          in             tunnels/berlin.toml:5
        "#);
}

#[test]
fn e204_unknown_peer() {
    let cx = Context::default();
    let (remote, asked) = (id("gw.oslo.example"), id("gw.berlin.example"));
    let expected = [("oslo".to_owned(), pattern("198.51.100.2"))];
    let from = "198.51.100.2:500".parse().ok();
    insta::assert_snapshot!(
        Diagnosis::unknown_peer(&cx, &remote, Some(&asked), from, &expected), @r#"
        error[E204]: no tunnel accepts gw.oslo.example from 198.51.100.2
          peer said      gw.oslo.example (host name)
          it asked for   gw.berlin.example (host name)
          we expect      198.51.100.2 (address) for tunnel oslo
          fix            set peer_id = "gw.oslo.example" in oslo here
          or             set id = "198.51.100.2" there
        "#);
    insta::assert_snapshot!(Diagnosis::unknown_peer(&cx, &remote, None, None, &[]), @r#"
        error[E204]: no tunnel accepts gw.oslo.example
          peer said      gw.oslo.example (host name)
          fix            add a tunnel with peer_id = "gw.oslo.example"
        "#);
}

#[test]
fn e205_wrong_identity() {
    insta::assert_snapshot!(
        Diagnosis::wrong_identity(&native(), &pattern("203.0.113.7"), &id("gw.berlin.example")),
        @r#"
        error[E205]: berlin: the peer proved another identity than the configured one
          we expect      203.0.113.7 (address)
          peer is        gw.berlin.example (host name)
          fix            if that is the right peer: peer_id = "gw.berlin.example"
          in             tunnels/berlin.toml
        "#);
}

#[test]
fn e302_not_claimed() {
    let peer = "oslo.branch.example".parse().unwrap();
    let (allowed, claimed) = (selectors(&["10.2.1.0/24"]), selectors(&["10.2.9.0/24"]));
    insta::assert_snapshot!(Diagnosis::not_claimed(&native(), &peer, &allowed, &claimed), @r#"
        error[E302]: berlin: the peer claims networks that it may not speak for
          peer is        oslo.branch.example
          may claim      10.2.1.0/24
          claims         10.2.9.0/24
          fix            set "oslo.branch.example" = "10.2.9.0/24" under [claims] here
          or             make the local networks there smaller
          in             tunnels/berlin.toml
        "#);
    insta::assert_snapshot!(Diagnosis::not_claimed(&native(), &peer, &[], &claimed), @r#"
        error[E302]: berlin: the peer claims networks that it may not speak for
          peer is        oslo.branch.example
          may claim      nothing
          claims         10.2.9.0/24
          fix            set "oslo.branch.example" = "10.2.9.0/24" under [claims] here
          or             make the local networks there smaller
          in             tunnels/berlin.toml
        "#);
}

#[test]
fn e223_user_refused() {
    insta::assert_snapshot!(Diagnosis::user_refused(&native(), Some("alice"), true), @"
        error[E223]: berlin: user alice is not let in
          saw            the gateway does not take name and password
          fix            compare `user` and `password` with the gateway's list
          in             tunnels/berlin.toml
        ");
    let strange = Diagnosis::user_refused(&native(), Some("alice"), false).to_string();
    assert!(strange.contains("asks for more than name and password"), "{strange}");
    insta::assert_snapshot!(Diagnosis::user_refused(&native(), None, false), @"
        error[E223]: berlin: the peer's user is not let in
          saw            wrong name or password, too often
          fix            compare with the file of `users`
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e303_no_inner_address() {
    insta::assert_snapshot!(Diagnosis::no_inner_address(&native()), @"
        error[E303]: berlin: the gateway has no address for us
          saw            an answer without an address
          fix            make the gateway's pool larger
          in             tunnels/berlin.toml
        ");
}

#[test]
fn e301_selector_mismatch() {
    let (local, remote) = (selectors(&["10.1.0.0/24"]), selectors(&["10.2.0.0/24"]));
    let other = selectors(&["10.3.0.0/24", "10.4.0.0/24"]);
    let none = [];
    let facts = SelectorFacts {
        by: Side::Peer,
        our_local: &local,
        our_remote: &remote,
        their_view_of_local: &local,
        their_view_of_remote: &other,
    };
    insta::assert_snapshot!(Diagnosis::selector_mismatch(&native(), &facts), @r#"
        error[E301]: berlin: the two sides disagree about which networks to connect
          we asked for   10.1.0.0/24 <-> 10.2.0.0/24
          peer allows    10.1.0.0/24 <-> 10.3.0.0/24, 10.4.0.0/24
                                         ^^^^^^^^^^^^^^^^^^^^^^^^
          fix            set remote = ["10.3.0.0/24", "10.4.0.0/24"] here, or local = "10.2.0.0/24" there
          in             tunnels/berlin.toml:3
        "#);
    let by_us = SelectorFacts {
        by: Side::Us,
        their_view_of_local: &other,
        their_view_of_remote: &remote,
        ..facts
    };
    insta::assert_snapshot!(Diagnosis::selector_mismatch(&swanctl(), &by_us), @"
        error[E301]: berlin: the two sides disagree about which networks to connect
          we allow       10.1.0.0/24 <-> 10.2.0.0/24
          peer asks for  10.3.0.0/24, 10.4.0.0/24 <-> 10.2.0.0/24
                         ^^^^^^^^^^^^^^^^^^^^^^^^
          fix            set local_ts = 10.3.0.0/24, 10.4.0.0/24 here, or remote_ts = 10.1.0.0/24 there
        ");
    let untold = SelectorFacts { by: Side::Peer, their_view_of_remote: &none, ..by_us };
    insta::assert_snapshot!(Diagnosis::selector_mismatch(&native(), &untold), @"
        error[E301]: berlin: the two sides disagree about which networks to connect
          we asked for   10.1.0.0/24 <-> 10.2.0.0/24
          peer said      TS_UNACCEPTABLE, and not what it would accept
          peer is        strongSwan, says its vendor id
          fix            there, the local side must cover 10.2.0.0/24 and the remote side 10.1.0.0/24
          in             tunnels/berlin.toml:3
        ");
}

#[test]
fn e5_this_host() {
    let cx = Context::default();
    let taken = PortProblem { address: "0.0.0.0:500", holder: Some("charon-systemd, pid 712") };
    let socket = PortProblem { address: "/run/adit/vici", holder: None };
    let secret = Path::new("/etc/adit/tunnels/berlin.psk");
    let blocks = [
        Diagnosis::route_elsewhere(
            &native(),
            "10.2.0.0/24",
            "10.2.0.5 via 10.1.0.254 dev eth1",
            "dev adit0",
        ),
        Diagnosis::address_in_use(&cx, &taken),
        Diagnosis::address_in_use(&cx, &socket),
        Diagnosis::no_tun(&cx, "No such device (os error 19)"),
        Diagnosis::no_privileges(&cx, "bind UDP 500", "Permission denied (os error 13)"),
        Diagnosis::forwarding_off(&native(), false),
        Diagnosis::reverse_path_filtered(&native(), "203.0.113.7".parse().unwrap(), "eth0"),
        Diagnosis::secret_readable(&native(), secret, 0o100_644),
        Diagnosis::file_missing(&native(), secret, "No such file or directory (os error 2)"),
        Diagnosis::secret_weak(&native(), secret, Weakness::Short(7)),
        Diagnosis::daemon_unreachable(Path::new("/run/adit/vici"), "Connection refused"),
        Diagnosis::internal(&native(), "the peer broke the protocol: two KE payloads"),
    ];
    let all: String = blocks.iter().map(|block| block.render(false)).collect();
    insta::assert_snapshot!(all, @"
        error[E501]: berlin: this host sends 10.2.0.0/24 elsewhere
          kernel says    10.2.0.5 via 10.1.0.254 dev eth1
          expected       dev adit0
          fix            remove the other route, or make the tunnel's networks more specific
          in             tunnels/berlin.toml:3
        error[E502]: 0.0.0.0:500 is already in use
          held by        charon-systemd, pid 712
          fix            stop the other IKE daemon (ss -ulpn names it)
        error[E502]: /run/adit/vici is already in use
          fix            stop the other aditd, or choose another path with --vici
        error[E503]: no TUN device can be made
          system says    No such device (os error 19)
          fix            modprobe tun; in a container: --device /dev/net/tun --cap-add NET_ADMIN
        error[E504]: missing privileges to bind UDP 500
          system says    Permission denied (os error 13)
          fix            run as root, or give CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE
        warning[E505]: berlin: this host does not forward packets; only itself can use the tunnel
          kernel says    net.ipv4.ip_forward = 0
          fix            sysctl -w net.ipv4.ip_forward=1
        error[E506]: berlin: this host drops the peer's packets on arrival
          peer           203.0.113.7, which `remote` contains: its way back is the tunnel
          kernel says    strict reverse path filter on eth0
          fix            sysctl -w net.ipv4.conf.eth0.rp_filter=2, or leave 203.0.113.7 out of `remote`
          in             tunnels/berlin.toml:3
        error[E511]: berlin: the secret in /etc/adit/tunnels/berlin.psk can be read by others
          permissions    0644, must be 0600
          fix            chmod 600 /etc/adit/tunnels/berlin.psk
          in             tunnels/berlin.toml:4
        error[E512]: berlin: /etc/adit/tunnels/berlin.psk cannot be read
          system says    No such file or directory (os error 2)
          in             tunnels/berlin.toml:4
        warning[E513]: berlin: the secret in /etc/adit/tunnels/berlin.psk is weak
          saw            it has only 7 bytes; 16 random ones are the least to rely on
          fix            adit secret new > /etc/adit/tunnels/berlin.psk, on both sides
          in             tunnels/berlin.toml:4
        error[E520]: the daemon does not answer
          socket         /run/adit/vici
          system says    Connection refused
          fix            systemctl start aditd, or aditd --config DIR in a terminal
        error[E601]: berlin: the peer broke the protocol: two KE payloads
          fix            report it with `adit log berlin`
        ");
}

#[test]
fn e507_names_what_the_kernel_lacks() {
    let missing = "the kernel has no ESP over IPv4 (module esp4)";
    let offload = Diagnosis::no_offload(&native(), "eth0", "Operation not supported").render(false);
    assert!(offload.contains("the interface eth0 cannot offload"), "{offload}");
    assert!(offload.contains("set offload = \"off\""), "{offload}");
    let block = Diagnosis::no_kernel_engine(&native(), missing).render(false);
    insta::assert_snapshot!(block, @r#"
        error[E507]: berlin: the kernel cannot be the tunnel's engine
          missing        the kernel has no ESP over IPv4 (module esp4)
          fix            modprobe esp4 esp6 xfrm_user, or write engine = "userspace"
          in             tunnels/berlin.toml
        "#);
    let block = Diagnosis::not_for_kernel(&native(), "it does AH").render(false);
    insta::assert_snapshot!(block, @r#"
        error[E507]: berlin: the kernel cannot be the tunnel's engine
          because        it does AH
          fix            engine = "userspace" does that; "auto" chooses by itself
          in             tunnels/berlin.toml
        "#);
}

#[test]
fn colour_wraps_the_same_words() {
    let plain = Diagnosis::name_unknown(&native(), "gw.example").marked("saw", "a b", 2..3);
    let coloured = plain.render(true);
    assert!(coloured.starts_with("\x1b[1;31merror[E112]\x1b[0m: berlin: "));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain.render(false));
}

#[test]
fn a_peers_words_do_not_move_the_cursor() {
    let nasty = Diagnosis::new(Code::E601, "saw \x1b[2J").tunnel("a\nb").line("x\r", "y\x07\nz");
    assert!(!nasty.render(false).contains(['\x1b', '\r', '\x07']));
    assert_eq!(nasty.render(false).lines().count(), 3);
    assert_eq!(nasty.one_line(), "E601: a\u{fffd}b: saw \u{fffd}[2J");
}

#[test]
fn json_keeps_everything() {
    let (local, remote) = (selectors(&["10.1.0.0/24"]), selectors(&["10.2.0.0/24"]));
    let other = selectors(&["10.3.0.0/24"]);
    let facts = SelectorFacts {
        by: Side::Peer,
        our_local: &local,
        our_remote: &remote,
        their_view_of_local: &local,
        their_view_of_remote: &other,
    };
    let diagnosis = Diagnosis::selector_mismatch(&native(), &facts);
    let json = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(serde_json::from_str::<Diagnosis>(&json).unwrap(), diagnosis);
    insta::assert_snapshot!(json, @r#"{"code":"E301","severity":"error","tunnel":"berlin","sentence":"the two sides disagree about which networks to connect","lines":[{"label":"we asked for","value":"10.1.0.0/24 <-> 10.2.0.0/24"},{"label":"peer allows","value":"10.1.0.0/24 <-> 10.3.0.0/24","mark":{"start":16,"end":27}}],"fixes":["set remote = \"10.3.0.0/24\" here, or local = \"10.2.0.0/24\" there"],"place":{"file":"tunnels/berlin.toml","line":3}}"#);
}

#[test]
fn durations_read_as_people_say_them() {
    let words = [18, 3_200, 41_000, 165_000, 2_460_000, 18_000_000, 200_000_000];
    let words = words.map(|ms| human(Duration::from_millis(ms)));
    assert_eq!(words, ["18 ms", "3.2 s", "41 s", "2 min", "41 min", "5 h", "2 d"]);
}
