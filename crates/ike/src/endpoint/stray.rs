//! Requests for IKE SAs that are not here (RFC 7296 §1.5, §2.21.4).

use std::time::Instant;

use adit_crypto::Rng;
use adit_db::IkeSaId;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{Header, Payload, Payloads, RawPayload};

use crate::command::Path;

use super::Endpoint;

/// IKE SAs with an address that are looked at: many peers may be behind one.
const LOOKED_AT_MAX: usize = 1_024;

/// IKE SAs that one message makes ask their peer whether it is there.
const HINTED_MAX: usize = 16;

impl Endpoint {
    /// Takes a request whose SPI is nobody's here.
    ///
    //= https://www.rfc-editor.org/rfc/rfc7296#section-1.5
    //# This message is not part of an INFORMATIONAL exchange, and the receiving node MUST NOT respond to
    //# it because doing so could cause a message loop.
    ///
    /// So what is in clear gets no answer; INVALID_SPI in it may be the word of a peer that has forgotten a
    /// child SA of ours, and is looked into as seldom as strangers are answered.
    pub(super) fn handle_stray(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let octets = octets.get(Header::LEN..).unwrap_or_default();
        let mut payloads = Payloads::new(header.next_payload, octets).map_while(Result::ok);
        if payloads.clone().any(|raw| matches!(raw.kind, PayloadType::SK | PayloadType::SKF)) {
            return self.answer_stranger(path, header, NotifyType::INVALID_IKE_SPI, now);
        }
        let tells = header.exchange == ExchangeType::INFORMATIONAL
            && payloads.any(tells_of_unknown_spi)
            && self.admission.may_answer(now);
        if tells {
            let there = self.sas.with_peer(path.remote.ip()).take(LOOKED_AT_MAX);
            let there = there.filter(|sa| sa.core.path.remote == path.remote);
            let ids: Vec<IkeSaId> = there.map(|sa| sa.core.id).take(HINTED_MAX).collect();
            for id in ids {
                self.with_sa(id, now, rng, |sa, cx| sa.handle_hint(false, cx));
            }
        }
    }
}

fn tells_of_unknown_spi(raw: RawPayload<'_>) -> bool {
    raw.kind == PayloadType::NOTIFY
        && matches!(Payload::read(raw), Ok(Payload::Notify(notify)) if notify.kind == NotifyType::INVALID_SPI)
}
