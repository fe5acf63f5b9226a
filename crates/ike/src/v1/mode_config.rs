//! Mode-Config (draft-ietf-ipsec-isakmp-mode-cfg-05) with the Unity attributes: what a client asks for,
//! what a server gives, and what each makes of the other's attributes.
//!
//! ```text
//! pull: client   REQUEST(address, ...)  ->  <-  REPLY(address = 10.9.0.1, ...)   server
//! push: client   <-  SET(address = 10.9.0.1, ...)   ACK(address, ...)  ->        server
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::ClientSettings;
use adit_wire::iana::ConfigAttribute as Class;
use adit_wire::isakmp::{Attribute, AttributeList, AttributeValue, Attributes};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Values of one kind that are taken from a peer.
const VALUES_MAX: usize = 32;

/// Octets of a text that are taken from a peer.
const TEXT_OCTETS_MAX: usize = 1_024;

/// An entry of a list of networks among the Unity attributes: address, mask, and six octets of protocol
/// and ports that everybody leaves zero.
const UNITY_NETWORK_OCTETS: usize = 14;

/// What we say we are.
const VERSION: &[u8] = b"Adit";

/// What a client asks for.
const WANTED: &[Class] = &[
    Class::INTERNAL_IP4_ADDRESS,
    Class::INTERNAL_IP4_NETMASK,
    Class::INTERNAL_IP4_DNS,
    Class::INTERNAL_IP4_NBNS,
    Class::INTERNAL_ADDRESS_EXPIRY,
    Class::APPLICATION_VERSION,
    Class::INTERNAL_IP6_ADDRESS,
    Class::INTERNAL_IP6_DNS,
    Class::INTERNAL_IP4_SUBNET,
    Class::INTERNAL_IP6_SUBNET,
    Class::UNITY_BANNER,
    Class::UNITY_SAVE_PASSWORD,
    Class::UNITY_DEFAULT_DOMAIN,
    Class::UNITY_SPLIT_DNS,
    Class::UNITY_SPLIT_INCLUDE,
    Class::UNITY_LOCAL_LAN,
    Class::UNITY_PFS,
];

/// What a server knows.
const SUPPORTED: &[Class] = WANTED;

/// The attributes of a client's request: no values, but for an address that it has had before.
pub(crate) fn request(before: &[IpAddr]) -> Attributes<'static> {
    let list = WANTED.iter().fold(AttributeList::new(), |list, class| {
        let address = match *class {
            Class::INTERNAL_IP4_ADDRESS => before.iter().find(|address| address.is_ipv4()),
            Class::INTERNAL_IP6_ADDRESS => before.iter().find(|address| address.is_ipv6()),
            Class::APPLICATION_VERSION => return list.variable(class.0, VERSION),
            _ => None,
        };
        list.variable(class.0, &address.map(octets).unwrap_or_default())
    });
    list.finish()
}

/// The families of which a request asks for an address, each with the address that the client would like.
pub(crate) fn asked_addresses(request: &Attributes<'_>) -> Vec<(bool, Option<IpAddr>)> {
    let mut asked: Vec<(bool, Option<IpAddr>)> = Vec::new();
    for one in request.iter() {
        let is_v6 = match Class(one.class) {
            Class::INTERNAL_IP4_ADDRESS => false,
            Class::INTERNAL_IP6_ADDRESS => true,
            _ => continue,
        };
        if asked.iter().all(|(other, _)| *other != is_v6) {
            asked.push((is_v6, address(one.value, is_v6).filter(|it| !it.is_unspecified())));
        }
    }
    asked
}

/// A server's reply: what was asked for, as far as there is anything to say.
pub(crate) fn reply(request: &Attributes<'_>, settings: &ClientSettings) -> Attributes<'static> {
    let mut told: Vec<Class> = Vec::new();
    let mut list = AttributeList::new();
    for one in request.iter() {
        let class = Class(one.class);
        if !told.contains(&class) && SUPPORTED.contains(&class) {
            told.push(class);
            list = put(list, class, settings);
        } else if class == Class::SUPPORTED_ATTRIBUTES && !told.contains(&class) {
            told.push(class);
            let all: Vec<u8> = SUPPORTED.iter().flat_map(|one| one.0.to_be_bytes()).collect();
            list = list.variable(class.0, &all);
        }
    }
    list.finish()
}

/// What a server gives unasked.
pub(crate) fn set(settings: &ClientSettings) -> Attributes<'static> {
    let version = |class: &&Class| **class != Class::APPLICATION_VERSION;
    let all = SUPPORTED.iter().filter(version);
    all.fold(AttributeList::new(), |list, class| put(list, *class, settings)).finish()
}

