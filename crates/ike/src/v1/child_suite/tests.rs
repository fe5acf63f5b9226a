//! Bundles, as both ends read them.

use adit_db::ConnectionName;
use adit_wire::iana::doi::{AhTransformId, Phase2Class};
use adit_wire::isakmp::AttributeList;

use super::*;

const OURS: Inbound =
    Inbound { spi: Spi(0x1111), outer: Some(Spi(0x2222)), cpi: Some(Cpi(0x3333)) };
const THEIRS: Inbound =
    Inbound { spi: Spi(0x4444), outer: Some(Spi(0x5555)), cpi: Some(Cpi(0x6666)) };

/// One that wants ESP with AH around it.
fn config(mode: Mode) -> ChildConfig {
    let mut config = ChildConfig::new("net".parse().unwrap());
    config.proposals = ProposalSpec::esp_list("aes128-sha256-modp2048").unwrap();
    config.outer_ah = ProposalSpec::ah_list("sha256-sha1").unwrap();
    config.mode = mode;
    config.compress = true;
    config
}

fn connection() -> Connection {
    Connection::new(ConnectionName::new("berlin").unwrap())
}

/// What [`config`] offers.
fn offer(mode: Mode, own: Inbound) -> Phase2Offer {
    let config = config(mode);
    let lifetimes = Lifetimes::of_seconds(3_600);
    let group = Some(KeyExchange::from_id(KeyExchangeId(14)).unwrap());
    let suite = config.proposals.iter().flat_map(child_suites).next().unwrap();
    let transform = Phase2Transform {
        group: Some(GroupId::MODP_2048),
        mode: Some(encapsulation(mode, None)),
        lifetimes,
        ..phase2_transform(ChildProtocol::ESP, &suite).unwrap()
    };
    let outer = offered_around(&config, group, lifetimes).unwrap();
    let (protocol, transforms, wrap) = (ProtocolId::ESP, vec![transform], None);
    Phase2Offer { protocol, transforms, lifetimes, group, mode, wrap, outer, own }
}

/// The proposals of an offer that have this number.
fn proposals(mode: Mode, number: u8) -> Vec<Proposal<'static>> {
    let body = offer(mode, OURS).body();
    let sa = Sa::read(&mut adit_wire::Reader(&body)).unwrap().into_owned();
    sa.proposals.into_iter().filter(|one| one.number == number).collect()
}

fn chosen(config: &ChildConfig, proposals: Vec<Proposal<'_>>) -> Option<Phase2Choice> {
    choose_phase2(&connection(), config, &Sa { proposals }, None)
}

fn answer(choice: &Phase2Choice) -> Sa<'static> {
    let body = choice.body(&THEIRS);
    Sa::read(&mut adit_wire::Reader(&body)).unwrap().into_owned()
}

fn protocols(sa: &Sa<'_>) -> Vec<ProtocolId> {
    sa.proposals.iter().map(|one| one.protocol).collect()
}

fn with_mode(proposal: &mut Proposal<'static>, mode: EncapsulationMode) {
    let all = proposal.transforms.iter_mut();
    all.for_each(|one| {
        let read = Phase2Transform::read(proposal.protocol, one).unwrap();
        *one = Phase2Transform { mode: Some(mode), ..read }.to_transform(one.number);
    });
}

/// CHECKLIST U16: RFC 2408 §4.2: ESP, AH and IPComp of one number are taken together, in whatever order they
/// stand, and answered in that order, each with an SPI of its own.
#[test]
fn proposals_of_one_number_are_taken_together() {
    for mode in [Mode::Tunnel, Mode::Transport] {
        let all = proposals(mode, 1);
        assert_eq!(all.iter().map(|one| one.protocol.0).collect::<Vec<_>>(), [2, 3, 4]);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let ordered: Vec<_> = order.iter().map(|place| all[*place].clone()).collect();
            let asked = Sa { proposals: ordered.clone() };
            let choice = chosen(&config(mode), ordered).unwrap();
            let outer = choice.outer.clone().unwrap();
            assert_eq!((choice.spi_out, outer.spi_out), (OURS.spi, OURS.outer.unwrap()));
            assert_eq!((choice.cpi_out, choice.mode), (OURS.cpi, mode));
            let answered = answer(&choice);
            assert_eq!(protocols(&answered), protocols(&asked));
            assert!(answered.proposals.iter().all(|one| one.transforms.len() == 1));
            let agreed = offer(mode, OURS).accept(&answered).unwrap();
            let theirs = agreed.outer.unwrap();
            assert_eq!((agreed.spi_out, theirs.spi_out), (THEIRS.spi, THEIRS.outer.unwrap()));
            assert_eq!((agreed.cpi_out, theirs.esn), (THEIRS.cpi, false));
            assert_eq!(theirs.transforms, outer.transforms);
        }
        // The second number goes without compression.
        let choice = chosen(&config(mode), proposals(mode, 2)).unwrap();
        assert!(choice.outer.is_some() && choice.cpi_out.is_none());
        assert!(offer(mode, OURS).accept(&answer(&choice)).is_some());
    }
}

