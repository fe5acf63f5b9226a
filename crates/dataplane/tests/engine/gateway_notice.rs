//! What gateways tell each other in the IKE SA: ICMP errors that no SA carries, and fragments where no message
//! in the SA would tell of them (draft-ietf-ipsec-icmp-options-00, draft-richardson-ipsec-pmtu-discov-02).

use adit_dataplane::{DropReason, Event, FLOOR_V4, MtuSource, Outbound, OutboundCommand, Verdict};
use adit_db::{ChildSaId, GatewayNotice, IcmpCarry, IcmpPassage, IcmpRules, Mode, Tfc};
use adit_wire::ip::IcmpReport;

use crate::fixtures::{CHILD, Options, buffer, seal, start};
use crate::icmp::{ROUTER, error, narrow, rules, unreachable};

fn carried_by(carry: IcmpCarry, notices: bool) -> Options {
    let mut icmp = IcmpRules::default();
    icmp.carry = carry;
    Options { icmp, notices, ..Options::default() }
}

/// CHECKLIST PM-28, the fourth method: by setting an error that no selector contains goes by IKE, to a peer
/// that takes it there. One that selectors contain goes by its SA as ever.
#[test]
fn an_error_goes_by_ike_by_setting() {
    let now = start();
    let message = unreachable(ROUTER);
    let mut engine = narrow(&carried_by(IcmpCarry::Ike, true));
    assert_eq!(seal(&mut engine, &mut buffer(&message), now), Verdict::Held);
    let notice = GatewayNotice::IcmpError(message.clone());
    assert_eq!(engine.poll_notice(), Some((CHILD, notice)));
    assert_eq!(engine.poll_notice(), None);
    assert_eq!(seal(&mut engine, &mut buffer(&unreachable("10.1.0.1")), now), Verdict::Send);

    for options in [carried_by(IcmpCarry::Ike, false), carried_by(IcmpCarry::Esp, true)] {
        let mut engine = narrow(&options);
        assert_eq!(seal(&mut engine, &mut buffer(&message), now), Verdict::Send);
        assert_eq!(engine.poll_notice(), None);
    }
}

/// What the table does not let pass implicitly does not pass by IKE either, and no flood of errors is one of
/// notices.
#[test]
fn what_goes_by_ike_is_limited() {
    let now = start();
    let mut icmp = rules("host-unreachable", |row| row.black = IcmpPassage::Explicit);
    icmp.carry = IcmpCarry::Ike;
    let mut engine = narrow(&Options { icmp, ..carried_by(IcmpCarry::Ike, true) });
    let refused = Verdict::Drop(DropReason::NoPolicy);
    assert_eq!(seal(&mut engine, &mut buffer(&unreachable(ROUTER)), now), refused);

    let mut engine = narrow(&carried_by(IcmpCarry::Ike, true));
    let mut held = 0;
    for _ in 0..1_000 {
        let verdict = seal(&mut engine, &mut buffer(&unreachable(ROUTER)), now);
        held += usize::from(verdict == Verdict::Held);
    }
    assert_eq!(held, 10);
    assert_eq!(std::iter::from_fn(|| engine.poll_notice()).count(), 10);
}

fn hear(engine: &mut Outbound, child: ChildSaId, notice: GatewayNotice) -> Option<Vec<u8>> {
    engine.handle_command(OutboundCommand::Notice { child, notice }, start());
    engine.poll_answer().map(|answer| answer.data().to_vec())
}

