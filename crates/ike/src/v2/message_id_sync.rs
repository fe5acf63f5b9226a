//! Synchronisation of message ids and replay counters with a cluster (RFC 6311).
//!
//! When another member of a cluster takes over, it knows the message ids of the session only about.
//! It says so in an INFORMATIONAL request of message id zero, and both ends go on with ids that
//! neither has used. We are the peer of such a cluster, whole: we take its values, give ours, and begin
//! anew what we had asked for. A count that it asks for is left out of the sequence numbers of all that
//! we send.
//!
//! Declined: being a member of a cluster, so that we send no such request. Replay counters are not
//! announced where the kernel protects packets: it has them.

use adit_crypto::sha1;
use adit_db::{Connection, Engine};
use adit_wire::Reader;
use adit_wire::WireError;
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, Header, Notify, Payload};

use crate::command::Path;
use crate::context::Context;
use crate::failure::FailureReason;
use crate::output::Output;
use crate::v2::child::Child;
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::message_id::Datagrams;
use crate::v2::rules::{Form, Received};

/// What both ends have announced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Synchronizes {
    /// IKEV2_MESSAGE_ID_SYNC_SUPPORTED.
    pub(crate) message_ids: bool,
    /// IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED.
    pub(crate) replay_counters: bool,
}

/// The last synchronisation of an IKE SA.
#[derive(Debug)]
pub(crate) struct Synchronized {
    /// The message id that the cluster would go on with.
    cluster_next: u32,
    request: [u8; 20],
    response: Datagrams,
    /// What we expected after it; once a later request has come, nobody waits for the response.
    expected: u32,
}

/// From this count on the SAs are replaced soon, so that their sequence numbers do not run out.
const LARGE_STEP: u64 = 1 << 30;

impl Synchronizes {
    /// What we do for a connection.
    fn ours(connection: Option<&Connection>) -> Self {
        let is_userspace = connection.is_some_and(|one| one.engine == Engine::Userspace);
        Self { message_ids: true, replay_counters: is_userspace }
    }

    /// What a message of IKE_AUTH announces.
    pub(crate) fn read(received: &Received<'_>) -> Self {
        Self {
            message_ids: received.has_notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED),
            replay_counters: received.has_notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            message_ids: self.message_ids && other.message_ids,
            replay_counters: self.replay_counters && other.replay_counters,
        }
    }

    fn put(self, chain: &mut ChainBuilder) {
        let mut put = |kind| chain.put(&Payload::Notify(Notify::new(kind, &[])));
        if self.message_ids {
            put(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED);
        }
        if self.replay_counters {
            put(NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED);
        }
    }
}

/// Initiator: announces what we do in the IKE_AUTH request.
pub(crate) fn offer(core: &Core, chain: &mut ChainBuilder) {
    Synchronizes::ours(core.connection.as_deref()).put(chain);
}

/// Responder: announces what both do in the IKE_AUTH response.
//= https://www.rfc-editor.org/rfc/rfc6311#section-5
//# When negotiating these capabilities, the responder MUST NOT assert
//# support of a capability unless such support was asserted by the
//# initiator.
pub(crate) fn answer(theirs: Synchronizes, core: &mut Core, chain: &mut ChainBuilder) {
    core.terms.synchronizes = Synchronizes::ours(core.connection.as_deref()).and(theirs);
    core.terms.synchronizes.put(chain);
}

/// Initiator: takes what the IKE_AUTH response announces.
pub(crate) fn agree(received: &Received<'_>, core: &mut Core) {
    let ours = Synchronizes::ours(core.connection.as_deref());
    core.terms.synchronizes = ours.and(Synchronizes::read(received));
}

/// Whether a datagram may be a request to synchronise message ids.
pub(crate) fn may_be(header: &Header, core: &Core) -> bool {
    core.terms.synchronizes.message_ids
        && header.message_id == 0
        && !header.flags.is_response()
        && header.exchange == adit_wire::iana::ExchangeType::INFORMATIONAL
}

/// Data of IKEV2_MESSAGE_ID_SYNC (RFC 6311 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct MessageIds {
    nonce: [u8; 4],
    /// EXPECTED_SEND_REQ_MESSAGE_ID: what the sender's next request will have.
    send: u32,
    /// EXPECTED_RECV_REQ_MESSAGE_ID: what it expects of ours.
    receive: u32,
}

impl MessageIds {
    fn read(data: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(data);
        let ids = Self { nonce: r.array()?, send: r.u32()?, receive: r.u32()? };
        r.finish("MessageIdSync")?;
        Ok(ids)
    }

    fn octets(self) -> Vec<u8> {
        [self.nonce, self.send.to_be_bytes(), self.receive.to_be_bytes()].concat()
    }
}