/// What a client took of that: the attributes without their values.
pub(crate) fn acknowledgement(set: &Attributes<'_>) -> Attributes<'static> {
    let known = set.iter().filter(|one| SUPPORTED.contains(&Class(one.class)));
    known.fold(AttributeList::new(), |list, one| list.variable(one.class, &[])).finish()
}

fn put(list: AttributeList, class: Class, settings: &ClientSettings) -> AttributeList {
    let first = |is_v6: bool| settings.addresses.iter().find(|one| one.is_ipv6() == is_v6);
    let all = |list: AttributeList, values: Vec<Vec<u8>>| {
        values.iter().fold(list, |list, value| list.variable(class.0, value))
    };
    let text = |list: AttributeList, text: Option<&String>| match text {
        Some(text) => list.variable(class.0, text.as_bytes()),
        None => list,
    };
    match class {
        Class::INTERNAL_IP4_ADDRESS => all(list, first(false).map(octets).into_iter().collect()),
        Class::INTERNAL_IP6_ADDRESS => all(list, first(true).map(octets).into_iter().collect()),
        Class::INTERNAL_IP4_NETMASK => match (first(false), settings.netmask) {
            (Some(_), mask) => list.variable(class.0, &mask.unwrap_or(HOST_MASK).octets()),
            (None, _) => list,
        },
        Class::INTERNAL_IP4_DNS => all(list, of_family(&settings.dns, false)),
        Class::INTERNAL_IP6_DNS => all(list, of_family(&settings.dns, true)),
        Class::INTERNAL_IP4_NBNS => {
            all(list, settings.nbns.iter().map(|one| one.octets().to_vec()).collect())
        }
        Class::INTERNAL_ADDRESS_EXPIRY => match settings.expiry_s {
            Some(seconds) => list.variable(class.0, &seconds.to_be_bytes()),
            None => list,
        },
        Class::APPLICATION_VERSION => list.variable(class.0, VERSION),
        Class::INTERNAL_IP4_SUBNET => all(list, subnets(&settings.split, false)),
        Class::INTERNAL_IP6_SUBNET => all(list, subnets(&settings.split, true)),
        Class::UNITY_BANNER => text(list, settings.banner.as_ref()),
        Class::UNITY_DEFAULT_DOMAIN => text(list, settings.domain.as_ref()),
        Class::UNITY_SPLIT_DNS if !settings.split_dns.is_empty() => {
            list.variable(class.0, settings.split_dns.join(",").as_bytes())
        }
        Class::UNITY_SPLIT_INCLUDE => unity_networks(list, class, &settings.split),
        Class::UNITY_LOCAL_LAN => unity_networks(list, class, &settings.exclude),
        Class::UNITY_SAVE_PASSWORD => list.basic(class.0, settings.save_password.into()),
        Class::UNITY_PFS => match settings.pfs_group {
            Some(group) => list.basic(class.0, group),
            None => list,
        },
        _ => list,
    }
}

/// What a client makes of a reply or a set. What it does not know, and what has not the form of its
/// kind, is left out.
pub(crate) fn read(attributes: &Attributes<'_>) -> ClientSettings {
    let mut settings = ClientSettings::default();
    for one in attributes.iter() {
        take(&mut settings, one);
    }
    settings.split.dedup();
    settings
}

fn take(settings: &mut ClientSettings, one: Attribute<'_>) {
    match Class(one.class) {
        Class::INTERNAL_IP4_ADDRESS => add_address(settings, address(one.value, false)),
        Class::INTERNAL_IP6_ADDRESS => add_address(settings, address(one.value, true)),
        Class::INTERNAL_IP4_NETMASK => settings.netmask = four(one.value),
        Class::INTERNAL_IP4_DNS => add(&mut settings.dns, address(one.value, false)),
        Class::INTERNAL_IP6_DNS => add(&mut settings.dns, address(one.value, true)),
        Class::INTERNAL_IP4_NBNS => add(&mut settings.nbns, four(one.value)),
        Class::INTERNAL_ADDRESS_EXPIRY => {
            settings.expiry_s = one.value.number().and_then(|number| u32::try_from(number).ok());
        }
        Class::APPLICATION_VERSION => settings.version = text(one.value),
        Class::INTERNAL_IP4_SUBNET | Class::INTERNAL_IP6_SUBNET => {
            add(&mut settings.split, subnet(one.value));
        }
        Class::UNITY_BANNER => settings.banner = text(one.value),
        Class::UNITY_DEFAULT_DOMAIN => settings.domain = text(one.value),
        Class::UNITY_SPLIT_DNS => {
            let words = text(one.value).unwrap_or_default();
            // Some separate them by commas, some by blanks.
            let words = words.split([',', ' ']).filter(|word| !word.is_empty());
            settings.split_dns = words.take(VALUES_MAX).map(str::to_owned).collect();
        }
        Class::UNITY_SPLIT_INCLUDE => {
            read_unity_networks(one.value).for_each(|it| add(&mut settings.split, Some(it)));
        }
        Class::UNITY_LOCAL_LAN => {
            read_unity_networks(one.value).for_each(|it| add(&mut settings.exclude, Some(it)));
        }
        Class::UNITY_SAVE_PASSWORD => {
            settings.save_password = one.value.number().is_some_and(|number| number != 0);
        }
        Class::UNITY_PFS => {
            let group = one.value.number().and_then(|number| u16::try_from(number).ok());
            settings.pfs_group = group.filter(|group| *group != 0);
        }
        // What the peer's firewall wants of ours, and where else it might be: nobody here acts on it.
        _ => {}
    }
}

/// One address of each family has a place.
fn add_address(settings: &mut ClientSettings, address: Option<IpAddr>) {
    let Some(address) = address.filter(is_usable) else { return };
    let has = settings.addresses.iter().any(|one| one.is_ipv4() == address.is_ipv4());
    settings.addresses.extend((!has).then_some(address));
}

/// Whether a host can have it as its own.
fn is_usable(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast)
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: Option<T>) {
    let value = value.filter(|value| list.len() < VALUES_MAX && !list.contains(value));
    list.extend(value);
}

