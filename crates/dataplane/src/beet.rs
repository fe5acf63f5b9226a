//! BEET mode of ESP (RFC 4303), a bound end-to-end tunnel (draft-nikander-esp-beet-mode-09): one host
//! on each side, whose addresses both ends know. They do not travel: inside is what transport mode
//! carries, and outside are the addresses of the tunnel.
//!
//! IPv4 options travel behind a pseudo header of their own:
//!
//! ```text
//! next header (1) | length / 8 - 1 (1) | pad length (1) | 0 (1) | padding (0 or 4) | options
//! ```

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{FrontHeaders, Ipv4Header, Ipv6Header};

use crate::drop_reason::DropReason;

/// What does not travel of an inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cut {
    /// Octets at its front.
    pub(crate) len: usize,
    /// What follows them.
    pub(crate) next: IpProtocol,
    /// Where the last of them are made a pseudo header: length of the options behind it.
    options: Option<(usize, IpProtocol)>,
}

impl Cut {
    /// Of IPv6 the base header; extension headers stay with the payload. Of IPv4 the header, its
    /// options behind a pseudo header.
    pub(crate) fn of(front: &FrontHeaders, packet: &[u8], is_ipv4: bool) -> Self {
        let base = if is_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        let next = packet.get(if is_ipv4 { V4_PROTOCOL } else { V6_NEXT }).copied();
        let next = IpProtocol(next.unwrap_or(IpProtocol::NO_NEXT.0));
        if !is_ipv4 || front.len <= base {
            return Self { len: base, next, options: None };
        }
        let options = front.len.saturating_sub(base);
        let len = base.saturating_sub(pseudo_len(options));
        Self { len, next: IpProtocol::BEET, options: Some((options, next)) }
    }

    /// Whether the receiver would take the packet's own protocol for something between the SA's ends:
    /// a dummy, a pseudo header, compression.
    pub(crate) fn is_ambiguous(self) -> bool {
        let next = self.options.map_or(self.next, |(_, next)| next);
        [IpProtocol::NO_NEXT, IpProtocol::BEET, IpProtocol::IPCOMP].contains(&next)
    }

    /// Writes the pseudo header at the front of a packet that was cut.
    pub(crate) fn write(self, packet: &mut PacketBuf) -> Option<()> {
        let Some((options, next)) = self.options else { return Some(()) };
        let len = pseudo_len(options);
        let units = u8::try_from(options.checked_add(len)? / 8).ok()?.checked_sub(1)?;
        let pad_len = u8::try_from(len.checked_sub(PSEUDO_LEN)?).ok()?;
        let (pseudo, padding) = packet.data_mut().get_mut(..len)?.split_first_chunk_mut()?;
        *pseudo = [next.0, units, pad_len, 0];
        padding.fill(NO_OPERATION);
        Some(())
    }
}

/// Takes the pseudo header off: what follows, and how long the options are that begin the packet now.
///
/// # Errors
///
/// [`DropReason::BadInner`] if it is none, or IPv4 has no room for such options.
pub(crate) fn read_pseudo_header(
    packet: &mut PacketBuf,
) -> Result<(IpProtocol, usize), DropReason> {
    let Some((&[next, units, pad_len, _], _)) = packet.data().split_first_chunk() else {
        return Err(DropReason::BadInner);
    };
    let front = PSEUDO_LEN.saturating_add(pad_len.into());
    let total = usize::from(units).saturating_mul(8).saturating_add(8);
    let options = total.checked_sub(front).ok_or(DropReason::BadInner)?;
    let fits = options.is_multiple_of(4) && options <= OPTIONS_MAX && packet.len() >= total;
    if !fits || IpProtocol(next) == IpProtocol::BEET || !packet.pull_front(front) {
        return Err(DropReason::BadInner);
    }
    Ok((IpProtocol(next), options))
}

/// With its padding: pseudo header and options fill units of eight octets.
pub(crate) fn pseudo_len(options: usize) -> usize {
    PSEUDO_LEN.saturating_add(if options.is_multiple_of(8) { 4 } else { 0 })
}

const PSEUDO_LEN: usize = 4;
/// RFC 791: a header has at most 15 words, five of which are fixed.
const OPTIONS_MAX: usize = 40;
/// RFC 791: an option that means nothing.
const NO_OPERATION: u8 = 1;
/// Where the header names what follows it.
const V4_PROTOCOL: usize = 9;
const V6_NEXT: usize = 6;
