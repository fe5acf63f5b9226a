//! Probes of the path MTU by echo requests (RFC 792, RFC 4443 §4), for peers that answer none of ours: a
//! host behind such a peer does, or the peer itself.
//!
//! A request is as long as the packets that it speaks for, and nobody may cut it, inside and outside. So a
//! reply shows that the request came whole, in whatever pieces it came itself. That none comes may be the
//! fault of the way back, which has to take as much: then the path is thought smaller than it is, never
//! larger.
//!
//! Nobody behind the peer sees the SPIs, so who has not seen a request cannot make up its reply; and it has
//! to come in by the SA that belongs to the one that the request left by.

use std::net::IpAddr;

use adit_crypto::Protection;
use adit_db::{ChildSa, Hosts, Mode, PathMtuRule};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Echo, EchoReply, FlowKey, Icmp, IpPacket};

/// Between whom the echo requests of a child SA go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EchoProbe {
    hosts: Hosts,
    identifier: u16,
    /// What makes tokens of nonces.
    mask: u64,
}

/// Why a child SA whose path should be probed by echo requests is not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoEcho {
    /// No address of ours may ask.
    #[error(
        "no address of this host that the tunnel's selectors allow may ask {to}: `path_probe_from` names one"
    )]
    NoSource {
        /// Who was to be asked.
        to: IpAddr,
    },
    /// The negotiated selectors contain no echo requests, or not their replies.
    #[error("the negotiated selectors have no room for echo requests to {to}")]
    NotSelected {
        /// Who was to be asked.
        to: IpAddr,
    },
    /// What it sends does not show how long packets may be.
    #[error(
        "there are no echo probes with AH, in TCP, with padding and where packets share others"
    )]
    Unsuitable,
}

impl EchoProbe {
    /// Whom to ask about the path of a child SA, and who asks: what its configuration says, and in transport
    /// mode the peer. `own` gives the addresses of this host, if they are needed. `None` if nobody is to be
    /// asked: the peer answers our own probes, or the operator has not said whom.
    ///
    /// # Errors
    ///
    /// [`NoEcho`]: somebody is to be asked, and cannot be.
    pub fn choose(sa: &ChildSa, own: impl FnOnce() -> Vec<IpAddr>) -> Result<Option<Self>, NoEcho> {
        let rule = sa.mtu.echo;
        let is_asked = match sa.mode {
            Mode::Tunnel => rule.to.iter().next().is_some(),
            Mode::Transport => rule.asks_peer,
            Mode::Beet => false,
        };
        if !is_asked || sa.path_probe || sa.mtu.path != PathMtuRule::Discover {
            return Ok(None);
        }
        let is_esp = matches!(sa.protection, Protection::Esp(_));
        if !is_esp || sa.encap.tcp || sa.aggfrag.is_some() || sa.tfc.padding > 0 {
            return Err(NoEcho::Unsuitable);
        }
        let hosts = if sa.mode == Mode::Transport { ends(sa) } else { hosts_inside(sa, own) };
        hosts.map(|hosts| Some(Self::between(hosts, sa.spi_in, sa.spi_out)))
    }

    fn between(hosts: Hosts, spi_in: Spi, spi_out: Spi) -> Self {
        let [_, _, i0, i1] = spi_in.0.to_be_bytes();
        let mask = u64::from(spi_out.0) << 32 | u64::from(spi_in.0);
        Self { hosts, identifier: u16::from_be_bytes([i0, i1]), mask }
    }

    /// The request with this nonce.
    pub(crate) fn request(&self, nonce: u64) -> Echo {
        Echo {
            src: self.hosts.local,
            dst: self.hosts.remote,
            identifier: self.identifier,
            sequence: sequence(nonce),
            token: nonce ^ self.mask,
        }
    }

    /// The nonce of the request that a packet answers; `None` if it answers none.
    pub(crate) fn answered_by(&self, packet: &IpPacket<'_>) -> Option<u64> {
        let reply = EchoReply::read(packet)?;
        let nonce = reply.token ^ self.mask;
        let is_between = (packet.src(), packet.dst()) == (self.hosts.remote, self.hosts.local);
        // Nonces are counted, and there are never so many: others have a token of somebody else's.
        let is_ours = u32::try_from(nonce).is_ok()
            && reply.identifier == self.identifier
            && reply.sequence == sequence(nonce);
        (is_between && is_ours).then_some(nonce)
    }
}

/// Its lower half is what there is room for.
fn sequence(nonce: u64) -> u16 {
    let [.., s0, s1] = nonce.to_be_bytes();
    u16::from_be_bytes([s0, s1])
}

/// In transport mode nobody else speaks.
fn ends(sa: &ChildSa) -> Result<Hosts, NoEcho> {
    let hosts = Hosts { local: sa.encap.local.ip(), remote: sa.encap.remote.ip() };
    if carries(sa, hosts) { Ok(hosts) } else { Err(NoEcho::NotSelected { to: hosts.remote }) }
}

/// The first of those that may be asked, and who may ask it.
fn hosts_inside(sa: &ChildSa, own: impl FnOnce() -> Vec<IpAddr>) -> Result<Hosts, NoEcho> {
    let rule = sa.mtu.echo;
    let is_named = rule.to.iter().all(|to| rule.from.beside(to).is_some());
    let own = if is_named { Vec::new() } else { own() };
    let mut why = NoEcho::Unsuitable;
    for to in rule.to.iter() {
        let named = rule.from.beside(to);
        let own = || own.iter().copied().filter(|from| from.is_ipv4() == to.is_ipv4());
        let from = named.into_iter().chain(own().filter(|_| named.is_none()));
        let hosts = |local| Hosts { local, remote: to };
        if let Some(hosts) = from.map(hosts).find(|hosts| carries(sa, *hosts)) {
            return Ok(hosts);
        }
        let is_selected = sa.remote_ts.iter().any(|selector| {
            selector.is_ipv4() == to.is_ipv4() && (selector.start..=selector.end).contains(&to)
        });
        why = match named {
            None if is_selected => NoEcho::NoSource { to },
            _ => NoEcho::NotSelected { to },
        };
    }
    Err(why)
}

/// Whether the selectors contain both what is asked and what is answered.
fn carries(sa: &ChildSa, hosts: Hosts) -> bool {
    let Hosts { local, remote } = hosts;
    let protocol = if remote.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
    let messages = [Icmp::echo(remote.is_ipv4()), Icmp::echo_reply(remote.is_ipv4())];
    messages.into_iter().all(|icmp| {
        let port = icmp.as_port();
        let flow = FlowKey::new(local, remote, protocol.0, port, port);
        sa.local_ts.iter().any(|selector| selector.contains_source(&flow))
            && sa.remote_ts.iter().any(|selector| selector.contains_destination(&flow))
    })
}
