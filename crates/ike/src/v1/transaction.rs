//! The Transaction exchange (draft-ietf-ipsec-isakmp-mode-cfg-05 §3): a question and its answer, either
//! side asking.
//!
//! ```text
//! HDR*, HASH, ATTR(REQUEST)   ->   <-   HDR*, HASH, ATTR(REPLY)
//! HDR*, HASH, ATTR(SET)       ->   <-   HDR*, HASH, ATTR(ACK)
//! ```
//!
//! Who asks sends again until there is an answer; who answers repeats it. The hash is that of an
//! Informational exchange, and says nothing of which message it is in: that the message id does.

use std::time::Instant;

use adit_crypto::Secret;
use adit_wire::iana::ExchangeType as AnyExchangeType;
use adit_wire::iana::isakmp::{ConfigurationType, ExchangeType, PayloadType};
use adit_wire::isakmp::{Attributes, ChainBuilder, Configuration, Header};

use crate::context::Context;
use crate::failure::FailureReason;

use super::core::Core;
use super::informational;
use super::keys::Iv;
use super::received::Received;
use super::retransmission::{Answered, Due, Sent};

/// The exchanges of one phase 1: one of ours at a time, and the peer's last.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    asked: Option<Asked>,
    answered: Option<Heard>,
}

/// A question of ours that is out.
#[derive(Debug)]
struct Asked {
    message_id: u32,
    kind: ConfigurationType,
    iv: Iv,
    sent: Sent,
}

/// A question of the peer's.
#[derive(Debug)]
struct Heard {
    message_id: u32,
    identifier: u16,
    kind: ConfigurationType,
    /// What the next message under this id is encrypted with.
    iv: Iv,
    answered: Answered,
}

/// What an authentic message says.
#[derive(Debug)]
pub(crate) enum News {
    /// The peer asks for these: [`Transactions::answer`].
    Request(Attributes<'static>),
    /// It says these: [`Transactions::answer`].
    Set(Attributes<'static>),
    /// It answers what we asked.
    Reply(Attributes<'static>),
    /// It has taken what we said.
    Ack,
}

impl Transactions {
    /// Asks or says something; what was asked before is not waited for any more.
    pub(crate) fn ask(
        &mut self,
        kind: ConfigurationType,
        attributes: Attributes<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let message_id = informational::message_id(cx);
        let [.., a, b] = message_id.to_be_bytes();
        let identifier = u16::from_be_bytes([a, b]);
        let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
        let mut iv = keys.exchange_iv(message_id);
        let body = Configuration { kind, identifier, attributes };
        let octets = sealed(&body, message_id, core, &mut iv)?;
        core.transmit(&octets, cx);
        let sent = Sent::new(octets, cx.config.established, cx.now, cx.rng);
        self.asked = Some(Asked { message_id, kind, iv, sent });
        Ok(())
    }

    /// Nothing of ours is waited for any more.
    pub(crate) fn forget_question(&mut self) {
        self.asked = None;
    }

    /// Takes a message. One that is not authentic, or belongs to nothing, changes nothing; a question that
    /// comes again gets its answer again.
    pub(crate) fn handle_message(
        &mut self,
        header: &Header,
        octets: &[u8],
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Option<News> {
        let id = header.message_id;
        if let Some(heard) = self.answered.as_mut().filter(|heard| heard.message_id == id)
            && heard.answered.is_repeated_by(octets)
        {
            if let Some(answer) = heard.answered.repeat() {
                core.transmit(answer, cx);
            }
            return None;
        }
        if let Some(asked) = self.asked.as_ref().filter(|asked| asked.message_id == id) {
            let (body, _) = opened(header, octets, &asked.iv, core)?;
            let news = match (asked.kind, body.kind) {
                (ConfigurationType::REQUEST, ConfigurationType::REPLY) => {
                    News::Reply(body.attributes)
                }
                (ConfigurationType::SET, ConfigurationType::ACK) => News::Ack,
                _ => return None,
            };
            self.asked = None;
            return Some(news);
        }
        // Some ask and say one thing after another under one id.
        let goes_on = self.answered.as_ref().filter(|heard| heard.message_id == id);
        let iv = match goes_on {
            Some(heard) => heard.iv.clone(),
            None => core.keys.as_ref()?.exchange_iv(id),
        };
        let (body, iv) = opened(header, octets, &iv, core)?;
        let (identifier, kind) = (body.identifier, body.kind);
        let news = match kind {
            ConfigurationType::REQUEST => News::Request(body.attributes),
            ConfigurationType::SET => News::Set(body.attributes),
            _ => return None,
        };
        let answered = Answered::new(octets, Vec::new());
        self.answered = Some(Heard { message_id: id, identifier, kind, iv, answered });
        Some(news)
    }

    /// Answers the peer's last question, once.
    pub(crate) fn answer(
        &mut self,
        attributes: Attributes<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let Some(heard) = self.answered.take() else { return Ok(()) };
        let kind = match heard.kind {
            ConfigurationType::SET => ConfigurationType::ACK,
            _ => ConfigurationType::REPLY,
        };
        let body = Configuration { kind, identifier: heard.identifier, attributes };
        let mut iv = heard.iv.clone();
        let octets = sealed(&body, heard.message_id, core, &mut iv)?;
        core.transmit(&octets, cx);
        self.answered = Some(Heard { iv, answered: heard.answered.with(octets), ..heard });
        Ok(())
    }

    /// The id of the peer's last question.
    pub(crate) fn last_id(&self) -> Option<u32> {
        self.answered.as_ref().map(|heard| heard.message_id)
    }

    /// Sends a question again if its time has come. How often it was sent, and for how long, if that is
    /// enough.
    pub(crate) fn handle_timeout(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Option<FailureReason> {
        let asked = self.asked.as_mut()?;
        match asked.sent.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => None,
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                None
            }
            Due::GaveUp { transmissions, waited } => {
                self.asked = None;
                Some(FailureReason::PeerSilent {
                    exchange: AnyExchangeType::TRANSACTION,
                    remote: core.path.remote,
                    transmissions,
                    waited,
                    unreachable: core.unreachable,
                })
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.sent.poll_timeout())
    }
}

/// A message: the hash in front of what it covers.
fn sealed(
    body: &Configuration<'_>,
    message_id: u32,
    core: &Core,
    iv: &mut Iv,
) -> Result<Vec<u8>, FailureReason> {
    let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
    let mut covered = ChainBuilder::new();
    covered.push(PayloadType::ATTRIBUTES, |w| body.write(w));
    let hash = keys.hash_1(message_id, covered.octets());
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
    chain.append(covered).map_err(|_| super::core::TOO_LONG)?;
    core.sealed(ExchangeType::TRANSACTION, message_id, chain, iv)
}

/// What an authentic message says, and the IV that follows it.
fn opened(
    header: &Header,
    octets: &[u8],
    iv: &Iv,
    core: &Core,
) -> Option<(Configuration<'static>, Iv)> {
    let (plain, next) = core.opened(octets, iv)?;
    let received = Received::decrypted(header.next_payload, &plain).ok()?;
    let (keys, hash) = (core.keys.as_ref()?, received.hash?);
    if keys.hash_1(header.message_id, received.covered) != Secret::from_slice(hash) {
        return None;
    }
    let Configuration { kind, identifier, attributes } = received.configuration?;
    Some((Configuration { kind, identifier, attributes: attributes.into_owned() }, next))
}
