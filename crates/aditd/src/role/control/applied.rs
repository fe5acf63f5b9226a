//! Answers that wait until what was loaded is in force (RFC 4301 §4.4.1: the SPD decides about each packet): who
//! is told that a reload is done may rely on it for the next packet.

use adit_mgmt::vici::Message;

use super::gathered::Gathered;
use super::requests::send;
use super::{ClientId, Running};
use crate::message::{QueryId, ToIke};

/// An answer, and the threads that have not come to what was loaded yet.
pub(super) struct Applied {
    client: ClientId,
    answer: Message,
    outbound: Gathered<()>,
}

impl Running {
    /// Answers a client when the ike role has done all that it was told before, and each thread that sends what
    /// that one has told it.
    pub(super) fn answer_when_applied(&mut self, client: ClientId, answer: Message) {
        let query = QueryId(self.number());
        // What goes to the other threads goes by the ike role, in turn.
        if !send(&self.role.links.ike, ToIke::Policies(query, None)) {
            return self.answer(client, answer);
        }
        let outbound = Gathered::new(self.role.links.outbound.count());
        self.applied.insert(query, Applied { client, answer, outbound });
    }

    /// One of the threads has come so far.
    pub(super) fn note_applied(&mut self, query: QueryId) {
        let Some(applied) = self.applied.get_mut(&query) else { return };
        applied.outbound.take_in((), |(), ()| ());
        if applied.outbound.is_complete()
            && let Some(Applied { client, answer, .. }) = self.applied.remove(&query)
        {
            self.answer(client, answer);
            self.take_commands(client);
        }
    }
}
