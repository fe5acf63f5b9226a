//! Child SAs with known keys, inner packets, and octets that a peer of ours sealed.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_crypto::{Cipher, OpenKey, SealKey, Secret};
use adit_dataplane::{DropReason, InboundSa, OutboundSa, split};
use adit_db::{
    Aggfrag, ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation,
    IcmpPassage, IcmpRules, IcmpSide, IkeSaId, IpComp, Lifetime, Mode, MssClamp, MtuPolicy,
    PolicyId, Tfc, WindowSize,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{IcmpError, IpPacket, Ipv4Header, Ipv6Header};
use adit_wire::ipcomp::Cpi;

use crate::{Choices, policy};

/// What an input may choose about an SA from a sender to a receiver.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number among the SAs of an input.
    pub number: u8,
    /// See there.
    pub cipher: Cipher,
    /// See there.
    pub esn: bool,
    /// The receiver's replay window.
    pub window: WindowSize,
    /// The sender's limits.
    pub lifetime: Lifetime,
    /// The same CPI both ways; none does not compress.
    pub cpi: Option<Cpi>,
    /// How its packets share ESP packets, if they do.
    pub aggfrag: Option<Aggfrag>,
    /// The sender's side.
    pub from: Vec<TrafficSelector>,
    /// The receiver's side.
    pub to: Vec<TrafficSelector>,
}

impl Options {
    /// Any cipher, ESN or not, and three sizes of window; all traffic of both families.
    pub fn choose(number: u8, choices: &mut Choices<'_>) -> Self {
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        Self {
            number,
            cipher: choices.pick(&Cipher::ALL),
            esn: choices.flag(),
            window: choices.pick(&[WindowSize::MIN, WindowSize::OFF, WindowSize::DEFAULT]),
            lifetime: Lifetime::NONE,
            cpi: None,
            aggfrag: None,
            from: all.clone(),
            to: all,
        }
    }

    /// Number of the SA.
    pub fn child(&self) -> ChildSaId {
        ChildSaId(self.number.into())
    }

    /// SPI of its packets.
    pub fn spi(&self) -> Spi {
        Spi(SPI_FIRST + u32::from(self.number))
    }

    /// The sender's half.
    pub fn outbound(&self, policy: PolicyId, now: Instant) -> OutboundSa {
        let sa = self.child_sa(true);
        split(&sa, policy, now).expect("keys of the cipher").1
    }

    /// The receiver's half.
    pub fn inbound(&self, now: Instant) -> InboundSa {
        let sa = self.child_sa(false);
        split(&sa, PolicyId(0), now).expect("keys of the cipher").0
    }

    fn child_sa(&self, at_sender: bool) -> ChildSa {
        let back = Spi(self.spi().0 + 0x1000);
        let (local, remote) = (sender(), receiver());
        let (local, remote) = if at_sender { (local, remote) } else { (remote, local) };
        let (from, to) = (self.from.clone(), self.to.clone());
        ChildSa {
            id: self.child(),
            ike: IkeSaId(1),
            connection: "fuzz".parse().expect("a name"),
            child: "fuzz".parse().expect("a name"),
            spi_in: if at_sender { back } else { self.spi() },
            spi_out: if at_sender { self.spi() } else { back },
            protection: self.cipher.into(),
            mode: Mode::Tunnel,
            peer_view: None,
            esn: self.esn,
            keys_in: keys(self.cipher),
            keys_out: keys(self.cipher),
            local_ts: if at_sender { from.clone() } else { to.clone() },
            remote_ts: if at_sender { to } else { from },
            encap: Encapsulation { udp: true, tcp: false, local, remote },
            lifetime: if at_sender { self.lifetime } else { Lifetime::NONE },
            replay_window: self.window,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Normal,
            df: DfPolicy::Clear,
            // What comes out is what went in: SYNs, too.
            mtu: MtuPolicy { mss: MssClamp::Off, ..MtuPolicy::DEFAULT },
            tfc: Tfc::OFF,
            aggfrag: self.aggfrag,
            path_probe: true,
            notices: false,
            ipcomp: self.cpi.map(|cpi| IpComp { cpi_in: cpi, cpi_out: cpi }),
            outer: None,
            rekeys: None,
        }
    }