/// CHECKLIST PM-27: what the peer hands on is told to the sender of the packet that it quotes, if that went by
/// this SA. Whatever else it is goes no further and is counted.
#[test]
fn an_error_by_ike_is_for_who_sent_the_packet() {
    let report = IcmpReport::unreachable(true, 1);
    let good = error(report, "10.1.0.5", "10.2.0.7", "172.16.9.1");
    let mut engine = narrow(&Options::default());
    let told = |octets: &[u8]| GatewayNotice::IcmpError(octets.to_vec());
    assert_eq!(hear(&mut engine, CHILD, told(&good)), Some(good.clone()));
    assert_eq!(hear(&mut engine, ChildSaId(99), told(&good)), None);

    let other_peer = error(report, "10.1.0.5", "10.3.0.7", "172.16.9.1");
    let from_peer = error(report, "10.2.0.7", "10.1.0.5", "172.16.9.1");
    let mut to_another = good.clone();
    to_another[19] = 9;
    let mut broken = good.clone();
    broken[30] ^= 1;
    let no_error = crate::fixtures::udp_packet(false, 0, 80);
    let all = [&other_peer, &from_peer, &to_another, &broken, &no_error, &good[..20].to_vec()];
    for octets in all {
        assert_eq!(hear(&mut engine, CHILD, told(octets)), None);
    }
    let report = engine.report();
    let counted = [DropReason::IcmpQuote, DropReason::BadInner].map(|drop| report.drops.get(drop));
    assert_eq!(counted.iter().sum::<u64>(), 6);

    let mut deaf = narrow(&Options {
        icmp: rules("host-unreachable", |row| row.tunnel = IcmpPassage::Explicit),
        ..Options::default()
    });
    assert_eq!(hear(&mut deaf, CHILD, told(&good)), None);
    assert_eq!(deaf.report().drops.get(DropReason::IcmpRefused), 1);
}

/// A peer makes us tell ten errors a second for one SA, and no error changes what a path is taken for.
#[test]
fn errors_by_ike_are_few_and_change_nothing() {
    let mut engine = narrow(&Options::default());
    while engine.poll_event().is_some() {}
    let too_big = error(IcmpReport::too_big(true, 600), "10.1.0.5", "10.2.0.7", ROUTER);
    let notice = || GatewayNotice::IcmpError(too_big.clone());
    let told = (0..500).filter(|_| hear(&mut engine, CHILD, notice()).is_some()).count();
    assert_eq!(told, 10);
    assert_eq!(engine.poll_event(), None);
}

fn report(engine: &mut Outbound, largest: u16) -> Vec<(u16, MtuSource)> {
    hear(engine, CHILD, GatewayNotice::LargestFragment(largest));
    let path = |event| {
        let Event::PathMtu { mtu, source, .. } = event else { return None };
        Some((mtu, source))
    };
    std::iter::from_fn(|| engine.poll_event()).filter_map(path).collect()
}

/// A report makes less of the path, down to what all take, and never more.
#[test]
fn a_report_by_ike_lowers_the_path() {
    let mut engine = narrow(&Options::default());
    while engine.poll_event().is_some() {}
    assert_eq!(report(&mut engine, 1_296), [(1_296, MtuSource::Report)]);
    assert_eq!(report(&mut engine, 1_440), []);
    assert_eq!(report(&mut engine, u16::MAX), []);
    assert_eq!(report(&mut engine, 0), [(FLOOR_V4, MtuSource::Report)]);
}

/// Fragments are told by IKE where nothing in the SA tells of them: if its peers have no agreement on that,
/// or its lengths are hidden.
#[test]
fn fragments_are_told_by_ike_where_the_sa_cannot() {
    let now = start();
    let plain = Options { notices: true, ..Options::default() };
    let hidden = Tfc { padding: 64, ..Tfc::OFF };
    let talking = Options { path_probe: true, ..plain.clone() };
    let cases = [
        (plain.clone(), true),
        (talking.clone(), false),
        (Options { tfc: hidden, ..talking }, true),
        (Options { notices: false, ..plain.clone() }, false),
        (Options { mode: Mode::Tunnel, udp: false, ..plain }, true),
    ];
    for (options, is_told) in cases {
        let mut engine = narrow(&options);
        while engine.poll_packet().is_some() {}
        engine
            .handle_command(OutboundCommand::ReportFragments { child: CHILD, largest: 1_288 }, now);
        let notice = (CHILD, GatewayNotice::LargestFragment(1_288));
        assert_eq!(engine.poll_notice(), is_told.then_some(notice), "{options:?}");
    }
}
