//! Policies in the kernel: `XFRM_MSG_NEWPOLICY`, `UPDPOLICY`, `DELPOLICY` (RFC 4301 §4.4.1), and
//! `MIGRATE`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::{Lifetime, Mark, Mode};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;

use super::octets::{
    DELPOLICY, GETPOLICY, IPPROTO_ESP, MIGRATE, Request, UPDPOLICY, View, XFRMA_IF_ID, XFRMA_MARK,
    XFRMA_MIGRATE, XFRMA_TMPL, family,
};
use super::selector::{MaskedPort, SELECTOR_OCTETS, Selector};
use super::state::{EncapPorts, Offload, USE_OCTETS, mode_number, write_encap, write_lifetime};
use super::{ACK, DUMP, read_mark};

/// One policy: what happens to the packets of a selector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What it is found by.
    pub id: PolicyKey,
    /// The smaller number decides.
    pub priority: u32,
    /// What happens.
    pub action: Action,
    /// The network device that applies it, if one does: then its SAs are there, too.
    pub offload: Option<Offload>,
}

/// What the kernel finds a policy by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PolicyKey {
    /// Which way packets go.
    pub direction: Direction,
    /// Which packets.
    pub selector: Selector,
    /// The mark that packets must have.
    pub mark: Option<Mark>,
    /// The xfrm interface they go through.
    pub if_id: Option<u32>,
}

/// Which way packets go (`ip xfrm policy`: `dir`).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// To this host.
    In,
    /// Out of this host, its own or forwarded.
    Out,
    /// Through this host, on their way in.
    Forward,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It must come or go through an SA of this kind.
    Protect(Template),
    /// It must come or go through two of them, one around the other (RFC 2401 §4.3).
    Bundle {
        /// What is next to the packet.
        inner: Template,
        /// What is around that.
        outer: Template,
    },
    /// It passes in clear.
    Allow,
    /// It is dropped.
    Block,
}

/// `struct xfrm_user_tmpl`: which SAs serve a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Template {
    /// Outer addresses of tunnel mode; `None` fits all. Around a tunnel they say no more than the family.
    pub ends: Option<(IpAddr, IpAddr)>,
    /// ESP or AH.
    pub protocol: IpProtocol,
    /// The one SA that serves; `None` fits all.
    pub spi: Option<Spi>,
    /// The number that SAs and policies have in common.
    pub reqid: u32,
    /// Tunnel or transport mode.
    pub mode: Mode,
}

/// How an SA moves from one pair of addresses or ports to another (`struct xfrm_user_migrate`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Migration {
    /// Outer source and destination so far.
    pub old: (IpAddr, IpAddr),
    /// Outer source and destination from now on.
    pub new: (IpAddr, IpAddr),
    /// Which SA: the one of this number.
    pub reqid: u32,
    /// Its mode.
    pub mode: Mode,
    /// The xfrm interface that it belongs to.
    pub if_id: Option<u32>,
    /// Its ports from now on, inside UDP; `None` leaves it as it is.
    pub encap: Option<EncapPorts>,
}

impl Migration {
    /// The kernel moves the SAs of a policy, but does not find policies of whole networks before
    /// Linux 6.12, and none whose templates name no addresses. So this one is for the purpose: no
    /// packet has such addresses (RFC 7600, RFC 6666).
    pub(super) fn handle(&self) -> Policy {
        let nobody: IpAddr = match self.old.0 {
            IpAddr::V4(_) => Ipv4Addr::new(192, 0, 0, 8).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8).into(),
        };
        let selector = Selector {
            source: nobody.into(),
            destination: nobody.into(),
            protocol: 0,
            source_port: MaskedPort::default(),
            destination_port: MaskedPort::default(),
        };
        let Self { reqid, mode, if_id, .. } = *self;
        Policy {
            id: PolicyKey { direction: Direction::Out, selector, mark: None, if_id },
            // Before any other.
            priority: 0,
            action: Action::Protect(Template {
                ends: Some(self.old),
                reqid,
                mode,
                ..Template::ANY
            }),
            offload: None,
        }
    }
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Forward];

    fn number(self) -> u8 {
        match self {
            Self::In => 0,
            Self::Out => 1,
            Self::Forward => 2,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.number() == number)
    }
}

impl Policy {
    /// Adds the policy or replaces that of the same key (`ip xfrm policy update`).
    pub(super) fn put(&self) -> Request {
        self.request(UPDPOLICY)
    }

    fn request(&self, kind: u16) -> Request {
        let mut request = Request::new(kind, ACK);
        // `struct xfrm_userpolicy_info`.
        self.id.selector.write(&mut request);
        write_lifetime(&mut request, Lifetime::NONE);
        request.zeros(USE_OCTETS);
        request.u32(self.priority);
        request.u32(0);
        request.u8(self.id.direction.number());
        request.u8(if self.action == Action::Block { ACTION_BLOCK } else { ACTION_ALLOW });
        request.zeros(2 + 4);
        // The kernel seals by the first template first, and takes off the last one's first.
        let templates = match &self.action {
            Action::Protect(template) => [Some(template), None],
            Action::Bundle { inner, outer } => [Some(inner), Some(outer)],
            Action::Allow | Action::Block => [None; 2],
        };
        if templates.iter().any(Option::is_some) {
            let family = family(self.id.selector.source.addr());
            request.attribute(XFRMA_TMPL, |r| {
                templates.into_iter().flatten().for_each(|template| template.write(r, family));
            });
        }
        self.id.write_attributes(&mut request);
        if let Some(offload) = self.offload {
            offload.write(&mut request);
        }
        request
    }
}

