//! What a message of the peer says.

use std::sync::Arc;

use adit_pki::wrapped_certificates;
use adit_wire::iana::CertEncoding;
use adit_wire::iana::isakmp::{CertEncoding as IsakmpCertEncoding, NotifyType};
use adit_wire::isakmp::{Cert, Header};

use crate::command::Path;
use crate::context::Context;
use crate::event::Step;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::v2::signature::CertificateData;

use super::super::core::Core;
use super::super::identification::claimed_identity;
use super::super::keys::Iv;
use super::super::method::{Method, ProofKind};
use super::super::nat;
use super::super::received::Received;
use super::super::retransmission::Answered;
use super::rules::{Exchange, Part, Rule, Seal};
use super::{Phase1, Taken, identity_of, note_vendors, own_body};

/// Certificates that are taken from one message; more are left unread.
const CERTIFICATES_MAX: usize = adit_pki::CHAIN_MAX + 1;

impl Phase1 {
    /// Takes the next message, if it is one. Whether it is.
    pub(super) fn handle_next(
        &mut self,
        number: u8,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<bool, FailureReason> {
        let body = octets.get(Header::LEN..).unwrap_or_default();
        let is_sealed = header.flags.is_encrypted();
        let fits = |rule: &Rule| match rule.seal {
            Seal::Clear => !is_sealed,
            Seal::Sealed => is_sealed,
            Seal::Either => true,
        };
        if number == 2 && !is_sealed {
            let Ok(received) = Received::clear(header.next_payload, body) else { return Ok(false) };
            return self.handle_choice(path, header, octets, &received, core, cx);
        }
        let Some(rule) = self.rule(number).filter(|rule| fits(rule)) else { return Ok(false) };
        if !is_sealed {
            let Ok(received) = Received::clear(header.next_payload, body) else { return Ok(false) };
            let hides_nat = rule.has(Part::NatHashes) && nat::is_hidden(&received, core);
            if !rule.is_met_by(&received) || hides_nat {
                return Ok(false);
            }
            let taken = self.take(number, path, octets, &received, None, core, cx);
            // What anybody may have sent ends nothing that waits for somebody else.
            return if core.role.is_initiator() { taken.map(|()| true) } else { Ok(taken.is_ok()) };
        }
        let Some(keys) = core.keys.as_ref() else { return Ok(false) };
        let opened = core.opened(octets, keys.phase1_iv());
        let received = opened.as_ref().and_then(|(plain, iv)| {
            let received = Received::decrypted(header.next_payload, plain).ok()?;
            rule.is_met_by(&received).then_some((received, iv.clone()))
        });
        let Some((received, iv)) = received else {
            // Who has another secret has other keys, too: what they encrypt is noise here.
            if self.method().is_some_and(Method::has_secret) {
                self.doubt_secret(core, cx);
            }
            return Ok(false);
        };
        self.take(number, path, octets, &received, Some(iv), core, cx).map(|()| true)
    }

    /// Initiator: the second message, with what the responder has chosen.
    fn handle_choice(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<bool, FailureReason> {
        let chosen = self.offer.as_ref().zip(received.sa.as_ref());
        let Some(suite) = chosen.and_then(|(offer, sa)| offer.accept(sa)) else { return Ok(false) };
        let rule = Rule::of(self.exchange, suite.method, 2);
        if header.cookie_r.is_zero() || !rule.is_some_and(|rule| rule.is_met_by(received)) {
            return Ok(false);
        }
        if self.exchange != Exchange::Main && !self.expects(received, core, cx) {
            return Ok(false);
        }
        if self.exchange != Exchange::Base && nat::is_lost(&received.vendor_ids, core, cx) {
            return Ok(false);
        }
        core.cookie_r = header.cookie_r;
        core.suite = cx.out.shared_suite(suite.transforms());
        core.nat_numbers = nat::common(&received.vendor_ids, core).map(|(_, numbers)| numbers);
        self.suite = Some(suite);
        self.offer = None;
        self.take(2, path, octets, received, None, core, cx).map(|()| true)
    }

    /// Initiator of aggressive or base mode: whether the peer says that it is whom we expect. It has not proven
    /// anything yet: if nothing better comes it is believed.
    fn expects(&mut self, received: &Received<'_>, core: &Core, cx: &Context<'_>) -> bool {
        let Some(identity) = claimed_identity(received) else { return false };
        if core.connection.pad.accepts(&identity) {
            return true;
        }
        let expected = core.connection.pad.remote_id.clone();
        let reason = FailureReason::WrongIdentity { expected, received: identity };
        self.patience.doubt(reason, cx.now);
        false
    }

    /// Keeps what a message says that has the form of its row.
    ///
    /// # Errors
    ///
    /// The public value of the key exchange is none.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one message")]
    pub(super) fn take(
        &mut self,
        number: u8,
        path: Path,
        octets: &[u8],
        received: &Received<'_>,
        iv: Option<Iv>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let rule = self.rule(number).ok_or(NO_RULE)?;
        if rule.has(Part::Nonce) {
            self.keep_nonce(received, core, cx);
        }
        if rule.has(Part::KeyExchange) {
            self.agree(received, core, cx)?;
        }
        if rule.has(Part::VendorIds) {
            note_vendors(received, core);
        }
        if rule.has(Part::CertificateRequests) {
            self.announced.take_issuers(received.cert_requests.iter().filter_map(|request| {
                (request.encoding == IsakmpCertEncoding::X509_SIGNATURE)
                    .then_some(request.authority)
            }));
        }
        if rule.has(Part::Id)
            && let Some((_, body)) = received.ids.first()
        {
            match core.role {
                Role::Initiator => self.material.id_r = body.to_vec(),
                Role::Responder => {
                    self.material.id_i = body.to_vec();
                    self.find_tunnel(core, cx);
                }
            }
        }
        let has_hashes = rule.has(Part::NatHashes);
        if has_hashes || (self.exchange == Exchange::Base && number == 2) {
            self.place(path, received, core, cx);
        }
        let proof = match self.method().map(|method| method.proof(core.role.other())) {
            Some(ProofKind::Hash) => received.hash,
            Some(ProofKind::Signature(_)) => received.signature,
            None => None,
        };
        self.taken = Some(Box::new(Taken {
            number,
            path,
            answered: Answered::new(octets, Vec::new()),
            // One of the other kind proves nothing, and is not passed over either.
            proof: rule.has(Part::Proof).then(|| proof.unwrap_or_default().to_vec()),
            certificates: certificates(received),
            initial_contact: rule.has(Part::InitialContact)
                && received.notifies.iter().any(|one| one.kind == NotifyType::INITIAL_CONTACT),
            iv,
            has_hashes,
        }));
        Ok(())
    }

    /// The peer's nonce. A responder draws its own, and the answer is not longer than the question.
    fn keep_nonce(&mut self, received: &Received<'_>, core: &Core, cx: &mut Context<'_>) {
        let nonce = received.nonce.unwrap_or_default();
        match core.role {
            Role::Initiator => self.material.nonce_r = nonce.to_vec(),
            Role::Responder => {
                self.material.nonce_i = nonce.to_vec();
                self.material.nonce_r = cx.nonce();
                self.material.nonce_r.truncate(nonce.len());
            }
        }
    }

    /// The peer's public value. Of base mode a responder computes nothing with it before its proof is right.
    fn agree(
        &mut self,
        received: &Received<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let Some(public) = received.key_exchange else { return Ok(()) };
        let group = self.suite.as_ref().map(|suite| suite.group).ok_or(NO_RULE)?;
        match core.role {
            Role::Responder if self.exchange == Exchange::Base => {
                self.material.public_i = public.to_vec();
            }
            Role::Responder => {
                let answer = cx.answer_key_share(group, public).map_err(|_| BAD_KEY)?;
                (self.material.public_r, self.material.shared) = answer;
                self.material.public_i = public.to_vec();
            }
            Role::Initiator => {
                let share = self.share.take().ok_or(BAD_KEY)?;
                self.material.shared = share.agree(public).map_err(|_| BAD_KEY)?;
                self.material.public_r = public.to_vec();
                // What was asked for is there; what it is worth shows in time.
                self.patience.answered();
            }
        }
        Ok(())
    }

    /// What the peer's NAT-D payloads say. Of aggressive mode the initiator may have computed its own
    /// before it went over to the NAT ports or after.
    fn place(&self, path: Path, received: &Received<'_>, core: &mut Core, cx: &mut Context<'_>) {
        let Some(hash) = self.suite.as_ref().and_then(|suite| suite.hash()) else { return };
        core.nat = nat::verdict(hash, core, path, &received.nat_hashes);
        if core.role.is_initiator() {
            let reached = Step::Reached {
                path: core.path,
                nat_local: core.nat.we_are_behind_nat,
                nat_remote: core.nat.peer_is_behind_nat,
                peer: core.peer,
            };
            core.progress(reached, cx);
        }
    }

    /// Responder of main mode: several tunnels may begin alike, and only now the peer says who it is. With
    /// signatures it has to prove that to the tunnel which is for it; a secret is one tunnel's, and it has
    /// shown that it knows the first one's.
    fn find_tunnel(&mut self, core: &mut Core, cx: &Context<'_>) {
        let Some(suite) = self.suite.as_ref().filter(|suite| !suite.method.has_secret()) else {
            return;
        };
        let Some(identity) = self.claimed(core).filter(|_| self.exchange == Exchange::Main) else {
            return;
        };
        let known = cx.connections.of_v1_accepting(core.path, &identity);
        let mut fitting = known.into_iter().filter(|one| suite.is_for(one, self.exchange));
        if let Some(connection) = fitting.next() {
            core.connection = Arc::clone(connection);
            self.material.id_r = own_body(core);
        }
    }

    /// The identity that the peer claims.
    pub(super) fn claimed(&self, core: &Core) -> Option<adit_db::Identity> {
        identity_of(self.id_of(core.role.other()))
    }

    /// Nothing of the message counts.
    pub(super) fn doubt_secret(&mut self, core: &Core, cx: &mut Context<'_>) {
        let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
        let reason = FailureReason::WrongSecret { by: By::Us, local, remote, certain: false };
        if self.patience.doubt(reason, cx.now) {
            self.tell(NotifyType::AUTHENTICATION_FAILED, core, cx);
        }
    }
}

/// Certificates to check signatures with, one by one or several in a wrapping of PKCS #7. Lists of revoked
/// ones and all else are left unread.
fn certificates(received: &Received<'_>) -> Vec<CertificateData> {
    let read = |cert: &Cert<'_>| match cert.encoding {
        IsakmpCertEncoding::X509_SIGNATURE => vec![cert.data.to_vec()],
        IsakmpCertEncoding::PKCS7 => wrapped_certificates(cert.data).unwrap_or_default(),
        _ => Vec::new(),
    };
    let encoding = CertEncoding::X509_SIGNATURE;
    let all = received.certs.iter().flat_map(read).take(CERTIFICATES_MAX);
    all.map(|data| CertificateData { encoding, data }).collect()
}

/// What comes of a public value that is none.
pub(super) const BAD_KEY: FailureReason =
    FailureReason::PeerMisbehaved("public value of the key exchange");

/// A suite is only chosen if its method has rows.
const NO_RULE: FailureReason = FailureReason::Internal("no rule for a message of phase 1");
