//! A child SA that we ask for: the offer, and what comes of the answer (RFC 7296 §2.7, §2.9).
//!
//! Used by IKE_AUTH and CREATE_CHILD_SA alike. Between Adit peers a refusal carries private status
//! notifies with what the refusing side would accept ([`Hints`]), so that both operators see the
//! difference; they are sent and believed only after authentication.

use adit_db::{Aggfrag, ChildConfig, ChildName, Connection, IpComp, Mode};
use adit_wire::aggfrag::UseAggfrag;
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, IpCompTransformId, NotifyType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Notify, Payload, Proposal, Sa, TrafficSelector, Ts};
use adit_wire::ipcomp::{Cpi, IpCompSupported};
use adit_wire::{Reader, Writer};

use crate::context::Context;
use crate::event::PeerSoftware;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::proposal::{ChildSuite, Choice, Offer, Purpose};
use crate::traffic_selector::{SelectorPair, check_answer};
use crate::v2::child::{Claims, Ends, Selectors};
use crate::v2::mode::Agreement;
use crate::v2::rules::Received;
use crate::v2::said::{Said, SaidIpComp};

/// A child SA that we ask for.
#[derive(Debug)]
pub(crate) struct ChildOffer {
    pub(crate) name: ChildName,
    /// SPI of packets to us.
    pub(crate) spi_in: Spi,
    /// CPI of compressed packets to us, if compression is offered.
    cpi_in: Option<Cpi>,
    /// Whether shared ESP packets are offered.
    shares: bool,
    /// Whether the peer is told that we answer probes of the path MTU.
    probes: bool,
    pub(crate) offer: Offer,
    selectors: SelectorPair,
    ends: Ends,
    config: ChildConfig,
}

/// What the peer accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) choice: Choice<ChildSuite>,
    pub(crate) spi_out: Spi,
    pub(crate) selectors: SelectorPair,
    pub(crate) mode: Agreement,
    /// Whether the peer takes no padding behind inner packets.
    pub(crate) no_tfc: bool,
    pub(crate) ipcomp: Option<IpComp>,
    /// Whether the peer may have more of them, for resources.
    pub(crate) per_resource: bool,
    pub(crate) aggfrag: Option<Aggfrag>,
    /// Whether the peer answers probes of the path MTU.
    pub(crate) path_probe: bool,
}

/// The answer of a peer, kept until it has been authenticated.
#[derive(Debug)]
pub(crate) enum Reply {
    /// SA, TSi and TSr.
    Accepted {
        /// The chosen proposal.
        sa: Sa,
        /// The narrowed selectors.
        selectors: SelectorPair,
        /// What it says beside, agreement to transport mode for one.
        said: Said,
    },
    /// An error notify.
    Refused {
        /// What the peer said.
        notify: NotifyType,
        /// What it would accept.
        hints: Hints,
    },
}

impl Reply {
    /// Takes the answer out of a response.
    pub(crate) fn from_received(received: &Received<'_>) -> Self {
        match (&received.sa, &received.ts_i, &received.ts_r, received.error()) {
            (Some(sa), Some(ts_i), Some(ts_r), None) => Self::Accepted {
                sa: sa.clone(),
                selectors: SelectorPair {
                    initiator: ts_i.selectors.clone(),
                    responder: ts_r.selectors.clone(),
                },
                said: Said::read(received),
            },
            (_, _, _, error) => Self::Refused {
                notify: error.map_or(NotifyType::INVALID_SYNTAX, |notify| notify.kind),
                hints: Hints::read(received),
            },
        }
    }
}

impl ChildOffer {
    /// Asks for a child of this configuration.
    ///
    /// # Errors
    ///
    /// [`FailureReason::AhThroughNat`] if nothing of it can be offered, and those of
    /// [`Selectors::offered`].
    pub(crate) fn new(
        purpose: Purpose,
        config: &ChildConfig,
        ends: Ends,
        selectors: SelectorPair,
        spi_in: Spi,
        cpi_in: Option<Cpi>,
    ) -> Result<Self, FailureReason> {
        let proposals = ends.passable(config).ok_or_else(|| ends.ah_through_nat())?;
        Ok(Self {
            name: config.name.clone(),
            spi_in,
            cpi_in,
            shares: false,
            probes: false,
            offer: Offer::new(purpose, &proposals, &spi_in.to_octets()),
            selectors,
            ends,
            config: config.clone(),
        })
    }