    /// Opens a packet that has this number, and splits what it holds: inner packet and next header.
    ///
    /// # Panics
    ///
    /// If the packet does not open, or its padding does not count 1, 2, 3 (RFC 4303 §2.4).
    pub fn open(&self, sequence: u64, packet: &[u8]) -> (Vec<u8>, IpProtocol) {
        let keys = keys(self.cipher);
        let key = OpenKey::new(self.cipher, &keys.encryption, &keys.integrity);
        let key = key.expect("keys of the cipher");
        let (aad, trailer) = self.authenticated(sequence);
        let (header, rest) = packet.split_at(8);
        assert_eq!(header, [&self.spi().to_octets()[..], &sequence.to_be_bytes()[4..]].concat());
        let (iv, rest) = rest.split_at(self.cipher.iv_len());
        let (text, icv) = rest.split_at(rest.len() - self.cipher.icv_len());
        let mut text = text.to_vec();
        assert!(text.len().is_multiple_of(self.cipher.block_len()));
        let implicit = sequence.to_be_bytes();
        let iv = if self.cipher.is_iv_implicit() { &implicit[..] } else { iv };
        key.open(&aad, iv, &mut text, icv, &trailer).expect("sealed with this key and number");

        let [rest @ .., pad_len, next] = text.as_slice() else {
            panic!("no trailer");
        };
        assert!(usize::from(*pad_len) < self.cipher.block_len(), "more padding than needed");
        let counted: Vec<u8> = (1..=*pad_len).collect();
        let inner = rest.strip_suffix(counted.as_slice()).expect("padding counts up");
        (inner.to_vec(), IpProtocol(*next))
    }

    /// RFC 4106 §5, RFC 7634 §2.1, RFC 4303 §2.2.1: what is authenticated before and after.
    fn authenticated(&self, sequence: u64) -> (Vec<u8>, Vec<u8>) {
        let spi = &self.spi().to_octets()[..];
        let numbered = sequence.to_be_bytes();
        let (high, low) = numbered.split_at(4);
        match (self.esn, self.cipher.is_aead()) {
            (true, true) => ([spi, high, low].concat(), Vec::new()),
            (true, false) => ([spi, low].concat(), high.to_vec()),
            (false, _) => ([spi, low].concat(), Vec::new()),
        }
    }

    /// What a peer who has the keys can make: any octets behind the encryption. `text` is filled
    /// up with zeros to a multiple of the block.
    pub fn seal_text(&self, sequence: u64, text: &[u8]) -> Vec<u8> {
        let keys = keys(self.cipher);
        let key = SealKey::new(self.cipher, &keys.encryption, &keys.integrity);
        let key = key.expect("keys of the cipher");
        let (aad, trailer) = self.authenticated(sequence);
        let mut text = text.to_vec();
        text.resize(text.len().next_multiple_of(self.cipher.block_len()), 0);
        let mut iv = vec![0; self.cipher.iv_len()];
        let mut icv = vec![0; self.cipher.icv_len()];
        key.seal(sequence, &aad, &mut iv, &mut text, &mut icv, &trailer)
            .expect("lengths of the cipher");
        let [.., l0, l1, l2, l3] = sequence.to_be_bytes();
        [&self.spi().to_octets()[..], &[l0, l1, l2, l3], &iv, &text, &icv].concat()
    }
}

/// The sender's outer address.
pub fn sender() -> SocketAddr {
    ([192, 0, 2, 1], 4500).into()
}

/// The receiver's outer address.
pub fn receiver() -> SocketAddr {
    ([198, 51, 100, 1], 4500).into()
}

