//! What IKE_SA_INIT leaves behind for IKE_INTERMEDIATE and IKE_AUTH (RFC 7296 §2.14, §2.15;
//! RFC 9370 §2.2.2; RFC 9242 §3.3.2).

use std::collections::VecDeque;
use std::time::Instant;

use adit_crypto::{KeyExchange, Secret};
use adit_db::{AuthSpec, Identity, ProposalSpec};
use adit_wire::Writer;
use adit_wire::ikev2::{Id, Sa, VendorId};

use crate::auth::{IntAuth, SignedOctets};
use crate::context::Context;
use crate::event::{PeerSoftware, Step};
use crate::failure::FailureReason;
use crate::keymat::{Nonces, Role, SkKeys, skeyseed, skeyseed_resume, skeyseed_update};
use crate::proposal::{Choice, IkeSuite, Purpose, choose_ike};
use crate::ticket::TicketId;
use crate::v2::ike_sa::core::{Core, SealedChain};
use crate::v2::ppk::Ppk;
use crate::v2::protected::Message;
use crate::v2::rounds::Rounds;
use crate::v2::signature::Announced;

/// Keys, nonces and octets of a handshake under way.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) suite: IkeSuite,
    pub(crate) keys: SkKeys,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    init_request: Vec<u8>,
    init_response: Vec<u8>,
    int_auth: IntAuth,
    /// Additional key exchanges that have not taken place yet.
    remaining: VecDeque<KeyExchange>,
    /// Which signatures the peer takes.
    pub(crate) announced: Announced,
    /// Initiator: IKE_AUTH goes without a child. Responder: it may ([`crate::v2::childless`]).
    pub(crate) childless: bool,
    /// The session that this one resumes ([`crate::v2::resumption`]).
    pub(crate) resumed: Option<Box<Resumed>>,
    /// The chosen proposal as an offer, to ask other connections whether they take it too.
    chosen: Sa,
    pub(crate) ppk: Ppk,
    pub(crate) rounds: Rounds,
}

/// The session that a handshake resumes (RFC 5723 §5).
#[derive(Debug)]
pub(crate) struct Resumed {
    /// Its IKE SA, whose ticket it was.
    pub(crate) id: TicketId,
    /// Body of the client's ID payload.
    pub(crate) id_i: Vec<u8>,
    /// Body of the gateway's.
    pub(crate) id_r: Vec<u8>,
    /// Whether a post-quantum key is in its SK_d (RFC 8784).
    pub(crate) ppk: bool,
    /// When the peer's authentication is good no more, as this side sees it (RFC 4478).
    pub(crate) authenticated_until: Option<Instant>,
}

/// What both ends know after IKE_SA_INIT, beside the secret of its key exchange.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) choice: Choice<IkeSuite>,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) childless: bool,
    /// Both sides have said USE_PPK.
    pub(crate) has_ppk: bool,
    /// Both sides can authenticate several times.
    pub(crate) has_rounds: bool,
    /// Which signatures the peer takes.
    pub(crate) announced: Announced,
}

impl Handshake {
    /// Derives the first keys and protects `core` with them.
    pub(crate) fn begin(
        init: Init,
        shared: &Secret,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.suite = cx.out.shared_suite(init.choice.visible_transforms());
        let chosen = init.choice.answer(&[]);
        let suite = init.choice.suite;
        let nonces = Nonces { initiator: &init.nonce_i, responder: &init.nonce_r };
        let skeyseed = skeyseed(suite.prf, shared, nonces);
        let keys =
            SkKeys::derive(suite.prf, suite.cipher, &skeyseed, nonces, core.spi_i, core.spi_r)
                .map_err(|_| FailureReason::Internal("prf+"))?;
        core.protect(&suite, &keys, cx)?;
        let handshake = Self {
            remaining: suite.additional.iter().copied().collect(),
            suite,
            keys,
            nonce_i: init.nonce_i,
            nonce_r: init.nonce_r,
            init_request: init.request,
            init_response: init.response,
            int_auth: IntAuth::new(),
            announced: init.announced,
            childless: init.childless,
            resumed: None,
            chosen,
            ppk: Ppk::begun(init.has_ppk),
            rounds: Rounds::begun(init.has_rounds),
        };
        handshake.report_keys(core, cx);
        Ok(handshake)
    }

    /// Derives the keys of a session that is resumed, and protects `core` with them (RFC 5723 §5.1).
    /// `suite` and `sk_d` are those of the old IKE SA, nonces and messages the initiator's first. A
    /// post-quantum key is in `sk_d` or not, and is not stirred in again.
    pub(crate) fn resume(
        (choice, sk_d): (Choice<IkeSuite>, &Secret),
        (nonce_i, nonce_r): (Vec<u8>, Vec<u8>),
        (init_request, init_response): (Vec<u8>, Vec<u8>),
        resumed: Resumed,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.suite = cx.out.shared_suite(choice.visible_transforms());
        let chosen = choice.answer(&[]);
        let suite = choice.suite;
        let nonces = Nonces { initiator: &nonce_i, responder: &nonce_r };
        let skeyseed = skeyseed_resume(suite.prf, sk_d, nonces);
        let keys =
            SkKeys::derive(suite.prf, suite.cipher, &skeyseed, nonces, core.spi_i, core.spi_r)
                .map_err(|_| FailureReason::Internal("prf+"))?;
        core.protect(&suite, &keys, cx)?;
        let handshake = Self {
            remaining: VecDeque::new(),
            suite,
            keys,
            nonce_i,
            nonce_r,
            init_request,
            init_response,
            int_auth: IntAuth::new(),
            announced: Announced::default(),
            childless: false,
            ppk: Ppk::resumed(resumed.ppk),
            rounds: Rounds::single(),
            resumed: Some(Box::new(resumed)),
            chosen,
        };
        handshake.report_keys(core, cx);
        Ok(handshake)
    }

