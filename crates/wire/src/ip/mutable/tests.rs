use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ip::IpPacket;

/// What the ICV covers, in one piece.
fn covered(front: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut octets = Vec::new();
    let sink = &mut |piece: &[u8]| octets.extend_from_slice(piece);
    let next_at = covered_headers(front, IpProtocol::AH, sink)?;
    assert_eq!(front[next_at], IpProtocol::AH.0);
    Ok(octets)
}

/// A front of headers, and of each octet whether it may change: `None` where that depends on what
/// it becomes, as with the type of a mutable IPv4 option.
#[derive(Clone, Debug, Default)]
struct Front {
    octets: Vec<u8>,
    mutable: Vec<Option<bool>>,
}

impl Front {
    fn put(&mut self, octets: &[u8], mutable: Option<bool>) {
        self.octets.extend(octets);
        self.mutable.extend(octets.iter().map(|_| mutable));
    }

    fn kept(&mut self, octets: &[u8]) {
        self.put(octets, Some(false));
    }

    fn changing(&mut self, octets: &[u8]) {
        self.put(octets, Some(true));
    }
}

fn v4_front(options: &[(u8, Vec<u8>)]) -> Front {
    let mut list = Front::default();
    for (kind, data) in options {
        let len = u8::try_from(data.len() + 2).unwrap();
        match kind {
            1 => list.kept(&[1]),
            _ if V4_IMMUTABLE.contains(kind) => {
                list.kept(&[*kind, len]);
                list.kept(data);
            }
            _ => {
                list.put(&[*kind, len], None);
                list.changing(data);
            }
        }
    }
    if list.octets.len() % 4 != 0 {
        list.kept(&[0, 0, 0][..4 - list.octets.len() % 4]);
    }
    let mut front = Front::default();
    let words = u8::try_from(5 + list.octets.len() / 4).unwrap();
    front.kept(&[0x40 | words]);
    front.changing(&[0xb9]);
    front.kept(&[0, 120, 0x12, 0x34]);
    front.changing(&[0x40, 0, 63]);
    front.kept(&[IpProtocol::AH.0]);
    front.changing(&[0xab, 0xcd]);
    front.kept(&[192, 0, 2, 1, 192, 0, 2, 2]);
    front.octets.extend(list.octets);
    front.mutable.extend(list.mutable);
    front
}

/// An extension header of options: number, data.
#[derive(Clone, Debug)]
struct V6Options(Vec<(u8, Vec<u8>)>);

fn v6_front(extensions: &[(IpProtocol, V6Options)]) -> Front {
    let mut front = Front::default();
    let kinds: Vec<u8> = extensions.iter().map(|(kind, _)| kind.0).chain([51]).collect();
    front.put(&[0x6b], None);
    front.changing(&[0x9a, 0xbc, 0xde]);
    front.kept(&[0, 120, kinds[0]]);
    front.changing(&[63]);
    front.kept(&[1; 16]);
    front.kept(&[2; 16]);
    for (next, (_, V6Options(list))) in kinds[1..].iter().zip(extensions) {
        let mut header = Front::default();
        for (kind, data) in list {
            header.kept(&[*kind, u8::try_from(data.len()).unwrap()]);
            header.put(data, Some(kind & 0x20 != 0));
        }
        while (header.octets.len() + 2) % 8 != 0 {
            header.kept(&[0]);
        }
        front.kept(&[*next, u8::try_from((header.octets.len() + 2) / 8 - 1).unwrap()]);
        front.octets.extend(header.octets);
        front.mutable.extend(header.mutable);
    }
    front
}

fn any_v4_front() -> impl Strategy<Value = Front> {
    let kind = prop::sample::select(alloc::vec![
        1_u8, 130, 133, 134, 148, 149, 7, 68, 82, 136, 11, 12, 145, 10, 205, 142, 94, 147, 25, 222
    ]);
    let option = (kind, prop::collection::vec(any::<u8>(), 0..6));
    prop::collection::vec(option, 0..5).prop_map(|options| v4_front(&options))
}

