//! The loaded connections, found by what a peer shows: its address first (RFC 7296 §1.2, IKE_SA_INIT),
//! its identity later (IKE_AUTH; RFC 4301 §4.4.3.1).
//!
//! Ten thousand connections that begin alike are one [`Opening`]: what a stranger can ask of us costs
//! as much with one connection as with all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use adit_db::{Connection, ConnectionName, HostSpec, Identity, IkeVersion};
use adit_pki::KemKeyId;

use crate::command::Path;
use crate::hash::FixedHash;
use crate::v2::udp_encap;

/// All of them, by name, with two indexes.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_name: HashMap<ConnectionName, Arc<Connection>, FixedHash>,
    /// By the peer's address, where one is configured; under `None` all that name another host than
    /// by its address.
    openings: BTreeMap<Option<IpAddr>, Vec<Opening>>,
    /// Those that take one identity of the peer.
    by_identity: HashMap<Identity, Vec<ConnectionName>, FixedHash>,
    /// Those that begin with static ML-KEM keys, by the peer's.
    by_static_kem: BTreeMap<KemKeyId, BTreeSet<ConnectionName>>,
}

/// Connections with the same addresses, proposals and gateway to go to instead: IKE_SA_INIT does not tell them apart.
#[derive(Debug, Default)]
struct Opening {
    names: BTreeSet<ConnectionName>,
    /// Those of them that take more than one identity.
    patterns: BTreeSet<ConnectionName>,
    /// Those of them that do not prefer ESP in UDP.
    plain: BTreeSet<ConnectionName>,
    /// Those of them that have a post-quantum key (RFC 8784).
    ppks: BTreeSet<ConnectionName>,
    /// Those of them with several authentications (RFC 4739).
    rounds: BTreeSet<ConnectionName>,
}

impl Connections {
    /// Adds a connection or replaces the one of the same name, which comes back.
    pub(crate) fn insert(&mut self, connection: Arc<Connection>) -> Option<Arc<Connection>> {
        let before = self.remove(&connection.name);
        let name = &connection.name;
        for place in places(&connection) {
            let at = self.opening_at(place, &connection);
            let openings = self.openings.entry(place).or_default();
            let place = at.unwrap_or(openings.len());
            if at.is_none() {
                openings.push(Opening::default());
            }
            if let Some(opening) = openings.get_mut(place) {
                opening.names.insert(name.clone());
                if connection.pad.remote_id.exact().is_none() {
                    opening.patterns.insert(name.clone());
                }
                if !udp_encap::is_preferred(&connection) {
                    opening.plain.insert(name.clone());
                }
                if connection.pad.ppk.is_some() {
                    opening.ppks.insert(name.clone());
                }
                if connection.pad.has_more_rounds() {
                    opening.rounds.insert(name.clone());
                }
            }
        }
        if let Some(identity) = connection.pad.remote_id.exact() {
            self.by_identity.entry(identity.canonical()).or_default().push(name.clone());
        }
        if let Some(keys) = &connection.pad.static_kem {
            self.by_static_kem.entry(keys.remote_id()).or_default().insert(name.clone());
        }
        self.by_name.insert(name.clone(), connection);
        before
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, name: &ConnectionName) -> Option<Arc<Connection>> {
        let connection = self.by_name.get(name).cloned()?;
        for place in places(&connection) {
            let at = self.opening_at(place, &connection);
            let Some(openings) = self.openings.get_mut(&place) else { continue };
            if let Some((at, opening)) = at.and_then(|at| Some((at, openings.get_mut(at)?))) {
                opening.names.remove(name);
                opening.patterns.remove(name);
                opening.plain.remove(name);
                opening.ppks.remove(name);
                opening.rounds.remove(name);
                if opening.names.is_empty() {
                    openings.swap_remove(at);
                }
            }
            if openings.is_empty() {
                self.openings.remove(&place);
            }
        }
        if let Some(identity) = connection.pad.remote_id.exact() {
            let identity = identity.canonical();
            if let Some(names) = self.by_identity.get_mut(&identity) {
                names.retain(|known| known != name);
                if names.is_empty() {
                    self.by_identity.remove(&identity);
                }
            }
        }
        if let Some(keys) = &connection.pad.static_kem
            && let Some(names) = self.by_static_kem.get_mut(&keys.remote_id())
        {
            names.remove(name);
            if names.is_empty() {
                self.by_static_kem.remove(&keys.remote_id());
            }
        }
        self.by_name.remove(name)
    }

    /// The connection of this name.
    pub(crate) fn get(&self, name: &ConnectionName) -> Option<&Arc<Connection>> {
        self.by_name.get(name)
    }

