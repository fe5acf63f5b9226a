//! The ike role's shards: which of them an IKE message, a tunnel and an answer are for, and the ways
//! to them.
//!
//! A message on an IKE SA has our SPI, which says it. One that begins an IKE SA goes by the address of
//! the peer, so that a peer's IKE SAs are in one place as a rule; under a key, so that nobody can
//! choose whose work it is.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::TrySendError;

use adit_db::{Connection, HostSpec, IkeVersion};
use adit_ike::{Addressee, AuthResult, IcmpHeard, JobId, Path, Shards, TcpProblem};
use adit_sys::wake::CommandSender;

use crate::message::{Fleet, Input, ToIke, ToShard};

/// Who has what.
#[derive(Clone, Debug)]
pub(crate) struct ShardMap {
    shards: Shards,
    key: RandomState,
}

impl ShardMap {
    /// A map with a key that nobody knows.
    pub(crate) fn new(shards: Shards) -> Self {
        Self { shards, key: RandomState::new() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        self.shards.count()
    }

    /// The shard that waits for a job.
    pub(crate) fn of_job(&self, job: JobId) -> u16 {
        self.shards.of_job(job)
    }

    /// The shard that a tunnel is brought up by, unless one of its IKE SAs is elsewhere: where the peer
    /// would come to, if its address is known.
    pub(crate) fn home(&self, connection: &Connection) -> u16 {
        if connection.ike == IkeVersion::V1 {
            return Shards::OF_V1;
        }
        let single = connection.remote_addresses.iter().find(|host| host.is_single());
        match single {
            Some(HostSpec::Address(address)) => self.of_address(*address),
            Some(HostSpec::Name(_) | HostSpec::Any | HostSpec::Network(_)) | None => {
                self.shards.of_hash(self.key.hash_one(connection.name.as_str()))
            }
        }
    }

    /// The shard that a datagram is for; `None` if it is no IKE message.
    fn of_datagram(&self, path: Path, octets: &[u8]) -> Option<u16> {
        match self.shards.addressee(octets) {
            Addressee::Shard(number) => Some(number),
            Addressee::Opening => Some(self.of_address(path.remote.ip())),
            Addressee::Nobody => None,
        }
    }

    fn of_address(&self, address: IpAddr) -> u16 {
        self.shards.of_hash(self.key.hash_one(Shards::site(address)))
    }
}

/// Why a shard did not take something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// It has no room.
    Full,
    /// It has ended.
    Gone,
}

impl<T> From<TrySendError<T>> for Refused {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Disconnected(_) => Self::Gone,
        }
    }
}

/// The ways to all shards; the first is the ike role itself.
#[derive(Clone)]
pub(crate) struct ShardLinks {
    map: ShardMap,
    first: CommandSender<ToIke>,
    others: Fleet<ToShard>,
    dropped: Arc<AtomicU64>,
    /// Messages in bundles that each of the others has not taken yet.
    under_way: Arc<[AtomicUsize]>,
}

impl ShardLinks {
    /// The ways to as many as the map knows.
    pub(crate) fn new(map: ShardMap, first: CommandSender<ToIke>, others: Fleet<ToShard>) -> Self {
        let under_way = (0..others.count()).map(|_| AtomicUsize::new(0)).collect();
        Self { map, first, others, dropped: Arc::default(), under_way }
    }

    /// Who has what.
    pub(crate) fn map(&self) -> &ShardMap {
        &self.map
    }

    /// The shards beside the first.
    pub(crate) fn others(&self) -> &Fleet<ToShard> {
        &self.others
    }