/// Keys of every SA of a cipher, the same at every call.
fn keys(cipher: Cipher) -> ChildKeys {
    let octets = |len: usize, first: u8| (first..=u8::MAX).take(len).collect();
    ChildKeys {
        encryption: Secret::new(octets(cipher.encryption_key_len(), 1)),
        integrity: Secret::new(octets(cipher.integrity_key_len(), 101)),
    }
}

/// A buffer with so much room around these octets.
pub fn buffer(headroom: usize, octets: &[u8], tailroom: usize) -> PacketBuf {
    let mut packet = PacketBuf::with_capacity(headroom, octets.len() + tailroom);
    assert!(packet.fill(octets));
    packet
}

/// An inner packet with a header that fits it, or any octets at all.
pub fn inner(choices: &mut Choices<'_>) -> Vec<u8> {
    let traffic_class = choices.u8();
    let kind = choices.u8();
    if kind == u8::MAX {
        return choices.long().to_vec();
    }
    let flow = policy::flow(choices);
    let mut payload = Vec::new();
    if !flow.opaque {
        payload.extend(flow.src_port.to_be_bytes());
        payload.extend(flow.dst_port.to_be_bytes());
    }
    payload.extend(choices.short());
    payload.resize(payload.len() + 8 * usize::from(kind & 15), 0);
    let protocol = IpProtocol(flow.protocol);
    let payload_len = u16::try_from(payload.len()).expect("a short one");
    let mut octets = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class,
            total_len: payload_len + 20,
            identification: kind.into(),
            dont_fragment: kind & 0x20 != 0,
            ttl: 63,
            protocol,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class,
            flow_label: kind.into(),
            payload_len,
            next: protocol,
            hop_limit: 63,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => unreachable!("flows have one family"),
    };
    octets.extend(payload);
    octets
}

impl Options {
    /// Whether the receiver lets an inner packet in by its selectors, and ICMP as RFC 4301 §6 has it.
    pub fn judge(&self, packet: &IpPacket<'_>) -> Result<(), DropReason> {
        let flow = packet.flow_key();
        let from = self.from.iter().any(|ts| ts.contains_source(&flow));
        let to = self.to.iter().any(|ts| ts.contains_destination(&flow));
        let fits = from && to;
        let mismatch = if fits { Ok(()) } else { Err(DropReason::SelectorMismatch) };
        let protocol = packet.protocol();
        let is_icmp = [IpProtocol::ICMP, IpProtocol::ICMPV6].contains(&protocol);
        if !is_icmp || packet.is_later_fragment() {
            return mismatch;
        }
        let icmp = packet.icmp().ok_or(DropReason::BadInner)?;
        let passage = IcmpRules::default().passage(IcmpSide::Tunnel, protocol, icmp);
        if passage == IcmpPassage::Discard {
            return Err(DropReason::IcmpRefused);
        }
        if !icmp.is_error(protocol) || (!fits && passage == IcmpPassage::Explicit) {
            return mismatch;
        }
        let error = IcmpError::read(packet).map_err(|_| DropReason::IcmpQuote)?;
        let quoted = error.flow().ok_or(DropReason::IcmpQuote)?;
        // We are the receiver: what we sent went from our side to the other.
        let between = |sides: [&[TrafficSelector]; 2], addresses: [IpAddr; 2]| {
            sides.into_iter().zip(addresses).all(|(side, address)| {
                side.iter().any(|ts| {
                    ts.is_ipv4() == address.is_ipv4() && (ts.start..=ts.end).contains(&address)
                })
            })
        };
        let is_ours = if fits {
            between([&self.to, &self.from], [quoted.src, quoted.dst])
        } else {
            quoted.src == packet.dst()
                && self.to.iter().any(|ts| ts.contains_source(&quoted))
                && self.from.iter().any(|ts| ts.contains_destination(&quoted))
        };
        if is_ours { Ok(()) } else { Err(DropReason::IcmpQuote) }
    }
}

/// The first SPI that is not reserved, and a few more to make it recognisable.
const SPI_FIRST: u32 = 0x0000_0a00;
