//! DSCP and ECN across the tunnel, RFC 4301 §5.1.2 and RFC 6040.

use adit_dataplane::{DropReason, OpenVerdict};
use adit_db::EcnPolicy;
use adit_wire::ip::{Ecn, IpPacket};

use crate::fixtures::{Options, udp_packet};

const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];
const DSCP: u8 = 46 << 2;

/// CHECKLIST PM-40, R09, S17: the outer class is the inner one, or without ECN in compatibility mode.
#[test]
fn the_outer_class_comes_from_the_inner() {
    for ipv6 in [false, true] {
        for ecn in ALL {
            let inner = udp_packet(ipv6, DSCP | ecn.bits(), 60);
            let outer = |policy| {
                let mut tunnel = Options { ecn: policy, ..Options::default() }.tunnel();
                tunnel.sealed(&inner).meta.tos
            };
            assert_eq!(outer(EcnPolicy::Normal), DSCP | ecn.bits());
            assert_eq!(outer(EcnPolicy::Compatibility), DSCP);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6040#section-4.2
//= type=test
//# If the inner ECN field is Not-ECT, the decapsulator MUST NOT propagate any other ECN codepoint
//# onwards.
/// CHECKLIST PM-40, S17: all sixteen combinations on the way out, with a right checksum, and the TTL
/// as it was.
#[test]
fn marks_on_the_path_reach_the_inner_packet() {
    for ipv6 in [false, true] {
        for (inner, outer) in ALL.iter().flat_map(|inner| ALL.map(|outer| (*inner, outer))) {
            let mut tunnel = Options::default().tunnel();
            let mut packet = tunnel.sealed(&udp_packet(ipv6, DSCP | inner.bits(), 60));
            // The path may also have changed the DSCP, which stays outside (RFC 4301 §5.1.2).
            packet.meta.tos = outer.bits();
            let verdict = tunnel.open(&mut packet);
            let Some(expected) = inner.decapsulate(outer) else {
                assert_eq!(verdict, OpenVerdict::Drop(DropReason::EcnNotCapable));
                continue;
            };
            assert_eq!(verdict, OpenVerdict::Deliver, "{inner:?} in {outer:?}");
            let view = IpPacket::read(packet.data()).unwrap();
            assert_eq!(view.traffic_class(), DSCP | expected.bits(), "{inner:?} in {outer:?}");
            assert!(view.has_good_checksum());
            assert_eq!(view.ttl(), 63);
            let suspicious = matches!(
                (inner, outer),
                (Ecn::NotEct, Ecn::Ect0 | Ecn::Ect1) | (Ecn::Ce, Ecn::Ect1)
            );
            let counted = tunnel.right.report().sas[0].ecn_suspicious;
            assert_eq!(counted, u64::from(suspicious), "{inner:?} in {outer:?}");
        }
    }
}
