//! What a packet without ports may belong to (RFC 4301 §7.4).
//!
//! A later fragment shows neither ports nor, behind extension headers, its protocol. An entry that
//! asks for them may mean it all the same; the first such entry that does not pass packets in
//! clear is found here, by addresses and protocol alone.

use std::net::IpAddr;

use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::FlowSide;

use super::{Action, LAST_PROTOCOL, SpdEntry, span, v4_number, v6_number};
use crate::decorrelate::{Decorrelated, Entangled, Key, Policy};

/// Entries by what is left of them; empty where nothing passes in clear.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    v4: Decorrelated<u32, SELECTORS>,
    v6: Decorrelated<u128, SELECTORS>,
}

/// Local address, remote address, protocol.
const SELECTORS: usize = 3;
/// The protocol of a packet that hides it behind an extension header.
const HIDDEN: u32 = LAST_PROTOCOL + 1;

impl Shadow {
    pub(super) fn new(entries: &[SpdEntry], work_max: usize) -> Result<Self, Entangled> {
        let last_bypass = entries.iter().rposition(|entry| entry.action == Action::Bypass);
        let before = entries.get(..last_bypass.unwrap_or(0)).unwrap_or_default();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (owner, entry) in (0..).zip(before).filter(|(_, e)| e.action != Action::Bypass) {
            for local in &entry.local {
                for remote in &entry.remote {
                    v4.extend(policies(local, remote, v4_number, owner));
                    v6.extend(policies(local, remote, v6_number, owner));
                }
            }
        }
        Ok(Self {
            v4: Decorrelated::new(&v4, [u32::MAX, u32::MAX, HIDDEN], work_max)?,
            v6: Decorrelated::new(&v6, [u128::MAX, u128::MAX, HIDDEN.into()], work_max)?,
        })
    }

    /// The position of the first entry that a packet without ports may belong to.
    pub(super) fn lookup(&self, local: FlowSide, remote: FlowSide) -> Option<usize> {
        let hidden = IpProtocol(local.protocol).is_skipped();
        let protocol = if hidden { HIDDEN } else { local.protocol.into() };
        let owner = match (local.address, remote.address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                self.v4.lookup(&[local.to_bits(), remote.to_bits(), protocol])
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                self.v6.lookup(&[local.to_bits(), remote.to_bits(), protocol.into()])
            }
            _ => None,
        };
        owner.map(|owner| owner as usize)
    }
}

/// A pair of selectors with a packet's own protocol, and with a hidden one; nothing of a pair that
/// asks for neither protocol nor ports, which matches every packet by itself.
fn policies<T: Key + From<u32>>(
    local: &TrafficSelector,
    remote: &TrafficSelector,
    number: fn(IpAddr) -> Option<T>,
    owner: u32,
) -> impl Iterator<Item = Policy<T, SELECTORS>> {
    let addresses =
        |selector: &TrafficSelector| span(number(selector.start)?, number(selector.end)?);
    let protocols = match (local.protocol, remote.protocol) {
        (0, 0) => Some((0, LAST_PROTOCOL)),
        (0, one) | (one, 0) => Some((u32::from(one), u32::from(one))),
        (one, other) => (one == other).then_some((one.into(), one.into())),
    };
    let asks = [local, remote].iter().any(|one| one.protocol != 0 || one.ports != PortRange::ANY);
    let sides = addresses(local).zip(addresses(remote)).filter(|_| asks);
    [protocols, Some((HIDDEN, HIDDEN))].into_iter().flatten().filter_map(move |(first, last)| {
        let (local, remote) = sides?;
        Some(Policy { selectors: [local, remote, span(first.into(), last.into())?], owner })
    })
}
