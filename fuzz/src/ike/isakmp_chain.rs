//! Payload chains of IKEv1 as a peer might write them after phase 1, from the sensible to the absurd.

use std::net::IpAddr;

use adit_crypto::{KeyExchange, SeededRng};
use adit_wire::doi::{Identity, Lifetimes, Phase2Transform};
use adit_wire::esp::Spi;
use adit_wire::iana::doi::{AuthAlgorithm, Doi, EncapsulationMode, GroupId, ProtocolId};
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::IkeSpi;
use adit_wire::isakmp::{ChainBuilder, Delete, Notify, Proposal, Sa, Spis};

use crate::Choices;

/// What a writer knows.
pub struct IsakmpWriting {
    /// Both cookies.
    pub cookies: (IkeSpi, IkeSpi),
    /// SPIs of the victim's child SAs as the writer calls them.
    pub spis: Vec<Spi>,
    /// The networks that the victim has for a child: the writer's first.
    pub networks: [(IpAddr, u8); 2],
}

/// A message's exchange and payloads, the HASH payload apart.
pub fn choose_isakmp(
    writing: &IsakmpWriting,
    choices: &mut Choices<'_>,
) -> (ExchangeType, ChainBuilder) {
    let mut chain = ChainBuilder::new();
    let kind = choices.u8();
    let exchange = match kind & 7 {
        0..3 => {
            put_quick(writing, &mut chain, choices);
            ExchangeType::QUICK_MODE
        }
        3 => {
            put_delete(writing, &mut chain, choices);
            ExchangeType::INFORMATIONAL
        }
        4 => {
            put_notify(writing, &mut chain, choices);
            ExchangeType::INFORMATIONAL
        }
        5 => {
            put_liveness(writing, &mut chain, choices);
            ExchangeType::INFORMATIONAL
        }
        // The third message of Quick Mode has nothing but its hash.
        6 => ExchangeType::QUICK_MODE,
        _ => choices.pick(&EXCHANGES),
    };
    for _ in 0..kind >> 3 & 3 {
        put_any(writing, &mut chain, choices);
    }
    let exchange = if kind >> 5 == 7 { choices.pick(&EXCHANGES) } else { exchange };
    (exchange, chain)
}

const EXCHANGES: [ExchangeType; 7] = [
    ExchangeType::INFORMATIONAL,
    ExchangeType::QUICK_MODE,
    ExchangeType::TRANSACTION,
    ExchangeType::NEW_GROUP_MODE,
    ExchangeType::IDENTITY_PROTECTION,
    ExchangeType::AGGRESSIVE,
    ExchangeType::BASE,
];

/// What the first and the second message of Quick Mode have.
fn put_quick(writing: &IsakmpWriting, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let with_key = how & 1 != 0;
    put_sa(with_key, chain, choices);
    let nonce = [how; 32];
    let length = if how & 2 == 0 { 32 } else { usize::from(choices.u8()) };
    chain.push(PayloadType::NONCE, |w| w.bytes(&nonce[..length.min(32)]));
    if with_key != (how & 4 != 0) {
        put_ke(chain, choices);
    }
    match how >> 3 & 3 {
        0 | 1 => put_networks(writing.networks, chain),
        2 => put_id(chain, choices),
        _ => {}
    }
}

fn put_sa(with_key: bool, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let mut transform = Phase2Transform {
        key_bits: Some(128),
        group: with_key.then_some(GroupId::ECP_256),
        mode: Some(EncapsulationMode::TUNNEL),
        lifetimes: Lifetimes::of_seconds(3_600),
        ..Phase2Transform::new(20)
    };
    match how & 15 {
        1 => transform.id = choices.u8(),
        2 => transform.key_bits = Some(choices.u16()),
        3 => transform.group = Some(GroupId(choices.u16())),
        4 => transform.mode = Some(EncapsulationMode(choices.u16())),
        5 => transform.lifetimes = Lifetimes::of_seconds(choices.u32().into()),
        6 => transform.auth = Some(AuthAlgorithm(choices.u16())),
        7 => transform.esn = true,
        8 => transform.lifetimes.kilobytes = Some(choices.u32().into()),
        9 => (transform.key_bits, transform.mode) = (None, None),
        _ => {}
    }
    let protocol = match how >> 4 {
        0 => choices.pick(&[ProtocolId::AH, ProtocolId::IPCOMP, ProtocolId::ISAKMP]),
        _ => ProtocolId::ESP,
    };
    let spi = if how >> 4 == 1 { choices.short().to_vec() } else { vec![0xc0, 1, 2, how] };
    let count = if how >> 4 == 2 { 1 + choices.u8() % 8 } else { 1 };
    let proposal = |number: u8| Proposal {
        number,
        protocol,
        spi: spi.clone().into(),
        transforms: (1..=count).map(|number| transform.to_transform(number)).collect(),
    };
    let numbers: &[u8] = match how >> 4 {
        3 => &[1, 1],
        4 => &[1, 2, 3],
        5 => &[0],
        _ => &[1],
    };
    let sa = Sa { proposals: numbers.iter().copied().map(proposal).collect() };
    chain.push(PayloadType::SA, |w| sa.write(w));
}

