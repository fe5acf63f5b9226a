//! Children for resources (RFC 9611): which are asked for, and which a peer gets.

use adit_db::{ChildConfig, ChildName, Connection, Pfp};

use crate::v2::child::Wish;
use crate::v2::exchange::create_child::CreateChildSent;
use crate::v2::said::Said;

use super::Established;

/// What is known of children for resources (RFC 9611).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resources {
    /// Both sides may have them.
    agreed: bool,
    /// The peer has refused one: no more are asked for.
    refused: bool,
    /// How many were not wanted any more.
    lost: u8,
}

/// SAs of one resource that peers may ask for.
const SAS_PER_RESOURCE: usize = 2;

/// Children for resources that may go, by the peer's wish or for want of use, until no more are asked
/// for. Peers would otherwise ask and delete without end (RFC 9611 §6); one may be of a crossing.
const RESOURCES_LOST_MAX: u8 = 3;

impl Resources {
    /// One that is not wanted any more has gone.
    pub(super) fn note_loss(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }
}

impl Established {
    /// Notes what the peer says about children for resources, beside a child of this configuration.
    pub(crate) fn note_resources(&mut self, said: bool, config: &ChildConfig) {
        self.resources.agreed |= said && config.cpus > 0;
    }

    /// Asks for no children for resources any more.
    pub(crate) fn ask_for_no_resources(&mut self) {
        self.resources.refused = true;
    }

    /// Whether children for resources are to be asked for, which are beside this child.
    pub(crate) fn wants_resources(&self, fallback: &ChildName) -> bool {
        let Resources { agreed, refused, lost } = self.resources;
        let are_welcome = agreed && !refused && lost < RESOURCES_LOST_MAX;
        are_welcome && self.has_current(&Wish { name: fallback, pfp: Pfp::NONE, flow: None })
    }

    /// Whether a peer's request is for a child beside one that is there.
    pub(crate) fn is_additional(&self, config: &ChildConfig, said: Said) -> bool {
        said.per_resource
            && self.has_current(&Wish { name: &config.name, pfp: config.pfp, flow: None })
    }

    /// The child for a resource beside this one that the peer gets if it asks: the first with the
    /// fewest SAs. What both ask for at once makes two for one resource, which are good for something:
    /// at least twice as many as resources are to be allowed (RFC 9611 §6).
    //= https://www.rfc-editor.org/rfc/rfc9611#section-6
    //# An implementation that does not accept any further resource-specific
    //# Child SAs MUST NOT return the NO_ADDITIONAL_SAS error because it could
    //# be misinterpreted by the peer to mean that no other Child SA with a
    //# different TSi and/or TSr is allowed either.  Instead, it MUST return
    //# TS_MAX_QUEUE.
    pub(crate) fn missing_resource<'a>(
        &self,
        connection: &'a Connection,
        config: &'a ChildConfig,
    ) -> Option<&'a ChildConfig> {
        let on_its_way = self.own_child().filter(|sent| sent.is_for_resource());
        let on_its_way = on_its_way.map(CreateChildSent::name);
        let count = |one: &&ChildConfig| {
            let there = self.children.iter().filter(|child| child.is_current());
            let there = there.filter(|child| child.name == one.name).count();
            there.saturating_add(usize::from(on_its_way == Some(&one.name)))
        };
        let least = connection.resources_of(config).min_by_key(count)?;
        (count(&least) < SAS_PER_RESOURCE).then_some(least)
    }
}
