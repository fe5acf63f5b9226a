//! What the tests of all payloads share.

use alloc::vec::Vec;

use super::{IsakmpError, Payload, RawPayload};
use crate::{
    Writer,
    iana::isakmp::{NotifyType, PayloadType},
};

/// Reads a body of type `kind` to its end.
pub(super) fn read(kind: PayloadType, body: &[u8]) -> Result<Payload<'_>, IsakmpError> {
    Payload::read(RawPayload { kind, body, octets: &[] })
}

/// The notify that refuses a body.
#[track_caller]
pub(super) fn notify(kind: PayloadType, body: &[u8]) -> NotifyType {
    read(kind, body).unwrap_err().notify
}

/// Writes a payload, checks that reading gives it back, and returns the octets.
#[track_caller]
pub(super) fn round_trip(payload: &Payload<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    payload.write(&mut Writer(&mut body));
    assert_eq!(read(payload.kind(), &body).as_ref(), Ok(payload));
    body
}

/// Reads a body from its known octets and checks that writing gives them back.
#[track_caller]
pub(super) fn fixed<'a>(kind: PayloadType, body: &'a [u8]) -> Payload<'a> {
    let payload = read(kind, body).unwrap();
    assert_eq!(payload.kind(), kind);
    assert_eq!(round_trip(&payload), body);
    payload
}

/// Checks that no prefix shorter than `fixed_len` octets can be read.
#[track_caller]
pub(super) fn prefixes_fail(kind: PayloadType, body: &[u8], fixed_len: usize) {
    for cut in 0..fixed_len {
        assert!(read(kind, &body[..cut]).is_err(), "{kind} of {cut} octets");
    }
}
