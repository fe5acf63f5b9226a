//! `tcp`: where the peer takes IKE and ESP in TCP (RFC 9329), and what goes with `encap = "tcp"`.

use std::ops::Range;

use adit_db::{Connection, Encap, Engine};
use adit_wire::iana::ProtocolId;

use super::super::fields::{Fields, Item, Placed};
use super::super::report::Mistake;

/// The port that `tcp = true` means (RFC 9329 §2).
const PORT: u16 = 4500;
/// Most ports that are tried one after the other.
const PORTS_MAX: usize = 8;

/// Reads the key, once `encap`, which stands at `encap_span`, `engine` and `over` are known.
pub(super) fn read(
    fields: &mut Fields<'_>,
    encap_span: Option<Range<usize>>,
    protocol: ProtocolId,
    connection: &mut Connection,
) {
    let span = fields.key_span("tcp").or(encap_span);
    let said = read_ports(fields);
    connection.tcp_ports = match (said, connection.encap) {
        (Some(ports), _) => ports,
        (None, Encap::Tcp) => vec![PORT],
        (None, Encap::Auto | Encap::Udp | Encap::Esp) => return,
    };
    let Some(span) = span else { return };
    let obstacle = match connection.encap {
        Encap::Tcp if connection.tcp_ports.is_empty() => {
            Some(("encap = \"tcp\" contradicts `tcp`", "there is no port left"))
        }
        _ if connection.tcp_ports.is_empty() => None,
        Encap::Udp | Encap::Esp => {
            Some(("`tcp` is for encap = \"auto\" or \"tcp\"", "the other two never use it"))
        }
        Encap::Auto | Encap::Tcp if protocol == ProtocolId::AH => Some((
            "AH cannot travel in TCP",
            "TCP is for passing what lets nothing else through, and AH covers the addresses",
        )),
        Encap::Auto | Encap::Tcp if connection.over.is_some() => Some((
            "a tunnel inside another one does not go over TCP",
            "its packets are the other tunnel's",
        )),
        Encap::Auto | Encap::Tcp if connection.engine == Engine::Kernel => {
            Some(("the kernel is not asked to carry ESP in TCP", "it is done in user space alone"))
        }
        Encap::Auto | Encap::Tcp => None,
    };
    if let Some((sentence, label)) = obstacle {
        fields.mistake(
            Mistake::new(span, sentence)
                .label(label)
                .help("do without `tcp` and without encap = \"tcp\""),
        );
    }
}

/// `true`, a port or a list of ports; none of `false`.
fn read_ports(fields: &mut Fields<'_>) -> Option<Vec<u16>> {
    if !fields.has("tcp") {
        fields.optional("tcp");
        return None;
    }
    if fields.is_flag("tcp") {
        let is_on = fields.flag("tcp", &[])?;
        return Some(if is_on.value { vec![PORT] } else { Vec::new() });
    }
    let items = fields.integers("tcp")?;
    let mut ports = Vec::new();
    for item in &items {
        match port(item).filter(|port| !ports.contains(port) && ports.len() < PORTS_MAX) {
            Some(port) => ports.push(port),
            None => fields.mistake(
                Mistake::new(item.span.clone(), "`tcp` names no ports")
                    .label(format!("must be up to {PORTS_MAX} different ports, 1 to 65535"))
                    .help("write tcp = true for 4500, tcp = 443, or tcp = [4500, 443]"),
            ),
        }
    }
    Some(ports)
}

fn port(item: &Placed<Item>) -> Option<u16> {
    match item.value {
        Item::Number(number) => u16::try_from(number).ok().filter(|port| *port != 0),
        Item::Text(_) => None,
    }
}
