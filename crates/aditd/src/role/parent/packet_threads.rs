//! The packet threads of both directions, and what each of them gets.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use adit_sys::icmp_errors::RouterSocket;
use adit_sys::icmp_sender::IcmpSender;
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::raw_ah::RawAhSocket;
use adit_sys::tun::Tun;
use adit_sys::udp::DualUdpSocket;
use adit_sys::wake::CommandReceiver;

use super::{spawn_role, try_clone_all};
use crate::message::{Links, ToInbound, ToOutbound};
use crate::raw_esp::FastEsp;
use crate::role::forward::{inbound, outbound, pair};

/// What all of them need together.
pub(super) struct PacketThreads {
    pub(super) tun: Arc<Tun>,
    /// One for each inbound thread.
    pub(super) nat_sockets: Vec<DualUdpSocket>,
    /// Of both families, for each inbound thread.
    pub(super) raw: Vec<Vec<RawEspSocket>>,
    /// What ESP has beside them.
    pub(super) fast_esp: FastEsp,
    pub(super) ah: Vec<RawAhSocket>,
    /// For the first outbound thread.
    pub(super) routers: Vec<RouterSocket>,
    /// Why peers have no sockets of their own on UDP 4500, if so.
    pub(super) unconnected: Option<String>,
    pub(super) bypass: BypassSocket,
    pub(super) icmp: IcmpSender,
    pub(super) links: Links,
}

impl PacketThreads {
    /// Starts one for each of the queues.
    pub(super) fn start(
        mut self,
        outbound: Vec<CommandReceiver<ToOutbound>>,
        inbound: Vec<CommandReceiver<ToInbound>>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut threads = Vec::new();
        let (lenders, hosts): (Vec<_>, Vec<_>) =
            self.links.inbound.iter().cloned().map(pair).unzip();
        let mut lenders = lenders.into_iter();
        for (number, commands) in (0..).zip(outbound) {
            let role = self.outbound(number)?;
            let lender = lenders.next();
            let run = move || role.run(commands, lender);
            threads.push(spawn_role("outbound", &self.links.parent, run)?);
        }
        let mut fast_esp = self.fast_esp.receivers.drain(..);
        let sockets = self.nat_sockets.drain(..).zip(self.raw.drain(..));
        let inbound = inbound.into_iter().zip(hosts).zip(sockets);
        for (number, ((commands, host), (udp, raw))) in inbound.enumerate() {
            let role = inbound::Role {
                number,
                tun: Arc::new(self.tun.writer(number)),
                udp,
                raw,
                fast_esp: fast_esp.next(),
                // They are not divided: all SAs of AH are the first thread's.
                ah: std::mem::take(&mut self.ah),
                icmp: self.icmp.try_clone().map_err(io::Error::other)?,
                ike: self.links.ike.clone(),
                shards: self.links.shards.clone(),
                outbound: self.links.outbound.clone(),
                host,
                control: self.links.control.clone(),
                parent: self.links.parent.clone(),
            };
            let run = move || role.run(&commands);
            threads.push(spawn_role("inbound", &self.links.parent, run)?);
        }
        Ok(threads)
    }

    /// It sends by the sockets of an inbound thread: it does not matter which, but that not all use one.
    fn outbound(&mut self, number: u16) -> io::Result<outbound::Role> {
        let at = usize::from(number).checked_rem(self.nat_sockets.len()).unwrap_or(0);
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let udp = self.nat_sockets.get(at).ok_or_else(missing)?;
        let raw = self.raw.get(at).ok_or_else(missing)?;
        let inbound = self.links.inbound.iter().next().ok_or_else(missing)?;
        Ok(outbound::Role {
            number,
            threads: self.links.outbound.clone(),
            tun: Arc::new(self.tun.reader(number.into())),
            udp: udp.try_clone().map_err(io::Error::other)?,
            inbound: inbound.clone(),
            unconnected: self.unconnected.clone(),
            raw: self.fast_esp.sender(try_clone_all(raw)?)?,
            tcp: self.links.tcp.clone(),
            tcp_places: Arc::default(),
            bypass: self.bypass.try_clone().map_err(io::Error::other)?,
            routers: std::mem::take(&mut self.routers),
            icmp: self.icmp.try_clone().map_err(io::Error::other)?,
            ike: self.links.ike.clone(),
            control: self.links.control.clone(),
            parent: self.links.parent.clone(),
        })
    }
}
