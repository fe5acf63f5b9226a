//! IKEv2 messages: whatever parses is written and parsed again to the same meaning.

#![no_main]

use adit_wire::{
    NotificationData, Reader, StaticKemNames, WireError, Writer,
    encap::udp::{Encapsulated, classify},
    ikev2::{
        Header, MessageBuilder, Payload, Payloads, Protected, RawPayload, Sa, SealSpace,
        TrafficSelector, Ts,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let message = match classify(datagram) {
        Encapsulated::Ike(message) | Encapsulated::Esp(message) => message,
        Encapsulated::Keepalive | Encapsulated::TooShort => return,
    };
    check_message(message);
    // A length that fits lets an input grow and shrink without being refused for that alone.
    let mut message = message.to_vec();
    if let Ok(length) = u32::try_from(message.len())
        && let Some(field) = message.get_mut(24..28)
    {
        field.copy_from_slice(&length.to_be_bytes());
        check_message(&message);
        check_protected(&mut message);
    }
});

fn check_message(message: &[u8]) {
    let mut r = Reader(message);
    let Ok(header) = Header::read(&mut r) else {
        return;
    };
    let mut builder = MessageBuilder::new(header);
    let mut raws = Vec::new();
    for raw in Payloads::new(header.next_payload, r.rest()) {
        let Ok(raw) = raw else { return };
        if let Ok(payload) = Payload::read(raw) {
            check_payload(raw, &payload);
        }
        builder.put_raw(&raw);
        raws.push((raw.kind, raw.critical, raw.body));
    }

    let again = builder.finish().expect("no longer than it was");
    let mut r = Reader(&again);
    let header_again = Header::read(&mut r).expect("a header we wrote");
    let raws_again = Payloads::new(header_again.next_payload, r.rest()).map(|raw| {
        let raw = raw.expect("a payload we wrote");
        (raw.kind, raw.critical, raw.body)
    });
    assert_eq!(raws_again.collect::<Vec<_>>(), raws);
    let length = header_again.length;
    assert_eq!(header_again, Header { length, ..header });
    // Padding after the last payload is the one thing that does not come back.
    assert!(length <= header.length && header.length - length < 4);
}

fn check_payload(raw: RawPayload<'_>, payload: &Payload<'_>) {
    assert_eq!(payload.kind(), raw.kind);
    if let Payload::Notify(notify) = payload {
        check_notification_data(notify.data);
        check_static_kem(notify.data);
    }
    let expected = match payload {
        Payload::Sa(sa) => match renumbered(sa) {
            Some(sa) => Payload::Sa(sa),
            None => return,
        },
        Payload::TsI(ts) => match known(ts) {
            Some(ts) => Payload::TsI(ts),
            None => return,
        },
        Payload::TsR(ts) => match known(ts) {
            Some(ts) => Payload::TsR(ts),
            None => return,
        },
        other => other.clone(),
    };
    let mut body = Vec::new();
    expected.write(&mut Writer(&mut body));
    assert!(body.len() <= raw.body.len(), "writing made {raw:?} longer");
    let again = Payload::read(RawPayload { body: &body, ..raw });
    assert_eq!(again.as_ref(), Ok(&expected));
}

/// A list of attributes is written no longer than it was, and read to the same meaning.
fn check_notification_data(data: &[u8]) {
    let Ok(read) = NotificationData::read(&mut Reader(data)) else {
        return;
    };
    assert!(NotificationData::is_one(data));
    let mut written = Vec::new();
    read.write(&mut Writer(&mut written)).expect("no longer than it was");
    assert!(written.len() <= data.len(), "writing made {data:?} longer");
    assert_eq!(NotificationData::read(&mut Reader(&written)), Ok(read));
}

/// Names of static keys are written as they were read.
fn check_static_kem(data: &[u8]) {
    let Ok(read) = StaticKemNames::read(&mut Reader(data)) else {
        return;
    };
    let mut written = Vec::new();
    read.write(&mut Writer(&mut written));
    assert_eq!(written, data);
}

/// The proposals without the gaps that unacceptable ones left; none if all were.
fn renumbered(sa: &Sa) -> Option<Sa> {
    let mut sa = sa.clone();
    for (number, proposal) in (1..).zip(&mut sa.proposals) {
        proposal.number = number;
    }
    (!sa.proposals.is_empty()).then_some(sa)
}

/// The selectors we understand; none if there is none.
fn known(ts: &Ts) -> Option<Ts> {
    for one in &ts.selectors {
        check_selector(one);
        for two in &ts.selectors {
            let both = one.intersection(two);
            assert_eq!(both, two.intersection(one));
            assert!(both.is_none_or(|both| both.is_subset_of(one) && both.is_subset_of(two)));
        }
    }
    (!ts.selectors.is_empty()).then(|| Ts::new(ts.selectors.clone()))
}

fn check_selector(selector: &TrafficSelector) {
    assert!(selector.is_subset_of(selector));
    assert_eq!(selector.to_string().parse(), Ok(*selector));
    let prefixes = selector.prefixes().count();
    assert!((1..=254).contains(&prefixes));
    assert_eq!(selector.prefix_len().is_some(), prefixes == 1);
}

fn check_protected(message: &mut [u8]) {
    for (iv_len, icv_len) in [(0, 0), (8, 16), (16, 32)] {
        let space = SealSpace { iv_len, icv_len, block_len: 1 };
        let before = message.len();
        if let Ok(protected) = Protected::read(message, space) {
            let first = protected.first;
            let mut covered = 0;
            let opened = protected.open(|parts| {
                covered = parts.aad.len() + parts.iv.len() + parts.text.len() + parts.icv.len();
                Ok::<(), WireError>(())
            });
            assert_eq!(covered, before);
            if let Ok(plain) = opened {
                Payloads::new(first, plain).for_each(drop);
            }
        }
    }
}
