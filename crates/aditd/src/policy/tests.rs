use adit_db::{Action, Dscp, HostSpec, TsSpec};
use adit_mgmt::api::{PolicyAction, PolicySource};
use adit_wire::ip::FlowKey;

use super::*;

fn connection(keep: Keep) -> Arc<Connection> {
    let mut connection = Connection::new("berlin".parse().unwrap());
    connection.remote_addresses = vec![HostSpec::Address("203.0.113.7".parse().unwrap())];
    let mut child = ChildConfig::new("net".parse().unwrap()).kept(keep);
    child.local_ts = vec!["10.1.0.0/24".parse().unwrap()];
    child.remote_ts = vec!["10.2.0.0/24".parse().unwrap()];
    connection.children.push(child);
    Arc::new(connection)
}

fn book(keep: Keep) -> (PolicyBook, PolicyId) {
    let mut book = PolicyBook::default();
    book.load(connection(keep));
    book.rebuild().unwrap();
    let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
    (book, policy)
}

fn ts(text: &str) -> TrafficSelector {
    text.parse::<TsSpec>().unwrap().selector().unwrap()
}

fn negotiated(policy: PolicyId, local: &str, remote: &str) -> Negotiated {
    let sides = Sides { local: vec![ts(local)], remote: vec![ts(remote)] };
    let peer = "203.0.113.7".parse().unwrap();
    Negotiated { policy, engine: Engine::Userspace, mode: Mode::Tunnel, peer, sides }
}

/// The entries in force: what they do to which remote networks.
fn shown(book: &mut PolicyBook) -> Vec<(PolicySource, String)> {
    book.list(9).into_iter().map(|one| (one.source, one.remote.join(","))).collect()
}

#[test]
fn a_wanted_tunnel_holds_its_policy_while_it_is_down() {
    let (mut book, policy) = book(Keep::Up);
    assert_eq!(book.spd().len(), 1);
    let plan = book.routed_by(policy).unwrap().plan;
    assert_eq!(plan.remote, ["10.2.0.0/24".parse().unwrap()]);

    book.unload(&"berlin".parse().unwrap());
    book.rebuild().unwrap();
    assert!(book.routed().is_empty());
    assert!(book.spd().is_empty());
}

#[test]
fn a_passive_tunnel_has_a_policy_only_when_installed() {
    let (mut book, policy) = book(Keep::Passive);
    assert!(book.routed().is_empty());

    book.install(policy, true);
    book.rebuild().unwrap();
    assert_eq!(book.routed().len(), 1);
    book.install(policy, false);
    book.rebuild().unwrap();
    assert!(book.routed().is_empty());
}

#[test]
fn uninstall_takes_the_policy_of_a_trap_until_it_is_loaded_anew() {
    let (mut book, policy) = book(Keep::OnDemand);
    book.install(policy, false);
    book.rebuild().unwrap();
    assert!(book.routed().is_empty());
    book.load(connection(Keep::OnDemand));
    book.rebuild().unwrap();
    assert_eq!(book.routed().len(), 1);
}

/// The policy of a passive tunnel comes with its first SA and goes with its last, and an SA within
/// it adds none of its own.
#[test]
fn a_passive_tunnel_has_a_policy_while_it_is_up() {
    let (mut book, policy) = book(Keep::Passive);
    for id in [1, 2] {
        book.add_negotiated(ChildSaId(id), negotiated(policy, "10.1.0.0/25", "10.2.0.0/24"));
        assert_eq!(shown(&mut book), [(PolicySource::Tunnel, "10.2.0.0/24".to_owned())]);
    }
    book.rebuild().unwrap();
    assert_eq!(book.spd().len(), 1);

    assert_eq!(book.remove_sa(ChildSaId(1)), Some(policy));
    assert_eq!((book.spd().len(), book.routed().len()), (1, 1));
    book.remove_sa(ChildSaId(2));
    assert_eq!((book.spd().len(), book.routed().len()), (0, 0));
    assert_eq!(book.remove_sa(ChildSaId(2)), None);
}

