//! Remote clients: users beside their devices, addresses from a pool, and what goes with an address.
//!
//! IKEv1 says this by XAUTH and Mode-Config (draft-ietf-ipsec-isakmp-xauth-06,
//! draft-ietf-ipsec-isakmp-mode-cfg-05); the values are those of IKEv2's Configuration payload, too
//! (RFC 7296 §3.15).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// What of remote access a connection has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RemoteAccess {
    /// Whether a user has to say who they are once the devices know each other.
    pub user: UserAuth,
    /// Whether our address inside comes from the peer.
    pub client: Option<ConfigClient>,
    /// What the peer gets from us.
    pub server: Option<ConfigServer>,
}

impl RemoteAccess {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.user == UserAuth::None && self.client.is_none() && self.server.is_none()
    }
}

/// A user's authentication after that of the devices.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum UserAuth {
    /// There is none.
    #[default]
    None,
    /// We are the user: the peer asks, and whoever has our secrets has the password.
    Ours {
        /// What we are called.
        name: String,
    },
    /// The peer is: it has to be one of the users whom whoever has our secrets knows.
    Peers {
        /// What it is shown when it is asked.
        message: Option<String>,
    },
}

/// Who begins where an address is handed out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ConfigMode {
    /// The client asks.
    #[default]
    Pull,
    /// The server gives unasked.
    Push,
}

/// We get an address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigClient {
    /// Whether we ask, or wait.
    pub mode: ConfigMode,
}

/// We give one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigServer {
    /// Whether the peer asks, or we give unasked.
    pub mode: ConfigMode,
    /// The addresses: the hosts of these networks.
    pub pool: Vec<IpNet>,
    /// What goes with them, but for the address itself.
    pub settings: ClientSettings,
}

/// What a client is told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientSettings {
    /// Its addresses inside; at most one of each family is used.
    pub addresses: Vec<IpAddr>,
    /// The mask of its network, which means nothing in a tunnel.
    pub netmask: Option<Ipv4Addr>,
    /// Who resolves names inside.
    pub dns: Vec<IpAddr>,
    /// WINS servers.
    pub nbns: Vec<Ipv4Addr>,
    /// For how long the address is the client's, in seconds; none is as long as the IKE SA.
    pub expiry_s: Option<u32>,
    /// The domain of short names.
    pub domain: Option<String>,
    /// Domains that are resolved inside; none is all.
    pub split_dns: Vec<String>,
    /// Networks that the tunnel is for; none is all.
    pub split: Vec<IpNet>,
    /// Networks that it is not for.
    pub exclude: Vec<IpNet>,
    /// For people to read.
    pub banner: Option<String>,
    /// Whether the client may keep the user's password.
    pub save_password: bool,
    /// The group of the key exchange that quick modes are to have.
    pub pfs_group: Option<u16>,
    /// What the peer says it is.
    pub version: Option<String>,
}

impl ClientSettings {
    /// The address of the family of another; the first if there is no other.
    #[must_use]
    pub fn address_for(&self, other: Option<IpAddr>) -> Option<IpAddr> {
        let of_family =
            |address: &&IpAddr| other.is_none_or(|it| it.is_ipv4() == address.is_ipv4());
        self.addresses.iter().find(of_family).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_family_of_what_it_speaks_with() {
        let [four, six]: [IpAddr; 2] = ["10.9.0.1", "fd09::1"].map(|text| text.parse().unwrap());
        let settings = ClientSettings { addresses: vec![four, six], ..ClientSettings::default() };
        assert_eq!(settings.address_for(None), Some(four));
        assert_eq!(settings.address_for(Some("fd01::".parse().unwrap())), Some(six));
        let only = ClientSettings { addresses: vec![four], ..ClientSettings::default() };
        assert_eq!(only.address_for(Some(six)), None);
        assert_eq!(ClientSettings::default().address_for(Some(six)), None);
        assert!(RemoteAccess::default().is_none());
    }
}
