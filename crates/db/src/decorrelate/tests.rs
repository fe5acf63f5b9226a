use proptest::prelude::*;

use super::*;

const fn span(first: u32, last: u32) -> Span<u32> {
    Span { first, last }
}

/// A region as sets of values, one for each selector, each as ranges.
type Row<const K: usize> = (u32, [Vec<Span<u32>>; K]);

/// The regions somebody owns, as the tree has them.
fn rows<const K: usize>(tree: &Decorrelated<u32, K>, last: [u32; K]) -> Vec<Row<K>> {
    fn descend<const K: usize>(
        tree: &Decorrelated<u32, K>,
        target: Target,
        sets: &[Vec<Span<u32>>; K],
        last: [u32; K],
        rows: &mut Vec<Row<K>>,
    ) {
        let (selector, places) = match target.step() {
            Step::Owner(owner) => return rows.push((owner, sets.clone())),
            Step::Nobody => return,
            Step::Small(number) => {
                let Small { starts: [within, above], targets, selector } = tree.small[number];
                let places = [0, within, above].into_iter().zip(targets);
                let mut places: Vec<_> =
                    places.map(|(start, target)| Place { start, target }).collect();
                places.dedup_by_key(|place| place.start);
                (usize::from(selector), places)
            }
            Step::Large(number) => {
                let node = tree.large[number];
                (node.selector, tree.places[node.at..node.at + node.len].to_vec())
            }
        };
        let mut branches: Vec<Target> = places.iter().map(|place| place.target).collect();
        branches.sort_unstable();
        branches.dedup();
        for branch in branches {
            let ranges = (0..places.len()).filter(|place| places[*place].target == branch);
            let end =
                |place: usize| places.get(place + 1).map_or(last[selector], |next| next.start - 1);
            let mut sets = sets.clone();
            sets[selector] = ranges.map(|place| span(places[place].start, end(place))).collect();
            descend(tree, branch, &sets, last, rows);
        }
    }
    let mut rows = Vec::new();
    let sets = last.map(|last| vec![span(0, last)]);
    descend(tree, tree.root, &sets, last, &mut rows);
    rows
}

const LAST: [u32; 7] = [u32::MAX, u32::MAX, 255, 65_535, 65_535, 9, 9];
const ANY: [Span<u32>; 7] = [
    span(0, LAST[0]),
    span(0, LAST[1]),
    span(0, LAST[2]),
    span(0, LAST[3]),
    span(0, LAST[4]),
    span(0, LAST[5]),
    span(0, LAST[6]),
];
/// 199.93.0.0/16 and 199.100.2.0/24.
const A: Span<u32> = span(0xc75d_0000, 0xc75d_ffff);
const B: Span<u32> = span(0xc764_0200, 0xc764_02ff);
const TCP: u32 = 6;
const UDP: u32 = 17;
/// One user of ten, two security labels of ten.
const L: u32 = 4;
const SEC: u32 = 3;
const CONF: u32 = 7;

const fn one(value: u32) -> Span<u32> {
    span(value, value)
}

fn not(span_: Span<u32>, selector: usize) -> Vec<Span<u32>> {
    vec![span(0, span_.first - 1), span(span_.last + 1, LAST[selector])]
}

/// C1 to C6 of the example in Appendix B of draft-ietf-ipsp-sps: source, destination, protocol,
/// source port, destination port, user, label.
fn example() -> Vec<Policy<u32, 7>> {
    let with = |changes: &[(usize, Span<u32>)]| {
        let mut selectors = ANY;
        changes.iter().for_each(|(selector, span)| selectors[*selector] = *span);
        selectors
    };
    let ab = [(0, A), (1, B)];
    let ab = |more: &[(usize, Span<u32>)]| with(&[&ab[..], more].concat());
    let policies = [
        ab(&[(2, one(TCP)), (4, one(22)), (5, one(L)), (6, one(SEC))]),
        ab(&[(2, one(TCP)), (5, one(L)), (6, one(CONF))]),
        ab(&[(2, one(UDP)), (5, one(L))]),
        ab(&[(2, one(UDP)), (4, one(52))]),
        ab(&[]),
        ANY,
    ];
    (1..).zip(policies).map(|(owner, selectors)| Policy { selectors, owner }).collect()
}