    /// The same offer with probes of the path MTU, if the peer is one of ours, and with shared ESP packets,
    /// if its connection negotiates them, too. Others may agree on terms that only their answer shows, and then there is no child.
    #[must_use]
    pub(crate) fn of(self, connection: &Connection, peer: PeerSoftware) -> Self {
        let shares = peer == PeerSoftware::Adit && connection.negotiates_aggfrag(&self.config);
        let probes = peer == PeerSoftware::Adit && self.config.may_probe_path();
        Self { shares, probes, ..self }
    }

    /// The protocol of our first choice.
    fn protocol(&self) -> ProtocolId {
        self.offer.sa().proposals.first().map_or(ProtocolId::ESP, |proposal| proposal.protocol)
    }

    /// The protocol under which the peer may have made the child: that of its answer, if it gave a
    /// sensible one.
    pub(crate) fn protocol_of(&self, reply: &Reply) -> ProtocolId {
        let answered = match reply {
            Reply::Accepted { sa, .. } => sa.proposals.first().map(|proposal| proposal.protocol),
            Reply::Refused { .. } => None,
        };
        let known = [ProtocolId::ESP, ProtocolId::AH];
        answered.filter(|protocol| known.contains(protocol)).unwrap_or_else(|| self.protocol())
    }

    pub(crate) fn config(&self) -> &ChildConfig {
        &self.config
    }

    pub(crate) fn put_sa(&self, peer: PeerSoftware, chain: &mut ChainBuilder) {
        // To others our notify means something else.
        let is_private = self.config.mode == Mode::Beet;
        if !is_private || (peer == PeerSoftware::Adit && self.config.is_esp_only()) {
            put_mode(self.config.mode, chain);
        }
        put_ipcomp(self.cpi_in, chain);
        put_resource(&self.config, chain);
        if self.shares {
            put_aggfrag(Aggfrag { super_packets: true }, chain);
        }
        if self.probes {
            put_path_probe(chain);
        }
        chain.put(&Payload::Sa(self.offer.sa()));
    }

    pub(crate) fn put_selectors(&self, chain: &mut ChainBuilder) {
        put_selectors(&self.selectors, chain);
    }

    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.9
    //# The requestor is
    //# expected to respond by requesting an SA for only the specific traffic
    //# it is trying to forward.
    //
    /// Asks for the two addresses of the packet that wants the child, and nothing else. `false`, and
    /// nothing changes, if there is no such packet or that is what was asked for.
    pub(crate) fn ask_for_single_pair(&mut self) -> bool {
        let (initiator, responder) =
            (single_address(&self.selectors.initiator), single_address(&self.selectors.responder));
        let (Some(initiator), Some(responder)) = (initiator, responder) else { return false };
        let single = SelectorPair { initiator: vec![initiator], responder: vec![responder] };
        let changes = single != self.selectors;
        self.selectors = single;
        changes
    }

    /// Checks an answer; the reason if there is no child.
    ///
    /// # Errors
    ///
    /// What the peer refused, or what it answered that was not offered (CHECKLIST E03, H02).
    pub(crate) fn evaluate(
        &self,
        reply: Reply,
        exchange: ExchangeType,
        claims: Option<Claims<'_>>,
    ) -> Result<Accepted, FailureReason> {
        match reply {
            Reply::Refused { notify, hints } => Err(self.refused(notify, hints, exchange)),
            Reply::Accepted { sa, selectors, said } => {
                let choice = self
                    .offer
                    .accept_child(&sa)
                    .map_err(|_| FailureReason::PeerMisbehaved("answer is not what was offered"))?;
                let spi_out = Spi::from_field(&choice.peer_spi)
                    .ok_or(FailureReason::PeerMisbehaved("reserved SPI"))?;
                let (mode, selectors) = self.agreement(said, selectors)?;
                check_answer(&self.selectors, &selectors)
                    .map_err(|_| FailureReason::PeerMisbehaved("selectors were not offered"))?;
                self.check_claims(claims, &selectors)?;
                let ipcomp = self.ipcomp(said.ipcomp)?;
                let aggfrag = self.aggfrag(said)?;
                let Said { no_tfc, per_resource, .. } = said;
                // CHECKLIST D17: what was not offered is not agreed on, whatever the peer says.
                let path_probe = self.probes && said.path_probe;
                Ok(Accepted {
                    choice,
                    spi_out,
                    selectors,
                    mode,
                    no_tfc,
                    ipcomp,
                    aggfrag,
                    per_resource,
                    path_probe,
                })
            }
        }
    }

