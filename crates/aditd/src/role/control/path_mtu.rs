//! The command `adit-forget-path`: what is known of the path of a tunnel is found out anew.

use adit_dataplane::OutboundCommand;
use adit_db::Engine;
use adit_ike::IkeSaInfo;
use adit_mgmt::vici::answer::Outcome;

use super::{ClientId, Running};
use crate::message::ToOutbound;

impl Running {
    /// Has the packet threads forget what they know of the paths of a tunnel's child SAs.
    pub(super) fn forget_path(&mut self, id: ClientId, tunnel: &str, sas: &[IkeSaInfo]) {
        let is_meant =
            |sa: &&IkeSaInfo| sa.connection.as_ref().is_some_and(|name| name.as_str() == tunnel);
        let children: Vec<_> = sas.iter().filter(is_meant).flat_map(|sa| &sa.children).collect();
        let ours = children.iter().filter(|child| Engine::of(child.spi_in) != Engine::Kernel);
        let mut matches = 0_usize;
        for child in ours.map(|child| child.id) {
            matches = matches.saturating_add(1);
            let command = || ToOutbound::Engine(OutboundCommand::ForgetPath { child });
            self.role.links.outbound.push_each(command);
        }
        self.role.links.outbound.ring();
        let outcome = match (matches, children.len()) {
            (0, 0) => Outcome::refused("the tunnel has no SAs, so nothing is known of its path"),
            (0, _) => Outcome::refused(
                "the kernel has its packets and paths: `ip route flush cache` forgets what those take",
            ),
            _ => Outcome::ok(),
        };
        self.answer(id, outcome.matches(matches).message());
    }
}
