//! The gateways' configuration: real files, as an operator would write them.

use std::path::Path;
use std::sync::Arc;

use adit_crypto::{Secret, new_rsa_key};
use adit_mgmt::secret::{SECRET_OCTETS, new_secret_text};
use adit_sys::file::write_private;

use crate::args::{DemoIke, Fault};
use crate::demo::place::{Place, Site};
use crate::error::Error;

/// What both sides' files say.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The pre-shared key of both sides.
    pub(crate) secret: String,
    /// The key that Oslo has by mistake when [`Fault::Psk`] is chosen.
    pub(crate) wrong_secret: String,
    /// Whether sequence numbers have 32 bits.
    pub(crate) no_esn: bool,
    /// How they negotiate, if not by IKEv2 with the secret.
    pub(crate) ike: Option<DhLess>,
}

/// IKEv1 with encrypted nonces and no key exchange.
#[derive(Clone, Debug)]
pub(crate) struct DhLess {
    how: DemoIke,
    /// Of each site, in the order of [`Site::ALL`]: its private key, and its public one.
    keys: Vec<Arc<(Secret, Vec<u8>)>>,
}

impl DhLess {
    fn new(how: DemoIke) -> Result<Self, Error> {
        let key = |_: Site| {
            let key = new_rsa_key().map(Arc::new);
            key.ok_or_else(|| Error::Refused("no RSA key could be made".into()))
        };
        let keys = Site::ALL.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { how, keys })
    }

    /// Writes our private key and the peer's public one; a wrong one of those if that is the fault.
    fn write(&self, directory: &Path, site: Site, fault: Option<Fault>) -> Result<(), Error> {
        for (owner, key) in Site::ALL.into_iter().zip(&self.keys) {
            let is_ours = owner == site;
            if is_ours {
                let path = directory.join(format!("{}.key", site.name()));
                write_octets(&path, key.0.as_bytes())?;
            }
            if is_ours == (site == Site::Oslo && fault == Some(Fault::Psk)) {
                write_octets(&directory.join(format!("{}.pub", site.other().name())), &key.1)?;
            }
        }
        Ok(())
    }

    /// What stands in a tunnel's file instead of a secret.
    fn lines(&self, site: Site) -> String {
        let aggressive = match (self.how, site) {
            (DemoIke::Dhless, _) => "",
            (DemoIke::DhlessAggressive, Site::Oslo) => "aggressive = \"initiate\"\n",
            (DemoIke::DhlessAggressive, Site::Berlin) => "aggressive = \"allow\"\n",
        };
        format!(
            "auth    = \"dhless\"\n\
             key     = \"file:{}.key\"\n\
             peer_key = \"file:{}.pub\"\n\
             forward_secrecy = false\n{aggressive}",
            site.name(),
            site.other().name(),
        )
    }
}

impl Settings {
    /// Fresh secrets.
    pub(crate) fn new(no_esn: bool, ike: Option<DemoIke>) -> Result<Self, Error> {
        let secret = || {
            let random = adit_sys::entropy::array::<SECRET_OCTETS>();
            random.map(|random| new_secret_text(&random)).map_err(Error::io("random octets"))
        };
        let ike = ike.map(DhLess::new).transpose()?;
        Ok(Self { secret: secret()?, wrong_secret: secret()?, no_esn, ike })
    }

    /// Writes a site's tunnel and its secret.
    pub(crate) fn write(
        &self,
        place: &Place,
        site: Site,
        fault: Option<Fault>,
    ) -> Result<(), Error> {
        let directory = place.config(site).join("tunnels");
        let peer = site.other().name();
        let secret = match (site, fault) {
            (Site::Oslo, Some(Fault::Psk)) => &self.wrong_secret,
            _ => &self.secret,
        };
        match &self.ike {
            None => write(&directory.join(format!("{peer}.psk")), &format!("{secret}\n"))?,
            Some(dhless) => dhless.write(&directory, site, fault)?,
        }
        write(&directory.join(format!("{peer}.toml")), &self.tunnel(site, fault))
    }

    /// A site's file about its tunnel to the other site.
    pub(crate) fn tunnel(&self, site: Site, fault: Option<Fault>) -> String {
        let other = site.other();
        let (name, peer) = (site.name(), other.name());
        let keep = match site {
            Site::Oslo => "up",
            Site::Berlin => "passive",
        };
        let id = match (site, fault) {
            (Site::Oslo, Some(Fault::Id)) => "oslo-gw.example",
            (Site::Oslo, _) => "oslo.example",
            (Site::Berlin, _) => "berlin.example",
        };
        let local = match (site, fault) {
            (Site::Berlin, Some(Fault::Selectors)) => "10.3.0.0/24",
            (site, _) => site.network(),
        };
        let mut text = format!(
            "# {name}'s tunnel to {peer}, made by `adit demo`\n\
             peer    = \"{}\"\n\
             id      = \"{id}\"\n\
             peer_id = \"{peer}.example\"\n\
             local   = \"{local}\"\n\
             remote  = \"{}\"\n\
             {}\
             keep    = \"{keep}\"\n",
            other.gateway(),
            other.network(),
            match &self.ike {
                None => format!("secret  = \"file:{peer}.psk\"\n"),
                Some(dhless) => dhless.lines(site),
            },
        );
        match (&self.ike, ike(site, fault)) {
            (None, None) => {}
            (None, Some(ike)) => text.push_str(&format!("ike     = \"{ike}\"\n")),
            (Some(_), None) => text.push_str("ike     = 1\n"),
            // Nothing of a group: none is used.
            (Some(_), Some(_)) => {
                let cipher = if site == Site::Oslo { "aes256-sha384" } else { "aes128-sha256" };
                text.push_str(&format!("ike     = [1, \"{cipher}-modp2048\"]\n"));
            }
        }
        if let Some(esp) = self.esp(site, fault) {
            text.push_str(&format!("esp     = \"{esp}\"\n"));
        }
        match fault {
            Some(Fault::Port | Fault::Nat) => text.push_str("encap   = \"udp\"\n"),
            // Senders that forbid cutting shall see it forbidden all the way.
            Some(Fault::Mtu) => text.push_str("df      = \"copy\"\n"),
            // Long packets shall be cut on the way, and not be avoided.
            Some(Fault::Fragments) => text.push_str("df      = \"clear\"\n"),
            _ => {}
        }
        text
    }

