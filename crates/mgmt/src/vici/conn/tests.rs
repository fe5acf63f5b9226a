//! Every key of swanctl.conf(5) has a verdict, and honoured ones have their effect.

use adit_db::{AuthSpec, DfPolicy, DscpPolicy, EcnPolicy, EndAction, Keep, PpkSpec, ROUNDS_MAX};

use super::*;
use crate::vici::message::Value;

/// A connection section with both authentication rounds, and lines such as `children.net.mode`.
pub(super) fn load(lines: &[(&str, &str)]) -> Result<Connection, ConnError> {
    load_with(lines, &Pools::new())
}

pub(super) fn load_with(lines: &[(&str, &str)], pools: &Pools) -> Result<Connection, ConnError> {
    let base = [("local.auth", "psk"), ("remote.auth", "psk"), ("children.net.mode", "tunnel")];
    let mut section = Section::new();
    for (path, value) in base.iter().chain(lines) {
        put(&mut section, path, value);
    }
    connection("t", &section, pools)
}

fn put(section: &mut Section, path: &str, value: &str) {
    let Some((name, rest)) = path.split_once('.') else {
        return section.put(path, value);
    };
    let mut inner = section.section(name).cloned().unwrap_or_default();
    put(&mut inner, rest, value);
    section.put_value(name, Value::Section(inner));
}

fn refusal(path: &str, value: &str) -> String {
    load(&[(path, value)]).unwrap_err().to_string()
}

/// Keys and defaults of strongSwan 5.9.8's swanctl.conf(5), except `auth`, whose default needs
/// certificates, and defaults that are a formula.
const DOCUMENTED: &[(&str, &str)] = &[
    ("version", "0"),
    ("local_addrs", "%any"),
    ("remote_addrs", "%any"),
    ("local_port", "500"),
    ("remote_port", "500"),
    ("proposals", "default"),
    ("vips", ""),
    ("aggressive", "no"),
    ("pull", "yes"),
    ("dscp", "000000"),
    ("encap", "no"),
    ("mobike", "yes"),
    ("dpd_delay", "0s"),
    ("dpd_timeout", "0s"),
    ("fragmentation", "yes"),
    ("childless", "allow"),
    ("send_certreq", "yes"),
    ("send_cert", "ifasked"),
    ("ppk_id", ""),
    ("ppk_required", "no"),
    ("keyingtries", "1"),
    ("unique", "no"),
    ("reauth_time", "0s"),
    ("rekey_time", "4h"),
    ("over_time", "24m"),
    ("rand_time", "24m"),
    ("pools", ""),
    ("if_id_in", "0"),
    ("if_id_out", "0"),
    ("mediation", "no"),
    ("mediated_by", ""),
    ("mediation_peer", ""),
    ("local.round", "0"),
    ("local.certs", ""),
    ("local.pubkeys", ""),
    ("local.id", ""),
    ("local.eap_id", ""),
    ("local.aaa_id", ""),
    ("local.xauth_id", ""),
    ("remote.round", "0"),
    ("remote.id", "%any"),
    ("remote.eap_id", ""),
    ("remote.groups", ""),
    ("remote.cert_policy", ""),
    ("remote.certs", ""),
    ("remote.cacerts", ""),
    ("remote.ca_id", ""),
    ("remote.pubkeys", ""),
    ("remote.revocation", "relaxed"),
    ("children.net.ah_proposals", ""),
    ("children.net.esp_proposals", "default"),
    ("children.net.sha256_96", "no"),
    ("children.net.local_ts", "dynamic"),
    ("children.net.remote_ts", "dynamic"),
    ("children.net.rekey_time", "1h"),
    ("children.net.life_time", "66m"),
    ("children.net.rand_time", "6m"),
    ("children.net.rekey_bytes", "0"),
    ("children.net.life_bytes", "0"),
    ("children.net.rand_bytes", "0"),
    ("children.net.rekey_packets", "0"),
    ("children.net.life_packets", "0"),
    ("children.net.rand_packets", "0"),
    ("children.net.updown", ""),
    ("children.net.hostaccess", "no"),
    ("children.net.mode", "tunnel"),
    ("children.net.policies", "yes"),
    ("children.net.policies_fwd_out", "no"),
    ("children.net.dpd_action", "clear"),
    ("children.net.ipcomp", "no"),
    ("children.net.inactivity", "0s"),
    ("children.net.reqid", "0"),
    ("children.net.priority", "0"),
    ("children.net.interface", ""),
    ("children.net.mark_in", "0/0x00000000"),
    ("children.net.mark_in_sa", "no"),
    ("children.net.mark_out", "0/0x00000000"),
    ("children.net.set_mark_in", "0/0x00000000"),
    ("children.net.set_mark_out", "0/0x00000000"),
    ("children.net.if_id_in", "0"),
    ("children.net.if_id_out", "0"),
    ("children.net.label", ""),
    ("children.net.label_mode", "system"),
    ("children.net.tfc_padding", "0"),
    ("children.net.replay_window", "32"),
    ("children.net.hw_offload", "no"),
    ("children.net.copy_df", "yes"),
    ("children.net.copy_ecn", "yes"),
    ("children.net.copy_dscp", "out"),
    ("children.net.start_action", "none"),
    ("children.net.close_action", "none"),
];

