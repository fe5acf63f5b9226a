//! What the control loop changes in the outbound half of the packet engine (RFC 4301 §4.4).

use std::sync::Arc;

use adit_db::{ChildSaId, Encapsulation, GatewayNotice, Spd, TableId};
use adit_wire::PathMessage;

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
    /// Tells the peer of an SA in which fragments its packets come.
    ReportFragments {
        /// The SA.
        child: ChildSaId,
        /// Octets of the largest of late, as an outer packet.
        largest: u16,
    },
    /// The peer says something about the path of an SA, as the inbound half has heard.
    PathMessage {
        /// The SA.
        child: ChildSaId,
        /// What it says.
        message: PathMessage,
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
