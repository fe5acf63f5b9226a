//! Twenty-odd mistakes and what the operator reads about each.

mod policies;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use adit_db::{EndAction, IdentityPattern, Keep, KeyingTries};

use super::*;
use crate::codes::Code;

mod ah;
mod authentication;
mod beet;
mod claims;
mod classes;
mod cpus;
mod dsa;
mod encap;
mod encryption;
mod engine;
mod gateway;
mod icmp;
mod idle;
mod ikev1;
mod ipcomp;
mod kernel;
mod mobike;
mod nesting;
mod outer_header;
mod path_mtu;
mod path_probe;
mod pfp;
mod remote_access;
mod sas;
mod secret;
mod signature;
mod static_kem;
mod suites;
mod tfc;
mod transport;
mod turbo;

const GOOD_SECRET: &str = "2Yw9JtG0bQx4m7Zk1VfN8cRhT5aLpEsD\n";

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { path: format!("tunnels/{name}.toml").into(), text: text.to_owned() }
}

fn secrets(path: &Path) -> Result<SecretFile, String> {
    let known: BTreeMap<&str, (&str, u32)> = [
        ("tunnels/good.psk", (GOOD_SECRET, 0o100_600)),
        ("tunnels/other.psk", ("another-secret-of-32-characters!", 0o100_600)),
        ("tunnels/open.psk", (GOOD_SECRET, 0o100_644)),
        ("tunnels/weak.psk", ("hunter2", 0o100_600)),
        ("tunnels/empty.psk", ("\n", 0o100_600)),
        ("tunnels/alice.password", ("correct horse\n", 0o100_600)),
        ("tunnels/users", ("# members\nalice correct horse\n\nbob\tstaple\n", 0o100_600)),
        ("tunnels/odd.users", ("alice one\nhunter2\n", 0o100_600)),
        ("tunnels/twice.users", ("alice one\nalice two\n", 0o100_600)),
        ("/etc/secret", (GOOD_SECRET, 0o100_400)),
    ]
    .into();
    let found = path.to_str().and_then(|path| known.get(path));
    let (text, mode) = found.ok_or("No such file or directory (os error 2)")?;
    Ok(SecretFile { octets: Secret::from_slice(text.as_bytes()), mode: *mode })
}

fn load_one(text: &str) -> Result<Configuration, Vec<ConfigError>> {
    load(&[file("berlin", text)], &secrets)
}

fn good(text: &str) -> Tunnel {
    let mut configuration = load_one(text).unwrap();
    assert_eq!(configuration.warnings, []);
    configuration.tunnels.remove("berlin").unwrap()
}

/// The five lines of a good file, with `change` applied to them.
fn changed(change: impl FnOnce(&mut Vec<&str>)) -> String {
    let mut lines = FIVE_LINES.lines().collect();
    change(&mut lines);
    lines.join("\n") + "\n"
}

/// What the operator reads about a good file with one more line.
fn with(line: &str) -> String {
    complaint(&format!("{FIVE_LINES}\n{line}\n"))
}

fn complaint(text: &str) -> String {
    rendered(load_one(text).unwrap_err())
}

fn rendered(errors: Vec<ConfigError>) -> String {
    let mut out = String::new();
    for error in errors {
        let _ = writeln!(out, "{}", error.render(false));
        assert!(error.render(true).contains("\x1b["));
    }
    out
}

const FIVE_LINES: &str = r#"peer   = "203.0.113.7"
local  = "10.1.0.0/24"
remote = "10.2.0.0/24"
secret = "file:good.psk""#;

#[test]
fn five_lines_make_a_tunnel() {
    let tunnel = good(FIVE_LINES);
    let connection = &tunnel.connection;
    assert_eq!(connection.name.as_str(), "berlin");
    assert_eq!(connection.remote_addresses, ["203.0.113.7".parse().unwrap()]);
    assert_eq!(connection.pad.local_id, None);
    assert_eq!(connection.pad.remote_id.to_string(), "203.0.113.7");
    assert_eq!(connection.reach, KeyingTries::Forever);
    let child = &connection.children[0];
    assert_eq!(child.name.as_str(), "berlin");
    assert_eq!(child.keep, Keep::Up);
    assert_eq!(child.close_action, EndAction::Restart);
    assert_eq!(child.local_ts[0].to_string(), "10.1.0.0/24");
    let secret = tunnel.secret.as_ref().unwrap();
    assert_eq!(secret.octets.as_bytes(), GOOD_SECRET.trim_end().as_bytes());
    assert!(secret.facts.newline_trimmed);
    assert_eq!(secret.name, "file:good.psk");
    assert_eq!(tunnel.origin.key_lines.get("remote"), Some(&3));
    assert_eq!(tunnel.context().file.as_deref(), Some("tunnels/berlin.toml"));
}

