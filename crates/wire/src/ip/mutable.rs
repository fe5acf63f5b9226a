//! Headers in front of AH as its ICV covers them: RFC 4302 §3.3.3.1 and Appendix A.
//!
//! | field | RFC 4302 | here |
//! |---|---|---|
//! | IPv4 DSCP, ECN, flags, offset, TTL, checksum | mutable | zeros |
//! | IPv4 destination with LSRR or SSRR | predictable | the last of the route |
//! | IPv4 options 0, 1, 130, 133, 134, 148, 149 | immutable | as they are |
//! | other IPv4 options, unknown ones too | mutable | zeros, type and length included |
//! | IPv6 DSCP, ECN, flow label, hop limit | mutable | zeros |
//! | IPv6 destination, routing header type 0 (and 2) | predictable | as the last destination has them |
//! | hop-by-hop and destination options | by their third-highest bit | data of mutable ones: zeros |
//! | fragment header | not applicable | refused: the packet was whole when it was authenticated |

use super::v4::Ipv4Header;
use super::v6::{EXTENSIONS_MAX, Ipv6Header};
use crate::WireError;
use crate::iana::IpProtocol;

/// Hands the headers in front of AH to `sink`, piece by piece, as the ICV covers them; returns
/// where among them the octet is that names AH.
///
/// `front` is exactly the IP header with its options or extension headers, the last of which names
/// `next`: AH, but where a sender asks beforehand whether a packet can be covered. The sender's and
/// the receiver's headers give the same octets, whatever the way has done to the packet. Nothing is
/// allocated.
///
/// # Errors
///
/// - [`WireError::Truncated`]: a header or option reaches behind `front`.
/// - [`WireError::BadValue`]: what is no header in front of AH, or a route that cannot be followed.
/// - [`WireError::TooMany`]: more extension headers than [`EXTENSIONS_MAX`], or two routes.
///
/// Some pieces may have been handed out by then.
pub fn covered_headers(
    front: &[u8],
    next: IpProtocol,
    sink: &mut impl FnMut(&[u8]),
) -> Result<usize, WireError> {
    match front.first().map(|first| first >> 4) {
        Some(4) => v4(front, next, sink),
        Some(6) => v6(front, next, sink),
        _ => Err(WireError::BadValue("IP.version", front.first().copied().unwrap_or(0).into())),
    }
}

/// All of an IPv4 header fits into a small array, so it is changed there.
fn v4(front: &[u8], next: IpProtocol, sink: &mut impl FnMut(&[u8])) -> Result<usize, WireError> {
    let mut copy = [0; V4_LEN_MAX];
    let header = copy.get_mut(..front.len()).ok_or(WireError::Truncated("IPv4 header"))?;
    header.copy_from_slice(front);
    let (fixed, options) =
        header.split_first_chunk_mut::<20>().ok_or(WireError::Truncated("IPv4 header"))?;
    let [version, tos, _, _, _, _, flags, offset, ttl, protocol, rest @ ..] = fixed;
    let [c0, c1, _, _, _, _, d0, d1, d2, d3] = rest;
    if usize::from(*version & 0x0f).saturating_mul(4) != front.len() {
        return Err(WireError::BadValue("IPv4.ihl", (*version).into()));
    }
    if *protocol != next.0 {
        return Err(WireError::BadValue("IPv4.protocol", (*protocol).into()));
    }
    (*tos, *flags, *offset, *ttl, *c0, *c1) = (0, 0, 0, 0, 0, 0);
    if let Some(last) = mute_v4_options(options)? {
        [*d0, *d1, *d2, *d3] = last;
    }
    sink(header);
    Ok(V4_PROTOCOL_AT)
}

/// Zeroes mutable options; returns the last hop of a source route that is not at its end.
fn mute_v4_options(mut options: &mut [u8]) -> Result<Option<[u8; 4]>, WireError> {
    let mut last = None;
    while let Some(&kind) = options.first() {
        let len = match kind {
            // What follows the end is padding, which nobody changes.
            V4_END => break,
            V4_NOP => 1,
            _ => options.get(1).copied().map_or(0, usize::from),
        };
        if kind != V4_NOP && len < 2 {
            return Err(WireError::BadValue("IPv4 option length", kind.into()));
        }
        let (option, rest) =
            options.split_at_mut_checked(len).ok_or(WireError::Truncated("IPv4 option"))?;
        if matches!(kind, V4_LOOSE_ROUTE | V4_STRICT_ROUTE) {
            if last.is_some() {
                return Err(WireError::TooMany("IPv4 source routes"));
            }
            last = Some(last_hop(option)?);
        }
        if !V4_IMMUTABLE.contains(&kind) {
            option.fill(0);
        }
        options = rest;
    }
    Ok(last.flatten())
}

