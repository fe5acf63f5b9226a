//! The kernel's policies: what they should be, and how to get there.
//!
//! Two tiers. A pair of selectors that SAs serve is a policy whose template names them. Behind
//! these stand the selectors of configured tunnels that hold their traffic while they are down:
//! their template names a number that no SA has, so that a packet asks for one and is dropped.
//!
//! The policy of a bundle (RFC 2401 §4.3) has two templates: ESP, which has the tunnel if there is one, and AH
//! in transport mode around it. Both parts of a bundle have one number. So what is sent names its SAs by their
//! SPIs, too: while keys are renewed the kernel would take ESP of the one bundle with AH of the other, which the
//! peer drops. What is received may be of either.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_db::{ChildSaId, Mode, PolicyId};
use adit_sys::xfrm::{
    Action, Direction, Offload, PRIORITY_FIRST, Policy, PolicyKey, REQID_FIRST, REQID_LAST,
    Selector, SelectorError, Template, Xfrm,
};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use tracing::{error, warn};

use super::{Place, Tags};
use crate::policy::Held;

/// SAs with the same selectors of the same child: one replaces the other, and one policy serves all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Group {
    /// What its SAs and policies have in common.
    pub(super) place: Place,
    /// Our side.
    pub(super) local: Vec<TrafficSelector>,
    /// The peer's side.
    pub(super) remote: Vec<TrafficSelector>,
    /// Tunnel or transport mode.
    pub(super) mode: Mode,
    /// Whether AH is around ESP.
    pub(super) bundle: Option<Bundle>,
    /// Our outer address and the peer's.
    pub(super) ends: (IpAddr, IpAddr),
    /// Whether it can send: without that it has no outbound policy.
    pub(super) sends: bool,
    /// The network device that has the whole of its SAs and policies, if one does.
    pub(super) device: Option<u32>,
    /// Its newest SA: the newest group stands foremost.
    pub(super) newest: ChildSaId,
}

/// The SPIs by which a bundle sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bundle {
    pub(super) esp: Spi,
    pub(super) ah: Spi,
}

/// What a number stands for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Meaning {
    policy: PolicyId,
    tags: Tags,
    /// Selectors of SAs; `None` for a configured tunnel that holds its traffic.
    selectors: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Policies {
    held: Vec<(Tags, Held)>,
    numbers: BTreeMap<Meaning, u32>,
    next_number: u32,
    installed: BTreeMap<PolicyKey, Policy>,
}

/// Priorities of the tiers; the smaller number decides.
const NEIGHBOURS: u32 = PRIORITY_FIRST;
const SERVED_FIRST: u32 = PRIORITY_FIRST + 0x1000;
const HELD_FIRST: u32 = PRIORITY_FIRST + 0x8000;
/// Policies of one tier beyond this share the last priority.
const TIER_LAST: u32 = 0x6fff;
/// Neighbour solicitation and advertisement, RFC 4861 §4.3, §4.4.
const NEIGHBOUR_DISCOVERY: [u8; 2] = [135, 136];

impl Policies {
    /// What configured tunnels hold from now on, the first one foremost; but whoever asks for a
    /// mark is asked before those that take any.
    pub(super) fn hold(&mut self, held: Vec<(Tags, Held)>) {
        self.held = held;
        self.held.sort_by_key(|(tags, _)| tags.mark.is_none());
    }

    /// The number of SAs with these selectors. `None`: all are taken.
    pub(super) fn reqid(
        &mut self,
        policy: PolicyId,
        tags: Tags,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
    ) -> Option<u32> {
        let selectors = Some((local.to_vec(), remote.to_vec()));
        self.number(Meaning { policy, tags, selectors })
    }

    /// The policy that an acquire with this number is about.
    pub(super) fn policy_of(&self, reqid: u32) -> Option<PolicyId> {
        let found = self.numbers.iter().find(|(_, number)| **number == reqid);
        found.map(|(meaning, _)| meaning.policy)
    }

