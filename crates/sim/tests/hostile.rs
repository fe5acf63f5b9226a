//! Messages that no honest peer sends: changed, cut, replayed, made up.

#![cfg(test)]

use adit_crypto::{Rng, SeededRng};
use adit_ike::Path;
use adit_sim::{Pair, Recorded, Seed, Setup, Side};
use adit_wire::Writer;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{Flags, Header, IkeSpi, Payload, Payloads};

/// The first IKE_SA_INIT request of a run, and where it goes.
fn opening() -> Recorded {
    let mut pair = Setup::new(Seed(7)).pair();
    pair.network.record();
    pair.left.initiate(pair.child);
    pair.run_until_idle();
    pair.network.recorded()[0].clone()
}

/// A responder that has seen nothing yet.
fn responder() -> Pair {
    Setup::new(Seed(9)).pair()
}

/// What the responder says to one datagram.
fn answers(path: Path, octets: &[u8]) -> Vec<Vec<u8>> {
    let mut pair = responder();
    pair.right.receive(path, octets);
    let answers = pair.right.take_outbox();
    assert!(pair.left.take_outbox().is_empty());
    answers
}

/// The types of the notifies in an unprotected message.
fn notifies(octets: &[u8]) -> Vec<NotifyType> {
    let mut r = adit_wire::Reader(octets);
    let header = Header::read(&mut r).unwrap();
    let mut kinds = Vec::new();
    for raw in Payloads::new(header.next_payload, r.rest()) {
        if let Payload::Notify(notify) = Payload::read(raw.unwrap()).unwrap() {
            kinds.push(notify.kind);
        }
    }
    kinds
}