fn any_v6_front() -> impl Strategy<Value = Front> {
    let kind = prop::sample::select(alloc::vec![IpProtocol::HOP_BY_HOP, IpProtocol::DESTINATION]);
    // Pad1 has no length; all others look alike.
    let option = (1_u8.., prop::collection::vec(any::<u8>(), 0..12));
    let options = prop::collection::vec(option, 0..5).prop_map(V6Options);
    prop::collection::vec((kind, options), 0..4).prop_map(|extensions| v6_front(&extensions))
}

fn check_every_bit(front: &Front) {
    let before = covered(&front.octets).unwrap();
    assert_eq!(before.len(), front.octets.len(), "zeros keep the place of what they stand for");
    for (at, mutable) in front.mutable.iter().enumerate() {
        for bit in 0..8 {
            let mut changed = front.octets.clone();
            changed[at] ^= 1 << bit;
            let found = covered(&changed) != Ok(before.clone());
            if let Some(mutable) = mutable {
                assert_eq!(found, !mutable, "octet {at}, bit {bit} of {:02x?}", front.octets);
            }
        }
    }
}

proptest! {
    /// CHECKLIST S07: each immutable octet's change is found, each mutable one's is not.
    #[test]
    fn changes_of_ipv4_headers_are_found(front in any_v4_front()) {
        check_every_bit(&front);
    }

    //= https://www.rfc-editor.org/rfc/rfc4302#section-3.3.3.1.2.2
    //= type=test
    //# For any option for which contents
    //# may change en-route, the entire "Option Data" field must be treated
    //# as zero-valued octets when computing or verifying the ICV.
    /// CHECKLIST S07, S08.
    #[test]
    fn changes_of_ipv6_headers_are_found(front in any_v6_front()) {
        check_every_bit(&front);
    }

    /// Whatever comes, the walk ends, and what is covered has the length of what came.
    #[test]
    fn any_octets_are_walked(
        octets in prop::collection::vec(any::<u8>(), 0..200), v6: bool, next: u8,
    ) {
        let mut octets = octets;
        if let [first, _, _, _, _, _, v6_next, _, _, v4_next, ..] = octets.as_mut_slice() {
            *first = if v6 { 0x60 } else { 0x40 | *first & 0x0f };
            *v4_next = 51;
            *v6_next = [0, 43, 60, 51][usize::from(next % 4)];
        }
        if let Ok(covered) = covered(&octets) {
            prop_assert_eq!(covered.len(), octets.len());
        }
    }

    /// CHECKLIST S08: wherever on its route the packet is, the ICV covers what the last destination
    /// sees.
    #[test]
    fn each_hop_of_a_route_covers_the_same(hops in 1_usize..6, mobile: bool) {
        let hops = if mobile { 1 } else { hops };
        let kind = if mobile { 2 } else { 0 };
        let mut front = routed(kind, hops);
        let before = covered(&front).unwrap();
        for hop in 0..hops {
            // RFC 2460 §4.4.
            front[43] -= 1;
            let at = 48 + hop * 16;
            let (destination, next) = (front[24..40].to_vec(), front[at..at + 16].to_vec());
            front[24..40].copy_from_slice(&next);
            front[at..at + 16].copy_from_slice(&destination);
            prop_assert_eq!(&covered(&front).unwrap(), &before);
        }
        prop_assert_eq!(front[43], 0);
        // Nothing is mutable any more but the base header.
        prop_assert_eq!(&before[40..], &front[40..]);
        prop_assert_eq!(&before[24..40], &front[24..40]);
    }
}

/// A packet at the beginning of a route by so many hops.
fn routed(kind: u8, hops: usize) -> Vec<u8> {
    let mut front = v6_front(&[]).octets;
    front[6] = 43;
    let hops_octet = u8::try_from(hops).unwrap();
    front.extend([51, hops_octet * 2, kind, hops_octet, 0, 0, 0, 0]);
    for hop in 0..hops_octet {
        front.extend([0x10 + hop; 16]);
    }
    front
}

