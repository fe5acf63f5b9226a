//! How the packet engine of user space moves packets: which fast paths are on, and what they do.

use serde::{Deserialize, Serialize};

use super::icmp::IcmpSetting;

/// Answer to `adit-engine`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EngineReport {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// From the interfaces to the network.
    pub outbound: EngineHalf,
    /// From the network to the interfaces.
    pub inbound: EngineHalf,
    /// Who negotiates.
    #[serde(default)]
    pub ike: EngineIke,
    /// What becomes of ICMP messages at tunnels where that is not as by default; the first
    /// [`ICMP_SETTINGS_MAX`](super::ICMP_SETTINGS_MAX).
    #[serde(default)]
    pub icmp: Vec<IcmpSetting>,
}

/// The threads that run IKE.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EngineIke {
    /// Each of them.
    pub threads: Vec<IkeThread>,
    /// Datagrams that were dropped, being no IKE messages or more than could be taken.
    pub dropped: u64,
    /// IKE and ESP in TCP.
    #[serde(default)]
    pub tcp: EngineTcp,
}

/// IKE and ESP in TCP (RFC 9329).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EngineTcp {
    /// Connections that stand or are being made.
    pub connections: u64,
    /// Connections that we have opened, or tried to.
    pub opened: u64,
    /// Connections of peers that were accepted.
    pub accepted: u64,
    /// Connections of peers that were too many.
    pub refused: u64,
    /// Connections that were closed because something else came than IKE and ESP.
    pub garbled: u64,
    /// Messages and packets that were dropped because a connection, or a thread, was too slow.
    pub dropped: u64,
}

/// One of them, with how many IKE SAs it has.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct IkeThread {
    /// Both sides have authenticated.
    pub established: u64,
    /// On their way there.
    pub half_open: u64,
    /// Replaced or being deleted.
    pub leaving: u64,
}

/// One direction.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EngineHalf {
    /// Threads that share it; the other numbers are those of all together.
    #[serde(default)]
    pub threads: u64,
    /// The fast paths that were tried.
    pub paths: Vec<EnginePath>,
    /// Packets moved.
    pub packets: u64,
    /// Of what came from interfaces, or went to them, that which was several packets in one piece.
    pub super_packets: u64,
    /// System calls that read packets.
    pub calls_read: u64,
    /// System calls that wrote packets.
    pub calls_write: u64,
    /// System calls that waited for packets.
    pub calls_wait: u64,
    /// System calls that looked for packets before the thread slept.
    pub calls_spin: u64,
    /// Times that the thread looked so, and those at which a packet came.
    pub spins: u64,
    /// See there.
    pub spins_paid: u64,
    /// Memory set aside for packets on their way, octets.
    pub memory_octets: u64,
    /// Sockets that are connected to one peer each.
    #[serde(default)]
    pub connected: u64,
    /// Times that the network said that something sent in UDP did not arrive.
    #[serde(default)]
    pub complaints: u64,
}

impl EngineHalf {
    /// Counts in another thread of the same direction. One may have paths that others have not, and know
    /// a reason why one is not taken.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: &mut u64, other: u64| *one = one.saturating_add(other);
        sum(&mut self.threads, other.threads);
        sum(&mut self.packets, other.packets);
        sum(&mut self.super_packets, other.super_packets);
        sum(&mut self.calls_read, other.calls_read);
        sum(&mut self.calls_write, other.calls_write);
        sum(&mut self.calls_wait, other.calls_wait);
        sum(&mut self.calls_spin, other.calls_spin);
        sum(&mut self.spins, other.spins);
        sum(&mut self.spins_paid, other.spins_paid);
        sum(&mut self.memory_octets, other.memory_octets);
        sum(&mut self.connected, other.connected);
        sum(&mut self.complaints, other.complaints);
        for path in &other.paths {
            match self.paths.iter_mut().find(|own| own.name == path.name) {
                Some(own) => {
                    own.on &= path.on;
                    own.reason = own.reason.take().or_else(|| path.reason.clone());
                }
                None => self.paths.push(path.clone()),
            }
        }
    }

    /// System calls of all kinds.
    pub fn calls(&self) -> u64 {
        let Self { calls_read, calls_write, calls_wait, calls_spin, .. } = *self;
        calls_read.saturating_add(calls_write).saturating_add(calls_wait).saturating_add(calls_spin)
    }
}

/// A way to spare work that not every system has.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EnginePath {
    /// What it is called, `UDP GRO`.
    pub name: String,
    /// Whether it is used.
    pub on: bool,
    /// Why it is not, or not everywhere, or where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl EnginePath {
    /// A path that is used unless there is a reason.
    pub fn new(name: impl Into<String>, reason: Option<String>) -> Self {
        Self { name: name.into(), on: reason.is_none(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_and_a_reason_is_kept() {
        let one = |reason: Option<&str>| EngineHalf {
            threads: 1,
            paths: vec![EnginePath::new("UDP GRO", reason.map(str::to_owned))],
            packets: 5,
            ..EngineHalf::default()
        };
        let mut sum = one(None);
        sum.add(&one(Some("refused")));
        assert_eq!((sum.threads, sum.packets), (2, 10));
        assert_eq!(sum.paths, [EnginePath::new("UDP GRO", Some("refused".to_owned()))]);
    }
}
