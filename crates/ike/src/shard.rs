//! Several endpoints that are one host to its peers: each has IKE SAs of its own, and a number that
//! is in the SPIs it chooses (RFC 7296 §2.6), so that a datagram tells whose it is.
//!
//! Nothing is shared but the counters of SAs, whose order people and policies rely on. What
//! matters to the other endpoints is an [`Output::Tidings`](crate::Output::Tidings).

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_db::{ChildName, ChildSaId, ConnectionName, IkeSaId, Unique};
use adit_wire::Reader;
use adit_wire::esp::Spi;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{Header, IkeSpi};
use adit_wire::ip::FlowKey;
use adit_wire::ipcomp::Cpi;

use crate::command::{JobId, RequestId};
use crate::context::{Pair, RosterEntry};
use crate::endpoint::site;
use crate::ticket::TicketId;

/// How many endpoints share the IKE SAs of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shards(NonZeroU16);

/// Whom a datagram is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressee {
    /// The endpoint of this number: it would have chosen the SPI.
    Shard(u16),
    /// Whoever the peer's address falls to: it begins an IKE SA.
    Opening,
    /// Nobody: it is no IKE message.
    Nobody,
}

impl Shards {
    /// The most that there may be.
    pub const MAX: u16 = 64;
    /// The endpoint that has all IKE SAs of IKEv1: nothing in a message says which of the two cookies
    /// is ours.
    pub const OF_V1: u16 = 0;
    /// One has all IKE SAs.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// So many, but at least one and at most [`Self::MAX`].
    pub fn new(count: u16) -> Self {
        Self(NonZeroU16::new(count.min(Self::MAX)).unwrap_or(NonZeroU16::MIN))
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.0.get()
    }

    /// The endpoint that a datagram is for, which is an IKE message without a non-ESP marker. Any SPI is
    /// some endpoint's, be it that it does not know it.
    pub fn addressee(self, octets: &[u8]) -> Addressee {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return Addressee::Nobody };
        if header.version.major() == 1 {
            return Addressee::Shard(Self::OF_V1);
        }
        if begins(&header) {
            return Addressee::Opening;
        }
        let ours = if header.flags.is_initiator() { header.spi_r } else { header.spi_i };
        Addressee::Shard(self.of_spi(ours))
    }

    /// The endpoint that waits for a job.
    pub fn of_job(self, job: JobId) -> u16 {
        u16::try_from(job.0 % u64::from(self.count())).unwrap_or(0)
    }

    /// The endpoint that a number drawn evenly falls to.
    pub fn of_hash(self, hash: u64) -> u16 {
        u16::try_from(hash % u64::from(self.count())).unwrap_or(0)
    }

    /// What of a peer's address says which endpoint it falls to: what one stranger may have all
    /// addresses of, so that there is one account of what is half-open with it.
    pub fn site(address: IpAddr) -> IpAddr {
        site(address)
    }

    fn of_spi(self, spi: IkeSpi) -> u16 {
        let [first, second, ..] = spi.0;
        u16::from_be_bytes([first, second]) % self.0
    }
}

