//! How packets find their way to a tunnel, and what only the kernel does, as engine: `interface`,
//! `mark`, `routes`, `offload`, `tun_mtu`.

use adit_db::{ChildConfig, Engine, HwOffload, InterfaceName, Mark, Mode, Steering, TunMtu};

use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// Reads the keys, once engine and mode are known.
pub(super) fn read(fields: &mut Fields<'_>, engine: Engine, child: &mut ChildConfig) {
    let place = ["mark", "offload"].iter().find_map(|key| fields.key_span(key));
    let interface = fields.parsed::<InterfaceName>("interface", |error, _| error.to_string());
    if let Some(interface) = interface {
        if child.mode == Mode::Transport {
            fields.mistake(
                Mistake::new(interface.span.clone(), "an interface is for networks")
                    .label("transport mode is for the two hosts' own packets")
                    .help("leave the key out, or write mode = \"tunnel\""),
            );
        }
        child.kernel.steering.interface = Some(interface.value);
    }
    read_mark(fields, child);
    read_tun_mtu(fields, engine, child);
    if let Some(offload) = fields.word("offload", OFFLOAD) {
        child.kernel.offload = offload.value;
    }
    // Where only some packets to the networks are meant, others keep their ways.
    child.kernel.no_routes = child.kernel.steering.mark.is_some();
    if let Some(routes) = fields.flag("routes", &[]) {
        if child.kernel.steering == Steering::default() {
            fields.mistake(
                Mistake::new(routes.span, "`routes` is for tunnels with an interface or a mark")
                    .label("without them the networks themselves decide what is protected")
                    .help("add interface = \"vpn1\", or leave the key out"),
            );
        }
        child.kernel.no_routes = !routes.value;
    }
    if engine == Engine::Userspace
        && let Some(key) = child.kernel.key()
        && let Some(place) = place
    {
        fields.mistake(
            Mistake::new(place, format!("`{key}` is for the kernel as engine"))
                .label("the engine in user space asks selectors and interfaces alone")
                .help("write engine = \"kernel\""),
        );
    }
}

const OFFLOAD: &[(&str, HwOffload)] =
    &[("off", HwOffload::Off), ("crypto", HwOffload::Crypto), ("packet", HwOffload::Packet)];

fn read_tun_mtu(fields: &mut Fields<'_>, engine: Engine, child: &mut ChildConfig) {
    if let Some(place) = fields.key_span("tun_mtu").filter(|_| engine == Engine::Kernel) {
        fields.mistake(
            Mistake::new(place, "`tun_mtu` is for the engine in user space")
                .label("the kernel's tunnels do not go through our interface")
                .help("leave the key out, or write engine = \"userspace\""),
        );
    }
    if fields.is_integer("tun_mtu") {
        let range = u32::from(*TunMtu::RANGE.start())..=u32::from(*TunMtu::RANGE.end());
        let mtu = fields.integer("tun_mtu", range, "octets");
        let mtu = mtu.and_then(|mtu| u16::try_from(mtu.value).ok());
        child.kernel.tun_mtu = mtu.map_or(TunMtu::Auto, TunMtu::Fixed);
    } else if let Some(mtu) = fields.word("tun_mtu", &[("auto", TunMtu::Auto)]) {
        child.kernel.tun_mtu = mtu.value;
    }
}

fn read_mark(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let Some(mark) = fields.parsed::<Mark>("mark", |error, _| error.to_string()) else { return };
    if child.kernel.steering.interface.is_some() {
        fields.mistake(
            Mistake::new(mark.span, "an interface needs no mark")
                .label("what is routed into the tunnel's own interface is the tunnel's already")
                .help("keep one of the two keys"),
        );
    }
    child.kernel.steering.mark = Some(mark.value);
}