/// RFC 4301 §4.1: a class has no entry and no route of its own; its SAs hold those of its tunnel, and
/// the database says whose SAs carry what.
#[test]
fn classes_share_the_policy_of_their_tunnel() {
    let mut config = Connection::clone(&connection(Keep::Passive));
    let ef = Dscp::named("ef").unwrap();
    let mut code_points = DscpSet::default();
    assert!(code_points.insert(ef));
    let rest = config.children.first().unwrap().clone();
    let class = Some(DscpClass { of: rest.name.clone(), code_points });
    config.children.push(ChildConfig { name: "net.1".parse().unwrap(), class, ..rest });
    let mut book = PolicyBook::default();
    book.load(Arc::new(config));
    book.rebuild().unwrap();
    let named = |book: &PolicyBook, child: &str| {
        book.policy(&"berlin".parse().unwrap(), &child.parse().unwrap()).unwrap()
    };
    let (policy, class) = (named(&book, "net"), named(&book, "net.1"));
    assert_eq!((book.owner(policy), book.owner(class)), (policy, policy));
    assert!(book.spd().is_empty());

    for narrower in ["10.2.0.0/24", "10.2.0.0/25"] {
        book.add_negotiated(ChildSaId(1), negotiated(class, "10.1.0.0/24", narrower));
        assert_eq!(shown(&mut book), [(PolicySource::Tunnel, "10.2.0.0/24".to_owned())]);
        assert_eq!(book.routed().into_keys().collect::<Vec<_>>(), [policy]);
        let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 5].into(), 17, 1, 2);
        assert_eq!(book.spd().lookup_outbound(&flow), Some(Action::Protect(policy)));
        assert_eq!(book.spd().class(policy, ef), class);
        assert_eq!(book.spd().class(policy, Dscp::default()), policy);
        assert_eq!(book.remove_sa(ChildSaId(1)), Some(policy));
        assert!(book.spd().is_empty() && book.routed().is_empty());
    }
    book.install(class, true);
    book.rebuild().unwrap();
    assert_eq!(book.spd().len(), 1, "whoever installs a class installs its tunnel's policy");
}

fn by_hand(name: &str, directions: adit_db::Directions, remote: &str) -> Arc<adit_db::ManualSa> {
    let suite = adit_db::ProposalSpec::esp("aes256-sha256").unwrap().single().unwrap();
    Arc::new(adit_db::ManualSa {
        name: name.parse().unwrap(),
        local: "192.0.2.1:0".parse().unwrap(),
        remote: "203.0.113.7:0".parse().unwrap(),
        directions,
        mode: Mode::Tunnel,
        protection: suite.0,
        esn: false,
        udp: false,
        local_ts: vec![ts("10.1.0.0/24")],
        remote_ts: vec![ts(remote)],
        replay_window: adit_db::WindowSize::OFF,
    })
}

/// What is keyed by hand comes before what peers negotiate and what is configured, in the order of
/// names; who only listens has no routes.
#[test]
fn what_is_keyed_by_hand_comes_before_tunnels() {
    let (mut book, policy) = book(Keep::Up);
    let spi = adit_wire::esp::Spi(300);
    let both = adit_db::Directions::Both { spi_in: spi, spi_out: spi };
    let listens = adit_db::Directions::FromGroup { spi, senders: Vec::new() };
    let id = ChildSaId::manual;
    let second = book.add_manual(by_hand("lab", both, "10.9.0.0/24"), id(0)).unwrap();
    let first = book.add_manual(by_hand("ears", listens, "10.8.0.0/24"), id(1)).unwrap();
    book.rebuild().unwrap();
    book.add_negotiated(ChildSaId(1), negotiated(policy, "10.1.0.9/32", "10.7.0.1/32"));

    let manual = |remote: &str| (PolicySource::Manual, remote.to_owned());
    assert_eq!(
        shown(&mut book),
        [
            manual("10.8.0.0/24"),
            manual("10.9.0.0/24"),
            (PolicySource::Peer, "10.7.0.1/32".to_owned()),
            (PolicySource::Tunnel, "10.2.0.0/24".to_owned()),
        ]
    );
    assert!(book.routed_by(first).is_none());
    assert_eq!(book.routed()[&second].plan.remote, ["10.9.0.0/24".parse().unwrap()]);
    assert_eq!(book.manual(id(0)).map(|sa| sa.name.as_str()), Some("lab"));

    assert_eq!(book.remove_manual(&"lab".parse().unwrap()), Some(id(0)));
    book.rebuild().unwrap();
    assert_eq!((book.spd().len(), book.routed().contains_key(&second)), (3, false));
}

