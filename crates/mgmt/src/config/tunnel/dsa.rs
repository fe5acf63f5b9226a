//! DSA keys in `cert`, `key`, `peer_cert`, `peer_key` and `ca`: IKEv1 alone signs with them (RFC 2409 §5.1).

use std::ops::Range;

use adit_crypto::{KeyKind, VerifyingKey};
use adit_db::{AuthSpec, Connection, IkeVersion};

use super::super::fields::Fields;
use super::super::report::Mistake;
use crate::codes::Code;

/// Bits of a modulus that is as strong as the RSA keys that are taken.
const SAFE_BITS: u32 = 2_048;

/// Where the keys of either side stand. To be found before they are read.
pub(super) struct Places {
    ours: Option<Range<usize>>,
    theirs: Option<Range<usize>>,
    authorities: Option<Range<usize>>,
}

impl Places {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let place = |keys: [&str; 2]| keys.iter().find_map(|key| fields.key_span(key));
        let (ours, theirs) = (place(["key", "cert"]), place(["peer_key", "peer_cert"]));
        Self { ours, theirs, authorities: fields.key_span("ca") }
    }

    /// Refuses DSA keys in tunnels of IKEv2 and where they are none, and warns of those that are short.
    pub(super) fn check(
        self,
        fields: &mut Fields<'_>,
        version: IkeVersion,
        connection: &Connection,
    ) {
        let pad = &connection.pad;
        if let Some(span) = self.authorities {
            check_authorities(fields, span, version, &pad.remote_auth);
        }
        for (auth, span) in [(&pad.local_auth, self.ours), (&pad.remote_auth, self.theirs)] {
            let of_dsa: Vec<_> = keys_of(auth).filter(|key| bits(key).is_some()).collect();
            let shortest = of_dsa.iter().filter_map(|key| bits(key)).min();
            let (Some(shortest), Some(span)) = (shortest, span) else { continue };
            if !of_dsa.iter().all(|key| key.is_sound()) {
                fields.mistake(of_no_group(span));
            } else if version != IkeVersion::V1 {
                fields.mistake(of_other_version(span, shortest));
            } else if shortest < SAFE_BITS {
                fields.mistake(weak(span, shortest));
            }
        }
    }
}

/// What authorities of DSA keys have signed is believed in tunnels of IKEv1, if the keys are long enough.
fn check_authorities(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    version: IkeVersion,
    auth: &AuthSpec,
) {
    let authorities = auth.signature().map(|spec| spec.authorities.as_slice()).unwrap_or_default();
    let keys = authorities.iter().map(|one| one.public_key().key());
    let of_dsa: Vec<_> = keys.filter_map(|key| Some((key, bits(key)?))).collect();
    let Some(shortest) = of_dsa.iter().map(|(_, bits)| *bits).min() else { return };
    if !of_dsa.iter().all(|(key, _)| key.is_sound()) {
        fields.mistake(of_no_group(span));
    } else if version != IkeVersion::V1 {
        fields.mistake(of_other_version(span, shortest));
    } else if shortest < SAFE_BITS {
        fields.mistake(
            Mistake::new(span, "an authority has a short DSA key")
                .code(Code::E524)
                .label(format!("{shortest} bits: what it has signed is not believed"))
                .help("use an authority with a key of RSA, ECDSA, or DSA with 2048 bits; or pin the peer's certificate: peer_cert"),
        );
    }
}

fn of_other_version(span: Range<usize>, bits: u32) -> Mistake<'static> {
    Mistake::new(span, "IKEv2 has no DSA here")
        .label(format!("a key of DSA {bits}"))
        .help("use a key of RSA, ECDSA or Ed25519; or ike = 1, for a peer that has nothing newer")
}

fn weak(span: Range<usize>, bits: u32) -> Mistake<'static> {
    Mistake::new(span, format!("a key of DSA {bits} is weak"))
        .code(Code::E515)
        .label("less than 2048 bits: at 1024, whoever has the means finds the private key")
        .help("use a key of RSA or ECDSA, or of DSA with 2048 bits in a group of 256")
}

fn of_no_group(span: Range<usize>) -> Mistake<'static> {
    Mistake::new(span, "a DSA key cannot be used")
        .code(Code::E524)
        .label("its generator or its public value is not of the order q")
        .help(
            "make another: `openssl genpkey -algorithm DSA` wants parameters of `openssl dsaparam`",
        )
}

/// The keys that a side proves itself with, as far as they are named.
fn keys_of(auth: &AuthSpec) -> impl Iterator<Item = &VerifyingKey> {
    auth.signature().into_iter().flat_map(|spec| {
        let certified = spec.certificates.iter().filter(|one| !one.is_authority());
        let certified = certified.map(|one| one.public_key().key());
        certified.chain(spec.public_keys.iter().map(|public| public.key()))
    })
}

fn bits(key: &VerifyingKey) -> Option<u32> {
    match key.kind() {
        KeyKind::Dsa(bits) => Some(bits),
        KeyKind::Rsa(_) | KeyKind::P256 | KeyKind::P384 | KeyKind::P521 | KeyKind::Ed25519 => None,
    }
}