    fn esp(&self, site: Site, fault: Option<Fault>) -> Option<&'static str> {
        match (site, fault) {
            (Site::Oslo, Some(Fault::Esp)) => Some("aes256gcm16"),
            (Site::Berlin, Some(Fault::Esp)) => Some("aes128-sha256"),
            _ => self.no_esn.then_some("aes256gcm16-noesn"),
        }
    }
}

fn ike(site: Site, fault: Option<Fault>) -> Option<&'static str> {
    match (site, fault) {
        (Site::Oslo, Some(Fault::Proposal)) => Some("aes256gcm16-prfsha384-x25519"),
        (Site::Berlin, Some(Fault::Proposal)) => Some("aes128-sha256-modp2048"),
        _ => None,
    }
}

/// Makes a site's configuration directory, without any tunnel.
pub(crate) fn make_directory(place: &Place, site: Site) -> Result<(), Error> {
    let directory = place.config(site).join("tunnels");
    std::fs::create_dir_all(&directory).map_err(Error::io(directory.display().to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_octets(path, text.as_bytes())
}

fn write_octets(path: &Path, octets: &[u8]) -> Result<(), Error> {
    write_private(path, octets).map_err(Error::io(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use adit_mgmt::config::{SecretFile, SourceFile, load};
    use clap::ValueEnum as _;

    use super::*;

    fn settings() -> Settings {
        Settings { secret: "a".repeat(40), wrong_secret: "b".repeat(40), no_esn: false, ike: None }
    }

    #[test]
    fn a_tunnels_file_reads_well() {
        insta::assert_snapshot!(settings().tunnel(Site::Oslo, None), @r#"
        # oslo's tunnel to berlin, made by `adit demo`
        peer    = "203.0.113.2"
        id      = "oslo.example"
        peer_id = "berlin.example"
        local   = "10.1.0.0/24"
        remote  = "10.2.0.0/24"
        secret  = "file:berlin.psk"
        keep    = "up"
        "#);
    }

    /// The same is true of a demo without a key exchange, which is warned of.
    #[test]
    fn every_fault_is_written_as_a_valid_file_without_a_key_exchange() {
        for how in [DemoIke::Dhless, DemoIke::DhlessAggressive] {
            let dhless = DhLess::new(how).unwrap();
            let keys = dhless.keys.clone();
            let faults = Fault::value_variants().iter().copied().map(Some).chain([None]);
            for (fault, site) in faults.flat_map(|fault| Site::ALL.map(|site| (fault, site))) {
                let place = Site::ALL.into_iter().position(|one| one == site).unwrap();
                let read = |path: &Path| {
                    let is_private = path.extension().is_some_and(|end| end == "key");
                    let own = &keys[place];
                    let octets = if is_private { own.0.as_bytes() } else { &keys[1 - place].1 };
                    let octets = Secret::from_slice(octets);
                    Ok(SecretFile { octets, mode: if is_private { 0o100_600 } else { 0o100_644 } })
                };
                let settings = Settings { ike: Some(dhless.clone()), ..settings() };
                let text = settings.tunnel(site, fault);
                let path = PathBuf::from(format!("tunnels/{}.toml", site.other().name()));
                let loaded = load(&[SourceFile { path, text: text.clone() }], &read);
                let loaded = loaded.unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
                assert_eq!(loaded.warnings.len(), 1, "{text}\n{:?}", loaded.warnings);
            }
        }
    }

    /// A break must be seen in the negotiation, not be refused as a mistake in a file.
    #[test]
    fn every_fault_is_written_as_a_valid_file() {
        let secret = |_: &Path| {
            let octets = Secret::from_slice(b"zQ3vB7xK1mN5pR9tW2yA4cE6gH8jL0sU");
            Ok(SecretFile { octets, mode: 0o100_600 })
        };
        let faults = Fault::value_variants().iter().copied().map(Some).chain([None]);
        for fault in faults {
            for (site, no_esn) in [(Site::Oslo, true), (Site::Berlin, false)] {
                let settings = Settings { no_esn, ..settings() };
                let text = settings.tunnel(site, fault);
                let path = PathBuf::from(format!("tunnels/{}.toml", site.other().name()));
                let loaded = load(&[SourceFile { path, text: text.clone() }], &secret);
                let loaded = loaded.unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
                assert!(loaded.warnings.is_empty(), "{text}\n{:?}", loaded.warnings);
            }
        }
    }
}