/// Whether two peers still have one tunnel, and can rekey it.
fn assert_sound(mut pair: Pair) {
    pair.run_until_idle();
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    pair.left.rekey_ike();
    pair.run_until_idle();
    assert_eq!(pair.left.established().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

/// CHECKLIST D11, A04: an established pair shrugs off every message with a changed octet, and cut
/// ones, whenever they come.
#[test]
fn changed_messages_do_no_harm_to_an_established_pair() {
    let mut pair = Setup::new(Seed(7)).pair();
    pair.network.record();
    let mut pair = pair.up();
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    let recorded = pair.network.recorded().to_vec();
    let mut rng = SeededRng::new(1);
    for message in &recorded {
        for _ in 0..40 {
            let mut octets = message.octets.clone();
            let at = usize::try_from(rng.next_u32()).unwrap() % octets.len();
            match rng.next_u32() % 4 {
                0 => octets.truncate(at),
                1 => octets.extend_from_slice(&[0; 7]),
                _ => octets[at] ^= 1 << (rng.next_u32() % 8),
            }
            pair.peer(message.to).receive(message.path, &octets);
        }
    }
    assert_sound(pair);
}

/// CHECKLIST B08, B10: every message of the past again, and again in the other direction.
#[test]
fn replays_and_reflections_do_no_harm() {
    let mut pair = Setup::new(Seed(7)).pair();
    pair.network.record();
    let mut pair = pair.up();
    for _ in 0..3 {
        pair.left.rekey_child(pair.child);
        pair.run_until_idle();
        pair.right.rekey_ike();
        pair.run_until_idle();
    }
    for message in pair.network.recorded().to_vec() {
        pair.peer(message.to).receive(message.path, &message.octets);
        let reflected = message.path.reversed();
        pair.peer(message.to.other()).receive(reflected, &message.octets);
    }
    assert_eq!(pair.left.established().len(), 1);
    assert_sound(pair);
}

/// Noise and half-sensible messages in every state of a handshake: no panic, nothing kept.
/// CHECKLIST P06: fragments among it.
#[test]
fn noise_during_the_handshake_does_no_harm() {
    for seed in 0..10 {
        let mut pair = Setup::new(Seed(seed)).pair();
        let mut rng = SeededRng::new(seed);
        pair.network.record();
        pair.left.initiate(pair.child);
        for _ in 0..12 {
            for message in pair.network.recorded().to_vec() {
                // A forged first response can always spoil a handshake: nobody is authenticated.
                if message.to == Side::Left && exchange(&message) == ExchangeType::IKE_SA_INIT {
                    continue;
                }
                let mut octets = message.octets.clone();
                let at = 28 + usize::try_from(rng.next_u32()).unwrap() % (octets.len() - 28);
                octets[at] ^= 1 << (rng.next_u32() % 8);
                pair.peer(message.to).receive(message.path, &octets);
            }
            pair.step();
        }
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas().len(), 1, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

fn exchange(message: &Recorded) -> ExchangeType {
    ExchangeType(message.octets[18])
}

/// CHECKLIST A05: errors to IKE_SA_INIT are not authenticated, so they do not end the attempt.
#[test]
fn a_forged_error_does_not_end_an_attempt() {
    for error in [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::INVALID_SYNTAX,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType(8_000),
    ] {
        let mut pair = Setup::new(Seed(7)).pair();
        pair.network.record();
        pair.left.initiate(pair.child);
        while pair.network.recorded().is_empty() {
            pair.step();
        }
        let request = pair.network.recorded()[0].clone();
        let path = request.path.reversed();
        let spi_i = IkeSpi(request.octets[..8].try_into().unwrap());
        pair.left.receive(path, &error_response(spi_i, error));
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas().len(), 1, "{error}\n{}", pair.ladder());
    }
}

fn error_response(spi_i: IkeSpi, error: NotifyType) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut w = Writer(&mut octets);
    let header = Header {
        next_payload: PayloadType::NOTIFY,
        length: 36,
        ..Header::new(spi_i, IkeSpi([9; 8]), ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0)
    };
    header.write(&mut w);
    w.bytes(&[0, 0, 0, 8, 0, 0]);
    w.u16(error.0);
    octets
}

/// CHECKLIST D01, D03, D04, D05: what must be ignored is ignored.
#[test]
fn reserved_bits_and_minor_versions_are_ignored() {
    let opening = opening();
    for (at, value) in [(17, 0x2f), (19, 0x08 | 0x10 | 0xc7), (29, 0x7f), (33, 0xff)] {
        let mut octets = opening.octets.clone();
        octets[at] = value;
        let answers = answers(opening.path, &octets);
        assert_eq!(answers.len(), 1, "octet {at}");
        assert!(answers[0].len() > 200, "octet {at}: {:?}", notifies(&answers[0]));
        assert_eq!((answers[0][17], answers[0][19]), (0x20, 0x20), "ours, and nothing reserved");
    }
}

/// CHECKLIST D02, A17.
#[test]
fn another_major_version_is_told_ours() {
    let opening = opening();
    let mut octets = opening.octets.clone();
    octets[17] = 0x30;
    let told = answers(opening.path, &octets);
    assert_eq!(told.len(), 1);
    assert_eq!(notifies(&told[0]), [NotifyType::INVALID_MAJOR_VERSION]);
    // IKEv1 is another protocol: silence.
    octets[17] = 0x10;
    assert!(answers(opening.path, &octets).is_empty());
}

/// CHECKLIST D07, D06: a critical payload nobody knows, in front of everything.
#[test]
fn an_unknown_critical_payload_is_named() {
    let opening = opening();
    let with_payload = |critical: u8| {
        let mut octets = opening.octets[..28].to_vec();
        octets[16] = 200;
        octets.extend_from_slice(&[opening.octets[16], critical, 0, 6, 1, 2]);
        octets.extend_from_slice(&opening.octets[28..]);
        let length = u32::try_from(octets.len()).unwrap();
        octets[24..28].copy_from_slice(&length.to_be_bytes());
        octets
    };
    assert!(answers(opening.path, &with_payload(0))[0].len() > 200);
    let refused = answers(opening.path, &with_payload(0x80));
    assert_eq!(notifies(&refused[0]), [NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD]);
    assert_eq!(refused[0].last(), Some(&200));
}

/// CHECKLIST A13, M09, C09: nothing is answered with more octets than came.
/// CHECKLIST V20.
#[test]
fn messages_without_an_ike_sa_get_silence_or_little() {
    let opening = opening();
    let mut zero = opening.octets.clone();
    zero[..8].fill(0);
    assert!(answers(opening.path, &zero).is_empty());
    for exchange in 34..46 {
        for flags in [0, 0x08, 0x20, 0x28] {
            let mut octets = opening.octets.clone();
            octets[8..16].fill(7);
            (octets[18], octets[19]) = (exchange, flags);
            for answer in answers(opening.path, &octets) {
                assert!(answer.len() <= octets.len());
            }
        }
    }
}

/// World `dos 8`: nobody has proven the address that the first response goes to, whatever there is
/// to say in it.
#[test]
fn the_answer_to_a_small_opening_is_no_longer_than_it() {
    let mut setup = Setup::new(Seed(8));
    for connection in [&mut setup.left, &mut setup.right] {
        let small = adit_db::ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519");
        connection.proposals = small.unwrap();
    }
    let mut pair = setup.pair();
    pair.network.record();
    let pair = pair.up();
    let lengths: Vec<usize> =
        pair.network.recorded().iter().map(|recorded| recorded.octets.len()).collect();
    assert!(lengths[1] <= lengths[0], "{}", pair.ladder());
}