    /// Whether the peer answers for no more than it may (RFC 4301 §4.4.3.4).
    fn check_claims(
        &self,
        claims: Option<Claims<'_>>,
        answer: &SelectorPair,
    ) -> Result<(), FailureReason> {
        let Some(claims) = claims else { return Ok(()) };
        let initiator = answer.initiator.clone();
        let allowed = SelectorPair { initiator, responder: claims.selectors(self.ends) };
        check_answer(&allowed, answer)
            .map_err(|_| claims.exceeded_by(answer.responder.clone(), self.ends))
    }

    //= https://www.rfc-editor.org/rfc/rfc7296#section-1.3.1
    //# If the responder declines the request, the Child SA will be
    //# established in tunnel mode.
    //
    /// A tunnel between the two ends protects no less, so it is taken.
    fn agreement(
        &self,
        said: Said,
        selectors: SelectorPair,
    ) -> Result<(Agreement, SelectorPair), FailureReason> {
        let not_offered = FailureReason::PeerMisbehaved("selectors were not offered");
        match (self.config.mode, said) {
            (Mode::Transport, Said { transport: true, .. }) => {
                Agreement::transport(&selectors, Role::Initiator, self.ends).ok_or(not_offered)
            }
            (Mode::Tunnel | Mode::Beet, Said { transport: true, .. }) => {
                Err(FailureReason::PeerMisbehaved("transport mode was not offered"))
            }
            (Mode::Beet, Said { beet: true, .. }) => {
                Agreement::beet(&selectors).map(|mode| (mode, selectors)).ok_or(not_offered)
            }
            _ => Ok((Agreement::Tunnel, selectors)),
        }
    }

