//! The formula against what sealing really does.

use std::net::SocketAddr;
use std::time::Instant;

use adit_crypto::{Authentication, Cipher, Secret};
use adit_db::{
    ChildKeys, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, IcmpRules, IkeSaId, IpComp, Lifetime,
    MtuPolicy, PolicyId, Tfc, TsSpec, WindowSize,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use adit_wire::ipcomp::Cpi;
use proptest::prelude::*;

use super::*;
use crate::esp::{HEADROOM_MAX, TAILROOM_MAX};
use crate::event::Events;
use crate::ipcomp::Deflater;
use crate::nesting::put_outer;
use crate::sa::OutboundSa;
use crate::seal::Inner;

/// The outer MTUs of CHECKLIST PM-13.
const MTUS: [usize; 6] = [576, 1_280, 1_400, 1_492, 1_500, 9_000];

/// An SA in every respect that has a length.
#[derive(Clone, Copy, Debug)]
struct Shaped {
    protection: Protection,
    mode: Mode,
    udp: bool,
    outer_v6: bool,
    inner_v6: bool,
    compress: bool,
    padding: u16,
}

impl Shaped {
    fn child_sa(self) -> ChildSa {
        let address = |v6: &str, v4: &str| -> SocketAddr {
            let text = if self.outer_v6 { v6 } else { v4 };
            SocketAddr::new(text.parse().unwrap(), 4500)
        };
        let selector = |v6: &str, v4: &str| {
            let text = if self.inner_v6 { v6 } else { v4 };
            vec![text.parse::<TsSpec>().unwrap().selector().unwrap()]
        };
        let octets = |len: usize| Secret::new((1..=u8::MAX).cycle().take(len).collect());
        let keys = || ChildKeys {
            encryption: octets(self.protection.encryption_key_len()),
            integrity: octets(self.protection.integrity_key_len()),
        };
        let (local, remote) = match self.mode {
            Mode::Tunnel => {
                (selector("fd01::/48", "10.1.0.0/16"), selector("fd02::/48", "10.2.0.0/16"))
            }
            Mode::Beet => (selector("fd01::5", "10.1.0.5"), selector("fd02::7", "10.2.0.7")),
            Mode::Transport => {
                (selector("2001:db8::1", "192.0.2.1"), selector("2001:db8::2", "192.0.2.2"))
            }
        };
        ChildSa {
            id: ChildSaId(1),
            ike: IkeSaId(1),
            connection: "berlin".parse().unwrap(),
            child: "net".parse().unwrap(),
            spi_in: Spi(0x100),
            spi_out: Spi(0x200),
            protection: self.protection,
            mode: self.mode,
            peer_view: None,
            esn: true,
            keys_in: keys(),
            keys_out: keys(),
            local_ts: local,
            remote_ts: remote,
            encap: Encapsulation {
                udp: self.udp,
                tcp: false,
                local: address("2001:db8::1", "192.0.2.1"),
                remote: address("2001:db8::2", "192.0.2.2"),
            },
            lifetime: Lifetime::NONE,
            replay_window: WindowSize::DEFAULT,
            icmp: IcmpRules::DEFAULT,
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Normal,
            df: DfPolicy::Clear,
            mtu: MtuPolicy::default(),
            tfc: Tfc { padding: self.padding, dummies: 0 },
            ipcomp: self.compress.then_some(IpComp { cpi_in: Cpi(0x100), cpi_out: Cpi(0x101) }),
            aggfrag: None,
            path_probe: false,
            notices: false,
            outer: None,
            rekeys: None,
        }
    }

    /// Octets on the link of an inner packet of so many that no compression makes shorter.
    fn sealed_len(self, sa: &mut OutboundSa, inner_len: usize, now: Instant) -> usize {
        let room = inner_len.max(1_500) + TAILROOM_MAX;
        let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, room);
        assert!(packet.fill(&self.packet(inner_len)));
        let inner = Inner::of(&IpPacket::read(packet.data()).unwrap());
        let mut deflater = Deflater::default();
        sa.seal(&mut packet, &inner, now, Some(&mut deflater), &mut Events::new()).unwrap();
        put_outer(&mut packet, 1).unwrap();
        packet.len()
    }

    fn packet(self, len: usize) -> Vec<u8> {
        let (src, dst) = match (self.mode, self.inner_v6) {
            (Mode::Transport, true) => ("2001:db8::1", "2001:db8::2"),
            (Mode::Transport, false) => ("192.0.2.1", "192.0.2.2"),
            (_, true) => ("fd01::5", "fd02::7"),
            (_, false) => ("10.1.0.5", "10.2.0.7"),
        };
        let mut octets = if self.inner_v6 {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len: u16::try_from(len - 40).unwrap(),
                next: IpProtocol::UDP,
                hop_limit: 9,
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
            };
            header.to_octets().to_vec()
        } else {
            let header = Ipv4Header {
                traffic_class: 0,
                total_len: u16::try_from(len).unwrap(),
                identification: 7,
                dont_fragment: true,
                ttl: 9,
                protocol: IpProtocol::UDP,
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
            };
            header.to_octets().to_vec()
        };
        // Nothing that repeats: this does not get shorter.
        let mut noise = 0x9e37_79b9_u32;
        octets.resize_with(len, || {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_be_bytes()[0]
        });
        octets
    }
}

