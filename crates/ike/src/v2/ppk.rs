//! Post-quantum pre-shared keys (RFC 8784): both sides stir a secret into SK_d, SK_pi and SK_pr, so
//! that whoever breaks the key exchange one day still lacks it.
//!
//! The secret itself is elsewhere, like all long-term secrets: a [`PpkJob`] goes out with the three
//! keys and comes back as [`crate::AuthResult::Mixed`].
//!
//! Declined of the RFC: EAP (§3, last part), which this crate does not speak. A PPK_ID_OPAQUE is a name
//! like a PPK_ID_FIXED, known to both sides as it stands.

use adit_crypto::{Prf, Secret};
use adit_db::{Connection, ConnectionName, PadEntry, PpkId};
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, MessageBuilder, Notify, Payload};

use crate::command::{AuthResult, JobId};
use crate::context::Context;
use crate::failure::{FailureReason, PpkGap};
use crate::keymat::SkKeys;
use crate::output::Output;
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// The three keys that a PPK enters.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct PpkKeys {
    /// SK_d.
    pub(crate) d: Secret,
    /// SK_pi.
    pub(crate) pi: Secret,
    /// SK_pr.
    pub(crate) pr: Secret,
}

/// A result may have to wait in two places: where it was made, and where it is wanted.
impl Clone for PpkKeys {
    fn clone(&self) -> Self {
        Self { d: self.d.duplicate(), pi: self.pi.duplicate(), pr: self.pr.duplicate() }
    }
}

/// Mix a PPK into the keys of an IKE SA (RFC 8784 §3); answer with
/// [`Endpoint::handle_auth`](crate::Endpoint::handle_auth): [`PpkJob::mix`], or
/// [`AuthResult::NoSecret`] if there is no PPK of that name for this connection.
#[derive(Debug)]
pub struct PpkJob {
    /// Comes back with the result.
    pub job: JobId,
    /// The connection the IKE SA belongs to.
    pub connection: ConnectionName,
    /// The name of the PPK.
    pub id: PpkId,
    prf: Prf,
    pub(crate) keys: PpkKeys,
}

impl PpkJob {
    /// `SK_d = prf+(PPK, SK_d')`, and likewise SK_pi and SK_pr (RFC 8784 §3).
    pub fn mix(&self, ppk: &Secret) -> AuthResult {
        let mix = |key: &Secret| {
            let mixed = self.prf.plus(ppk.as_bytes(), &[key.as_bytes()], key.len());
            mixed.expect("a key is as long as one output of the prf")
        };
        let PpkKeys { d, pi, pr } = &self.keys;
        AuthResult::Mixed(PpkKeys { d: mix(d), pi: mix(pi), pr: mix(pr) })
    }
}

/// What a handshake knows of PPKs.
#[derive(Debug, Default)]
pub(crate) struct Ppk {
    /// Both sides have said USE_PPK.
    pub(crate) agreed: bool,
    /// The keys that the IKE SA does not use: those with the PPK until it is used, afterwards those
    /// without.
    other: Option<Box<PpkKeys>>,
    used: bool,
}

// ---- IKE_SA_INIT ----

/// Initiator: says USE_PPK if the connection has a PPK.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//# If the initiator is configured to use a PPK with the responder (whether or not the use of the
//# PPK is mandatory), then it MUST include a notification USE_PPK in the IKE_SA_INIT request
//# message
pub(crate) fn put_offer(core: &Core, message: &mut MessageBuilder) {
    if is_configured(core) {
        put_agreement(message);
    }
}

/// Says USE_PPK.
pub(crate) fn put_agreement(message: &mut MessageBuilder) {
    message.put(&Payload::Notify(Notify::new(NotifyType::USE_PPK, &[])));
}

/// Initiator: whether the response agrees to what was offered.
pub(crate) fn is_accepted(core: &Core, received: &Received<'_>) -> bool {
    is_configured(core) && received.has_notify(NotifyType::USE_PPK)
}

/// Initiator: whether the response is good enough.
///
/// # Errors
///
/// [`FailureReason::NoPpk`] if the connection insists and the peer says nothing about PPKs.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//# If the responder did not include the USE_PPK notification and the flag mandatory_or_not indicates
//# that using PPKs is mandatory for communication with this responder, then the initiator MUST abort
//# the exchange.
pub(crate) fn check_response(core: &Core, received: &Received<'_>) -> Result<(), FailureReason> {
    match core.connection.as_ref().map(|connection| &connection.pad) {
        Some(pad) if pad.requires_ppk() && !received.has_notify(NotifyType::USE_PPK) => {
            Err(gap(pad, PpkGap::Unsupported))
        }
        _ => Ok(()),
    }
}

/// Responder: whether to answer USE_PPK with the same, where connections `fits` are those that IKE_AUTH
/// may choose from.
pub(crate) fn accepts(
    core: &Core,
    received: &Received<'_>,
    fits: &impl Fn(&Connection) -> bool,
    cx: &Context<'_>,
) -> bool {
    received.has_notify(NotifyType::USE_PPK) && cx.connections.any_has_ppk(core.path, fits)
}

fn is_configured(core: &Core) -> bool {
    core.connection.as_ref().is_some_and(|connection| connection.pad.ppk.is_some())
}

// ---- IKE_AUTH ----

/// What a responder does about the PPK of an IKE_AUTH request (RFC 8784 §3, table 1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// The standard protocol, with the proof of the AUTH payload.
    Standard,
    /// The standard protocol, with the proof of NO_PPK_AUTH.
    Without,
    /// The PPK enters, if its secret is here.
    Use(PpkId),
}