/// The published example, row for row: 6 policies become 11.
//= https://www.rfc-editor.org/rfc/rfc4301#appendix-B
//= type=test
//# The decorrelation algorithm
#[test]
fn the_example_of_the_security_policy_system_gives_its_eleven_rows() {
    let tree = Decorrelated::new(&example(), LAST, WORK_MAX).unwrap();
    let mut found = rows(&tree, LAST);

    let row = |owner: u32, changes: &[(usize, Vec<Span<u32>>)]| -> Row<7> {
        let mut sets = ANY.map(|span| vec![span]);
        sets[0] = vec![A];
        sets[1] = vec![B];
        changes.iter().for_each(|(selector, set)| sets[*selector] = set.clone());
        (owner, sets)
    };
    let only = |value| vec![one(value)];
    let except = |value: u32, selector| not(one(value), selector);
    let neither =
        |a: u32, b: u32, last| vec![span(0, a - 1), span(a + 1, b - 1), span(b + 1, last)];
    let any = |selector: usize| vec![ANY[selector]];
    let mut expected = vec![
        row(1, &[(2, only(TCP)), (4, only(22)), (5, only(L)), (6, only(SEC))]),
        row(2, &[(2, only(TCP)), (5, only(L)), (6, only(CONF))]),
        row(3, &[(2, only(UDP)), (5, only(L))]),
        row(4, &[(2, only(UDP)), (4, only(52)), (5, except(L, 5))]),
        row(5, &[(2, neither(TCP, UDP, 255))]),
        row(5, &[(2, only(UDP)), (4, except(52, 4)), (5, except(L, 5))]),
        row(5, &[(2, only(TCP)), (5, except(L, 5))]),
        row(5, &[(2, only(TCP)), (5, only(L)), (6, neither(SEC, CONF, 9))]),
        row(5, &[(2, only(TCP)), (4, except(22, 4)), (5, only(L)), (6, only(SEC))]),
        row(6, &[(1, not(B, 1))]),
        row(6, &[(0, not(A, 0)), (1, any(1))]),
    ];
    found.sort();
    expected.sort();
    assert_eq!(found.len(), 11);
    assert_eq!(found, expected);
}

/// No policies, no node; one that contains everything, neither.
#[test]
fn what_needs_no_decision_needs_no_node() {
    let all = Policy { selectors: [span(0, 9); 2], owner: 7 };
    let empty = Decorrelated::<u32, 2>::new(&[], [9, 9], 0).unwrap();
    let full = Decorrelated::new(&[all, all], [9, 9], 0).unwrap();
    assert_eq!((empty.small.len(), empty.lookup(&[1, 1])), (0, None));
    assert_eq!((full.small.len(), full.lookup(&[1, 1])), (0, Some(7)));
}

/// A policy that others hide is nobody's region.
#[test]
fn hidden_policies_own_nothing() {
    let halves = [span(0, 4), span(5, 9), span(3, 6)];
    let policies = [0, 1, 2].map(|owner| Policy { selectors: [halves[owner as usize]], owner });
    let tree = Decorrelated::new(&policies, [9], 100).unwrap();
    assert_eq!(tree.regions().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
}

/// Staircases in every selector: what grows beyond the limit is refused, and the policy that is
/// cut into the most parts is named.
#[test]
fn entangled_policies_are_refused() {
    let step = |owner: u32| Policy { selectors: [span(owner, owner + 40); 4], owner };
    let mut policies: Vec<_> = (0..40).map(step).collect();
    policies.push(Policy {
        selectors: [span(0, 99), span(1, 99), span(1, 99), span(1, 99)],
        owner: 40,
    });
    let refused = Decorrelated::new(&policies, [99; 4], 10_000).unwrap_err();
    assert_eq!(refused, Entangled { owner: 40 });
}

/// Ten thousand disjoint policies before one for the rest cost what they are, not their square.
#[test]
fn disjoint_policies_cost_in_proportion_to_their_number() {
    let mut policies: Vec<_> = (0..10_000)
        .map(|owner| Policy { selectors: [one(owner * 3), one(owner * 7 + 1)], owner })
        .collect();
    policies.push(Policy { selectors: [span(0, 99_999); 2], owner: 10_000 });
    let tree = Decorrelated::new(&policies, [99_999; 2], 150_000).unwrap();
    assert_eq!(tree.lookup(&[3, 8]), Some(1));
    assert_eq!(tree.lookup(&[3, 9]), Some(10_000));
    assert_eq!(tree.lookup(&[29_997, 69_994]), Some(9_999));
}

fn policies() -> impl Strategy<Value = Vec<[(u32, u32); 3]>> {
    let range = prop_oneof![
        2 => (0_u32..12, 0_u32..12).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1 => Just((0, 11)),
        1 => (0_u32..12).prop_map(|value| (value, value)),
    ];
    prop::collection::vec(prop::array::uniform3(range), 0..12)
}

proptest! {
    /// Every packet of a small world: lies in one region at most, and in the right one.
    #[test]
    fn regions_are_disjoint_and_belong_to_the_first_match(policies in policies()) {
        let last = [11; 3];
        let policies: Vec<Policy<u32, 3>> = (0..)
            .zip(&policies)
            .map(|(owner, ranges)| Policy { selectors: ranges.map(|(a, b)| span(a, b)), owner })
            .collect();
        let tree = Decorrelated::new(&policies, last, WORK_MAX).unwrap();
        let rows = rows(&tree, last);
        let within = |span: &Span<u32>, value: u32| span.first <= value && value <= span.last;
        for number in 0..12_u32.pow(3) {
            let packet = [number % 12, number / 12 % 12, number / 144];
            let first = policies.iter().find(|policy| {
                policy.selectors.iter().zip(packet).all(|(span, value)| within(span, value))
            });
            let regions: Vec<u32> = rows
                .iter()
                .filter(|(_, sets)| {
                    sets.iter().zip(packet).all(|(set, value)| {
                        set.iter().any(|span| within(span, value))
                    })
                })
                .map(|(owner, _)| *owner)
                .collect();
            let expected: Vec<u32> = first.map(|policy| policy.owner).into_iter().collect();
            prop_assert_eq!(&regions, &expected);
            prop_assert_eq!(tree.lookup(&packet), expected.first().copied());
        }
    }
}
