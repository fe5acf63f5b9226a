//! Addresses inside that peers have given us: the parent gives them to the TUN before there are routes that
//! want them as their source.

use std::net::IpAddr;

use adit_ike::{Event, IkeSaInfo};

use super::Running;
use crate::message::ToParent;

impl Running {
    /// What an event means for them.
    pub(super) fn note_inside(&mut self, event: &Event) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else brings or takes any")]
        match event {
            Event::IkeUp(ike) => self.give_addresses(ike, given(ike)),
            Event::IkeRekeyed { old, new } => {
                self.give_addresses(new, given(new));
                self.give_addresses(old, Vec::new());
            }
            Event::IkeDown { info, .. } => self.give_addresses(info, Vec::new()),
            _ => {}
        }
    }

    fn give_addresses(&mut self, ike: &IkeSaInfo, addresses: Vec<IpAddr>) {
        if !given(ike).is_empty() {
            self.tell_parent(ToParent::Inside(ike.id, addresses));
        }
    }
}

fn given(ike: &IkeSaInfo) -> Vec<IpAddr> {
    let given = ike.access.as_ref().and_then(|access| access.given.as_ref());
    given.map(|given| given.addresses.clone()).unwrap_or_default()
}
