//! Key exchanges of a handshake with somebody on the way, or a peer, that changes them.

use adit_wire::Writer;
use adit_wire::iana::{ExchangeType, KeyExchangeId, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Flags, Header, IkeSpi, Notify, Payload, Payloads};

use super::{EndpointConfig, keys_among, opened};
use crate::common::{Pair, reversed, sealed, with_ike};
use crate::{header, is_response};

/// An IKE_SA_INIT response with INVALID_KE_PAYLOAD alone.
fn invalid_ke(request: &Header, wanted: KeyExchangeId) -> Vec<u8> {
    let mut chain = ChainBuilder::new();
    let data = wanted.0.to_be_bytes();
    chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, &data)));
    let chain = chain.finish().unwrap();
    let length = u32::try_from(Header::LEN + chain.octets.len()).unwrap();
    let flags = Flags::new(false, true);
    let header = Header::new(request.spi_i, IkeSpi([0; 8]), ExchangeType::IKE_SA_INIT, flags, 0);
    let mut octets = Vec::new();
    Header { next_payload: chain.first, length, ..header }.write(&mut Writer(&mut octets));
    octets.extend(chain.octets);
    octets
}

/// CHECKLIST E06: somebody who asks for one group and then the other gets a few requests and no
/// more.
#[test]
fn invalid_ke_payload_leads_round_a_few_times_only() {
    let offer = "aes256gcm16-prfsha384-x25519-ecp384";
    let mut pair = Pair::new(Default::default(), with_ike(offer, offer));
    pair.left.initiate(pair.now);
    let mut requests = 0;
    let groups = [KeyExchangeId::ECP_384, KeyExchangeId::CURVE25519];
    for wanted in groups.into_iter().cycle().take(40) {
        let Some((to_right, request)) = pair.left.sent.pop_front() else { break };
        requests += 1;
        assert!(pair.left.sent.is_empty());
        let answer = invalid_ke(&header(&request), wanted);
        pair.left.datagram(reversed(to_right), &answer, pair.now);
    }
    assert_eq!(requests, 6, "one, and five restarts");
    assert!(pair.left.established().is_empty());
}

/// CHECKLIST Q07: a changed ML-KEM ciphertext gives another secret without a word (implicit
/// rejection): what follows is under keys that the other side does not have.
#[test]
fn a_changed_ciphertext_ends_without_an_ike_sa() {
    let offer = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let configs = [EndpointConfig::default(), exporting];
    let mut pair = Pair::new(configs, with_ike(offer, offer));
    let request = pair.left.initiate(pair.now);
    // IKE_SA_INIT both ways; then the left side's IKE_INTERMEDIATE.
    pair.deliver(|_| true);
    pair.deliver(|_| true);
    let first = pair.right.keys.len();
    pair.deliver(|_| true);
    assert!(pair.right.keys.len() > first, "the right side has the next keys");
    let (to_left, response) = pair.right.sent.pop_front().unwrap();
    assert!(is_response(&response) && pair.right.sent.is_empty());
    let before = keys_among(&pair.right.keys[..first]);
    let (kind, chain) = opened(before, &response);
    let mut changed = ChainBuilder::new();
    for raw in Payloads::new(kind, &chain) {
        let raw = raw.unwrap();
        assert_eq!(raw.kind, PayloadType::KE);
        let mut body = raw.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        changed.push(raw.kind, |w| w.bytes(&body));
    }
    let forged = sealed(before, header(&response), changed);
    pair.left.datagram(reversed(to_left), &forged, pair.now);
    assert_eq!(header(&pair.left.sent[0].1).exchange, ExchangeType::IKE_AUTH);
    pair.run_for(std::time::Duration::from_secs(300));
    assert!(matches!(pair.left.done.get(&request), Some(Err(_))));
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
}
