//! SAs that are keyed by hand: between two hosts, and in a multicast group. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::Duration;

use adit_mgmt::Code;
use adit_mgmt::api::{self, Fate, PolicySource, ReloadReport, SaStatus, TunnelState};
use adit_mgmt::vici::Request;
use common::{Pair, Site, wait_until};

/// One side of a pair. `extra` goes to the end.
fn pair_file(here: u8, there: u8, extra: &str) -> String {
    format!(
        "address = \"192.0.2.{here}\"\npeer = \"192.0.2.{there}\"\n\
         local = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\n\
         spi_in = {}\nspi_out = {}\nkey_in = \"file:{here}.key\"\nkey_out = \"file:{there}.key\"\n\
         {extra}\n",
        0x1000 + u32::from(here),
        0x1000 + u32::from(there),
    )
}

/// Writes a file on both sides and starts both daemons; keys have so many octets.
fn start(name: &str, octets: usize, file: impl Fn(u8, u8) -> String) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    for (site, here, there) in [(&mut pair.berlin, 2, 1), (&mut pair.oslo, 1, 2)] {
        for number in [1, 2] {
            site.key(&format!("{number}.key"), &format!("{number}f").repeat(octets));
        }
        site.sa("lab.toml", &file(here, there));
        site.start();
    }
    pair.oslo.wait_for("lab", TunnelState::Up);
    Some(pair)
}

fn sa(site: &Site, name: &str) -> SaStatus {
    site.sad().sas.into_iter().find(|sa| sa.tunnel == name).unwrap()
}

fn reload(site: &Site) -> ReloadReport {
    api::from_message(&site.call(&Request::AditReload { dry_run: false })).unwrap()
}

