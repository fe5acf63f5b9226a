//! Traffic selector negotiation: narrowing (RFC 7296 §2.9).
//!
//! A pair of selector lists protects the packets whose source is in one and whose destination is
//! in the other. The responder answers with the part of the offer that its policy allows; the
//! initiator checks that it got nothing it did not ask for.

use std::net::IpAddr;

use adit_wire::ikev2::TrafficSelector;

/// The two sides of a child SA, from the initiator of the exchange.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SelectorPair {
    /// TSi.
    pub(crate) initiator: Vec<TrafficSelector>,
    /// TSr.
    pub(crate) responder: Vec<TrafficSelector>,
}

impl SelectorPair {
    /// Whether the first choices of an offer are in these: what stands first on each side.
    pub(crate) fn holds_first_of(&self, offer: &Self) -> bool {
        let holds = |first: Option<&TrafficSelector>, ours: &[TrafficSelector]| {
            first.is_some_and(|first| is_covered(first, ours))
        };
        holds(offer.initiator.first(), &self.initiator)
            && holds(offer.responder.first(), &self.responder)
    }
}

/// Selectors of one side in an answer of ours. More would only come from an offer made to be
/// laborious; the first ones are kept, they hold the packet that started it all.
pub(crate) const SELECTORS_MAX: usize = 64;

/// Overlaps looked at, at most: the work that one offer can cause.
const PARTS_MAX: usize = 1_024;

/// Why two selector lists do not come together. On the wire: TS_UNACCEPTABLE.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SelectorError {
    /// The offer and our policy have no packet in common (H03).
    #[error("traffic selectors do not overlap")]
    NoOverlap,
    /// The answer has packets that were not offered (H02).
    #[error("peer answered with wider traffic selectors than we asked for")]
    Wider,
}

/// Narrows what the peer offers to what `policy` allows (H01, H03 to H06).
///
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.9
//# If the responder's policy allows it to accept the first selector of TSi and TSr, then the
//# responder MUST narrow the Traffic Selectors to a subset that includes the
//# initiator's first choices.
///
/// The answer is everything that both have in common, so the first choices are in it whenever the
/// policy has them. Selectors without a partner of the same family and protocol on the other side
/// are left out: no packet could match them.
///
/// # Errors
///
/// [`SelectorError::NoOverlap`] if no packet is left.
pub(crate) fn narrow(
    offer: &SelectorPair,
    policy: &SelectorPair,
) -> Result<SelectorPair, SelectorError> {
    let mut pair = SelectorPair {
        initiator: intersection(&offer.initiator, &policy.initiator),
        responder: intersection(&offer.responder, &policy.responder),
    };
    pair.initiator.retain(|one| has_partner(one, &pair.responder));
    pair.responder.retain(|one| has_partner(one, &pair.initiator));
    if pair.initiator.is_empty() || pair.responder.is_empty() {
        return Err(SelectorError::NoOverlap);
    }
    pair.initiator.truncate(SELECTORS_MAX);
    pair.responder.truncate(SELECTORS_MAX);
    Ok(pair)
}

/// Checks a responder's answer against our offer.
///
/// # Errors
///
/// - [`SelectorError::NoOverlap`]: a side is empty.
/// - [`SelectorError::Wider`]: a packet of the answer was not offered.
pub(crate) fn check_answer(
    offer: &SelectorPair,
    answer: &SelectorPair,
) -> Result<(), SelectorError> {
    if answer.initiator.is_empty() || answer.responder.is_empty() {
        return Err(SelectorError::NoOverlap);
    }
    let within = |answer: &[TrafficSelector], offer: &[TrafficSelector]| {
        answer.iter().all(|selector| is_covered(selector, offer))
    };
    if within(&answer.initiator, &offer.initiator) && within(&answer.responder, &offer.responder) {
        Ok(())
    } else {
        Err(SelectorError::Wider)
    }
}

/// Puts a packet's own addresses in front of an offer: the "first choices" that tell a responder
/// which packet started the negotiation (RFC 7296 §2.9). Left out where they say nothing new.
pub(crate) fn with_first(
    packet: Option<TrafficSelector>,
    configured: &[TrafficSelector],
) -> Vec<TrafficSelector> {
    packet
        .into_iter()
        .filter(|first| configured.iter().any(|one| first.is_subset_of(one)))
        .chain(configured.iter().copied().filter(|one| Some(*one) != packet))
        .collect()
}

/// What two lists have in common, parts of other parts left out; what holds the offer's first
/// choice stands first.
pub(crate) fn intersection(
    offer: &[TrafficSelector],
    policy: &[TrafficSelector],
) -> Vec<TrafficSelector> {
    let mut parts: Vec<TrafficSelector> = offer
        .iter()
        .flat_map(|one| policy.iter().filter_map(|two| one.intersection(two)))
        .take(PARTS_MAX)
        .collect();
    let Some(&first) = parts.first() else {
        return parts;
    };
    parts.sort_unstable();
    parts.dedup();
    let is_whole = |part: &TrafficSelector| {
        !parts.iter().any(|other| other != part && part.is_subset_of(other))
    };
    let mut whole: Vec<TrafficSelector> = parts.iter().copied().filter(is_whole).collect();
    whole.sort_by_key(|part| !first.is_subset_of(part));
    whole
}

/// Whether some packet matches `one` on its side and one of `others` on the other.
fn has_partner(one: &TrafficSelector, others: &[TrafficSelector]) -> bool {
    others.iter().any(|other| {
        let protocols_meet =
            one.protocol == 0 || other.protocol == 0 || one.protocol == other.protocol;
        protocols_meet && one.is_ipv4() == other.is_ipv4()
    })
}

/// Whether every address of `selector` lies in some selector of `offer` that also has its
/// protocol and ports.
fn is_covered(selector: &TrafficSelector, offer: &[TrafficSelector]) -> bool {
    let mut ranges: Vec<(IpAddr, IpAddr)> = offer
        .iter()
        .filter(|one| {
            let widened = TrafficSelector { start: selector.start, end: selector.end, ..**one };
            one.is_ipv4() == selector.is_ipv4() && selector.is_subset_of(&widened)
        })
        .map(|one| (one.start, one.end))
        .collect();
    ranges.sort_unstable();
    let mut next = Some(selector.start);
    for (start, end) in ranges {
        match next {
            Some(address) if start <= address && end >= address => {
                if end >= selector.end {
                    return true;
                }
                next = successor(end);
            }
            _ => {}
        }
    }
    false
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

#[cfg(test)]
mod tests;