#[test]
fn every_key_has_its_effect() {
    let tunnel = good(
        r#"
        peer    = ["gw1.berlin.example", "2001:db8::7"]
        address = "198.51.100.2"
        id      = "gw.oslo.example"
        peer_id = "*.berlin.example"
        local   = ["10.1.0.0/16", "fd01::/48"]
        remote  = ["10.2.0.0/16[tcp/443]", "fd02::/48"]
        secret  = "file:/etc/secret"
        keep    = "on-demand"
        encap   = "udp"
        ike     = ["aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes128-sha256-modp2048"]
        esp     = "aes256gcm16-noesn"
        rekey   = "30m"
        life    = "40m"
        ike_rekey = "2h"
        dpd     = "off"
        replay_window = 4_096
        "#,
    );
    let connection = &tunnel.connection;
    assert_eq!(connection.remote_addresses.len(), 2);
    assert_eq!(connection.local_addresses, ["198.51.100.2".parse().unwrap()]);
    assert_eq!(connection.pad.local_id.as_ref().unwrap().to_string(), "gw.oslo.example");
    assert_eq!(connection.pad.remote_id.to_string(), "*.berlin.example");
    assert_eq!(connection.encap, adit_db::Encap::Udp);
    assert_eq!(connection.proposals.len(), 2);
    assert_eq!(connection.rekey_time.as_secs(), 7_200);
    assert!(connection.dpd_delay.is_zero());
    let child = &connection.children[0];
    assert_eq!(child.keep, Keep::OnDemand);
    assert_eq!(child.proposals[0].to_string(), "aes256gcm16-noesn");
    let limit = child.lifetime.seconds;
    assert_eq!((limit.soft, limit.hard, limit.rand), (1_800, 2_400, 600));
    assert_eq!(child.replay_window.packets(), 4_096);
    assert_eq!(child.remote_ts[0].to_string(), "10.2.0.0/16[tcp/443]");
}

#[test]
fn a_passive_tunnel_needs_no_peer() {
    let tunnel = good(&changed(|lines| {
        lines.remove(0);
        lines.push("keep = \"passive\"");
    }));
    assert!(tunnel.connection.remote_addresses.is_empty());
    assert_eq!(tunnel.connection.pad.remote_id, IdentityPattern::Any);
}

/// CHECKLIST X01: the plan of a reload with added, changed and removed tunnels.
#[test]
fn reload_touches_only_what_changed() {
    let load = |second: &str, third: &str| {
        let second = FIVE_LINES.replace("10.2.0.0", second).replace("203.0.113.7", "192.0.2.2");
        let third = FIVE_LINES.replace("10.2.0.0", "10.4.0.0").replace("good.psk", third);
        let mut files = vec![file("a", FIVE_LINES), file("b", &second), file("c", &third)];
        if second.contains("10.9") {
            files.push(file("d", &FIVE_LINES.replace("10.2.0.0", "10.5.0.0")));
            files.remove(0);
        }
        load(&files, &secrets).unwrap()
    };
    let changes = diff(&load("10.3.0.0", "good.psk"), &load("10.9.0.0", "good.psk"));
    assert_eq!(changes.added, ["d"]);
    assert_eq!(changes.changed, ["b"]);
    assert_eq!(changes.removed, ["a"]);
    assert_eq!(changes.unchanged, ["c"]);
    // A new secret behind the same name is a change, other white space is none.
    let changes = diff(&load("10.3.0.0", "good.psk"), &load("10.3.0.0", "other.psk"));
    assert_eq!(changes.changed, ["c"]);
    let spaced = FIVE_LINES.replace(" = ", "=") + "\n# comment\n";
    let spaced = super::load(&[file("a", &spaced)], &secrets).unwrap();
    let plain = super::load(&[file("a", FIVE_LINES)], &secrets).unwrap();
    assert!(diff(&plain, &spaced).is_empty());
}

