//! Addresses for remote clients: who has which, and who had it before.
//!
//! A client is whoever has proven its identity, or a user's. It gets the address that it had, as long as
//! nobody else needed it; two devices of one user that are there at the same time have one each. Leases
//! are in memory alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::IkeSaId;
use ipnet::IpNet;

/// Addresses that are remembered, those in use included.
const LEASES_MAX: usize = 65_536;

/// Who gets an address.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Client {
    /// The connection's name.
    pub(crate) connection: String,
    /// Whom it has proven to be.
    pub(crate) name: String,
}

/// All pools of an endpoint: an address has one holder, in however many of them it is.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    leases: BTreeMap<IpAddr, Lease>,
    /// Those of each client, by family.
    by_client: BTreeMap<(Client, bool), Vec<IpAddr>>,
    held: BTreeSet<(IkeSaId, IpAddr)>,
    /// Those that nobody holds, the oldest first.
    released: BTreeMap<u64, IpAddr>,
    /// Where the search for an address goes on.
    next: BTreeMap<IpNet, u128>,
    clock: u64,
}

#[derive(Debug)]
struct Lease {
    client: Client,
    device: String,
    /// The IKE SA that has it; if none, when it was released.
    holder: Result<IkeSaId, u64>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) client: Client,
    /// What its device says it is.
    pub(crate) device: &'a str,
    pub(crate) pool: &'a [IpNet],
    pub(crate) is_v6: bool,
    /// What the client would like.
    pub(crate) address: Option<IpAddr>,
    /// The IKE SA that has it from now on.
    pub(crate) holder: IkeSaId,
}

impl Pools {
    /// An address for a client: the one it has or had, else the one that it would like, else one that
    /// nobody has had, else the one that has been free for longest. `None` if all are in use.
    pub(crate) fn lease(&mut self, wanted: &Wanted<'_>) -> Option<IpAddr> {
        let Wanted { client, device, pool, is_v6, address, holder } = wanted;
        let is_in = |address: &IpAddr| {
            address.is_ipv6() == *is_v6 && pool.iter().any(|net| is_host(net, *address))
        };
        let own = self.of(client, device, *is_v6).into_iter().find(is_in);
        let liked = address.filter(is_in).filter(|it| !self.leases.contains_key(it));
        let found = own.or(liked).or_else(|| self.unused(pool, *is_v6));
        let found = found.or_else(|| self.oldest(is_in))?;
        self.forget(found);
        if self.leases.len() >= LEASES_MAX
            && let Some(oldest) = self.oldest(|_| true)
        {
            self.forget(oldest);
        }
        let (client, device) = (client.clone(), (*device).to_owned());
        self.held.insert((*holder, found));
        self.by_client.entry((client.clone(), *is_v6)).or_default().push(found);
        let lease = Lease { client, device, holder: Ok(*holder) };
        self.leases.insert(found, lease);
        Some(found)
    }

