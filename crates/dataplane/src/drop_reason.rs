//! Why a packet was dropped (RFC 4301 §5, RFC 4302 §3, RFC 4303 §3): one list, from which counters, labels and log lines are made.

use std::fmt;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $text:literal;)+) => {
        /// Why a packet was dropped. The order is that of the counters.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label of the counter: lower case, never changed.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Outbound: the octets are no IP packet.
    NotIp = "not_ip", "not an IP packet";
    /// Outbound: what the kernel says about a super-packet does not fit it.
    BadOffload = "bad_offload", "the kernel's description of the packet does not fit it";
    /// Outbound: no policy matches, which means discard (RFC 4301 §4.4.1).
    NoPolicy = "no_policy", "no policy matches the packet";
    /// Outbound: no policy matches what a host says to all on its link, such as MLD reports (RFC 3810) and
    /// router solicitations (RFC 4861), which kernels send by any interface. No fault.
    LinkLocalMulticast = "link_local_multicast", "multicast for one link, which a tunnel is not: harmless";
    /// Both: a policy says discard.
    PolicyDiscard = "policy_discard", "a policy discards the packet";
    /// Outbound: an ICMP redirect. It is about a link that both ends share, and a kernel that
    /// forwards from tunnel to tunnel takes the TUN for one.
    Redirect = "redirect", "ICMP redirects do not go through tunnels";
    /// Both: an ICMP message that is not to pass this tunnel (RFC 4301 §6.2).
    IcmpRefused = "icmp_refused", "the tunnel lets no ICMP message of this type pass";
    /// Inbound: an ICMP error about a packet that its SA would not have carried (RFC 4301 §6.2).
    IcmpQuote = "icmp_quote", "the ICMP error is about a packet that its SA does not carry";
    /// Outbound: the policy protects, but there is no SA and no room to hold the packet.
    NoSa = "no_sa", "no child SA carries the packet";
    /// Outbound: more SAs would protect the packet one after the other than
    /// [`NESTING_MAX`](crate::NESTING_MAX).
    NestedTooDeep = "nested_too_deep", "more SAs are nested than one packet takes";
    /// Inbound: the packet did not come out of an SA that must protect it once more.
    NotNested = "not_nested", "the packet came without the SA that must protect it once more";
    /// Outbound: the packet should have an SA of its own, and its policy has as many as it may have.
    TooManySas = "too_many_sas", "the policy has too many SAs for one more";
    /// Outbound: the sequence number would wrap (RFC 4303 §3.3.3).
    SequenceExhausted = "sequence_exhausted", "the SA's sequence numbers are used up";
    /// Outbound: another thread sends on the SA, and too many packets wait for that one.
    Crowded = "crowded", "the thread that sends on the SA has no room for the packet";
    /// Outbound: too little room before or after the packet.
    NoRoom = "no_room", "no room for the security header and trailer";
    /// Both: a fragment overlaps another of its packet, is too small or too far out (RFC 5722 §4,
    /// RFC 3128).
    Fragment = "fragment", "a fragment that fits no packet";
    /// Both: a fragment waited for the others of its packet, and they did not come.
    FragmentsMissing = "fragments_missing", "the other fragments of the packet did not come";
    /// Outbound: options and extension headers have no place in transport mode in UDP, and some
    /// protocols none in BEET mode.
    Options = "options", "IP options, extension headers or a protocol that the SA's mode cannot carry";
    /// Both: options or extension headers whose fate on the way nobody can predict (RFC 4302
    /// §3.3.3.1), or that are malformed.
    BadHeaders = "bad_headers", "IP options or extension headers that AH cannot cover";
    /// Outbound: longer than the link takes, and nobody may cut it (RFC 4301 §8.1).
    TooBig = "too_big", "too long for the link, and not to be cut";
    /// Outbound: the socket or the device was full, or refused the packet.
    NotSent = "not_sent", "the socket was full or refused the packet";
    /// Both: the hard lifetime has passed.
    LifetimeOver = "lifetime_over", "the SA's hard lifetime is over";
    /// Inbound: too short for a packet of its SA, or of a length that none has.
    Truncated = "truncated", "the packet has a length that none of its SA has";
    /// Inbound: no SA has this SPI (RFC 4303 §3.4.2).
    UnknownSpi = "unknown_spi", "no SA has this SPI";
    /// Inbound: on a multicast SA, from an address that is none of its senders'.
    UnknownSender = "unknown_sender", "the SA has no sender of this address";
    /// Inbound: the sequence number was seen before (RFC 4303 §3.4.3).
    Replayed = "replayed", "the sequence number was seen before";
    /// Inbound: the sequence number lies before the window.
    TooOld = "too_old", "the sequence number is older than the replay window";
    /// Inbound: a sequence number that no sender uses.
    BadSequence = "bad_sequence", "impossible sequence number";
    /// Inbound: the integrity check failed (RFC 4303 §3.4.4).
    BadIcv = "bad_icv", "the integrity check failed";
    /// Inbound: the padding is not 1, 2, 3 … or longer than the packet (RFC 4303 §2.4).
    BadPadding = "bad_padding", "the padding is not as RFC 4303 has it";
    /// Inbound: a dummy packet of traffic flow confidentiality (RFC 4303 §2.6). No fault.
    Dummy = "dummy", "dummy packet";
    /// Inbound: compressed with a CPI that is not the SA's (RFC 3173 §3.3).
    UnknownCpi = "unknown_cpi", "the SA has no such compression";
    /// Inbound: what was said to be compressed cannot be inflated (RFC 3173 §2.1).
    BadCompression = "bad_compression", "the compressed packet is malformed";
    /// Inbound: a compressed packet is more than an IP packet can be, or than there is room for.
    InflatesTooFar = "inflates_too_far", "the compressed packet inflates without end";
    /// Inbound: an AGGFRAG payload that cannot be read to its end, or that contradicts the one before
    /// it about the packet they share (RFC 9347 §2.5).
    BadAggfrag = "bad_aggfrag", "the AGGFRAG payload is malformed";
    /// Inbound: a part of the inner packet was in an AGGFRAG payload that did not come.
    AggfragIncomplete = "aggfrag_incomplete", "a payload with a part of the packet did not come";
    /// Inbound: a part of an inner packet, in an AGGFRAG payload that came when those behind it had
    /// been looked at (RFC 9347 §2.2.3).
    AggfragLate = "aggfrag_late", "a payload with a part of the packet came too late for its turn";
    /// Inbound: a super-packet that is not of several plain TCP segments that fit our interface.
    BadSuperPacket = "bad_super_packet", "the super-packet cannot be cut into TCP segments";
    /// Inbound: the inner packet is not what the next header says, or is cut off.
    BadInner = "bad_inner", "the inner packet is malformed";
    /// Inbound: the inner packet is outside the SA's selectors (RFC 4301 §5.2).
    SelectorMismatch = "selector_mismatch", "the inner packet is outside the SA's selectors";
    /// Inbound: congestion on a packet that cannot say so (RFC 6040 §4.2).
    EcnNotCapable = "ecn_not_capable", "congestion marked on a packet without ECN";
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Index of the counter.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for DropReason {}

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DropCounters([u64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounters {
    /// Counts one packet.
    pub fn add(&mut self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    /// Counts several packets.
    pub(crate) fn add_many(&mut self, reason: DropReason, packets: u64) {
        if let Some(count) = self.0.get_mut(reason.index()) {
            *count = count.saturating_add(packets);
        }
    }

    /// Counts in those of another thread.
    pub fn add_all(&mut self, others: &Self) {
        for (reason, packets) in others.iter() {
            self.add_many(reason, packets);
        }
    }

    /// Sets the number of one reason, for who has counted elsewhere.
    pub fn set(&mut self, reason: DropReason, packets: u64) {
        if let Some(count) = self.0.get_mut(reason.index()) {
            *count = packets;
        }
    }

    /// These and others.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (reason, packets) in other.iter() {
            self.add_many(reason, packets);
        }
        self
    }

    /// Packets dropped for one reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason.index()).copied().unwrap_or(0)
    }

    /// Every reason with its count, in order.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.0)
    }

    /// All packets dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The same for one SA, of which there are many: no count goes beyond 2³² - 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SaDrops([u32; DropReason::COUNT]);

impl Default for SaDrops {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl SaDrops {
    /// Counts one packet.
    pub(crate) fn add(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_mut(reason.index()) {
            *count = count.saturating_add(1);
        }
    }
}

impl From<SaDrops> for DropCounters {
    fn from(drops: SaDrops) -> Self {
        Self(drops.0.map(u64::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_index_and_names_are_unique() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            let twins = DropReason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(twins.count(), 1);
            assert!(reason.name().bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'));
        }
    }

    #[test]
    fn counts_of_an_sa_stop_before_they_come_around() {
        let mut drops = SaDrops::default();
        drops.add(DropReason::BadIcv);
        assert_eq!(DropCounters::from(drops).iter().filter(|(_, count)| *count > 0).count(), 1);
        drops.0[DropReason::BadIcv.index()] = u32::MAX;
        drops.add(DropReason::BadIcv);
        assert_eq!(DropCounters::from(drops).get(DropReason::BadIcv), u64::from(u32::MAX));
    }

    #[test]
    fn each_reason_has_its_counter() {
        let mut counters = DropCounters::default();
        counters.add(DropReason::BadIcv);
        counters.add(DropReason::BadIcv);
        counters.add(DropReason::NotIp);
        assert_eq!(counters.get(DropReason::BadIcv), 2);
        assert_eq!(counters.total(), 3);
        assert_eq!(counters.iter().filter(|(_, count)| *count > 0).count(), 2);
    }
}