/// CHECKLIST E18.
#[test]
fn a_weak_algorithm_is_refused_unless_allowed() {
    let text = format!("{FIVE_LINES}\nike = \"aes256-sha256-x25519, 3des-md5-modp2048\"\n");
    insta::assert_snapshot!(complaint(&text), @r#"
    error[E514]: berlin: 3des is too weak to be used unasked
     --> tunnels/berlin.toml:5:30
      |
    5 | ike = "aes256-sha256-x25519, 3des-md5-modp2048"
      |                              ^^^^ RFC 8221: SHOULD NOT
      |
      = help: its blocks of 64 bits repeat and then tell about the traffic (Sweet32), so a key is replaced after 1 GiB and ends after 4 GiB; many times slower than AES
      = help: if the peer knows nothing better: allow = ["3des"]
    error[E514]: berlin: md5 is too weak to be used unasked
     --> tunnels/berlin.toml:5:35
      |
    5 | ike = "aes256-sha256-x25519, 3des-md5-modp2048"
      |                                   ^^^ RFC 8221 and RFC 8247: MUST NOT
      |
      = help: MD5 itself is broken; that HMAC-MD5 is not yet is the only thing that holds
      = help: if the peer knows nothing better: allow = ["md5"]
    "#);
    let text = format!("{text}allow = [\"3des\", \"md5\"]\n");
    let configuration = load_one(&text).unwrap();
    let codes: Vec<Code> = configuration.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::E515; 2]);
    insta::assert_snapshot!(configuration.warnings[0].render(false), @r#"
    warning[E515]: berlin: 3des is allowed, and weak
     --> tunnels/berlin.toml:5:30
      |
    5 | ike = "aes256-sha256-x25519, 3des-md5-modp2048"
      |                              ^^^^ RFC 8221: SHOULD NOT
      |
      = help: its blocks of 64 bits repeat and then tell about the traffic (Sweet32), so a key is replaced after 1 GiB and ends after 4 GiB; many times slower than AES
    "#);
    let proposals = &configuration.tunnels["berlin"].connection.proposals;
    assert_eq!(proposals[1].to_string(), "3des-prfmd5-md5-modp2048");

    let only_one = text.replace(", \"md5\"", "");
    let errors = load_one(&only_one).unwrap_err();
    let codes: Vec<Code> = errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, [Code::E515, Code::E514]);
}