/// Of a tunnel some say tunnel mode of AH, too; of two hosts nobody does.
#[test]
fn ah_around_a_tunnel_may_say_tunnel_mode() {
    for (mode, said, fits) in [
        (Mode::Tunnel, EncapsulationMode::TUNNEL, true),
        (Mode::Tunnel, EncapsulationMode::TRANSPORT, true),
        (Mode::Transport, EncapsulationMode::TUNNEL, false),
        (Mode::Transport, EncapsulationMode::TRANSPORT, true),
    ] {
        let mut asked = proposals(mode, 2);
        with_mode(&mut asked[0], said);
        let choice = chosen(&config(mode), asked);
        assert_eq!(choice.is_some(), fits, "{mode:?} {said:?}");
        if let Some(choice) = choice {
            assert!(offer(mode, OURS).accept(&answer(&choice)).is_some());
        }
    }
}

/// CHECKLIST U16: what is no bundle is refused as a whole, and nothing of it is taken.
#[test]
fn what_is_no_bundle_is_refused() {
    let config = config(Mode::Tunnel);
    let good = || proposals(Mode::Tunnel, 1);
    let numbered = |mut all: Vec<Proposal<'static>>, numbers: [u8; 3]| {
        all.iter_mut().zip(numbers).for_each(|(one, number)| one.number = number);
        all
    };
    let changed = |place: usize, change: fn(&mut Proposal<'static>)| {
        let mut all = good();
        change(&mut all[place]);
        all
    };
    let transform = |proposal: &mut Proposal<'static>, change: fn(&mut Phase2Transform)| {
        proposal.transforms.iter_mut().for_each(|one| {
            let mut read = Phase2Transform::read(ProtocolId::AH, one).unwrap();
            change(&mut read);
            *one = read.to_transform(one.number);
        });
    };
    let again = |place: usize| {
        let all = good();
        let twice = all[place].clone();
        all.into_iter().chain([twice]).collect::<Vec<_>>()
    };
    let mut other_group = good();
    transform(&mut other_group[0], |read| read.group = None);
    let mut unknown = good();
    unknown[0].transforms.iter_mut().for_each(|one| one.id = AhTransformId::DES.0);
    let mut contradicting = good();
    contradicting[0].transforms.iter_mut().for_each(|one| {
        let list = AttributeList::new().basic(Phase2Class::AUTHENTICATION_ALGORITHM.0, 9);
        one.attributes = list.finish();
    });
    for (what, all) in [
        ("ESP twice", again(1)),
        ("AH twice", again(0)),
        ("IPComp twice", again(2)),
        ("AH of another number", numbered(good(), [2, 1, 1])),
        ("ESP of another number", numbered(good(), [1, 2, 1])),
        ("ISAKMP in it", changed(2, |one| one.protocol = ProtocolId::ISAKMP)),
        ("ESP alone", good()[1..2].to_vec()),
        ("AH alone", good()[..1].to_vec()),
        ("AH and IPComp", vec![good()[0].clone(), good()[2].clone()]),
        ("an SPI of AH of two octets", changed(0, |one| one.spi = Cow::Borrowed(&[1, 2]))),
        ("an SPI of AH that is reserved", changed(0, |one| one.spi = Cow::Borrowed(&[0; 4]))),
        ("an SPI of ESP of eight octets", changed(1, |one| one.spi = Cow::Borrowed(&[7; 8]))),
        ("another key exchange of AH", other_group),
        ("an unknown AH", unknown),
        ("an AH that contradicts itself", contradicting),
        ("AH without transforms", changed(0, |one| one.transforms.clear())),
    ] {
        assert!(chosen(&config, all).is_none(), "{what}");
    }
    assert!(chosen(&config, good()).is_some());
    // Who wants no bundle takes none, and nobody takes one through a NAT.
    let plain = ChildConfig { outer_ah: Vec::new(), ..config.clone() };
    assert!(chosen(&plain, good()).is_none());
    assert!(chosen(&plain, good()[1..].to_vec()).is_some());
    let sa = Sa { proposals: good() };
    assert!(choose_phase2(&connection(), &config, &sa, Some(Numbers::Rfc)).is_none());
}

