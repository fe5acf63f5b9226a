//! Our messages: what their rows say, in that order.

use adit_wire::iana::isakmp::{NotifyType, PayloadType};
use adit_wire::isakmp::{Cert, CertReq, ChainBuilder, Header};

use crate::context::Context;
use crate::event::Step;
use crate::failure::FailureReason;

use super::super::core::{Core, NO_KEYS};
use super::super::informational;
use super::super::keys::Phase1Hash;
use super::super::method::ProofKind;
use super::super::nat;
use super::super::vendor;
use super::rules::{Exchange, Part, Rule, Seal};
use super::{NO_SUITE, Phase1};

impl Phase1 {
    /// Sends a message of ours. Where an answer is to come it is sent again until then.
    pub(super) fn send(
        &mut self,
        number: u8,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let rule = self.rule(number).ok_or(NO_SUITE)?;
        self.prepare(rule, cx);
        if rule.has(Part::Proof) && core.role.is_initiator() && core.keys.is_some() {
            let suite = core.suite.to_vec();
            core.progress(Step::Keys { suite }, cx);
        }
        let mut chain = ChainBuilder::new();
        for (part, _) in rule.parts {
            self.put(*part, number, core, &mut chain, cx)?;
        }
        let message = match rule.seal {
            Seal::Clear => {
                self.pad(number, core, &mut chain);
                core.clear(self.exchange.exchange_type(), 0, chain)?
            }
            Seal::Sealed | Seal::Either => self.sealed(chain, core)?,
        };
        self.number = number;
        let is_last = number == self.exchange.last();
        self.answered = self.answered.take().map(|asked| asked.with(message.clone()));
        self.balance.went(message.len());
        core.transmit(&message, cx);
        if core.role.is_initiator() && !is_last {
            self.patience.expect_answer(message, cx);
        }
        Ok(())
    }

    fn sealed(&self, chain: ChainBuilder, core: &mut Core) -> Result<Vec<u8>, FailureReason> {
        let mut iv = core.keys.as_ref().ok_or(NO_KEYS)?.phase1_iv().clone();
        let message = core.sealed(self.exchange.exchange_type(), 0, chain, &mut iv)?;
        core.keys.as_mut().ok_or(NO_KEYS)?.set_phase1_iv(iv);
        Ok(message)
    }

    /// What has to be drawn before it can be sent or signed. A responder has done so when it took the
    /// peer's.
    pub(super) fn prepare(&mut self, rule: &Rule, cx: &mut Context<'_>) {
        if rule.has(Part::KeyExchange)
            && self.material.public_i.is_empty()
            && let Some(suite) = &self.suite
        {
            let share = cx.key_share(suite.group);
            self.material.public_i = share.public().to_vec();
            self.share = Some(share);
        }
        if rule.has(Part::Nonce) && self.material.nonce_i.is_empty() {
            self.material.nonce_i = cx.nonce();
        }
    }

    fn put(
        &self,
        part: Part,
        number: u8,
        core: &Core,
        chain: &mut ChainBuilder,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let ours = |initiators, responders| {
            if core.role.is_initiator() { initiators } else { responders }
        };
        let material = &self.material;
        match part {
            Part::Sa => {
                let body = ours(&material.sa_body, &self.choice.0);
                chain.push(PayloadType::SA, |w| w.bytes(body));
            }
            Part::KeyExchange => {
                let public = ours(&material.public_i, &material.public_r);
                chain.push(PayloadType::KE, |w| w.bytes(public));
            }
            Part::Nonce => {
                let nonce = ours(&material.nonce_i, &material.nonce_r);
                chain.push(PayloadType::NONCE, |w| w.bytes(nonce));
            }
            Part::Id => {
                let body = self.id_of(core.role);
                chain.push(PayloadType::ID, |w| w.bytes(body));
            }
            Part::Proof => self.put_proof(core, chain)?,
            Part::Certificates => self.put_certificates(chain),
            Part::CertificateRequests => self.put_requests(core, chain),
            Part::InitialContact if self.initial_contact && core.role.is_initiator() => {
                let spi = informational::cookies(core);
                informational::put_notify(NotifyType::INITIAL_CONTACT, &spi, &[], chain);
            }
            Part::InitialContact => {}
            Part::VendorIds => self.put_vendors(number, core, chain),
            Part::NatHashes => self.put_hashes(core, chain, cx),
        }
        Ok(())
    }

    /// HASH_I or HASH_R, or the signature of it.
    fn put_proof(&self, core: &Core, chain: &mut ChainBuilder) -> Result<(), FailureReason> {
        let method = self.method().ok_or(NO_SUITE)?;
        match method.proof(core.role) {
            ProofKind::Hash => {
                let hash = self.hash_of(core.role, core).ok_or(NO_KEYS)?;
                chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
            }
            ProofKind::Signature(_) => {
                let proof = self.signed.as_ref().ok_or(NO_KEYS)?;
                chain.push(PayloadType::SIGNATURE, |w| w.bytes(&proof.data));
            }
        }
        Ok(())
    }