    /// The addresses that an IKE SA has been given are free, unless another has taken them over.
    pub(crate) fn release(&mut self, holder: IkeSaId) {
        let all = (holder, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..;
        let own = self.held.range(all).take_while(|(ike, _)| *ike == holder);
        let own: Vec<IpAddr> = own.map(|(_, address)| *address).collect();
        for address in own {
            self.held.remove(&(holder, address));
            if let Some(lease) = self.leases.get_mut(&address) {
                self.clock = self.clock.saturating_add(1);
                lease.holder = Err(self.clock);
                self.released.insert(self.clock, address);
            }
        }
    }

    /// The addresses that a client has or had, but for those that another device of it has now.
    pub(crate) fn of(&self, client: &Client, device: &str, is_v6: bool) -> Vec<IpAddr> {
        let all = self.by_client.get(&(client.clone(), is_v6)).into_iter().flatten().copied();
        let is_its = |address: &IpAddr| {
            let lease = self.leases.get(address);
            lease.is_some_and(|lease| lease.holder.is_err() || lease.device == device)
        };
        let mut its: Vec<IpAddr> = all.filter(is_its).collect();
        let is_others =
            |address: &IpAddr| self.leases.get(address).is_none_or(|lease| lease.device != device);
        its.sort_by_key(is_others);
        its
    }

    /// The addresses that clients of a connection have had and nobody has now, by client.
    pub(crate) fn past_of(&self, connection: &str) -> Vec<(IpAddr, String)> {
        let first = Client { connection: connection.to_owned(), name: String::new() };
        let all = self.by_client.range((first, false)..);
        let all = all.take_while(|((client, _), _)| client.connection == connection);
        let all = all.flat_map(|((client, _), had)| had.iter().map(|one| (*one, &client.name)));
        let is_past =
            |address: &IpAddr| self.leases.get(address).is_some_and(|lease| lease.holder.is_err());
        all.filter(|(one, _)| is_past(one)).map(|(one, name)| (one, name.clone())).collect()
    }

    fn oldest(&self, is_in: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.released.values().copied().find(is_in)
    }

    /// Takes a lease out.
    fn forget(&mut self, address: IpAddr) {
        let Some(lease) = self.leases.remove(&address) else { return };
        self.leave(address, &lease);
        let key = (lease.client, address.is_ipv6());
        if let Some(all) = self.by_client.get_mut(&key) {
            all.retain(|one| *one != address);
            if all.is_empty() {
                self.by_client.remove(&key);
            }
        }
    }

    fn leave(&mut self, address: IpAddr, lease: &Lease) {
        match lease.holder {
            Ok(holder) => self.held.remove(&(holder, address)),
            Err(since) => self.released.remove(&since).is_some(),
        };
    }

    /// An address that nobody has had, if there is one. The search goes on where it stopped, and looks at
    /// no more addresses than there are leases.
    fn unused(&mut self, pool: &[IpNet], is_v6: bool) -> Option<IpAddr> {
        for net in pool.iter().filter(|net| matches!(net, IpNet::V6(_)) == is_v6) {
            let (first, last) = hosts(net);
            let next = self.next.get(net).copied().unwrap_or(first).clamp(first, last);
            let mut number = next;
            for _ in 0..=self.leases.len() {
                let address = address_of(net, number);
                let after = if number >= last { first } else { number.saturating_add(1) };
                if !self.leases.contains_key(&address) {
                    self.next.insert(*net, after);
                    return Some(address);
                }
                number = after;
                if number == next {
                    break;
                }
            }
        }
        None
    }
}

/// First and last address of a network that a host may have, as numbers.
fn hosts(net: &IpNet) -> (u128, u128) {
    let (first, last) = (number_of(net.network()), number_of(net.broadcast()));
    match net {
        IpNet::V4(four) if four.prefix_len() >= 31 => (first, last),
        IpNet::V4(_) => (first.saturating_add(1), last.saturating_sub(1)),
        IpNet::V6(six) if six.prefix_len() >= 127 => (first, last),
        // The first is that of the routers (RFC 4291 §2.6.1).
        IpNet::V6(_) => (first.saturating_add(1), last),
    }
}

fn is_host(net: &IpNet, address: IpAddr) -> bool {
    let (first, last) = hosts(net);
    net.contains(&address) && (first..=last).contains(&number_of(address))
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six),
    }
}

