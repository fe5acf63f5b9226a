//! SAs that are keyed by hand: what is read, what is refused and why, what every one is warned of.

use adit_db::{Directions, ManualSa, Mode};
use adit_wire::esp::Spi;

use super::*;

const PAIR: &str = "address = \"192.0.2.1\"\npeer = \"192.0.2.2\"\nlocal = \"10.1.0.0/24\"\n\
                    remote = \"10.2.0.0/24\"\nesp = \"aes256-sha256\"\nspi_in = 0x1001\n\
                    spi_out = 0x1002\nkey_in = \"file:in.key\"\nkey_out = \"file:out.key\"\n";
const FROM_GROUP: &str = "address = \"192.0.2.9\"\ngroup = \"239.1.1.1\"\nmode = \"transport\"\n\
                          esp = \"aes256-sha256\"\nspi_in = 0x9001\nkey_in = \"file:in.key\"\n";
const TO_GROUP: &str = "address = \"192.0.2.9\"\ngroup = \"239.1.1.1\"\nmode = \"transport\"\n\
                        esp = \"aes256-sha256\"\nspi_out = 0x9001\nkey_out = \"file:out.key\"\n";

fn sa_file(name: &str, text: &str) -> SourceFile {
    SourceFile { path: format!("sas/{name}.toml").into(), text: text.to_owned() }
}

fn keys(path: &Path) -> Result<SecretFile, String> {
    let (text, mode) = match path.to_str() {
        Some("sas/in.key") => (format!("{}\n", "1a".repeat(64)), 0o100_600),
        Some("sas/out.key") => (format!("0x{}", "2b".repeat(64)), 0o100_600),
        Some("sas/open.key") => ("1a".repeat(64), 0o100_640),
        Some("sas/short.key") => ("1a".repeat(36), 0o100_600),
        Some("sas/words.key") => ("not a key".to_owned(), 0o100_600),
        _ => return secrets(path),
    };
    Ok(SecretFile { octets: Secret::new(text.into_bytes()), mode })
}

fn load_sas(sas: &[SourceFile]) -> Result<Configuration, Vec<ConfigError>> {
    let tunnels = [file("berlin", FIVE_LINES)];
    load_all(Files { tunnels: &tunnels, policies: &[], sas }, &keys)
}

fn good_sa(text: &str) -> KeyedSa {
    let mut configuration = load_sas(&[sa_file("lab", text)]).unwrap();
    let codes: Vec<Code> = configuration.warnings.iter().map(|warning| warning.code).collect();
    assert!(codes.contains(&Code::E521), "every one has its warning");
    configuration.sas.remove("lab").unwrap()
}

fn sa(text: &str) -> ManualSa {
    (*good_sa(text).sa).clone()
}

/// What the operator reads about `text` with `from` replaced by `to`.
fn wrong(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    rendered(load_sas(&[sa_file("lab", &text.replace(from, to))]).unwrap_err())
}

#[test]
fn a_pair_is_read() {
    let keyed = good_sa(PAIR);
    let ManualSa { name, local, remote, directions, mode, esn, replay_window, .. } =
        (*keyed.sa).clone();
    assert_eq!((name.as_str(), mode, esn), ("lab", Mode::Tunnel, false));
    assert_eq!(
        (local.to_string(), remote.to_string()),
        ("192.0.2.1:0".into(), "192.0.2.2:0".into())
    );
    assert_eq!(directions, Directions::Both { spi_in: Spi(0x1001), spi_out: Spi(0x1002) });
    assert_eq!(keyed.sa.protection.to_string(), "aes256-sha256");
    assert!(replay_window.is_off());
    let (keys_in, keys_out) = keyed.into_keys();
    assert_eq!((keys_in.encryption.as_bytes(), keys_in.integrity.len()), (&[0x1a; 32][..], 32));
    assert_eq!((keys_out.encryption.len(), keys_out.integrity.as_bytes()), (32, &[0x2b; 32][..]));
}

