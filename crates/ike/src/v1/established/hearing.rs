//! What the peer says in Informational exchanges once phase 1 is complete (RFC 2409 §5.7).

use super::super::child::Child;
use super::super::core::Core;
use super::super::encryption;
use super::super::informational;
use super::super::lifetimes;
use super::super::lifetimes::News;
use super::super::notification_data;
use super::super::quick_mode::QuickMode;
use super::super::received::Received;
use super::{Established, Input, into_input, is_authentic, opened};
use crate::command::Path;
use crate::context::Context;
use crate::lifetime::Limits;
use crate::output::Output;
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId as ChildProtocol;
use adit_wire::iana::doi::ProtocolId;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::isakmp::{Flags, Header, Notify};

impl Established {
    /// Takes an Informational exchange.
    pub(crate) fn handle_informational(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        children: &[Child],
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let id = header.message_id;
        let is_clear = !header.flags.is_encrypted();
        if is_clear && !header.flags.contains(Flags::AUTHENTICATION_ONLY) {
            // Anybody says so: a reason to ask the peer.
            self.ask_soon(core, cx.now);
            return Vec::new();
        }
        if self.used_ids.contains(&id) || core.is_own(id) {
            return Vec::new();
        }
        let plain = match is_clear {
            true => octets.get(Header::LEN..).map(<[u8]>::to_vec),
            false => opened(id, octets, core).map(|(plain, _)| plain),
        };
        let Some(plain) = plain else { return Vec::new() };
        let received = match is_clear {
            true => Received::clear(header.next_payload, &plain),
            false => Received::decrypted(header.next_payload, &plain),
        };
        let Ok(received) = received else { return Vec::new() };
        if !is_authentic(id, &received, core) {
            return Vec::new();
        }
        let is_new = self.is_new_question(&received) || !self.has_forgotten;
        if path != core.path && !is_new {
            return Vec::new();
        }
        self.use_up(id);
        core.hear(path, cx.now);
        self.is_unconfirmed = false;
        if !is_clear {
            core.count(octets);
        }
        core.unreachable = false;
        // Who asks can answer, too: the vendor ID that says so goes in clear, and anybody may have spoilt it.
        core.peer_has_dpd |= received.notifies.iter().any(|it| it.kind == NotifyType::R_U_THERE);
        let mut inputs = Vec::new();
        for notify in &received.notifies {
            core.peer_says =
                core.peer_says.take().or_else(|| notification_data::read(notify, core));
            inputs.extend(self.handle_notify(notify, core, cx));
            inputs.extend(self.handle_connected(id, notify, children));
            inputs.extend(self.handle_lifetime(notify, core));
            inputs.extend(news_of_child(notify, core, children));
            if let Some((child, notice)) = self.notices.take(notify, children, core) {
                cx.out.push(Output::Notice { child, notice });
            }
        }
        for delete in &received.deletes {
            if delete.deletes_isakmp_sa(core.cookie_i, core.cookie_r) {
                inputs.push(Input::Gone);
            } else if matches!(delete.protocol, ProtocolId::AH | ProtocolId::ESP) {
                let spis = delete.spis.iter().filter_map(Spi::from_field);
                let of = ChildProtocol(delete.protocol.0);
                inputs.extend(spis.map(|spi| Input::Deleted(of, spi)));
            }
        }
        // What goes goes before what it went with.
        inputs.sort_by_key(|input| matches!(input, Input::Gone));
        inputs
    }

    /// Whether the peer asks for a sign of life under a greater number than ever: no replay does
    /// (RFC 3706 §7).
    fn is_new_question(&mut self, received: &Received<'_>) -> bool {
        let asked = received.notifies.iter().filter(|one| one.kind == NotifyType::R_U_THERE);
        let numbers = asked.filter_map(|one| <[u8; 4]>::try_from(one.data).ok());
        let Some(number) = numbers.map(u32::from_be_bytes).max() else { return false };
        let is_new = self.asked_number.is_none_or(|before| number > before);
        if is_new {
            self.asked_number = Some(number);
        }
        is_new
    }

    fn handle_notify(
        &mut self,
        notify: &Notify<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Option<Input> {
        let number = <[u8; 4]>::try_from(notify.data).map(u32::from_be_bytes);
        match (notify.kind, number) {
            (NotifyType::R_U_THERE, Ok(number))
                if notify.is_about(core.cookie_i, core.cookie_r) =>
            {
                informational::send_dpd(NotifyType::R_U_THERE_ACK, number, core, cx);
                None
            }
            (NotifyType::R_U_THERE_ACK, Ok(number)) => {
                if self.dpd.handle_ack(number) {
                    core.leash.take_off(cx.now);
                }
                None
            }
            (NotifyType::INITIAL_CONTACT, _) => Some(Input::Forgotten),
            (kind, _) if kind.is_error() => {
                let about = self.quick_modes.iter().position(|quick| quick.is_about(notify.spi));
                let asked = || self.quick_modes.iter().position(|quick| quick.asks_for().is_some());
                let place = about.or_else(asked)?;
                let outcome = self.quick_modes.get_mut(place)?.handle_refusal(kind);
                into_input(outcome)
            }
            _ => None,
        }
    }

    /// The peer is ready for packets of a child: that of the quick mode with this message id
    /// (RFC 2408 §3.1), else the one that is named by either SPI.
    fn handle_connected(&self, id: u32, notify: &Notify<'_>, children: &[Child]) -> Option<Input> {
        if notify.kind != NotifyType::CONNECTED {
            return None;
        }
        let of_exchange = self.quick_modes.iter().find(|quick| quick.message_id == id);
        let named = || {
            let spi = Spi::from_field(notify.spi)?;
            children.iter().find(|child| child.has_spi(spi))
        };
        let child = of_exchange.and_then(QuickMode::child).or_else(|| Some(named()?.id));
        child.map(Input::Confirmed)
    }

    /// An initiator hears how long the responder keeps what both have.
    fn handle_lifetime(&mut self, notify: &Notify<'_>, core: &Core) -> Option<Input> {
        if notify.kind != NotifyType::RESPONDER_LIFETIME || !core.role.is_initiator() {
            return None;
        }
        let current = self.over_at.map(|at| at.saturating_duration_since(self.since));
        let kilobytes = self.volume.kilobytes();
        let current = Limits { seconds: lifetimes::seconds(current), kilobytes };
        let news = lifetimes::heard_of_phase1(notify, &current, core);
        self.heed(news, core);
        news.delete.then_some(Input::Unacceptable)
    }

    fn heed(&mut self, news: News, core: &Core) {
        self.volume.heed(news, lifetimes::rank(core));
        if let Some(end) = news.end
            && !self.superseded
        {
            self.over_at = self.since.checked_add(end);
        }
        let latest = news.latest_renewal(lifetimes::rank(core));
        if let Some(at) = latest.and_then(|latest| self.since.checked_add(latest))
            && !self.superseded
            && encryption::may_call(&core.connection)
        {
            self.rekey_at = Some(self.rekey_at.map_or(at, |before| before.min(at)));
        }
    }
}

/// An initiator hears how long the responder keeps a child that both have.
fn news_of_child(notify: &Notify<'_>, core: &Core, children: &[Child]) -> Option<Input> {
    if notify.kind != NotifyType::RESPONDER_LIFETIME {
        return None;
    }
    children.iter().filter(|child| child.by_us).find_map(|child| {
        child.sas_out().find_map(|sa| {
            let news = lifetimes::heard_of_child(notify, sa, &child.limits(), core);
            (news != News::default()).then_some(Input::Lifetime(child.id, news))
        })
    })
}
