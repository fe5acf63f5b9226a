use proptest::prelude::*;

use super::*;

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn address(network: &str) -> Address {
    let network = network.parse().unwrap();
    Address { interface: 1, network, global: true, usable: true }
}

fn settled(
    networks: RoutePlan,
    way: TunnelWay,
    ways: &Ways,
    sizes: RouteSizes,
) -> BTreeMap<IpNet, Route> {
    let mut plans = Plans::new(9, sizes);
    let mut touched = BTreeSet::new();
    plans.put("one", Some((networks, way)), &mut touched);
    plans.settle(&touched, ways);
    plans.wanted
}

fn wanted(local: &[&str], remote: &[&str], addresses: &[Address]) -> BTreeMap<IpNet, Route> {
    let networks = RoutePlan { local: nets(local), remote: nets(remote), mtu: None };
    let ways = Ways { addresses: addresses.to_vec(), ..Ways::default() };
    settled(networks, TunnelWay::Tun, &ways, RouteSizes::default())
}

#[test]
fn what_the_kernel_protects_goes_the_way_to_the_peer() {
    let peer: IpAddr = "203.0.113.7".parse().unwrap();
    let networks = RoutePlan {
        local: nets(&["10.1.0.0/24"]),
        remote: nets(&["10.2.0.0/24", "fd02::/64"]),
        mtu: None,
    };
    let of =
        |ways: &Ways| settled(networks.clone(), TunnelWay::Peer(peer), ways, RouteSizes::default());
    let addresses = vec![address("10.1.0.2/24")];
    assert!(of(&Ways::default()).is_empty());
    let via: IpAddr = "192.0.2.254".parse().unwrap();
    let way = RouteLookup {
        interface: 3,
        table: Route::TABLE_MAIN,
        via: Some(via),
        source: None,
        kind: RouteKind::Unicast,
        mtu: None,
    };
    let routes: Vec<Route> =
        of(&Ways { peers: [(peer, way)].into(), addresses, ..Ways::default() })
            .into_values()
            .collect();
    assert_eq!(routes[0].via, Some(via));
    assert_eq!(routes[0].source, Some("10.1.0.2".parse().unwrap()));
    assert_eq!((routes[1].via, routes[1].interface), (None, Some(3)));
}

#[test]
fn what_has_an_interface_goes_there_once_it_is_there() {
    let networks =
        RoutePlan { local: nets(&["10.1.0.0/24"]), remote: nets(&["0.0.0.0/0"]), mtu: None };
    let way = TunnelWay::Interface("vpn1".to_owned());
    let of = |ways: &Ways| {
        let sizes = RouteSizes { mtu: Some(1_300), advmss: None };
        settled(networks.clone(), way.clone(), ways, sizes)
    };
    let addresses = vec![address("10.1.0.2/24")];
    // Until then nothing leaves the way it would go without us.
    let kinds: Vec<RouteKind> =
        of(&Ways::default()).into_values().map(|route| route.kind).collect();
    assert_eq!(kinds, [RouteKind::Unreachable, RouteKind::Throw]);
    let interfaces = [("vpn1".to_owned(), 12)].into();
    let routes: Vec<Route> =
        of(&Ways { interfaces, addresses, ..Ways::default() }).into_values().collect();
    assert_eq!((routes[0].interface, routes[0].mtu, routes[0].via), (Some(12), None, None));
    assert_eq!(routes[0].source, Some("10.1.0.2".parse().unwrap()));
    // What our own hosts say to each other stays out.
    assert_eq!(routes[1].kind, RouteKind::Throw);
}

#[test]
fn the_source_lies_inside_the_local_selectors() {
    let tentative = Address { usable: false, ..address("10.1.0.1/24") };
    let addresses = [address("192.0.2.1/24"), tentative, address("10.1.0.2/24")];
    let routes = wanted(&["10.1.0.0/24"], &["10.2.0.0/24", "2001:db8::/64"], &addresses);
    let sources: Vec<_> = routes.values().map(|route| route.source).collect();
    assert_eq!(sources, [Some("10.1.0.2".parse().unwrap()), None]);
}

#[test]
fn only_covered_local_networks_are_thrown() {
    let kinds = |local: &[&str], remote: &[&str]| {
        let routes = wanted(local, remote, &[]);
        routes.into_values().map(|route| (route.destination.to_string(), route.kind)).collect()
    };
    let expect = |list: &[(&str, RouteKind)]| -> Vec<(String, RouteKind)> {
        list.iter().map(|(text, kind)| ((*text).to_owned(), *kind)).collect()
    };
    let (unicast, throw) = (RouteKind::Unicast, RouteKind::Throw);
    let apart: Vec<_> = kinds(&["10.1.0.0/24"], &["10.2.0.0/24"]);
    assert_eq!(apart, expect(&[("10.2.0.0/24", unicast)]));
    let inside: Vec<_> = kinds(&["10.1.0.0/24"], &["10.0.0.0/8"]);
    assert_eq!(inside, expect(&[("10.0.0.0/8", unicast), ("10.1.0.0/24", throw)]));
    let around: Vec<_> = kinds(&["10.0.0.0/8"], &["10.1.0.0/24"]);
    assert_eq!(around, expect(&[("10.1.0.0/24", unicast)]));
    let same: Vec<_> = kinds(&["10.1.0.0/24"], &["10.1.0.7/24"]);
    assert_eq!(same, expect(&[("10.1.0.0/24", unicast)]));
}

const NETWORKS: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.2.0.0/16",
    "10.1.2.3/32",
    "::/0",
    "fd01::/64",
];

/// A plan's name, its networks and its way.
type Change = (u8, Option<(Vec<usize>, Vec<usize>, u8)>);

fn change((name, plan): &Change) -> (String, Option<(RoutePlan, TunnelWay)>) {
    let plan = plan.as_ref().map(|(local, remote, way)| {
        let nets = |list: &[usize]| list.iter().map(|at| NETWORKS[*at].parse().unwrap()).collect();
        let way = match way {
            0 => TunnelWay::Tun,
            1 => TunnelWay::Nowhere,
            2 => TunnelWay::Peer("203.0.113.7".parse().unwrap()),
            _ => TunnelWay::Interface("vpn1".to_owned()),
        };
        (RoutePlan { local: nets(local), remote: nets(remote), mtu: None }, way)
    });
    (format!("plan{name}"), plan)
}

proptest! {
    /// Step by step it comes to what it comes to at once.
    #[test]
    fn a_plan_touches_what_it_changes(
        changes in prop::collection::vec((0u8..4, prop::option::of((
            prop::collection::vec(0usize..8, 0..3),
            prop::collection::vec(0usize..8, 0..3),
            0u8..4,
        ))), 1..12),
    ) {
        let addresses = vec![address("10.1.2.3/24"), address("fd01::1/64")];
        let ways = Ways { addresses, ..Ways::default() };
        let mut plans = Plans::new(9, RouteSizes::default());
        for one in &changes {
            let mut touched = BTreeSet::new();
            let (name, plan) = change(one);
            plans.put(&name, plan, &mut touched);
            plans.settle(&touched, &ways);
            let mut fresh = Plans::new(9, RouteSizes::default());
            let mut all = BTreeSet::new();
            for (name, plan) in &plans.by_name {
                fresh.put(name, Some((plan.networks.clone(), plan.way.clone())), &mut all);
            }
            fresh.settle(&all, &ways);
            prop_assert_eq!(&plans.wanted, &fresh.wanted);
            prop_assert_eq!(plans.families(), fresh.families());
        }
    }
}
