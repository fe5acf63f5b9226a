//! Informational exchanges (RFC 2409 §5.7): notifies and deletes, which nobody answers, and dead peer
//! detection (RFC 3706).
//!
//! With keys they are `HDR*, HASH(1), N/D`; before, they are in clear and prove nothing.

use adit_crypto::Secret;
use adit_wire::Writer;
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::iana::doi::{Doi, ProtocolId as IsakmpProtocolId};
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Flags, Header, MessageBuilder, Notify};

use crate::context::Context;
use crate::failure::FailureReason;
use crate::lifetime::Offer;

use super::core::Core;
use super::lifetimes;
use super::received::Received;

/// The number of the IPsec DOI (RFC 2407 §6.1).
const DOI_IPSEC: u32 = 1;
/// PROTO_ISAKMP (RFC 2407 §4.4.1).
const PROTO_ISAKMP: u8 = 1;

/// Adds a notify about the ISAKMP SA (RFC 2408 §3.14); `spi` are both cookies.
pub(crate) fn put_notify(kind: NotifyType, spi: &[u8], data: &[u8], chain: &mut ChainBuilder) {
    chain.push(PayloadType::NOTIFICATION, |w| notify_body(kind, PROTO_ISAKMP, spi, data, w));
}

fn notify_body(kind: NotifyType, protocol: u8, spi: &[u8], data: &[u8], w: &mut Writer<'_>) {
    w.u32(DOI_IPSEC);
    w.u8(protocol);
    w.u8(u8::try_from(spi.len()).unwrap_or(0));
    w.u16(kind.0);
    w.bytes(spi);
    w.bytes(data);
}

/// Adds a notify about an SA of packets that comes in under `spi`.
pub(crate) fn put_child_notify(
    kind: NotifyType,
    protocol: ProtocolId,
    spi: Spi,
    data: &[u8],
    chain: &mut ChainBuilder,
) {
    chain.push(PayloadType::NOTIFICATION, |w| {
        notify_body(kind, protocol_number(protocol), &spi.to_octets(), data, w);
    });
}

/// Tells the initiator how long the ISAKMP SA lives for us. RFC 2407 §4.6.3.1 has DOI 0 for what is not
/// about IPsec.
pub(crate) fn send_life(told: Offer, core: &Core, cx: &mut Context<'_>) {
    let (spi, data) = (cookies(core), lifetimes::data(told));
    let mut covered = ChainBuilder::new();
    covered.push(PayloadType::NOTIFICATION, |w| {
        let kind = NotifyType::RESPONDER_LIFETIME;
        Notify {
            doi: Doi::ISAKMP,
            protocol: IsakmpProtocolId::ISAKMP,
            spi: &spi,
            kind,
            data: &data,
        }
        .write(w);
    });
    send(covered, core, cx);
}

/// Both cookies, which name an ISAKMP SA.
pub(crate) fn cookies(core: &Core) -> Vec<u8> {
    [core.cookie_i.0, core.cookie_r.0].concat()
}

