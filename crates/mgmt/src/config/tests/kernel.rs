//! How packets find their way to a tunnel.

use adit_db::{HwOffload, KernelOptions, Mark, TunMtu};

use super::{FIVE_LINES, SourceFile, file, good, load, rendered, secrets, with};

fn options(lines: &str) -> KernelOptions {
    let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
    tunnel.connection.children[0].kernel.clone()
}

#[test]
fn a_tunnel_may_have_an_interface_of_its_own() {
    assert_eq!(options(""), KernelOptions::default());
    for engine in ["userspace", "kernel", "auto"] {
        let vpn = options(&format!("engine = \"{engine}\"\ninterface = \"vpn1\""));
        assert_eq!(vpn.steering.interface.as_ref().unwrap().as_str(), "vpn1");
        assert!(!vpn.no_routes);
    }
    let free = options("engine = \"kernel\"\ninterface = \"vpn1\"\nroutes = false");
    assert!(free.no_routes);
}

/// CHECKLIST H14: by mark, with the kernel as engine.
#[test]
fn a_mark_picks_packets_and_leaves_routes_alone() {
    let marked = options("engine = \"kernel\"\nmark = \"0x10/0xff\"");
    assert_eq!(marked.steering.mark, Some(Mark { value: 0x10, mask: 0xff }));
    assert!(marked.no_routes);
    assert!(!options("engine = \"kernel\"\nmark = \"16\"\nroutes = true").no_routes);

    let odd = with("engine = \"kernel\"\nmark = \"0x100/0xff\"");
    assert!(odd.contains("the mark has bits outside of it"), "{odd}");
    let user_space = with("mark = \"0x10\"");
    assert!(user_space.contains("`mark` is for the kernel as engine"), "{user_space}");
    let both = with("engine = \"kernel\"\ninterface = \"vpn1\"\nmark = \"1\"");
    assert!(both.contains("an interface needs no mark"), "{both}");
}

#[test]
fn a_network_device_may_do_the_work() {
    let offload = |word: &str| {
        let lines = format!("engine = \"kernel\"\noffload = \"{word}\"");
        options(&lines).offload
    };
    assert_eq!(offload("off"), HwOffload::Off);
    assert_eq!(offload("crypto"), HwOffload::Crypto);
    assert_eq!(offload("packet"), HwOffload::Packet);
    assert_eq!(options("offload = \"off\"").offload, HwOffload::Off);
    let odd = with("engine = \"kernel\"\noffload = \"full\"");
    assert!(odd.contains("must be \"off\", \"crypto\" or \"packet\""), "{odd}");
    let user_space = with("offload = \"crypto\"");
    assert!(user_space.contains("`offload` is for the kernel as engine"), "{user_space}");
}

/// CHECKLIST H14: routes decide: everything on both sides, and the same for several tunnels.
#[test]
fn networks_of_interfaces_may_overlap() {
    let all = FIVE_LINES.replace("10.1.0.0/24", "0.0.0.0/0").replace("10.2.0.0/24", "0.0.0.0/0");
    for engine in ["userspace", "kernel"] {
        let on = |interface: &str| {
            let keys = format!("engine = \"{engine}\"\ninterface = \"{interface}\"");
            file(interface, &format!("{all}\n{keys}\n"))
        };
        let several = load(&[on("vpn1"), on("vpn2"), file("oslo", FIVE_LINES)], &secrets).unwrap();
        assert_eq!(several.warnings, []);
        let same = SourceFile { path: "tunnels/twin.toml".into(), ..on("vpn1") };
        let refused = rendered(load(&[on("vpn1"), same], &secrets).unwrap_err());
        assert!(refused.contains("claims this traffic too"), "{refused}");
    }
}

#[test]
fn an_interface_is_for_networks() {
    let long = with("interface = \"a-name-too-long-\"");
    assert!(long.contains("a name has 1 to 15 octets"), "{long}");
    let transport = with("mode = \"transport\"\ninterface = \"vpn1\"");
    assert!(transport.contains("an interface is for networks"), "{transport}");
    let routes = with("routes = false");
    assert!(routes.contains("`routes` is for tunnels with an interface or a mark"), "{routes}");
}

/// CHECKLIST PM-10: what an interface takes is found, or said; too small and too large is refused.
#[test]
fn what_an_interface_takes_may_be_said() {
    for (text, mtu) in [
        ("", TunMtu::Auto),
        ("tun_mtu = \"auto\"", TunMtu::Auto),
        ("tun_mtu = 1280", TunMtu::Fixed(1_280)),
        ("interface = \"vpn1\"\ntun_mtu = 8890", TunMtu::Fixed(8_890)),
    ] {
        assert_eq!(options(text).tun_mtu, mtu);
    }
    for text in ["tun_mtu = 1279", "tun_mtu = 8891"] {
        let refused = with(text);
        assert!(refused.contains("1280") && refused.contains("8890"), "{refused}");
    }
    assert!(with("tun_mtu = \"large\"").contains("\"auto\""));
    let kernel = with("engine = \"kernel\"\ntun_mtu = 4000");
    assert!(kernel.contains("`tun_mtu` is for the engine in user space"), "{kernel}");
}
