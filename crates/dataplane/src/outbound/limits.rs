//! What several SAs take that protect a packet one after the other (RFC 4301 §8.2.1).

use adit_db::Mode;
use adit_wire::PacketBuf;

use super::Outbound;
use crate::outbound_sad::Chain;
use crate::path_mtu::LINK_MTU;
use crate::seal::Inner;

impl Outbound {
    /// Longest packet with the headers of this one that these SAs take; lowers what TCP is told of it
    /// (RFC 9293 §3.7.1).
    pub(super) fn limit_for(
        &mut self,
        packet: &mut PacketBuf,
        inner: &Inner,
        chain: &Chain,
    ) -> usize {
        self.fit_chain(chain);
        let Some(sa) = chain.slots().first().and_then(|slot| self.sad.get(*slot)) else {
            return usize::MAX;
        };
        sa.clamp_mss(packet.data_mut());
        if sa.watches_long() {
            sa.note_long(packet);
        }
        // Only where a packet's own headers are outside do their options matter.
        let has_room = packet.len() <= SHORT || sa.mode == Mode::Tunnel;
        if has_room || !inner.front.has_options() {
            return sa.inner_max.into();
        }
        self.limit_of(chain, inner.front.len).into()
    }

    /// Draws what the first of several SAs takes from the paths of all.
    fn fit_chain(&mut self, chain: &Chain) {
        let [first, _, ..] = chain.slots() else { return };
        let fitted = self.fitted;
        if self.sad.get(*first).is_none_or(|sa| sa.is_fitted(fitted)) {
            return;
        }
        let outer_max = self.outer_max_of(chain);
        if let Some(sa) = self.sad.get(*first)
            && sa.fit(outer_max)
        {
            sa.tell_path(&mut self.events);
        }
    }

    /// Longest packet that the first of these SAs may make, so that it fits the others and all paths.
    fn outer_max_of(&self, chain: &Chain) -> usize {
        let mut most = usize::from(u16::MAX);
        let mut sas = chain.slots().iter().rev().filter_map(|slot| self.sad.at(*slot)).peekable();
        while let Some(sa) = sas.next() {
            most = most.min(sa.path().in_force().0.into());
            if sas.peek().is_some() {
                most = sa.inner_max_in(most, None).into();
            }
        }
        most
    }

    /// Longest packet with headers of this length that they take.
    fn limit_of(&self, chain: &Chain, front_len: usize) -> u16 {
        let first = chain.slots().first().and_then(|slot| self.sad.at(*slot));
        first.map_or(u16::MAX, |sa| sa.inner_max_in(self.outer_max_of(chain), Some(front_len)))
    }

    /// Longest packet, octets, that goes out in one piece behind these SAs.
    pub(super) fn path_of(&self, chain: &Chain) -> usize {
        let last = chain.slots().last().and_then(|slot| self.sad.at(*slot));
        last.map_or(LINK_MTU, |sa| sa.path().in_force().0).into()
    }

    /// Whether something behind the first link takes less than that one.
    pub(super) fn is_narrow(&self, chain: &Chain) -> bool {
        let last = chain.slots().last().and_then(|slot| self.sad.at(*slot));
        last.is_some_and(|sa| sa.path().in_force().0 < sa.path().link())
    }
}

/// Every path takes packets of so many octets, options or not.
const SHORT: usize = 128;
