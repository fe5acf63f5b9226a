//! A phase 1 under way, whichever machine has it.

use std::time::Instant;

use adit_db::ChildName;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::Header;

use crate::command::{AuthResult, JobId, Path};
use crate::context::Context;
use crate::failure::FailureReason;

use super::core::Core;
use super::encryption::EncryptedPhase1;
use super::phase1::rules::Exchange;
use super::phase1::{Phase1, StepResult};

/// One of both machines.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Whose nonces are in clear.
    Plain(Phase1),
    /// Whose nonces are encrypted.
    Encrypted(EncryptedPhase1),
}

/// What is wanted with a phase 1.
pub(crate) type Wanted = Option<(ChildName, Option<FlowKey>)>;

impl Attempt {
    /// Initiator: sends the first message.
    pub(crate) fn start(
        wanted: Wanted,
        initial_contact: bool,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let exchange = Exchange::first_of(&core.connection);
        match core.connection.nonce_encryption {
            None => Phase1::start(exchange, wanted, initial_contact, core, cx).map(Self::Plain),
            // Base mode has no messages for these methods; who asks for both is told when it is read.
            Some(kind) => EncryptedPhase1::start(kind, exchange, wanted, initial_contact, core, cx)
                .map(Self::Encrypted),
        }
    }

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self {
            Self::Plain(phase1) => phase1.is_unanswered(),
            Self::Encrypted(phase1) => phase1.is_unanswered(),
        }
    }

    /// Initiator: another phase 1 with the peer has come up meanwhile, so this is not the first contact.
    pub(crate) fn is_not_first(&mut self) {
        match self {
            Self::Plain(phase1) => phase1.initial_contact = false,
            Self::Encrypted(phase1) => phase1.initial_contact = false,
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        match self {
            Self::Plain(phase1) => phase1.poll_timeout(),
            Self::Encrypted(phase1) => phase1.poll_timeout(),
        }
    }

    /// What is wanted with it, and whether it is the first exchange with the peer.
    pub(crate) fn take_wanted(&mut self) -> (Wanted, bool) {
        match self {
            Self::Plain(phase1) => (phase1.wanted.take(), phase1.initial_contact),
            Self::Encrypted(phase1) => (phase1.wanted.take(), phase1.initial_contact),
        }
    }

    /// Takes a message of phase 1.
    pub(crate) fn handle_message(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        match self {
            Self::Plain(phase1) => phase1.handle_message(path, header, octets, core, cx),
            Self::Encrypted(phase1) => phase1.handle_message(path, header, octets, core, cx),
        }
    }

    /// The peer goes on as if phase 1 were complete.
    pub(crate) fn handle_early(
        &mut self,
        path: Path,
        header: &Header,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        match self {
            Self::Plain(phase1) => phase1.handle_early(path, core, cx),
            Self::Encrypted(phase1) => phase1.handle_early(path, header, core, cx),
        }
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        match self {
            Self::Plain(phase1) => phase1.handle_auth(job, result, core, cx),
            Self::Encrypted(phase1) => phase1.handle_auth(job, result, core, cx),
        }
    }

    /// An error that nobody has authenticated.
    pub(crate) fn handle_clear_error(
        &mut self,
        notify: NotifyType,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        match self {
            Self::Plain(phase1) => phase1.handle_clear_error(notify, core, cx),
            Self::Encrypted(phase1) => phase1.handle_clear_error(notify, core, cx),
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        match self {
            Self::Plain(phase1) => phase1.handle_timeout(core, cx),
            Self::Encrypted(phase1) => phase1.handle_timeout(core, cx),
        }
    }
}