#[test]
fn every_documented_key_loads_with_its_default() {
    for line in DOCUMENTED {
        assert_eq!(load(&[*line]).err(), None, "{line:?}");
    }
    load(DOCUMENTED).unwrap();
}

#[test]
fn documented_defaults_are_ours_unless_stronger() {
    let (plain, documented) = (load(&[]).unwrap(), load(DOCUMENTED).unwrap());
    // Stronger: liveness checks, a larger window, outer packets that routers may cut, trying again.
    let mut expected = plain.clone();
    expected.dpd_delay = Duration::ZERO;
    expected.children[0].replay_window = adit_db::WindowSize::MIN;
    expected.children[0].df = DfPolicy::Copy;
    expected.reach = documented.reach;
    expected.local_addresses = documented.local_addresses.clone();
    expected.remote_addresses = documented.remote_addresses.clone();
    assert_eq!(documented, expected);
    assert_eq!(plain.children[0].replay_window.packets(), 1_024);
}

#[test]
fn honoured_keys_have_their_effect() {
    let c = load(&[
        ("version", "2"),
        ("local_addrs", "192.0.2.1, 2001:db8::1"),
        ("remote_addrs", "gw.example"),
        ("remote_port", "5500"),
        ("proposals", "aes128-sha256-x25519"),
        ("encap", "yes"),
        ("dpd_delay", "10"),
        ("fragmentation", "no"),
        ("mobike", "no"),
        ("keyingtries", "0"),
        ("unique", "keep"),
        ("childless", "force"),
        ("rekey_time", "1d"),
        ("local.id", "a.lab"),
        ("remote.id", "*.lab"),
    ])
    .unwrap();
    assert_eq!(c.local_addresses.len(), 2);
    assert_eq!(c.remote_addresses[0].to_string(), "gw.example");
    assert_eq!((c.ports.local, c.ports.remote), (4_500, 5_500));
    assert_eq!(c.proposals[0].to_string(), "aes128-prfsha256-sha256-x25519");
    assert_eq!(c.encap, Encap::Udp);
    assert_eq!(c.dpd_delay, Duration::from_secs(10));
    assert!(!c.fragmentation);
    assert_eq!(c.mobike, Mobike::No);
    assert_eq!(c.reach, KeyingTries::Forever);
    assert_eq!(c.unique, Unique::Keep);
    assert_eq!((c.childless, c.redirect.follow), (Childless::Force, true));
    for (word, unique) in [("no", Unique::Never), ("never", Unique::Replicated)] {
        assert_eq!(load(&[("unique", word)]).unwrap().unique, unique);
    }
    assert!(refusal("childless", "sometimes").contains("must be allow, prefer, force or never"));
    assert_eq!(c.rekey_time, Duration::from_hours(24));
    assert_eq!(c.over_time, Duration::from_mins(144));
    assert_eq!(c.rand_time, c.over_time);
    assert_eq!(c.pad.local_id.unwrap().to_string(), "a.lab");
    assert_eq!(c.pad.remote_id.to_string(), "*.lab");
}

