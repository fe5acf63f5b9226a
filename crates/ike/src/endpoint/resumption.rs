//! Sessions that are resumed with a ticket (RFC 5723): which are accepted, and what becomes of the
//! old ones.

use std::sync::Arc;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{Connection, ConnectionName, Identity, IkeSaId};
use adit_wire::Reader;
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{Header, Id};

use crate::command::Path;
use crate::connections::address_rank;
use crate::failure::{Failure, FailureReason};
use crate::shard::Tiding;
use crate::ticket::{TicketId, TicketKeys, TicketOffice, TicketState, pad_digest};
use crate::v2::ike_sa::IkeSa;
use crate::v2::resumption::{ClientTicket, Resumable, choice};
use crate::v2::rules::Received;

use super::Endpoint;
use super::admission::Refused;

impl Endpoint {
    /// Gives and takes tickets with these keys from now on. `now_s` is the time in seconds since 1970.
    pub(super) fn use_ticket_keys(&mut self, keys: Arc<TicketKeys>, now: Instant, now_s: u64) {
        match &mut self.out.tickets {
            Some(office) => office.renew(keys, now, now_s),
            None => self.out.tickets = Some(Box::new(TicketOffice::new(keys, now, now_s))),
        }
    }

    /// Decides about an IKE_SESSION_RESUME request, and makes the IKE SA that answers it.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.2
    //# It responds with an unprotected N(TICKET_NACK) notification, if it
    //# rejects the ticket for any reason.
    pub(super) fn resume(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        received: &Received<'_>,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Result<IkeSa, Refused> {
        self.check_cookie(path, header, received, now, rng)?;
        self.check_room(path)?;
        let nack = || Refused::With(NotifyType::TICKET_NACK, Vec::new());
        let ticket = received.notify(NotifyType::TICKET_OPAQUE).ok_or_else(nack)?;
        let office = self.out.tickets.as_ref().ok_or_else(nack)?;
        let ticket = office.open(ticket.data, now).ok_or_else(nack)?;
        let connection = self.connection_of(path, &ticket).ok_or_else(nack)?;
        let choice = choice(&ticket.suite, &connection).ok_or_else(nack)?;
        let request = Resumable { path, header, octets, received, ticket, choice, connection };
        Ok(IkeSa::resumed(request, &mut self.context(now, rng)))
    }

    /// The connection that the session began with, if it still asks for the same proof of the same
    /// peers: what the client has proven to one says nothing to another.
    fn connection_of(&self, path: Path, ticket: &TicketState) -> Option<Arc<Connection>> {
        let (client, ours) = (identity(&ticket.id_i)?, identity(&ticket.id_r)?);
        let one = self.connections.get(&ticket.connection)?;
        let fits = one.resumption
            && pad_digest(&one.pad) == ticket.pad
            && address_rank(one, path).is_some()
            && one.pad.accepts(&client)
            && one.pad.local_id(path.local.ip()).is_same(&ours);
        fits.then(|| Arc::clone(one))
    }

    /// A session was resumed: its ticket is used up, and the old IKE SA goes if it is still there.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.4
    //# the old SA SHOULD be silently deleted without sending a DELETE
    //# informational exchange.
    pub(super) fn handle_resumed(&mut self, id: TicketId, now: Instant, rng: &mut dyn Rng) {
        self.out.tell_others(|| Tiding::TicketsVoid(id));
        self.supplant(id, now, rng);
    }

    /// The same on an endpoint that only hears of it.
    pub(super) fn supplant(&mut self, id: TicketId, now: Instant, rng: &mut dyn Rng) {
        if let Some(office) = &mut self.out.tickets {
            office.invalidate(id, now);
        }
        let known = [id.0, id.1].into_iter().filter_map(|spi| self.sas.by_spi(spi));
        let is_meant = |ike: &IkeSaId| {
            self.sas.get(*ike).is_some_and(|sa| (sa.core.spi_i, sa.core.spi_r) == id)
        };
        let old: Vec<IkeSaId> = known.filter(is_meant).collect();
        if let Some(old) = old.first() {
            self.touch(*old, now, rng, |sa, cx| sa.abandon(FailureReason::Replaced, cx));
        }
    }

    /// Keeps a ticket for its connection's next attempt but one that is on.
    pub(super) fn handle_ticket(&mut self, name: &ConnectionName, ticket: Box<ClientTicket>) {
        if let Some(keeper) = self.keepers.get_mut(name) {
            keeper.keep_ticket(ticket);
        }
    }

    /// An IKE SA is no more, or another one renews its keys: what tickets there are for it are void.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-6.2
    //# when an IKE SA is deleted by the client or the gateway, the client
    //# MUST delete its stored ticket.
    pub(super) fn void_tickets(
        &mut self,
        ike: IkeSaId,
        id: TicketId,
        connection: &ConnectionName,
        now: Instant,
    ) {
        if let Some(office) = &mut self.out.tickets {
            office.invalidate(id, now);
            self.out.tell_others(|| Tiding::TicketsVoid(id));
        }
        if let Some(keeper) = self.keepers.get_mut(connection) {
            keeper.forget_ticket(ike);
        }
    }

    /// A ticket was refused, or nobody answered: a full handshake follows at once.
    pub(super) fn begin_anew(&mut self, failure: &Failure, now: Instant, rng: &mut dyn Rng) {
        let Some(name) = failure.connection.clone() else { return };
        if let Some(keeper) = self.keepers.get_mut(&name) {
            keeper.end_attempt();
            keeper.put_ticket_by();
        }
        self.pursue(&name, now, rng);
    }
}

fn identity(body: &[u8]) -> Option<Identity> {
    let id = Id::read(&mut Reader(body)).ok()?;
    Identity::from_wire(id.kind, id.data).ok()
}
