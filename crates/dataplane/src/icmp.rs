//! ICMP through SAs (RFC 4301 §6): a message goes where policy and selectors send it, as every packet.
//! An error whose own addresses are in no selectors, as those of a router behind a gateway, goes
//! implicitly: back by the SA of the packet that it quotes. At the other end the quoted packet has to
//! fit the SA that the error came by, else whoever is behind one peer could speak about the flows of
//! others.

use adit_db::{Dscp, IcmpPassage, Mode, Spd};
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{FlowKey, Icmp, IcmpError, IpPacket, QuotedSpi};

use crate::drop_reason::DropReason;
use crate::event::Event;
use crate::outbound_sad::OutboundSad;
use crate::sa::InboundSa;
use crate::tables::{Route, route_of};

/// Whether this is ICMP of either version.
#[inline]
pub(crate) fn is_icmp(flow: &FlowKey) -> bool {
    matches!(IpProtocol(flow.protocol), IpProtocol::ICMP | IpProtocol::ICMPV6)
}

/// Where an ICMP message goes that leaves, and would go by this route as any packet.
///
/// Policies come first: what they bypass or discard is left alone, and what they protect with an SA that
/// is there goes by that one, if it goes at all.
pub(crate) fn route(route: Route, message: &IpPacket<'_>, spd: &Spd, sad: &OutboundSad) -> Route {
    // A later fragment shows no type; hosts drop it without the first.
    let Some(icmp) = message.icmp() else { return route };
    match route {
        Route::Sa(_) | Route::NoSa(_) if is_redirect(message.protocol(), icmp) => {
            Route::Drop(DropReason::Redirect)
        }
        Route::Sa(slot) => {
            let passage = sad.at(slot).map(|sa| sa.passage(message.protocol(), icmp));
            let refused = passage == Some(IcmpPassage::Discard);
            if refused { Route::Drop(DropReason::IcmpRefused) } else { route }
        }
        Route::NoSa(_) | Route::Drop(DropReason::NoPolicy) if icmp.is_error(message.protocol()) => {
            way_of_quoted(message, spd, sad).unwrap_or(route)
        }
        Route::NoSa(_) | Route::Drop(_) | Route::Bypass | Route::ByClass(_) | Route::ByIke(_) => {
            route
        }
    }
}

/// RFC 792, RFC 4861 §4.5.
fn is_redirect(protocol: IpProtocol, icmp: Icmp) -> bool {
    match protocol {
        IpProtocol::ICMP => icmp.kind == Icmp::REDIRECT,
        _ => icmp.kind == Icmp::REDIRECT_V6,
    }
}

/// By the SA by which the answers go to the packet that an error quotes, if the error may go there, too, or
/// by the IKE SA of that one.
///
/// RFC 4301 §6.2: where no SA would carry the message itself, it is mapped to the SA that would carry
/// the return traffic of the packet that caused it.
fn way_of_quoted(message: &IpPacket<'_>, spd: &Spd, sad: &OutboundSad) -> Option<Route> {
    let error = IcmpError::read(message).ok()?;
    let about = error.about().ok()?;
    // It is for who sent the packet, and nobody else.
    if about.src() != message.dst() {
        return None;
    }
    let dscp = Dscp::from_traffic_class(message.traffic_class());
    let Route::Sa(slot) = route_of(spd, sad, &about.flow_key().reversed(), dscp) else {
        return None;
    };
    let sa = sad.at(slot)?;
    // Only in tunnel mode can somebody else speak than the host itself.
    let may_speak = sa.mode == Mode::Tunnel || message.src() == about.dst();
    if sa.passage(error.protocol, error.icmp) != IcmpPassage::Implicit {
        return None;
    }
    match sa.by_ike().has_error(may_speak) {
        true => Some(Route::ByIke(slot)),
        false => may_speak.then_some(Route::Sa(slot)),
    }
}

impl InboundSa {
    /// Whether an ICMP message may come in through this SA; `fits` says whether its selectors contain
    /// the message itself.
    ///
    /// # Errors
    ///
    /// - [`DropReason::IcmpRefused`]: it is of a type that does not pass.
    /// - [`DropReason::SelectorMismatch`]: it is outside the selectors, and no error that may be so.
    /// - [`DropReason::IcmpQuote`]: it is an error about a packet that this SA would not have carried.
    pub(crate) fn check_icmp(&self, message: &IpPacket<'_>, fits: bool) -> Result<(), DropReason> {
        let mismatch = || if fits { Ok(()) } else { Err(DropReason::SelectorMismatch) };
        if message.is_later_fragment() {
            return mismatch();
        }
        // Nobody cuts a message before its type, but who wants to hide that.
        let icmp = message.icmp().ok_or(DropReason::BadInner)?;
        let passage = self.passage(message.protocol(), icmp);
        if passage == IcmpPassage::Discard {
            return Err(DropReason::IcmpRefused);
        }
        if !icmp.is_error(message.protocol()) || self.group.is_some() {
            return mismatch();
        }
        if !fits && passage == IcmpPassage::Explicit {
            return Err(DropReason::SelectorMismatch);
        }
        self.check_quoted(message, fits)
    }

    /// What a message says that came by this SA about a packet of ours to its peer: that the peer has no SA
    /// with that SPI (RFC 2521 §2.1). Whether we have one, the outbound half knows.
    pub(crate) fn bad_spi(&self, message: &IpPacket<'_>) -> Option<Event> {
        let failures = (IpProtocol::ICMP, Icmp::SECURITY_FAILURE);
        if message.icmp().map(|icmp| (message.protocol(), icmp.kind)) != Some(failures) {
            return None;
        }
        let error = IcmpError::read(message).ok()?;
        let about = error.about().ok()?;
        let is_one = error.security_failure() == Some(SecurityFailure::BAD_SPI);
        // Who is authentic speaks for itself, and not for other peers.
        let is_its_own = about.dst() == self.remote.ip();
        let quoted = QuotedSpi::read(&about).filter(|_| is_one && is_its_own)?;
        Some(Event::BadSpi { us: about.src(), peer: about.dst(), quoted })
    }

    /// Whether the packet that an error quotes is one that we may have sent by this SA.
    ///
    /// An error that the selectors contain themselves may be about another SA of the same peer, since
    /// an SA for ICMP alone is one way to carry them; so there the addresses have to do.
    fn check_quoted(&self, message: &IpPacket<'_>, fits: bool) -> Result<(), DropReason> {
        // Broken, or in fragments: no host could do anything with it either.
        let error = IcmpError::read(message).map_err(|_| DropReason::IcmpQuote)?;
        let about = error.about().map_err(|_| DropReason::IcmpQuote)?;
        let flow = about.flow_key();
        let is_ours = if fits {
            self.would_carry_addresses(&flow)
        } else {
            flow.src == message.dst() && self.would_carry(&flow)
        };
        if is_ours { Ok(()) } else { Err(DropReason::IcmpQuote) }
    }
}
