//! A configuration of a hundred thousand tunnels is given to the endpoints in slices, so that messages
//! of peers do not wait for all of it. Its policies are in force before the first of its tunnels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use adit_db::Connection;
use adit_ike::Command;
use adit_sys::clock;

use super::Running;
use crate::message::ToIke;

/// Tunnels that the endpoint gets between two looks at sockets and requests.
const SLICE: usize = 64;

/// What the endpoint does not have yet, in order.
#[derive(Debug, Default)]
pub(super) struct Loading {
    tunnels: VecDeque<Arc<Connection>>,
    /// What operators asked meanwhile that has to do with tunnels. Peers have no part in it.
    parked: VecDeque<ToIke>,
}

impl Loading {
    /// How long the role may sleep: not at all while something is left.
    pub(super) fn shorten(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.is_done() { timeout } else { Some(Duration::ZERO) }
    }

    /// Lets a request wait that relies on what is configured, unless nothing is left; gives back any
    /// other.
    pub(super) fn park(&mut self, request: ToIke) -> Option<ToIke> {
        if self.is_done() || !relies_on_configuration(&request) {
            return Some(request);
        }
        self.parked.push_back(request);
        None
    }

    /// Leaves out what is left; what waits for it need not wait.
    pub(super) fn forget_tunnels(&mut self) {
        self.tunnels.clear();
    }

    fn is_done(&self) -> bool {
        self.tunnels.is_empty() && self.parked.is_empty()
    }

    fn next_parked(&mut self) -> Option<ToIke> {
        if self.tunnels.is_empty() { self.parked.pop_front() } else { None }
    }

    fn next_slice(&mut self) -> impl Iterator<Item = Arc<Connection>> {
        self.tunnels.drain(..SLICE.min(self.tunnels.len()))
    }
}

impl Running {
    /// Takes a configuration, each tunnel of which is in one request: all of its policies, which
    /// [`Running::settle`] puts in force, and the tunnels that are only to be loaded for later.
    pub(super) fn configure(&mut self, requests: Vec<ToIke>) {
        let now = clock::now();
        let mut loads = VecDeque::with_capacity(requests.len());
        for request in requests {
            if let ToIke::Command(Command::Load(connection)) = request {
                loads.push_back(connection);
            } else {
                self.handle(request, now);
            }
        }
        for connection in &loads {
            self.policies.load(Arc::clone(connection));
            self.stale = true;
        }
        self.loading.tunnels.extend(loads);
    }

    /// Gives the endpoint some more; the policies are in force.
    pub(super) fn load_slice(&mut self) {
        let now = clock::now();
        let slice: Vec<_> = self.loading.next_slice().collect();
        for connection in slice {
            self.load(&connection, now);
        }
        self.drain();
    }

    /// Takes what has waited for the last of the tunnels; what is another configuration makes the rest
    /// wait again.
    pub(super) fn take_parked(&mut self) {
        while let Some(request) = self.loading.next_parked() {
            self.take(request);
        }
        self.settle();
    }
}

/// Whether a request is about what is configured, so that all of that has to be there.
fn relies_on_configuration(request: &ToIke) -> bool {
    match request {
        ToIke::Input(_)
        | ToIke::Outputs(..)
        | ToIke::Answer(..)
        | ToIke::ShardStopped(_)
        | ToIke::Packet(_)
        | ToIke::Network(_)
        | ToIke::Policies(..)
        | ToIke::Count(_)
        | ToIke::Show(_)
        | ToIke::Stop => false,
        ToIke::Command(_)
        | ToIke::Replace(_)
        | ToIke::Configure(_)
        | ToIke::Install { .. }
        | ToIke::Manual(_)
        | ToIke::SetPolicies(_)
        | ToIke::Snapshot(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use adit_ike::{Path, RequestId};

    use super::*;
    use crate::message::{Input, QueryId};

    fn loading(tunnels: usize) -> Loading {
        let name = |number: usize| format!("t{number}").parse().unwrap();
        let tunnels = (0..tunnels).map(|number| Arc::new(Connection::new(name(number)))).collect();
        Loading { tunnels, parked: VecDeque::new() }
    }

    #[test]
    fn operators_wait_in_their_order_and_nobody_else() {
        let mut loading = loading(SLICE + 1);
        assert!(loading.park(ToIke::Snapshot(QueryId(1))).is_none());
        assert!(loading.park(ToIke::Count(QueryId(2))).is_some());
        assert!(loading.park(ToIke::Snapshot(QueryId(3))).is_none());
        let _ = loading.next_slice().count();
        assert!(loading.next_parked().is_none());
        let _ = loading.next_slice().count();
        // Nobody sleeps while something is parked, and nobody comes before it.
        assert_eq!(loading.shorten(None), Some(Duration::ZERO));
        assert!(loading.park(ToIke::Snapshot(QueryId(4))).is_none());
        for number in [1, 3, 4] {
            let Some(ToIke::Snapshot(QueryId(next))) = loading.next_parked() else {
                panic!("{number} is not there");
            };
            assert_eq!(next, number);
        }
        assert!(loading.park(ToIke::Snapshot(QueryId(5))).is_some());
    }

    #[test]
    fn slices_come_in_order_and_nobody_sleeps_before_the_last() {
        let mut loading = loading(SLICE + 2);
        let second = Some(Duration::from_secs(1));
        assert_eq!(loading.shorten(second), Some(Duration::ZERO));
        assert_eq!(loading.shorten(None), Some(Duration::ZERO));
        let names = |slice: &mut Loading| -> Vec<String> {
            slice.next_slice().map(|connection| connection.name.to_string()).collect()
        };
        let first = names(&mut loading);
        assert_eq!((first.len(), &*first[0]), (SLICE, "t0"));
        assert_eq!(names(&mut loading), [format!("t{SLICE}"), format!("t{}", SLICE + 1)]);
        assert_eq!((loading.shorten(second), loading.shorten(None)), (second, None));
    }

    #[test]
    fn peers_do_not_wait_for_a_configuration_and_operators_do() {
        let address = "192.0.2.1:500".parse().unwrap();
        let path = Path::udp(address, address);
        let message = ToIke::Input(Input::Datagram { path, octets: Vec::new() });
        assert!(!relies_on_configuration(&message));
        assert!(!relies_on_configuration(&ToIke::Count(QueryId(1))));
        let initiate = Command::Initiate {
            connection: "t1".parse().unwrap(),
            child: None,
            request: RequestId(1),
        };
        assert!(relies_on_configuration(&ToIke::Command(initiate)));
        assert!(relies_on_configuration(&ToIke::Snapshot(QueryId(2))));
    }
}