/// What a peer negotiates beyond the configured policies comes before them, the newest first, and
/// survives a change of the configuration.
#[test]
fn what_is_beyond_the_configuration_comes_first() {
    let (mut book, policy) = book(Keep::Up);
    book.add_negotiated(ChildSaId(1), negotiated(policy, "10.1.0.0/24", "10.9.0.1"));
    book.add_negotiated(ChildSaId(2), negotiated(policy, "10.1.0.0/24", "10.9.0.2"));
    let peers = |remote: &str| (PolicySource::Peer, remote.to_owned());
    let tunnel = (PolicySource::Tunnel, "10.2.0.0/24".to_owned());
    let all = [peers("10.9.0.2/32"), peers("10.9.0.1/32"), tunnel.clone()];
    assert_eq!(shown(&mut book), all);
    book.rebuild().unwrap();
    assert_eq!(shown(&mut book), all);

    book.remove_sa(ChildSaId(2));
    assert_eq!(shown(&mut book), [peers("10.9.0.1/32"), tunnel]);
    assert_eq!(book.routed_by(policy).unwrap().plan.remote.len(), 2);
}

/// RFC 4301 §4.4.1.1: names. Two tunnels with the same addresses, each for its own identity: an entry is
/// about SAs of its own tunnel, and says whose.
#[test]
fn entries_for_identities_name_them() {
    let named = |name: &str, peer: &str| {
        let connection = Arc::unwrap_or_clone(connection(Keep::Passive));
        let mut connection = Connection { name: name.parse().unwrap(), ..connection };
        connection.pad.remote_id = peer.parse().unwrap();
        Arc::new(connection)
    };
    let mut book = PolicyBook::default();
    book.load(named("alice", "alice.example"));
    book.load(named("bob", "*.bob.example"));
    book.load(named("carol", "203.0.113.7"));
    book.rebuild().unwrap();
    let net = "net".parse().unwrap();
    let policy = |name: &str| book.policy(&name.parse().unwrap(), &net).unwrap();
    let (alice, bob, carol) = (policy("alice"), policy("bob"), policy("carol"));
    for (id, policy, host) in [(1, alice, "10.2.0.1"), (2, bob, "10.2.0.2"), (3, carol, "10.2.0.3")]
    {
        book.add_negotiated(ChildSaId(id), negotiated(policy, "10.1.0.0/24", host));
    }
    let names: Vec<_> = book.list(9).into_iter().map(|one| (one.name, one.peer_id)).collect();
    let expected =
        [("alice", Some("alice.example")), ("bob", Some("*.bob.example")), ("carol", None)];
    let expected = expected.map(|(name, peer)| (name.to_owned(), peer.map(str::to_owned)));
    assert_eq!(names, expected);

    // What alice's entry takes is hers, though bob's SA would carry it.
    let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 2].into(), 6, 40_000, 443);
    assert_eq!(book.spd().lookup_outbound(&flow), Some(Action::Protect(alice)));
    assert_eq!(book.deciding(&flow, None).entry.unwrap().peer_id.as_deref(), Some("alice.example"));
}

/// RFC 4301 §4.4.1.2: the entry stays as it is, and says what SAs take from packets; they bring neither
/// entries nor routes.
#[test]
fn sas_that_packets_made_add_nothing_to_their_policy() {
    let mut wanted = Arc::unwrap_or_clone(connection(Keep::OnDemand));
    wanted.children[0].pfp.remote = true;
    let mut book = PolicyBook::default();
    book.load(Arc::new(wanted));
    book.rebuild().unwrap();
    let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
    assert!(book.spd().pfp(policy).remote);
    let routed = book.routed_by(policy);
    for host in 1..9 {
        let negotiated = negotiated(policy, "10.1.0.0/24", &format!("10.2.0.{host}"));
        book.add_negotiated(ChildSaId(host), negotiated);
    }
    assert_eq!(shown(&mut book), [(PolicySource::Tunnel, "10.2.0.0/24".to_owned())]);
    assert_eq!(book.list(9)[0].pfp, ["remote"]);
    assert_eq!(book.routed_by(policy), routed);
}

