//! Pools of addresses for the clients of IKEv1 (Mode-Config): swanctl.conf's `pools`, and the commands
//! `load-pool`, `unload-pool` and `get-pools`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use adit_db::{ClientSettings, ConfigServer};
use ipnet::IpNet;

use super::message::{Message, Section, Value};
use super::request::RequestError;

/// Pools by their names.
pub type Pools = BTreeMap<String, Pool>;

/// Addresses, and what goes with them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    /// The addresses: the hosts of this network.
    pub network: IpNet,
    /// What a client is told beside its address.
    pub settings: ClientSettings,
}

/// Arguments of `load-pool`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadPool {
    /// What connections call it.
    pub name: String,
    /// The pool.
    pub pool: Pool,
}

/// Arguments of `get-pools`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolFilter {
    /// Only this pool.
    pub name: Option<String>,
    /// Whether it is to be said who has which address.
    pub leases: bool,
}

/// A pool at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolSnapshot {
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: IpNet,
    /// Who has its addresses or had them, by address.
    pub leases: Vec<LeaseSnapshot>,
}

/// An address that somebody has, or had.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LeaseSnapshot {
    /// The address.
    pub address: IpAddr,
    /// Who has proven to be its client.
    pub identity: String,
    /// Whether the client is there.
    pub online: bool,
}

impl PoolFilter {
    /// Writes the arguments.
    pub(super) fn put(&self, message: &mut Message) {
        message.put_some("name", self.name.as_ref());
        message.put_if("leases", self.leases);
    }
}

impl LoadPool {
    /// Reads the one section of a command.
    ///
    /// # Errors
    ///
    /// What is missing, malformed or not done, with the key that says so.
    pub(super) fn read(message: &Message) -> Result<Self, RequestError> {
        let mut sections = message.sections();
        let (Some((name, section)), None) = (sections.next(), sections.next()) else {
            return Err(invalid("load-pool takes exactly one pool"));
        };
        let mut network = None;
        let mut settings = ClientSettings::default();
        for (key, value) in section.entries() {
            let attribute = Attribute { pool: name, key, items: items(value) };
            match key.to_ascii_lowercase().as_str() {
                "addrs" => network = Some(attribute.network()?),
                _ => attribute.put(&mut settings)?,
            }
        }
        let network = network.ok_or_else(|| invalid(&format!("pools.{name}.addrs is missing")))?;
        Ok(Self { name: name.to_owned(), pool: Pool { network, settings } })
    }

    /// The arguments; the inverse of [`Self::read`].
    pub(super) fn message(&self) -> Message {
        let Pool { network, settings } = &self.pool;
        let mut section = Section::new().with("addrs", network);
        let mut put = |key: &str, values: Vec<String>| {
            if !values.is_empty() {
                section.put_list(key, &values);
            }
        };
        put("dns", words(&settings.dns));
        put("nbns", words(&settings.nbns));
        put("netmask", words(settings.netmask.as_slice()));
        put("split_include", words(&settings.split));
        put("split_exclude", words(&settings.exclude));
        put(BANNER, words(settings.banner.as_slice()));
        put(DOMAIN, words(settings.domain.as_slice()));
        put(SPLIT_DNS, words(&settings.split_dns));
        Message::new().with_section(&self.name, section)
    }
}

fn words<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// Unity's attributes, which swanctl.conf knows by their numbers alone.
const BANNER: &str = "28672";
const DOMAIN: &str = "28674";
const SPLIT_DNS: &str = "28675";

/// One entry of a pool.
struct Attribute<'a> {
    pool: &'a str,
    key: &'a str,
    items: Vec<String>,
}

