//! Whether super-packets of TCP (RFC 9293) travel whole at the moment. What takes forty ESP packets is
//! lost with any of them, so where packets are lost it is cut into segments, each lost alone.
//!
//! TCP itself says what was lost: it goes back and sends it again, and its sequence numbers are in what
//! passes here. No word of the peer is needed, and a peer cannot claim any.
//!
//! Only super-packets are looked at, and what is cut goes back as single packets, which are not seen. So
//! how it goes on says little from then on, and they stay cut for as long as after the worst.

use crate::offload::SuperPacket;

/// The latest flows of an SA, and how often they went back of late.
#[derive(Debug)]
pub(crate) struct Watch {
    flows: [Option<Flow>; FLOWS_MAX],
    /// Falls by one with each super-packet that goes on, rises by [`GOES_BACK`] with each that does
    /// not, and from [`CUT_FROM`] on to [`SCORE_MAX`].
    score: u16,
}

/// Where a flow went on last.
#[derive(Clone, Copy, Debug)]
struct Flow {
    id: u32,
    next_sequence: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { flows: [None; FLOWS_MAX], score: 0 }
    }
}

impl Watch {
    /// Looks at the next super-packet; whether it may travel whole.
    pub(crate) fn admits(&mut self, packet: &SuperPacket<'_>) -> bool {
        let (id, sequence) = (id_of(packet.flow()), packet.sequence());
        let place = usize::try_from(id).unwrap_or(0) % FLOWS_MAX;
        if let Some(flow) = self.flows.get_mut(place) {
            let known = flow.filter(|known| known.id == id);
            let goes_back = known.is_some_and(|known| is_before(sequence, known.next_sequence));
            self.score = if goes_back {
                let score = self.score.saturating_add(GOES_BACK);
                if score < CUT_FROM { score } else { SCORE_MAX }
            } else {
                self.score.saturating_sub(1)
            };
            let payload_len = u32::try_from(packet.payload_len()).unwrap_or(0);
            *flow = Some(Flow { id, next_sequence: sequence.wrapping_add(payload_len) });
        }
        self.score < CUT_FROM
    }
}

/// RFC 9293 §3.4: sequence numbers are compared on a circle.
const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) > u32::MAX / 2
}

/// Flows that share a number are taken for one that goes back now and then; it costs little.
fn id_of(flow: &[u8]) -> u32 {
    let (words, _) = flow.as_chunks();
    let mix = |id: u32, word: &[u8; 4]| {
        (id ^ u32::from_be_bytes(*word)).wrapping_mul(0x9e37_79b1).rotate_left(15)
    };
    words.iter().fold(0, mix)
}

/// Flows that are known at a time; one that comes takes the place of another.
const FLOWS_MAX: usize = 64;

/// What a loss counts for in super-packets that went well.
const GOES_BACK: u16 = 64;

/// From here on they are cut: two losses among about sixty super-packets, a thousandth of their segments.
const CUT_FROM: u16 = 100;

/// So they are whole again after four hundred that went well, however many did not before.
const SCORE_MAX: u16 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::tests::Made;

    fn admits(watch: &mut Watch, made: Made) -> bool {
        let octets = made.octets();
        watch.admits(&made.read(&octets).unwrap())
    }

    /// Super-packets until they are whole again.
    fn go_on(watch: &mut Watch, made: &mut Made) -> usize {
        let mut next_is_cut = || {
            made.sequence = made.sequence.wrapping_add(3_000);
            !admits(watch, *made)
        };
        (0..10_000).take_while(|_| next_is_cut()).count()
    }

    #[test]
    fn a_single_loss_changes_nothing() {
        let mut watch = Watch::default();
        // The numbers pass their end meanwhile.
        let mut made = Made { sequence: u32::MAX - 400_000, payload_len: 3_000, ..Made::default() };
        for round in 0..300 {
            assert!(admits(&mut watch, made), "{round}");
            if round % 100 != 99 {
                made.sequence = made.sequence.wrapping_add(3_000);
            }
        }
    }

    #[test]
    fn where_much_is_lost_they_are_cut_and_later_whole_again() {
        let mut watch = Watch::default();
        let mut made = Made { payload_len: 3_000, ..Made::default() };
        assert!(admits(&mut watch, made));
        assert!(admits(&mut watch, made));
        assert!(!admits(&mut watch, made));
        // They stay so for long though hardly more was lost than may be.
        assert_eq!(go_on(&mut watch, &mut made), usize::from(SCORE_MAX - CUT_FROM));
        for _ in 0..1_000 {
            admits(&mut watch, made);
        }
        assert_eq!(go_on(&mut watch, &mut made), usize::from(SCORE_MAX - CUT_FROM));
    }

    #[test]
    fn flows_do_not_count_for_each_other() {
        let mut watch = Watch::default();
        for round in 0..200_u32 {
            for (port, is_ipv4) in [(1, true), (1, false), (2, true)] {
                let base = u32::from(port) * 900_000_000 + u32::from(is_ipv4) * 50_000_000;
                let sequence = base.wrapping_add(round * 3_000);
                let made = Made { sequence, port, is_ipv4, payload_len: 3_000, ..Made::default() };
                assert!(admits(&mut watch, made));
            }
        }
    }
}
