//! The command `adit-forget-path`: what is known of the path of a tunnel is found out anew.

use adit_dataplane::OutboundCommand;
use adit_ike::IkeSaInfo;
use adit_mgmt::vici::answer::Outcome;

use super::{ClientId, Running};
use crate::message::ToOutbound;

impl Running {
    /// Has the packet threads forget what they know of the paths of a tunnel's child SAs. Those that the
    /// kernel protects are none of theirs, and the kernel keeps its own paths.
    pub(super) fn forget_path(&mut self, id: ClientId, tunnel: &str, sas: &[IkeSaInfo]) {
        let name =
            |sa: &&IkeSaInfo| sa.connection.as_ref().map(|name| name.as_str()) == Some(tunnel);
        let children = sas.iter().filter(name).flat_map(|sa| &sa.children);
        let mut matches = 0_usize;
        for child in children {
            matches = matches.saturating_add(1);
            let command = || OutboundCommand::ForgetPath { child: child.id };
            self.role.links.outbound.push_each(|| ToOutbound::Engine(command()));
        }
        self.role.links.outbound.ring();
        let outcome = match matches {
            0 => Outcome::refused("the tunnel has no SAs, so nothing is known of its path"),
            _ => Outcome::ok(),
        };
        self.answer(id, outcome.matches(matches).message());
    }
}