    /// A number, once given out, keeps its meaning: an event about it may be on its way.
    fn number(&mut self, meaning: Meaning) -> Option<u32> {
        if let Some(number) = self.numbers.get(&meaning) {
            return Some(*number);
        }
        // The last one is for probes.
        let number = REQID_FIRST.checked_add(self.next_number).filter(|n| *n < REQID_LAST)?;
        self.next_number += 1;
        self.numbers.insert(meaning, number);
        Some(number)
    }

    /// Makes the kernel's policies what they should be; false if it refuses one.
    pub(super) fn put(&mut self, groups: Vec<Group>, xfrm: &mut Xfrm) -> bool {
        let wanted = self.wanted(groups);
        let mut good = true;
        for (key, policy) in &wanted {
            if self.installed.get(key) == Some(policy) {
                continue;
            }
            match xfrm.put_policy(policy) {
                Ok(()) => drop(self.installed.insert(*key, *policy)),
                Err(error) => {
                    error!(%error, "the kernel refuses a policy");
                    good = false;
                }
            }
        }
        let gone: Vec<PolicyKey> =
            self.installed.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in gone {
            match xfrm.delete_policy(&key) {
                Ok(()) => drop(self.installed.remove(&key)),
                Err(error) => warn!(%error, "a policy stays in the kernel"),
            }
        }
        good
    }

    /// Takes all policies out of the kernel.
    pub(super) fn remove_all(&mut self, xfrm: &mut Xfrm) {
        self.held.clear();
        self.put(Vec::new(), xfrm);
    }

    /// What the kernel should have: of two policies with the same key the first wins, as the first
    /// match decides.
    fn wanted(&mut self, mut groups: Vec<Group>) -> BTreeMap<PolicyKey, Policy> {
        let mut wanted = BTreeMap::new();
        groups.sort_by_key(|group| (group.place.tags.mark.is_none(), Reverse(group.newest)));
        for (priority, group) in tier(SERVED_FIRST).zip(&groups) {
            add(&mut wanted, group.place.tags, &group.local, &group.remote, |direction| {
                Some((priority, group.action(direction)?, group.offload(direction)))
            });
        }
        let held = std::mem::take(&mut self.held);
        for (priority, (tags, entry)) in tier(HELD_FIRST).zip(&held) {
            let meaning = Meaning { policy: entry.policy, tags: *tags, selectors: None };
            let action = match self.number(meaning) {
                Some(reqid) => {
                    // Transport mode needs no address of the peer, which may not be known yet.
                    Action::Protect(Template { reqid, ..Template::ANY })
                }
                None => Action::Block,
            };
            add(&mut wanted, *tags, &entry.local, &entry.remote, |_| {
                Some((priority, action, None))
            });
        }
        self.held = held;
        // An XFRM interface has no neighbours.
        let is_v6 = |key: &PolicyKey| key.if_id.is_none() && key.selector.source.addr().is_ipv6();
        if wanted.keys().any(is_v6) {
            allow_neighbours(&mut wanted);
        }
        wanted
    }
}

/// The kernel asks for its neighbours in packets that meet the policies too. An SA that a packet
/// needs before its peer is found would wait for itself.
fn allow_neighbours(wanted: &mut BTreeMap<PolicyKey, Policy>) {
    for kind in NEIGHBOUR_DISCOVERY {
        let any = TrafficSelector::ANY_V6;
        let kind = u16::from(kind) << 8;
        let ports = PortRange { start: kind, end: kind | 0xff };
        let icmp = vec![any.with_protocol(IpProtocol::ICMPV6, ports)];
        add(wanted, Tags::default(), &icmp, &icmp, |direction| match direction {
            Direction::Forward => None,
            Direction::In | Direction::Out => Some((NEIGHBOURS, Action::Allow, None)),
        });
    }
}

fn tier(first: u32) -> impl Iterator<Item = u32> {
    (0..).map(move |number: u32| first + number.min(TIER_LAST))
}

impl Group {
    /// What packets must go or have come through. `None`: there is no such policy.
    fn template(&self, direction: Direction) -> Option<Template> {
        let (local, remote) = self.ends;
        // The receiver is content with the number: a peer that moves keeps its policies.
        let ends = match direction {
            Direction::Out if !self.sends => return None,
            Direction::Out => (self.mode == Mode::Tunnel).then_some((local, remote)),
            Direction::In | Direction::Forward => None,
        };
        let reqid = self.place.reqid;
        Some(Template { ends, reqid, mode: self.mode, ..Template::ANY })
    }

