//! Packets of the peer under an SPI that we have no SA for: we have ended that SA, and our delete was lost, or
//! we have lost it with all our state. Deletes of IKEv1 are not answered (RFC 2409 §5.7), so this is how who
//! sends into nothing comes to know.
//!
//! Anybody can send such a packet. It costs no more than a short message to a peer that has proven itself,
//! so often in a time, and tells that one nothing that is not true.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId as ChildProtocol;

use super::Established;
use crate::context::Context;
use crate::v1::core::Core;
use crate::v1::informational;

/// What the peer was told of lately.
#[derive(Debug, Default)]
pub(super) struct Strays {
    told: VecDeque<(Spi, Instant)>,
}

/// SPIs of which the peer is told in [`TOLD_FOR`].
const TOLD_MAX: usize = 8;

/// How long a peer has to hear of an SPI before it is told again.
const TOLD_FOR: Duration = Duration::from_secs(3);

impl Strays {
    /// Whether the peer is to be told of this one now.
    fn note(&mut self, spi: Spi, now: Instant) -> bool {
        self.told.retain(|(_, at)| now.saturating_duration_since(*at) < TOLD_FOR);
        let is_told = self.told.iter().any(|(told, _)| *told == spi);
        if is_told || self.told.len() >= TOLD_MAX {
            return false;
        }
        self.told.push_back((spi, now));
        true
    }
}

impl Established {
    /// Tells the peer that there is no SA under an SPI that it sends on.
    pub(crate) fn tell_stray(&mut self, spi: Spi, core: &Core, cx: &mut Context<'_>) {
        // Of one that is asked for the answer may be on its way behind the packet.
        let is_asked_for = self.quick_modes.iter().any(|quick| quick.is_about(&spi.to_octets()));
        if !self.is_open() || is_asked_for || !self.strays.note(spi, cx.now) {
            return;
        }
        let specs = core.connection.children.iter().flat_map(|child| &child.proposals);
        let is_ah = specs.into_iter().any(|spec| spec.protocol() == ChildProtocol::AH);
        let ah = is_ah.then_some(ChildProtocol::AH);
        for protocol in [ChildProtocol::ESP].into_iter().chain(ah) {
            informational::delete_children(protocol, &[spi], core, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_flood_of_strays_is_no_flood_of_deletes() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        assert!(strays.note(Spi(1_000), now) && !strays.note(Spi(1_000), now));
        let told = (2_000..3_000).filter(|spi| strays.note(Spi(*spi), now)).count();
        assert_eq!(told, TOLD_MAX - 1);
        assert!(strays.note(Spi(1_000), now + TOLD_FOR));
        assert_eq!(strays.told.len(), 1);
    }
}