/// As swanctl.conf has it: AH alone, or as an alternative after ESP.
/// RFC 9370, in the words of swanctl 6: in every slot, for IKE and for children.
#[test]
fn additional_key_exchanges_are_honoured() {
    let slots: Vec<String> =
        (1..=7).map(|slot| format!("ke{slot}_mlkem768-ke{slot}_none")).collect();
    let slots = slots.join("-");
    let ike = format!("aes256gcm16-prfsha384-x25519-{slots}");
    let esp = format!("aes256gcm16-x25519-noesn-{slots}");
    let connection = load(&[("proposals", &ike), ("children.net.esp_proposals", &esp)]).unwrap();
    assert_eq!(connection.proposals[0].to_string(), ike);
    assert_eq!(connection.children[0].proposals[0].to_string(), esp);
    assert!(load(&[("children.net.esp_proposals", "aes256gcm16-ke1_mlkem768")]).is_err());
}

#[test]
fn ah_proposals_are_honoured() {
    let words = |lines: &[(&str, &str)]| -> Vec<String> {
        let proposals = &load(lines).unwrap().children[0].proposals;
        proposals.iter().map(|spec| format!("{} {spec}", spec.protocol())).collect()
    };
    assert_eq!(
        words(&[("children.net.ah_proposals", "sha512-esn, sha1")]),
        ["AH sha512-esn", "AH sha1-noesn"]
    );
    let both =
        [("children.net.ah_proposals", "sha256"), ("children.net.esp_proposals", "aes128gcm16")];
    assert_eq!(words(&both), ["ESP aes128gcm16-noesn", "AH sha256-noesn"]);
    assert!(words(&[("children.net.ah_proposals", "default")])[0].starts_with("AH sha256-"));
    assert!(words(&[("children.net.ah_proposals", "")])[0].starts_with("ESP "));

    let error = load(&[("children.net.ah_proposals", "aes256-sha256")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "children.net.ah_proposals: \"aes256-sha256\": \"aes256\" has no place in a proposal for AH"
    );
    let error = load(&[("encap", "yes"), ("children.net.ah_proposals", "sha256")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "children.net.ah_proposals: AH cannot travel in UDP, which encap = yes asks for"
    );
}

#[test]
fn idle_children_end() {
    let idle = |start_action| {
        let lines =
            [("children.net.inactivity", "10m"), ("children.net.start_action", start_action)];
        load(&lines).map(|loaded| loaded.children[0].lifetime.idle_s)
    };
    assert_eq!((idle("trap"), idle("none")), (Ok(600), Ok(600)));
    assert_eq!(
        idle("trap|start").unwrap_err().to_string(),
        "children.net.inactivity: start_action = start is to be up always; use trap, or leave the \
         key out"
    );
}

#[test]
fn honoured_keys_of_children_have_their_effect() {
    let c = load(&[
        ("children.net.esp_proposals", "aes128gcm16-x25519, aes256-sha256"),
        ("children.net.local_ts", "10.1.0.0/24[tcp/80], 10.1.1.0/24"),
        ("children.net.remote_ts", "10.2.0.0/24"),
        ("children.net.rekey_time", "30m"),
        ("children.net.life_time", "40m"),
        ("children.net.rekey_bytes", "1g"),
        ("children.net.life_packets", "1100"),
        ("children.net.replay_window", "2048"),
        ("children.net.copy_ecn", "no"),
        ("children.net.copy_dscp", "no"),
        ("children.net.copy_df", "yes"),
    ])
    .unwrap();
    let child = &c.children[0];
    assert_eq!(child.proposals.len(), 2);
    assert_eq!(child.local_ts[0].to_string(), "10.1.0.0/24[tcp/80]");
    let limit = child.lifetime.seconds;
    assert_eq!((limit.soft, limit.hard, limit.rand), (1_800, 2_400, 600));
    let limit = child.lifetime.octets;
    assert_eq!((limit.soft, limit.hard), (1 << 30, (1 << 30) + (1 << 30) / 10));
    let limit = child.lifetime.packets;
    assert_eq!((limit.soft, limit.hard), (1_000, 1_100));
    assert_eq!(child.replay_window.packets(), 2_048);
    assert_eq!(child.ecn, EcnPolicy::Compatibility);
    assert_eq!(child.df, DfPolicy::Copy);
    assert!(matches!(child.dscp, DscpPolicy::Set(zero) if zero.get() == 0));
}

/// Naming a weak algorithm is enough here, as with strongSwan; whoever loads it can tell.
#[test]
fn weak_algorithms_are_taken_and_can_be_told() {
    let lines =
        [("proposals", "3des-md5-modp2048"), ("children.net.esp_proposals", "blowfish256-sha1")];
    let connection = load(&lines).unwrap();
    let told = |specs: &[ProposalSpec]| -> Vec<&str> {
        specs.iter().flat_map(ProposalSpec::cautions).map(|one| one.algorithm).collect()
    };
    assert_eq!(told(&connection.proposals), ["3des", "md5"]);
    assert_eq!(told(&connection.children[0].proposals), ["blowfish"]);
    assert!(refusal("children.net.esp_proposals", "null").contains("no integrity algorithm"));
}

#[test]
fn start_action_is_the_wished_state() {
    for (word, keep) in [
        ("none", Keep::Passive),
        ("trap", Keep::OnDemand),
        ("route", Keep::OnDemand),
        ("start", Keep::Up),
        ("trap|start", Keep::Up),
        ("start|trap", Keep::Up),
    ] {
        let c = load(&[("children.net.start_action", word)]).unwrap();
        assert_eq!(c.children[0].keep, keep, "{word}");
        assert_eq!(c.children[0].close_action, keep.end_action(), "{word}");
    }
}

#[test]
fn end_actions_as_written_win() {
    let c = load(&[
        ("children.net.start_action", "start"),
        ("children.net.dpd_action", "hold"),
        ("children.net.close_action", "none"),
    ])
    .unwrap();
    assert_eq!(c.children[0].dpd_action, EndAction::Trap);
    assert_eq!(c.children[0].close_action, EndAction::Clear);
}

/// A key, a value that strongSwan takes, and what we say instead.
const NOT_DONE: [(&str, &str, &str); 13] = [
    ("aggressive", "yes", "aggressive: \"yes\": aggressive mode is of IKEv1; use version = 1"),
    (
        "local.auth",
        "ed448",
        "local.auth: \"ed448\": no library that others have reviewed signs by Ed448; use Ed25519",
    ),
    (
        "remote.auth",
        "ecdsa-384",
        "remote.auth: \"ecdsa-384\": key sizes cannot be asked for; RSA keys have at least 2048 bits \
         in any case",
    ),
    ("remote.revocation", "strict", "remote.revocation: \"strict\": revocation is not checked yet"),
    (
        "remote.auth",
        "eap-mschapv2",
        "remote.auth: \"eap-mschapv2\": EAP is not supported yet; use psk or pubkey",
    ),
    ("local.certs", "gw.pem", "local.certs: \"the file\": certificate cannot be read"),
    ("vips", "0.0.0.0", "vips: \"0.0.0.0\": addresses inside are for version = 1 alone so far"),
    (
        "children.net.mode",
        "transport_proxy",
        "children.net.mode: \"transport_proxy\": use tunnel or transport",
    ),
    (
        "children.net.ipcomp",
        "lzs",
        "children.net.ipcomp: \"lzs\": DEFLATE is the one algorithm; use yes",
    ),
    (
        "children.net.copy_dscp",
        "in",
        "children.net.copy_dscp: \"in\": the peer must not change our packets' DSCP \
         (RFC 4301, 5.1.2.1); use out",
    ),
    (
        "remote_addrs",
        "192.0.2.10-192.0.2.20",
        "remote_addrs: \"192.0.2.10-192.0.2.20\": ranges are not supported yet; list networks \
         instead",
    ),
    (
        "children.net.updown",
        "/bin/x",
        "children.net.updown: \"/bin/x\": updown scripts are not run yet; leave the key out",
    ),
    (
        "children.net.mark_in",
        "42",
        "children.net.mark_in: \"42\": Netfilter marks are not supported here: ESP of this connection \
         runs in user space; write a tunnel's file with engine = \"kernel\" and `mark`",
    ),
];

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (path, value, said) in NOT_DONE {
        assert_eq!(refusal(path, value), said);
    }
}

/// CHECKLIST K15: as in strongSwan, there is no rekeying beside it unless it is asked for.
#[test]
fn reauth_time_is_honoured() {
    let times = |lines: &[(&str, &str)]| {
        let connection = load(lines).unwrap();
        let times = [connection.reauth_time, connection.rekey_time, connection.over_time];
        times.map(|time| time.as_secs())
    };
    assert_eq!(times(&[("reauth_time", "3h")]), [10_800, 0, 1_080]);
    let both = [("reauth_time", "10h"), ("rekey_time", "1h")];
    assert_eq!(times(&both), [36_000, 3_600, 3_600]);
    assert_eq!(times(&[("reauth_time", "0s")]), [0, 14_400, 1_440]);
}

#[test]
fn a_ppk_has_a_name_before_it_is_required() {
    let ppk = |lines: &[(&str, &str)]| load(lines).map(|connection| connection.pad.ppk);
    let spec = |id: &str, required| Some(PpkSpec { id: id.parse().unwrap(), required });
    assert_eq!(ppk(&[("ppk_id", "berlin")]), Ok(spec("berlin", false)));
    let required = [("ppk_id", "@berlin"), ("ppk_required", "yes")];
    assert_eq!(ppk(&required), Ok(spec("berlin", true)));
    assert_eq!(ppk(&[("ppk_id", ""), ("ppk_required", "no")]), Ok(None));
    assert_eq!(
        refusal("ppk_required", "yes"),
        "ppk_required: there is no ppk_id that says which one"
    );
    assert!(refusal("ppk_id", "%any").starts_with("ppk_id: \"%any\": "));
}

/// CHECKLIST F09: rounds by number, else by position.
#[test]
fn several_rounds_are_read_in_their_order() {
    let lines = [
        ("local.id", "host.example"),
        ("local-2.auth", "psk"),
        ("local-2.id", "alice@example"),
        ("local-2.round", "2"),
        ("local-1.auth", "psk"),
        ("local-1.id", "bob@example"),
        ("local-1.round", "1"),
        ("remote-2.auth", "psk"),
        ("remote-2.id", "*@example"),
    ];
    let pad = load(&lines).unwrap().pad;
    assert_eq!(pad.local_id, Some("host.example".parse().unwrap()));
    let later: Vec<_> = pad.more_local.iter().map(|round| round.id.clone().unwrap()).collect();
    let named = |id: &str| id.parse::<Identity>().unwrap();
    assert_eq!(later, [named("bob@example"), named("alice@example")]);
    assert_eq!(pad.more_remote[0].id, "*@example".parse().unwrap());

    let many: Vec<String> = (0..ROUNDS_MAX).map(|number| format!("local-{number}.auth")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "psk")).collect();
    let refused = load(&many).unwrap_err().to_string();
    assert_eq!(refused, "local: a side has at most four rounds of authentication");
}

