//! The longest packet that passes a tunnel both ways.

use serde::Serialize;

use crate::echo::way::Way;

/// What came of a request of one length that may not be cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attempt {
    /// It was answered.
    Passed,
    /// Nobody answered, and nobody said why.
    Lost,
    /// This host knows that it is too long, from its own tables or from what routers said.
    TooBig,
}

/// What a search came to. Lengths are of inner packets, IP header included, in octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Sizes {
    /// The longest that was answered.
    pub(crate) largest: u32,
    /// The longest that this host would send.
    pub(crate) whole: u32,
    /// The shortest that vanished without a word, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u32>,
    /// On which way, if that could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost_on: Option<Way>,
    /// Whether longer ones are refused on this host, as they should be.
    pub(crate) told: bool,
}

/// Looks for the longest packet between `small`, which is known to pass, and `whole`. `attempt` sends
/// one of a length; what is lost is sent twice, since any network loses packets.
///
/// Halving takes at most 16 steps, as lengths have 16 bits.
pub(crate) fn search<E>(
    small: u32,
    whole: u32,
    mut attempt: impl FnMut(u32) -> Result<Attempt, E>,
) -> Result<Sizes, E> {
    let mut twice = |length: u32| {
        let first = attempt(length)?;
        if first == Attempt::Lost { attempt(length) } else { Ok(first) }
    };
    let mut sizes = Sizes { largest: small.min(whole), whole, ..Sizes::default() };
    let (mut passes, mut fails) = (sizes.largest, whole.saturating_add(1));
    let mut next = whole;
    while fails - passes > 1 {
        match twice(next)? {
            Attempt::Passed => passes = next,
            Attempt::Lost => {
                fails = next;
                sizes.lost = Some(next);
            }
            Attempt::TooBig => {
                fails = next;
                sizes.told = true;
            }
        }
        next = passes + (fails - passes) / 2;
    }
    sizes.largest = passes;
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn found(whole: u32, mut of: impl FnMut(u32) -> Attempt) -> (Sizes, u32) {
        let mut attempts = 0;
        let sizes = search(84, whole, |length| {
            attempts += 1;
            Ok::<_, Infallible>(of(length))
        });
        (sizes.unwrap(), attempts)
    }

    /// CHECKLIST PM-25: a black hole is found without any ICMP.
    #[test]
    fn a_black_hole_is_found_to_the_octet() {
        let of = |length| if length <= 1_218 { Attempt::Passed } else { Attempt::Lost };
        let (sizes, attempts) = found(1_400, of);
        let expected =
            Sizes { largest: 1_218, whole: 1_400, lost: Some(1_219), ..Sizes::default() };
        assert_eq!(sizes, expected);
        assert!(attempts < 24, "{attempts}");
    }

    #[test]
    fn a_way_that_takes_all_is_asked_once() {
        let (sizes, attempts) = found(1_400, |_| Attempt::Passed);
        assert_eq!((sizes.largest, sizes.lost, attempts), (1_400, None, 1));
    }

    #[test]
    fn a_refusal_is_no_loss() {
        let of = |length| if length <= 1_200 { Attempt::Passed } else { Attempt::TooBig };
        let (sizes, _) = found(1_400, of);
        assert_eq!((sizes.largest, sizes.lost, sizes.told), (1_200, None, true));
    }

    #[test]
    fn one_lost_packet_is_not_believed() {
        let mut first = true;
        let (sizes, _) =
            found(
                1_400,
                |_| {
                    if std::mem::take(&mut first) { Attempt::Lost } else { Attempt::Passed }
                },
            );
        assert_eq!((sizes.largest, sizes.lost), (1_400, None));
    }
}
