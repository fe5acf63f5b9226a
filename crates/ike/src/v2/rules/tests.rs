//! The table against messages in and out of order.

use adit_wire::Writer;
use adit_wire::ikev2::{Flags, IkeSpi, Proposal};
use proptest::prelude::*;

use super::*;

fn header(exchange: ExchangeType, response: bool) -> Header {
    let flags = if response { Flags::RESPONSE } else { Flags::NONE };
    Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), exchange, flags, 1)
}

/// A chain of payloads as octets, and the type of the first.
fn chain(payloads: &[(PayloadType, Vec<u8>)]) -> (PayloadType, Vec<u8>) {
    critical_chain(
        &payloads.iter().map(|(kind, body)| (*kind, false, body.clone())).collect::<Vec<_>>(),
    )
}

fn critical_chain(payloads: &[(PayloadType, bool, Vec<u8>)]) -> (PayloadType, Vec<u8>) {
    let mut octets = Vec::new();
    let mut w = Writer(&mut octets);
    for (index, (_, critical, body)) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(PayloadType::NONE, |(kind, ..)| *kind);
        w.u8(next.0);
        w.u8(if *critical { 0x80 } else { 0 });
        w.u16(u16::try_from(body.len() + 4).unwrap());
        w.bytes(body);
    }
    (payloads.first().map_or(PayloadType::NONE, |(kind, ..)| *kind), octets)
}

fn sa(protocol: ProtocolId) -> (PayloadType, Vec<u8>) {
    let spi = if protocol == ProtocolId::ESP { vec![1; 4] } else { Vec::new() };
    let transforms =
        vec![adit_wire::ikev2::Transform::key_exchange(adit_wire::iana::KeyExchangeId::CURVE25519)];
    let sa = Sa { proposals: vec![Proposal { number: 1, protocol, spi, transforms }] };
    let mut octets = Vec::new();
    sa.write(&mut Writer(&mut octets));
    (PayloadType::SA, octets)
}

fn ke() -> (PayloadType, Vec<u8>) {
    (PayloadType::KE, [&[0, 31, 0, 0][..], &[9; 32]].concat())
}

fn nonce() -> (PayloadType, Vec<u8>) {
    (PayloadType::NONCE, vec![5; 32])
}

fn id(kind: PayloadType) -> (PayloadType, Vec<u8>) {
    (kind, vec![2, 0, 0, 7, b'a'])
}

fn auth() -> (PayloadType, Vec<u8>) {
    (PayloadType::AUTH, vec![2, 0, 0, 0, 1, 2, 3])
}

fn ts(kind: PayloadType) -> (PayloadType, Vec<u8>) {
    (kind, vec![1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 0, 10, 0, 0, 255])
}

fn notify(kind: NotifyType, data: &[u8]) -> (PayloadType, Vec<u8>) {
    let mut octets = Vec::new();
    Notify::new(kind, data).write(&mut Writer(&mut octets));
    (PayloadType::NOTIFY, octets)
}

fn auth_request() -> Vec<(PayloadType, Vec<u8>)> {
    vec![
        id(PayloadType::ID_I),
        auth(),
        sa(ProtocolId::ESP),
        ts(PayloadType::TS_I),
        ts(PayloadType::TS_R),
    ]
}

fn form(
    exchange: ExchangeType,
    response: bool,
    payloads: &[(PayloadType, Vec<u8>)],
) -> Result<Form, RuleError> {
    let (first, octets) = chain(payloads);
    Received::read(&header(exchange, response), first, &octets).map(|received| received.form)
}

const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
const AUTH: ExchangeType = ExchangeType::IKE_AUTH;
const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;

#[test]
fn each_message_is_told_by_what_is_in_it() {
    let init = [sa(ProtocolId::IKE), ke(), nonce()];
    assert_eq!(form(INIT, false, &init), Ok(Form::InitRequest));
    assert_eq!(form(INIT, true, &init), Ok(Form::InitResponse));
    let cookie = [notify(NotifyType::COOKIE, &[1; 8])];
    assert_eq!(form(INIT, true, &cookie), Ok(Form::Refusal));
    let invalid_ke = [notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 20])];
    assert_eq!(form(INIT, true, &invalid_ke), Ok(Form::Refusal));
    assert_eq!(form(ExchangeType::IKE_INTERMEDIATE, false, &[ke()]), Ok(Form::Intermediate));
    assert_eq!(form(AUTH, false, &auth_request()), Ok(Form::AuthRequest));

    let child = [sa(ProtocolId::ESP), nonce(), ts(PayloadType::TS_I), ts(PayloadType::TS_R)];
    assert_eq!(form(CREATE, false, &child), Ok(Form::CreateChild));
    assert_eq!(form(CREATE, true, &child), Ok(Form::CreateChild));
    assert_eq!(form(CREATE, false, &init), Ok(Form::RekeyIke));
    let busy = [notify(NotifyType::TEMPORARY_FAILURE, &[])];
    assert_eq!(form(CREATE, true, &busy), Ok(Form::Refusal));
    assert_eq!(form(ExchangeType::INFORMATIONAL, false, &[]), Ok(Form::Informational));
    let unknown = ExchangeType(99);
    assert_eq!(form(unknown, false, &[]), Err(RuleError::Exchange(unknown)));
}