    fn action(&self, direction: Direction) -> Option<Action> {
        let inner = self.template(direction)?;
        let Some(Bundle { esp, ah }) = self.bundle else { return Some(Action::Protect(inner)) };
        let (protocol, mode) = (IpProtocol::AH, Mode::Transport);
        let outer = Template { protocol, mode, ..inner };
        let sent = |spi| (direction == Direction::Out).then_some(spi);
        Some(Action::Bundle {
            inner: Template { spi: sent(esp), ..inner },
            outer: Template { spi: sent(ah), ..outer },
        })
    }

    /// What is forwarded has come in by then: devices have no policies for it.
    fn offload(&self, direction: Direction) -> Option<Offload> {
        let interface = self.device.filter(|_| direction != Direction::Forward)?;
        Some(Offload { interface, inbound: direction == Direction::In, packet: true })
    }
}

fn add(
    wanted: &mut BTreeMap<PolicyKey, Policy>,
    tags: Tags,
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
    decide: impl Fn(Direction) -> Option<(u32, Action, Option<Offload>)>,
) {
    for direction in Direction::ALL {
        let Some((priority, action, offload)) = decide(direction) else { continue };
        for (ours, theirs) in local.iter().flat_map(|l| remote.iter().map(move |r| (l, r))) {
            let covered = match direction {
                Direction::Out => Selector::cover(ours, theirs),
                Direction::In | Direction::Forward => Selector::cover(theirs, ours),
            };
            for (selector, action) in or_block(covered, ours, theirs, direction, action) {
                let Tags { if_id, mark } = tags;
                let id = PolicyKey { direction, selector, mark, if_id };
                wanted.entry(id).or_insert(Policy { id, priority, action, offload });
            }
        }
    }
}

/// What the kernel cannot select it must not let through either: the addresses are blocked.
fn or_block(
    covered: Result<Vec<Selector>, SelectorError>,
    ours: &TrafficSelector,
    theirs: &TrafficSelector,
    direction: Direction,
    action: Action,
) -> Vec<(Selector, Action)> {
    let error = match covered {
        Ok(selectors) => return selectors.into_iter().map(|one| (one, action)).collect(),
        Err(error) => error,
    };
    if direction == Direction::Out {
        warn!(%error, "{ours} <-> {theirs} is blocked: use engine = \"userspace\"");
    }
    let all = |ts: &TrafficSelector| TrafficSelector::from_range(ts.start, ts.end);
    let (Ok(ours), Ok(theirs)) = (all(ours), all(theirs)) else { return Vec::new() };
    let blocked = match direction {
        Direction::Out => Selector::cover(&ours, &theirs),
        Direction::In | Direction::Forward => Selector::cover(&theirs, &ours),
    };
    blocked.unwrap_or_default().into_iter().map(|one| (one, Action::Block)).collect()
}

#[cfg(test)]
mod tests {
    use adit_db::{HwOffload, Steering};

    use super::*;

    fn ts(text: &str) -> Vec<TrafficSelector> {
        vec![text.parse().unwrap()]
    }

