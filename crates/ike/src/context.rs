//! What every step of a state machine gets beside its input, and where it leaves its results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{
    ChildConfig, ChildName, ChildSaId, Connection, ConnectionName, Engine, Identity, IkeSaId,
    is_free, random_cpi, random_spi,
};
use adit_wire::esp::Spi;
use adit_wire::ikev2::IkeSpi;
use adit_wire::ipcomp::Cpi;

use crate::command::{JobId, Path};
use crate::config::EndpointConfig;
use crate::event::{Event, Step};
use crate::failure::{Failure, FailureReason};
use crate::keymat::Role;
use crate::output::Output;
use crate::v2::ike_sa::IkeSa;

/// The loaded connections, by name.
pub(crate) type Connections = BTreeMap<ConnectionName, Arc<Connection>>;

/// Time, randomness, settings, the rest of the endpoint as far as an IKE SA may see it.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut dyn Rng,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) connections: &'a Connections,
    pub(crate) roster: &'a Roster,
    pub(crate) out: &'a mut Outbox,
}

impl Context<'_> {
    /// Sends datagrams over a path.
    pub(crate) fn transmit(&mut self, path: Path, datagrams: &[Vec<u8>]) {
        for octets in datagrams {
            self.out.push(Output::Transmit { path, octets: octets.clone() });
        }
    }

    /// Draws an SPI for an IKE SA; with 64 random bits a clash is not worth a look.
    pub(crate) fn ike_spi(&mut self) -> IkeSpi {
        loop {
            let spi = IkeSpi(self.rng.next_u64().to_be_bytes());
            if !spi.is_zero() {
                return spi;
            }
        }
    }

    /// Draws an SPI for packets to us that no child SA has, one of the engine that will have the
    /// SA. `None` if hardly any is free.
    pub(crate) fn child_spi(&mut self, engine: Engine) -> Option<Spi> {
        let spis = &self.out.spis;
        let is_taken = |spi| spis.contains(&engine.own(spi)) || !is_free(engine.own(spi));
        random_spi(self.rng, is_taken).map(|spi| engine.own(spi))
    }

    /// Draws a CPI for packets to us that no child SA has, if this one is to be compressed. `None`
    /// also if hardly any is free: then it goes without.
    pub(crate) fn child_cpi(&mut self, config: &ChildConfig) -> Option<Cpi> {
        let cpis = &self.out.cpis;
        let wanted = config.negotiates_ipcomp();
        wanted.then(|| random_cpi(self.rng, |cpi| cpis.contains(&cpi))).flatten()
    }

    /// Draws a nonce of the length this crate uses (RFC 7296 §2.10).
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        self.rng.array::<NONCE_OCTETS>().to_vec()
    }
}

/// At least half the key size of the prf, and the same for all: RFC 7296 §2.10.
const NONCE_OCTETS: usize = 32;

/// What the steps leave behind: outputs for the program, notices for the endpoint; and the
/// numbers they draw from.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    notices: VecDeque<Notice>,
    ike_sas: u32,
    child_sas: u32,
    jobs: u64,
    auth_jobs: BTreeMap<JobId, IkeSaId>,
    reqids: BTreeMap<(ConnectionName, ChildName), u32>,
    spis: BTreeSet<Spi>,
    cpis: BTreeSet<Cpi>,
    child_owners: BTreeMap<ChildSaId, IkeSaId>,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(crate) fn next_ike_sa(&mut self) -> IkeSaId {
        self.ike_sas = self.ike_sas.wrapping_add(1).max(1);
        IkeSaId(self.ike_sas)
    }

    pub(crate) fn next_child_sa(&mut self) -> ChildSaId {
        self.child_sas = self.child_sas.wrapping_add(1).max(1);
        ChildSaId(self.child_sas)
    }

    pub(crate) fn next_job(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs)
    }

    /// Notes which IKE SA waits for a job.
    pub(crate) fn begin_auth(&mut self, job: JobId, ike: IkeSaId) {
        self.auth_jobs.insert(job, ike);
    }

    /// The IKE SA that waits for a job.
    pub(crate) fn end_auth(&mut self, job: JobId) -> Option<IkeSaId> {
        self.auth_jobs.remove(&job)
    }

    /// Forgets the jobs of an IKE SA that is gone.
    pub(crate) fn forget_auth(&mut self, ike: IkeSaId) {
        self.auth_jobs.retain(|_, waiting| *waiting != ike);
    }

    /// The number of a policy: the same for every child SA made for it.
    pub(crate) fn reqid(&mut self, connection: &ConnectionName, child: &ChildName) -> u32 {
        let next = u32::try_from(self.reqids.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.reqids.entry((connection.clone(), child.clone())).or_insert(next)
    }

    /// Notes the SPI of an installed child SA.
    pub(crate) fn take_spi(&mut self, spi: Spi) {
        self.spis.insert(spi);
    }

    /// Notes the CPI of an installed child SA.
    pub(crate) fn take_cpi(&mut self, cpi: Cpi) {
        self.cpis.insert(cpi);
    }

    /// Gives a CPI back.
    pub(crate) fn release_cpi(&mut self, cpi: Cpi) {
        self.cpis.remove(&cpi);
    }

    /// Notes which IKE SA a child SA belongs to.
    pub(crate) fn own_child(&mut self, child: ChildSaId, ike: IkeSaId) {
        self.child_owners.insert(child, ike);
    }

    /// Forgets a child SA that is gone.
    pub(crate) fn disown_child(&mut self, child: ChildSaId) {
        self.child_owners.remove(&child);
    }

    /// The IKE SA that a child SA belongs to.
    pub(crate) fn owner_of(&self, child: ChildSaId) -> Option<IkeSaId> {
        self.child_owners.get(&child).copied()
    }

    /// Gives an SPI back.
    pub(crate) fn release_spi(&mut self, spi: Spi) {
        self.spis.remove(&spi);
    }

    /// Reports a step of a handshake.
    pub(crate) fn progress(
        &mut self,
        connection: Option<&ConnectionName>,
        ike: Option<IkeSaId>,
        step: Step,
        elapsed: std::time::Duration,
    ) {
        let connection = connection.cloned();
        self.event(Event::Progress { connection, ike, step, elapsed });
    }
}

