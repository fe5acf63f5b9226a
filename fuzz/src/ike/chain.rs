//! Payload chains as a peer might write them, from the sensible to the absurd.

use adit_crypto::{KeyExchange, SeededRng};
use adit_db::{Connection, ProposalSpec};
use adit_wire::esp::Spi;
use adit_wire::iana::TransformType;
use adit_wire::iana::{
    AuthMethod, ExchangeType, IdType, KeyExchangeId, NotifyType, PayloadType, ProtocolId,
};
use adit_wire::ikev2::{
    Auth, Chain, ChainBuilder, Delete, Id, Ke, Notify, Payload, Proposal, RawPayload, Sa, Spis,
    TrafficSelector, Transform, Ts, VendorId,
};

use crate::{Choices, policy};

/// What a writer knows.
pub struct Writing<'a> {
    /// The victim's connection.
    pub connection: &'a Connection,
    /// SPIs of the victim's child SAs as the writer calls them.
    pub spis: Vec<Spi>,
    /// Whether the writer sends the request.
    pub is_request: bool,
}

/// A message's exchange and payloads.
pub fn choose(writing: &Writing<'_>, choices: &mut Choices<'_>) -> (ExchangeType, Chain) {
    let mut builder = ChainBuilder::new();
    let kind = choices.u8();
    let exchange = match kind & 15 {
        0 => create_child(writing, &mut builder, choices),
        1 => {
            put_rekey(writing, &mut builder, choices);
            create_child(writing, &mut builder, choices)
        }
        2 => rekey_ike(writing, &mut builder, choices),
        3 => followup(writing, &mut builder, choices),
        4 => {
            put_delete(writing, &mut builder, choices);
            ExchangeType::INFORMATIONAL
        }
        5 => auth(writing, &mut builder, choices),
        6 => {
            put_ke(&[], &mut builder, choices);
            ExchangeType::IKE_INTERMEDIATE
        }
        7 => {
            put_notify(writing, &mut builder, choices);
            choices.pick(&EXCHANGES)
        }
        8 => ExchangeType::INFORMATIONAL,
        9 => {
            let first = PayloadType(choices.u8());
            let chain = Chain { first, octets: choices.long().to_vec() };
            return (choices.pick(&EXCHANGES), chain);
        }
        10 => ExchangeType(choices.u8()),
        _ => choices.pick(&EXCHANGES),
    };
    for _ in 0..kind >> 4 {
        put_any(writing, &mut builder, choices);
    }
    let exchange = match choices.u8() {
        255 => choices.pick(&EXCHANGES),
        _ => exchange,
    };
    (exchange, builder.finish().unwrap_or_default())
}

const EXCHANGES: [ExchangeType; 6] = [
    ExchangeType::INFORMATIONAL,
    ExchangeType::CREATE_CHILD_SA,
    ExchangeType::IKE_AUTH,
    ExchangeType::IKE_FOLLOWUP_KE,
    ExchangeType::IKE_INTERMEDIATE,
    ExchangeType::IKE_SA_INIT,
];

fn create_child(
    writing: &Writing<'_>,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) -> ExchangeType {
    let which = choices.below(writing.connection.children.len());
    let child = &writing.connection.children[which];
    let transforms = put_sa(&child.proposals, ProtocolId::ESP, writing, builder, choices);
    put_nonce(builder, choices);
    if transforms.iter().any(|t| t.kind == TransformType::KE) {
        put_ke(&transforms, builder, choices);
    }
    put_selectors(writing, which, builder, choices);
    ExchangeType::CREATE_CHILD_SA
}

fn rekey_ike(
    writing: &Writing<'_>,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) -> ExchangeType {
    let proposals = &writing.connection.proposals;
    let transforms = put_sa(proposals, ProtocolId::IKE, writing, builder, choices);
    put_nonce(builder, choices);
    put_ke(&transforms, builder, choices);
    if choices.flag() {
        let link = choices.short();
        builder.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
    }
    ExchangeType::CREATE_CHILD_SA
}

fn followup(
    _: &Writing<'_>,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) -> ExchangeType {
    put_ke(&[], builder, choices);
    let link = choices.short();
    builder.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
    ExchangeType::IKE_FOLLOWUP_KE
}