#[test]
fn a_pair_may_travel_in_udp_or_be_ah() {
    let udp = sa(&format!("{PAIR}encap = \"udp\"\nreplay_window = 100\n"));
    assert!(udp.udp);
    assert_eq!(
        (udp.local.port(), udp.remote.port(), udp.replay_window.packets()),
        (4500, 4500, 128)
    );
    let ah = PAIR.replace("esp =", "protocol = \"ah\"\nah =").replace("aes256-", "");
    let short = ah.replace("in.key", "short.key").replace("out.key", "short.key");
    let refused = rendered(load_sas(&[sa_file("lab", &short)]).unwrap_err());
    assert!(refused.contains("it has 36 octets, sha256 wants 32 octets"), "{refused}");
}

/// Transport mode needs no selectors: the ends are the traffic.
#[test]
fn transport_mode_is_for_the_ends() {
    let text = PAIR.replace("10.1.0.0/24", "192.0.2.1").replace("10.2.0.0/24", "dynamic");
    let sa = sa(&(text + "mode = \"transport\"\n"));
    let words = |side: &[adit_wire::ikev2::TrafficSelector]| side[0].to_string();
    assert_eq!(
        (words(&sa.local_ts), words(&sa.remote_ts)),
        ("192.0.2.1/32".into(), "192.0.2.2/32".into())
    );
    let wide = wrong(PAIR, "esp =", "mode = \"transport\"\nesp =");
    assert!(wide.contains("transport mode is for the two ends alone"), "{wide}");
}

#[test]
fn groups_are_read() {
    let to = sa(TO_GROUP);
    assert_eq!(to.directions, Directions::ToGroup(Spi(0x9001)));
    let from = sa(FROM_GROUP);
    let anyone = Directions::FromGroup { spi: Spi(0x9001), senders: Vec::new() };
    assert_eq!(from.directions, anyone);
    assert_eq!(from.local_ts[0].to_string(), "239.1.1.1/32");
    assert_eq!(from.remote_ts, [adit_wire::ikev2::TrafficSelector::ANY_V4]);
    let named = "senders = [\"192.0.2.2\", \"192.0.2.1\"]\nreplay_window = 64\n";
    let named = sa(&format!("{FROM_GROUP}{named}"));
    let Directions::FromGroup { senders, .. } = &named.directions else { panic!("{named:?}") };
    assert_eq!((senders.len(), named.remote_ts.len()), (2, 2));
    let inner = "local = \"239.9.9.9\"\nremote = \"10.2.0.0/24\"\n";
    let tunnel = sa(&FROM_GROUP.replace("mode = \"transport\"\n", inner));
    assert_eq!(tunnel.local_ts[0].to_string(), "239.9.9.9/32");
}

