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

use adit_db::Mode;
use adit_wire::ah::AhHeader;
use adit_wire::esp::EspHeader;
use adit_wire::ip::{Ipv4Header, Ipv6Header};

use crate::beet::pseudo_len;
use crate::sa::{OutboundSa, SealingKey};

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
    /// Octets on the link of an inner packet of this length.
    pub(crate) fn outer_len(&self, inner_len: usize) -> usize {
        let text = inner_len.saturating_sub(self.cut).saturating_add(self.trailer);
        self.fixed.saturating_add(text.next_multiple_of(self.block.max(1)))
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

impl OutboundSa {
    /// What it does to inner packets, `front_len` octets of which are headers as transport mode sees
    /// them; those of packets without options if nothing is said.
    pub(crate) fn frame(&self, front_len: Option<usize>) -> Frame {
        let inner_v6 = match self.mode {
            Mode::Transport => self.encap.remote.is_ipv6(),
            Mode::Tunnel | Mode::Beet => self.carries_v6(),
        };
        let base = header_len(inner_v6);
        let outer = header_len(self.encap.remote.is_ipv6());
        let udp = if self.encap.udp { UDP_LEN } else { 0 };
        let (around, cut) = match self.mode {
            Mode::Tunnel => (outer, 0),
            Mode::Transport => {
                let front = front_len.unwrap_or(base);
                (front, front)
            }
            Mode::Beet => (outer, beet_cut(base, inner_v6, front_len)),
        };
        match &self.key {
            SealingKey::Esp(key) => {
                let shape = key.shape();
                let esp = EspHeader::LEN.saturating_add(shape.iv_len());
                let esp = esp.saturating_add(shape.icv_len());
                let fixed = around.saturating_add(udp).saturating_add(esp);
                Frame { fixed, cut, block: shape.block_len(), trailer: TRAILER_LEN }
            }
            SealingKey::Ah(key) => {
                let tag_len = key.algorithm().tag_len();
                let is_v6 = self.encap.remote.is_ipv6();
                let icv = AhHeader::icv_field_len(tag_len, is_v6);
                let fixed = around.saturating_add(AhHeader::LEN).saturating_add(icv);
                Frame { fixed, cut, block: 1, trailer: 0 }
            }
        }
    }
}

/// Octets of an IPv4 packet's front that BEET mode leaves out; what a pseudo header of the options
/// adds is less of it. Extension headers of IPv6 travel with the payload.
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