    /// The authentication data of an end of a session that is resumed; none of another, which takes a
    /// long-term secret.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.3
    //# AUTH = prf(SK_px, <message octets>)
    pub(crate) fn resumption_auth(&self, signer: Role, octets: &Secret) -> Option<Secret> {
        let key = self.keys.identity_key(signer);
        let auth = || self.suite.prf.compute(key.as_bytes(), &[octets.as_bytes()]);
        self.resumed.as_ref().map(|_| auth())
    }

    /// What a side has to prove itself by that is configured for this: a proof by the keys of a session
    /// that is resumed counts as one by a shared key (RFC 5723 §5.1).
    pub(crate) fn proof_asked<'a>(&self, configured: &'a AuthSpec) -> &'a AuthSpec {
        if self.resumed.is_some() { &AuthSpec::Psk } else { configured }
    }

    pub(crate) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.nonce_i, responder: &self.nonce_r }
    }

    /// The additional key exchange whose turn it is.
    pub(crate) fn next_exchange(&self) -> Option<KeyExchange> {
        self.remaining.front().copied()
    }

    /// Enters a message of ours into IntAuth; its keys are those that protected it.
    pub(crate) fn sent(&mut self, sender: Role, message: &SealedChain) {
        let key = self.keys.identity_key(sender);
        let associated = &message.sealed.associated;
        self.int_auth.add(sender, self.suite.prf, key, associated, &message.inner);
    }

    /// Enters a message of the peer into IntAuth.
    pub(crate) fn received(&mut self, sender: Role, message: &Message) {
        let key = self.keys.identity_key(sender);
        self.int_auth.add(sender, self.suite.prf, key, &message.associated, &message.inner);
    }

    /// Renews the keys with the secret of an additional key exchange (RFC 9370 §2.2.2). Both
    /// messages of the exchange are protected by the keys before.
    pub(crate) fn advance(
        &mut self,
        shared: &Secret,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let prf = self.suite.prf;
        let skeyseed = skeyseed_update(prf, &self.keys.d, shared, self.nonces());
        let keys = SkKeys::derive(
            prf,
            self.suite.cipher,
            &skeyseed,
            self.nonces(),
            core.spi_i,
            core.spi_r,
        )
        .map_err(|_| FailureReason::Internal("prf+"))?;
        core.protect(&self.suite, &keys, cx)?;
        self.keys = keys;
        self.remaining.pop_front();
        self.report_keys(core, cx);
        Ok(())
    }

    /// Uses the keys with the PPK instead of those without, or the other way round.
    pub(crate) fn swap_ppk(&mut self) {
        self.ppk.swap(&mut self.keys);
    }

    fn report_keys(&self, core: &Core, cx: &mut Context<'_>) {
        if self.remaining.is_empty() {
            core.progress(Step::Keys { suite: core.suite.to_vec() }, cx);
        }
    }

    /// What the end with this role signs in the round of authentication in which it has this identity.
    pub(crate) fn signed_octets(&self, signer: Role, id_body: &[u8]) -> Secret {
        let (message, peer_nonce) = match signer {
            Role::Initiator => (&self.init_request, &self.nonce_r),
            Role::Responder => (&self.init_response, &self.nonce_i),
        };
        SignedOctets {
            message,
            peer_nonce,
            identity_key: self.keys.identity_key(signer),
            id_body,
            int_auth: &self.int_auth.finish(self.rounds.first_id),
        }
        .octets(self.suite.prf)
    }

    /// Whether a connection with these proposals could have made the same choice.
    pub(crate) fn fits(&self, proposals: &[ProposalSpec]) -> bool {
        choose_ike(Purpose::Ike { additional: true }, proposals, &self.chosen).is_ok()
    }
}

/// The body of an ID payload.
pub(crate) fn id_body(identity: &Identity) -> Vec<u8> {
    let mut octets = Vec::new();
    Id { kind: identity.kind(), data: &identity.octets() }.write(&mut Writer(&mut octets));
    octets
}

/// Tells the peer's program from its vendor ids.
pub(crate) fn software(vendor_ids: &[VendorId<'_>]) -> PeerSoftware {
    let known = |id: &[u8]| {
        VENDORS.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, software)| *software)
    };
    vendor_ids.iter().find_map(|VendorId(id)| known(id)).unwrap_or_default()
}

/// Beginnings of vendor ids.
const VENDORS: &[(&[u8], PeerSoftware)] = &[
    (VendorId::ADIT.0, PeerSoftware::Adit),
    // MD5 of "strongSwan".
    (
        &[
            0x88, 0x2f, 0xe5, 0x6d, 0x6f, 0xd2, 0x0d, 0xbc, 0x22, 0x51, 0x61, 0x3b, 0x2e, 0xbe,
            0x5b, 0xeb,
        ],
        PeerSoftware::StrongSwan,
    ),
    (b"OE-Libreswan", PeerSoftware::Libreswan),
    // MD5 of "MS NT5 ISAKMPOAKLEY"; four octets of version follow.
    (
        &[
            0x1e, 0x2b, 0x51, 0x69, 0x05, 0x99, 0x1c, 0x7d, 0x7c, 0x96, 0xfc, 0xbf, 0xb5, 0x87,
            0xe4, 0x61,
        ],
        PeerSoftware::Windows,
    ),
    (b"CISCO-DELETE-REASON", PeerSoftware::Cisco),
    (b"CISCO(COPYRIGHT)", PeerSoftware::Cisco),
    (b"FLEXVPN-SUPPORTED", PeerSoftware::Cisco),
    (b"OpenIKED-", PeerSoftware::OpenIked),
];
