//! What a peer had to prove when its session began (RFC 4301 §4.4.3), in few octets: a ticket stands
//! for that proof, and for no other.

use adit_crypto::sha256;
use adit_db::{AuthSpec, PadEntry};

/// Of the identities that are let in and of the proofs asked of them. Shared keys have no part in it:
/// they are with the keys role.
pub(crate) type PadDigest = [u8; 32];

const PSK: u8 = 0;
const SIGNATURE: u8 = 1;
const NULL: u8 = 2;

/// The digest of an entry: the same in every process.
pub(crate) fn pad_digest(pad: &PadEntry) -> PadDigest {
    let mut octets = Vec::new();
    let first = (&pad.remote_id, &pad.remote_auth);
    let more = pad.more_remote.iter().map(|round| (&round.id, &round.auth));
    for (id, auth) in [first].into_iter().chain(more) {
        put(&mut octets, id.to_string().as_bytes());
        put_auth(&mut octets, auth);
    }
    if let Some(keys) = &pad.static_kem {
        put(&mut octets, &keys.remote_id().0);
    }
    sha256(&[&octets])
}

fn put_auth(octets: &mut Vec<u8>, auth: &AuthSpec) {
    match auth {
        AuthSpec::Psk => octets.push(PSK),
        AuthSpec::Null => octets.push(NULL),
        AuthSpec::Signature(spec) => {
            octets.push(SIGNATURE);
            let schemes: Vec<String> = spec.schemes.iter().map(ToString::to_string).collect();
            put_all(octets, schemes.iter().map(String::as_bytes));
            put_all(octets, spec.certificates.iter().map(|certificate| certificate.der()));
            put_all(octets, spec.public_keys.iter().map(|key| key.der()));
            put_all(octets, spec.authorities.iter().map(|authority| authority.der()));
        }
    }
}

fn put_all<'a>(octets: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    put_len(octets, parts.len());
    parts.for_each(|part| put(octets, part));
}

/// With its length, so that no two lists look alike.
fn put(octets: &mut Vec<u8>, part: &[u8]) {
    put_len(octets, part.len());
    octets.extend_from_slice(part);
}

fn put_len(octets: &mut Vec<u8>, len: usize) {
    octets.extend_from_slice(&u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use adit_crypto::SignatureScheme;
    use adit_db::{RemoteRound, SignatureSpec};

    use super::*;

    #[test]
    fn every_demand_on_the_peer_counts() {
        let base = PadEntry { remote_id: "a.example".parse().unwrap(), ..PadEntry::default() };
        let with = |auth: AuthSpec| PadEntry { remote_auth: auth, ..base.clone() };
        let signature = |schemes: &[SignatureScheme]| {
            let schemes = schemes.to_vec();
            AuthSpec::Signature(Arc::new(SignatureSpec { schemes, ..SignatureSpec::default() }))
        };
        let round = RemoteRound { id: "b.example".parse().unwrap(), auth: AuthSpec::Psk };
        let entries = [
            base.clone(),
            PadEntry { remote_id: "*.a.example".parse().unwrap(), ..base.clone() },
            with(AuthSpec::Null),
            with(signature(&[])),
            with(signature(&[SignatureScheme::Ed25519])),
            PadEntry { more_remote: vec![round.clone()], ..base.clone() },
            PadEntry { more_remote: vec![round.clone(), round], ..base.clone() },
        ];
        let digests: BTreeSet<PadDigest> = entries.iter().map(pad_digest).collect();
        assert_eq!(digests.len(), entries.len());
        // How we prove who we are is not what the peer has proven.
        let ours = PadEntry { local_auth: signature(&[]), ..base.clone() };
        assert_eq!(pad_digest(&ours), pad_digest(&base));
    }
}