fn auth(
    writing: &Writing<'_>,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) -> ExchangeType {
    put_id(writing, builder, choices);
    if choices.flag() {
        put_id(writing, builder, choices);
    }
    let method =
        choices.pick(&[AuthMethod::SHARED_KEY, AuthMethod::NULL, AuthMethod::RSA_SIGNATURE]);
    builder.put(&Payload::Auth(Auth { method, data: choices.short() }));
    let which = choices.below(writing.connection.children.len());
    let child = &writing.connection.children[which];
    put_sa(&child.proposals, ProtocolId::ESP, writing, builder, choices);
    put_selectors(writing, which, builder, choices);
    ExchangeType::IKE_AUTH
}

fn put_any(writing: &Writing<'_>, builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    match choices.u8() & 15 {
        0..4 => put_notify(writing, builder, choices),
        4 => put_delete(writing, builder, choices),
        5 => put_nonce(builder, choices),
        6 => put_ke(&[], builder, choices),
        7 => put_id(writing, builder, choices),
        8 => {
            let which = choices.below(writing.connection.children.len());
            put_selectors(writing, which, builder, choices);
        }
        9 => {
            let proposals = &writing.connection.children[0].proposals;
            put_sa(proposals, ProtocolId::ESP, writing, builder, choices);
        }
        10 => {
            let proposals = &writing.connection.proposals;
            put_sa(proposals, ProtocolId::IKE, writing, builder, choices);
        }
        11 => builder.put(&Payload::VendorId(VendorId::ADIT)),
        12 => put_rekey(writing, builder, choices),
        _ => {
            let (kind, critical) = (PayloadType(choices.u8()), choices.flag());
            let body = choices.long();
            builder.put_raw(&RawPayload { kind, critical, next: PayloadType::NONE, body });
        }
    }
}

/// The configured proposals, or for a response one transform of each type, and what an input
/// changes about them.
fn put_sa(
    proposals: &[ProposalSpec],
    protocol: ProtocolId,
    writing: &Writing<'_>,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) -> Vec<Transform> {
    let change = choices.u8();
    let mut transforms = proposals[0].transforms().to_vec();
    if !writing.is_request || change & 1 != 0 {
        transforms.dedup_by_key(|transform| transform.kind);
    }
    match change >> 5 {
        0 => transforms.retain(|t| t.kind != TransformType::KE || protocol == ProtocolId::IKE),
        1 => drop(
            (!transforms.is_empty()).then(|| transforms.remove(choices.below(transforms.len()))),
        ),
        2 => transforms.extend(transforms.clone()),
        3 => transforms.push(Transform {
            kind: TransformType(choices.u8()),
            id: choices.u16(),
            key_bits: choices.flag().then(|| choices.u16()),
        }),
        4 => transforms.reverse(),
        _ => {}
    }
    let spi: Vec<u8> = match (change >> 1 & 7, protocol) {
        (0, _) => choices.short().to_vec(),
        (1, ProtocolId::ESP) => vec![0; 4],
        (1, _) => vec![0; 8],
        (_, ProtocolId::ESP) => vec![0xa0, 0, 0, choices.u8()],
        (_, _) => vec![0xa1, 0, 0, 0, 0, 0, 0, choices.u8()],
    };
    let proposal = Proposal { number: 1, protocol, spi, transforms: transforms.clone() };
    let mut all = vec![proposal];
    if change & 16 != 0 {
        let mut other = all[0].clone();
        (other.number, other.protocol) = (2, ProtocolId(choices.u8() & 3));
        all.push(other);
    }
    builder.put(&Payload::Sa(Sa { proposals: all }));
    transforms
}

/// A nonce, mostly of a legal length.
fn put_nonce(builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let (len, fill) = match choices.u8() {
        255 => (choices.u16().into(), 1),
        fill => (32, fill),
    };
    builder.push(PayloadType::NONCE, |w| w.bytes(&vec![fill; len]));
}