    /// CHECKLIST D17: what was not offered is not agreed on, whatever the peer says. A peer that says
    /// nothing does not compress, and need not.
    fn ipcomp(&self, said: SaidIpComp) -> Result<Option<IpComp>, FailureReason> {
        match (self.cpi_in, said) {
            (None, _) | (Some(_), SaidIpComp::Nothing) => Ok(None),
            (Some(cpi_in), SaidIpComp::Deflate(cpi_out)) => Ok(Some(IpComp { cpi_in, cpi_out })),
            (Some(_), SaidIpComp::Other) => {
                Err(FailureReason::PeerMisbehaved("compression is not what was offered"))
            }
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9347#section-5.1
    //# If the responder declines the request, the Child SA will be established without
    //# AGGFRAG_PAYLOAD payload use enabled.
    //
    /// A peer that agrees on terms of its own sends what we may not understand; that child goes.
    fn aggfrag(&self, said: Said) -> Result<Option<Aggfrag>, FailureReason> {
        if !self.shares || said.aggfrag.is_none() {
            return Ok(None);
        }
        let refused = FailureReason::PeerMisbehaved("AGGFRAG was offered without requirements");
        said.shares().map(Some).ok_or(refused)
    }

    fn refused(&self, notify: NotifyType, hints: Hints, exchange: ExchangeType) -> FailureReason {
        match notify {
            NotifyType::NO_PROPOSAL_CHOSEN => FailureReason::NoCommonEspSuite {
                by: By::Peer,
                ours: self.config.offered_proposals(),
                theirs: hints.proposals,
            },
            NotifyType::TS_UNACCEPTABLE => FailureReason::SelectorMismatch {
                by: By::Peer,
                our_local: self.selectors.initiator.clone(),
                our_remote: self.selectors.responder.clone(),
                their_view_of_local: hints.selectors.initiator,
                their_view_of_remote: hints.selectors.responder,
            },
            notify => FailureReason::PeerError { exchange, notify },
        }
    }
}

/// The address that an offer begins with, with the protocol and ports of what it is a part of.
fn single_address(offer: &[TrafficSelector]) -> Option<TrafficSelector> {
    let (first, others) = offer.split_first()?;
    let whole = others.iter().find(|one| first.is_subset_of(one)).unwrap_or(first);
    let TrafficSelector { start, end, .. } = *first;
    (start == end).then_some(TrafficSelector { start, end, ..*whole })
}

/// Adds USE_TRANSPORT_MODE or ADIT_USE_BEET_MODE, if it is to be.
pub(crate) fn put_mode(mode: Mode, chain: &mut ChainBuilder) {
    let kind = match mode {
        Mode::Tunnel => return,
        Mode::Transport => NotifyType::USE_TRANSPORT_MODE,
        Mode::Beet => NotifyType::ADIT_USE_BEET_MODE,
    };
    chain.put(&Payload::Notify(Notify::new(kind, &[])));
}

//= https://www.rfc-editor.org/rfc/rfc9611#section-7
//# Notification data SHOULD NOT be an identifier that can be used to
//# gain information about the hardware.
//
/// Adds SA_RESOURCE_INFO without data, if there may be SAs for resources.
pub(crate) fn put_resource(config: &ChildConfig, chain: &mut ChainBuilder) {
    if config.cpus > 0 || config.resource.is_some() {
        chain.put(&Payload::Notify(Notify::new(NotifyType::SA_RESOURCE_INFO, &[])));
    }
}

/// Adds IPCOMP_SUPPORTED, if there is a CPI.
pub(crate) fn put_ipcomp(cpi_in: Option<Cpi>, chain: &mut ChainBuilder) {
    if let Some(cpi) = cpi_in {
        let data = IpCompSupported { cpi, transform: IpCompTransformId::DEFLATE }.to_octets();
        chain.put(&Payload::Notify(Notify::new(NotifyType::IPCOMP_SUPPORTED, &data)));
    }
}

/// Responder: agrees to compression, if the peer offers ours and the configuration wants it.
pub(crate) fn answer_ipcomp(
    config: &ChildConfig,
    said: Said,
    chain: &mut ChainBuilder,
    cx: &mut Context<'_>,
) -> Option<IpComp> {
    let SaidIpComp::Deflate(cpi_out) = said.ipcomp else { return None };
    let cpi_in = cx.child_cpi(config)?;
    put_ipcomp(Some(cpi_in), chain);
    Some(IpComp { cpi_in, cpi_out })
}

/// Adds USE_AGGFRAG, and ADIT_SUPER_PACKETS. We require nothing.
fn put_aggfrag(Aggfrag { super_packets }: Aggfrag, chain: &mut ChainBuilder) {
    let data = UseAggfrag::default().to_octets();
    chain.put(&Payload::Notify(Notify::new(NotifyType::USE_AGGFRAG, &data)));
    if super_packets {
        chain.put(&Payload::Notify(Notify::new(NotifyType::ADIT_SUPER_PACKETS, &[])));
    }
}

/// Responder: agrees to shared ESP packets, if the peer asks for them on terms that are ours, too, and
/// the configuration wants them.
pub(crate) fn answer_aggfrag(
    connection: &Connection,
    config: &ChildConfig,
    said: Said,
    chain: &mut ChainBuilder,
) -> Option<Aggfrag> {
    let aggfrag = said.shares().filter(|_| connection.negotiates_aggfrag(config))?;
    put_aggfrag(aggfrag, chain);
    Some(aggfrag)
}

/// Adds ADIT_PATH_PROBE.
fn put_path_probe(chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(NotifyType::ADIT_PATH_PROBE, &[])));
}

/// Responder: agrees to answer probes of the path MTU, if the peer is an Adit that does.
pub(crate) fn answer_path_probe(
    config: &ChildConfig,
    said: Said,
    peer: PeerSoftware,
    chain: &mut ChainBuilder,
) -> bool {
    let agreed = said.by(peer).path_probe && config.may_probe_path();
    if agreed {
        put_path_probe(chain);
    }
    agreed
}