#[test]
fn a_dynamic_side_is_any_address_until_it_is_known() {
    let mut wanted = Arc::unwrap_or_clone(connection(Keep::OnDemand));
    wanted.children[0].local_ts = vec![TsSpec::DYNAMIC];
    wanted.children[0].remote_ts = vec![TsSpec::DYNAMIC];
    let mut book = PolicyBook::default();
    book.load(Arc::new(wanted));
    book.rebuild().unwrap();

    let (_, entry) = book.spd().entries().next().unwrap();
    assert_eq!(entry.local, [TrafficSelector::ANY_V4]);
    assert_eq!(
        book.routed().into_values().next().unwrap().plan.remote,
        ["203.0.113.7/32".parse().unwrap()]
    );
}

/// What operators wrote down comes first and brings no traffic to the TUN by itself.
#[test]
fn operators_come_before_tunnels() {
    let (mut book, _) = book(Keep::Up);
    let routes = book.routed();
    let entry = SpdEntry {
        local: vec![TrafficSelector::ANY_V4],
        remote: vec![TrafficSelector::ANY_V4],
        action: Action::Bypass,
    };
    let name: ConnectionName = "all".parse().unwrap();
    book.set_operator(vec![OperatorPolicy { name, entry }]);
    book.rebuild().unwrap();
    let list = book.list(9);
    let facts = list.iter().map(|one| (one.number, one.name.as_str(), one.action, one.parts));
    let expected =
        [(1, "all", PolicyAction::Bypass, Some(1)), (2, "berlin", PolicyAction::Protect, Some(0))];
    assert_eq!(facts.collect::<Vec<_>>(), expected);
    assert_eq!(book.routed(), routes);
}

/// However many selectors peers negotiate, the policies of others stay as they are.
#[test]
fn a_peers_tangle_harms_nobody_else() {
    let (mut book, policy) = book(Keep::Up);
    for number in 0..300_u32 {
        let address = |n: u32| IpAddr::V4((0xc000_0000 + n).into());
        let local = (0..1_000).map(|n| TrafficSelector::from_address(address(n))).collect();
        let remote = vec![TrafficSelector::from_address(address(number))];
        let sides = Sides { local, remote };
        let one = negotiated(policy, "10.1.0.0/24", "10.2.0.0/24");
        book.add_negotiated(ChildSaId(number), Negotiated { sides, ..one });
    }
    book.rebuild().unwrap();
    let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 6, 1, 1);
    let deciding = book.deciding(&flow, None).entry.unwrap();
    assert_eq!((deciding.number, deciding.source), (301, PolicySource::Tunnel));
}

fn of_kernel(keep: Keep) -> Arc<Connection> {
    let engine = Engine::Kernel;
    Arc::new(Connection { engine, ..Arc::unwrap_or_clone(connection(keep)) })
}

fn kernel_book(keep: Keep) -> (PolicyBook, PolicyId) {
    let (mut book, policy) = book(keep);
    book.load(of_kernel(keep));
    book.rebuild().unwrap();
    (book, policy)
}

fn by_kernel(policy: PolicyId, remote: &str) -> Negotiated {
    Negotiated { engine: Engine::Kernel, ..negotiated(policy, "10.1.0.0/24", remote) }
}

#[test]
fn a_tunnel_of_the_kernel_is_held_there_and_has_no_way_into_the_tun() {
    let (mut book, policy) = kernel_book(Keep::Up);
    assert!(book.spd().is_empty());
    assert_eq!(book.held_by_kernel().len(), 1);
    let way = book.routed_by(policy).unwrap().way;
    assert_eq!(way, TunnelWay::Peer("203.0.113.7".parse().unwrap()));
    let held = book.held_by_kernel();
    assert!(book.is_held_anyway(policy));
    book.add_negotiated(ChildSaId(1), by_kernel(policy, "10.2.0.0/25"));
    assert_eq!(book.held_by_kernel(), held);
    book.remove_sa(ChildSaId(1));
    assert_eq!(book.held_by_kernel(), held);

    book.load(connection(Keep::Up));
    book.rebuild().unwrap();
    assert!(book.held_by_kernel().is_empty());
    assert_eq!(book.routed_by(policy).unwrap().way, TunnelWay::Tun);
}