    /// The connections for a path, those that name it most exactly first, then by name. Of those that
    /// begin alike only the first.
    pub(crate) fn openings(&self, path: Path) -> Vec<&Arc<Connection>> {
        let mut ranked: Vec<(u8, &Arc<Connection>)> =
            self.near(path).map(|(rank, connection, _)| (rank, connection)).collect();
        ranked.sort_by_key(|(rank, connection)| (std::cmp::Reverse(*rank), &connection.name));
        ranked.dedup_by_key(|(_, connection)| &connection.name);
        ranked.into_iter().map(|(_, connection)| connection).collect()
    }

    /// The connections for a path whose static ML-KEM keys are these two, ours and the peer's, those that
    /// name the path most exactly first, then by name.
    pub(crate) fn with_static_kem(
        &self,
        path: Path,
        local: KemKeyId,
        remote: KemKeyId,
    ) -> Vec<&Arc<Connection>> {
        let names = self.by_static_kem.get(&remote).into_iter().flatten();
        let mut ranked: Vec<_> = names
            .filter_map(|name| self.by_name.get(name))
            .filter(|connection| {
                let keys = connection.pad.static_kem.as_ref();
                connection.ike == IkeVersion::V2 && keys.is_some_and(|keys| keys.local() == local)
            })
            .filter_map(|connection| Some((address_rank(connection, path)?, connection)))
            .collect();
        ranked.sort_by_key(|(rank, connection)| (std::cmp::Reverse(*rank), &connection.name));
        ranked.into_iter().map(|(_, connection)| connection).collect()
    }

    /// The connections for a path that `fits`, with the rank of their addresses, that may take a peer
    /// of this identity; in no order. `fits` is asked about proposals.
    pub(crate) fn accepting<'a>(
        &'a self,
        path: Path,
        identity: &Identity,
        fits: &impl Fn(&Connection) -> bool,
    ) -> Vec<(u8, &'a Arc<Connection>)> {
        let named = self.by_identity.get(&identity.canonical());
        let named = named.into_iter().flatten().filter_map(|name| {
            let connection = self.by_name.get(name)?;
            Some((address_rank(connection, path)?, connection))
        });
        let named = named.filter(|(_, connection)| connection.ike == IkeVersion::V2);
        let mut found: Vec<_> = named.filter(|(_, connection)| fits(connection)).collect();
        for (rank, first, opening) in self.near(path) {
            if !opening.patterns.is_empty() && fits(first) {
                let connections = opening.patterns.iter().filter_map(|name| self.by_name.get(name));
                let accepts = connections.filter(|connection| connection.pad.accepts(identity));
                found.extend(accepts.map(|connection| (rank, connection)));
            }
        }
        found
    }

    /// The first connections by name for a path that `fits`.
    pub(crate) fn first(
        &self,
        path: Path,
        count: usize,
        fits: &impl Fn(&Connection) -> bool,
    ) -> Vec<&Arc<Connection>> {
        let fitting = self.near(path).filter(|(_, first, _)| fits(first));
        let names: BTreeSet<_> =
            fitting.flat_map(|(.., opening)| opening.names.iter().take(count)).collect();
        names.into_iter().take(count).filter_map(|name| self.by_name.get(name)).collect()
    }

    /// Whether all connections for a path that `fits` prefer ESP in UDP. `fits` is asked about
    /// proposals.
    pub(crate) fn all_prefer_udp(&self, path: Path, fits: &impl Fn(&Connection) -> bool) -> bool {
        let mut fitting = self.near(path).filter(|(_, first, _)| fits(first));
        fitting.all(|(.., opening)| opening.plain.is_empty())
    }

    /// Whether any connection for a path that `fits` has a post-quantum key.
    pub(crate) fn any_has_ppk(&self, path: Path, fits: &impl Fn(&Connection) -> bool) -> bool {
        let mut fitting = self.near(path).filter(|(_, first, _)| fits(first));
        fitting.any(|(.., opening)| !opening.ppks.is_empty())
    }

    /// Whether any connection for a path that `fits` has several authentications.
    pub(crate) fn any_has_rounds(&self, path: Path, fits: &impl Fn(&Connection) -> bool) -> bool {
        let mut fitting = self.near(path).filter(|(_, first, _)| fits(first));
        fitting.any(|(.., opening)| !opening.rounds.is_empty())
    }

    /// The connections of IKEv1 for a path, those that name it most exactly first, then by name.
    pub(crate) fn of_v1(&self, path: Path) -> Vec<&Arc<Connection>> {
        let near = self.near_with(path, IkeVersion::V1);
        let mut ranked: Vec<(u8, &Arc<Connection>)> = near
            .flat_map(|(rank, _, opening)| {
                opening.names.iter().take(ALIKE_MAX).map(move |name| (rank, name))
            })
            .filter_map(|(rank, name)| Some((rank, self.by_name.get(name)?)))
            .collect();
        ranked.sort_by_key(|(rank, connection)| (std::cmp::Reverse(*rank), &connection.name));
        ranked.dedup_by_key(|(_, connection)| &connection.name);
        ranked.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Those of them that may take a peer of this identity: first that name it alone, however many others
    /// begin alike, and of these first that name its address most exactly.
    pub(crate) fn of_v1_accepting(&self, path: Path, identity: &Identity) -> Vec<&Arc<Connection>> {
        let named = self.by_identity.get(&identity.canonical()).into_iter().flatten();
        let named = named.filter_map(|name| self.by_name.get(name));
        let mut ranked: Vec<(u8, &Arc<Connection>)> = named
            .filter(|connection| connection.ike == IkeVersion::V1)
            .filter_map(|connection| Some((address_rank(connection, path)?, connection)))
            .take(ALIKE_MAX)
            .collect();
        ranked.sort_by_key(|(rank, connection)| (std::cmp::Reverse(*rank), &connection.name));
        let mut found: Vec<_> = ranked.into_iter().map(|(_, connection)| connection).collect();
        for (_, _, opening) in self.near_with(path, IkeVersion::V1) {
            let patterns = opening.patterns.iter().filter_map(|name| self.by_name.get(name));
            let accepts = patterns.filter(|connection| connection.pad.accepts(identity));
            found.extend(accepts.take(ALIKE_MAX));
        }
        found
    }

    /// The openings of IKEv2 for a path, each with the rank of its addresses and its first connection.
    fn near(&self, path: Path) -> impl Iterator<Item = (u8, &Arc<Connection>, &Opening)> {
        self.near_with(path, IkeVersion::V2)
    }

    fn near_with(
        &self,
        path: Path,
        version: IkeVersion,
    ) -> impl Iterator<Item = (u8, &Arc<Connection>, &Opening)> {
        let exact = self.openings.get(&Some(path.remote.ip()));
        let all = [exact, self.openings.get(&None)].into_iter().flatten().flatten();
        all.filter_map(move |opening| {
            let first = self.by_name.get(opening.names.first()?)?;
            let first = Some(first).filter(|first| first.ike == version)?;
            Some((address_rank(first, path)?, first, opening))
        })
    }

    /// Where the opening of a connection is among those of a place.
    fn opening_at(&self, place: Option<IpAddr>, connection: &Connection) -> Option<usize> {
        self.openings.get(&place)?.iter().position(|opening| {
            let first = opening.names.first().and_then(|name| self.by_name.get(name));
            first.is_some_and(|first| begin_alike(first, connection))
        })
    }
}