#[test]
fn transport_mode_is_for_the_two_ends() {
    let lines = [("children.net.mode", "transport"), ("children.net.remote_ts", "10.0.0.0/8")];
    assert_eq!(
        load(&lines).unwrap_err().to_string(),
        "children.net.mode: \"transport\": 10.0.0.0/8 is more than one end; use dynamic, or tunnel"
    );
}

#[test]
fn compression_is_for_esp_without_padding() {
    let compress = |lines: &[(&str, &str)]| {
        let lines = [&[("children.net.ipcomp", "yes")], lines].concat();
        load(&lines).map(|c| c.children[0].negotiates_ipcomp()).map_err(|error| error.to_string())
    };
    assert_eq!(compress(&[]), Ok(true));
    for (key, value, said) in [
        ("children.net.tfc_padding", "mtu", "tfc_padding hides the lengths"),
        ("children.net.ah_proposals", "sha256", "is for ESP, not for AH; use no"),
    ] {
        let refused = compress(&[(key, value)]).unwrap_err();
        assert!(refused.contains("children.net.ipcomp") && refused.contains(said), "{refused}");
    }
}

#[test]
fn unknown_keys_name_the_nearest() {
    assert_eq!(
        refusal("children.net.remot_ts", "10.0.0.0/8"),
        "children.net.remot_ts: unknown option; did you mean remote_ts?"
    );
    assert_eq!(refusal("proposal", "x"), "proposal: unknown option; did you mean proposals?");
    assert_eq!(refusal("local.idd", "x"), "local.idd: unknown option; did you mean id?");
    assert_eq!(refusal("qwertyuiop", "x"), "qwertyuiop: unknown option");
}