// ---- Values ----

const HOST_MASK: Ipv4Addr = Ipv4Addr::BROADCAST;

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn of_family(addresses: &[IpAddr], is_v6: bool) -> Vec<Vec<u8>> {
    addresses.iter().filter(|one| one.is_ipv6() == is_v6).map(octets).collect()
}

fn variable(value: AttributeValue<'_>) -> &[u8] {
    match value {
        AttributeValue::Variable(octets) => octets,
        AttributeValue::Basic(_) => &[],
    }
}

fn four(value: AttributeValue<'_>) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(variable(value)).ok().map(Ipv4Addr::from)
}

/// An address; some peers send the length of its prefix behind one of IPv6.
fn address(value: AttributeValue<'_>, is_v6: bool) -> Option<IpAddr> {
    if !is_v6 {
        return four(value).map(IpAddr::V4);
    }
    let octets = variable(value);
    let octets = octets.get(..16).filter(|_| octets.len() <= 17)?;
    <[u8; 16]>::try_from(octets).ok().map(|six| IpAddr::V6(Ipv6Addr::from(six)))
}

/// A text for people or programs: nothing in it steers a terminal.
fn text(value: AttributeValue<'_>) -> Option<String> {
    let octets = variable(value);
    let octets = octets.get(..TEXT_OCTETS_MAX).unwrap_or(octets);
    let told = String::from_utf8_lossy(octets);
    let plain = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() || is_format(c) => '\u{fffd}',
        c => c,
    };
    let told = told.trim_end_matches('\0').trim();
    (!told.is_empty()).then(|| told.chars().map(plain).collect())
}

/// Whether it turns the direction of what is around it.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Address and mask, or of IPv6 address and length.
fn subnets(networks: &[IpNet], is_v6: bool) -> Vec<Vec<u8>> {
    let one = |network: &IpNet| match network {
        IpNet::V4(four) if !is_v6 => {
            Some([four.network().octets(), four.netmask().octets()].concat())
        }
        IpNet::V6(six) if is_v6 => {
            let mut value = six.network().octets().to_vec();
            value.push(six.prefix_len());
            Some(value)
        }
        IpNet::V4(_) | IpNet::V6(_) => None,
    };
    networks.iter().filter_map(one).collect()
}

fn subnet(value: AttributeValue<'_>) -> Option<IpNet> {
    let octets = variable(value);
    if octets.len() == 17 {
        let (address, length) = octets.split_at_checked(16)?;
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
        let network = Ipv6Net::new(address, *length.first()?).ok()?;
        return Some(IpNet::V6(network.trunc()));
    }
    (octets.len() == 8).then(|| masked(octets)).flatten()
}

/// Four octets of address and four of mask.
fn masked(octets: &[u8]) -> Option<IpNet> {
    let (address, rest) = octets.split_at_checked(4)?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?);
    let mask = Ipv4Addr::from(<[u8; 4]>::try_from(rest.get(..4)?).ok()?);
    Some(IpNet::V4(Ipv4Net::with_netmask(address, mask).ok()?.trunc()))
}

fn unity_networks(list: AttributeList, class: Class, networks: &[IpNet]) -> AttributeList {
    let entries = subnets(networks, false).into_iter().flat_map(|mut entry| {
        entry.resize(UNITY_NETWORK_OCTETS, 0);
        entry
    });
    let value: Vec<u8> = entries.collect();
    if value.is_empty() { list } else { list.variable(class.0, &value) }
}

fn read_unity_networks(value: AttributeValue<'_>) -> impl Iterator<Item = IpNet> {
    let octets = variable(value);
    // Of a single entry some leave out protocol and ports.
    let size = if octets.len() == 8 { 8 } else { UNITY_NETWORK_OCTETS };
    octets.chunks_exact(size).take(VALUES_MAX).filter_map(masked)
}

#[cfg(test)]
#[path = "mode_config_tests.rs"]
mod tests;