/// Takes a datagram that [`may_be`] a request to synchronise. False if it is none.
///
/// # Errors
///
/// When the answer cannot be made.
pub(crate) fn handle(
    path: Path,
    octets: &[u8],
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<bool, FailureReason> {
    let request = sha1(&[octets]);
    if let Some(last) = core.synchronized.as_ref().filter(|last| last.request == request) {
        // Sent again because our answer was lost: it is answered again, and changes nothing.
        if last.expected == core.responses.expected()
            && core.leash.allows(path, core.path, octets.len(), &last.response)
        {
            cx.transmit(path, &last.response);
        }
        return Ok(true);
    }
    let Some(message) = core.open_whole(octets) else { return Ok(false) };
    let read = Received::read(&message.header, message.first, &message.inner).ok();
    let is_meant = |read: &Received<'_>| read.has_notify(NotifyType::IKEV2_MESSAGE_ID_SYNC);
    let Some(received) = read.filter(is_meant) else { return Ok(false) };
    if let Some(ids) = acceptable(&received, core) {
        apply((path, octets.len()), request, ids, established, core, cx)?;
        step(&received, established, core, cx);
    }
    Ok(true)
}

/// The values of a request that is to be answered.
fn acceptable(received: &Received<'_>, core: &Core) -> Option<MessageIds> {
    //= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
    //# Both the request and the response MUST NOT contain any additional
    //# payloads, other than an optional IPSEC_REPLAY_COUNTER_SYNC
    //# notification in the request.
    let belongs = |notify: &Notify<'_>| {
        let kinds = [NotifyType::IKEV2_MESSAGE_ID_SYNC, NotifyType::IPSEC_REPLAY_COUNTER_SYNC];
        kinds.contains(&notify.kind)
    };
    let is_alone = received.form == Form::Informational
        && received.deletes.is_empty()
        && received.notifies.iter().all(belongs);
    let ids = MessageIds::read(received.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC)?.data).ok()?;
    //= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
    //# The peer MUST silently drop any received synchronization message if
    //# M1 is lower than or equal to the highest value it has seen from the
    //# cluster.  This includes any previous received synchronization
    //# messages.
    let seen = core.responses.expected().checked_sub(1);
    let before = core.synchronized.as_ref().map(|last| last.cluster_next);
    let is_newer = seen.max(before).is_none_or(|highest| ids.send > highest);
    (is_alone && is_newer).then_some(ids)
}

/// Goes on with the higher ids of both, and says so.
//= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
//# M2 MUST be at least the higher of the received M1, and one more than
//# the highest sender value received from the cluster.
//= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
//# P2 MUST be the higher of the received P1 value, and one more than the
//# highest sender value used by the peer.
fn apply(
    from: (Path, usize),
    request: [u8; 20],
    ids: MessageIds,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<(), FailureReason> {
    let expected = ids.send.max(core.responses.expected());
    let next = ids.receive.max(core.requests.next());
    //= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
    //# The request contains a Nonce field.  This field MUST be returned in
    //# the response, unchanged.
    let answer = MessageIds { nonce: ids.nonce, send: next, receive: expected };
    let mut chain = ChainBuilder::new();
    let data = answer.octets();
    chain.put(&Payload::Notify(Notify::new(NotifyType::IKEV2_MESSAGE_ID_SYNC, &data)));
    let response = core.respond_apart(from, 0, chain, cx)?;
    // RFC 6311 §9: nobody waits for what is under way; it is asked for again.
    established.restart_own();
    core.requests.restart_at(next);
    core.responses.restart_at(expected);
    core.synchronized =
        Some(Box::new(Synchronized { cluster_next: ids.send, request, response, expected }));
    Ok(())
}

/// Takes IPSEC_REPLAY_COUNTER_SYNC (RFC 6311 §6.4) of whatever INFORMATIONAL request: what we send on
/// all child SAs leaves out so many sequence numbers.
pub(crate) fn step(
    received: &Received<'_>,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let notify = received.notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC);
    let by = notify.and_then(|notify| match *notify.data {
        [a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    });
    let Some(by) = by.filter(|_| core.terms.synchronizes.replay_counters) else { return };
    let in_engine = established.children.iter().filter(|child| child.is_in_engine());
    let children: Vec<_> = in_engine.map(|child: &Child| child.id).collect();
    for child in children {
        cx.out.push(Output::SkipSequence { child, by });
        if by >= LARGE_STEP {
            established.expire_softly(child);
        }
    }
}

impl Established {
    /// Gives up our exchange in flight; what it was for is asked for again.
    fn restart_own(&mut self) {
        match self.own.take() {
            Some(Own::Child(sent)) => self.queue(sent.task()),
            Some(Own::RekeyIke(_) | Own::Followup(_)) => self.queue(Task::RekeyIke),
            Some(Own::Delete(sent)) => sent.tasks.into_iter().for_each(|task| self.queue(task)),
            Some(Own::Redirect(to)) => self.queue(Task::Redirect(*to)),
            Some(Own::Mobike(sent)) => self.queue(Task::Mobike(sent.errand)),
            Some(Own::Liveness) => self.queue(Task::Liveness),
            Some(Own::Ticket) => self.queue(Task::RequestTicket),
            None => {}
        }
    }
}
