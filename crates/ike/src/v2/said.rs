//! What a message says about a child beside SA, TSi and TSr: status notifies (RFC 7296 §1.3.1).

use adit_db::Aggfrag;
use adit_wire::Reader;
use adit_wire::aggfrag::UseAggfrag;
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
    /// SA_RESOURCE_INFO: there may be more SAs with the same selectors (RFC 9611).
    pub(crate) per_resource: bool,
    /// IPCOMP_SUPPORTED.
    pub(crate) ipcomp: SaidIpComp,
    /// USE_AGGFRAG, with what it requires.
    pub(crate) aggfrag: Option<UseAggfrag>,
    /// ADIT_SUPER_PACKETS.
    pub(crate) super_packets: bool,
    /// ADIT_PATH_PROBE: it answers probes of the path MTU.
    pub(crate) path_probe: bool,
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

/// What cannot be read requires something that we do not know.
fn read_aggfrag(received: &Received<'_>) -> Option<UseAggfrag> {
    let notify = received.notify(NotifyType::USE_AGGFRAG)?;
    let unknown = UseAggfrag { unknown: u8::MAX, ..UseAggfrag::default() };
    Some(UseAggfrag::read(&mut Reader(notify.data)).unwrap_or(unknown))
}

impl Said {
    //= https://www.rfc-editor.org/rfc/rfc9347#section-5.1
    //# If any requirement flags are not understood or cannot be supported by the receiver, then
    //# the receiver SHOULD NOT enable use of AGGFRAG_PAYLOAD
    //
    /// What shared ESP packets to the peer are to be like; none if it does not take them, or requires
    /// what we do not do: congestion control, or no fragments. The latter would lose each packet that is
    /// longer than a payload, since nothing else than payloads may be sent (§2.3). "The USE_AGGFRAG notification MUST NOT be combined with the USE_TRANSPORT
    /// notification."
    pub(crate) fn shares(self) -> Option<Aggfrag> {
        let UseAggfrag { congestion_control, dont_fragment, unknown } = self.aggfrag?;
        let requires_nothing = !congestion_control && !dont_fragment && unknown == 0;
        let is_supported = requires_nothing && !self.transport;
        is_supported.then_some(Aggfrag { super_packets: self.super_packets })
    }

    /// What counts of it if the peer is no Adit: to others our notifies mean something else.
    pub(crate) fn by(self, peer: PeerSoftware) -> Self {
        let is_ours = peer == PeerSoftware::Adit;
        Self {
            beet: self.beet && is_ours,
            super_packets: self.super_packets && is_ours,
            path_probe: self.path_probe && is_ours,
            ..self
        }
    }

    pub(crate) fn read(received: &Received<'_>) -> Self {
        Self {
            transport: received.has_notify(NotifyType::USE_TRANSPORT_MODE),
            beet: received.has_notify(NotifyType::ADIT_USE_BEET_MODE),
            no_tfc: received.has_notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED),
            per_resource: received.has_notify(NotifyType::SA_RESOURCE_INFO),
            ipcomp: SaidIpComp::read(received),
            aggfrag: read_aggfrag(received),
            super_packets: received.has_notify(NotifyType::ADIT_SUPER_PACKETS),
            path_probe: received.has_notify(NotifyType::ADIT_PATH_PROBE),
        }
    }
}
