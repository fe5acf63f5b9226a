//! From a peer's certificate to an authority that is trusted (RFC 5280 §6, without policies, name
//! constraints and revocation).

use std::sync::Arc;

use adit_crypto::{KeyKind, SignatureHash, SignatureScheme};

use crate::certificate::KeyUsage;
use crate::{Certificate, Moment, name};

/// Certificates between the peer's and the authority's.
pub const CHAIN_MAX: usize = 8;

/// Signatures that are checked for one path: each costs time, and the peer chose what to send. The longest
/// path takes one more than [`CHAIN_MAX`], and one may be of a namesake.
const SIGNATURES_MAX: usize = CHAIN_MAX + 2;

/// Bits of the modulus of a DSA key that others are believed by: as many as of RSA.
const DSA_BITS_MIN: u32 = 2_048;

/// Why a certificate, or what was signed with its key, is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Distrust {
    /// Nobody who is trusted has signed it.
    #[error("nobody we trust has signed {subject}, which says it is from {issuer}")]
    UnknownIssuer {
        /// The last certificate of the path.
        subject: String,
        /// Who is said to have signed it.
        issuer: String,
    },
    /// An authority of that name is known, and its key is another one.
    #[error("{subject} is not signed with the key of {issuer} that we know")]
    OtherIssuer {
        /// Whose certificate.
        subject: String,
        /// Who is said to have signed it.
        issuer: String,
    },
    /// Its time is over.
    #[error("{subject} was valid until {until}, and our clock says {now}")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// The last moment.
        until: Moment,
        /// Our clock.
        now: Moment,
    },
    /// Its time has not come.
    #[error("{subject} is valid from {from}, and our clock says {now}")]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// The first moment.
        from: Moment,
        /// Our clock.
        now: Moment,
    },
    /// The certificate may not be used for that.
    #[error("{subject} {reason}")]
    Unfit {
        /// Whose certificate.
        subject: String,
        /// Why.
        reason: &'static str,
    },
    /// It is valid, and not of the identity that the peer claims.
    #[error("{subject} is no certificate of {claimed}")]
    OtherIdentity {
        /// Whose certificate.
        subject: String,
        /// The identity.
        claimed: String,
    },
    /// The key that the peer uses is none of those that the configuration pins.
    #[error("the peer's key is not the one that we know")]
    OtherKey,
    /// No certificate or key came that could be used.
    #[error("{0}")]
    NoCertificate(&'static str),
    /// The signature over the exchange is not right.
    #[error("the signature is wrong")]
    BadSignature,
    /// The peer signs in a way that is not allowed here.
    #[error("{0}")]
    Method(String),
}

/// What a path has to lead to a certificate for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Its owner signs in IKEv2, which has no DSA: not for its authorities either.
    Ikev2Signature,
    /// Its owner signs in IKEv1 (RFC 2409 §5.1).
    Ikev1Signature,
    /// Nonces of IKEv1 are encrypted to its key, and who decrypts them is its owner (RFC 2409 §5.2, §5.3).
    Ikev1Encryption,
}

impl Purpose {
    /// Whether a key may be used for it whose use is restricted (RFC 5280 §4.2.1.3; RFC 4945 §5.1.3.2 for
    /// signatures). What comes of the nonces are keys.
    fn check_usage(self, usage: KeyUsage) -> Result<(), &'static str> {
        match self {
            Self::Ikev2Signature | Self::Ikev1Signature if !usage.signs() => {
                Err("has a key usage without digital signatures")
            }
            Self::Ikev1Encryption if !usage.enciphers_keys() => {
                Err("has a key usage without key encipherment, and nonces are encrypted to it")
            }
            Self::Ikev2Signature | Self::Ikev1Signature | Self::Ikev1Encryption => Ok(()),
        }
    }

    /// Whether an authority with a DSA key counts.
    fn takes_dsa(self) -> bool {
        self != Self::Ikev2Signature
    }
}

/// Whether `leaf` may be used by its owner for this: a path leads over `others`, which a stranger has sent, to
/// one of `anchors`. An anchor that is the certificate itself is a path, too.
///
/// # Errors
///
/// [`Distrust`]: of several paths, what was wrong with the one that came farthest.
pub fn check_path(
    purpose: Purpose,
    leaf: &Arc<Certificate>,
    others: &[Arc<Certificate>],
    anchors: &[Arc<Certificate>],
    now: Moment,
) -> Result<(), Distrust> {
    first_to_end(purpose, leaf, others, anchors, now).map(|_| ())
}