/// Whether a message begins an IKE SA.
pub(crate) fn begins(header: &Header) -> bool {
    matches!(header.exchange, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_SESSION_RESUME)
        && !header.flags.is_response()
        && header.spi_r.is_zero()
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Shard {
    number: u16,
    shards: Shards,
    counters: Arc<Counters>,
}

/// Numbers of SAs, in the order in which they begin on the whole host.
#[derive(Debug, Default)]
struct Counters {
    ike_sas: AtomicU32,
    child_sas: AtomicU32,
}

impl Shard {
    /// The one that there is.
    pub fn alone() -> Self {
        Self { number: 0, shards: Shards::ONE, counters: Arc::default() }
    }

    /// All of a host, in the order of their numbers.
    pub fn all(shards: Shards) -> Vec<Self> {
        let counters = Arc::<Counters>::default();
        let one = |number| Self { number, shards, counters: Arc::clone(&counters) };
        (0..shards.count()).map(one).collect()
    }

    /// Its number; they count from 0.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether there is no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.shards == Shards::ONE
    }

    /// Its share of what the host allows.
    pub(crate) fn share_of(&self, limit: usize) -> usize {
        limit.div_ceil(self.shards.count().into())
    }

    pub(crate) fn next_ike_sa(&self) -> IkeSaId {
        IkeSaId(next(&self.counters.ike_sas))
    }

    pub(crate) fn next_child_sa(&self) -> ChildSaId {
        ChildSaId(next(&self.counters.child_sas))
    }

    /// The number of the job that is the so-many-th of this endpoint.
    pub(crate) fn job(&self, count: u64) -> JobId {
        let all = u64::from(self.shards.count());
        JobId(count.wrapping_mul(all).wrapping_add(self.number.into()))
    }

    /// An IKE SA's SPI made one of this endpoint.
    pub(crate) fn own_ike(&self, spi: IkeSpi) -> IkeSpi {
        let [first, second, rest @ ..] = spi.0;
        let [first, second] = self.own(u16::from_be_bytes([first, second])).to_be_bytes();
        let [a, b, c, d, e, f] = rest;
        IkeSpi([first, second, a, b, c, d, e, f])
    }

    /// A child SA's SPI made one of this endpoint: no two draw the same. The top bit, which says whose
    /// engine has it, and the lower half, which may say whose thread, stay.
    pub(crate) fn own_child(&self, spi: Spi) -> Spi {
        let middle = u16::try_from(spi.0 >> HALF & MIDDLE).unwrap_or(0);
        let mut owned = self.own(middle);
        if u32::from(owned) > MIDDLE {
            owned = owned.saturating_sub(self.shards.count());
        }
        Spi(spi.0 & !(MIDDLE << HALF) | u32::from(owned) << HALF)
    }

    /// Whether an SPI is one of this endpoint.
    pub(crate) fn owns_child(&self, spi: Spi) -> bool {
        (spi.0 >> HALF & MIDDLE) % u32::from(self.shards.count()) == u32::from(self.number)
    }

    /// A CPI made one of this endpoint.
    pub(crate) fn own_cpi(&self, cpi: Cpi) -> Cpi {
        Cpi(self.own(cpi.0))
    }

    /// The nearest number that leaves ours when divided by the number of all.
    fn own(&self, drawn: u16) -> u16 {
        let first = drawn.saturating_sub(drawn % self.shards.0);
        let own = first.checked_add(self.number);
        own.unwrap_or_else(|| first.saturating_sub(self.shards.count()).saturating_add(self.number))
    }
}

/// The bits of a child SA's SPI below those that say whose it is.
const HALF: u32 = 16;
/// Those that do: all above but the top one.
const MIDDLE: u32 = 0x7fff;

fn next(counter: &AtomicU32) -> u32 {
    loop {
        let number = counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if number != 0 {
            return number;
        }
    }
}

/// What one endpoint tells the others of its host; the program hands it to each of them, with
/// [`Endpoint::handle_tidings`](crate::Endpoint::handle_tidings), in the same order; those of
/// [`Self::effort_for`] to one alone.
#[derive(Clone, Debug)]
pub struct Tidings(pub(crate) Tiding);

/// See there.
#[derive(Clone, Debug)]
pub(crate) enum Tiding {
    /// An IKE SA is established.
    Up(Box<Arrival>),
    /// An IKE SA took the place of another.
    Rekeyed { pair: Pair, old: IkeSaId, new: IkeSaId },
    /// An IKE SA is gone.
    Down { pair: Pair, id: IkeSaId },
    /// An IKE SA is to go: a newer one of the teller's, or an older one, is to be the only one.
    Goes(IkeSaId),
    /// Tickets of an IKE SA are void (RFC 5723); if it is still there it has been resumed elsewhere.
    TicketsVoid(TicketId),
    /// What an operator wants of a connection.
    Wish { connection: ConnectionName, wish: Wish },
    /// A command waits for a child of a connection that is brought up elsewhere.
    Waits { connection: ConnectionName, child: Option<ChildName>, request: RequestId },
    /// A packet wants a child of such a connection.
    Wants { connection: ConnectionName, child: ChildName, flow: Option<FlowKey> },
}