/// A notify in clear, for who cannot read anything else.
pub(crate) fn clear_notify(
    kind: NotifyType,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<Vec<u8>, FailureReason> {
    let mut chain = ChainBuilder::new();
    put_notify(kind, &cookies(core), &[], &mut chain);
    core.clear(ExchangeType::INFORMATIONAL, message_id(cx), chain)
}

/// The answer to a first message that is not accepted; shorter than any that could be.
pub(crate) fn refusal(header: &Header, kind: NotifyType, cx: &mut Context<'_>) -> Option<Vec<u8>> {
    let id = message_id(cx);
    let mut chain = ChainBuilder::new();
    put_notify(kind, &[], &[], &mut chain);
    let (flags, exchange) = (Flags::NONE, ExchangeType::INFORMATIONAL);
    let header = Header::new(header.cookie_i, header.cookie_r, exchange, flags, id);
    MessageBuilder::with_chain(header, chain).finish().ok()
}

/// Sends an error about the ISAKMP SA.
pub(crate) fn refuse_isakmp(kind: NotifyType, data: &[u8], core: &Core, cx: &mut Context<'_>) {
    let mut covered = ChainBuilder::new();
    put_notify(kind, &cookies(core), data, &mut covered);
    send(covered, core, cx);
}

/// Sends INITIAL-CONTACT, which a responder may do when phase 1 is complete (RFC 2407 §4.6.3).
pub(crate) fn send_initial_contact(core: &Core, cx: &mut Context<'_>) {
    let mut covered = ChainBuilder::new();
    put_notify(NotifyType::INITIAL_CONTACT, &cookies(core), &[], &mut covered);
    send(covered, core, cx);
}

/// Sends a notify about an SA of packets: that which comes in under `spi` here, or which the peer asks for
/// under it.
pub(crate) fn tell(
    kind: NotifyType,
    protocol: ProtocolId,
    spi: Spi,
    data: &[u8],
    core: &Core,
    cx: &mut Context<'_>,
) {
    let mut covered = ChainBuilder::new();
    put_child_notify(kind, protocol, spi, data, &mut covered);
    send(covered, core, cx);
}

/// Sends R-U-THERE or R-U-THERE-ACK with a number (RFC 3706 §5.3).
pub(crate) fn send_dpd(kind: NotifyType, number: u32, core: &Core, cx: &mut Context<'_>) {
    let mut covered = ChainBuilder::new();
    put_notify(kind, &cookies(core), &number.to_be_bytes(), &mut covered);
    send(covered, core, cx);
}

/// Tells the peer that SAs of packets are gone: `spis` are those of what it sends to us.
pub(crate) fn delete_children(
    protocol: ProtocolId,
    spis: &[Spi],
    core: &Core,
    cx: &mut Context<'_>,
) {
    let Ok(count) = u16::try_from(spis.len()) else { return };
    if count == 0 {
        return;
    }
    let mut covered = ChainBuilder::new();
    covered.push(PayloadType::DELETE, |w| {
        w.u32(DOI_IPSEC);
        w.u8(protocol_number(protocol));
        w.u8(4);
        w.u16(count);
        spis.iter().for_each(|spi| w.bytes(&spi.to_octets()));
    });
    send(covered, core, cx);
}

/// Tells the peer that the ISAKMP SA is gone.
pub(crate) fn delete_isakmp(core: &Core, cx: &mut Context<'_>) {
    let mut covered = ChainBuilder::new();
    covered.push(PayloadType::DELETE, |w| {
        w.u32(DOI_IPSEC);
        w.u8(PROTO_ISAKMP);
        w.u8(16);
        w.u16(1);
        w.bytes(&cookies(core));
    });
    send(covered, core, cx);
}

/// The error that a notify in clear reports. Nobody has authenticated it.
pub(crate) fn clear_error(header: &Header, octets: &[u8]) -> Option<NotifyType> {
    let body = octets.get(Header::LEN..).filter(|_| !header.flags.is_encrypted())?;
    let received = Received::clear(header.next_payload, body).ok()?;
    received.notifies.iter().map(|notify| notify.kind).find(|kind| kind.is_error())
}

/// Protects and sends. What cannot be sent is not: nobody waits for it.
fn send(covered: ChainBuilder, core: &Core, cx: &mut Context<'_>) {
    let Some(keys) = &core.keys else { return };
    let id = message_id(cx);
    let hash: Secret = keys.hash_1(id, covered.octets());
    let mut iv = keys.exchange_iv(id);
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
    if chain.append(covered).is_err() {
        return;
    }
    if let Ok(octets) = core.sealed(ExchangeType::INFORMATIONAL, id, chain, &mut iv) {
        core.transmit(&octets, cx);
    }
}

/// A message id that is not zero. Nobody else's may be the same: of 32 random bits that is unlikely.
pub(crate) fn message_id(cx: &mut Context<'_>) -> u32 {
    let [.., a, b, c, d] = cx.rng.next_u64().to_be_bytes();
    u32::from_be_bytes([a, b, c, d]).max(1)
}

/// AH and ESP have the same numbers in IKEv1 and IKEv2.
fn protocol_number(protocol: ProtocolId) -> u8 {
    protocol.0
}