fn every_shape() -> Vec<Shaped> {
    let esp = Cipher::ALL.into_iter().map(Protection::Esp);
    let ah = Authentication::ALL.into_iter().map(Protection::Ah);
    let mut all = Vec::new();
    for protection in esp.chain(ah) {
        let is_ah = matches!(protection, Protection::Ah(_));
        for mode in [Mode::Tunnel, Mode::Transport, Mode::Beet] {
            for bits in 0..8_u8 {
                let [udp, outer_v6, inner_v6] = [1, 2, 4].map(|bit| bits & bit != 0);
                let is_odd = mode == Mode::Transport && outer_v6 != inner_v6;
                if is_odd || is_ah && (udp || mode == Mode::Beet) {
                    continue;
                }
                let plain = Shaped {
                    protection,
                    mode,
                    udp,
                    outer_v6,
                    inner_v6,
                    compress: false,
                    padding: 0,
                };
                all.push(plain);
            }
        }
    }
    all
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn assert_exact(shaped: Shaped, mtus: &[usize], now: Instant) {
    let sa = shaped.child_sa();
    let mut outbound = OutboundSa::new(&sa, PolicyId(0), now).unwrap();
    for mtu in mtus.iter().copied() {
        assert_exact_for(shaped, &mut outbound, &Frame::of(&sa), mtu, now);
    }
}

fn assert_exact_for(
    shaped: Shaped,
    outbound: &mut OutboundSa,
    frame: &Frame,
    mtu: usize,
    now: Instant,
) {
    let max = usize::from(outbound.inner_max_in(mtu, None));
    assert_eq!(max, frame.inner_max(mtu));
    outbound.fit(mtu);
    let sealed = shaped.sealed_len(outbound, max, now);
    assert!(sealed <= mtu, "{shaped:?} {mtu}: {max} makes {sealed}");
    let one_more = shaped.sealed_len(outbound, max + 1, now);
    assert!(one_more > mtu, "{shaped:?} {mtu}: {max} + 1 makes {one_more}");
}

/// CHECKLIST PM-13: every cipher and ICV, mode, encapsulation and family, and every M: the longest
/// inner packet fits, and one octet more does not.
#[test]
fn the_limit_is_exact_to_the_octet() {
    let now = start();
    let shapes = every_shape();
    assert!(shapes.len() > 400, "{}", shapes.len());
    for shaped in shapes {
        assert_exact(shaped, &MTUS, now);
    }
}

/// CHECKLIST PM-43: what cannot be compressed goes as it is, and fits.
#[test]
fn compression_counts_with_its_worst_case() {
    let now = start();
    for shaped in
        every_shape().into_iter().filter(|one| matches!(one.protection, Protection::Esp(_)))
    {
        assert_exact(Shaped { compress: true, ..shaped }, &[1_280], now);
    }
}

/// Padding of traffic flow confidentiality fills up to the limit and no further.
#[test]
fn padding_stays_within_the_limit() {
    let now = start();
    for shaped in every_shape() {
        let shaped = Shaped { padding: Tfc::TO_MTU, ..shaped };
        let is_padded =
            shaped.mode == Mode::Tunnel && matches!(shaped.protection, Protection::Esp(_));
        if is_padded {
            let sa = shaped.child_sa();
            let mut outbound = OutboundSa::new(&sa, PolicyId(0), now).unwrap();
            outbound.fit(1_280);
            let max = usize::from(outbound.inner_max);
            let short = shaped.sealed_len(&mut outbound, 100, now);
            assert_eq!(short, shaped.sealed_len(&mut outbound, max, now));
            assert!(short <= 1_280);
        }
    }
}

proptest! {
    /// The same for any outer length between what IP guarantees and what it can be.
    #[test]
    fn any_mtu_has_an_exact_limit(which in any::<prop::sample::Index>(), mtu in 300_usize..4_000) {
        let shapes = every_shape();
        assert_exact(*which.get(&shapes), &[mtu], start());
    }
}
