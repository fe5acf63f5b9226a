//! Which packet threads have the halves of an SA.
//!
//! An SA for a resource (RFC 9611) is for the thread of its number. It has no policy of its own: the
//! engine finds it beside the one for all.
//!
//! Inbound the SPI says it, so that the kernel knows whose a packet is. What is not told apart by its
//! SPI belongs to the first: AH, which comes in by sockets of its own, and what comes out of other SAs.
//! Outbound each thread has its part. Where the peer's replay window is narrow, one thread alone sends:
//! what several send at the same time arrives in another order than that of its numbers.

use std::time::Instant;

use adit_crypto::{KeyLengthError, Protection};
use adit_dataplane::{InboundCommand, InboundSa, OutboundCommand, OutboundSa};
use adit_db::{ChildSa, PolicyId};
use adit_sys::BATCH_MAX;
use adit_sys::clock;

use super::Running;
use crate::message::{ToInbound, ToOutbound};

/// Batches of each thread that a peer's replay window must have room for, if all threads send.
const BATCHES_UNDER_WAY: usize = 8;

impl Running {
    /// Installs both halves of a child SA where they belong.
    pub(super) fn install_halves(
        &mut self,
        sa: &mut ChildSa,
        policy: PolicyId,
        active: bool,
    ) -> Result<(), KeyLengthError> {
        let now = clock::now();
        let bundled = self.install_outer(sa, policy)?;
        let over = bundled.or_else(|| self.policies.over(&sa.connection));
        let resource = self.policies.resource(policy);
        let policy = if resource.is_some() { self.policies.owner(policy) } else { policy };
        let echo = if over.is_none() { self.echo_probe(sa) } else { None };
        let mut inbound = InboundSa::new(sa, policy, now)?;
        inbound = inbound.into_table(self.policies.table_of(policy));
        let mut parts = match resource {
            Some(resource) if over.is_none() => self.parts_for(resource, sa, policy, now)?,
            _ => self.outbound_parts(sa, policy, over.is_some(), now)?,
        };
        let link = if over.is_none() { self.link_mtu(sa.encap.remote.ip()) } else { None };
        if let Some(mtu) = link {
            parts = parts.into_iter().map(|part| part.with_link_mtu(mtu)).collect();
        }
        if let Some(echo) = echo {
            inbound = inbound.with_echo(echo);
            let numbered = parts.into_iter().zip(0..);
            parts = numbered.map(|(part, thread)| part.with_echo(echo, thread)).collect();
        }
        if let Some(over) = over {
            inbound = inbound.over(over, sa.encap.local);
            parts = parts.into_iter().map(|part| part.over(over)).collect();
        }
        self.install_inbound(inbound, self.inbound_owner(sa, over.is_some()));
        self.install_outbound(parts, active);
        self.note_link(policy, link);
        self.room.note();
        Ok(())
    }

    /// The inbound thread that has an SA.
    pub(super) fn inbound_owner(&self, sa: &ChildSa, is_nested: bool) -> usize {
        if is_nested || matches!(sa.protection, Protection::Ah(_)) {
            return 0;
        }
        usize::try_from(self.role.config.inbound_threads.owner(sa.spi_in)).unwrap_or(0)
    }

    /// The outbound half, for each thread its part.
    pub(super) fn outbound_parts(
        &self,
        sa: &ChildSa,
        policy: PolicyId,
        is_nested: bool,
        now: Instant,
    ) -> Result<Vec<OutboundSa>, KeyLengthError> {
        let threads = self.role.links.outbound.count();
        let window = usize::try_from(self.policies.peer_window(policy)).unwrap_or(0);
        let needed = threads.saturating_mul(BATCH_MAX).saturating_mul(BATCHES_UNDER_WAY);
        let threads = u16::try_from(threads).unwrap_or(1);
        let home = if is_nested || self.policies.is_on_first_thread(&sa.connection) {
            Some(0)
        } else if window >= needed && sa.aggfrag.is_none() {
            // Packets that share ESP packets are put together in the order of these.
            None
        } else {
            u16::try_from(policy.0.checked_rem(threads.into()).unwrap_or(0)).ok()
        };
        OutboundSa::for_threads(sa, policy, now, threads, home)
    }

    /// The outbound half of an SA that is for one thread.
    fn parts_for(
        &self,
        resource: u16,
        sa: &ChildSa,
        policy: PolicyId,
        now: Instant,
    ) -> Result<Vec<OutboundSa>, KeyLengthError> {
        let threads = u16::try_from(self.role.links.outbound.count()).unwrap_or(1);
        let home = resource.checked_rem(threads);
        let parts = OutboundSa::for_threads(sa, policy, now, threads, home)?;
        Ok(parts.into_iter().map(OutboundSa::for_home).collect())
    }

    pub(super) fn install_inbound(&self, sa: InboundSa, owner: usize) {
        let command = ToInbound::Engine(InboundCommand::Install(Box::new(sa)));
        self.role.links.inbound.push_to(owner, command);
    }

    pub(super) fn install_outbound(
        &self,
        parts: impl IntoIterator<Item = OutboundSa>,
        active: bool,
    ) {
        for (number, part) in parts.into_iter().enumerate() {
            let command = OutboundCommand::Install { sa: Box::new(part), active };
            self.role.links.outbound.push_to(number, ToOutbound::Engine(command));
        }
    }
}