impl PolicyKey {
    /// `ip xfrm policy delete`.
    pub(super) fn delete(&self) -> Request {
        let mut request = Request::new(DELPOLICY, ACK);
        // `struct xfrm_userpolicy_id`.
        self.selector.write(&mut request);
        request.u32(0);
        request.u8(self.direction.number());
        request.zeros(3);
        self.write_attributes(&mut request);
        request
    }

    fn write_attributes(&self, request: &mut Request) {
        request.mark(self.mark);
        request.number(XFRMA_IF_ID, self.if_id);
    }
}

/// All policies (`ip xfrm policy list`).
pub(super) fn list() -> Request {
    Request::new(GETPOLICY, DUMP)
}

/// Moves an SA of a policy (RFC 4555 in the kernel; `ip` has no word for it).
pub(super) fn migrate(key: &PolicyKey, migration: &Migration) -> Request {
    let mut request = Request::new(MIGRATE, ACK);
    // `struct xfrm_userpolicy_id`.
    key.selector.write(&mut request);
    request.u32(0);
    request.u8(key.direction.number());
    request.zeros(3);
    request.attribute(XFRMA_MIGRATE, |r| {
        let ((old_source, old_destination), (source, destination)) = (migration.old, migration.new);
        for address in [old_destination, old_source, destination, source] {
            r.address(address);
        }
        r.u8(IPPROTO_ESP);
        r.u8(mode_number(migration.mode));
        r.zeros(2);
        r.u32(migration.reqid);
        r.u16(family(old_source));
        r.u16(family(source));
    });
    if let Some(ports) = migration.encap {
        write_encap(&mut request, ports);
    }
    key.write_attributes(&mut request);
    request
}

impl Template {
    /// Any SA of ESP in transport mode that has no number: a start for others.
    pub const ANY: Self =
        Self { ends: None, protocol: IpProtocol::ESP, spi: None, reqid: 0, mode: Mode::Transport };

    /// `family` is that of the selector, for a template without addresses.
    fn write(self, r: &mut Request, selector_family: u16) {
        let (source, destination) = match self.ends {
            Some((source, destination)) => (Some(source), Some(destination)),
            None => (None, None),
        };
        let address = |r: &mut Request, address: Option<IpAddr>| match address {
            Some(address) => r.address(address),
            None => r.zeros(16),
        };
        address(r, destination);
        // Zero is any.
        r.be32(self.spi.map_or(0, |spi| spi.0));
        r.u8(self.protocol.0);
        r.zeros(3);
        r.u16(source.map_or(selector_family, family));
        r.zeros(2);
        address(r, source);
        r.u32(self.reqid);
        r.u8(mode_number(self.mode));
        // Not shared, not optional.
        r.zeros(3);
        // All algorithms: the SA was negotiated.
        for _ in 0..3 {
            r.u32(u32::MAX);
        }
    }
}

/// A policy as the kernel shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyInfo {
    /// What it is found by.
    pub id: PolicyKey,
    /// Its priority.
    pub priority: u32,
    /// The number of the SAs that serve it; `None` if it needs none.
    pub reqid: Option<u32>,
}

impl PolicyInfo {
    /// Reads a NEWPOLICY message, without its header; `None` for the policy of a socket.
    pub(super) fn read(view: View<'_>) -> Option<Self> {
        let attributes = view.attributes(POLICY_OCTETS);
        Some(Self {
            id: PolicyKey {
                direction: Direction::of_number(view.u8(160)?)?,
                selector: Selector::read(view)?,
                mark: attributes.find_kind(XFRMA_MARK).and_then(read_mark),
                if_id: attributes.find_kind(XFRMA_IF_ID).and_then(|value| value.u32(0)),
            },
            priority: view.u32(152)?,
            reqid: attributes.find_kind(XFRMA_TMPL).and_then(reqid_of_template),
        })
    }
}

/// Reads the number from a template.
pub(super) fn reqid_of_template(template: View<'_>) -> Option<u32> {
    template.u32(44)
}

/// What a socket is exempt from: `setsockopt(IP_XFRM_POLICY)` takes such a policy for each way.
pub(super) fn socket_policy(ipv4: bool, direction: Direction) -> Request {
    let mut request = Request::new(0, 0);
    request.zeros(SELECTOR_OCTETS - 16);
    request.u16(if ipv4 { super::octets::AF_INET } else { super::octets::AF_INET6 });
    request.zeros(14);
    write_lifetime(&mut request, Lifetime::NONE);
    request.zeros(USE_OCTETS + 8);
    request.u8(direction.number());
    request.u8(ACTION_ALLOW);
    request.zeros(2 + 4);
    request
}

/// `struct xfrm_userpolicy_info`.
pub(super) const POLICY_OCTETS: usize = 168;
const ACTION_ALLOW: u8 = 0;
const ACTION_BLOCK: u8 = 1;