impl Attribute<'_> {
    fn network(&self) -> Result<IpNet, RequestError> {
        let text = self.one()?;
        if text.contains('-') {
            return Err(self.bad("ranges are not supported yet; write a network"));
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| self.bad("must be a network such as 10.9.0.0/24"))?;
        if network.trunc() != network {
            let reason = "starts inside a network, of which the rest would be given away, too; write \
                          the network itself";
            return Err(self.bad(reason));
        }
        Ok(network)
    }

    fn put(&self, settings: &mut ClientSettings) -> Result<(), RequestError> {
        let address = "must be addresses";
        let net = "must be networks such as 10.1.0.0/16";
        match self.key.to_ascii_lowercase().as_str() {
            "dns" => settings.dns = self.list(address)?,
            "nbns" => settings.nbns = self.list("must be IPv4 addresses")?,
            "netmask" => {
                let mask = self.one()?.parse().map_err(|_| self.bad("must be an IPv4 mask"))?;
                settings.netmask = Some(mask);
            }
            "split_include" | "subnet" => settings.split.extend(self.networks(net)?),
            "split_exclude" => settings.exclude = self.networks(net)?,
            BANNER => settings.banner = Some(self.items.join(", ")),
            DOMAIN => settings.domain = Some(self.one()?.to_owned()),
            SPLIT_DNS => settings.split_dns.clone_from(&self.items),
            _ => {
                return Err(self.bad(
                    "this attribute is not given to clients; dns, nbns, netmask, split_include, \
                     split_exclude, 28672 (banner), 28674 (domain) and 28675 (split DNS) are",
                ));
            }
        }
        Ok(())
    }

    fn one(&self) -> Result<&str, RequestError> {
        match self.items.as_slice() {
            [one] => Ok(one),
            _ => Err(self.bad("must be one value")),
        }
    }

    fn list<T: FromStr>(&self, wanted: &str) -> Result<Vec<T>, RequestError> {
        self.items.iter().map(|item| item.parse().map_err(|_| self.bad(wanted))).collect()
    }

    fn networks(&self, wanted: &str) -> Result<Vec<IpNet>, RequestError> {
        let read =
            |item: &String| item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).ok();
        let nets = self.items.iter().map(|item| read(item).ok_or_else(|| self.bad(wanted)));
        nets.map(|net| net.map(|net| net.trunc())).collect()
    }

    fn bad(&self, reason: &str) -> RequestError {
        let Self { pool, key, items } = self;
        let shown: String = items.join(", ").chars().take(SHOWN_CHARS_MAX).collect();
        invalid(&format!("pools.{pool}.{key}: {shown:?}: {reason}"))
    }
}

const SHOWN_CHARS_MAX: usize = 80;

/// A list, or a text with commas.
fn items(value: &Value) -> Vec<String> {
    let word = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
    let items: Vec<String> = match value {
        Value::List(items) => items.iter().map(|item| word(item)).collect(),
        Value::Text(octets) => word(octets).split(',').map(|item| item.trim().to_owned()).collect(),
        Value::Section(_) => Vec::new(),
    };
    items.into_iter().filter(|item| !item.is_empty()).collect()
}

fn invalid(reason: &str) -> RequestError {
    RequestError::Invalid(reason.to_owned())
}

/// What the named pools give together: their networks in this order, and all that goes with them.
pub(super) fn server(pools: &Pools, names: &[&str]) -> Result<ConfigServer, String> {
    let mut server = ConfigServer::default();
    for name in names {
        let Some(Pool { network, settings }) = pools.get(*name) else {
            return Err(format!("there is no pool {name:?}; load it first (swanctl --load-pools)"));
        };
        let all = &mut server.settings;
        server.pool.push(*network);
        all.dns.extend(&settings.dns);
        all.nbns.extend(&settings.nbns);
        all.split.extend(&settings.split);
        all.exclude.extend(&settings.exclude);
        all.split_dns.extend(settings.split_dns.iter().cloned());
        all.netmask = all.netmask.or(settings.netmask);
        all.banner = all.banner.take().or_else(|| settings.banner.clone());
        all.domain = all.domain.take().or_else(|| settings.domain.clone());
    }
    Ok(server)
}

/// Answer to `get-pools`.
pub fn pools_message(pools: &[PoolSnapshot], with_leases: bool) -> Message {
    pools.iter().fold(Message::new(), |message, pool| {
        message.with_section(&pool.name, pool.section(with_leases))
    })
}

impl PoolSnapshot {
    fn section(&self, with_leases: bool) -> Section {
        let online = self.leases.iter().filter(|lease| lease.online).count();
        let section = Section::new()
            .with("base", self.network.network())
            .with("size", size(&self.network))
            .with("online", online)
            .with("offline", self.leases.len().saturating_sub(online));
        if !with_leases {
            return section;
        }
        let leases = self.leases.iter().enumerate();
        let leases = leases.fold(Section::new(), |all, (number, lease)| {
            let lease = Section::new()
                .with("address", lease.address)
                .with("identity", &lease.identity)
                .with("status", if lease.online { "online" } else { "offline" });
            all.with_section(&number.to_string(), lease)
        });
        section.with_section("leases", leases)
    }
}

/// Hosts of a network, as charon counts them: without the first and the last address, and at most as many as
/// it can count.
fn size(network: &IpNet) -> u64 {
    let bits = u32::from(network.max_prefix_len().saturating_sub(network.prefix_len()));
    let all = 1_u64.checked_shl(bits.min(COUNTED_BITS)).unwrap_or(u64::MAX);
    if all > 2 { all.saturating_sub(2) } else { all }
}

