//! What two peers are configured with before a run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_db::{ChildConfig, Connection, HostSpec, PpkId, TsSpec};
use adit_ike::EndpointConfig;
use adit_pki::{Credentials, Moment};

use crate::network::{Faults, Nat};
use crate::pair::Pair;
use crate::{Child, Seed};

/// Two configured peers; change what the test is about, then [`Setup::pair`].
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the randomness comes from.
    pub seed: Seed,
    /// The left side's connection.
    pub left: Connection,
    /// The right side's connection.
    pub right: Connection,
    /// The left endpoint's settings.
    pub left_config: EndpointConfig,
    /// The right endpoint's settings.
    pub right_config: EndpointConfig,
    /// The left side's pre-shared key; none if it has none for this peer.
    pub left_secret: Option<String>,
    /// The right side's pre-shared key.
    pub right_secret: Option<String>,
    /// What both sides prove themselves by in rounds of authentication after the first (RFC 4739).
    pub later_secret: Option<String>,
    /// The left side's post-quantum key, whatever its name.
    pub left_ppk: Option<String>,
    /// The right side's post-quantum key.
    pub right_ppk: Option<String>,
    /// PPKs of single names, on both sides; each goes before the side's own.
    pub ppks_of: Vec<(PpkId, String)>,
    /// The left side's private keys, certificates and authorities.
    pub left_credentials: Arc<Credentials>,
    /// The right side's.
    pub right_credentials: Arc<Credentials>,
    /// What the calendar of both says, for certificates; it stands still.
    pub calendar: Moment,
    /// How bad the network is.
    pub faults: Faults,
    /// A NAT in front of the left side.
    pub nat: Option<Nat>,
    /// Whether keys and nonces come from the operating system: for measuring, as algorithms made
    /// for seeded runs are slower. Such a run does not repeat.
    pub system_randomness: bool,
}

impl Setup {
    /// Two gateways, `left.example` and `right.example`, with one secret and one child between
    /// `10.1.0.0/24` and `10.2.0.0/24`. Nothing happens by itself: no liveness checks, no child
    /// that is kept up.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            left: connection("left", LEFT, "right", RIGHT, ["10.1.0.0/24", "10.2.0.0/24"]),
            right: connection("right", RIGHT, "left", LEFT, ["10.2.0.0/24", "10.1.0.0/24"]),
            left_config: EndpointConfig::default(),
            right_config: EndpointConfig::default(),
            left_secret: Some(SECRET.to_owned()),
            right_secret: Some(SECRET.to_owned()),
            later_secret: None,
            left_ppk: None,
            right_ppk: None,
            ppks_of: Vec::new(),
            left_credentials: Arc::default(),
            right_credentials: Arc::default(),
            calendar: Moment(1_800_000_000),
            faults: Faults::NONE,
            nat: None,
            system_randomness: false,
        }
    }

    /// Puts a NAT with a public address of its own in front of the left side.
    #[must_use]
    pub fn behind_nat(mut self) -> Self {
        self.nat = Some(Nat::new(NAT));
        // The right side does not know where the left one will come from.
        self.right.remote_addresses = vec![HostSpec::Any];
        self
    }

    /// Adds a second child, `10.1.N.0/24` to `10.2.N.0/24`, to both sides.
    #[must_use]
    pub fn with_child(mut self, number: u8) -> Self {
        let [left, right] = [1, 2].map(|side| format!("10.{side}.{number}.0/24"));
        let name = format!("net-{number}");
        self.left.children.push(child(&name, [&left, &right]));
        self.right.children.push(child(&name, [&right, &left]));
        self
    }

    /// The two peers, connections loaded, nothing sent.
    pub fn pair(self) -> Pair {
        Pair::new(self)
    }

    pub(crate) fn child_name(connection: &Connection, child: Child) -> adit_db::ChildName {
        let Child(index) = child;
        let child = connection.children.get(index).expect("the test names a configured child");
        child.name.clone()
    }

    pub(crate) fn shared(connection: &Connection) -> Arc<Connection> {
        Arc::new(connection.clone())
    }
}

fn connection(
    us: &str,
    our_address: IpAddr,
    them: &str,
    their_address: IpAddr,
    networks: [&str; 2],
) -> Connection {
    let name = "tunnel".parse().expect("a legal name");
    let mut connection = Connection::new(name);
    connection.local_addresses = vec![HostSpec::Address(our_address)];
    connection.remote_addresses = vec![HostSpec::Address(their_address)];
    let identity = |who: &str| format!("{who}.example");
    connection.pad.local_id = Some(identity(us).parse().expect("a legal identity"));
    connection.pad.remote_id = identity(them).parse().expect("a legal identity");
    connection.dpd_delay = Duration::ZERO;
    connection.children = vec![child("net", networks)];
    connection
}

fn child(name: &str, [local, remote]: [&str; 2]) -> ChildConfig {
    let mut child = ChildConfig::new(name.parse().expect("a legal name"));
    let selector = |text: &str| -> TsSpec { text.parse().expect("a legal selector") };
    child.local_ts = vec![selector(local)];
    child.remote_ts = vec![selector(remote)];
    child
}

/// The left side's address.
pub(crate) const LEFT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// The right side's address.
pub(crate) const RIGHT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));
/// The public address of the NAT.
const NAT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 3));
const SECRET: &str = "correct horse battery staple";
