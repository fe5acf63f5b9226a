//! The control socket's octets: however they are cut, the same packets come out, and what is read
//! is written again octet for octet.

#![no_main]

use std::fmt::Debug;

use adit_fuzz::Choices;
use adit_mgmt::api::{self, Progress, ReloadReport, Status, TunnelEvent};
use adit_mgmt::vici::answer::{Outcome, Version};
use adit_mgmt::vici::pool::Pools;
use adit_mgmt::vici::{
    Client, CodecError, Decoder, LogLine, Message, PACKET_OCTETS_MAX, Packet, Request, conn,
    conn_section,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let steps = choices.array::<4>().map(|octet| usize::from(octet) + 1);
    let stream = choices.0;

    let whole = packets([stream]);
    let mut rest = stream;
    let chunks = steps.iter().cycle().map_while(|step| {
        let (chunk, left) = rest.split_at((*step).min(rest.len()));
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    });
    assert_eq!(packets(chunks), whole);

    for packet in whole.iter().flatten() {
        check_packet(packet);
    }
    // Without its length an input is one packet: no change of it is lost to a wrong length.
    if let Ok(packet) = Packet::read(stream) {
        check_written(&packet, stream);
        check_packet(&packet);
    }
    check_client(stream);
});

/// What a decoder makes of a stream; a broken one ends the list.
fn packets<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Packet, CodecError>> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for chunk in chunks {
        decoder.handle_input(chunk);
        loop {
            match decoder.poll_packet() {
                Ok(None) => break,
                Ok(Some(packet)) => found.push(Ok(packet)),
                Err(CodecError::PacketTooLong) => {
                    assert_eq!(decoder.poll_packet(), Err(CodecError::PacketTooLong));
                    found.push(Err(CodecError::PacketTooLong));
                    return found;
                }
                Err(error) => found.push(Err(error)),
            }
        }
    }
    found
}

fn check_written(packet: &Packet, octets: &[u8]) {
    match packet.encode() {
        Ok(again) => assert_eq!(&again[4..], octets),
        Err(error) => {
            assert_eq!(error, CodecError::PacketTooLong);
            assert!(octets.len() > PACKET_OCTETS_MAX);
        }
    }
}

fn check_packet(packet: &Packet) {
    if let Ok(octets) = packet.encode() {
        assert_eq!(Packet::read(&octets[4..]).as_ref(), Ok(packet));
    }
    let _ = format!("{packet:?}");
    match packet {
        Packet::Request { name, message } => check_request(name, message),
        Packet::Response(message) | Packet::Event { message, .. } => check_answer(message),
        Packet::UnknownCommand
        | Packet::Register(_)
        | Packet::Unregister(_)
        | Packet::EventConfirm
        | Packet::EventUnknown => {}
    }
}

fn check_request(name: &str, message: &Message) {
    match Request::parse(name, message) {
        Ok(request) => {
            assert_eq!(request.name(), name);
            let written = request.message();
            let again = Request::parse(name, &written).expect("a request we wrote");
            assert_eq!(again.message(), written);
            assert_eq!(format!("{again:?}"), format!("{request:?}"));
            if let Request::LoadConn { name, section } = &request {
                match conn::connection(name, section, &Pools::new()) {
                    Ok(connection) => drop(conn_section(&connection)),
                    Err(error) => drop(error.to_string()),
                }
            }
            request.ready_answer();
        }
        Err(error) => assert!(Packet::read(&error.packet().encode().expect("short")[4..]).is_ok()),
    }
}

/// What a client makes of what a daemon says.
fn check_answer(message: &Message) {
    let outcome = Outcome::parse(message);
    // A reason is written in one line of ASCII and then stays as it is; nothing else changes.
    let shown = Outcome::parse(&outcome.message());
    let reason = shown.error.as_deref().unwrap_or_default();
    assert!(reason.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{reason:?}");
    assert_eq!(Outcome { error: shown.error.clone(), ..outcome.clone() }, shown);
    assert_eq!(outcome.error.is_some(), shown.error.is_some());
    assert_eq!(Outcome::parse(&shown.message()), shown);
    let _ = Version::parse(message);
    let _ = LogLine::parse(message).message();
    check_api::<Status>(message);
    check_api::<ReloadReport>(message);
    check_api::<TunnelEvent>(message);
    if let Some(progress) = check_api::<Progress>(message) {
        let _ = progress.line();
    }
}

fn check_api<T: Serialize + DeserializeOwned + Debug + PartialEq>(message: &Message) -> Option<T> {
    let value: T = api::from_message(message).ok()?;
    let again: T = api::from_message(&api::to_message(&value)).expect("a value we wrote");
    assert_eq!(again, value);
    Some(value)
}

fn check_client(stream: &[u8]) {
    let mut client = Client::new();
    client.request(&Request::Version).expect("short");
    while client.poll_transmit().is_some() {}
    let _ = client.handle_input(stream);
    while client.poll_event().is_some() {}
}