fn put_ke(chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    if how >= 200 {
        return chain.push(PayloadType::KE, |w| w.bytes(choices.short()));
    }
    let share = KeyExchange::EcpP256.generate(&mut SeededRng::new(how.into()));
    chain.push(PayloadType::KE, |w| w.bytes(share.public()));
}

fn put_networks(networks: [(IpAddr, u8); 2], chain: &mut ChainBuilder) {
    for (address, prefix) in networks {
        chain.push(PayloadType::ID, |w| Identity::Subnet(address, prefix).write(0, 0, w));
    }
}

fn put_id(chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let (kind, protocol, port) = (choices.u8(), choices.u8(), choices.u16());
    let data = choices.short();
    chain.push(PayloadType::ID, |w| {
        w.u8(kind);
        w.u8(protocol);
        w.u16(port);
        w.bytes(data);
    });
}

fn put_delete(writing: &IsakmpWriting, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let cookies = [writing.cookies.0.0, writing.cookies.1.0].concat();
    let mut spis: Vec<u8> = Vec::new();
    let (protocol, size) = match how & 7 {
        0 => {
            spis = cookies;
            (ProtocolId::ISAKMP, 16)
        }
        1 => {
            spis.extend(choices.array::<16>());
            (ProtocolId::ISAKMP, 16)
        }
        2 => {
            spis.extend(choices.octets(8));
            (ProtocolId(choices.u8()), 4)
        }
        _ => {
            let known = writing.spis.get(choices.below(4)).map_or([9; 4], |spi| spi.to_octets());
            (0..=how >> 5).for_each(|_| spis.extend(known));
            (if how & 8 == 0 { ProtocolId::ESP } else { ProtocolId::AH }, 4)
        }
    };
    if let Ok(spis) = Spis::new(size, &spis) {
        let delete = Delete { doi: Doi::IPSEC, protocol, spis };
        chain.push(PayloadType::DELETE, |w| delete.write(w));
    }
}

fn put_notify(writing: &IsakmpWriting, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let kind = match how & 7 {
        0 => NotifyType::RESPONDER_LIFETIME,
        1 => NotifyType::INITIAL_CONTACT,
        2 => NotifyType::CONNECTED,
        3 => NotifyType::REPLAY_STATUS,
        4 => NotifyType::NO_PROPOSAL_CHOSEN,
        5 => NotifyType::INVALID_ID_INFORMATION,
        6 => NotifyType::INVALID_SPI,
        _ => NotifyType(choices.u16()),
    };
    let cookies = [writing.cookies.0.0, writing.cookies.1.0].concat();
    let child = writing.spis.get(choices.below(4)).map(|spi| spi.to_octets().to_vec());
    let (protocol, spi) = match (how >> 3 & 3, child) {
        (0, _) => (ProtocolId::ISAKMP, cookies),
        (1, Some(spi)) => (ProtocolId::ESP, spi),
        (2, _) => (ProtocolId::ESP, choices.octets(4).to_vec()),
        _ => (ProtocolId::ISAKMP, Vec::new()),
    };
    let life = Lifetimes::of_seconds(choices.u16().into()).responder_lifetime();
    let data = if how & 32 == 0 { life.as_bytes() } else { choices.short() };
    let doi = if how & 64 == 0 { Doi::IPSEC } else { Doi::ISAKMP };
    let notify = Notify { doi, protocol, spi: &spi, kind, data };
    chain.push(PayloadType::NOTIFICATION, |w| notify.write(w));
}

fn put_liveness(writing: &IsakmpWriting, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    let how = choices.u8();
    let kind = if how & 1 == 0 { NotifyType::R_U_THERE } else { NotifyType::R_U_THERE_ACK };
    let spi = [writing.cookies.0.0, writing.cookies.1.0].concat();
    let number = choices.u32().to_be_bytes();
    let data = if how & 2 == 0 { &number[..] } else { choices.short() };
    let (doi, protocol) = (Doi::IPSEC, ProtocolId::ISAKMP);
    let notify = Notify { doi, protocol, spi: &spi, kind, data };
    chain.push(PayloadType::NOTIFICATION, |w| notify.write(w));
}

fn put_any(writing: &IsakmpWriting, chain: &mut ChainBuilder, choices: &mut Choices<'_>) {
    match choices.u8() & 7 {
        0 => put_notify(writing, chain, choices),
        1 => put_delete(writing, chain, choices),
        2 => put_id(chain, choices),
        3 => put_ke(chain, choices),
        4 => put_sa(false, chain, choices),
        5 => chain.push(PayloadType::NONCE, |w| w.bytes(choices.short())),
        6 => put_liveness(writing, chain, choices),
        _ => {
            let kind = PayloadType(choices.u8());
            let body = choices.long();
            chain.push(kind, |w| w.bytes(body));
        }
    }
}
