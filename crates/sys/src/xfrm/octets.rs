//! The octets of XFRM messages: `linux/xfrm.h` as a writer and a reader.
//!
//! Numbers are in the host's order but for addresses, ports and SPIs. Messages hold keys, so both
//! directions work in buffers that are erased; a library that keeps keys in plain vectors is
//! no help here, but reads in the tests what is written here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::Mark;
use zeroize::Zeroizing;

/// A request under construction; erased when dropped.
#[derive(Debug)]
pub(super) struct Request {
    octets: Zeroizing<Vec<u8>>,
}

impl Request {
    /// An empty message of this type.
    pub(super) fn new(kind: u16, flags: u16) -> Self {
        // Room for the largest message: a buffer that grew would leave keys behind in the old one.
        let mut octets = Zeroizing::new(Vec::with_capacity(REQUEST_OCTETS_MAX));
        octets.extend_from_slice(&[0; HEADER_OCTETS]);
        let mut request = Self { octets };
        request.patch(4, &kind.to_ne_bytes());
        request.patch(6, &flags.to_ne_bytes());
        request
    }

    /// The finished message with its number.
    pub(super) fn finish(mut self, sequence: u32) -> Zeroizing<Vec<u8>> {
        let length = u32::try_from(self.octets.len()).unwrap_or(u32::MAX);
        self.patch(0, &length.to_ne_bytes());
        self.patch(8, &sequence.to_ne_bytes());
        self.octets
    }

    fn patch(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.octets.get_mut(at..at.saturating_add(octets.len())) {
            place.copy_from_slice(octets);
        }
    }

    pub(super) fn bytes(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        let length = self.octets.len().saturating_add(count);
        self.octets.resize(length, 0);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_ne_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }

    /// In network order.
    pub(super) fn be16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// In network order.
    pub(super) fn be32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// `xfrm_address_t`.
    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.bytes(&address.octets());
                self.zeros(12);
            }
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// A name of `XFRM_ALGO_NAME_OCTETS`, padded with zeros.
    pub(super) fn name(&mut self, name: &str) {
        self.bytes(name.as_bytes());
        self.zeros(NAME_OCTETS.saturating_sub(name.len()));
    }

    /// One attribute, whose value `write` appends; padded to four octets.
    pub(super) fn attribute(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.u16(0);
        self.u16(kind);
        write(self);
        let length = self.octets.len().saturating_sub(start);
        self.patch(start, &u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.zeros(length.next_multiple_of(4).saturating_sub(length));
    }

    /// `struct xfrm_mark`, if there is one.
    pub(super) fn mark(&mut self, mark: Option<Mark>) {
        if let Some(mark) = mark {
            self.attribute(XFRMA_MARK, |r| {
                r.u32(mark.value);
                r.u32(mark.mask);
            });
        }
    }

    /// An attribute of one number, if there is one.
    pub(super) fn number(&mut self, kind: u16, value: Option<u32>) {
        if let Some(value) = value {
            self.attribute(kind, |r| r.u32(value));
        }
    }
}

/// The number of a family (`AF_INET`, `AF_INET6`).
pub(super) fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// What the kernel sent, from one place on; reading past the end gives `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl<'a> View<'a> {
    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_ne_bytes)
    }

    /// In network order.
    pub(super) fn be16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    /// In network order.
    pub(super) fn be32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// `xfrm_address_t` of a family.
    pub(super) fn address(self, at: usize, family: u16) -> Option<IpAddr> {
        match family {
            AF_INET => self.array::<4>(at).map(|octets| Ipv4Addr::from(octets).into()),
            AF_INET6 => self.array::<16>(at).map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// The attributes from `at` on.
    pub(super) fn attributes(self, at: usize) -> Attributes<'a> {
        Attributes(self.0.get(at..).unwrap_or_default())
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }
}

/// Walks attributes; ends at the first malformed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of this type.
    pub(super) fn find_kind(mut self, kind: u16) -> Option<View<'a>> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, View<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let view = View(self.0);
        let length = usize::from(view.u16(0)?);
        let kind = view.u16(2)? & ATTRIBUTE_KIND;
        let value = self.0.get(ATTRIBUTE_HEADER_OCTETS..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, View(value)))
    }
}

/// `struct nlmsghdr`.
pub(super) const HEADER_OCTETS: usize = 16;
/// `struct nlattr`.
const ATTRIBUTE_HEADER_OCTETS: usize = 4;
/// Without the flags for nesting and byte order.
const ATTRIBUTE_KIND: u16 = 0x3fff;
/// Longer than any request: the longest part is a replay bitmap of 8 KiB.
const REQUEST_OCTETS_MAX: usize = 16 * 1024;
/// Room for an algorithm's name.
const NAME_OCTETS: usize = 64;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
/// ESP (RFC 4303).
pub(super) const IPPROTO_ESP: u8 = 50;
/// AH (RFC 4302).
pub(super) const IPPROTO_AH: u8 = 51;

// Types of messages.
pub(super) const NEWSA: u16 = 0x10;
pub(super) const DELSA: u16 = 0x11;
pub(super) const GETSA: u16 = 0x12;
pub(super) const NEWPOLICY: u16 = 0x13;
pub(super) const DELPOLICY: u16 = 0x14;
pub(super) const GETPOLICY: u16 = 0x15;
pub(super) const ACQUIRE: u16 = 0x17;
pub(super) const EXPIRE: u16 = 0x18;
pub(super) const UPDPOLICY: u16 = 0x19;
pub(super) const MIGRATE: u16 = 0x21;
pub(super) const MAPPING: u16 = 0x26;

// Types of attributes.
pub(super) const XFRMA_ALG_CRYPT: u16 = 2;
pub(super) const XFRMA_ENCAP: u16 = 4;
pub(super) const XFRMA_TMPL: u16 = 5;
pub(super) const XFRMA_SRCADDR: u16 = 13;
pub(super) const XFRMA_MIGRATE: u16 = 17;
pub(super) const XFRMA_ALG_AEAD: u16 = 18;
pub(super) const XFRMA_ALG_AUTH_TRUNC: u16 = 20;
pub(super) const XFRMA_MARK: u16 = 21;
pub(super) const XFRMA_REPLAY_VAL: u16 = 10;
pub(super) const XFRMA_REPLAY_ESN_VAL: u16 = 23;
pub(super) const XFRMA_SA_EXTRA_FLAGS: u16 = 24;
pub(super) const XFRMA_OFFLOAD_DEV: u16 = 28;
pub(super) const XFRMA_SET_MARK: u16 = 29;
pub(super) const XFRMA_SET_MARK_MASK: u16 = 30;
pub(super) const XFRMA_IF_ID: u16 = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_attributes_end_the_walk() {
        let zero_length = View(&[0, 0, 1, 0, 9, 9, 9, 9]);
        assert_eq!(zero_length.attributes(0).count(), 0);
        let too_long = View(&[9, 0, 1, 0, 1]);
        assert_eq!(too_long.attributes(0).count(), 0);
        assert_eq!(View(&[1, 2]).attributes(7).count(), 0);
        let two = View(&[5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 2, 0]);
        assert_eq!(two.attributes(0).count(), 2);
        assert_eq!(two.attributes(0).find_kind(1).and_then(|value| value.u8(0)), Some(7));
    }
}