/// Adds TSi and TSr.
fn put_selectors(pair: &SelectorPair, chain: &mut ChainBuilder) {
    chain.put(&Payload::TsI(Ts::new(pair.initiator.clone())));
    chain.put(&Payload::TsR(Ts::new(pair.responder.clone())));
}

/// Responder: adds what it has narrowed the selectors to, and whether there might be more in another
/// SA: ADDITIONAL_TS_POSSIBLE (RFC 7296 §2.9). As initiators we leave it at that: a configured child has
/// one SA, unless it takes its selectors from packets, and those ask for theirs anyway.
pub(crate) fn put_answer(pair: &SelectorPair, others_possible: bool, chain: &mut ChainBuilder) {
    put_selectors(pair, chain);
    if others_possible {
        chain.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_TS_POSSIBLE, &[])));
    }
}

/// What a refusing Adit peer would accept: notifies ADIT_SELECTORS and ADIT_ESP_PROPOSALS.
///
/// ```text
/// ADIT_SELECTORS        length of TSi body (2) | TSi body | TSr body
/// ADIT_ESP_PROPOSALS    SA body
/// ```
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Hints {
    selectors: SelectorPair,
    proposals: Vec<Proposal>,
}

impl Hints {
    /// What the configuration would accept from the peer.
    pub(crate) fn of(config: &ChildConfig, ends: Ends, claims: Option<Claims<'_>>) -> Self {
        let offer = Offer::new(
            Purpose::Child { additional: true },
            &config.offered_proposals(),
            &Spi::MIN.to_octets(),
        );
        Self {
            selectors: Selectors::allowed(config, ends, claims).into_pair(Role::Responder),
            proposals: offer.sa().proposals,
        }
    }

    /// Adds the notifies to a refusal.
    pub(crate) fn put(self, chain: &mut ChainBuilder) {
        let mut selectors = Vec::new();
        let ts_i = ts_body(self.selectors.initiator);
        let mut w = Writer(&mut selectors);
        w.u16(u16::try_from(ts_i.len()).unwrap_or(u16::MAX));
        w.bytes(&ts_i);
        w.bytes(&ts_body(self.selectors.responder));
        put_hint(NotifyType::ADIT_SELECTORS, &selectors, chain);

        let mut proposals = Vec::new();
        Sa { proposals: self.proposals }.write(&mut Writer(&mut proposals));
        put_hint(NotifyType::ADIT_ESP_PROPOSALS, &proposals, chain);
    }

    /// Takes the notifies out of a refusal; what cannot be read is left out.
    fn read(received: &Received<'_>) -> Self {
        let data = |kind| received.notify(kind).map(|notify| notify.data);
        Self {
            selectors: data(NotifyType::ADIT_SELECTORS)
                .and_then(read_selectors)
                .unwrap_or_default(),
            proposals: data(NotifyType::ADIT_ESP_PROPOSALS)
                .and_then(|data| Sa::read(&mut Reader(data)).ok())
                .map(|sa| sa.proposals)
                .unwrap_or_default(),
        }
    }
}

fn ts_body(selectors: Vec<TrafficSelector>) -> Vec<u8> {
    let mut body = Vec::new();
    Ts::new(selectors).write(&mut Writer(&mut body));
    body
}

fn read_selectors(data: &[u8]) -> Option<SelectorPair> {
    let mut r = Reader(data);
    let ts_i_len = r.u16().ok()?;
    let ts_i = r.bytes(ts_i_len.into()).ok()?;
    Some(SelectorPair {
        initiator: Ts::read(&mut Reader(ts_i)).ok()?.selectors,
        responder: Ts::read(&mut r).ok()?.selectors,
    })
}

