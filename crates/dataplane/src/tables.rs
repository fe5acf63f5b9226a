//! Which policies a packet meets that leaves, and where they send it: each interface of the protected
//! side has an SPD of its own (RFC 4301 §4.4.1). The SAs are those of all of them, for a policy is in
//! one table alone.

use std::net::IpAddr;
use std::sync::Arc;

use adit_crypto::Prefetch;
use adit_db::{Action, Dscp, FlowCache, FlowPlace, Pfp, PolicyId, Spd, TableId};
use adit_wire::PacketBuf;
use adit_wire::ip::{FlowKey, FlowMark};

use crate::drop_reason::DropReason;
use crate::outbound_sad::{Gap, OutboundSad, Slot};
use crate::seal::Look;

/// Where packets of a flow go, as policies and SAs are now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    Sa(Slot),
    /// The IKE SA of this SA has it: an ICMP error.
    ByIke(Slot),
    NoSa(PolicyId),
    /// The DSCP of each packet says whose SA.
    ByClass(PolicyId),
    Bypass,
    Drop(DropReason),
}

/// What is known of the packet before, since packets of one flow come in trains.
#[derive(Default)]
pub(crate) struct Train {
    route: Option<(TableId, FlowKey, Route)>,
    plain: Option<Coach>,
}

/// What packets of a train share that go through one SA as plainly as can be.
pub(crate) struct Coach {
    pub(crate) mark: FlowMark,
    pub(crate) table: TableId,
    pub(crate) slot: Slot,
    pub(crate) look: Look,
}

impl Train {
    /// Whether a packet is like the one before, and its length; then what that one was need not be
    /// found again.
    #[inline]
    pub(crate) fn coach(&self, packet: &PacketBuf) -> Option<(&Coach, usize)> {
        let coach = self.plain.as_ref().filter(|coach| coach.table.0 == packet.meta.table)?;
        Some((coach, coach.mark.len_of(packet.data())?))
    }

    /// Notes how a packet went.
    pub(crate) fn couple(&mut self, coach: Coach) {
        self.plain = Some(coach);
    }
}

/// The tables, by number.
#[derive(Default)]
pub(crate) struct Tables {
    default: Table,
    /// Table 1 is the first.
    others: Vec<Option<Table>>,
}

/// The policies of one interface, and where the latest flows go.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) spd: Arc<Spd>,
    routes: FlowCache<Route>,
}

impl Tables {
    /// Replaces the policies of a table; without any it is forgotten, but for the default one, which
    /// drops everything then.
    pub(crate) fn set(&mut self, table: TableId, spd: Option<Arc<Spd>>) {
        let Some(at) = usize::from(table.0).checked_sub(1) else {
            self.default.spd = spd.unwrap_or_default();
            return;
        };
        if self.others.len() <= at {
            self.others.resize_with(at.saturating_add(1), || None);
        }
        let Some(place) = self.others.get_mut(at) else { return };
        match (spd, place) {
            (None, place) => *place = None,
            (Some(spd), Some(table)) => table.spd = spd,
            (Some(spd), place) => *place = Some(Table { spd, routes: FlowCache::default() }),
        }
    }

    /// Forgets where flows go: something has changed.
    pub(crate) fn forget_routes(&mut self) {
        self.default.routes.clear();
        self.others.iter_mut().flatten().for_each(|table| table.routes.clear());
    }

    /// Makes room for flows of so many SAs of IPv4 and of IPv6 in the default table; the others have
    /// those of a tunnel each.
    pub(crate) fn make_room(&mut self, [v4, v6]: [usize; 2]) {
        self.default.routes.make_room(v4, v6);
    }

