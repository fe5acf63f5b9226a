use adit_sys::wake::{channel, wait_for};

use super::*;
use crate::message::{Input, ToIke};
use crate::shards::ShardMap;

const WAIT: Option<Duration> = Some(Duration::from_secs(10));

/// The role with a queue of four messages to the ike role.
fn running() -> (Running, CommandReceiver<ToIke>) {
    let (ike, to_ike) = channel(4).unwrap();
    let (parent, _) = channel(4).unwrap();
    let shards = ShardLinks::new(ShardMap::new(Shards::new(1)), ike, Fleet::new(Vec::new()));
    let listeners = vec![TcpListener::bind("127.0.0.1:0".parse().unwrap(), None).unwrap()];
    let (inbound, counters) = (Fleet::new(Vec::new()), Arc::default());
    let role = TcpRole { listeners, shards, inbound, parent, counters };
    (Running::new(role).unwrap(), to_ike)
}

/// A peer connects and is accepted.
fn connect(running: &mut Running) -> TcpStream {
    let listener = &running.role.listeners[0];
    let free = TcpListener::bind("127.0.0.1:0".parse().unwrap(), None).unwrap().local();
    let client = TcpStream::connect(free, listener.local(), None).unwrap();
    assert!(wait_for(listener, Interest::Readable, WAIT).unwrap());
    running.accept(LISTENERS);
    client
}

/// What a busy ike role has no room for waits, is not read on, and comes in its order.
#[test]
fn a_busy_ike_role_loses_nothing_of_a_stream() {
    let (mut running, to_ike) = running();
    let client = connect(&mut running);
    let mut sent = b"IKETCP".to_vec();
    for number in 0..10 {
        sent.extend([0, 34, 0, 0, 0, 0]);
        // A header of an INFORMATIONAL request, as it is numbered.
        sent.extend([7; 16]);
        sent.extend([0, 0x20, 37, 8, 0, 0, 0, number, 0, 0, 0, 28]);
    }
    client.write(&[&sent, &[]]).unwrap();
    let (number, connection) = running.connections.iter().next().unwrap();
    assert!(wait_for(connection.stream(), Interest::Readable, WAIT).unwrap());
    running.read(*number);
    assert_eq!(running.stalled.len(), 1);
    let mut taken = Vec::new();
    while taken.len() < 10 {
        while let Next::Command(ToIke::Input(Input::Datagram { octets, .. })) = to_ike.next() {
            taken.push(octets[23]);
        }
        std::mem::take(&mut running.stalled).into_iter().for_each(|number| running.read(number));
    }
    assert_eq!(taken, (0..10).collect::<Vec<u8>>());
    assert_eq!((running.role.shards.dropped(), running.stalled.len()), (0, 0));
}

/// The end of a connection is not that of another with the same ends.
#[test]
fn a_connection_with_the_same_ends_is_still_found() {
    let (mut running, _to_ike) = running();
    let _client = connect(&mut running);
    let (number, connection) = running.connections.first_key_value().unwrap();
    let (number, path) = (*number, connection.path());
    running.by_ends.insert((path.local, path.remote), number + 1);
    running.forget(number);
    assert_eq!(running.by_ends.get(&(path.local, path.remote)), Some(&(number + 1)));
}

/// Strangers do not keep others out: the oldest of the site that has most goes.
#[test]
fn the_oldest_of_the_fullest_site_makes_room() {
    let site = |last: u8| IpAddr::from([192, 0, 2, last]);
    let all = [(3, site(1)), (4, site(2)), (5, site(2)), (6, site(3)), (7, site(3))];
    assert_eq!(evicted(&all), Some(4));
    assert_eq!(evicted(&all[..2]), Some(3));
    assert_eq!(evicted(&[]), None);
}