/// What the kernel's SAs bring is not for the user-space engine, within the policy or beyond it.
#[test]
fn an_sa_of_the_kernel_adds_nothing_to_the_spd() {
    let (mut book, policy) = kernel_book(Keep::Passive);
    assert!(book.held_by_kernel().is_empty() && book.routed().is_empty());
    assert!(!book.is_held_anyway(policy));
    for (id, remote) in [(1, "10.2.0.0/25"), (2, "10.9.0.1")] {
        book.add_negotiated(ChildSaId(id), by_kernel(policy, remote));
        assert_eq!((book.spd().len(), book.held_by_kernel().len()), (0, 1));
        assert_eq!(book.engine_of(ChildSaId(id)), Engine::Kernel);
    }
    book.rebuild().unwrap();
    assert!(book.spd().is_empty());
    assert_eq!(book.routed_by(policy).unwrap().plan.remote.len(), 3);

    let elsewhere: IpAddr = "203.0.113.9".parse().unwrap();
    assert_eq!(book.move_sa(ChildSaId(2), elsewhere), Some(policy));
    assert_eq!(book.routed_by(policy).unwrap().way, TunnelWay::Peer(elsewhere));

    for id in [1, 2] {
        assert_eq!(book.remove_sa(ChildSaId(id)), Some(policy));
    }
    assert!(book.held_by_kernel().is_empty() && book.routed().is_empty());
}

/// Its routes lead there, peer or not, unless they are somebody else's affair; and it decides about
/// nothing that does not go there.
#[test]
fn a_tunnel_with_an_interface_has_its_way_there() {
    let (mut book, policy) = kernel_book(Keep::Up);
    let mut vpn = Arc::unwrap_or_clone(of_kernel(Keep::Up));
    vpn.remote_addresses.clear();
    vpn.children[0].kernel.steering.interface = "vpn1".parse().ok();
    book.load(Arc::new(vpn.clone()));
    book.rebuild().unwrap();
    let names: Vec<String> = book.interfaces().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["vpn1"]);
    let way = book.routed_by(policy).unwrap().way;
    assert_eq!(way, TunnelWay::Interface("vpn1".to_owned()));
    let shown = book.list(9).remove(0);
    assert_eq!((shown.by_kernel, shown.interface.as_deref()), (true, Some("vpn1")));

    let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 6, 1, 1);
    assert!(book.deciding(&flow, Some("eth0")).entry.is_none());
    assert!(book.deciding(&flow, Some("vpn1")).entry.is_some());

    vpn.children[0].kernel.no_routes = true;
    book.load(Arc::new(vpn));
    book.rebuild().unwrap();
    assert_eq!(book.routed_by(policy), None);
    assert_eq!(book.interfaces().len(), 1);

    book.unload(&"berlin".parse().unwrap());
    assert!(book.interfaces().is_empty());
}

/// Packets of transport mode go to the peer anyway.
#[test]
fn transport_mode_of_the_kernel_needs_no_way() {
    let (mut book, policy) = kernel_book(Keep::Up);
    let one = Negotiated { mode: Mode::Transport, ..by_kernel(policy, "10.2.0.0/24") };
    book.add_negotiated(ChildSaId(1), one);
    assert_eq!(book.routed_by(policy), None);
}

/// A tunnel that changes its engine keeps the SAs of the old one until they end.
#[test]
fn sas_stay_with_the_engine_that_has_them() {
    let (mut book, policy) = book(Keep::Passive);
    book.add_negotiated(ChildSaId(1), negotiated(policy, "10.1.0.0/24", "10.2.0.0/24"));
    book.load(of_kernel(Keep::Passive));
    book.rebuild().unwrap();
    book.add_negotiated(ChildSaId(2), by_kernel(policy, "10.2.0.0/24"));
    assert_eq!((book.spd().len(), book.held_by_kernel().len()), (1, 1));
    assert_eq!(book.routed_by(policy).unwrap().way, TunnelWay::Tun);

    book.remove_sa(ChildSaId(1));
    assert_eq!((book.spd().len(), book.held_by_kernel().len()), (0, 1));
    assert!(matches!(book.routed_by(policy).unwrap().way, TunnelWay::Peer(_)));
}