#[test]
fn bad_values_say_what_they_should_be() {
    for (path, value, said) in [
        ("encap", "maybe", "encap: \"maybe\": must be yes or no"),
        ("rekey_time", "4x", "rekey_time: \"4x\": must be a time such as 30s, 5m, 4h or 1d"),
        ("rekey_time", "99999999999999999999d", "must be a time"),
        ("local_port", "70000", "local_port: \"70000\": must be a number in range"),
        ("local_addrs", "10.0.0.999", "is neither an address nor a host name"),
        ("proposals", "aes257", "did you mean \"aes256\"?"),
        ("remote.id", "C=CH, X=gw", "is no attribute of a name"),
        ("local.auth", "ecdsa-sha1", "must be psk, or pubkey"),
        ("local.auth", "rsa-md5", "md5 is no hash"),
        ("children.net.local_ts", "10.0.0.0/40", "is no address, network, range"),
        ("children.net.replay_window", "70000", "must be at most 65536"),
        ("children.net.rekey_bytes", "1t", "or one with k, m or g behind it"),
        ("children.net.life_time", "30m", ""),
    ] {
        let refused = load(&[(path, value)]);
        match refused {
            Err(error) => assert!(error.to_string().contains(said), "{error}"),
            Ok(_) => assert!(said.is_empty(), "{path} = {value} was taken"),
        }
    }
}

