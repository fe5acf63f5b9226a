//! ISAKMP messages: whatever parses is written and parsed again to the same meaning, in clear and as
//! if it had been decrypted.

#![no_main]

use adit_wire::{
    Reader, Writer,
    doi::{Identity, Lifetimes, Phase1Transform, Phase2Transform},
    encap::udp::{Encapsulated, classify},
    isakmp::{Header, MessageBuilder, Payload, Payloads, RawPayload, Sa, Vendor, without_padding},
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
    }
});

fn check_message(message: &[u8]) {
    let mut r = Reader(message);
    let Ok(header) = Header::read(&mut r) else {
        return;
    };
    let body = r.rest();
    let clear = Payloads::new(header.next_payload, body);
    let decrypted = Payloads::decrypted(header.next_payload, body);
    // What is read in clear is read behind a cipher, too, which allows more padding.
    let is_clear = clear.clone().all(|raw| raw.is_ok());
    let is_whole = decrypted.clone().all(|raw| raw.is_ok());
    assert!(is_whole || !is_clear);

    let covered = without_padding(header.next_payload, body);
    assert_eq!(covered.is_ok(), is_whole);
    let Ok(covered) = covered else { return };

    let mut builder = MessageBuilder::new(header);
    let mut raws = Vec::new();
    for raw in decrypted.flatten() {
        if let Ok(payload) = Payload::read(raw) {
            check_payload(raw, &payload);
        }
        assert_eq!(raw.octets.get(4..), Some(raw.body));
        builder.put_raw(&raw);
        raws.push((raw.kind, raw.body));
    }
    let again = builder.finish().expect("no longer than it was");
    assert_eq!(again.get(Header::LEN..), Some(covered));
    let mut r = Reader(&again);
    let header_again = Header::read(&mut r).expect("a header we wrote");
    let raws_again = Payloads::new(header_again.next_payload, r.rest()).map(|raw| {
        let raw = raw.expect("a payload we wrote");
        (raw.kind, raw.body)
    });
    assert_eq!(raws_again.collect::<Vec<_>>(), raws);
    assert_eq!(header_again, Header { length: header_again.length, ..header });
}

fn check_payload(raw: RawPayload<'_>, payload: &Payload<'_>) {
    assert_eq!(payload.kind(), raw.kind);
    check_meaning(payload);
    if let Payload::Private(_) = payload {
        return;
    }
    let mut body = Vec::new();
    payload.write(&mut Writer(&mut body));
    assert_eq!(body.len(), raw.body.len());
    assert_eq!(Payload::read(RawPayload { body: &body, ..raw }).as_ref(), Ok(payload));
    if let Payload::NatOa(_) | Payload::NatOaDraft(_) = payload {
        return;
    }
    assert_eq!(body, raw.body, "only NAT-OA has reserved octets that nobody looks at");
}

fn check_meaning(payload: &Payload<'_>) {
    match payload {
        Payload::Sa(sa) => check_sa(sa),
        Payload::Id(id) => {
            if let Ok(identity) = Identity::read(id) {
                let mut body = Vec::new();
                identity.write(id.protocol, id.port, &mut Writer(&mut body));
                let again = adit_wire::isakmp::Id::read(&mut Reader(&body)).expect("an identity");
                assert_eq!(Identity::read(&again), Ok(identity));
                assert!(identity.addresses().is_none_or(|(first, last)| first <= last));
            }
        }
        Payload::Notify(notify) => {
            if let Ok(lifetimes) = Lifetimes::read_responder_lifetime(notify.data) {
                let data = lifetimes.responder_lifetime();
                assert_eq!(Lifetimes::read_responder_lifetime(data.as_bytes()), Ok(lifetimes));
            }
        }
        Payload::VendorId(id) => drop(Vendor::of(*id)),
        _ => {}
    }
}

fn check_sa(sa: &Sa<'_>) {
    assert_eq!(sa.alternatives().map(<[_]>::len).sum::<usize>(), sa.proposals.len());
    for proposal in &sa.proposals {
        for transform in &proposal.transforms {
            if let Ok(read) = Phase1Transform::read(transform) {
                let again = Phase1Transform::read(&read.to_transform(transform.number));
                assert_eq!(again, Ok(read));
            }
            if let Ok(read) = Phase2Transform::read(proposal.protocol, transform) {
                let written = read.to_transform(transform.number);
                assert_eq!(Phase2Transform::read(proposal.protocol, &written), Ok(read));
            }
        }
    }
}
