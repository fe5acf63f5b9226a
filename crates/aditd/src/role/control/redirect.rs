//! The VICI command `redirect` (RFC 5685 §5).

use adit_db::IkeSaId;
use adit_ike::{Command, IkeSaInfo};
use adit_mgmt::vici::Redirect;
use adit_mgmt::vici::answer::Outcome;

use super::requests::{BUSY, send};
use super::{ClientId, Running};
use crate::message::ToIke;

impl Running {
    /// Sends the peers of all IKE SAs that fit to another gateway, as far as they follow.
    pub(super) fn redirect(&mut self, id: ClientId, redirect: &Redirect, sas: &[IkeSaInfo]) {
        let chosen = sas.iter().filter(|info| fits(redirect, info));
        let commands: Vec<Command> = chosen
            .map(|info| Command::RedirectIke { id: info.id, to: redirect.gateway.clone() })
            .collect();
        let matches = commands.len();
        let sent =
            commands.into_iter().all(|command| send(&self.role.links.ike, ToIke::Command(command)));
        let outcome = match (matches, sent) {
            (0, _) => Outcome::refused("no matching SAs to redirect found"),
            (_, false) => Outcome::refused(BUSY),
            (_, true) => Outcome::ok(),
        };
        self.answer(id, outcome.matches(matches).message());
    }
}

fn fits(redirect: &Redirect, info: &IkeSaInfo) -> bool {
    let name = info.connection.as_ref().map(|name| name.as_str());
    info.established.is_some()
        && info.follows_redirects
        && redirect.connection.as_deref().is_none_or(|wanted| name == Some(wanted))
        && redirect.ike_id.is_none_or(|wanted| info.id == IkeSaId(wanted))
        && redirect.peer_ip.is_none_or(|wanted| wanted.contains(info.remote.ip()))
        && redirect.peer_id.as_ref().is_none_or(|wanted| {
            info.remote_id.as_ref().is_some_and(|identity| wanted.matches(identity))
        })
}