/// RFC 791 §3.1: type, length, pointer, addresses. The last of them, unless it has been reached.
fn last_hop(option: &[u8]) -> Result<Option<[u8; 4]>, WireError> {
    let bad = WireError::BadValue("IPv4 source route length", option.len().try_into().unwrap_or(0));
    let [_, _, pointer, route @ ..] = option else { return Err(bad) };
    if !route.len().is_multiple_of(4) {
        return Err(bad);
    }
    let ahead = usize::from(*pointer) <= option.len();
    Ok(route.last_chunk().copied().filter(|_| ahead))
}

fn v6(front: &[u8], after: IpProtocol, sink: &mut impl FnMut(&[u8])) -> Result<usize, WireError> {
    let (fixed, rest) =
        front.split_first_chunk::<40>().ok_or(WireError::Truncated("IPv6 header"))?;
    let mut header = *fixed;
    let [v, class, f0, f1, _, _, next, hop_limit, ..] = &mut header;
    let extensions = Extensions::new(IpProtocol(*next), rest, after);
    (*v, *class, *f0, *f1, *hop_limit) = (0x60, 0, 0, 0, 0);
    let route = find_route(extensions.clone(), fixed)?;
    if let (Some(route), Some(place)) = (&route, header.last_chunk_mut::<16>()) {
        *place = route.last()?;
    }
    sink(&header);
    let (mut len, mut next_at) = (fixed.len(), V6_NEXT_AT);
    for extension in extensions {
        let (kind, octets) = extension?;
        next_at = len;
        len = len.saturating_add(octets.len());
        match kind {
            IpProtocol::ROUTING => match &route {
                Some(route) if !is_travelled(octets) => route.hand_out(sink)?,
                _ => sink(octets),
            },
            _ => options(octets, sink)?,
        }
    }
    Ok(next_at)
}

/// A routing header with hops ahead, and where the packet is going now.
struct Route<'a> {
    /// The eight octets in front of the addresses.
    head: [u8; 8],
    addresses: &'a [[u8; 16]],
    /// How many of them have been visited.
    visited: usize,
    destination: [u8; 16],
}

impl Route<'_> {
    /// The last destination.
    fn last(&self) -> Result<[u8; 16], WireError> {
        self.addresses.last().copied().ok_or(WireError::BadValue("Routing.segments_left", 0))
    }

    /// RFC 4302 Appendix A2: the header as the last destination receives it. At each hop the
    /// destination and the next address change places (RFC 2460 §4.4).
    fn hand_out(&self, sink: &mut impl FnMut(&[u8])) -> Result<(), WireError> {
        let mut head = self.head;
        let [_, _, _, segments_left, ..] = &mut head;
        *segments_left = 0;
        let bad =
            WireError::BadValue("Routing.segments_left", self.visited.try_into().unwrap_or(0));
        let (visited, ahead) = self.addresses.split_at_checked(self.visited).ok_or(bad)?;
        let (_, ahead) = ahead.split_last().ok_or(bad)?;
        sink(&head);
        sink(visited.as_flattened());
        sink(&self.destination);
        sink(ahead.as_flattened());
        Ok(())
    }
}

/// Whether no hop of this routing header lies ahead.
fn is_travelled(routing: &[u8]) -> bool {
    routing.get(3).is_none_or(|segments_left| *segments_left == 0)
}