/// Responder: what to do about the request of a peer of this entry.
///
/// # Errors
///
/// [`FailureReason::NoPpk`] if the negotiation must fail.
pub(crate) fn decide(
    agreed: bool,
    received: &Received<'_>,
    pad: &PadEntry,
) -> Result<Decision, FailureReason> {
    if !agreed {
        return match pad.requires_ppk() {
            true => Err(gap(pad, PpkGap::Unsupported)),
            false => Ok(Decision::Standard),
        };
    }
    //= https://www.rfc-editor.org/rfc/rfc8784#section-3
    //# If no PPK_IDENTITY notification is found and the peers successfully exchanged USE_PPK
    //# notifications in the IKE_SA_INIT exchange, then the responder MUST send back an
    //# AUTHENTICATION_FAILED notification and then fail the negotiation.
    let named = received
        .notify(NotifyType::PPK_IDENTITY)
        .ok_or(FailureReason::PeerMisbehaved("USE_PPK without PPK_IDENTITY"))?;
    let ours = pad.ppk.as_ref().map(|ppk| &ppk.id);
    match PpkId::from_wire(named.data) {
        Ok(id) if Some(&id) == ours => Ok(Decision::Use(id)),
        _ => without(received, pad),
    }
}

/// Responder: the PPK that the peer names is not known.
///
/// # Errors
///
/// [`FailureReason::NoPpk`] if one side insists.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//# If using PPKs is mandatory or no NO_PPK_AUTH notification is found, then the responder MUST send
//# back an AUTHENTICATION_FAILED notification and then fail the negotiation.
fn without(received: &Received<'_>, pad: &PadEntry) -> Result<Decision, FailureReason> {
    match received.has_notify(NotifyType::NO_PPK_AUTH) && !pad.requires_ppk() {
        true => Ok(Decision::Without),
        false => Err(gap(pad, PpkGap::Unknown)),
    }
}

/// Initiator: what the request says about the PPK.
pub(crate) fn put_identity(pad: &PadEntry, no_ppk_auth: Option<&[u8]>, chain: &mut ChainBuilder) {
    let Some(ppk) = &pad.ppk else { return };
    let name = ppk.id.to_wire();
    chain.put(&Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY, &name)));
    if let Some(auth) = no_ppk_auth {
        chain.put(&Payload::Notify(Notify::new(NotifyType::NO_PPK_AUTH, auth)));
    }
}

/// Responder: the PPK is used.
pub(crate) fn put_confirmation(chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY, &[])));
}

/// Why an IKE SA does not come about, for want of a PPK.
pub(crate) fn gap(pad: &PadEntry, gap: PpkGap) -> FailureReason {
    FailureReason::NoPpk { id: pad.ppk.as_ref().map(|ppk| ppk.id.clone()), gap }
}

impl Ppk {
    /// Of a handshake in which both sides have said USE_PPK, or not.
    pub(crate) fn begun(agreed: bool) -> Self {
        Self { agreed, ..Self::default() }
    }

    /// Of a session that is resumed: its keys come from those of the old one, with the PPK or without.
    pub(crate) fn resumed(used: bool) -> Self {
        Self { used, ..Self::default() }
    }

    /// Hands out the keys to be mixed.
    pub(crate) fn ask(
        id: PpkId,
        handshake: &Handshake,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<JobId, FailureReason> {
        let connection = core.connection_name().ok_or(FailureReason::NoSuch("connection"))?.clone();
        let job = cx.out.next_job();
        // Those without the PPK stay here: the peer may decline it.
        let SkKeys { d, pi, pr, .. } = &handshake.keys;
        let keys = PpkKeys { d: d.duplicate(), pi: pi.duplicate(), pr: pr.duplicate() };
        cx.out.begin_auth(job, core.id);
        let prf = handshake.suite.prf;
        cx.out.push(Output::Ppk(PpkJob { job, connection, id, prf, keys }));
        Ok(job)
    }

    /// Whether the IKE SA uses the keys with the PPK.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Takes the keys with the PPK; [`Self::swap`] puts them to use.
    pub(crate) fn take(&mut self, mixed: PpkKeys) {
        self.other = Some(Box::new(mixed));
    }

    /// Uses the keys with the PPK instead of those without, or the other way round.
    pub(crate) fn swap(&mut self, keys: &mut SkKeys) {
        if let Some(other) = &mut self.other {
            self.used = !self.used;
            std::mem::swap(&mut keys.d, &mut other.d);
            std::mem::swap(&mut keys.pi, &mut other.pi);
            std::mem::swap(&mut keys.pr, &mut other.pr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(octets: &[u8]) -> Secret {
        Secret::from_slice(octets)
    }

    /// RFC 8784 §3 spells prf+ out for functions with keys as long as their output:
    /// `SK_d = prf(PPK, SK_d' | 0x01)`.
    #[test]
    fn a_ppk_enters_three_keys() {
        let prf = Prf::HmacSha2_256;
        let ppk = secret(b"a secret for after the quantum computer");
        let job = PpkJob {
            job: JobId(1),
            connection: "berlin".parse().unwrap(),
            id: "berlin".parse().unwrap(),
            prf,
            keys: PpkKeys { d: secret(&[1; 32]), pi: secret(&[2; 32]), pr: secret(&[3; 32]) },
        };
        let expected = |octet| prf.compute(ppk.as_bytes(), &[&[octet; 32], &[1]]);
        let mixed = PpkKeys { d: expected(1), pi: expected(2), pr: expected(3) };
        assert_eq!(job.mix(&ppk), AuthResult::Mixed(mixed.clone()));
        assert_ne!(job.mix(&secret(b"another")), AuthResult::Mixed(mixed));
        assert!(!format!("{job:?}").contains('\u{1}'));
    }
}
