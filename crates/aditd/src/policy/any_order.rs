//! Connections, SAs and operators come and go in any order: held traffic has its policy throughout.

use adit_crypto::{Rng, SeededRng};

use adit_db::{Action, TsSpec};
use adit_wire::ip::FlowKey;

use super::*;

/// What the book was told, in plain lists.
#[derive(Default)]
struct Told {
    /// Networks of each configured child, and whether its policy is to be held.
    children: BTreeMap<(u8, u8), (Networks, bool)>,
    /// Networks of each SA.
    sas: BTreeMap<ChildSaId, (PolicyId, Networks)>,
}

/// The third octets of a local and a remote network.
#[derive(Clone, Copy, Debug)]
struct Networks {
    local: u8,
    remote: u8,
}

/// Draws below a bound.
struct Dice(SeededRng);

impl Dice {
    fn below(&mut self, bound: u8) -> u8 {
        u8::try_from(self.0.next_u32() % u32::from(bound)).unwrap()
    }

    fn networks(&mut self) -> Networks {
        Networks { local: self.below(4), remote: self.below(4) }
    }
}

const CONNECTIONS: u8 = 4;
const CHILDREN: u8 = 2;
/// Packets to hosts with this last octet are the operator's, who passes them in clear.
const CLEAR: u8 = 9;

fn names(connection: u8, child: u8) -> (ConnectionName, ChildName) {
    (format!("c{connection}").parse().unwrap(), format!("n{child}").parse().unwrap())
}

fn sides(networks: Networks) -> Sides {
    let ts = |text: String| vec![text.parse::<TsSpec>().unwrap().selector().unwrap()];
    Sides {
        local: ts(format!("10.1.{}.0/24", networks.local)),
        remote: ts(format!("10.2.{}.0/24", networks.remote)),
    }
}

/// Loads a connection with any children, in any of the states they can be kept in.
fn load(book: &mut PolicyBook, told: &mut Told, dice: &mut Dice, number: u8) {
    unload(book, told, number);
    let mut connection = Connection::new(names(number, 0).0);
    for child in 0..=dice.below(CHILDREN) {
        let networks = dice.networks();
        let keep = [Keep::Up, Keep::OnDemand, Keep::Passive][usize::from(dice.below(3))];
        let mut config = ChildConfig::new(names(number, child).1).kept(keep);
        config.local_ts = vec![format!("10.1.{}.0/24", networks.local).parse().unwrap()];
        config.remote_ts = vec![format!("10.2.{}.0/24", networks.remote).parse().unwrap()];
        connection.children.push(config);
        told.children.insert((number, child), (networks, keep != Keep::Passive));
    }
    book.load(Arc::new(connection));
}

fn unload(book: &mut PolicyBook, told: &mut Told, number: u8) {
    book.unload(&names(number, 0).0);
    told.children.retain(|(owner, _), _| *owner != number);
}

/// One change of any kind.
fn change(book: &mut PolicyBook, told: &mut Told, dice: &mut Dice, step: u32) {
    let (number, child) = (dice.below(CONNECTIONS), dice.below(CHILDREN));
    let (connection, name) = names(number, child);
    let policy = book.policy(&connection, &name);
    match (dice.below(10), policy) {
        (0..2, _) => load(book, told, dice, number),
        (2, _) => unload(book, told, number),
        (3..5, Some(policy)) => {
            let install = dice.below(2) == 0;
            if let Some((_, held)) = told.children.get_mut(&(number, child)) {
                book.install(policy, install);
                *held = install;
            }
        }
        (5..8, Some(policy)) => {
            let networks = dice.networks();
            let id = ChildSaId(step);
            let (engine, mode, peer) = (Engine::Userspace, Mode::Tunnel, [192, 0, 2, 2].into());
            let sides = sides(networks);
            book.add_negotiated(id, Negotiated { policy, engine, mode, peer, sides });
            told.sas.insert(id, (policy, networks));
            return;
        }
        _ => {
            let ids: Vec<ChildSaId> = told.sas.keys().copied().collect();
            let Some(id) = ids.get(usize::from(dice.below(8))) else { return };
            let known = told.sas.remove(id).map(|(policy, _)| policy);
            assert_eq!(book.remove_sa(*id), known);
            return;
        }
    }
    // SAs come and go without it.
    book.rebuild().unwrap();
}

/// What must be protected is, whatever the packet shows. Gives how many networks were looked at.
fn judge(book: &PolicyBook, told: &Told, dice: &mut Dice) -> usize {
    let mut looked_at = 0;
    let held = told.children.values().filter(|(_, held)| *held).map(|(networks, _)| *networks);
    let used = told.sas.values().map(|(_, networks)| *networks);
    for networks in held.chain(used) {
        let host = 1 + dice.below(CLEAR - 1);
        let src: IpAddr = [10, 1, networks.local, host].into();
        let dst: IpAddr = [10, 2, networks.remote, host].into();
        let port = dice.below(u8::MAX).into();
        let flows = [FlowKey::new(src, dst, 17, port, 53), FlowKey::without_ports(src, dst, 6)];
        for flow in flows {
            let action = book.spd().lookup_outbound(&flow);
            assert!(matches!(action, Some(Action::Protect(_))), "{flow}: {action:?}");
        }
        let clear = FlowKey::new(src, [10, 2, networks.remote, CLEAR].into(), 17, port, 53);
        assert_eq!(book.spd().lookup_outbound(&clear), Some(Action::Bypass));
        looked_at += 1;
    }
    looked_at
}

/// CHECKLIST S12: a held child's traffic is never passed in clear and never without an entry, nor
/// is what an SA was negotiated for, while operators pass other traffic.
#[test]
fn held_traffic_has_its_policy_whatever_happens() {
    let mut looked_at = 0;
    for seed in 0..60 {
        let mut dice = Dice(SeededRng::new(seed));
        let (mut book, mut told) = (PolicyBook::default(), Told::default());
        let clear = (0..4).map(|net| format!("10.2.{net}.{CLEAR}/32"));
        let remote = clear.map(|text| text.parse::<TsSpec>().unwrap().selector().unwrap());
        let entry = SpdEntry {
            local: vec![TrafficSelector::ANY_V4],
            remote: remote.collect(),
            action: Action::Bypass,
        };
        book.set_operator(vec![OperatorPolicy { name: "clear".parse().unwrap(), entry }]);
        for step in 0..120 {
            change(&mut book, &mut told, &mut dice, step);
            looked_at += judge(&book, &told, &mut dice);
        }
        for (policy, _) in told.sas.values() {
            assert!(book.routed_by(*policy).is_some());
        }
    }
    assert!(looked_at > 20_000, "runs that configure nothing show nothing: {looked_at}");
}
