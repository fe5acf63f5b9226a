//! Tunnels that go through others: CHECKLIST S10.

use super::{Configuration, SourceFile, file, load, rendered, secrets};

const NEAR: &str = "peer = \"198.51.100.1\"\naddress = \"192.0.2.1\"\nlocal = \"dynamic\"\n\
                    remote = \"203.0.113.9\"\nsecret = \"file:good.psk\"\n";
const FAR: &str = "peer = \"203.0.113.9\"\naddress = \"192.0.2.1\"\nlocal = \"10.1.0.0/24\"\n\
                   remote = \"10.3.0.0/24\"\nsecret = \"file:good.psk\"\nover = \"near\"\n";

fn both(far: &str, near: &str) -> [SourceFile; 2] {
    [file("far", far), file("near", near)]
}

fn good(files: &[SourceFile]) -> Configuration {
    load(files, &secrets).unwrap_or_else(|errors| panic!("{}", rendered(errors)))
}

fn complaint_of(files: &[SourceFile]) -> String {
    rendered(load(files, &secrets).unwrap_err())
}

#[test]
fn a_tunnel_names_the_one_it_goes_through() {
    let configuration = good(&both(FAR, NEAR));
    let over = |name: &str| configuration.tunnels[name].connection.over.clone();
    assert_eq!(over("far"), Some("near".parse().unwrap()));
    assert_eq!(over("near"), None);
}