/// The kernel asks its policies before a packet comes to the TUN, an SA before what is held.
#[test]
fn people_see_the_kernels_policies_first() {
    let (mut book, policy) = kernel_book(Keep::Up);
    let mut other = Arc::unwrap_or_clone(connection(Keep::Up));
    other.name = "aachen".parse().unwrap();
    other.children[0].remote_ts = vec!["10.2.0.0/16".parse().unwrap()];
    book.load(Arc::new(other));
    book.rebuild().unwrap();
    let names = |book: &mut PolicyBook| -> Vec<_> {
        book.list(9).into_iter().map(|one| (one.number, one.name, one.by_kernel)).collect()
    };
    let (berlin, aachen) = ("berlin".to_owned(), "aachen".to_owned());
    assert_eq!(names(&mut book), [(1, berlin.clone(), true), (2, aachen.clone(), false)]);
    assert_eq!(book.count(), 2);

    let flow = |last: u8| FlowKey::new([10, 1, 0, 5].into(), [10, 2, last, 7].into(), 6, 1, 1);
    let held = book.deciding(&flow(0), None);
    assert_eq!((held.entry.unwrap().number, held.carrier), (1, None));
    assert_eq!(book.deciding(&flow(9), None).entry.unwrap().number, 2);

    book.add_negotiated(ChildSaId(5), by_kernel(policy, "10.2.0.0/25"));
    let carried = book.deciding(&flow(0), None);
    assert_eq!(
        (carried.entry.unwrap().name, carried.carrier),
        (berlin.clone(), Some(ChildSaId(5)))
    );
    book.add_negotiated(ChildSaId(6), by_kernel(policy, "10.2.9.0/24"));
    let beyond = book.deciding(&flow(9), None);
    let entry = beyond.entry.unwrap();
    assert_eq!((entry.number, entry.source, entry.name), (1, PolicySource::Peer, berlin));
    assert_eq!((beyond.carrier, book.count()), (Some(ChildSaId(6)), 3));
}

/// CHECKLIST S10: which policy is over which, and to whom IKE goes through a tunnel.
#[test]
fn nested_tunnels_know_what_is_over_them() {
    let (mut book, _) = book(Keep::Up);
    let nested = |name: &str, over: &str, peer: &str| {
        let mut connection = Arc::unwrap_or_clone(connection(Keep::Up));
        connection.name = name.parse().unwrap();
        connection.over = Some(over.parse().unwrap());
        connection.remote_addresses = vec![HostSpec::Address(peer.parse().unwrap())];
        connection.children[0].name = name.parse().unwrap();
        Arc::new(connection)
    };
    // Aachen has the peer of the outermost one, Bonn and what goes over it are further away.
    book.load(nested("aachen", "berlin", "203.0.113.7"));
    book.load(nested("bonn", "aachen", "198.51.100.9"));
    book.load(nested("celle", "bonn", "198.51.100.9"));
    book.rebuild().unwrap();
    let name = |text: &str| text.parse::<ConnectionName>().unwrap();
    assert_eq!(book.over(&name("berlin")), None);
    let over = book.over(&name("bonn")).unwrap();
    assert_eq!(book.policy(&name("aachen"), &"aachen".parse().unwrap()), Some(over));
    let inside = |book: &PolicyBook, peer: &str| book.is_inside(peer.parse().unwrap());
    assert!(inside(&book, "198.51.100.9") && !inside(&book, "203.0.113.7"));
    let outermost = book.outermost("198.51.100.9".parse().unwrap()).unwrap();
    assert_eq!(outermost.name, name("berlin"));

    // Without the outer one there is still a policy, of which there is no SA.
    book.unload(&name("aachen"));
    book.rebuild().unwrap();
    assert_eq!(book.over(&name("bonn")), Some(over));
    book.unload(&name("bonn"));
    book.unload(&name("celle"));
    book.rebuild().unwrap();
    assert!(!inside(&book, "198.51.100.9"));
}

/// A tunnel of everything with an interface of its own.
fn through(name: &str, interface: &str) -> Connection {
    let mut connection = Arc::unwrap_or_clone(connection(Keep::Up));
    connection.name = name.parse().unwrap();
    let child = &mut connection.children[0];
    child.local_ts = vec!["0.0.0.0/0".parse().unwrap()];
    child.remote_ts = child.local_ts.clone();
    child.kernel.steering.interface = interface.parse().ok();
    connection
}