fn address_of(net: &IpNet, number: u128) -> IpAddr {
    match net {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pools: &mut Pools, pool: &str, name: &str, liked: Option<&str>, ike: u32) -> String {
        ask_from(pools, "laptop", (pool, name), liked, ike)
    }

    fn ask_from(
        pools: &mut Pools,
        device: &str,
        (pool, name): (&str, &str),
        liked: Option<&str>,
        ike: u32,
    ) -> String {
        let pool: Vec<IpNet> = pool.split(' ').map(|net| net.parse().unwrap()).collect();
        let client = Client { connection: "oslo".to_owned(), name: name.to_owned() };
        let is_v6 = matches!(pool[0], IpNet::V6(_));
        let address = liked.map(|text| text.parse().unwrap());
        let holder = IkeSaId(ike);
        let wanted = Wanted { client, device, pool: &pool, is_v6, address, holder };
        pools.lease(&wanted).map_or_else(|| "none".to_owned(), |address| address.to_string())
    }

    /// CHECKLIST W05: who comes again has its address again, and who would like one gets it if it is free.
    #[test]
    fn an_address_is_kept_for_who_had_it() {
        let mut pools = Pools::default();
        let pool = "10.9.0.0/29";
        assert_eq!(ask(&mut pools, pool, "alice", None, 1), "10.9.0.1");
        assert_eq!(ask(&mut pools, pool, "bob", None, 2), "10.9.0.2");
        pools.release(IkeSaId(1));
        assert_eq!(ask(&mut pools, pool, "carol", None, 3), "10.9.0.3");
        assert_eq!(ask(&mut pools, pool, "alice", Some("10.9.0.5"), 4), "10.9.0.1");
        assert_eq!(ask(&mut pools, pool, "dave", Some("10.9.0.5"), 5), "10.9.0.5");
        // Somebody's, the network's, nobody's of this pool.
        for (name, liked) in [("e", "10.9.0.2"), ("f", "10.9.0.7")] {
            let given = ask(&mut pools, pool, name, Some(liked), 6);
            assert!(["10.9.0.4", "10.9.0.6"].contains(&given.as_str()), "{given}");
        }
        assert_eq!(ask(&mut pools, pool, "g", None, 7), "none");
        let past = pools.past_of("oslo");
        assert!(past.is_empty(), "{past:?}");
        assert!(pools.past_of("os").is_empty());
        // The IKE SA that took it over keeps it.
        pools.release(IkeSaId(1));
        pools.release(IkeSaId(2));
        let bobs = ("10.9.0.2".parse().unwrap(), "bob".to_owned());
        assert_eq!(pools.past_of("oslo"), [bobs]);
        assert_eq!(ask(&mut pools, pool, "g", Some("10.9.0.1"), 8), "10.9.0.2");
        assert_eq!(pools.leases.len(), 6);
        assert!(pools.released.is_empty());
    }

    #[test]
    fn pools_of_either_family_and_of_one_address() {
        let mut pools = Pools::default();
        assert_eq!(ask(&mut pools, "fd09::/64", "alice", None, 1), "fd09::1");
        assert_eq!(ask(&mut pools, "10.9.0.9/32", "alice", None, 1), "10.9.0.9");
        assert_eq!(ask(&mut pools, "10.9.0.9/32", "bob", None, 2), "none");
        assert_eq!(ask(&mut pools, "10.9.0.9/32 10.8.0.0/30", "bob", None, 2), "10.8.0.1");
        let alice = Client { connection: "oslo".to_owned(), name: "alice".to_owned() };
        assert_eq!(pools.of(&alice, "laptop", true), ["fd09::1".parse::<IpAddr>().unwrap()]);
        // Another pool: the old address is somebody else's once it is released.
        assert_eq!(ask(&mut pools, "10.7.0.0/24", "alice", None, 4), "10.7.0.1");
        assert_eq!(ask(&mut pools, "10.9.0.9/32", "carol", None, 3), "none");
        pools.release(IkeSaId(1));
        assert_eq!(ask(&mut pools, "10.9.0.9/32", "carol", None, 3), "10.9.0.9");
    }

    /// CHECKLIST W05, W07: two devices of one user have an address each, and each its own again.
    #[test]
    fn two_devices_of_one_user_have_one_each() {
        let mut pools = Pools::default();
        let of = ("10.9.0.0/24", "alice");
        assert_eq!(ask_from(&mut pools, "laptop", of, None, 1), "10.9.0.1");
        assert_eq!(ask_from(&mut pools, "phone", of, None, 2), "10.9.0.2");
        // The next phase 1 of the same device takes the address over.
        assert_eq!(ask_from(&mut pools, "laptop", of, None, 3), "10.9.0.1");
        pools.release(IkeSaId(1));
        assert_eq!(ask_from(&mut pools, "tablet", of, None, 4), "10.9.0.3");
        pools.release(IkeSaId(2));
        pools.release(IkeSaId(3));
        assert_eq!(ask_from(&mut pools, "phone", of, None, 5), "10.9.0.2");
        assert_eq!(ask_from(&mut pools, "desk", of, None, 6), "10.9.0.1");
    }

    /// What is remembered is bounded.
    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut pools = Pools::default();
        for number in 0..100 {
            let name = number.to_string();
            assert_ne!(ask(&mut pools, "10.9.0.0/28", &name, None, number), "none");
            pools.release(IkeSaId(number));
        }
        assert_eq!(pools.leases.len(), 14);
        assert_eq!(pools.by_client.len(), 14);
        assert_eq!(pools.released.len(), 14);
    }
}