/// RFC 4301 §4.5, RFC 4303 §3.4.3: without a window a restart of either side costs nothing, and what
/// did not change is not touched by a reload.
#[test]
fn a_pair_carries_packets_before_and_after_a_restart() {
    let file = |here, there| pair_file(here, there, "esp = \"aes256-sha256\"");
    let Some(mut pair) = start("hand", 64, file) else { return };
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries("fd01::1", "fd02::1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    assert!(pair.oslo.log().contains("these SAs are keyed by hand"), "{}", pair.oslo.log());

    let status = pair.oslo.tunnel("lab").unwrap();
    assert_eq!((status.keep.as_str(), status.peer.as_str()), ("manual", "192.0.2.2"));
    assert!(status.packets_in >= 20 && status.children[0].up, "{status:?}");
    let spd = pair.oslo.spd();
    assert_eq!(spd.entries[0].source, PolicySource::Manual);
    assert!(spd.entries[0].file.as_ref().unwrap().ends_with("sas/lab.toml"));
    let why = pair.oslo.why("10.1.0.1", "10.2.0.1", 17, Some(53));
    assert_eq!((why.fate, why.sa.unwrap().state.as_str()), (Fate::Protected, "MANUAL"));

    let before = sa(&pair.oslo, "lab");
    let report = reload(&pair.oslo);
    assert_eq!((report.unchanged.as_slice(), report.changed.len()), (&["lab".to_owned()][..], 0));
    assert_eq!(report.problems[0].code, Code::E521);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    let after = sa(&pair.oslo, "lab");
    assert_eq!(after.id, before.id);
    assert!(after.sequence_out > before.sequence_out);

    pair.berlin.kill();
    pair.berlin.start();
    pair.berlin.wait_for("lab", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    assert!(sa(&pair.oslo, "lab").drops.is_empty(), "{:?}", sa(&pair.oslo, "lab").drops);

    // Other keys on one side alone: nothing passes, in clear least of all, from the end of the reload on.
    pair.oslo.key("1.key", &"ee".repeat(64));
    assert_eq!(reload(&pair.oslo).changed, ["lab"]);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 3);
    let drops = sa(&pair.oslo, "lab").drops;
    assert!(drops.iter().any(|(reason, count)| reason == "bad_icv" && *count > 0), "{drops:?}");
    std::fs::remove_file(pair.oslo.directory.join("sas/lab.toml")).unwrap();
    assert_eq!(reload(&pair.oslo).removed, ["lab"]);
    assert_eq!((pair.oslo.sad().sas.len(), pair.oslo.spd().total), (0, 0));
}

#[test]
fn a_pair_carries_packets_inside_udp() {
    let extra = "esp = \"aes128-sha512\"\nencap = \"udp\"";
    let Some(pair) = start("hand-udp", 80, |here, there| pair_file(here, there, extra)) else {
        return;
    };
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    assert!(sa(&pair.oslo, "lab").udp);
}

/// Hosts over IPv6 with AH and a window.
#[test]
fn two_hosts_speak_with_ah() {
    let file = |here: u8, there: u8| {
        let file = pair_file(here, there, "protocol = \"ah\"\nah = \"sha256\"\nreplay_window = 64");
        let lines = file.lines().filter(|l| !l.starts_with("local") && !l.starts_with("remote"));
        let text: Vec<&str> = lines.collect();
        format!("mode = \"transport\"\n{}\n", text.join("\n")).replace("192.0.2.", "2001:db8::")
    };
    let Some(pair) = start("hand-ah", 32, file) else { return };
    pair.assert_carries("2001:db8::1", "2001:db8::2");
    let sa = sa(&pair.oslo, "lab");
    assert_eq!((sa.protocol.as_str(), sa.sequence_in >= 10), ("AH", true));
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const PORT: u16 = 5_000;

/// Oslo listens to the group, Berlin and Paris speak, each on a link of its own.
struct Trio {
    oslo: Site,
    speakers: [Site; 2],
}

/// The speakers' outer addresses.
const SPEAKERS: [&str; 2] = ["192.0.2.2", "198.51.100.3"];

impl Trio {
    fn new(name: &str) -> Option<Self> {
        let pair = Pair::new(name)?;
        let paris = pair.paris(name)?;
        let mut netlink = paris.namespace.netlink().unwrap();
        let lo = netlink.link_by_name("lo").unwrap().index;
        netlink.add_address(lo, "10.3.0.1/32".parse().unwrap()).unwrap();
        let Pair { oslo, berlin } = pair;
        Some(Self { oslo, speakers: [berlin, paris] })
    }

    /// Oslo's file, and one for each speaker.
    fn start(&mut self, from: &str, to: impl Fn(usize) -> String) {
        for (speaker, number) in self.speakers.iter_mut().zip(0..) {
            speaker.key("group.key", &"5c".repeat(64));
            speaker.sa("chat-out.toml", &to(number));
            speaker.start();
            speaker.wait_for("chat-out", TunnelState::Up);
        }
        self.oslo.key("group.key", &"5c".repeat(64));
        self.oslo.sa("chat-in.toml", from);
        self.oslo.start();
        self.oslo.wait_for("chat-in", TunnelState::Up);
    }

    /// A program in Oslo that has joined the group as programs do.
    fn listener(&self) -> UdpSocket {
        let socket = self.oslo.namespace.run(|| {
            let socket = UdpSocket::bind(SocketAddrV4::new(GROUP, PORT)).unwrap();
            // The daemon joins on one interface; whoever wants to hear others does it himself.
            for address in [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1)] {
                socket.join_multicast_v4(&GROUP, &address).unwrap();
            }
            socket
        });
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    }

    fn speak(&self, speaker: usize, words: &str) {
        self.speak_from(speaker, "0.0.0.0", words).unwrap();
    }

    /// With a source address of its own a program also chooses the interface, past all routes.
    fn speak_from(&self, speaker: usize, source: &str, words: &str) -> std::io::Result<usize> {
        let send = || {
            let socket = UdpSocket::bind((source, 0)).unwrap();
            socket.send_to(words.as_bytes(), SocketAddrV4::new(GROUP, PORT))
        };
        self.speakers.get(speaker).unwrap().namespace.run(send).unwrap()
    }
}

fn hear(socket: &UdpSocket) -> Option<(String, String)> {
    let mut octets = [0; 100];
    let (len, from) = socket.recv_from(&mut octets).ok()?;
    Some((String::from_utf8_lossy(octets.get(..len)?).into_owned(), from.ip().to_string()))
}

fn group_file(extra: &str) -> String {
    format!("group = \"{GROUP}\"\nesp = \"aes256-sha256\"\n{extra}\n")
}

/// RFC 4301 §4.1, RFC 4303 §2.2: two senders share one SA and count for themselves.
#[test]
fn a_group_hears_two_senders() {
    let Some(mut trio) = Trio::new("group") else { return };
    let from = "mode = \"transport\"\naddress = \"192.0.2.1\"\nspi_in = 0x12345678\n\
                key_in = \"file:group.key\"\nreplay_window = 64\n\
                senders = [\"192.0.2.2\", \"198.51.100.3\"]";
    trio.start(&group_file(from), |number| {
        group_file(&format!(
            "mode = \"transport\"\naddress = \"{}\"\nspi_out = 0x12345678\n\
             key_out = \"file:group.key\"",
            SPEAKERS[number]
        ))
    });
    let listener = trio.listener();
    for round in 0..20 {
        for (speaker, address) in SPEAKERS.into_iter().enumerate() {
            let words = format!("{round} of {address}");
            trio.speak(speaker, &words);
            let heard = hear(&listener);
            assert_eq!(heard, Some((words, address.to_owned())), "{}", trio.oslo.log());
        }
    }
    let status = sa(&trio.oslo, "chat-in");
    assert_eq!((status.packets_in, status.drops.len(), status.sequence_in), (40, 0, 20));
    assert_eq!(status.outer_remote, "239.1.1.1:0");

    // Who restarts counts from 1, which is what the window is against.
    trio.speakers[0].kill();
    trio.speakers[0].start();
    trio.speakers[0].wait_for("chat-out", TunnelState::Up);
    trio.speak(0, "again");
    assert_eq!(hear(&listener), None);
    trio.speak(1, "still here");
    assert_eq!(hear(&listener).map(|(words, _)| words), Some("still here".to_owned()));
    let drops = sa(&trio.oslo, "chat-in").drops;
    assert_eq!(drops, [("replayed".to_owned(), 1)]);

    // A member that is not named, with the right key, and a word in clear.
    let one = group_file(&from.replace("\"192.0.2.2\", ", "\"192.0.2.9\", "));
    trio.oslo.sa("chat-in.toml", &one);
    assert_eq!(reload(&trio.oslo).changed, ["chat-in"]);
    // The first words may come before the SA has gone that they are replayed to.
    wait_until("the stranger is counted", || {
        trio.speak(0, "stranger");
        let drops = sa(&trio.oslo, "chat-in").drops;
        matches!(&drops[..], [(reason, 1..)] if reason == "unknown_sender")
    });
    assert_eq!(hear(&listener), None);
    let [_, address] = SPEAKERS;
    assert!(trio.speak_from(1, address, "past the routes").is_err(), "it would leave in clear");
    trio.speakers[1].terminate();
    trio.speak_from(1, address, "in clear").unwrap();
    assert_eq!(hear(&listener), None, "what a policy protects does not come in clear");
    std::fs::remove_file(trio.oslo.directory.join("sas/chat-in.toml")).unwrap();
    reload(&trio.oslo);
    wait_until("words in clear come in", || {
        trio.speak_from(1, address, "in clear").unwrap();
        hear(&listener).is_some_and(|(words, _)| words == "in clear")
    });
}

/// Tunnel mode to a group: networks behind the senders speak, and the receiver needs no names.
#[test]
fn a_group_hears_networks_in_tunnel_mode() {
    let Some(mut trio) = Trio::new("group-t") else { return };
    let from = "address = \"192.0.2.1\"\nspi_in = 300\nkey_in = \"file:group.key\"\n\
                local = \"239.1.1.1\"\nremote = \"10.0.0.0/8\"";
    trio.start(&group_file(from), |number| {
        group_file(&format!(
            "address = \"{}\"\nspi_out = 300\nkey_out = \"file:group.key\"\n\
             local = \"10.{}.0.0/24\"\nremote = \"239.1.1.1\"",
            SPEAKERS[number],
            number + 2
        ))
    });
    let listener = trio.listener();
    for (speaker, address) in [(0, "10.2.0.1"), (1, "10.3.0.1"), (0, "10.2.0.1")] {
        trio.speak(speaker, "hello");
        let heard = hear(&listener);
        assert_eq!(heard, Some(("hello".to_owned(), address.to_owned())), "{}", trio.oslo.log());
    }
    assert_eq!(sa(&trio.oslo, "chat-in").packets_in, 3);
}

/// Over IPv6 a program has to choose the TUN itself, and the outer packets their interface.
#[test]
fn a_group_is_reached_over_ipv6() {
    let Some(mut pair) = Pair::new("group-6") else { return };
    let group = "group = \"ff12::1:1\"\nmode = \"transport\"\nesp = \"aes256-sha256\"\n";
    let key = "5c".repeat(64);
    for (site, text) in [
        (&mut pair.oslo, "address = \"2001:db8::1\"\nspi_in = 300\nkey_in = \"file:group.key\"\n"),
        (
            &mut pair.berlin,
            "address = \"2001:db8::2\"\nspi_out = 300\nkey_out = \"file:group.key\"\n",
        ),
    ] {
        site.key("group.key", &key);
        site.sa("chat.toml", &format!("{group}{text}"));
        site.start();
        site.wait_for("chat", TunnelState::Up);
    }
    let group: Ipv6Addr = "ff12::1:1".parse().unwrap();
    let index = |site: &Site, name: &str| {
        site.namespace.netlink().unwrap().link_by_name(name).unwrap().index
    };
    let (wan, tun) = (index(&pair.oslo, "wan"), index(&pair.berlin, "adit0"));
    let listener = pair.oslo.namespace.run(|| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        socket.join_multicast_v6(&group, wan).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    });
    let speak = || {
        let socket = UdpSocket::bind(("2001:db8::2", 0)).unwrap();
        socket.send_to(b"hello", SocketAddrV6::new(group, PORT, 0, tun)).unwrap();
    };
    pair.berlin.namespace.run(speak).unwrap();
    let heard = hear(&listener.unwrap());
    assert_eq!(heard, Some(("hello".to_owned(), "2001:db8::2".to_owned())), "{}", pair.oslo.log());
    assert_eq!(sa(&pair.oslo, "chat").packets_in, 1);
}