#[test]
fn the_outer_tunnel_must_be_there() {
    let far = FAR.replace("\"near\"", "\"naer\"");
    insta::assert_snapshot!(complaint_of(&both(&far, NEAR)), @r#"
    error[E510]: far: there is no tunnel naer
     --> tunnels/far.toml:6:8
      |
    6 | over = "naer"
      |        ^^^^^^ must be the name of another tunnel's file
      |
      = help: did you mean "near"?
    "#);
}

#[test]
fn the_outer_tunnel_must_reach_the_peer() {
    let near = NEAR.replace("203.0.113.9", "203.0.113.10");
    insta::assert_snapshot!(complaint_of(&both(FAR, &near)), @r#"
    error[E510]: far: tunnel near does not carry this tunnel's packets
     --> tunnels/far.toml:6:8
      |
    6 | over = "near"
      |        ^^^^^^ `remote` of near does not contain 203.0.113.9, this tunnel's peer
      |
      = help: widen `remote` in near.toml, or go over another tunnel
    "#);
}

#[test]
fn what_the_outer_tunnel_would_spoil_is_refused() {
    let with = |far: &str, near: &str| complaint_of(&both(far, near));
    let classes = with(FAR, &format!("{NEAR}classes = [[\"ef\"]]\n"));
    assert!(classes.contains("near divides its packets by class"), "{classes}");
    let ah = format!("{FAR}protocol = \"ah\"\n");
    let beet = NEAR.replace("\"dynamic\"", "\"192.0.2.1\"") + "mode = \"beet\"\n";
    let beet = with(&ah, &beet);
    assert!(beet.contains("AH cannot go through beet mode of ESP"), "{beet}");
    // Its own IKE would be its own traffic, for which there is no SA yet.
    let own = FAR.replace("10.1.0.0/24", "dynamic").replace("10.3.0.0/24", "dynamic");
    let own = with(&own, NEAR);
    assert!(own.contains("IKE with the peer would wait for the tunnel that it makes"), "{own}");
}

#[test]
fn the_outer_tunnel_must_speak_for_our_address() {
    for (far, near, says) in [
        (FAR.to_owned(), NEAR.replace("192.0.2.1", "192.0.2.7"), "does not contain 192.0.2.1"),
        (FAR.to_owned(), NEAR.replace("dynamic", "10.9.0.0/24"), "does not contain 192.0.2.1"),
        (
            FAR.replace("address = \"192.0.2.1\"\n", ""),
            NEAR.replace("dynamic", "192.0.2.1").replace("address = \"192.0.2.1\"\n", ""),
            "our address: write it in this file, address = \"192.0.2.1\"",
        ),
    ] {
        let said = complaint_of(&both(&far, &near));
        assert!(said.contains("error[E510]: far:") && said.contains(says), "{said}");
    }
    // Where nobody names an address, `dynamic` is the same for both.
    let nameless = |text: &str| text.replace("address = \"192.0.2.1\"\n", "");
    good(&both(&nameless(FAR), &nameless(NEAR)));
    good(&both(FAR, &NEAR.replace("dynamic", "192.0.2.0/24")));
}

#[test]
fn the_outer_tunnel_must_take_the_protocols() {
    let narrowed = |protocols: &[&str]| {
        let side = |address: &str| {
            let one = |protocol: &&str| format!("\"{address}[{protocol}]\"");
            format!("[{}]", protocols.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        NEAR.replace("\"dynamic\"", &side("dynamic"))
            .replace("\"203.0.113.9\"", &side("203.0.113.9"))
    };
    let ah = format!("{FAR}protocol = \"ah\"\n");
    let udp = format!("{FAR}encap = \"udp\"\n");
    for (far, protocols, says) in [
        (FAR, &["tcp"][..], "do not contain [esp] and [udp/4500]"),
        (FAR, &["esp"], "do not contain [udp/500] and [udp/4500]"),
        (&udp, &["esp", "udp/500"], "do not contain [udp/4500]"),
        (&ah, &["esp", "udp"], "do not contain [ah]"),
    ] {
        let said = complaint_of(&both(far, &narrowed(protocols)));
        assert!(said.contains(says), "{said}");
    }
    good(&both(FAR, &narrowed(&["esp", "udp/500", "udp/4500"])));
    good(&both(&udp, &narrowed(&["udp"])));
    // The same peer: IKE needs no tunnel.
    let here = FAR.replace("203.0.113.9", "198.51.100.1") + "id = \"net.example\"\n";
    good(&both(&here, &narrowed(&["esp"]).replace("203.0.113.9", "198.51.100.1")));
}

#[test]
fn ah_goes_over_esp_between_two_ends() {
    let same_peer = FAR.replace("203.0.113.9", "198.51.100.1") + "id = \"net.example\"\n";
    let transport = "peer = \"198.51.100.1\"\nsecret = \"file:good.psk\"\nmode = \"transport\"\n";
    let ah = format!("{transport}protocol = \"ah\"\n");
    good(&both(&same_peer, &ah));
    let under = format!("{same_peer}protocol = \"ah\"\n");
    let said = complaint_of(&both(&under, transport));
    assert!(said.contains("far: AH cannot go through transport mode of ESP"), "{said}");
}

/// Tunnels `t1` over `t2` over … to one peer; the last may go over another.
fn stack(count: usize, last: Option<&str>) -> Vec<SourceFile> {
    let name = |number: usize| format!("t{number}");
    let one = |number| {
        let ends = match number {
            1 => "local = \"10.1.0.0/24\"\nremote = \"10.3.0.0/24\"\n",
            _ => "local = \"dynamic\"\nremote = \"dynamic\"\n",
        };
        let over = if number < count { Some(name(number + 1)) } else { last.map(str::to_owned) };
        let over = over.map(|over| format!("over = \"{over}\"\n")).unwrap_or_default();
        let over = format!("{over}id = \"t{number}.example\"\n");
        let peer = "peer = \"203.0.113.9\"\nsecret = \"file:good.psk\"\n";
        file(&name(number), &format!("{peer}{ends}{over}"))
    };
    (1..=count).map(one).collect()
}

#[test]
fn four_tunnels_are_nested_and_no_more() {
    // Outer tunnels that carry nothing else are no idle ones.
    assert_eq!(good(&stack(4, None)).warnings, []);
    insta::assert_snapshot!(complaint_of(&stack(5, None)), @r#"
    error[E510]: t1: more than 4 tunnels are nested
     --> tunnels/t1.toml:5:8
      |
    5 | over = "t2"
      |        ^^^^ t1 over t2 over t3 over t4 over t5
      |
      = help: a packet is protected at most 4 times: leave one out
    "#);
}

#[test]
fn no_circle() {
    insta::assert_snapshot!(complaint_of(&stack(2, Some("t1"))), @r#"
    error[E510]: t1: tunnels go through each other in a circle
     --> tunnels/t1.toml:5:8
      |
    5 | over = "t2"
      |        ^^^^ t1 over t2 over t1
      |
      = help: let one of them be the outermost: without `over`
    error[E510]: t2: tunnels go through each other in a circle
     --> tunnels/t2.toml:5:8
      |
    5 | over = "t1"
      |        ^^^^ t2 over t1 over t2
      |
      = help: let one of them be the outermost: without `over`
    "#);
    let itself = complaint_of(&stack(1, Some("t1")));
    assert!(itself.contains("a tunnel cannot go through itself"), "{itself}");
}

#[test]
fn the_peer_must_be_an_address() {
    for peer in ["\"berlin.example\"", "\"%any\"", "[\"203.0.113.9\", \"berlin.example\"]"] {
        let far = FAR.replace("\"203.0.113.9\"", peer);
        let said = complaint_of(&both(&format!("{far}keep = \"passive\"\n"), NEAR));
        assert!(said.contains("the peer's address is needed to reach it through near"), "{said}");
    }
}

#[test]
fn two_tunnels_to_one_peer_need_two_names() {
    let here = FAR.replace("203.0.113.9", "198.51.100.1");
    let near = NEAR.replace("203.0.113.9", "198.51.100.1");
    insta::assert_snapshot!(complaint_of(&both(&here, &near)), @r#"
    error[E510]: far: nobody can tell this tunnel from near
     --> tunnels/far.toml:6:8
      |
    6 | over = "near"
      |        ^^^^^^ the same peer, and the same identities on both sides
      |
      = help: give it identities of its own, id = "net.oslo.example" and peer_id = "net.berlin.example"
    "#);
    good(&both(&format!("{here}id = \"net.example\"\n"), &near));
}