    /// A table; `None` if there is none of that number.
    pub(crate) fn get(&self, table: TableId) -> Option<&Table> {
        match usize::from(table.0).checked_sub(1) {
            None => Some(&self.default),
            Some(at) => self.others.get(at)?.as_ref(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, table: TableId) -> Option<&mut Table> {
        //= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1
        //# if an implementation supports multiple SPDs, then it MUST include an
        //# explicit SPD selection function that is invoked to select the
        //# appropriate SPD for outbound traffic processing.
        match usize::from(table.0).checked_sub(1) {
            None => Some(&mut self.default),
            Some(at) => self.others.get_mut(at)?.as_mut(),
        }
    }

    /// The policies of a table.
    pub(crate) fn spd(&self, table: TableId) -> Option<&Spd> {
        self.get(table).map(|table| &*table.spd)
    }

    /// Which selectors the SAs of a policy take from packets, whatever table it is in.
    pub(crate) fn pfp(&self, policy: PolicyId) -> Pfp {
        let others = self.others.iter().flatten();
        let mut all = std::iter::once(&self.default).chain(others).map(|table| &table.spd);
        all.find_map(|spd| Some(spd.pfp(policy)).filter(|pfp| !pfp.is_none())).unwrap_or(Pfp::NONE)
    }
}

impl Table {
    /// Where a flow is remembered.
    #[inline]
    pub(crate) fn place(&self, flow: &FlowKey) -> FlowPlace {
        self.routes.place(flow)
    }

    /// Has a first look at such a place.
    #[inline]
    pub(crate) fn look(&self, place: FlowPlace) -> u32 {
        self.routes.look(place)
    }

    /// Tells the processor of it.
    #[inline]
    pub(crate) fn tell(&self, place: FlowPlace, by: Prefetch) {
        self.routes.tell(place, by);
    }

    /// Where a packet goes whose flow has its place here.
    pub(crate) fn route_at(
        &mut self,
        place: FlowPlace,
        flow: &FlowKey,
        dscp: Dscp,
        sad: &OutboundSad,
    ) -> Route {
        let Self { spd, routes } = self;
        let found = routes.get_or_insert_at(place, flow, || route(spd, sad, flow));
        by_class(spd, sad, found, flow, dscp)
    }

    /// Where a packet goes that came by the interface of this table, which has this number.
    pub(crate) fn route(
        &mut self,
        number: TableId,
        flow: &FlowKey,
        dscp: Dscp,
        sad: &OutboundSad,
        train: &mut Train,
    ) -> Route {
        let Self { spd, routes } = self;
        let found = match train.route {
            Some((before, same, found)) if before == number && same == *flow => found,
            _ => routes.get_or_insert_with(flow, || route(spd, sad, flow)),
        };
        train.route = Some((number, *flow, found));
        by_class(spd, sad, found, flow, dscp)
    }
}

/// Where a packet goes: the policy first (RFC 4301 §5.1), then an SA of it.
fn route(spd: &Spd, sad: &OutboundSad, flow: &FlowKey) -> Route {
    match spd.lookup_outbound(flow) {
        Some(Action::Protect(policy)) if spd.has_classes(policy) => Route::ByClass(policy),
        Some(Action::Protect(policy)) => {
            sad.find(policy, flow).map_or(Route::NoSa(policy), Route::Sa)
        }
        Some(Action::Bypass) => Route::Bypass,
        Some(Action::Discard) => Route::Drop(DropReason::PolicyDiscard),
        None => Route::Drop(unwanted(flow)),
    }
}

/// Why a packet that no policy matches is dropped: kernels talk to the links of all their interfaces, and that
/// is not what an operator looks for among the packets that a tunnel lacks a network for.
#[cold]
fn unwanted(flow: &FlowKey) -> DropReason {
    let is_for_link = match flow.dst {
        // RFC 5771 §4: the local network control block.
        IpAddr::V4(dst) => matches!(dst.octets(), [224, 0, 0, _]),
        // RFC 4291 §2.7: multicast of scope 1 or 2.
        IpAddr::V6(dst) => {
            let [first, ..] = dst.segments();
            dst.is_multicast() && matches!(first & 0x000f, 1 | 2)
        }
    };
    if is_for_link { DropReason::LinkLocalMulticast } else { DropReason::NoPolicy }
}

/// The route of one packet of a flow that is divided by classes (RFC 4301 §4.1); any other is what it
/// was.
fn by_class(spd: &Spd, sad: &OutboundSad, route: Route, flow: &FlowKey, dscp: Dscp) -> Route {
    let Route::ByClass(policy) = route else { return route };
    let class = spd.class(policy, dscp);
    sad.find(class, flow).map_or(Route::NoSa(class), Route::Sa)
}

/// Where one packet goes.
pub(crate) fn route_of(spd: &Spd, sad: &OutboundSad, flow: &FlowKey, dscp: Dscp) -> Route {
    by_class(spd, sad, route(spd, sad, flow), flow, dscp)
}

/// The policy whose SA a packet must wait for.
pub(crate) fn missing(
    spd: &Spd,
    sad: &OutboundSad,
    flow: &FlowKey,
    dscp: Dscp,
) -> Option<PolicyId> {
    match route_of(spd, sad, flow, dscp) {
        Route::NoSa(policy) => Some(policy),
        Route::Sa(slot) => match sad.chain(slot) {
            Err(Gap::NoSa { policy, .. }) => Some(policy),
            Ok(_) | Err(Gap::TooDeep) => None,
        },
        Route::Bypass | Route::Drop(_) | Route::ByClass(_) | Route::ByIke(_) => None,
    }
}