/// A public value: of the first method that the transforms name, of another, or nonsense.
fn put_ke(transforms: &[Transform], builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let offered = transforms.iter().find(|t| t.kind == TransformType::KE);
    let method = offered.and_then(|t| KeyExchange::from_id(KeyExchangeId(t.id)));
    let method = match (method, how) {
        (Some(method), 0..200) => method,
        _ => choices.pick(&CHEAP_METHODS),
    };
    let seed = u64::from(how & 3);
    let share = method.generate(&mut SeededRng::new(seed));
    let mut data = share.public().to_vec();
    match how {
        180..200 => data.fill(choices.u8()),
        240.. => data = choices.long().to_vec(),
        _ => {}
    }
    let method = if how == 239 { KeyExchangeId(choices.u16()) } else { method.id() };
    builder.put(&Payload::Ke(Ke { method, data: &data }));
}

const CHEAP_METHODS: [KeyExchange; 3] =
    [KeyExchange::X25519, KeyExchange::EcpP256, KeyExchange::MlKem768];

/// The configured selectors as this side writes them, or any.
fn put_selectors(
    writing: &Writing<'_>,
    which: usize,
    builder: &mut ChainBuilder,
    choices: &mut Choices<'_>,
) {
    let child = &writing.connection.children[which];
    let how = choices.u8();
    let mut side = |configured: &[adit_db::TsSpec]| -> Vec<TrafficSelector> {
        let fixed = configured.iter().filter_map(adit_db::TsSpec::selector);
        match how & 7 {
            0..4 => fixed.collect(),
            4 => fixed.chain([policy::selector(choices)]).collect(),
            5 => vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6],
            6 => (0..choices.u8() & 31).map(|_| policy::selector(choices)).collect(),
            _ => Vec::new(),
        }
    };
    let (theirs, ours) = (side(&child.remote_ts), side(&child.local_ts));
    // The writer of a request is TSi; the victim's remote side is the writer's own.
    let (mut i, mut r) = if writing.is_request { (theirs, ours) } else { (ours, theirs) };
    if how & 8 != 0 {
        std::mem::swap(&mut i, &mut r);
    }
    builder.put(&Payload::TsI(Ts::new(i)));
    builder.put(&Payload::TsR(Ts::new(r)));
}

fn put_id(writing: &Writing<'_>, builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let pad = &writing.connection.pad;
    let (kind, data) = match (how >> 1 & 3, pad.remote_id.exact(), &pad.local_id) {
        (0, Some(id), _) | (1, _, Some(id)) => (id.kind(), id.octets()),
        _ => (IdType(choices.u8()), choices.short().to_vec()),
    };
    let id = Id { kind, data: &data };
    builder.put(&if how & 1 == 0 { Payload::IdI(id) } else { Payload::IdR(id) });
}

fn put_rekey(writing: &Writing<'_>, builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let spi = spi(writing, choices).to_octets();
    let notify =
        Notify { protocol: ProtocolId::ESP, spi: &spi, kind: NotifyType::REKEY_SA, data: &[] };
    builder.put(&Payload::Notify(notify));
}

/// One the victim knows, or any.
fn spi(writing: &Writing<'_>, choices: &mut Choices<'_>) -> Spi {
    let which = usize::from(choices.u8());
    writing.spis.get(which).copied().unwrap_or_else(|| Spi(choices.u32()))
}

fn put_delete(writing: &Writing<'_>, builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let count = choices.u8();
    if count == 255 {
        return builder.put(&Payload::Delete(Delete::IkeSa));
    }
    let spis: Vec<[u8; 4]> = (0..=count & 15).map(|_| spi(writing, choices).to_octets()).collect();
    let spis = Spis::new(&spis).expect("few");
    builder.put(&Payload::Delete(match count >> 4 {
        15 => Delete::Ah(spis),
        _ => Delete::Esp(spis),
    }));
}

fn put_notify(writing: &Writing<'_>, builder: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let which = choices.u8();
    let kind = match NotifyType::ALL.get(usize::from(which)) {
        Some(kind) => *kind,
        None => NotifyType(choices.u16()),
    };
    let how = choices.u8();
    let spi = match how & 3 {
        0 | 1 => Vec::new(),
        2 => spi(writing, choices).to_octets().to_vec(),
        _ => choices.short().to_vec(),
    };
    let protocol = ProtocolId(how >> 2 & 3);
    let data = choices.short();
    builder.put(&Payload::Notify(Notify { protocol, spi: &spi, kind, data }));
}