    /// The hash that proves one end (RFC 2409 §5).
    pub(super) fn hash_of(
        &self,
        of: crate::keymat::Role,
        core: &Core,
    ) -> Option<adit_crypto::Secret> {
        if self.exchange == Exchange::Base
            && let Some(hash) = self.base_hash(of, core)
        {
            return Some(hash);
        }
        let (material, id_body) = (&*self.material, self.id_of(of));
        let suite = self.suite.as_ref()?;
        let over = Phase1Hash { of, core, material, id_body };
        Some(core.keys.as_ref()?.phase1_hash_by(suite.method.proof_prf(of, suite.prf), over))
    }

    fn put_certificates(&self, chain: &mut ChainBuilder) {
        for certificate in self.signed.iter().flat_map(|proof| &proof.certificates) {
            let encoding = adit_wire::iana::isakmp::CertEncoding(certificate.encoding.0);
            let body = Cert { encoding, data: &certificate.data };
            chain.push(PayloadType::CERT, |w| body.write(w));
        }
    }

    /// Which authorities we trust, if the peer is to sign. Where those of the host count, which are not
    /// known here, one request is for any.
    fn put_requests(&self, core: &Core, chain: &mut ChainBuilder) {
        let method = self.method().map(|method| method.proof(core.role.other()));
        let (Some(ProofKind::Signature(_)), Some(spec)) =
            (method, core.connection.pad.remote_auth.signature())
        else {
            return;
        };
        if spec.authorities.is_empty() && spec.certificates.is_empty() && !spec.is_open() {
            return;
        }
        let names = spec.authorities.iter().map(|authority| authority.subject());
        let any: Option<&[u8]> = spec.authorities.is_empty().then_some(&[]);
        for authority in names.chain(any).take(AUTHORITIES_MAX) {
            let encoding = adit_wire::iana::isakmp::CertEncoding::X509_SIGNATURE;
            chain.push(PayloadType::CERTREQ, |w| CertReq { encoding, authority }.write(w));
        }
    }

    fn put_vendors(&self, number: u8, core: &Core, chain: &mut ChainBuilder) {
        if number > 1 {
            self.choice.1.iter().for_each(|id| chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id)));
            return;
        }
        let access = vendor::of_remote_access(&core.connection.remote_access);
        let passes_nats = self.exchange != Exchange::Base;
        let nats = nat::offered(core).filter(|_| passes_nats);
        for id in vendor::ours(core).chain(access).chain(nats) {
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id));
        }
    }

    /// Of main mode a responder answers only who has sent some.
    fn put_hashes(&self, core: &Core, chain: &mut ChainBuilder, cx: &mut Context<'_>) {
        let is_asked =
            core.role.is_initiator() || core.nat.supported || self.exchange == Exchange::Aggressive;
        if let Some(hash) = self.suite.as_ref().and_then(|suite| suite.hash()).filter(|_| is_asked)
        {
            nat::put_hashes(hash, core, chain, cx);
        }
    }

    /// Makes the first message of aggressive and base mode as long as its answer may be, by a vendor id that means
    /// nothing: a responder should not send more to an address than came from it.
    fn pad(&self, number: u8, core: &Core, chain: &mut ChainBuilder) {
        if number != 1 {
            return;
        }
        let Some(suite) = &self.suite else { return };
        let (hash, public) = (suite.prf.output_len(), self.material.public_i.len());
        let proof = suite.method.proof(core.role.other());
        let expected = answer_octets(self.exchange, public, hash, proof);
        let octets = Header::LEN.saturating_add(chain.octets().len()).saturating_add(4);
        let missing = expected.saturating_sub(octets);
        if missing > 0 {
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(&vec![0; missing]));
        }
    }
}

/// Octets of the second message of aggressive and base mode at most, if the peer has no uncommon names and,
/// with signatures, as much as one datagram takes everywhere.
pub(crate) fn answer_octets(
    exchange: Exchange,
    public: usize,
    hash: usize,
    proof: ProofKind,
) -> usize {
    match (exchange, proof) {
        (Exchange::Main, _) => 0,
        (Exchange::Base, _) => FIXED_OCTETS,
        (Exchange::Aggressive, ProofKind::Hash) => {
            FIXED_OCTETS.saturating_add(public).saturating_add(3 * hash)
        }
        (Exchange::Aggressive, ProofKind::Signature(_)) => DATAGRAM_OCTETS,
    }
}

/// Header, SA payload, nonce, a name of 100 octets, vendor ids, and the headers of payloads.
const FIXED_OCTETS: usize = 28 + 64 + 36 + 108 + 4 * 24 + 4 * 4;

/// What fits into a packet of 1 280 octets, the least that IPv6 has, with the headers of IPv6 and UDP.
const DATAGRAM_OCTETS: usize = 1_232;

/// Names of authorities in one message.
const AUTHORITIES_MAX: usize = 8;
