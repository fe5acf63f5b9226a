//! Traffic Selector payloads, RFC 7296 §3.13.

use alloc::vec::Vec;

use super::selector::TrafficSelector;
use crate::{Reader, WireError, Writer};

/// Traffic selectors taken from one payload.
pub const SELECTORS_MAX: u8 = 128;

/// Traffic Selector payload body (TSi and TSr alike), RFC 7296 §3.13.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Number of TSs |                 RESERVED                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       <Traffic Selectors>                     ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ts {
    /// Selectors of address ranges, in the order of the message.
    pub selectors: Vec<TrafficSelector>,
    /// How many more there were, of types nobody here knows; `write` leaves them out.
    pub unknown: u8,
}

impl Ts {
    /// A payload of these selectors.
    #[must_use]
    pub const fn new(selectors: Vec<TrafficSelector>) -> Self {
        Self { selectors, unknown: 0 }
    }

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`], [`WireError::Trailing`]: count or length is wrong.
    /// - [`WireError::TooMany`]: more than [`SELECTORS_MAX`].
    /// - [`WireError::BadValue`]: no selector at all; a range that ends before it starts; a length
    ///   the type does not have.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = r.u8()?;
        let _reserved: [u8; 3] = r.array()?;
        if count == 0 {
            return Err(WireError::BadValue("TS.count", 0));
        }
        if count > SELECTORS_MAX {
            return Err(WireError::TooMany("traffic selectors"));
        }
        let mut ts = Self::default();
        for _ in 0..count {
            match TrafficSelector::read(r)? {
                Some(selector) => ts.selectors.push(selector),
                None => ts.unknown = ts.unknown.saturating_add(1),
            }
        }
        r.finish("TS")?;
        Ok(ts)
    }

    /// Appends the body; the inverse of [`Ts::read`] but for selectors of unknown types. At most
    /// 255 selectors can be counted, so later ones are left out.
    pub fn write(&self, w: &mut Writer<'_>) {
        let count = u8::try_from(self.selectors.len()).unwrap_or(u8::MAX);
        w.u8(count);
        w.bytes(&[0; 3]);
        for selector in self.selectors.iter().take(count.into()) {
            selector.write(w);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::{IpProtocol, PayloadType},
        ikev2::{
            Payload, PortRange,
            selector::any_selector,
            testing::{fixed, no_prefix_reads, read, round_trip},
        },
    };

    /// 10.1.0.0/24[tcp/443].
    const V4: [u8; 16] = [7, 6, 0, 16, 1, 0xbb, 1, 0xbb, 10, 1, 0, 0, 10, 1, 0, 255];

    fn body(count: u8, selectors: &[&[u8]]) -> Vec<u8> {
        [&[count, 0, 0, 0], selectors.concat().as_slice()].concat()
    }

    #[test]
    fn a_known_body_is_read_and_written() {
        let v4 = TrafficSelector::from_prefix([10, 1, 0, 0].into(), 24)
            .unwrap()
            .with_protocol(IpProtocol::TCP, PortRange::single(443));
        let mut v6_octets = vec![8, 0, 0, 40, 0, 0, 0xff, 0xff];
        v6_octets.extend([0; 16]);
        v6_octets.extend([0xff; 16]);
        let octets = body(2, &[&V4, &v6_octets]);

        let ts = Ts::new(vec![v4, TrafficSelector::ANY_V6]);
        assert_eq!(fixed(PayloadType::TS_I, &octets), Payload::TsI(ts.clone()));
        assert_eq!(fixed(PayloadType::TS_R, &octets), Payload::TsR(ts));
        no_prefix_reads(PayloadType::TS_I, &octets);
    }

    /// CHECKLIST D05.
    #[test]
    fn reserved_bits_are_ignored() {
        let mut octets = body(1, &[&V4]);
        octets[1..4].fill(0xff);
        assert_eq!(read(PayloadType::TS_I, &octets), read(PayloadType::TS_I, &body(1, &[&V4])));
    }

    #[test]
    fn selectors_of_unknown_types_are_counted_and_skipped() {
        let label = [10, 0, 0, 7, 1, 2, 3];
        let octets = body(3, &[&label, &V4, &[200, 0, 0, 4]]);
        let Ok(Payload::TsR(ts)) = read(PayloadType::TS_R, &octets) else {
            panic!("not a TSr payload");
        };
        assert_eq!((ts.selectors.len(), ts.unknown), (1, 2));
        no_prefix_reads(PayloadType::TS_R, &octets);
    }

    #[test]
    fn the_count_is_exact_and_bounded() {
        let read = |octets: Vec<u8>| read(PayloadType::TS_I, &octets).map(|_| ());
        assert_eq!(read(body(0, &[])), Err(WireError::BadValue("TS.count", 0)));
        assert_eq!(read(body(2, &[&V4])), Err(WireError::Truncated("TSi")));
        assert_eq!(read(body(1, &[&V4, &V4])), Err(WireError::Trailing("TS")));
        assert_eq!(read(body(128, &[V4.as_slice(); 128])), Ok(()));
        assert_eq!(
            read(body(129, &[V4.as_slice(); 129])),
            Err(WireError::TooMany("traffic selectors"))
        );
    }

    #[test]
    fn a_selector_with_a_wrong_length_or_range_is_refused() {
        let refused = |at: usize, value: u8| {
            let mut selector = V4;
            selector[at] = value;
            read(PayloadType::TS_I, &body(1, &[&selector])).unwrap_err()
        };
        assert_eq!(refused(3, 3), WireError::BadValue("TS.length", 3));
        assert_eq!(refused(3, 15), WireError::BadValue("TS.length", 15));
        assert_eq!(refused(3, 17), WireError::Truncated("TSi"));
        assert_eq!(refused(0, 8), WireError::BadValue("TS.length", 16));
        assert_eq!(refused(7, 0xba), WireError::BadValue("TS.end_port", 0x1ba));
        assert_eq!(refused(12, 9), WireError::BadValue("TS.end_address", 0));
    }

    //= https://www.rfc-editor.org/rfc/rfc7296#section-3.13.1
    //= type=test
    //# Systems that are complying with [IPSECARCH] that wish to indicate
    //# "OPAQUE" ports MUST set the start port to 65535 and the end port to 0.
    #[test]
    fn opaque_ports_are_the_one_range_that_ends_before_it_starts() {
        let mut selector = V4;
        selector[4..8].copy_from_slice(&[0xff, 0xff, 0, 0]);
        let Ok(Payload::TsI(ts)) = read(PayloadType::TS_I, &body(1, &[&selector])) else {
            panic!("not a TSi payload");
        };
        assert_eq!(ts.selectors[0].ports, PortRange::OPAQUE);

        selector[7] = 1;
        assert!(read(PayloadType::TS_I, &body(1, &[&selector])).is_err());
    }

    proptest! {
        #[test]
        fn ts_round_trips(selectors in prop::collection::vec(any_selector(), 1..20)) {
            let body = round_trip(&Payload::TsI(Ts::new(selectors)));
            no_prefix_reads(PayloadType::TS_I, &body);
        }
    }
}