/// As [`check_path`]: the certificate of the path, its ends included, whose time is over first.
///
/// # Errors
///
/// Those of [`check_path`].
pub fn first_to_end<'a>(
    purpose: Purpose,
    leaf: &'a Arc<Certificate>,
    others: &'a [Arc<Certificate>],
    anchors: &'a [Arc<Certificate>],
    now: Moment,
) -> Result<&'a Certificate, Distrust> {
    leaf.check_time(now)?;
    leaf.check_leaf(purpose)?;
    if anchors.contains(leaf) {
        return Ok(leaf);
    }
    let mut search = Search { purpose, others, anchors, now, signatures: 0, worst: None };
    if let Some(first) = search.climb(leaf, 0) {
        return Ok(first);
    }
    Err(search.worst.map_or_else(|| unknown_issuer(leaf), |(_, reason)| reason))
}

struct Search<'a> {
    purpose: Purpose,
    others: &'a [Arc<Certificate>],
    anchors: &'a [Arc<Certificate>],
    now: Moment,
    signatures: usize,
    /// What was wrong with the path that came farthest, and how far that was.
    worst: Option<(usize, Distrust)>,
}

impl<'a> Search<'a> {
    /// Of a path from `certificate`, which has `below` others under it, to an anchor: what ends first.
    /// The depth is bounded by [`CHAIN_MAX`].
    fn climb(&mut self, certificate: &'a Certificate, below: usize) -> Option<&'a Certificate> {
        for anchor in self.anchors {
            if self.counts(certificate, anchor, below)
                && self.is_signed_by(certificate, anchor, below)
            {
                return Some(sooner(certificate, anchor));
            }
        }
        if below >= CHAIN_MAX {
            return None;
        }
        for other in self.others {
            if self.may_be_asked(certificate, other, below)
                && self.is_signed_by(certificate, other, below)
                && let Some(first) = self.climb(other, below + 1)
            {
                return Some(sooner(certificate, first));
            }
        }
        self.note(below, unknown_issuer(certificate));
        None
    }

    /// Whether `issuer` may sign certificates that are `below` certificates above the leaf, and has
    /// signed this one.
    fn is_signed_by(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        below: usize,
    ) -> bool {
        if !name::same(certificate.issuer(), issuer.subject()) {
            return false;
        }
        if self.signatures >= SIGNATURES_MAX {
            return false;
        }
        self.signatures += 1;
        let checked = issuer
            .check_time(self.now)
            .and_then(|()| issuer.check_authority(below))
            .and_then(|()| certificate.check_signature(issuer));
        match checked {
            Ok(()) => true,
            Err(reason) => {
                // Told rather than that nobody has signed it.
                self.note(below + 1, reason);
                false
            }
        }
    }

    /// Whether an authority counts for the purpose. Those that are for every tunnel may be of either kind.
    fn counts(&mut self, certificate: &Certificate, anchor: &Certificate, below: usize) -> bool {
        let is_dsa = matches!(anchor.public_key().kind(), KeyKind::Dsa(_));
        let counts = !is_dsa || self.purpose.takes_dsa();
        if !counts && name::same(certificate.issuer(), anchor.subject()) {
            self.note(below + 1, anchor.unfit(DSA_OF_IKEV1));
        }
        counts
    }

    /// Whether a certificate that a stranger may have sent is asked about another. A signature by DSA takes as long
    /// as a hundred by RSA, so that it is for the authorities alone, whom the configuration names.
    fn may_be_asked(
        &mut self,
        certificate: &Certificate,
        other: &Certificate,
        below: usize,
    ) -> bool {
        let is_dsa = matches!(other.public_key().kind(), KeyKind::Dsa(_));
        if is_dsa && name::same(certificate.issuer(), other.subject()) {
            self.note(below + 1, other.unfit(DSA_BETWEEN));
        }
        !is_dsa
    }

    fn note(&mut self, far: usize, reason: Distrust) {
        if self.worst.as_ref().is_none_or(|(before, _)| far > *before) {
            self.worst = Some((far, reason));
        }
    }
}

impl Certificate {
    /// Whether it is valid at this moment.
    ///
    /// # Errors
    ///
    /// [`Distrust::NotYetValid`], [`Distrust::Expired`].
    pub fn check_time(&self, now: Moment) -> Result<(), Distrust> {
        let subject = || self.subject_text();
        let (from, until) = self.validity();
        if now < from {
            return Err(Distrust::NotYetValid { subject: subject(), from, now });
        }
        if now > until {
            return Err(Distrust::Expired { subject: subject(), until, now });
        }
        Ok(())
    }