fn put_hint(kind: NotifyType, data: &[u8], chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify { protocol: ProtocolId::NONE, spi: &[], kind, data }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer_to(peer: PeerSoftware) -> ChildOffer {
        let connection = Connection::new("net".parse().unwrap());
        let config = ChildConfig::new("net".parse().unwrap());
        let (purpose, pair) = (Purpose::FirstChild, SelectorPair::default());
        ChildOffer::new(purpose, &config, ends(), pair, Spi::MIN, None)
            .unwrap()
            .of(&connection, peer)
    }

    #[test]
    fn shared_packets_are_offered_to_our_own_kind() {
        for (peer, offered) in [(PeerSoftware::Adit, true), (PeerSoftware::Unknown, false)] {
            let offer = offer_to(peer);
            let put = |offer: &ChildOffer| {
                let mut chain = ChainBuilder::new();
                offer.put_sa(peer, &mut chain);
                chain.finish()
            };
            let without = ChildOffer { shares: false, ..offer_to(peer) };
            assert_eq!(put(&offer) != put(&without), offered);
            // What others answer without being asked counts nothing.
            for super_packets in [true, false] {
                let aggfrag = Some(UseAggfrag::default());
                let said = Said { aggfrag, super_packets, ..Said::default() };
                let agreed = offered.then_some(Aggfrag { super_packets });
                assert_eq!(offer.aggfrag(said).unwrap(), agreed);
            }
            let alone = Said { super_packets: true, ..Said::default() };
            assert_eq!(offer.aggfrag(alone).unwrap(), None);
        }
    }

    #[test]
    fn probes_of_the_path_are_offered_to_our_own_kind() {
        for (peer, offered) in [(PeerSoftware::Adit, true), (PeerSoftware::Unknown, false)] {
            let offer = offer_to(peer);
            let put = |offer: &ChildOffer| {
                let mut chain = ChainBuilder::new();
                offer.put_sa(peer, &mut chain);
                chain.finish()
            };
            let without = ChildOffer { probes: false, ..offer_to(peer) };
            assert_eq!(put(&offer) != put(&without), offered);
            let said = Said { path_probe: true, ..Said::default() };
            let mut chain = ChainBuilder::new();
            assert_eq!(answer_path_probe(offer.config(), said, peer, &mut chain), offered);
        }
    }

    #[test]
    fn an_answer_with_requirements_is_refused() {
        let plain = UseAggfrag::default();
        let offer = offer_to(PeerSoftware::Adit);
        for answer in [
            UseAggfrag { congestion_control: true, ..plain },
            UseAggfrag { dont_fragment: true, ..plain },
            UseAggfrag { unknown: 4, ..plain },
        ] {
            let said = Said { aggfrag: Some(answer), ..Said::default() };
            let refused = offer.aggfrag(said).unwrap_err();
            assert!(matches!(refused, FailureReason::PeerMisbehaved(_)), "{answer:?}");
        }
        assert_eq!(offer.aggfrag(Said::default()).unwrap(), None);
    }

    fn ends() -> Ends {
        Ends {
            local: "192.0.2.2".parse().unwrap(),
            remote: "192.0.2.1".parse().unwrap(),
            we_are_behind_nat: false,
            peer_is_behind_nat: false,
            udp: false,
        }
    }

    /// CHECKLIST D17, R08: what the initiator makes of the answer.
    #[test]
    fn compression_is_what_was_offered() {
        let config = ChildConfig::new("net".parse().unwrap());
        let answered = |cpi_in, said| {
            let (purpose, spi) = (Purpose::FirstChild, Spi::MIN);
            let pair = SelectorPair::default();
            let offer = ChildOffer::new(purpose, &config, ends(), pair, spi, cpi_in).unwrap();
            offer.ipcomp(said).map_err(|reason| reason.code())
        };
        let (ours, theirs) = (Cpi(0x1111), Cpi(0x2222));
        let both = IpComp { cpi_in: ours, cpi_out: theirs };
        assert_eq!(answered(Some(ours), SaidIpComp::Deflate(theirs)), Ok(Some(both)));
        assert_eq!(answered(Some(ours), SaidIpComp::Nothing), Ok(None));
        assert!(answered(Some(ours), SaidIpComp::Other).is_err());
        for unasked in [SaidIpComp::Nothing, SaidIpComp::Deflate(theirs), SaidIpComp::Other] {
            assert_eq!(answered(None, unasked), Ok(None));
        }
    }
}
