//! What both ends prove, and what they prove it with (RFC 2409 §5).

use adit_crypto::Secret;
use adit_db::Identity;
use adit_wire::Reader;
use adit_wire::isakmp::Id;

use crate::failure::{By, FailureReason};
use crate::keymat::Nonces;
use crate::v1::core::{Core, NO_KEYS};
use crate::v1::identification;
use crate::v1::keymat::skeyid_encryption;
use crate::v1::keys::{Keys, Material, Phase1Hash};

use super::messages::Shown;
use super::phase1::NO_SUITE;
use super::suite::Suite;

/// The keys that come of both nonces.
pub(super) fn set_keys(
    suite: &Suite,
    nonces: Nonces<'_>,
    material: &Material,
    core: &mut Core,
) -> Result<(), FailureReason> {
    let hash = suite.hash().ok_or(NO_SUITE)?;
    let skeyid = skeyid_encryption(hash, suite.prf, nonces, core.cookies());
    let keys = Keys::of(suite.prf, suite.encryption, skeyid, material, core.cookies());
    core.keys = Some(keys.ok_or(FailureReason::Internal("key length"))?);
    Ok(())
}

/// HASH_I or HASH_R of our own.
pub(super) fn own_proof(material: &Material, core: &Core) -> Result<Secret, FailureReason> {
    let id_body = identification::phase1_body(&core.own_id());
    let keys = core.keys.as_ref().ok_or(NO_KEYS)?;
    Ok(keys.phase1_hash(Phase1Hash { of: core.role, core, material, id_body: &id_body }))
}

/// Whom the peer proves to be.
pub(super) fn proven_identity(
    proof: &[u8],
    material: &Material,
    peer: &Shown,
    core: &Core,
) -> Option<Identity> {
    let of = core.role.other();
    let keys = core.keys.as_ref()?;
    let right = keys.phase1_hash(Phase1Hash { of, core, material, id_body: &peer.id_body });
    // Compared in constant time.
    if right != Secret::from_slice(proof) || !peer.is_sound {
        return None;
    }
    identification::identity(&Id::read(&mut Reader(&peer.id_body)).ok()?)
}

pub(super) fn check_identity(id: &Identity, core: &Core) -> Result<(), FailureReason> {
    let expected = core.connection.pad.remote_id.clone();
    match core.connection.pad.accepts(id) {
        true => Ok(()),
        false => Err(FailureReason::WrongIdentity { expected, received: id.clone() }),
    }
}

pub(super) fn wrong_key(core: &Core) -> FailureReason {
    let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
    FailureReason::WrongEncryptionKey { by: By::Peer, local, remote }
}
