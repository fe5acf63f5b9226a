//! What protecting a packet does to its length, both ways: from the inner packet to the packet on the
//! link, and from what the link takes to the longest inner packet (RFC 4301 §8.2.1).
//!
//! ```text
//! | outer IP | UDP | SPI, sequence | IV | text … trailer, filled to blocks | ICV |      ESP
//! | outer IP | AH, ICV field | text |                                               AH
//! ```
//!
//! The text is the inner packet in tunnel mode. In the other modes some octets at its front are not
//! protected: in transport mode they are the outer headers, in BEET mode they do not travel.
//!
//! What makes packets shorter does not count: IPComp sends what it cannot compress as it is
//! (RFC 3173 §2.2), so the worst case is none. What makes them longer is cut to the limit: padding
//! of traffic flow confidentiality. Payloads that packets share take packets of any length.

use adit_crypto::{Protection, Shape};
use adit_db::{ChildSa, Encapsulation, Mode};
use adit_wire::ah::AhHeader;
use adit_wire::esp::EspHeader;
use adit_wire::ip::{Ipv4Header, Ipv6Header};

use crate::beet::pseudo_len;

/// How one SA changes the length of packets with the same headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    /// Octets around the text that are always there.
    fixed: usize,
    /// Octets of the inner packet that are not of the text.
    cut: usize,
    /// The text with the trailer is a multiple of this.
    block: usize,
    /// Octets of the trailer, which shares the last block with the text.
    trailer: usize,
}

impl Frame {
    /// What an SA does to inner packets, `front_len` octets of which are headers as transport mode
    /// sees them; without it those of packets without options.
    pub(crate) fn new(
        security: Security,
        mode: Mode,
        encap: &Encapsulation,
        inner_v6: bool,
        front_len: Option<usize>,
    ) -> Self {
        let outer_v6 = encap.remote.is_ipv6();
        let inner_v6 = if mode == Mode::Transport { outer_v6 } else { inner_v6 };
        let (base, outer) = (header_len(inner_v6), header_len(outer_v6));
        let (around, cut) = match mode {
            Mode::Tunnel => (outer, 0),
            Mode::Transport => {
                let front = front_len.unwrap_or(base);
                (front, front)
            }
            Mode::Beet => (outer, beet_cut(base, inner_v6, front_len)),
        };
        match security {
            Security::Esp(shape) => {
                let udp = if encap.udp { UDP_LEN } else { 0 };
                let esp = [EspHeader::LEN, shape.iv_len(), shape.icv_len()];
                let fixed = esp.into_iter().fold(around.saturating_add(udp), usize::saturating_add);
                Self { fixed, cut, block: shape.block_len(), trailer: TRAILER_LEN }
            }
            Security::Ah { tag_len } => {
                let icv = AhHeader::icv_field_len(tag_len, outer_v6);
                let fixed = around.saturating_add(AhHeader::LEN).saturating_add(icv);
                Self { fixed, cut, block: 1, trailer: 0 }
            }
        }
    }

    /// That of a child SA, for packets without options.
    pub(crate) fn of(sa: &ChildSa) -> Self {
        let security = match sa.protection {
            Protection::Esp(cipher) => Security::Esp(Shape::of(cipher)),
            Protection::Ah(algorithm) => Security::Ah { tag_len: algorithm.tag_len() },
        };
        let inner_v6 = sa.remote_ts.first().is_some_and(|selector| !selector.is_ipv4());
        Self::new(security, sa.mode, &sa.encap, inner_v6, None)
    }

    /// Octets of the longest inner packet that fits so many on the link; 0 if none does.
    pub(crate) fn inner_max(&self, outer_len: usize) -> usize {
        let room = outer_len.saturating_sub(self.fixed);
        let text = room.saturating_sub(room.checked_rem(self.block).unwrap_or(0));
        match text.checked_sub(self.trailer) {
            Some(text) => text.saturating_add(self.cut),
            None => 0,
        }
    }
}

/// What of the protection has a length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Security {
    Esp(Shape),
    Ah { tag_len: usize },
}

/// Octets of a packet's front that BEET mode leaves out; what a pseudo header of IPv4 options adds is
/// less of it. Extension headers of IPv6 travel with the payload.
fn beet_cut(base: usize, is_v6: bool, front_len: Option<usize>) -> usize {
    let options = front_len.map_or(0, |front| front.saturating_sub(base));
    match (is_v6, options) {
        (true, _) | (_, 0) => base,
        (false, options) => base.saturating_sub(pseudo_len(options)),
    }
}

/// Octets of an IP header without options.
pub(crate) const fn header_len(is_v6: bool) -> usize {
    if is_v6 { Ipv6Header::LEN } else { Ipv4Header::LEN }
}

const UDP_LEN: usize = 8;

/// Pad length and next header (RFC 4303 §2.5, §2.6).
const TRAILER_LEN: usize = 2;

#[cfg(test)]
mod tests;