#[test]
fn a_source_route_predicts_the_destination() {
    for kind in [131, 137] {
        let route = [[10, 0, 0, 1], [10, 0, 0, 2]].concat();
        let at_start = v4_front(&[(1, alloc::vec![]), (kind, [&[4][..], &route].concat())]).octets;
        let mut at_end =
            v4_front(&[(1, alloc::vec![]), (kind, [&[12][..], &route].concat())]).octets;
        at_end[16..20].copy_from_slice(&[10, 0, 0, 2]);
        let expected = covered(&at_end).unwrap();
        assert_eq!(covered(&at_start).unwrap(), expected);
        assert_eq!(expected[16..20], [10, 0, 0, 2]);
        assert_eq!(expected[20..], [[1].as_slice(), &[0; 11]].concat());
        let twice = v4_front(&[(kind, alloc::vec![4]), (kind, alloc::vec![4])]).octets;
        assert_eq!(covered(&twice), Err(WireError::TooMany("IPv4 source routes")));
        let crooked = v4_front(&[(kind, alloc::vec![4, 1])]).octets;
        assert_eq!(covered(&crooked), Err(WireError::BadValue("IPv4 source route length", 4)));
    }
}

#[test]
fn what_does_not_lead_to_ah_is_refused() {
    let bad = |octets: &[u8]| assert!(covered(octets).is_err(), "{octets:02x?}");
    let v4 = v4_front(&[(130, alloc::vec![1, 2])]).octets;
    let v6 = v6_front(&[(IpProtocol::HOP_BY_HOP, V6Options(alloc::vec![(5, alloc::vec![0, 0])]))]);
    let v6 = v6.octets;
    for octets in [&v4, &v6] {
        assert!(covered(octets).is_ok());
        (0..octets.len()).for_each(|len| bad(&octets[..len]));
        bad(&[&octets[..], &[0]].concat());
    }
    let changed = |octets: &[u8], at: usize, value: u8| {
        let mut octets = octets.to_vec();
        octets[at] = value;
        octets
    };
    bad(&changed(&v4, 9, 50));
    // Option lengths 0, 1, and beyond the header.
    [0, 1, 5].into_iter().for_each(|len| bad(&changed(&v4, 21, len)));
    bad(&changed(&v6, 40, 50));
    bad(&changed(&v6, 43, 200));
    // RFC 4302 Appendix A2: no fragment has an AH.
    bad(&changed(&v6, 6, 44));
    // A route of another type, of half an address, with more hops than there are.
    let route = routed(0, 2);
    bad(&changed(&route, 42, 4));
    bad(&changed(&route, 43, 3));
    let mut half = routed(0, 2);
    half.truncate(72);
    half[41] = 3;
    bad(&half);
    // Type 4 at its end is read like anything that does not change.
    assert!(covered(&changed(&changed(&route, 42, 4), 43, 0)).is_ok());
    let mut twice = routed(0, 1);
    twice[40] = 43;
    twice.extend([51, 2, 0, 1, 0, 0, 0, 0]);
    twice.extend([7; 16]);
    assert_eq!(covered(&twice), Err(WireError::TooMany("IPv6 routing headers")));
}

#[test]
fn many_extension_headers_are_refused() {
    let empty = || (IpProtocol::DESTINATION, V6Options(Vec::new()));
    let many = |count: usize| v6_front(&alloc::vec![empty(); count][..]).octets;
    assert!(covered(&many(EXTENSIONS_MAX)).is_ok());
    assert_eq!(
        covered(&many(EXTENSIONS_MAX + 1)),
        Err(WireError::TooMany("IPv6 extension headers"))
    );
    // The same limit as the reader of packets has.
    let mut packet = many(EXTENSIONS_MAX);
    packet.extend([0; 12]);
    let len = u16::try_from(packet.len() - 40).unwrap();
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    assert!(IpPacket::read(&packet).is_ok());
}