    fn group(reqid: u32, newest: u32) -> Group {
        Group {
            place: Place { reqid, tags: Tags::default(), offload: HwOffload::Off },
            local: ts("10.1.0.0/24"),
            remote: ts("10.2.0.0/24"),
            mode: Mode::Tunnel,
            bundle: None,
            ends: ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()),
            sends: true,
            device: None,
            newest: ChildSaId(newest),
        }
    }

    fn held(policy: u32) -> Held {
        let (local, remote) = (ts("10.1.0.0/24"), ts("10.2.0.0/24"));
        Held { policy: PolicyId(policy), local, remote, steering: Steering::default() }
    }

    fn plain(held: Held) -> Vec<(Tags, Held)> {
        vec![(Tags::default(), held)]
    }

    fn action(wanted: &BTreeMap<PolicyKey, Policy>, direction: Direction) -> Action {
        let found: Vec<_> = wanted.values().filter(|p| p.id.direction == direction).collect();
        let [only] = found[..] else { panic!("{found:?}") };
        only.action
    }

    /// CHECKLIST J38: what is held never goes in clear, and what SAs serve stands before it.
    #[test]
    fn sas_serve_a_held_policy_and_it_stays_when_they_go() {
        let mut policies = Policies::default();
        policies.hold(plain(held(3)));
        let down = policies.wanted(Vec::new());
        let Action::Protect(waiting) = action(&down, Direction::Out) else { panic!("{down:?}") };
        assert_eq!((waiting.mode, waiting.ends), (Mode::Transport, None));
        assert_eq!(policies.policy_of(waiting.reqid), Some(PolicyId(3)));

        let (local, remote) = (ts("10.1.0.0/24"), ts("10.2.0.0/24"));
        let reqid = policies.reqid(PolicyId(3), Tags::default(), &local, &remote).unwrap();
        assert_ne!(reqid, waiting.reqid);
        assert_eq!(policies.policy_of(reqid), Some(PolicyId(3)));
        let up = policies.wanted(vec![group(reqid, 1)]);
        let Action::Protect(served) = action(&up, Direction::Out) else { panic!("{up:?}") };
        assert_eq!((served.reqid, served.mode), (reqid, Mode::Tunnel));
        assert!(served.ends.is_some());
        let Action::Protect(inbound) = action(&up, Direction::In) else { panic!("{up:?}") };
        assert_eq!((inbound.reqid, inbound.ends), (reqid, None));
        assert_eq!(policies.wanted(Vec::new()), down);
    }

    #[test]
    fn a_group_that_does_not_send_yet_admits_and_the_held_policy_holds() {
        let mut policies = Policies::default();
        policies.hold(plain(held(1)));
        let wanted = policies.wanted(vec![Group { sends: false, ..group(REQID_FIRST + 8, 1) }]);
        let Action::Protect(out) = action(&wanted, Direction::Out) else { panic!("{wanted:?}") };
        let Action::Protect(inbound) = action(&wanted, Direction::In) else { panic!("{wanted:?}") };
        assert_ne!(out.reqid, REQID_FIRST + 8);
        assert_eq!(inbound.reqid, REQID_FIRST + 8);
    }

    #[test]
    fn the_newest_of_equal_groups_decides() {
        let mut policies = Policies::default();
        let wanted = policies.wanted(vec![group(REQID_FIRST, 1), group(REQID_FIRST + 1, 2)]);
        let Action::Protect(out) = action(&wanted, Direction::Out) else { panic!("{wanted:?}") };
        assert_eq!(out.reqid, REQID_FIRST + 1);
    }

    /// CHECKLIST S10: AH is around ESP both ways, and ESP goes out by that AH alone that was negotiated with it.
    #[test]
    fn a_bundle_has_two_templates() {
        let bundle = Some(Bundle { esp: Spi(0x1001), ah: Spi(0x1002) });
        for mode in [Mode::Tunnel, Mode::Transport] {
            let one = Group { bundle, mode, ..group(REQID_FIRST, 1) };
            let wanted = Policies::default().wanted(vec![one.clone()]);
            assert_eq!(wanted.len(), 3);
            for direction in Direction::ALL {
                let Action::Bundle { inner, outer } = action(&wanted, direction) else {
                    panic!("{wanted:?}")
                };
                let both = [inner, outer];
                assert_eq!(both.map(|one| one.protocol), [IpProtocol::ESP, IpProtocol::AH]);
                assert_eq!(both.map(|one| one.mode), [mode, Mode::Transport]);
                assert_eq!(both.map(|one| one.reqid), [REQID_FIRST; 2]);
                let is_out = direction == Direction::Out;
                let spis = is_out.then_some([0x1001, 0x1002].map(Spi));
                assert_eq!(
                    [inner.spi, outer.spi],
                    [spis.map(|one| one[0]), spis.map(|one| one[1])]
                );
                let has_ends = is_out && mode == Mode::Tunnel;
                assert_eq!(inner.ends, has_ends.then_some(one.ends));
            }
            // Who does not send yet takes what comes in by both.
            let wanted = Policies::default().wanted(vec![Group { sends: false, ..one }]);
            assert_eq!(wanted.len(), 2);
        }
    }

    #[test]
    fn neighbours_are_found_without_an_sa() {
        let mut policies = Policies::default();
        let six = Held { local: ts("2001:db8::1"), remote: ts("2001:db8::2"), ..held(1) };
        policies.hold(plain(six));
        let wanted = policies.wanted(Vec::new());
        let allowed: Vec<_> = wanted.values().filter(|p| p.action == Action::Allow).collect();
        assert_eq!(allowed.len(), 4);
        let rest = wanted.values().filter(|policy| policy.action != Action::Allow);
        assert!(rest.min_by_key(|policy| policy.priority).unwrap().priority > NEIGHBOURS);

        policies.hold(plain(held(1)));
        assert!(policies.wanted(Vec::new()).values().all(|p| p.action != Action::Allow));
    }

    /// CHECKLIST H14: two tunnels to everywhere: each has policies of its own, and none is about packets that go
    /// through no interface.
    #[test]
    fn policies_of_interfaces_stand_side_by_side() {
        let mut policies = Policies::default();
        let everywhere = |policy| Held { remote: ts("0.0.0.0/0"), ..held(policy) };
        let on = |if_id| Tags { if_id: Some(if_id), mark: None };
        policies.hold(vec![(on(7), everywhere(1)), (on(8), everywhere(2))]);
        let wanted = policies.wanted(Vec::new());
        assert_eq!(wanted.len(), 6);
        assert!(wanted.keys().all(|key| key.if_id.is_some()));
        let (local, remote) = (ts("10.1.0.0/24"), ts("10.2.0.0/24"));
        let mut reqid = |tags| policies.reqid(PolicyId(1), tags, &local, &remote).unwrap();
        // SAs of another interface are not those of this one.
        assert_ne!(reqid(on(7)), reqid(on(8)));
    }

    /// CHECKLIST H14: whoever asks for a mark is asked first, however old its SAs are.
    #[test]
    fn marks_go_before_policies_for_any_packet() {
        let mut policies = Policies::default();
        let mark = "0x10/0xff".parse().ok();
        let marked = Tags { if_id: None, mark };
        policies.hold(vec![(Tags::default(), held(1)), (marked, held(2))]);
        let offload = HwOffload::Off;
        let place = Place { reqid: REQID_FIRST + 7, tags: marked, offload };
        let groups = vec![group(REQID_FIRST + 8, 2), Group { place, ..group(0, 1) }];
        let wanted = policies.wanted(groups);
        let of = |mark| {
            let mine = wanted.values().filter(|one| one.id.mark == mark);
            mine.map(|one| one.priority).min().unwrap()
        };
        assert_eq!(wanted.len(), 6);
        assert!(of(mark) < of(None));
        policies.hold(vec![(Tags::default(), held(1)), (marked, held(2))]);
        let wanted = policies.wanted(Vec::new());
        let first = wanted.values().min_by_key(|one| one.priority).unwrap();
        assert_eq!(first.id.mark, mark);
    }

    /// A device that has an SA whole must know its policies, too.
    #[test]
    fn a_device_has_the_policies_of_its_sas() {
        let mut policies = Policies::default();
        let wanted = policies.wanted(vec![Group { device: Some(3), ..group(REQID_FIRST, 1) }]);
        for policy in wanted.values() {
            let inbound = policy.id.direction == Direction::In;
            let there = Offload { interface: 3, inbound, packet: true };
            let expected = (policy.id.direction != Direction::Forward).then_some(there);
            assert_eq!(policy.offload, expected);
        }
        assert_eq!(wanted.len(), 3);
    }

    #[test]
    fn what_the_kernel_cannot_select_is_blocked() {
        let mut policies = Policies::default();
        let opaque = PortRange::OPAQUE;
        let fragments = TrafficSelector { protocol: 6, ports: opaque, ..held(1).local[0] };
        policies.hold(plain(Held { local: vec![fragments], ..held(1) }));
        let wanted = policies.wanted(Vec::new());
        assert_eq!(wanted.len(), 3);
        assert!(wanted.values().all(|policy| policy.action == Action::Block));
    }
}
