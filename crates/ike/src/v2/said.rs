//! What a message says about a child beside SA, TSi and TSr: status notifies (RFC 7296 §1.3.1).

use adit_wire::Reader;
use adit_wire::iana::{IpCompTransformId, NotifyType};
use adit_wire::ipcomp::{Cpi, IpCompSupported};

use crate::event::PeerSoftware;
use crate::v2::rules::Received;

/// What the peer wants or will not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Said {
    /// USE_TRANSPORT_MODE.
    pub(crate) transport: bool,
    /// ADIT_USE_BEET_MODE.
    pub(crate) beet: bool,
    /// ESP_TFC_PADDING_NOT_SUPPORTED: nothing may follow its inner packets.
    pub(crate) no_tfc: bool,
    /// IPCOMP_SUPPORTED.
    pub(crate) ipcomp: SaidIpComp,
}

/// What the peer says about compression (RFC 7296 §2.22).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum SaidIpComp {
    /// Nothing.
    #[default]
    Nothing,
    /// DEFLATE, among others perhaps, with this CPI in packets to it.
    Deflate(Cpi),
    /// Something that we do not do.
    Other,
}

impl SaidIpComp {
    fn read(received: &Received<'_>) -> Self {
        let of_kind = |kind| received.notifies.iter().filter(move |notify| notify.kind == kind);
        let mut read = Self::Nothing;
        for notify in of_kind(NotifyType::IPCOMP_SUPPORTED) {
            read = match IpCompSupported::read(&mut Reader(notify.data)) {
                Ok(IpCompSupported { cpi, transform: IpCompTransformId::DEFLATE })
                    if cpi.is_negotiable() =>
                {
                    return Self::Deflate(cpi);
                }
                _ => Self::Other,
            };
        }
        read
    }
}

impl Said {
    /// What counts of it if the peer is no Adit: to others our notifies mean something else.
    pub(crate) fn by(self, peer: PeerSoftware) -> Self {
        Self { beet: self.beet && peer == PeerSoftware::Adit, ..self }
    }

    pub(crate) fn read(received: &Received<'_>) -> Self {
        Self {
            transport: received.has_notify(NotifyType::USE_TRANSPORT_MODE),
            beet: received.has_notify(NotifyType::ADIT_USE_BEET_MODE),
            no_tfc: received.has_notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED),
            ipcomp: SaidIpComp::read(received),
        }
    }
}