    /// What was dropped: datagrams that are no IKE messages, or more than could be taken.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts something dropped.
    pub(crate) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages that are on the way to a shard in bundles, each of which
    /// [`Self::take_off`] takes off again.
    pub(crate) fn send_off(&self, number: u16, messages: usize) {
        if let Some(under_way) = self.under_way_to(number) {
            under_way.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// A shard takes one of those messages, or has no room for so many.
    pub(crate) fn take_off(&self, number: u16, messages: usize) {
        if let Some(under_way) = self.under_way_to(number) {
            under_way.fetch_sub(messages, Ordering::Relaxed);
        }
    }

    /// How many of them are on the way.
    pub(crate) fn under_way(&self, number: u16) -> usize {
        self.under_way_to(number).map_or(0, |under_way| under_way.load(Ordering::Relaxed))
    }

    fn under_way_to(&self, number: u16) -> Option<&AtomicUsize> {
        self.under_way.get(usize::from(number).checked_sub(1)?)
    }

    /// The shard that a datagram is for; what is no IKE message is counted.
    pub(crate) fn addressee(&self, path: Path, octets: &[u8]) -> Option<u16> {
        let addressee = self.map.of_datagram(path, octets);
        if addressee.is_none() {
            self.drop_one();
        }
        addressee
    }

    /// Queues a datagram for whom it is for, whom [`Self::ring`] wakes, without waiting; false if there
    /// was no room.
    pub(crate) fn try_push_datagram(&self, path: Path, octets: &[u8]) -> bool {
        let Some(number) = self.addressee(path, octets) else { return true };
        let input = Input::Datagram { path, octets: octets.to_vec() };
        let queued = self.try_push(number, input).is_ok();
        if !queued {
            self.drop_one();
        }
        queued
    }

    /// The same of a message in a stream, of which none is lost: false if it has to be tried again, as
    /// there is no room for it yet.
    pub(crate) fn try_push_streamed(&self, path: Path, octets: &[u8]) -> bool {
        let Some(number) = self.addressee(path, octets) else { return true };
        let input = Input::Datagram { path, octets: octets.to_vec() };
        self.try_push(number, input) != Err(Refused::Full)
    }

    /// Queues an ICMP error for all, whom [`Self::ring`] wakes, without waiting: the peer may have IKE
    /// SAs with any.
    pub(crate) fn try_push_unreachable(&self, path: Path, icmp: Option<&IcmpHeard>) {
        for number in 0..self.map.count() {
            if self.try_push(number, Input::Unreachable(path, icmp.cloned())).is_err() {
                self.drop_one();
            }
        }
    }

    /// Tells all that a TCP connection is gone, as [`Self::try_push_unreachable`].
    pub(crate) fn try_push_tcp_lost(&self, path: Path, problem: TcpProblem) {
        for number in 0..self.map.count() {
            if self.try_push(number, Input::TcpLost(path, problem)).is_err() {
                self.drop_one();
            }
        }
    }

    /// Queues the result of a job for the shard that waits for it, which [`Self::ring`] wakes, without
    /// waiting.
    ///
    /// # Errors
    ///
    /// See [`Refused`].
    pub(crate) fn try_push_auth(&self, job: JobId, result: &AuthResult) -> Result<(), Refused> {
        self.try_push(self.map.of_job(job), Input::Auth(job, result.clone()))
    }

    /// Gives what a lookup found to the shard that waits for it.
    pub(crate) fn send_resolved(&self, job: JobId, addresses: Vec<IpAddr>) {
        let input = Input::Resolved(job, addresses);
        let _ = match self.other(self.map.of_job(job)) {
            Some(other) => other.send(ToShard::Input(input)).is_ok(),
            None => self.first.send(ToIke::Input(input)).is_ok(),
        };
    }

    /// Wakes those for whom something was queued.
    pub(crate) fn ring(&self) {
        self.first.ring();
        self.others.ring();
    }

    /// Queues an input, without waiting.
    fn try_push(&self, number: u16, input: Input) -> Result<(), Refused> {
        match self.other(number) {
            Some(other) => other.try_push(ToShard::Input(input)).map_err(Refused::from),
            None => self.first.try_push(ToIke::Input(input)).map_err(Refused::from),
        }
    }

    /// The way to a shard that is not the first.
    pub(crate) fn other(&self, number: u16) -> Option<&CommandSender<ToShard>> {
        self.others.get(usize::from(number).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use adit_sys::wake::{Next, channel};

    use super::*;

    fn path(remote: &str) -> Path {
        let local = "192.0.2.1:500".parse().unwrap();
        Path::udp(local, format!("{remote}:500").parse().unwrap())
    }

    /// An IKE header alone: version 2, exchange and flags as given.
    fn message(spi_i: u8, spi_r: [u8; 8], exchange: u8, flags: u8) -> Vec<u8> {
        let mut octets = vec![spi_i; 8];
        octets.extend(spi_r);
        octets.extend([0, 0x20, exchange, flags, 0, 0, 0, 0, 0, 0, 0, 28]);
        octets
    }

    const IKE_SA_INIT: u8 = 34;
    const INFORMATIONAL: u8 = 37;
    const INITIATOR: u8 = 0x08;

    #[test]
    fn what_begins_goes_by_address_and_all_else_by_our_spi() {
        let map = ShardMap::new(Shards::new(4));
        let begin = message(7, [0; 8], IKE_SA_INIT, INITIATOR);
        let of = |remote: &str| map.of_datagram(path(remote), &begin).unwrap();
        let spread: std::collections::BTreeSet<u16> =
            (1..=200).map(|last| of(&format!("198.51.100.{last}"))).collect();
        assert_eq!(spread.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(of("198.51.100.7"), of("198.51.100.7"));
        // Of IPv6 a stranger has a /64.
        let v6 = |text: &str| map.of_address(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"));

        for first in 0..=u8::MAX {
            let request = message(9, [0, first, 1, 1, 1, 1, 1, 1], INFORMATIONAL, INITIATOR);
            let by_spi = map.of_datagram(path("203.0.113.1"), &request);
            assert_eq!(by_spi, Some(u16::from(first) % 4));
            assert_eq!(map.of_datagram(path("203.0.113.2"), &request), by_spi);
        }
    }

    #[test]
    fn a_tunnel_is_brought_up_where_its_peer_would_come_to() {
        let map = ShardMap::new(Shards::new(8));
        let mut connection = Connection::new("tunnel".parse().unwrap());
        connection.remote_addresses = vec!["198.51.100.9".parse().unwrap()];
        let begin = message(7, [0; 8], IKE_SA_INIT, INITIATOR);
        let comes_to = map.of_datagram(path("198.51.100.9"), &begin);
        assert_eq!(Some(map.home(&connection)), comes_to);
        connection.remote_addresses = vec!["%any".parse().unwrap()];
        assert!(map.home(&connection) < 8);
    }

    #[test]
    fn a_message_goes_to_one_shard_and_what_is_none_is_counted() {
        let (first, to_first) = channel(4).unwrap();
        let (second, to_second) = channel(4).unwrap();
        let map = ShardMap::new(Shards::new(2));
        let links = ShardLinks::new(map, first, Fleet::new(vec![second]));
        let of_second = message(9, [0, 1, 0, 0, 0, 0, 0, 0], INFORMATIONAL, INITIATOR);
        assert!(links.try_push_datagram(path("203.0.113.1"), &of_second));
        assert_eq!(links.try_push_auth(JobId(4), &AuthResult::Verified), Ok(()));
        assert!(links.try_push_datagram(path("203.0.113.1"), &[0xff; 20]));
        assert_eq!(links.dropped(), 1);
        let Next::Command(ToShard::Input(Input::Datagram { octets, .. })) = to_second.next() else {
            panic!("the second shard has nothing");
        };
        assert_eq!(octets, of_second);
        let Next::Command(ToIke::Input(Input::Auth(job, _))) = to_first.next() else {
            panic!("the first shard has nothing");
        };
        assert_eq!(job, JobId(4));
        assert!(matches!((to_first.next(), to_second.next()), (Next::Empty, Next::Empty)));
        for _ in 0..5 {
            links.try_push_datagram(path("203.0.113.1"), &of_second);
        }
        assert_eq!(links.dropped(), 2);

        // The second is full, the first is not, and neither is waited for.
        links.try_push_unreachable(path("203.0.113.1"), None);
        assert_eq!(links.dropped(), 3);
        let first = to_first.next();
        assert!(matches!(first, Next::Command(ToIke::Input(Input::Unreachable(..)))));
        let refused = links.try_push_auth(JobId(5), &AuthResult::Verified);
        assert_eq!(refused, Err(Refused::Full));
        drop(to_second);
        let refused = links.try_push_auth(JobId(5), &AuthResult::Verified);
        assert_eq!(refused, Err(Refused::Gone));
    }

    #[test]
    fn what_is_under_way_is_counted_for_each_shard() {
        let (first, _to_first) = channel(4).unwrap();
        let (second, _to_second) = channel(4).unwrap();
        let links = ShardLinks::new(ShardMap::new(Shards::new(2)), first, Fleet::new(vec![second]));
        links.send_off(1, 7);
        links.clone().take_off(1, 3);
        assert_eq!((links.under_way(0), links.under_way(1)), (0, 4));
    }
}