/// Connections of IKEv1 that begin alike and are looked at: a stranger can ask for it.
const ALIKE_MAX: usize = 16;

/// Where a connection is looked for.
fn places(connection: &Connection) -> BTreeSet<Option<IpAddr>> {
    let hosts = &connection.remote_addresses;
    let elsewhere = hosts.is_empty().then_some(None);
    hosts.iter().map(HostSpec::address).chain(elsewhere).collect()
}

/// Whether nothing that IKE_SA_INIT shows tells these apart. Whatever name a host has, it may come
/// from anywhere.
fn begin_alike(one: &Connection, other: &Connection) -> bool {
    let alike = |one: &HostSpec, other: &HostSpec| {
        let anywhere = |host: &HostSpec| matches!(host, HostSpec::Any | HostSpec::Name(_));
        one == other || anywhere(one) && anywhere(other)
    };
    let all_alike = |one: &[HostSpec], other: &[HostSpec]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
    };
    all_alike(&one.local_addresses, &other.local_addresses)
        && all_alike(&one.remote_addresses, &other.remote_addresses)
        && one.ike == other.ike
        && one.proposals == other.proposals
        && one.redirect.to == other.redirect.to
}

/// How exactly a connection names the addresses of a path; `None` if it excludes them. A host
/// name fits any address: who it is, the identity says.
pub(crate) fn address_rank(connection: &Connection, path: Path) -> Option<u8> {
    let rank_of = |hosts: &[HostSpec], address| match hosts {
        [] => Some(RANK_ANY),
        hosts => hosts.iter().filter_map(|host| host_rank(host, address)).max(),
    };
    rank_of(&connection.local_addresses, path.local.ip())?;
    rank_of(&connection.remote_addresses, path.remote.ip())
}