/// An initiator takes the whole of what it has asked for.
#[test]
fn an_answer_without_a_part_is_refused() {
    let choice = chosen(&config(Mode::Tunnel), proposals(Mode::Tunnel, 1)).unwrap();
    let good = answer(&choice);
    let asked = offer(Mode::Tunnel, OURS);
    assert!(asked.accept(&good).is_some());
    let without = |protocol| {
        let all = good.proposals.iter().filter(|one| one.protocol != protocol);
        Sa { proposals: all.cloned().collect() }
    };
    assert!(asked.accept(&without(ProtocolId::IPCOMP)).is_some());
    assert!(asked.accept(&without(ProtocolId::AH)).is_none());
    assert!(asked.accept(&without(ProtocolId::ESP)).is_none());
    let changed = |change: fn(&mut Proposal<'static>)| {
        let mut sa = good.clone();
        sa.proposals.iter_mut().filter(|one| one.protocol == ProtocolId::AH).for_each(change);
        sa
    };
    assert!(asked.accept(&changed(|one| one.number = 7)).is_none());
    assert!(asked.accept(&changed(|one| one.spi = Cow::Borrowed(&[1; 8]))).is_none());
    assert!(asked.accept(&changed(|one| one.transforms.clear())).is_none());
    let md5 = changed(|one| {
        let read = Phase2Transform::read(ProtocolId::AH, &one.transforms[0]).unwrap();
        let (id, auth) = (AhTransformId::MD5.0, Some(AuthAlgorithm::HMAC_MD5));
        one.transforms = vec![Phase2Transform { id, auth, ..read }.to_transform(1)];
    });
    assert!(asked.accept(&md5).is_none());
    // Who asked for ESP alone has not asked for AH.
    let plain = Phase2Offer { outer: Vec::new(), ..offer(Mode::Tunnel, OURS) };
    assert!(plain.accept(&good).is_none());
    assert!(plain.accept(&without(ProtocolId::AH)).is_some());
}

/// CHECKLIST U16: strongSwan answers what it has chosen and, as another alternative, the same without compression.
/// It goes by the first; anything else behind that is no answer.
#[test]
fn an_answer_may_be_repeated_without_compression() {
    let choice = chosen(&config(Mode::Tunnel), proposals(Mode::Tunnel, 1)).unwrap();
    let good = answer(&choice);
    let asked = offer(Mode::Tunnel, OURS);
    let with = |more: &[Proposal<'static>]| {
        let all = good.proposals.iter().cloned().chain(more.iter().cloned());
        asked.accept(&Sa { proposals: all.collect() })
    };
    let plain = |number| -> Vec<Proposal<'static>> {
        let all = good.proposals.iter().filter(|one| one.protocol != ProtocolId::IPCOMP);
        all.cloned().map(|one| Proposal { number, ..one }).collect()
    };
    assert_eq!(with(&plain(2)).unwrap().cpi_out, THEIRS.cpi);
    let mut other = plain(2);
    other[0].spi = Cow::Borrowed(&[9; 4]);
    let whole: Vec<_> =
        good.proposals.iter().cloned().map(|one| Proposal { number: 2, ..one }).collect();
    for wrong in [&other, &plain(2)[1..].to_vec(), &whole, &plain(1)] {
        assert!(with(wrong).is_none(), "{wrong:?}");
    }
    // What is not compressed has nothing to be repeated without.
    let twice = Sa { proposals: [plain(1), plain(2)].concat() };
    assert!(asked.accept(&twice).is_none());
}

/// What ends one part of a bundle ends it.
#[test]
fn the_shortest_life_of_the_parts_counts() {
    let mut all = proposals(Mode::Tunnel, 2);
    all[0].transforms.iter_mut().for_each(|one| {
        let read = Phase2Transform::read(ProtocolId::AH, one).unwrap();
        let lifetimes = Lifetimes { seconds: Some(900), kilobytes: Some(5_000) };
        *one = Phase2Transform { lifetimes, ..read }.to_transform(one.number);
    });
    let limits = chosen(&config(Mode::Tunnel), all).unwrap().limits;
    assert_eq!(limits.seconds.unwrap().amount, 900);
    assert_eq!(limits.kilobytes.unwrap().amount, 5_000);
}