/// CHECKLIST A07: authentication without child, refusal without authentication.
#[test]
fn a_refused_child_still_needs_authentication() {
    let error = notify(NotifyType::TS_UNACCEPTABLE, &[]);
    let with_auth = [id(PayloadType::ID_R), auth(), error.clone()];
    assert_eq!(form(AUTH, true, &with_auth), Ok(Form::AuthResponseWithoutChild));
    assert_eq!(form(AUTH, true, &[error]), Ok(Form::Refusal));
    // Whether it may be missing (RFC 6023), the state machine knows; half of it is nothing.
    let no_child = [id(PayloadType::ID_R), auth()];
    assert_eq!(form(AUTH, true, &no_child), Ok(Form::AuthRound));
    let half = [id(PayloadType::ID_R), auth(), ts(PayloadType::TS_I)];
    assert_eq!(form(AUTH, true, &half), Err(RuleError::Missing(PayloadType::SA)));
    let asks_for_none = [id(PayloadType::ID_I), auth()];
    assert_eq!(form(AUTH, false, &asks_for_none), Ok(Form::AuthRequestWithoutChild));
    // RFC 5685 §3: a redirection comes alone.
    let redirect = [notify(NotifyType::REDIRECT, &[1, 4, 192, 0, 2, 3])];
    assert_eq!(form(INIT, true, &redirect), Ok(Form::Refusal));
}

/// CHECKLIST A12, A14: every required payload is missed, every single one taken only once.
#[test]
fn missing_and_doubled_payloads_are_refused() {
    let init = vec![sa(ProtocolId::IKE), ke(), nonce()];
    for (exchange, payloads) in [(INIT, init), (AUTH, auth_request())] {
        for index in 0..payloads.len() {
            let kind = payloads[index].0;
            let mut without = payloads.clone();
            without.remove(index);
            // IKE_AUTH goes on with less (RFC 4739): the state machine knows when.
            if exchange != AUTH {
                assert_eq!(form(exchange, false, &without), Err(RuleError::Missing(kind)));
            }
            let mut twice = payloads.clone();
            twice.push(payloads[index].clone());
            assert_eq!(form(exchange, false, &twice), Err(RuleError::TooMany(kind)));
        }
    }
}

/// CHECKLIST D06, D07, D08.
#[test]
fn unknown_payloads_are_skipped_unless_critical() {
    for kind in [1, 32, 49, 255].map(PayloadType) {
        let mut payloads: Vec<_> =
            auth_request().into_iter().map(|(kind, body)| (kind, true, body)).collect();
        payloads.insert(2, (kind, false, vec![1, 2, 3]));
        let (first, octets) = critical_chain(&payloads);
        let header = header(AUTH, false);
        assert!(Received::read(&header, first, &octets).is_ok());

        payloads[2].1 = true;
        let (first, octets) = critical_chain(&payloads);
        let error = Received::read(&header, first, &octets).unwrap_err();
        assert_eq!(error, RuleError::UnsupportedCritical(kind));
        assert_eq!(error.notify(), NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
        assert_eq!(error.notify_data(), [kind.0]);
    }
}

/// CHECKLIST D09.
#[test]
fn unknown_errors_fail_a_response_and_unknown_statuses_do_nothing() {
    let child = [sa(ProtocolId::ESP), nonce(), ts(PayloadType::TS_I), ts(PayloadType::TS_R)];
    let with = |kind| [&child[..], &[notify(NotifyType(kind), &[])]].concat();
    assert_eq!(form(CREATE, true, &with(8_000)), Ok(Form::Refusal));
    assert_eq!(form(CREATE, true, &with(45_000)), Ok(Form::CreateChild));
    assert_eq!(form(CREATE, false, &with(8_000)), Ok(Form::CreateChild));
}

/// CHECKLIST F18: the identity keeps its reserved octets for AUTH.
#[test]
fn identities_keep_the_octets_they_came_in() {
    let (first, octets) = chain(&auth_request());
    let received = Received::read(&header(AUTH, false), first, &octets).unwrap();
    assert_eq!(received.id_i.unwrap().body, [2, 0, 0, 7, b'a']);
    assert_eq!(received.id_i.unwrap().id.data, b"a");
}

#[test]
fn notifies_with_data_are_read() {
    let mut rekey = Vec::new();
    let notify = Notify {
        protocol: ProtocolId::ESP,
        spi: &[0, 0, 1, 0],
        kind: NotifyType::REKEY_SA,
        data: &[],
    };
    notify.write(&mut Writer(&mut rekey));
    let payloads =
        [(PayloadType::NOTIFY, rekey), self::notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 20])];
    let (first, octets) = chain(&payloads);
    let header = header(ExchangeType::INFORMATIONAL, false);
    let received = Received::read(&header, first, &octets).unwrap();
    assert_eq!(received.rekeyed(), Some((ProtocolId::ESP, Some(Spi(256)))));
    assert_eq!(received.wanted_key_exchange(), Some(adit_wire::iana::KeyExchangeId::ECP_384));
    assert_eq!(received.error().unwrap().kind, NotifyType::INVALID_KE_PAYLOAD);
}

proptest! {
    /// CHECKLIST D10: any order will do.
    #[test]
    fn payloads_may_stand_in_any_order(payloads in Just(auth_request()).prop_shuffle()) {
        prop_assert_eq!(form(AUTH, false, &payloads), Ok(Form::AuthRequest));
    }

    /// Octets without sense are refused, or skipped, without a panic.
    #[test]
    fn noise_is_harmless(first in any::<u8>(), octets in prop::collection::vec(any::<u8>(), 0..300)) {
        for exchange in 34..45 {
            for response in [false, true] {
                let header = header(ExchangeType(exchange), response);
                let _ = Received::read(&header, PayloadType(first), &octets);
            }
        }
    }
}