/// The one routing header that has hops ahead. Types 0 and 2 have the same form (RFC 6275 §6.4);
/// what other types do to a packet is not predictable here.
fn find_route<'a>(
    extensions: Extensions<'a>,
    fixed: &[u8; 40],
) -> Result<Option<Route<'a>>, WireError> {
    let mut route = None;
    for extension in extensions {
        let (kind, octets) = extension?;
        if kind != IpProtocol::ROUTING || is_travelled(octets) {
            continue;
        }
        if route.is_some() {
            return Err(WireError::TooMany("IPv6 routing headers"));
        }
        let (head, addresses) =
            octets.split_first_chunk::<8>().ok_or(WireError::Truncated("Routing header"))?;
        let [_, _, kind, segments_left, ..] = *head;
        if !matches!(kind, 0 | 2) {
            return Err(WireError::BadValue("Routing.type", kind.into()));
        }
        let (addresses, rest) = addresses.as_chunks::<16>();
        let visited = addresses.len().checked_sub(segments_left.into());
        let visited = visited
            .filter(|_| rest.is_empty())
            .ok_or_else(|| WireError::BadValue("Routing.segments_left", segments_left.into()))?;
        let destination = fixed.last_chunk().copied().unwrap_or_default();
        route = Some(Route { head: *head, addresses, visited, destination });
    }
    Ok(route)
}

/// Hop-by-hop or destination options (RFC 8200 §4.2).
///
//= https://www.rfc-editor.org/rfc/rfc4302#section-3.3.3.1.2.2
//# For any option for which contents
//# may change en-route, the entire "Option Data" field must be treated
//# as zero-valued octets when computing or verifying the ICV.
fn options(header: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), WireError> {
    const TRUNCATED: WireError = WireError::Truncated("IPv6 option");
    let mut at = 2;
    // From here on nothing has been handed out.
    let mut from: usize = 0;
    while let Some(&kind) = header.get(at) {
        if kind == V6_PAD1 {
            at = at.saturating_add(1);
            continue;
        }
        let len = usize::from(*header.get(at.saturating_add(1)).ok_or(TRUNCATED)?);
        let data = at.saturating_add(2);
        at = data.saturating_add(len);
        if at > header.len() {
            return Err(TRUNCATED);
        }
        if kind & V6_MUTABLE != 0 {
            sink(header.get(from..data).unwrap_or_default());
            sink(ZEROS.get(..len).unwrap_or_default());
            from = at;
        }
    }
    sink(header.get(from..).unwrap_or_default());
    Ok(())
}

/// Walks the extension headers up to what follows them; the last item is an error if that does not
/// come.
#[derive(Clone)]
struct Extensions<'a> {
    after: IpProtocol,
    next: IpProtocol,
    rest: &'a [u8],
    walked: usize,
    done: bool,
}

impl<'a> Extensions<'a> {
    fn new(next: IpProtocol, rest: &'a [u8], after: IpProtocol) -> Self {
        Self { after, next, rest, walked: 0, done: false }
    }

    fn step(&mut self) -> Result<Option<(IpProtocol, &'a [u8])>, WireError> {
        let kind = self.next;
        if kind == self.after && self.rest.is_empty() {
            return Ok(None);
        }
        if !matches!(kind, IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION) {
            return Err(WireError::BadValue("IPv6 next header", kind.0.into()));
        }
        if self.walked == EXTENSIONS_MAX {
            return Err(WireError::TooMany("IPv6 extension headers"));
        }
        const TRUNCATED: WireError = WireError::Truncated("IPv6 extension header");
        let [next, units, ..] = *self.rest else { return Err(TRUNCATED) };
        let len = usize::from(units).saturating_mul(8).saturating_add(8);
        let (octets, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        (self.next, self.rest) = (IpProtocol(next), rest);
        self.walked = self.walked.saturating_add(1);
        Ok(Some((kind, octets)))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<(IpProtocol, &'a [u8]), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// Where the base headers name what follows.
const V4_PROTOCOL_AT: usize = 9;
const V6_NEXT_AT: usize = 6;

/// Longest IPv4 header.
const V4_LEN_MAX: usize = 60;
const V4_END: u8 = 0;
const V4_NOP: u8 = 1;
const V4_LOOSE_ROUTE: u8 = 131;
const V4_STRICT_ROUTE: u8 = 137;

/// RFC 4302 Appendix A1: end, no operation, security, extended security, commercial security,
/// router alert, sender directed multi-destination delivery.
const V4_IMMUTABLE: [u8; 7] = [V4_END, V4_NOP, 130, 133, 134, 148, 149];

const V6_PAD1: u8 = 0;
/// RFC 8200 §4.2: the data may change on the way.
const V6_MUTABLE: u8 = 0x20;
/// As many as an option's data may have.
const ZEROS: [u8; 255] = [0; 255];

// The lengths above are those of the headers as they are written.
const _: () = assert!(Ipv4Header::LEN == 20 && Ipv6Header::LEN == 40);

#[cfg(test)]
mod tests;
