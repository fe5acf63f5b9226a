//! What the control loop changes in the outbound half of the packet engine (RFC 4301 §4.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_db::{ChildSaId, Encapsulation, GatewayNotice, Spd, TableId};
use adit_wire::PathMessage;
use adit_wire::ip::QuotedSpi;

use super::Outbound;
use crate::icmp_outside::Outer;
use crate::path_mtu::MtuSource;
use crate::sa::OutboundSa;

/// A change from the control loop.
#[derive(Debug)]
pub enum OutboundCommand {
    /// Adds an SA; if `active`, packets go through it from now on, before any older one of its
    /// policy.
    Install {
        /// The SA.
        sa: Box<OutboundSa>,
        /// Whether to use it at once.
        active: bool,
    },
    /// Sends the packets of its policy through an SA that was installed inactive.
    Activate {
        /// The SA.
        child: ChildSaId,
    },
    /// Forgets an SA; the next older one of its policy takes over.
    Remove {
        /// The SA.
        child: ChildSaId,
    },
    /// Replaces the policies of the default table.
    SetPolicies(Arc<Spd>),
    /// Replaces the policies of another one, or forgets it: what still comes by its interface is
    /// dropped.
    SetTable {
        /// The table.
        table: TableId,
        /// Its policies.
        spd: Option<Arc<Spd>>,
    },
    /// Leaves out some sequence numbers, of all threads that share them.
    Skip {
        /// The SA.
        child: ChildSaId,
        /// How many.
        by: u64,
    },
    /// The peer's address is another one now.
    UpdatePeer {
        /// The SA.
        child: ChildSaId,
        /// The addresses.
        encap: Encapsulation,
    },
    /// Somebody has told what the path of an SA takes. What is in force then is an
    /// [`Event::PathMtu`](crate::Event::PathMtu), if it is another value.
    PathMtu {
        /// The SA.
        child: ChildSaId,
        /// Longest outer packet, octets.
        mtu: u16,
        /// Who says so.
        source: MtuSource,
    },
    /// The longest of the interfaces that packets come by takes so many octets; until this is said,
    /// [`INNER_MTU`](crate::INNER_MTU).
    TunMtu(u16),
    /// Tells the peer of an SA in which fragments its packets come.
    ReportFragments {
        /// The SA.
        child: ChildSaId,
        /// Octets of the largest of late, as an outer packet.
        largest: u16,
    },
    /// A peer has said, authenticated, that it has no SA for a packet. If one of ours has sent that lately,
    /// it is to be replaced: [`Event::SoftExpire`](crate::Event::SoftExpire).
    BadSpi {
        /// Where the packet came from.
        us: IpAddr,
        /// Where it went.
        peer: IpAddr,
        /// What of it is quoted.
        quoted: QuotedSpi,
    },
    /// The peer says something about the path of an SA, as the inbound half has heard.
    PathMessage {
        /// The SA.
        child: ChildSaId,
        /// What it says.
        message: PathMessage,
    },
    /// Another thread has heard of so many routers between the gateways of an SA.
    Hops {
        /// The SA.
        child: ChildSaId,
        /// How many.
        hops: u8,
    },
    /// Forgets what is known of the path of an SA beyond its first link and what the operator says, and
    /// finds it out anew.
    ForgetPath {
        /// The SA.
        child: ChildSaId,
    },
    /// The peer tells something about an SA in its IKE SA. One thread of several is to hear it.
    Notice {
        /// The SA.
        child: ChildSaId,
        /// What it tells.
        notice: GatewayNotice,
    },
}

impl Outbound {
    /// Takes what is said about one SA and ends nothing that was begun; gives back other commands.
    pub(super) fn hear(
        &mut self,
        command: OutboundCommand,
        now: Instant,
    ) -> Option<OutboundCommand> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others change something")]
        match command {
            OutboundCommand::PathMessage { child, message } => {
                self.handle_path_message(child, message, now);
            }
            OutboundCommand::ReportFragments { child, largest } => {
                self.report_fragments(child, largest, now);
                self.report_by_ike(child, largest);
            }
            OutboundCommand::ForgetPath { child } => self.forget_path(child, now),
            OutboundCommand::Hops { child, hops } => {
                if let Some(transit) = self.sad.by_child(child).and_then(OutboundSa::transit) {
                    transit.note_hop(hops, now);
                }
            }
            OutboundCommand::Notice { child, notice } => self.handle_notice(child, &notice, now),
            OutboundCommand::BadSpi { us, peer, quoted } => {
                self.handle_bad_spi(&Outer { us, peer, quoted }, now);
            }
            other => return Some(other),
        }
        None
    }

    /// The longest interface takes so many octets now. Who says what SAs take must hear of those that
    /// take less than it, but more than before.
    pub(super) fn set_tun_mtu(&mut self, mtu: u16) {
        let before = std::mem::replace(&mut self.tun_mtu, mtu);
        self.held.set_room(mtu);
        self.passed.set_room(mtu);
        for sa in self.sad.all() {
            sa.tun_mtu = mtu;
            if sa.active && (before..mtu).contains(&sa.inner_max) {
                sa.tell_path(&mut self.events);
            }
        }
    }
}