impl Tidings {
    /// The connection whose effort is handed on: these tidings are for the endpoint that brings it up
    /// and no other, be it the teller. If the connection is not there any more, any one endpoint says so.
    pub fn effort_for(&self) -> Option<&ConnectionName> {
        match &self.0 {
            Tiding::Waits { connection, .. } | Tiding::Wants { connection, .. } => Some(connection),
            Tiding::Up(_)
            | Tiding::Rekeyed { .. }
            | Tiding::Down { .. }
            | Tiding::Goes(_)
            | Tiding::TicketsVoid(_)
            | Tiding::Wish { .. } => None,
        }
    }
}

/// An IKE SA that has come up.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: IkeSaId,
    pub(crate) pair: Pair,
    pub(crate) entry: RosterEntry,
    pub(crate) initial_contact: bool,
    pub(crate) unique: Unique,
}

/// What holds for a connection whoever brings it up.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// It stays down.
    Hold,
    /// A child of it stays down.
    HoldChild(ChildName),
    /// It may come up.
    Lift,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(shards: u16, number: u16) -> (Shards, Shard) {
        let shards = Shards::new(shards);
        let number = number % shards.count();
        (shards, Shard::all(shards).into_iter().nth(number.into()).unwrap())
    }

    #[test]
    fn numbers_of_sas_are_one_row_whoever_counts() {
        let shards = Shard::all(Shards::new(3));
        let ids = [2, 0, 1, 0].map(|shard: usize| shards[shard].next_ike_sa().0);
        assert_eq!(ids, [1, 2, 3, 4]);
        assert_eq!(shards[1].next_child_sa(), ChildSaId(1));
        assert_eq!(Shards::new(0), Shards::ONE);
        assert_eq!(Shards::new(u16::MAX).count(), Shards::MAX);
    }

    #[test]
    fn what_is_no_ike_message_is_for_nobody() {
        for octets in [&[][..], &[0xff; 27], &[0; 16]] {
            assert_eq!(Shards::new(4).addressee(octets), Addressee::Nobody);
        }
    }

    proptest! {
        /// Whatever is drawn, what is made of it is of the endpoint that drew it, and one alone changes
        /// nothing.
        #[test]
        fn what_an_endpoint_draws_is_its_own(
            count in 1u16..=Shards::MAX,
            number: u16,
            ike: [u8; 8],
            child: u32,
            cpi: u16,
            job in 0u64..1 << 40,
        ) {
            let (shards, shard) = one(count, number);
            prop_assert_eq!(shards.of_spi(shard.own_ike(IkeSpi(ike))), shard.number());
            prop_assert_eq!(shards.of_job(shard.job(job)), shard.number());
            let own = shard.own_child(Spi(child));
            prop_assert!(shard.owns_child(own));
            prop_assert_eq!(own.0 & 0x8000_ffff, child & 0x8000_ffff);
            prop_assert_eq!(shard.own_cpi(Cpi(cpi)).0 % shards.count(), shard.number());
            let alone = Shard::alone();
            prop_assert_eq!(alone.own_ike(IkeSpi(ike)), IkeSpi(ike));
            prop_assert_eq!(alone.own_child(Spi(child)), Spi(child));
            prop_assert_eq!(alone.own_cpi(Cpi(cpi)), Cpi(cpi));
            prop_assert_eq!(alone.job(job), JobId(job));
        }

        /// No octets of a stranger lead to an endpoint that there is not.
        #[test]
        fn any_octets_are_for_somebody_or_nobody(
            count in 1u16..=Shards::MAX,
            octets in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Addressee::Shard(number) = Shards::new(count).addressee(&octets) {
                prop_assert!(number < count);
            }
        }
    }
}
