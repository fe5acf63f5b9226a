//! Deleting child SAs and the IKE SA (RFC 7296 §1.4.1, §2.25).

use adit_db::ChildSaId;
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Delete, SPIS_MAX, Spis};

use crate::context::Context;
use crate::failure::FailureReason;
use crate::v2::child::Phase;
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

use super::create_child::CreateChildSent;
use super::rekey_child;

/// Our INFORMATIONAL that deletes children in flight.
#[derive(Debug)]
pub(crate) struct DeleteSent {
    pub(crate) tasks: Vec<Task>,
}

impl DeleteSent {
    /// Deletes what `tasks` name, as far as it is still there. `None`: nothing is.
    pub(crate) fn start(
        established: &mut Established,
        tasks: &[Task],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        let mut spis = Vec::new();
        let mut sent = Vec::new();
        for task in tasks {
            let spi = match task {
                Task::DeleteChild(id) => {
                    established.child(*id).map(|child| (child.protocol, child.spi_in))
                }
                Task::DeleteSpi(protocol, spi) => Some((*protocol, *spi)),
                Task::CreateChild { .. }
                | Task::RekeyChild(_)
                | Task::RekeyIke
                | Task::Redirect(_)
                | Task::RequestTicket
                | Task::Tell(..)
                | Task::Mobike(_)
                | Task::Liveness
                | Task::Leave => None,
            };
            if let Some(spi) = spi {
                spis.push(spi);
                sent.push(task.clone());
            }
        }
        if spis.is_empty() {
            return Ok(None);
        }
        let mut chain = ChainBuilder::new();
        put_delete(&spis, &mut chain);
        core.request(ExchangeType::INFORMATIONAL, chain, cx.config.established, cx)?;
        Ok(Some(Own::Delete(Self { tasks: sent })))
    }

    /// The peer has answered: what was deleted is gone, whatever the answer names
    /// (RFC 7296 §1.4.1; CHECKLIST I06, I12).
    pub(crate) fn handle_response(
        self,
        received: &Received<'_>,
        established: &mut Established,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        if received.has_notify(NotifyType::TEMPORARY_FAILURE) {
            // CHECKLIST I08: a peer that is rekeying the IKE SA may say so; then on the new one.
            return established.retry_busy(self.tasks, core, cx);
        }
        for task in self.tasks {
            if let Task::DeleteChild(id) = task {
                let end = established.child(id).and_then(|child| child.end.as_deref().cloned());
                established.remove_child(id, end, core, cx);
            }
        }
    }
}

/// Adds a Delete payload with our inbound SPIs for each protocol among them (RFC 7296 §3.11).
fn put_delete(spis: &[(ProtocolId, Spi)], chain: &mut ChainBuilder) {
    for protocol in [ProtocolId::ESP, ProtocolId::AH] {
        let of_protocol = spis.iter().filter(|(one, _)| *one == protocol);
        let octets: Vec<[u8; 4]> =
            of_protocol.take(usize::from(SPIS_MAX)).map(|(_, spi)| spi.to_octets()).collect();
        match Spis::new(&octets) {
            Ok(spis) if !octets.is_empty() => {
                let delete =
                    if protocol == ProtocolId::AH { Delete::Ah(spis) } else { Delete::Esp(spis) };
                chain.push(PayloadType::DELETE, |w| delete.write(w));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The peer deletes children by its inbound SPIs: ours go with them, and the answer names ours
/// (RFC 7296 §1.4.1).
///
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.25.2
//# If a peer receives a request to delete a Child SA when it is
//# currently rekeying the IKE SA, it SHOULD reply as usual, with a
//# Delete payload.
//
/// Those that we are deleting ourselves are left out of the answer (§2.25.1; CHECKLIST I06), as
/// are those we do not know (I10).
pub(crate) fn answer(
    received: &Received<'_>,
    chain: &mut ChainBuilder,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let mut ours = Vec::new();
    let deleted = received.deletes.iter().filter_map(|delete| match delete {
        Delete::Esp(spis) => Some((ProtocolId::ESP, *spis)),
        Delete::Ah(spis) => Some((ProtocolId::AH, *spis)),
        Delete::IkeSa => None,
    });
    for (protocol, spi) in
        deleted.flat_map(|(protocol, spis)| spis.iter().map(move |spi| (protocol, spi)))
    {
        let Some(child) = established.child_by_peer_spi(protocol, spi) else {
            if let Some(Own::Child(sent)) = &mut established.own {
                sent.note_deleted(protocol, spi);
            }
            continue;
        };
        let id = child.id;
        if child.phase != Phase::Deleting {
            ours.push((child.protocol, child.spi_in));
        }
        let reason = match rekey_child::carried_on(id, established, core, cx) {
            true => None,
            false => reason(id, established),
        };
        established.remove_child(id, reason, core, cx);
    }
    if !ours.is_empty() {
        put_delete(&ours, chain);
    }
}

/// What the end of a child means to listeners: nothing if another carries on for it.
fn reason(id: ChildSaId, established: &Established) -> Option<FailureReason> {
    let child = established.child(id)?;
    match child.phase {
        Phase::Rekeyed { .. } => None,
        Phase::Deleting => child.end.as_deref().cloned(),
        Phase::Installed | Phase::Rekeying => {
            let collides = established.own_child().is_some_and(|sent| sent.collides_over(id));
            (!collides).then_some(FailureReason::ClosedByPeer)
        }
    }
}

impl CreateChildSent {
    /// Whether the peer, in deleting this child, settles a collision: it is the one both replace,
    /// or the one its exchange made.
    fn collides_over(&self, id: ChildSaId) -> bool {
        self.rival.as_ref().is_some_and(|rival| rival.is_unknown(id) || self.rekeys == Some(id))
    }
}