    /// Whether an end entity may prove itself with it in IKE (RFC 4945 §5.1.3.2, §5.1.3.12).
    fn check_leaf(&self, purpose: Purpose) -> Result<(), Distrust> {
        self.check_extensions()?;
        let usage = self.key_usage().map_or(Ok(()), |usage| purpose.check_usage(usage));
        usage.map_err(|reason| self.unfit(reason))?;
        if !self.is_for_ike() {
            return Err(self.unfit("has an extended key usage that is not for IKE"));
        }
        Ok(())
    }

    /// Whether it may sign certificates with so many others between it and the leaf.
    fn check_authority(&self, below: usize) -> Result<(), Distrust> {
        self.check_extensions()?;
        if !self.is_authority() {
            return Err(self.unfit("is no authority (basic constraints without CA)"));
        }
        if self.key_usage().is_some_and(|usage| !usage.signs_certificates()) {
            return Err(self.unfit("has a key usage without certificate signing"));
        }
        if self.path_length().is_some_and(|most| below > most) {
            return Err(self.unfit("allows fewer intermediates than there are"));
        }
        Ok(())
    }

    fn check_extensions(&self) -> Result<(), Distrust> {
        if self.has_unknown_critical() {
            return Err(self.unfit("has a critical extension that is not supported"));
        }
        Ok(())
    }

    fn check_signature(&self, issuer: &Self) -> Result<(), Distrust> {
        if self.is_signed_by_dsa() {
            return self.check_dsa_signature(issuer);
        }
        let scheme = self.scheme();
        if scheme.is_some_and(|scheme: SignatureScheme| scheme.hash() == SignatureHash::Sha1) {
            return Err(self.unfit("is signed with SHA-1"));
        }
        let Some(scheme) = scheme else {
            return Err(self.unfit("is signed in a way that is not supported"));
        };
        if issuer.public_key().key().verifies(scheme, self.signed(), self.signature()) {
            Ok(())
        } else {
            let issuer = issuer.subject_text();
            Err(Distrust::OtherIssuer { subject: self.subject_text(), issuer })
        }
    }

    fn check_dsa_signature(&self, issuer: &Self) -> Result<(), Distrust> {
        let key = issuer.public_key().key();
        if matches!(key.kind(), KeyKind::Dsa(bits) if bits < DSA_BITS_MIN) {
            return Err(
                issuer.unfit("has a DSA key of less than 2048 bits, and signs others with it")
            );
        }
        if key.verifies_dsa_certificate(self.signed(), self.signature()) {
            return Ok(());
        }
        let issuer = issuer.subject_text();
        Err(Distrust::OtherIssuer { subject: self.subject_text(), issuer })
    }

    fn unfit(&self, reason: &'static str) -> Distrust {
        Distrust::Unfit { subject: self.subject_text(), reason }
    }
}

const DSA_OF_IKEV1: &str = "has a DSA key, by which authorities count in IKEv1 alone; have the certificate signed by another one";

const DSA_BETWEEN: &str =
    "has a DSA key and is no authority of the configuration; name it there, or have it signed anew";

/// Which of the two ends first; the lower one if both end at once.
fn sooner<'a>(lower: &'a Certificate, upper: &'a Certificate) -> &'a Certificate {
    let ends = |certificate: &Certificate| certificate.validity().1;
    if ends(upper) < ends(lower) { upper } else { lower }
}

fn unknown_issuer(certificate: &Certificate) -> Distrust {
    Distrust::UnknownIssuer {
        subject: certificate.subject_text(),
        issuer: name::text(certificate.issuer()).unwrap_or_default(),
    }
}