/// What an IKE SA tells the endpoint around it.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Both sides have authenticated.
    Established {
        /// The IKE SA.
        ike: IkeSaId,
        /// The peer says it has no other IKE SA with us (RFC 7296 §2.4).
        initial_contact: bool,
    },
    /// A rekey made a new IKE SA that takes over from an old one.
    Rekeyed {
        /// The old IKE SA.
        old: IkeSaId,
        /// The new one, not yet known to the endpoint.
        new: Box<IkeSa>,
    },
    /// A new IKE SA lost a collision: its only task is to be deleted.
    Redundant {
        /// The IKE SA, not yet known to the endpoint.
        sa: Box<IkeSa>,
        /// Whether we delete it; else the peer does.
        delete: bool,
    },
    /// An IKE SA is over, or an attempt to set one up. Not after a rekey.
    Ended {
        /// The IKE SA.
        ike: IkeSaId,
        /// Whether both sides had authenticated.
        was_established: bool,
        /// Why.
        failure: Box<Failure>,
    },
    /// A child SA is installed, or one came in place of another.
    ChildUp {
        /// Connection of its IKE SA.
        connection: ConnectionName,
        /// Its configuration.
        child: ChildName,
    },
    /// An exchange about a child has ended, one way or the other.
    ChildSettled {
        /// Connection of its IKE SA.
        connection: ConnectionName,
    },
    /// A child SA went and nothing replaced it.
    ChildGone {
        /// Connection of its IKE SA.
        connection: ConnectionName,
        /// Its configuration.
        child: ChildName,
        /// Why.
        reason: FailureReason,
    },
    /// A child could not be negotiated; its IKE SA stays.
    ChildFailed(Box<Failure>),
}

/// Established IKE SAs by the two identities, for the checks on uniqueness (RFC 7296 §2.4).
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: BTreeMap<IkeSaId, RosterEntry>,
    by_identities: BTreeSet<(Identity, Identity, IkeSaId)>,
}

/// One established IKE SA.
#[derive(Clone, Debug)]
pub(crate) struct RosterEntry {
    pub(crate) local_id: Identity,
    pub(crate) remote_id: Identity,
    pub(crate) role: Role,
    pub(crate) spi_i: IkeSpi,
    /// When its first message was sent or received.
    pub(crate) started: Instant,
    pub(crate) established: Instant,
}

impl Roster {
    pub(crate) fn insert(&mut self, id: IkeSaId, entry: RosterEntry) {
        self.by_identities.insert(entry.key(id));
        self.entries.insert(id, entry);
    }

    pub(crate) fn remove(&mut self, id: IkeSaId) -> Option<RosterEntry> {
        let entry = self.entries.remove(&id)?;
        self.by_identities.remove(&entry.key(id));
        Some(entry)
    }

    pub(crate) fn get(&self, id: IkeSaId) -> Option<&RosterEntry> {
        self.entries.get(&id)
    }

    /// The IKE SAs between two identities, oldest first.
    pub(crate) fn between(
        &self,
        local: &Identity,
        remote: &Identity,
    ) -> impl Iterator<Item = (IkeSaId, &RosterEntry)> {
        let (local, remote) = (canonical(local), canonical(remote));
        let from = (local.clone(), remote.clone(), IkeSaId(0));
        self.by_identities
            .range(from..)
            .take_while(move |(l, r, _)| *l == local && *r == remote)
            .filter_map(|(_, _, id)| Some((*id, self.entries.get(id)?)))
    }
}

impl RosterEntry {
    fn key(&self, id: IkeSaId) -> (Identity, Identity, IkeSaId) {
        (canonical(&self.local_id), canonical(&self.remote_id), id)
    }
}

/// Host names compare without case (RFC 4343).
fn canonical(identity: &Identity) -> Identity {
    match identity {
        Identity::Fqdn(name) => Identity::Fqdn(name.to_ascii_lowercase()),
        Identity::Rfc822(name) => Identity::Rfc822(name.to_ascii_lowercase()),
        Identity::Ipv4(_) | Identity::Ipv6(_) | Identity::KeyId(_) | Identity::Dn(_) => {
            identity.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roster_finds_identities_whatever_their_case() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let established = Instant::now();
        let entry = |remote: &str| RosterEntry {
            local_id: "left.example".parse().unwrap(),
            remote_id: remote.parse().unwrap(),
            role: Role::Initiator,
            spi_i: IkeSpi([1; 8]),
            started: established,
            established,
        };
        let mut roster = Roster::default();
        roster.insert(IkeSaId(1), entry("Right.Example"));
        roster.insert(IkeSaId(2), entry("other.example"));
        roster.insert(IkeSaId(3), entry("right.example"));

        let wanted = entry("RIGHT.example");
        let found: Vec<_> =
            roster.between(&wanted.local_id, &wanted.remote_id).map(|(id, _)| id.0).collect();
        assert_eq!(found, [1, 3]);
        roster.remove(IkeSaId(1));
        assert_eq!(roster.between(&wanted.local_id, &wanted.remote_id).count(), 1);
    }
}
