//! A first message that is meant for a connection with encrypted nonces.

use std::sync::Arc;

use adit_db::Connection;
use adit_wire::isakmp::Header;

use crate::command::Path;
use crate::context::Context;
use crate::keymat::Role;
use crate::v1::core::Core;
use crate::v1::phase1::rules::Exchange;

use super::messages::Received;
use super::phase1::EncryptedPhase1;
use super::suite::{Choice, choose, offers_nothing_else};

/// Why a first message is none for a connection with encrypted nonces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// It may be one of another kind.
    Other,
    /// It is meant so, and not allowed, or has no suite that is.
    Refused,
}

/// A first message, and which connection takes it with which suite.
pub(crate) struct Opening<'a> {
    header: &'a Header,
    exchange: Exchange,
    octets: &'a [u8],
    received: Received<'a>,
    connection: Arc<Connection>,
    choice: Choice,
}

impl<'a> Opening<'a> {
    /// Reads one. Who the peer is it does not say, but for its address: the identity is encrypted.
    ///
    /// # Errors
    ///
    /// None of the connections takes it.
    pub(crate) fn read(
        header: &'a Header,
        exchange: Exchange,
        octets: &'a [u8],
        connections: &[Arc<Connection>],
    ) -> Result<Self, Unfit> {
        let body = octets.get(Header::LEN..).unwrap_or_default();
        if exchange == Exchange::Base {
            return Err(Unfit::Other);
        }
        let received = Received::read(header.next_payload, body).ok_or(Unfit::Other)?;
        let sa = received.sa.as_ref().ok_or(Unfit::Other)?;
        let chosen = connections.iter().filter(|one| exchange.is_for(one)).find_map(|connection| {
            let choice = choose(connection, sa, &received.vendor_ids)?;
            Some((Arc::clone(connection), choice))
        });
        let Some((connection, choice)) = chosen else {
            return Err(if offers_nothing_else(sa) { Unfit::Refused } else { Unfit::Other });
        };
        Ok(Self { header, exchange, octets, received, connection, choice })
    }

    /// Takes it.
    pub(crate) fn answer(
        self,
        path: Path,
        cx: &mut Context<'_>,
    ) -> Option<(Core, EncryptedPhase1)> {
        let Self { header, exchange, octets, received, connection, choice } = self;
        let mut core = Core::new(Role::Responder, connection, path, cx);
        core.cookie_i = header.cookie_i;
        let phase1 = EncryptedPhase1::answer(exchange, octets, &received, choice, &mut core, cx)?;
        Some((core, phase1))
    }
}
