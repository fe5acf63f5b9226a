//! What we show the peer.

use adit_crypto::{KeyShare, Secret};
use adit_db::NonceEncryption;
use adit_pki::Distrust;
use adit_wire::isakmp::ChainBuilder;

use crate::context::Context;
use crate::failure::FailureReason;
use crate::v1::core::Core;
use crate::v1::identification;
use crate::v1::keymat::NO_KEY_EXCHANGE;
use crate::v1::phase1::rules::Exchange;

use super::super::messages::{Showing, Shown};
use super::super::suite::Suite;
use super::super::{DHLESS, OAEP, PeerKey, own_key_octets, trust};
use super::EncryptedPhase1;

/// Octets of a nonce: all that is secret may be in it.
const NONCE_OCTETS: usize = 32;

impl EncryptedPhase1 {
    /// Initiator: draws what it shows, and adds it.
    pub(super) fn show(
        &self,
        suite: &Suite,
        chain: &mut ChainBuilder,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(Option<KeyShare>, Shown), FailureReason> {
        let share = suite.group.map(|group| cx.key_share(group));
        let mut own = draw(core, cx);
        if let Some(share) = &share {
            own.public = share.public().to_vec();
        }
        own.certificate = trust::own_body(&core.connection);
        self.put_shown(suite, &own, chain, core, cx)?;
        Ok((share, own))
    }

    pub(super) fn put_shown(
        &self,
        suite: &Suite,
        own: &Shown,
        chain: &mut ChainBuilder,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let peer = self.peer_key(core).ok_or_else(|| no_peer_key(core))?;
        let (cookie, names_key) = (core.our_cookie(), core.role.is_initiator());
        let showing = Showing { suite, peer: &peer, padding: self.padding, cookie, names_key };
        showing.put(own, chain, cx.rng)
    }

    /// Whom we encrypt to.
    fn peer_key(&self, core: &Core) -> Option<PeerKey> {
        let known = || PeerKey::of(&core.connection);
        self.certified.as_ref().map_or_else(known, PeerKey::certified)
    }

    /// What we say that we know beside what everybody may know.
    pub(super) fn own_ids(&self) -> impl Iterator<Item = &'static [u8]> + use<> {
        let is_main = self.exchange == Exchange::Main;
        let dhless = (self.kind == NonceEncryption::DhLess).then_some(DHLESS);
        dhless.into_iter().chain(is_main.then_some(OAEP))
    }
}

/// Our nonce and identity.
pub(super) fn draw(core: &Core, cx: &mut Context<'_>) -> Shown {
    Shown {
        nonce: Secret::random(NONCE_OCTETS, cx.rng),
        public: NO_KEY_EXCHANGE.to_vec(),
        id_body: identification::phase1_body(&core.own_id()),
        certificate: None,
        is_sound: true,
    }
}

/// A vendor id that makes the first message of aggressive mode as long as its answer: that has a proof and
/// NAT-D payloads more, perhaps a longer identity, and what fills an RSA key of ours.
pub(super) fn answer_room(core: &Core) -> Result<Vec<u8>, FailureReason> {
    let peer = PeerKey::of(&core.connection);
    let peer = peer.ok_or_else(|| no_peer_key(core))?.key.ciphertext_len();
    let own = own_key_octets(&core.connection).unwrap_or(peer);
    let mut id = PADDING.to_vec();
    id.resize(ANSWER_EXCESS_OCTETS + own.saturating_sub(peer), 0);
    Ok(id)
}

/// What is in front of the zeros.
const PADDING: &[u8] = b"Adit padding";

/// A proof and two hashes of addresses by SHA-512, and an identity that is longer than ours by a name.
const ANSWER_EXCESS_OCTETS: usize = 3 * 68 + 160;

/// What a configuration without the peer's key comes to where it is the peer who has to call.
fn no_peer_key(core: &Core) -> FailureReason {
    let problem = Distrust::NoCertificate(
        "nothing can be encrypted to the peer before it has sent its certificate: it has to call",
    );
    FailureReason::NotTrusted { remote: core.expected_id(), problem: Box::new(problem) }
}