fn host_rank(host: &HostSpec, address: IpAddr) -> Option<u8> {
    let rank = match host {
        HostSpec::Any | HostSpec::Name(_) => RANK_ANY,
        HostSpec::Network(_) => RANK_NETWORK,
        HostSpec::Address(_) => RANK_ADDRESS,
    };
    host.contains(address).unwrap_or(true).then_some(rank)
}

const RANK_ANY: u8 = 0;
const RANK_NETWORK: u8 = 1;
/// The peer is known by its address.
pub(crate) const RANK_ADDRESS: u8 = 2;

#[cfg(test)]
mod tests {
    use adit_db::ProposalSpec;
    use proptest::prelude::*;

    use super::*;

    const HOSTS: [&str; 5] = ["192.0.2.1", "192.0.2.2", "192.0.2.0/24", "%any", "gw.example"];
    const IDENTITIES: [&str; 4] = ["a.example", "B.example", "*.example", "%any"];
    const PROPOSALS: [&str; 2] = ["aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-x25519"];

    fn connection((name, hosts, id, proposal): &(u8, Vec<usize>, usize, usize)) -> Arc<Connection> {
        let mut connection = Connection::new(format!("t{name}").parse().unwrap());
        connection.remote_addresses =
            hosts.iter().map(|host| HOSTS[*host].parse().unwrap()).collect();
        connection.pad.remote_id = IDENTITIES[*id].parse().unwrap();
        connection.proposals = ProposalSpec::ike_list(PROPOSALS[*proposal]).unwrap();
        Arc::new(connection)
    }

    fn path(remote: &str) -> Path {
        let local = "198.51.100.1:500".parse().unwrap();
        Path::udp(local, format!("{remote}:500").parse().unwrap())
    }

    fn loaded(list: &[(u8, Vec<usize>, usize, usize)]) -> Connections {
        let mut connections = Connections::default();
        for one in list {
            connections.insert(connection(one));
        }
        connections
    }

    #[test]
    fn many_that_begin_alike_are_one_opening() {
        let list: Vec<_> = (0..200).map(|name| (name, vec![0], 0, 0)).collect();
        let mut connections = loaded(&list);
        assert_eq!(connections.openings(path("192.0.2.1")).len(), 1);
        assert!(connections.openings(path("192.0.2.2")).is_empty());
        let first = connections.openings(path("192.0.2.1"))[0].name.clone();
        assert_eq!(first.as_str(), "t0");
        for (name, ..) in list {
            assert!(connections.remove(&format!("t{name}").parse().unwrap()).is_some());
        }
        assert!(connections.openings.is_empty() && connections.by_identity.is_empty());
    }

    proptest! {
        /// The indexes find what a walk over all connections finds.
        #[test]
        fn indexes_change_nothing_but_the_cost(
            list in prop::collection::vec(
                (0u8..6, prop::collection::vec(0usize..5, 0..3), 0usize..4, 0usize..2), 0..20),
            gone in 0u8..6,
        ) {
            let mut connections = loaded(&list);
            connections.remove(&format!("t{gone}").parse().unwrap());
            #[expect(clippy::disallowed_methods, reason = "sorted before use")]
            let mut all: Vec<_> = connections.by_name.values().cloned().collect();
            all.sort_by_key(|one| one.name.clone());
            for remote in ["192.0.2.1", "192.0.2.7", "203.0.113.1"] {
                let path = path(remote);
                for proposal in PROPOSALS {
                    let wanted = ProposalSpec::ike_list(proposal).unwrap();
                    let fits = |connection: &Connection| connection.proposals == wanted;
                    let near = || all.iter().filter(|one| fits(one)).filter_map(|one| {
                        Some((address_rank(one, path)?, one))
                    });
                    let expected = near().max_by_key(|(rank, one)| {
                        (*rank, std::cmp::Reverse(one.name.clone()))
                    });
                    let found = connections.openings(path).into_iter().find(|one| fits(one));
                    prop_assert_eq!(found.map(|one| &one.name), expected.map(|(_, one)| &one.name));

                    let identity: Identity = "b.EXAMPLE".parse().unwrap();
                    let mut expected: Vec<_> =
                        near().filter(|(_, one)| one.pad.accepts(&identity)).collect();
                    let mut found = connections.accepting(path, &identity, &fits);
                    expected.sort_by_key(|(_, one)| one.name.clone());
                    found.sort_by_key(|(_, one)| one.name.clone());
                    found.dedup_by_key(|(_, one)| one.name.clone());
                    prop_assert_eq!(found, expected);

                    let first: Vec<_> = near().take(2).map(|(_, one)| one).collect();
                    prop_assert_eq!(connections.first(path, 2, &fits), first);
                }
            }
        }
    }
}
