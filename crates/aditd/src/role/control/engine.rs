//! `adit status --engine`: the packet threads say how they move packets, and the ike role how its
//! shards share IKE SAs.

use std::collections::BTreeMap;

use adit_mgmt::api::{
    self, EngineHalf, EngineIke, EngineReport, ICMP_SETTINGS_MAX, SCHEMA, icmp_settings,
};
use adit_mgmt::vici::answer::Outcome;

use super::gathered::Gathered;
use super::requests::{BUSY, send};
use super::{ClientId, Running};
use crate::message::{QueryId, ToIke, ToInbound, ToOutbound};

/// Questions that are under way.
pub(super) type EngineQueries = BTreeMap<QueryId, EngineQuery>;

/// One, with what has been answered so far.
pub(super) struct EngineQuery {
    pub(super) client: ClientId,
    outbound: Gathered<Box<EngineHalf>>,
    inbound: Gathered<Box<EngineHalf>>,
    ike: Option<Box<EngineIke>>,
}

impl Running {
    /// Asks all threads.
    pub(super) fn ask_engine(&mut self, client: ClientId) {
        let query = QueryId(self.number());
        let links = &self.role.links;
        let asked = links.outbound.try_send_each(|| ToOutbound::Show(query))
            && links.inbound.try_send_each(|| ToInbound::Show(query))
            && send(&links.ike, ToIke::Show(query));
        if !asked {
            return self.answer(client, Outcome::refused(BUSY).message());
        }
        let outbound = Gathered::new(links.outbound.count());
        let inbound = Gathered::new(links.inbound.count());
        let query_parts = EngineQuery { client, outbound, inbound, ike: None };
        self.engine_queries.insert(query, query_parts);
    }

    /// An outbound thread has answered.
    pub(super) fn engine_outbound(&mut self, id: QueryId, half: Box<EngineHalf>) {
        if let Some(query) = self.engine_queries.get_mut(&id) {
            query.outbound.take_in(half, |sum, part| sum.add(&part));
            self.conclude_engine(id);
        }
    }

    /// An inbound thread has answered.
    pub(super) fn engine_inbound(&mut self, id: QueryId, half: Box<EngineHalf>) {
        if let Some(query) = self.engine_queries.get_mut(&id) {
            query.inbound.take_in(half, |sum, part| sum.add(&part));
            self.conclude_engine(id);
        }
    }

    /// The ike role has answered.
    pub(super) fn engine_ike(&mut self, id: QueryId, ike: Box<EngineIke>) {
        if let Some(query) = self.engine_queries.get_mut(&id) {
            query.ike = Some(ike);
            self.conclude_engine(id);
        }
    }

    fn conclude_engine(&mut self, id: QueryId) {
        let is_complete = |query: &EngineQuery| {
            query.outbound.is_complete() && query.inbound.is_complete() && query.ike.is_some()
        };
        if !self.engine_queries.get(&id).is_some_and(is_complete) {
            return;
        }
        let Some(query) = self.engine_queries.remove(&id) else { return };
        let client = query.client;
        let (Some(outbound), Some(inbound), Some(ike)) =
            (query.outbound.into_sum(), query.inbound.into_sum(), query.ike)
        else {
            return;
        };
        let (outbound, inbound, ike) = (*outbound, *inbound, *ike);
        let tunnels = self.store.tunnels.values();
        let icmp = tunnels.flat_map(|tunnel| icmp_settings(&tunnel.connection, &tunnel.context));
        let icmp = icmp.take(ICMP_SETTINGS_MAX).collect();
        let report = EngineReport { schema: SCHEMA, outbound, inbound, ike, icmp };
        self.answer(client, api::to_message(&report));
        self.take_commands(client);
    }
}