/// RFC 7296 §2.23: ports 500 speak to each other without the marker; a peer on 4500, or mapped to
/// any other port, is spoken to from 4500 with it.
#[test]
fn the_local_port_follows_the_peers() {
    let ports = |lines: &[(&str, &str)]| load(lines).map(|c| (c.ports.local, c.ports.remote));
    assert_eq!(ports(&[]), Ok((500, 500)));
    assert_eq!(ports(&[("local_port", "0"), ("remote_port", "0")]), Ok((500, 500)));
    assert_eq!(ports(&[("remote_port", "4500")]), Ok((4_500, 4_500)));
    assert_eq!(ports(&[("local_port", "4500"), ("remote_port", "1500")]), Ok((4_500, 1_500)));
    let other = refusal("local_port", "1234");
    assert!(other.ends_with("IKE leaves from port 500 or 4500; leave the key out"), "{other}");
    for lines in [
        [("local_port", "4500"), ("remote_port", "500")],
        [("local_port", "500"), ("remote_port", "4500")],
    ] {
        let error = load(&lines).unwrap_err();
        assert_eq!(error.path, "local_port");
        assert!(matches!(error.reason, ConnReason::Contradiction(_)));
    }
}

#[test]
fn a_host_name_with_hyphens_is_no_range() {
    let c = load(&[("remote_addrs", "gw-1.example, 192.0.2.0/24")]).unwrap();
    assert_eq!(c.remote_addresses.len(), 2);
}

#[test]
fn life_below_rekey_is_a_contradiction() {
    let error =
        load(&[("children.net.rekey_time", "1h"), ("children.net.life_time", "30m")]).unwrap_err();
    assert!(matches!(error.reason, ConnReason::Contradiction(_)));
    assert_eq!(error.path, "children.net.rekey_time");
}

#[test]
fn a_missing_round_is_told() {
    let section = Section::new().with_section("local", Section::new().with("auth", "psk"));
    let error = connection("t", &section, &Pools::new()).unwrap_err().to_string();
    assert_eq!(error, "remote: the section is missing; write auth = psk in it");
    // swanctl.conf's default is a signature.
    let section = section.with_section("remote", Section::new().with("id", "b"));
    let pad = connection("t", &section, &Pools::new()).unwrap().pad;
    assert_eq!(pad.local_auth, AuthSpec::Psk);
    assert!(pad.remote_auth.signature().is_some_and(|spec| spec.is_open()));
}

#[test]
fn names_that_would_confuse_paths_are_refused() {
    let section = Section::new();
    assert!(
        connection("a/b", &section, &Pools::new())
            .unwrap_err()
            .to_string()
            .contains("must not contain")
    );
}

mod garbage {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any value of any key is taken or refused, never fatal.
        #[test]
        fn any_value_is_taken_or_refused(index in 0..DOCUMENTED.len(), value in "\\PC{0,24}") {
            let _ = load(&[(DOCUMENTED[index].0, &value)]);
        }

