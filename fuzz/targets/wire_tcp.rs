//! A stream of RFC 9329: however it is cut, the messages are those of the stream in one piece, and
//! each is what a frame of it holds.

#![no_main]

use adit_wire::encap::tcp::{LENGTH_LEN, STREAM_PREFIX, StreamReader};
use adit_wire::encap::udp::Encapsulated;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some(([cut, how], stream)) = octets.split_first_chunk() else { return };
    let pieces = usize::from(*cut).max(1);
    let has_prefix = how & 1 == 1;
    // Random octets hardly ever begin like a stream.
    let begun = if how & 2 == 0 { &[][..] } else { &STREAM_PREFIX };
    let stream = [begun, stream].concat();
    let whole = read(&stream, stream.len().max(1), has_prefix);
    assert_eq!(read(&stream, pieces, has_prefix), whole);
    let (messages, _) = whole;
    let least = messages.iter().map(|message| message.len() + LENGTH_LEN).sum::<usize>();
    assert!(least <= stream.len());
});

/// The octets of each message, and whether the stream was refused then.
fn read(stream: &[u8], pieces: usize, has_prefix: bool) -> (Vec<Vec<u8>>, bool) {
    let mut reader =
        if has_prefix { StreamReader::of_originator() } else { StreamReader::of_responder() };
    let (mut messages, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let room = reader.spare_mut();
        assert!(!room.is_empty());
        let len = pieces.min(rest.len()).min(room.len());
        let (piece, behind) = rest.split_at(len);
        room.get_mut(..len).expect("not longer than the room").copy_from_slice(piece);
        reader.advance(len);
        rest = behind;
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(owned(message)),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

fn owned(message: Encapsulated<'_>) -> Vec<u8> {
    match message {
        Encapsulated::Ike(octets) | Encapsulated::Esp(octets) => octets.to_vec(),
        Encapsulated::Keepalive | Encapsulated::TooShort => Vec::new(),
    }
}