/// What the packet threads were told last, by table: entries, or that it is gone.
fn told(book: &mut PolicyBook) -> Vec<(u16, Option<usize>)> {
    let changed = book.take_changed().into_iter();
    changed.map(|(table, spd)| (table.0, spd.map(|spd| spd.len()))).collect()
}

/// RFC 4301 §4.4.1: each interface has its SPD; the same selectors may be in several.
#[test]
fn each_interface_has_a_database_of_its_own() {
    let (mut book, berlin) = book(Keep::Up);
    assert_eq!(told(&mut book), [(0, Some(1))]);
    for (name, interface) in [("oslo", "vpn2"), ("paris", "vpn1"), ("rome", "vpn2")] {
        book.load(Arc::new(through(name, interface)));
    }
    book.rebuild().unwrap();
    assert_eq!(told(&mut book), [(0, Some(1)), (1, Some(2)), (2, Some(1))]);
    assert!(told(&mut book).is_empty());
    let id = |book: &PolicyBook, name: &str| {
        book.policy(&name.parse().unwrap(), &"net".parse().unwrap()).unwrap()
    };
    let (oslo, paris) = (id(&book, "oslo"), id(&book, "paris"));
    let tables = [berlin, oslo, paris].map(|policy| book.table_of(policy).0);
    assert_eq!(tables, [0, 1, 2]);
    let interfaces: Vec<_> = book
        .tunnel_interfaces()
        .into_iter()
        .map(|one| (one.name.to_string(), one.table.0, one.tunnels.len()))
        .collect();
    assert_eq!(interfaces, [("vpn1".to_owned(), 2, 1), ("vpn2".to_owned(), 1, 2)]);
    assert!(book.interfaces().is_empty(), "none of them is the kernel's");
    assert_eq!(book.routed_by(oslo).unwrap().way, TunnelWay::Interface("vpn2".to_owned()));

    // Each is asked about what goes its way alone.
    let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 6, 1, 1);
    let mut deciding = |interface| {
        let entry = book.deciding(&flow, interface).entry;
        entry.map(|entry| (entry.number, entry.name, entry.interface))
    };
    let expected = |number, name: &str, interface: Option<&str>| {
        Some((number, name.to_owned(), interface.map(str::to_owned)))
    };
    assert_eq!(deciding(Some("adit0")), expected(1, "berlin", None));
    assert_eq!(deciding(Some("vpn2")), expected(2, "oslo", Some("vpn2")));
    assert_eq!(deciding(Some("vpn1")), expected(4, "paris", Some("vpn1")));
    assert_eq!((book.list(9).len(), book.count()), (4, 4));
}

/// An SA that outlives its tunnel's configuration stays where it was, and so do its routes.
#[test]
fn sas_stay_in_the_table_of_their_interface() {
    let mut book = PolicyBook::default();
    let mut vpn = through("oslo", "vpn1");
    vpn.children[0].kernel.no_routes = true;
    book.load(Arc::new(vpn.clone()));
    book.rebuild().unwrap();
    let policy = book.policy(&vpn.name, &vpn.children[0].name).unwrap();
    assert_eq!(book.routed_by(policy), None);
    assert_eq!(told(&mut book), [(0, Some(0)), (1, Some(1))]);

    book.add_negotiated(ChildSaId(1), negotiated(policy, "0.0.0.0/0", "0.0.0.0/0"));
    assert!(told(&mut book).is_empty(), "it is within the configured entry");
    book.unload(&vpn.name);
    book.rebuild().unwrap();
    assert_eq!((book.table_of(policy).0, book.routed_by(policy)), (1, None));
    assert!(book.tunnel_interfaces().is_empty() && book.routed().is_empty());
    assert_eq!(told(&mut book), [(0, Some(0)), (1, Some(1))]);

    book.remove_sa(ChildSaId(1));
    assert_eq!(told(&mut book), [(1, Some(0))]);
    book.rebuild().unwrap();
    assert_eq!(told(&mut book), [(1, None), (0, Some(0))]);
    // Whoever has the name again has the number again.
    book.load(Arc::new(vpn));
    book.rebuild().unwrap();
    assert_eq!(told(&mut book), [(0, Some(0)), (1, Some(1))]);
}
