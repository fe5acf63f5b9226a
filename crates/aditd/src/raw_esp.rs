//! The ways of ESP that is not in UDP, as the operator chose and the kernel allows.

use adit_dataplane::HEADROOM_MAX;
use adit_db::InboundThreads;
use adit_mgmt::api::EnginePath;
use adit_sys::SysError;
use adit_sys::esp_receiver::EspReceiver;
use adit_sys::esp_ring::EspRing;
use adit_sys::esp_sender::EspSender;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::udp::SocketOptions;
use adit_sys::xdp::XdpDevices;
use tracing::{info, warn};

use crate::args::{Args, RawEsp};

/// What there is beside raw sockets.
#[derive(Debug, Default)]
pub(crate) struct FastEsp {
    /// One for each inbound thread, or none.
    pub(crate) receivers: Vec<EspReceiver>,
    /// What frames leave by.
    devices: Option<XdpDevices>,
}

impl FastEsp {
    /// What is wanted and to be had. `raw` has the sockets of each inbound thread.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub(crate) fn open(args: &Args, raw: &[Vec<RawEspSocket>]) -> Result<Self, SysError> {
        if args.raw_esp != RawEsp::Fast {
            return Ok(Self::default());
        }
        let devices = devices();
        let threads = InboundThreads::new(u32::try_from(raw.len()).unwrap_or(1));
        let receiving = devices.as_ref().filter(|devices| is_receiving(devices, threads));
        let mut rings = rings(raw).into_iter();
        let mark = SocketOptions::default().mark;
        let receivers = (0..).zip(raw).map(|(thread, _)| {
            EspReceiver::open(thread, HEADROOM_MAX, rings.next(), receiving.cloned(), mark)
        });
        Ok(Self { receivers: receivers.collect::<Result<_, _>>()?, devices })
    }

    /// Whether the filters of the raw sockets of IPv4 are those beside a ring.
    pub(crate) fn has_rings(&self) -> bool {
        self.receivers.iter().any(EspReceiver::has_ring)
    }

    /// What a thread sends by, with its sockets of all families.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub(crate) fn sender(&self, raw: Vec<RawEspSocket>) -> std::io::Result<EspSender> {
        let Some(devices) = &self.devices else { return Ok(EspSender::by_sockets(raw)) };
        let mark = SocketOptions::default().mark;
        EspSender::by_frames(raw, mark, devices.clone()).map_err(std::io::Error::other)
    }
}

fn devices() -> Option<XdpDevices> {
    match XdpDevices::sending() {
        Ok(devices) => {
            info!("ESP leaves in frames (AF_XDP), past packet filter and traffic control");
            Some(devices)
        }
        Err(error) => {
            warn!(%error, "ESP leaves through raw sockets");
            None
        }
    }
}

fn is_receiving(devices: &XdpDevices, threads: InboundThreads) -> bool {
    match devices.receive(threads) {
        Ok(()) => {
            info!("ESP comes by AF_XDP where a device has it");
            true
        }
        Err(error) => {
            warn!(%error, "ESP does not come by AF_XDP");
            false
        }
    }
}

/// One for each thread, or none.
fn rings(raw: &[Vec<RawEspSocket>]) -> Vec<EspRing> {
    let is_v4 = |socket: &&RawEspSocket| socket.family() == Family::V4;
    let v4: Vec<_> = raw.iter().filter_map(|sockets| sockets.iter().find(is_v4)).collect();
    match EspRing::open_all(&v4, HEADROOM_MAX) {
        Ok(rings) => {
            info!("other ESP over IPv4 comes by a ring, past the packet filter");
            rings
        }
        Err(error) => {
            warn!(%error, "other ESP over IPv4 comes through a raw socket");
            Vec::new()
        }
    }
}

/// Which of these ways packets come, for people.
pub(crate) fn paths_in(receiver: &EspReceiver) -> Vec<EnginePath> {
    let join = |parts: &[String]| (!parts.is_empty()).then(|| parts.join(", "));
    let attached = join(&receiver.attached());
    let reason = match (receiver.has_xdp(), &attached, join(&receiver.refused())) {
        (false, ..) => Some("the kernel or the service manager refuses it".to_owned()),
        (true, Some(attached), None) => Some(attached.clone()),
        (true, Some(attached), Some(refused)) => Some(format!("{attached}; not {refused}")),
        (true, None, Some(refused)) => Some(refused),
        (true, None, None) => Some("no device has brought ESP of an SA yet".to_owned()),
    };
    let xdp = EnginePath { name: "ESP AF_XDP".to_owned(), on: attached.is_some(), reason };
    let no_ring = || "the kernel or the service manager refuses it".to_owned();
    vec![xdp, EnginePath::new("ESP ring", (!receiver.has_ring()).then(no_ring))]
}