#[test]
fn allow_takes_no_other_words() {
    insta::assert_snapshot!(with("allow = [\"3des\", \"md55\", \"sha1\"]"), @r#"
    error[E510]: berlin: `allow` names nothing that must be allowed
     --> tunnels/berlin.toml:5:18
      |
    5 | allow = ["3des", "md55", "sha1"]
      |                  ^^^^^^ must be one of 3des, des, blowfish, cast128, md5, modp768, modp1024, modp1536, modp1024s160, modp2048s224, modp2048s256, ecp192
      |
      = help: did you mean "md5"?
    error[E510]: berlin: `allow` names nothing that must be allowed
     --> tunnels/berlin.toml:5:26
      |
    5 | allow = ["3des", "md55", "sha1"]
      |                          ^^^^^^ must be one of 3des, des, blowfish, cast128, md5, modp768, modp1024, modp1536, modp1024s160, modp2048s224, modp2048s256, ecp192
    "#);
}

/// Null encryption is in order and said to be what it is; null with null cannot be written.
#[test]
fn a_tunnel_that_does_not_encrypt_is_a_warning() {
    let text = format!("{FIVE_LINES}\nesp = [\"null-sha256\", \"aes128gmac\"]\n");
    let configuration = load_one(&text).unwrap();
    let codes: Vec<Code> = configuration.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::E516; 2]);
    insta::assert_snapshot!(configuration.warnings[0].render(false), @r#"
    warning[E516]: berlin: the tunnel does not encrypt
     --> tunnels/berlin.toml:5:9
      |
    5 | esp = ["null-sha256", "aes128gmac"]
      |         ^^^^ nothing is encrypted: everyone on the way can read the traffic, though not change it
      |
      = help: aes256gcm16 encrypts as well
    "#);
    insta::assert_snapshot!(with("esp = \"null\""), @r#"
    error[E510]: berlin: `esp` cannot be understood
     --> tunnels/berlin.toml:5:7
      |
    5 | esp = "null"
      |       ^^^^^^ no integrity algorithm in "null"
      |
      = help: "null-sha256", or an AEAD cipher such as aes256gcm16
    "#);
}

#[test]
fn a_weak_secret_is_a_warning() {
    let configuration = load_one(&FIVE_LINES.replace("good.psk", "weak.psk")).unwrap();
    assert_eq!(configuration.warnings[0].code, Code::E513);
    insta::assert_snapshot!(configuration.warnings[0].render(false), @r#"
        warning[E513]: berlin: the secret in tunnels/weak.psk is weak
         --> tunnels/berlin.toml:4:10
          |
        4 | secret = "file:weak.psk"
          |          ^^^^^^^^^^^^^^^ it has only 7 bytes; 16 random ones are the least to rely on
          |
          = help: `adit secret new` makes a good one; both sides need the same
        "#);
}

#[test]
fn unknown_key() {
    insta::assert_snapshot!(with("remot = \"10.3.0.0/24\""), @r#"
        error[E510]: berlin: unknown key `remot`
         --> tunnels/berlin.toml:5:1
          |
        5 | remot = "10.3.0.0/24"
          | ^^^^^ not a key
          |
          = help: did you mean `remote`?
        "#);
}

#[test]
fn unknown_key_unlike_any() {
    insta::assert_snapshot!(with("left = \"10.3.0.0/24\""), @r#"
        error[E510]: berlin: unknown key `left`
         --> tunnels/berlin.toml:5:1
          |
        5 | left = "10.3.0.0/24"
          | ^^^^ not a key
          |
          = help: did you mean `address`?
        "#);
}

#[test]
fn table_in_a_tunnel() {
    insta::assert_snapshot!(with("[access]\nname = \"vpn\""), @"
        error[E510]: berlin: unknown key `access`
         --> tunnels/berlin.toml:5:2
          |
        5 | [access]
          |  ^^^^^^ not a table of this file
          |
          = help: known keys: aggressive, base_mode, keep, peer, address, id, peer_id, childless, redirect, follow_redirects, resumption, over, encap, protocol, engine, tcp, mode, mobike, suite, allow, ike, esp, ah, rekey, life, ike_rekey, dpd, life_absent, life_strict, ike_life_min, ike_life_max, ike_life_kilobytes, ike_life_kilobytes_min, ike_life_kilobytes_max, life_min, life_max, life_kilobytes, life_kilobytes_min, life_kilobytes_max, replay_window, peer_replay_window, tfc_padding, tfc_dummies, compress, turbo, interface, mark, tun_mtu, offload, routes, dscp, ecn, df, icmp_errors, icmp_carry, security_failures, traceroute_transit, icmp, path_mtu, path_mtu_age, fragment, mss_clamp, idle, pfp, local, remote, path_probe, path_probe_from, classes, cpus, claims, cert, key, ca, peer_cert, peer_key, kem_key, peer_kem_key, forward_secrecy, auth, peer_auth, ppk_id, ppk_required, ppk, reauth, second, xauth, mode_config, secret
        ");
}

#[test]
fn wrong_kind_of_value() {
    insta::assert_snapshot!(with("keep = true"), @"
        error[E510]: berlin: wrong kind of value
         --> tunnels/berlin.toml:5:8
          |
        5 | keep = true
          |        ^^^^ must be a string, not true or false
        ");
}

#[test]
fn wrong_kind_inside_a_list() {
    insta::assert_snapshot!(
        complaint(&changed(|lines| lines[1] = "local = [\"10.1.0.0/24\", 7]")), @r#"
        error[E510]: berlin: wrong kind of value
         --> tunnels/berlin.toml:2:25
          |
        2 | local = ["10.1.0.0/24", 7]
          |                         ^ must be a string, not an integer
        "#);
}

#[test]
fn empty_list() {
    insta::assert_snapshot!(complaint(&changed(|lines| lines[2] = "remote = []")), @"
        error[E510]: berlin: `remote` must not be empty
         --> tunnels/berlin.toml:3:10
          |
        3 | remote = []
          |          ^^
        ");
}

#[test]
fn syntax_mistake() {
    insta::assert_snapshot!(complaint(&changed(|lines| lines[1] = "local = \"10.1.0.0/24")), @r#"
        error[E510]: berlin: not valid TOML: invalid basic string, expected `"`
         --> tunnels/berlin.toml:2:21
          |
        2 | local = "10.1.0.0/24
          |                     ^
        "#);
}

#[test]
fn key_given_twice() {
    insta::assert_snapshot!(with("peer = \"203.0.113.8\""), @r#"
        error[E510]: berlin: not valid TOML: duplicate key
         --> tunnels/berlin.toml:5:1
          |
        5 | peer = "203.0.113.8"
          | ^^^^
        "#);
}

#[test]
fn bad_network() {
    insta::assert_snapshot!(
        complaint(&changed(|lines| lines[2] = "remote = \"10.2.0.0/33\"")), @r#"
        error[E510]: berlin: `remote` cannot be understood
         --> tunnels/berlin.toml:3:10
          |
        3 | remote = "10.2.0.0/33"
          |          ^^^^^^^^^^^^^ "10.2.0.0/33" is no address, network, range of addresses or "dynamic"
          |
          = help: write a network such as "10.1.0.0/24"
        "#);
}

#[test]
fn host_bits_set() {
    insta::assert_snapshot!(
        complaint(&changed(|lines| lines[1] = "local  = \"10.1.0.5/24[tcp]\"")), @r#"
        error[E510]: berlin: the address has bits behind its prefix
         --> tunnels/berlin.toml:2:11
          |
        2 | local  = "10.1.0.5/24[tcp]"
          |           ^^^^^^^^^^^ one host, or the network of 24 bits?
          |
          = help: write 10.1.0.0/24 or 10.1.0.5/32
        "#);
}

#[test]
fn ports_without_protocol() {
    insta::assert_snapshot!(
        complaint(&changed(|lines| lines[2] = "remote = \"10.2.0.0/24[any/443]\"")), @r#"
        error[E510]: berlin: `remote` cannot be understood
         --> tunnels/berlin.toml:3:10
          |
        3 | remote = "10.2.0.0/24[any/443]"
          |          ^^^^^^^^^^^^^^^^^^^^^^ "any/443" is not protocol, protocol/port or protocol/first-last
          |
          = help: write for example "10.1.0.0/24[tcp/443]"
        "#);
}

#[test]
fn both_sides_overlap() {
    insta::assert_snapshot!(
        complaint(&changed(|lines| lines[2] = "remote = [\"10.9.0.0/24\", \"10.1.0.0/16\"]")), @r#"
        error[E510]: berlin: `local` and `remote` overlap
         --> tunnels/berlin.toml:3:26
          |
        2 | local  = "10.1.0.0/24"
          |          ------------- our side
        3 | remote = ["10.9.0.0/24", "10.1.0.0/16"]
          |                          ^^^^^^^^^^^^^ 10.1.0.0/24 would be on both sides
        "#);
}

#[test]
fn two_tunnels_overlap() {
    let files = [
        file("berlin", FIVE_LINES),
        file("bremen", &FIVE_LINES.replace("10.2.0.0/24", "10.2.0.128/25")),
    ];
    insta::assert_snapshot!(rendered(load(&files, &secrets).unwrap_err()), @r#"
        error[E510]: bremen: tunnel berlin claims this traffic too
         --> tunnels/bremen.toml:3:10
          |
        3 | remote = "10.2.0.128/25"
          |          ^^^^^^^^^^^^^^^ 10.2.0.128/25 would go into either tunnel
          |
         ::: tunnels/berlin.toml:3:10
          |
        3 | remote = "10.2.0.0/24"
          |          ------------- claimed here
          |
          = help: make the remote networks disjoint, or give the tunnels different local networks
        "#);
}

#[test]
fn tunnels_apart_by_source_or_port_do_not_overlap() {
    let source = FIVE_LINES.replace("10.1.0.0/24", "10.7.0.0/24");
    let web = FIVE_LINES.replace("10.2.0.0/24", "10.2.0.0/24[tcp/443]");
    let mail = FIVE_LINES.replace("10.2.0.0/24", "10.2.0.0/24[tcp/25]");
    assert!(load(&[file("a", &source), file("b", FIVE_LINES)], &secrets).is_ok());
    assert!(load(&[file("a", &web), file("b", &mail)], &secrets).is_ok());
}

#[test]
fn missing_keys() {
    insta::assert_snapshot!(complaint("# nothing yet\n"), @r#"
        error[E510]: berlin: `peer`, `local`, `remote` and `secret` are missing
        --> tunnels/berlin.toml
         = help: add peer = "203.0.113.7", the peer's address or host name
         = help: add local = "10.1.0.0/24", the networks on our side
         = help: add remote = "10.2.0.0/24", the networks on the peer's side
         = help: add secret = "file:berlin.psk"; `adit secret new` makes one
        "#);
}

#[test]
fn bad_peer() {
    insta::assert_snapshot!(complaint(&changed(|lines| lines[0] = "peer = \"203.0.113.777\"")), @r#"
        error[E510]: berlin: `peer` cannot be understood
         --> tunnels/berlin.toml:1:8
          |
        1 | peer = "203.0.113.777"
          |        ^^^^^^^^^^^^^^^ "203.0.113.777" is neither an address nor a host name
        "#);
}

#[test]
fn nobody_to_call() {
    insta::assert_snapshot!(complaint(&changed(|lines| lines[0] = "peer = \"%any\"")), @r#"
        error[E510]: berlin: nobody to call
         --> tunnels/berlin.toml:1:8
          |
        1 | peer = "%any"
          |        ^^^^^^ not the address of one host
          |
          = help: write an address or a host name, or keep = "passive"
        "#);
}

#[test]
fn bad_own_address() {
    insta::assert_snapshot!(with("address = \"eth0\""), @r#"
        error[E510]: berlin: `address` cannot be understood
         --> tunnels/berlin.toml:5:11
          |
        5 | address = "eth0"
          |           ^^^^^^ "eth0" is no IP address of this host
        "#);
}

#[test]
fn bad_identity() {
    insta::assert_snapshot!(with("peer_id = \"gw.*.example\""), @r#"
        error[E510]: berlin: `peer_id` cannot be understood
         --> tunnels/berlin.toml:5:11
          |
        5 | peer_id = "gw.*.example"
          |           ^^^^^^^^^^^^^^ "gw.*.example": a wildcard may only replace the leading part, as in *.example or *@example
        "#);
}

#[test]
fn unknown_algorithm() {
    insta::assert_snapshot!(with("ike = [\"aes256gcm16-prfsha265-x25519\"]"), @r#"
        error[E510]: berlin: `ike` cannot be understood
         --> tunnels/berlin.toml:5:21
          |
        5 | ike = ["aes256gcm16-prfsha265-x25519"]
          |                     ^^^^^^^^^ unknown algorithm
          |
          = help: did you mean "prfsha256"?
        "#);
}

#[test]
fn incomplete_proposal() {
    insta::assert_snapshot!(with("esp = \"aes256\""), @r#"
        error[E510]: berlin: `esp` cannot be understood
         --> tunnels/berlin.toml:5:7
          |
        5 | esp = "aes256"
          |       ^^^^^^^^ no integrity algorithm in "aes256"
          |
          = help: "aes256-sha256", or an AEAD cipher such as aes256gcm16
        "#);
}

#[test]
fn bad_time() {
    insta::assert_snapshot!(with("dpd = \"30 sec\""), @r#"
        error[E510]: berlin: `dpd` cannot be understood
         --> tunnels/berlin.toml:5:7
          |
        5 | dpd = "30 sec"
          |       ^^^^^^^^ must be a time such as "30s", "5m", "4h" or "1d", or "off"
        "#);
}

#[test]
fn life_shorter_than_rekey() {
    insta::assert_snapshot!(with("rekey = \"1h\"\nlife = \"50m\""), @r#"
        error[E510]: berlin: `life` is not longer than `rekey`
         --> tunnels/berlin.toml:6:8
          |
        5 | rekey = "1h"
          |         ---- renewed after this time
        6 | life = "50m"
          |        ^^^^^ the keys would end before they are renewed
        "#);
}

#[test]
fn replay_window_too_large() {
    insta::assert_snapshot!(with("replay_window = 100000"), @"
        error[E510]: berlin: `replay_window` is out of range
         --> tunnels/berlin.toml:5:17
          |
        5 | replay_window = 100000
          |                 ^^^^^^ must be 0 to 65536 packets
        ");
}

#[test]
fn missing_secret_file() {
    insta::assert_snapshot!(complaint(&FIVE_LINES.replace("good.psk", "gone.psk")), @r#"
        error[E512]: berlin: tunnels/gone.psk cannot be read
         --> tunnels/berlin.toml:4:10
          |
        4 | secret = "file:gone.psk"
          |          ^^^^^^^^^^^^^^^ No such file or directory (os error 2)
          |
          = help: adit secret new tunnels/gone.psk
        "#);
}

#[test]
fn secret_readable_by_others() {
    insta::assert_snapshot!(complaint(&FIVE_LINES.replace("good.psk", "open.psk")), @r#"
        error[E511]: berlin: tunnels/open.psk can be read or changed by other users
         --> tunnels/berlin.toml:4:10
          |
        4 | secret = "file:open.psk"
          |          ^^^^^^^^^^^^^^^ its permissions are 0644, must be 0600
          |
          = help: chmod 600 tunnels/open.psk
        "#);
}

#[test]
fn empty_secret() {
    insta::assert_snapshot!(complaint(&FIVE_LINES.replace("good.psk", "empty.psk")), @r#"
        error[E510]: berlin: tunnels/empty.psk is empty
         --> tunnels/berlin.toml:4:10
          |
        4 | secret = "file:empty.psk"
          |          ^^^^^^^^^^^^^^^^ no secret in it
          |
          = help: adit secret new > tunnels/empty.psk
        "#);
}

#[test]
fn secret_in_the_file_itself_is_not_repeated() {
    let said = complaint(&FIVE_LINES.replace("file:good.psk", "hunter2"));
    assert!(!said.contains("hunter2"));
    insta::assert_snapshot!(said, @r#"
        error[E510]: berlin: a secret stands in a file of its own, never in this one
        --> tunnels/berlin.toml:4
         = help: put it into a file and write secret = "file:NAME"
        "#);
}

#[test]
fn secret_from_elsewhere() {
    insta::assert_snapshot!(complaint(&FIVE_LINES.replace("file:good.psk", "tpm:0x81000001")), @r#"
        error[E510]: berlin: secrets by `tpm:` are not supported yet
         --> tunnels/berlin.toml:4:10
          |
        4 | secret = "tpm:0x81000001"
          |          ^^^^^^^^^^^^^^^^ must be "file:NAME"
        "#);
}

#[test]
fn bad_file_name() {
    let files = [file("two words", FIVE_LINES)];
    insta::assert_snapshot!(rendered(load(&files, &secrets).unwrap_err()), @"
        error[E510]: two words: the file's name names no tunnel: a name must not contain ' '
        --> tunnels/two words.toml
        ");
}

#[test]
fn several_mistakes_are_told_at_once_and_in_order() {
    let errors =
        load_one("lokal = \"10.1.0.0/24\"\npeer = 7\nremote = \"x\"\nreplay_window = 9999999\n")
            .unwrap_err();
    let told: Vec<_> = errors.iter().map(|e| (e.place.line, e.sentence.as_str())).collect();
    insta::assert_debug_snapshot!(told, @r#"
        [
            (
                Some(
                    1,
                ),
                "unknown key `lokal`",
            ),
            (
                None,
                "`local` and `secret` are missing",
            ),
            (
                Some(
                    2,
                ),
                "wrong kind of value",
            ),
            (
                Some(
                    3,
                ),
                "`remote` cannot be understood",
            ),
            (
                Some(
                    4,
                ),
                "`replay_window` is out of range",
            ),
        ]
        "#);
}

/// The reference has a row for each key, and for nothing else.
#[test]
fn the_reference_names_every_key() {
    let complaint = with("[access]\nname = \"vpn\"");
    let (_, known) = complaint.split_once("known keys: ").unwrap();
    let mut known: Vec<_> = known.trim().split(", ").collect();
    let (_, keys) = include_str!("../../../../docs/configuration.md")
        .split_once("## Keys of a tunnel")
        .unwrap();
    let (keys, _) = keys.split_once("\n## ").unwrap();
    let row = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    let mut documented: Vec<_> = keys.lines().filter_map(row).collect();

    known.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, known);
}

mod garbage {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No text makes the loader or the renderer panic.
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = load_one(&text);
            let _ = policies::load_policies(&[policies::policy("10-x", &text)]);
        }

        /// Texts that are nearly right reach the checks behind the syntax.
        #[test]
        fn nearly_right_texts_are_read_or_refused(
            keys in prop::collection::vec(
                ("(peer|local|remote|secret|ike|esp|rekey|life|dpd|id|keep|suite|é\"?)",
                 "(=|= ?)",
                 "(\"[^\"\\\\]{0,12}\"|[0-9]{0,12}|\\[[^\\]]{0,12}\\]|\"file:good.psk\"|true)"),
                0..8),
        ) {
            let mut text = String::new();
            for (key, equals, value) in keys {
                let _ = writeln!(text, "{key} {equals} {value}");
            }
            let _ = load_one(&text);
        }
    }
}