        /// Lists, sections and octets where texts belong are taken or refused, never fatal.
        #[test]
        fn any_kind_is_taken_or_refused(
            index in 0..DOCUMENTED.len(),
            octets in prop::collection::vec(any::<u8>(), 0..16),
            kind in 0..3,
        ) {
            let value = match kind {
                0 => Value::Text(octets),
                1 => Value::List(vec![octets]),
                _ => Value::Section(Section::new()),
            };
            let key = DOCUMENTED[index].0.rsplit('.').next().unwrap_or_default();
            let mut section = Section::new();
            section.put_value(key, value);
            let _ = connection("t", &section, &Pools::new());
            let net = Section::new().with_section("net", section.clone());
            let round = Section::new().with("auth", "psk");
            let whole = Section::new()
                .with_section("local", round.clone())
                .with_section("remote", round)
                .with_section("children", net);
            let _ = connection("t", &whole, &Pools::new());
        }
    }
}

/// CHECKLIST F06: what swanctl.conf asks of a signature.
#[test]
fn schemes_are_those_that_are_named() {
    let schemes = |text: &str| {
        let pad = load(&[("remote.auth", text)]).unwrap().pad;
        let spec = pad.remote_auth.signature().unwrap().clone();
        spec.schemes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    for (text, expected) in [
        ("pubkey", ""),
        ("rsa", "rsa/pss-sha256 rsa/pss-sha384 rsa/pss-sha512 rsa-sha256 rsa-sha384 rsa-sha512"),
        ("rsa-sha256", "rsa-sha256"),
        ("rsa-sha1", "rsa-sha1"),
        ("rsa/pss-sha384", "rsa/pss-sha384"),
        ("ike:rsa/pss-sha384-sha512", "rsa/pss-sha384 rsa/pss-sha512"),
        ("ecdsa", "ecdsa-sha256 ecdsa-sha384 ecdsa-sha512"),
        ("ecdsa-sha384", "ecdsa-sha384"),
        ("ed25519", "ed25519"),
        ("pubkey-sha512", "ed25519 ecdsa-sha512 rsa/pss-sha512 rsa-sha512"),
    ] {
        assert_eq!(schemes(text), expected, "{text}");
    }
}

/// swanctl sends the files; without an id we are the subject (swanctl.conf(5)).
#[test]
fn certificates_and_keys_come_as_files() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "gw");
    let pem = params.self_signed(&key).unwrap().pem();
    let local = Section::new().with("auth", "pubkey").with_list("certs", [&pem]);
    let remote = Section::new().with("auth", "pubkey").with_list("pubkeys", [key.public_key_pem()]);
    let section = Section::new().with_section("local", local).with_section("remote", remote);
    let pad = connection("t", &section, &Pools::new()).unwrap().pad;
    assert_eq!(pad.local_id.unwrap().to_string(), "CN=gw");
    assert_eq!(pad.local_auth.signature().unwrap().certificates.len(), 1);
    assert_eq!(pad.remote_auth.signature().unwrap().public_keys.len(), 1);

    let refused = |remote: Section| {
        let local = Section::new().with("auth", "psk");
        let section = Section::new().with_section("local", local).with_section("remote-2", remote);
        connection("t", &section, &Pools::new()).map_err(|error| error.to_string())
    };
    let public = key.public_key_pem();
    let several = Section::new().with_list("pubkeys", [&public, &public]);
    refused(several.clone().with("id", "b.example")).unwrap();
    let error = refused(several.clone().with("id", "*.example")).unwrap_err();
    assert!(error.starts_with("remote-2.pubkeys: the owner of one key could claim"), "{error}");
    assert!(refused(several).is_err());
    let mixed = Section::new().with_list("pubkeys", [&public]).with_list("cacerts", [&pem]);
    let error = refused(mixed.with("id", "b.example")).unwrap_err();
    assert!(error.starts_with("remote-2.pubkeys: contradicts cacerts"), "{error}");

    let local = Section::new().with("auth", "psk").with_list("certs", [&pem]);
    let section = Section::new().with_section("local", local);
    let error = connection("t", &section, &Pools::new()).unwrap_err().to_string();
    assert_eq!(error, "local.certs: is of no use with auth = psk");
}
