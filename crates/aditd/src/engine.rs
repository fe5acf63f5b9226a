//! Who protects a tunnel's packets: decided when it is loaded, since routes and SPIs depend on it
//! before anything is negotiated.

use std::collections::BTreeMap;
use std::fmt;

use adit_crypto::Cipher;
use adit_db::{ChildConfig, Connection, Dscp, DscpPolicy, Engine, HostSpec};
use adit_sys::netlink::Family;
use adit_sys::xfrm::{Missing, Xfrm, probe};
use tracing::info;

/// Why the kernel cannot be the engine of a tunnel.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It lacks something.
    Missing(String),
    /// It cannot do what the tunnel asks for.
    Dscp(Dscp),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Dscp(dscp) => write!(f, "the kernel sets no DSCP {} of its own", dscp.get()),
        }
    }
}

/// Asks the kernel, each question once.
#[derive(Default)]
pub(crate) struct EngineChooser {
    xfrm: Option<Result<Xfrm, String>>,
    answers: BTreeMap<(Family, Cipher), Result<(), String>>,
}

impl EngineChooser {
    /// The engine of a connection. `auto` is the kernel if it has every algorithm that may be
    /// negotiated, else user space, and the log says why.
    pub(crate) fn choose(&mut self, connection: &Connection) -> Result<Engine, Unfit> {
        match connection.engine {
            Engine::Userspace => Ok(Engine::Userspace),
            Engine::Kernel => self.fit(connection).map(|()| Engine::Kernel),
            Engine::Auto => match self.fit(connection) {
                Ok(()) => {
                    info!(connection = %connection.name, "the kernel is the engine: it has all");
                    Ok(Engine::Kernel)
                }
                Err(reason) => {
                    info!(connection = %connection.name, %reason, "the engine is in user space");
                    Ok(Engine::Userspace)
                }
            },
        }
    }

    fn fit(&mut self, connection: &Connection) -> Result<(), Unfit> {
        for child in &connection.children {
            if let DscpPolicy::Set(dscp) = child.dscp
                && dscp != Dscp::default()
            {
                return Err(Unfit::Dscp(dscp));
            }
            for family in families(connection) {
                for cipher in ciphers(child) {
                    self.ask(family, cipher).map_err(Unfit::Missing)?;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, family: Family, cipher: Cipher) -> Result<(), String> {
        if let Some(answer) = self.answers.get(&(family, cipher)) {
            return answer.clone();
        }
        let words = |missing: Missing| missing.to_string();
        let answer = match self.xfrm.get_or_insert_with(|| Xfrm::open().map_err(words)) {
            Ok(xfrm) => probe(xfrm, cipher, family).map_err(words),
            Err(missing) => Err(missing.clone()),
        };
        self.answers.insert((family, cipher), answer.clone());
        answer
    }
}

/// The families that the outer addresses may have; both if none is given as an address.
fn families(connection: &Connection) -> Vec<Family> {
    let hosts = connection.local_addresses.iter().chain(&connection.remote_addresses);
    let mut families: Vec<Family> = hosts
        .filter_map(|host| match host {
            HostSpec::Address(address) => Some(Family::of(*address)),
            HostSpec::Network(network) => Some(Family::of(network.addr())),
            HostSpec::Any | HostSpec::Name(_) => None,
        })
        .collect();
    families.sort();
    families.dedup();
    if families.is_empty() { Family::BOTH.to_vec() } else { families }
}

/// Every suite that may be negotiated.
fn ciphers(child: &ChildConfig) -> Vec<Cipher> {
    let mut ciphers: Vec<Cipher> =
        child.proposals.iter().flat_map(adit_db::ProposalSpec::ciphers).collect();
    ciphers.sort();
    ciphers.dedup();
    ciphers
}

#[cfg(test)]
mod tests {
    use adit_db::ProposalSpec;

    use super::*;

    fn connection(engine: Engine) -> Connection {
        let mut connection = Connection::new("berlin".parse().unwrap());
        connection.engine = engine;
        connection.children.push(ChildConfig::new("net".parse().unwrap()));
        connection
    }

    #[test]
    fn user_space_asks_nothing_of_the_kernel() {
        let mut chooser = EngineChooser::default();
        let chosen = chooser.choose(&connection(Engine::Userspace)).unwrap();
        assert_eq!(chosen, Engine::Userspace);
        assert!(chooser.xfrm.is_none());
    }

    /// Whatever kernel this is: `auto` and `kernel` agree about it.
    #[test]
    fn auto_is_the_kernel_exactly_where_the_kernel_can() {
        let mut chooser = EngineChooser::default();
        let by_kernel = chooser.choose(&connection(Engine::Kernel));
        let chosen = chooser.choose(&connection(Engine::Auto)).unwrap();
        assert_eq!(by_kernel.is_ok(), chosen == Engine::Kernel);
        assert!(!chooser.answers.is_empty());
    }

    #[test]
    fn what_no_kernel_does_is_named() {
        let mut chooser = EngineChooser::default();
        let mut strange = connection(Engine::Auto);
        strange.children[0].dscp = DscpPolicy::Set(Dscp::new(46).unwrap());
        assert_eq!(chooser.choose(&strange).unwrap(), Engine::Userspace);
        strange.engine = Engine::Kernel;
        let unfit = chooser.choose(&strange).unwrap_err();
        assert_eq!(unfit.to_string(), "the kernel sets no DSCP 46 of its own");
    }

    #[test]
    fn every_suite_of_every_proposal_counts() {
        let mut child = ChildConfig::new("net".parse().unwrap());
        child.proposals = ProposalSpec::esp_list("aes128-aes256-sha256-sha1,aes128gcm16").unwrap();
        assert_eq!(ciphers(&child).len(), 5);
    }
}
