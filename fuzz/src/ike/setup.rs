//! What two hosts are configured with.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use adit_db::{
    ChildConfig, Connection, HostSpec, IkeVersion, Keep, LifetimeSpec, LimitSpec, ProposalSpec,
    TsSpec,
};
use adit_ike::{EndpointConfig, Retransmission, Retry};

use crate::Choices;

/// The left host's address.
pub const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The right host's address.
pub const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
/// Somebody else's.
pub const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3));

/// Which algorithms both sides have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// One AEAD suite and X25519: cheap.
    Fast,
    /// CBC with HMAC, two groups with the wrong guess first, ESN, keys of their own for children.
    Cbc,
    /// What we offer by default, ML-KEM and all.
    Default,
}

/// Both configurations.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The left host's connection.
    pub left: Arc<Connection>,
    /// The right host's.
    pub right: Arc<Connection>,
    /// Both endpoints' settings.
    pub config: EndpointConfig,
}

impl Setup {
    /// Small limits, so that an input reaches them, and what the first octets say.
    pub fn choose(left_keep: Keep, choices: &mut Choices<'_>) -> Self {
        let flags = choices.u8();
        let flavour = match flags & 7 {
            0..5 => Flavour::Fast,
            5 | 6 => Flavour::Cbc,
            _ => Flavour::Default,
        };
        let mut config = config();
        if flags & 8 != 0 {
            config.cookie_threshold = 0;
        }
        let mut left = connection("left", LEFT, "right", RIGHT, [1, 2], flavour);
        let mut right = connection("right", RIGHT, "left", LEFT, [2, 1], flavour);
        if flavour == Flavour::Cbc {
            // The left side guesses the other group first.
            let text = "aes128-sha256-ecp256-x25519";
            left.proposals = ProposalSpec::ike_list(text).expect("known words");
        }
        for connection in [&mut left, &mut right] {
            connection.fragmentation = flags & 16 == 0;
            if flags & 32 != 0 {
                connection.dpd_delay = Duration::from_secs(30);
            }
            if flags & 64 != 0 {
                connection.rekey_time = Duration::from_secs(90);
                connection.over_time = Duration::from_secs(30);
                connection.rand_time = Duration::from_secs(10);
            }
        }
        left.children = left.children.into_iter().map(|child| child.kept(left_keep)).collect();
        Self { left: Arc::new(left), right: Arc::new(right), config }
    }

    /// The same with a tunnel of IKEv1.
    pub fn choose_v1(left_keep: Keep, choices: &mut Choices<'_>) -> Self {
        let is_legacy = choices.u8() & 1 != 0;
        let (ike, esp) = match is_legacy {
            // Blocks of eight octets.
            true => ("3des-sha1-modp1024", "aes128gcm16-ecp256,aes128-sha1"),
            false => ("aes128-sha256-ecp256", "aes128gcm16"),
        };
        let setup = Self::choose(left_keep, choices);
        let changed = |connection: &Connection| {
            let mut connection = connection.clone();
            connection.ike = IkeVersion::V1;
            connection.proposals = ProposalSpec::ike_list(ike).expect("known words");
            for child in &mut connection.children {
                child.proposals = ProposalSpec::esp_list(esp).expect("known words");
            }
            Arc::new(connection)
        };
        let (left, right) = (changed(&setup.left), changed(&setup.right));
        Self { left, right, ..setup }
    }
}

fn config() -> EndpointConfig {
    EndpointConfig {
        cookie_threshold: 3,
        half_open_max: HALF_OPEN_MAX,
        half_open_per_address_max: HALF_OPEN_MAX - 1,
        connecting: Retransmission {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(4),
            transmissions: 4,
        },
        established: Retransmission {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(4),
            transmissions: 4,
        },
        retry: Retry { first: Duration::from_secs(1), longest: Duration::from_secs(10) },
        export_keys: true,
        ..EndpointConfig::default()
    }
}

/// Half-open IKE SAs a host may have.
pub(super) const HALF_OPEN_MAX: usize = 6;

fn connection(
    us: &str,
    our_address: IpAddr,
    them: &str,
    their_address: IpAddr,
    [our_net, their_net]: [u8; 2],
    flavour: Flavour,
) -> Connection {
    let mut connection = Connection::new("tunnel".parse().expect("a name"));
    connection.local_addresses = vec![HostSpec::Address(our_address)];
    connection.remote_addresses = vec![HostSpec::Address(their_address)];
    connection.pad.local_id = Some(format!("{us}.example").parse().expect("an identity"));
    connection.pad.remote_id = format!("{them}.example").parse().expect("an identity");
    connection.dpd_delay = Duration::ZERO;
    let (ike, esp) = match flavour {
        Flavour::Fast => ("aes128gcm16-prfsha256-x25519", "aes128gcm16-noesn"),
        Flavour::Cbc => ("aes128-sha256-x25519-ecp256", "aes128-sha256-x25519-esn"),
        // Here the peer may go on with IKE_FOLLOWUP_KE for a child, too.
        Flavour::Default => ("default", "aes256gcm16-x25519-ke1_mlkem512-ke1_none-esn,default"),
    };
    connection.proposals = ProposalSpec::ike_list(ike).expect("known words");
    let nets = |net: u8| [format!("10.{net}.0.0/16"), format!("fd0{net}::/48[tcp/443]")];
    connection.children = ["net", "web"]
        .iter()
        .zip(nets(our_net).into_iter().zip(nets(their_net)))
        .map(|(name, (local, remote))| {
            let mut child = ChildConfig::new(name.parse().expect("a name"));
            let selector = |text: String| text.parse::<TsSpec>().expect("a selector");
            child.local_ts = vec![selector(local)];
            child.remote_ts = vec![selector(remote)];
            child.proposals = ProposalSpec::esp_list(esp).expect("known words");
            let seconds = LimitSpec { soft: 60, hard: 80, rand: 10 };
            child.lifetime = LifetimeSpec { seconds, ..child.lifetime };
            child
        })
        .collect();
    connection
}