/// RFC 8221 §4, RFC 4106 §2: the message says why, and what to use.
#[test]
fn nonces_that_come_again_are_refused() {
    insta::assert_snapshot!(wrong(PAIR, "aes256-sha256", "aes256gcm16"), @r#"
    error[E510]: lab: aes256gcm16 is not for keys that stay
     --> sas/lab.toml:5:7
      |
    5 | esp = "aes256gcm16"
      |       ^^^^^^^^^^^^^ whoever restarts uses its nonces again, which gives the traffic away
      |
      = help: RFC 8221 §4: counter modes, and the AEADs made of them, need IKE
      = help: esp = "aes256-sha256"
    warning[E521]: lab: these SAs are keyed by hand
     --> sas/lab.toml:6:1
      |
    6 | spi_in = 0x1001
      | ^^^^^^ no new keys, no forward secrecy, no replay protection, no sign of a dead peer
      |
      = help: a tunnel has all of that: tunnels/NAME.toml, with a pre-shared key
    "#);
    for suite in
        ["aes256ctr-sha256", "chacha20poly1305", "aes128ccm8", "aes256gmac", "aes256gcm16iiv"]
    {
        let text = wrong(PAIR, "aes256-sha256", suite);
        assert!(text.contains("is not for keys that stay"), "{text}");
    }
    let ah = PAIR.replace("esp =", "protocol = \"ah\"\nah =");
    let text = wrong(&ah, "aes256-sha256", "aes128gmac");
    assert!(text.contains("is not for keys that stay"), "{text}");
}

#[test]
fn every_mistake_has_its_reason() {
    let cases = [
        (PAIR, "aes256-sha256", "aes256-aes128-sha256", "`esp` leaves a choice"),
        (PAIR, "aes256-sha256", "3des-sha256", "3des is too weak to be used unasked"),
        (PAIR, "aes256-sha256", "aes256-sha256-esn", "ESN needs a replay window"),
        (PAIR, "aes256-sha256", "aes256-sha257", "did you mean"),
        (PAIR, "0x1001", "0x10001", "must be 256 to 65535 (IKE draws those above)"),
        (PAIR, "0x1002", "255", "must be 256 to 4294967295"),
        (PAIR, "spi_in = 0x1001\n", "", "`spi_in` is missing"),
        (PAIR, "key_out = \"file:out.key\"\n", "", "`key_out` is missing"),
        (PAIR, "address = \"192.0.2.1\"\n", "", "`address` is missing"),
        (PAIR, "peer = \"192.0.2.2\"\n", "", "`peer` is missing"),
        (PAIR, "remote = \"10.2.0.0/24\"\n", "", "`remote` is missing"),
        (PAIR, "esp = \"aes256-sha256\"\n", "", "`esp` is missing"),
        (
            PAIR,
            "peer = \"192.0.2.2\"",
            "peer = \"239.1.1.1\"",
            "write a multicast group as `group`",
        ),
        (PAIR, "peer = \"192.0.2.2\"", "peer = \"2001:db8::2\"", "different families"),
        (PAIR, "peer = \"192.0.2.2\"", "peer = \"berlin.example\"", "is no IP address of a host"),
        (PAIR, "peer =", "group = \"239.1.1.1\"\npeer =", "two ways to say who"),
        (
            PAIR,
            "esp =",
            "senders = \"192.0.2.2\"\nesp =",
            "`senders` is for what comes from a group",
        ),
        (
            PAIR,
            "esp =",
            "protocol = \"ah\"\nencap = \"udp\"\nesp =",
            "UDP is for ESP between two hosts",
        ),
        (PAIR, "esp =", "secret = \"file:x\"\nesp =", "unknown key `secret`"),
        (FROM_GROUP, "239.1.1.1", "192.0.2.2", "`group` is no multicast group"),
        (FROM_GROUP, "mode =", "replay_window = 64\nmode =", "a window needs to know the senders"),
        (FROM_GROUP, "mode =", "encap = \"udp\"\nmode =", "which no group does"),
        (FROM_GROUP, "mode =", "senders = [\"ff15::1\"]\nmode =", "must be the address of a host"),
        (FROM_GROUP, "mode =", "spi_out = 300\nmode =", "one file is one direction of a group"),
        (FROM_GROUP, "mode =", "remote = \"dynamic\"\nmode =", "a group has many senders"),
        (FROM_GROUP, "0x9001", "0x80000000", "those above are the kernel's"),
        (TO_GROUP, "mode =", "replay_window = 64\nmode =", "there is nothing to count"),
        (
            TO_GROUP,
            "mode =",
            "senders = \"192.0.2.2\"\nmode =",
            "`spi_in` and `key_in` are missing",
        ),
    ];
    for (text, from, to, reason) in cases {
        let told = wrong(text, from, to);
        assert!(told.contains(reason), "{reason}:\n{told}");
    }
}

#[test]
fn keys_are_checked_and_never_told() {
    let cases = [
        ("in.key", "open.key", "its permissions are 0640, must be 0600"),
        ("in.key", "gone.key", "adit secret new --sa aes256-sha256 sas/gone.key"),
        (
            "in.key",
            "short.key",
            "aes256-sha256 wants 64 octets: 32 of encryption, then 32 of integrity",
        ),
        ("in.key", "words.key", "it must be hex digits and nothing else"),
        ("file:in.key", "1a1a1a1a", "a secret stands in a file of its own, never in this one"),
    ];
    for (from, to, reason) in cases {
        let told = wrong(PAIR, from, to);
        assert!(told.contains(reason), "{reason}:\n{told}");
        assert!(!told.contains("1a1a"), "{told}");
    }
}

/// One name, one SPI: who came second is told where the first one is.
#[test]
fn files_do_not_take_each_others_place() {
    let both = |one: &str, other: &str| load_sas(&[sa_file("a", one), sa_file("b", other)]);
    let clash = both(PAIR, PAIR).unwrap_err();
    let clash = clash.into_iter().filter(|problem| problem.code != Code::E521).collect();
    insta::assert_snapshot!(rendered(clash), @r"
    error[E510]: b: two SAs have this SPI
     --> sas/b.toml:6:1
      |
    6 | spi_in = 0x1001
      | ^^^^^^ nobody could tell whose packets these are
      |
     ::: sas/a.toml:6:1
      |
    6 | spi_in = 0x1001
      | ------ taken here
      |
      = help: each side chooses the SPI of what it receives: choose another
    ");
    both(PAIR, &PAIR.replace("0x1001", "0x1003")).unwrap();
    // A group's packets are told apart by the group, and by their one sender.
    both(FROM_GROUP, &FROM_GROUP.replace("239.1.1.1", "239.1.1.2")).unwrap();
    let of = |sender: &str| format!("{FROM_GROUP}senders = \"{sender}\"\n");
    both(&of("192.0.2.1"), &of("192.0.2.2")).unwrap();
    both(&of("192.0.2.1"), FROM_GROUP).unwrap();
    assert!(both(FROM_GROUP, FROM_GROUP).is_err());
    let named = load_sas(&[sa_file("berlin", PAIR)]).unwrap_err();
    assert!(rendered(named).contains("a tunnel has this name, too"));
}

#[test]
fn the_warning_says_what_is_missing() {
    let sas = [sa_file("lab", PAIR)];
    let warnings = load_all(Files { sas: &sas, ..Files::default() }, &keys).unwrap().warnings;
    insta::assert_snapshot!(rendered(warnings), @r#"
    warning[E521]: lab: these SAs are keyed by hand
     --> sas/lab.toml:6:1
      |
    6 | spi_in = 0x1001
      | ^^^^^^ no new keys, no forward secrecy, no replay protection, no sign of a dead peer
      |
      = help: a tunnel has all of that: tunnels/NAME.toml, with a pre-shared key
    "#);
}

/// Policies of operators go before SAs that are keyed by hand, and these before tunnels.
#[test]
fn the_order_of_entries_is_checked() {
    let tunnels = [file("berlin", FIVE_LINES)];
    let sas = [sa_file("lab", PAIR)];
    let all = [policies::policy("10-all", "action = \"discard\"\n")];
    let never = |policies| {
        let files = Files { tunnels: &tunnels, policies, sas: &sas };
        let warnings = load_all(files, &keys).unwrap().warnings;
        let never = warnings.into_iter().filter(|warning| warning.code == Code::E517);
        never.map(|warning| warning.tunnel).collect::<Vec<_>>()
    };
    assert_eq!(never(&all), ["lab", "berlin"]);
    assert_eq!(never(&[]), ["berlin"]);
}

mod garbage {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Texts that are nearly right are read or refused; nothing panics.
        #[test]
        fn any_text_is_read_or_refused(
            keys in prop::collection::vec(
                ("(peer|group|address|local|remote|esp|ah|spi_in|spi_out|key_in|key_out|senders)",
                 "(\"[^\"\\\\]{0,12}\"|[0-9]{0,12}|\\[[^\\]]{0,12}\\]|\"file:in.key\"|\"239.1.1.1\")"),
                0..12),
        ) {
            let text: String =
                keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let _ = load_sas(&[sa_file("lab", &text)]);
        }
    }
}

/// The reference has a row for each key, and for nothing else.
#[test]
fn the_reference_names_every_key_of_an_sa() {
    let complaint = wrong(PAIR, "esp =", "port = 1\nesp =");
    let (_, known) = complaint.split_once("known keys: ").unwrap();
    let mut known: Vec<_> = known.lines().next().unwrap().split(", ").collect();
    let reference = include_str!("../../../../../docs/configuration.md");
    let (_, keys) = reference.split_once("| key of an SA |").unwrap();
    let (keys, _) = keys.split_once("\n\n").unwrap();
    let row = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    let mut documented: Vec<_> = keys.lines().filter_map(row).collect();
    known.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, known);
}