const COUNTED_BITS: u32 = 31;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, &str)]) -> Result<LoadPool, String> {
        let section = lines.iter().fold(Section::new(), |section, (key, value)| {
            if *key == "addrs" {
                return section.with(key, value);
            }
            section.with_list(key, value.split(", "))
        });
        let message = Message::new().with_section("rw", section);
        LoadPool::read(&message).map_err(|error| error.to_string())
    }

    /// CHECKLIST W05: a pool and all that a client is told with its address.
    #[test]
    fn a_pool_has_addresses_and_what_goes_with_them() {
        let loaded = read(&[
            ("addrs", "10.9.0.0/24"),
            ("dns", "10.1.0.53, 10.1.0.54"),
            ("nbns", "10.1.0.55"),
            ("split_include", "10.1.0.0/16, 10.2.0.7"),
            ("split_exclude", "10.1.9.0/24"),
            ("28672", "Welcome"),
            ("28674", "corp.example"),
            ("28675", "corp.example, lab.example"),
        ])
        .unwrap();
        let settings = &loaded.pool.settings;
        assert_eq!(words(&settings.dns), ["10.1.0.53", "10.1.0.54"]);
        assert_eq!(words(&settings.split), ["10.1.0.0/16", "10.2.0.7/32"]);
        assert_eq!(settings.banner.as_deref(), Some("Welcome"));
        assert_eq!(settings.split_dns, ["corp.example", "lab.example"]);
        assert_eq!(LoadPool::read(&loaded.message()).unwrap(), loaded);

        let pools = Pools::from([("rw".to_owned(), loaded.pool), ("six".to_owned(), v6())]);
        let both = server(&pools, &["rw", "six"]).unwrap();
        assert_eq!(words(&both.pool), ["10.9.0.0/24", "fd09::/64"]);
        assert_eq!(words(&both.settings.dns), ["10.1.0.53", "10.1.0.54", "fd01::53"]);
        assert!(server(&pools, &["seven"]).unwrap_err().contains("no pool \"seven\""));
    }

    fn v6() -> Pool {
        let dns = vec!["fd01::53".parse().unwrap()];
        let settings = ClientSettings { dns, ..ClientSettings::default() };
        Pool { network: "fd09::/64".parse().unwrap(), settings }
    }

    #[test]
    fn what_is_no_pool_says_why() {
        for (lines, said) in [
            (&[("dns", "10.1.0.53")][..], "pools.rw.addrs is missing"),
            (&[("addrs", "10.9.0.10-10.9.0.20")], "ranges are not supported yet"),
            (&[("addrs", "10.9.0.10/24")], "starts inside a network"),
            (&[("addrs", "all")], "must be a network"),
            (&[("addrs", "10.9.0.0/24"), ("dns", "x")], "pools.rw.dns: \"x\": must be addresses"),
            (&[("addrs", "10.9.0.0/24"), ("dhcp", "10.1.0.1")], "is not given to clients"),
        ] {
            let error = read(lines).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(LoadPool::read(&Message::new()).is_err());
    }

    /// As charon 5.9.8 shows them.
    #[test]
    fn pools_are_shown_as_charon_shows_them() {
        let sizes =
            [("10.9.0.0/24", 254), ("10.9.0.9/32", 1), ("10.9.0.0/31", 2), ("fd09::/64", MOST)];
        for (network, hosts) in sizes {
            assert_eq!(size(&network.parse().unwrap()), hosts, "{network}");
        }
        let lease = |last: u8, online| LeaseSnapshot {
            address: [10, 9, 0, last].into(),
            identity: "alice".to_owned(),
            online,
        };
        let network = "10.9.0.0/24".parse().unwrap();
        let leases = vec![lease(1, true), lease(2, false)];
        let pool = PoolSnapshot { name: "rw".to_owned(), network, leases };
        let message = pools_message(std::slice::from_ref(&pool), true);
        let rw = message.section("rw").unwrap();
        let texts = ["base", "size", "online", "offline"].map(|key| rw.text(key).unwrap());
        assert_eq!(texts, ["10.9.0.0", "254", "1", "1"]);
        let second = rw.section("leases").unwrap().section("1").unwrap();
        assert_eq!(second.text("status"), Some("offline"));
        assert!(pools_message(&[pool], false).section("rw").unwrap().section("leases").is_none());
    }

    const MOST: u64 = (1 << 31) - 2;
}
