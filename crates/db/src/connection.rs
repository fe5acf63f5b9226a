//! Connections and children as configured: everything a negotiation may agree to.
//!
//! A value here says what the operator wants; [`crate::child_sa::ChildSa`] says what two peers
//! agreed on. The terms are those of `swanctl.conf`; defaults stand in one place each
//! ([`Connection::new`], [`ChildConfig::new`], [`LifetimeSpec::default`]).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;

use crate::childless::Childless;
use crate::dscp_class::DscpClass;
use crate::gateway::Redirect;
use crate::host::HostSpec;
use crate::icmp::IcmpRules;
use crate::kernel::KernelOptions;
use crate::lifetime::LifetimeSpec;
use crate::lifetime_rule::LifetimeRule;
use crate::mtu_policy::MtuPolicy;
use crate::names::{ChildName, ConnectionName};
use crate::nonce_encryption::NonceEncryption;
use crate::outer_header::{DfPolicy, Dscp, DscpPolicy, EcnPolicy};
use crate::pad::PadEntry;
use crate::pfp::Pfp;
use crate::proposal::ProposalSpec;
use crate::remote_access::RemoteAccess;
use crate::replay::WindowSize;
use crate::ts_spec::TsSpec;

/// One peer, how to reach it, who it must be, and what to negotiate with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The operator's name for it.
    pub name: ConnectionName,
    /// Which protocol negotiates with the peer.
    pub ike: IkeVersion,
    /// Whether aggressive mode of IKEv1 may take the place of main mode.
    pub aggressive: Aggressive,
    /// Whether base mode of IKEv1 may.
    pub base_mode: BaseMode,
    /// Addresses we use; empty is any.
    pub local_addresses: Vec<HostSpec>,
    /// Where the peer is, in order of trial; empty is anywhere, so that only the peer can
    /// initiate.
    pub remote_addresses: Vec<HostSpec>,
    /// UDP ports of the first message.
    pub ports: Ports,
    /// TCP ports of the peer, in order of trial; empty where its IKE and ESP may not go through TCP
    /// (RFC 9329).
    pub tcp_ports: Vec<u16>,
    /// Who we are, who the peer must be.
    pub pad: PadEntry,
    /// Whether IKEv1 proves who both are by decrypting, with the keys that `pad` names for signatures; of
    /// the peer's there is one.
    pub nonce_encryption: Option<NonceEncryption>,
    /// IKE proposals in order of preference.
    pub proposals: Vec<ProposalSpec>,
    /// Whether ESP runs inside UDP.
    pub encap: Encap,
    /// Who protects its packets.
    pub engine: Engine,
    /// The connection whose child SAs protect once more what those of this one have sealed (RFC 4301
    /// §4.4.1, nested SAs). It has one child, of its own name.
    pub over: Option<ConnectionName>,
    /// Whether its SAs are those of the first packet thread: what other connections send through it
    /// comes out there.
    pub on_first_thread: bool,
    /// Whether IKE messages may be fragmented (RFC 7383).
    pub fragmentation: bool,
    /// Whether its IKE SAs move when an address changes (RFC 4555).
    pub mobike: Mobike,
    /// Time between NAT keepalives (RFC 3948 §2.3); zero is off.
    pub keepalive: Duration,
    /// Silence after which the peer is asked for a sign of life (RFC 7296 §2.4); zero is off.
    pub dpd_delay: Duration,
    /// Age at which the IKE SA is rekeyed; zero is never.
    pub rekey_time: Duration,
    /// Time after `rekey_time` or `reauth_time` at which an IKE SA that could not be renewed is
    /// deleted.
    pub over_time: Duration,
    /// Upper bound of the random time that `rekey_time` and `reauth_time` are shortened by.
    pub rand_time: Duration,
    /// Time after which both sides authenticate again (RFC 4478); zero is never.
    pub reauth_time: Duration,
    /// What the lifetimes that the peer offers are held against; of IKEv1 alone.
    pub lifetime_rule: LifetimeRule,
    /// What a second IKE SA with the same peer does to the first.
    pub unique: Unique,
    /// How long an unreachable peer is tried.
    pub reach: KeyingTries,
    /// Whether an IKE SA may begin without a child (RFC 6023).
    pub childless: Childless,
    /// Other gateways (RFC 5685).
    pub redirect: Redirect,
    /// Whether an IKE SA that was interrupted is resumed with a ticket (RFC 5723).
    pub resumption: bool,
    /// Users, and addresses inside that one side has from the other.
    pub remote_access: RemoteAccess,
    /// Children in configured order.
    pub children: Vec<ChildConfig>,
}

impl Connection {
    /// Time between NAT keepalives: 20 s, RFC 3948 §4.
    pub const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(20);
    /// Silence before a liveness check: 30 s.
    pub const DEFAULT_DPD_DELAY: Duration = Duration::from_secs(30);
    /// Age of an IKE SA at its rekeying: 4 h.
    pub const DEFAULT_REKEY_TIME: Duration = Duration::from_hours(4);
    /// Grace after `rekey_time`: a tenth of it.
    pub const DEFAULT_OVER_TIME: Duration = Duration::from_mins(24);

    /// A connection with every value at its default: any addresses, ports 500, default proposals,
    /// UDP by NAT detection, fragmentation, and no children.
    pub fn new(name: ConnectionName) -> Self {
        Self {
            name,
            ike: IkeVersion::default(),
            aggressive: Aggressive::default(),
            base_mode: BaseMode::default(),
            local_addresses: Vec::new(),
            remote_addresses: Vec::new(),
            ports: Ports::default(),
            tcp_ports: Vec::new(),
            pad: PadEntry::default(),
            nonce_encryption: None,
            proposals: ProposalSpec::ike_default(),
            encap: Encap::default(),
            engine: Engine::default(),
            over: None,
            on_first_thread: false,
            fragmentation: true,
            mobike: Mobike::default(),
            keepalive: Self::DEFAULT_KEEPALIVE,
            dpd_delay: Self::DEFAULT_DPD_DELAY,
            rekey_time: Self::DEFAULT_REKEY_TIME,
            over_time: Self::DEFAULT_OVER_TIME,
            // swanctl: rand_time is as long as over_time unless given.
            rand_time: Self::DEFAULT_OVER_TIME,
            reauth_time: Duration::ZERO,
            lifetime_rule: LifetimeRule::default(),
            unique: Unique::default(),
            reach: KeyingTries::default(),
            childless: Childless::default(),
            redirect: Redirect::default(),
            resumption: false,
            remote_access: RemoteAccess::default(),
            children: Vec::new(),
        }
    }

    /// Whether shared ESP packets are negotiated for a child (RFC 9347): where they are wanted, and
    /// where the engine in user space is the last to protect its packets.
    pub fn negotiates_aggfrag(&self, child: &ChildConfig) -> bool {
        self.engine == Engine::Userspace && self.over.is_none() && child.may_share_packets()
    }

    /// The child of that name.
    pub fn child(&self, name: &ChildName) -> Option<&ChildConfig> {
        self.children.iter().find(|child| child.name == *name)
    }

    /// The children that share a child's traffic by DSCP, that with the rest first; only the child
    /// if it has no classes.
    pub fn classes_with<'a>(
        &'a self,
        child: &'a ChildConfig,
    ) -> impl Iterator<Item = &'a ChildConfig> {
        let rest = child.class.as_ref().map_or(&child.name, |class| &class.of);
        let is_class =
            move |one: &&ChildConfig| one.class.as_ref().is_some_and(|class| class.of == *rest);
        self.child(rest).into_iter().chain(self.children.iter().filter(is_class))
    }

    /// The children beside this one that are for one resource each (RFC 9611), in order.
    pub fn resources_of<'a>(
        &'a self,
        child: &'a ChildConfig,
    ) -> impl Iterator<Item = &'a ChildConfig> {
        self.classes_with(child).filter(|one| one.resource.is_some())
    }

    /// The child that carries a packet with this DSCP among those that share a child's traffic.
    pub fn class_for<'a>(&'a self, child: &'a ChildConfig, dscp: Dscp) -> &'a ChildConfig {
        let takes = |one: &&ChildConfig| {
            one.class.as_ref().is_some_and(|class| class.code_points.contains(dscp))
        };
        let mut classes = self.classes_with(child);
        let first = classes.next();
        classes.find(takes).or(first).unwrap_or(child)
    }

    /// The first selector of a child in transport mode that is more than the two ends themselves:
    /// what others send has no place in such an SA (RFC 4301 §4.1).
    pub fn beyond_ends<'a>(&self, child: &'a ChildConfig) -> Option<&'a TsSpec> {
        let side = |selectors: &'a [TsSpec], hosts: &[HostSpec]| {
            selectors.iter().find(|ts| match ts.selector() {
                None => false,
                Some(ts) if ts.start != ts.end => true,
                Some(ts) => !hosts.is_empty() && !hosts.contains(&HostSpec::Address(ts.start)),
            })
        };
        side(&child.local_ts, &self.local_addresses)
            .or_else(|| side(&child.remote_ts, &self.remote_addresses))
            .filter(|_| child.mode == Mode::Transport)
    }

    /// Whether we may go over to TCP where UDP does not pass (RFC 9329 §5.1).
    pub fn may_fall_back(&self) -> bool {
        self.encap == Encap::Auto && !self.tcp_ports.is_empty()
    }

    /// Whether its IKE and ESP may be carried by TCP, whoever has opened the connection: only our own
    /// engine has a way there, and a tunnel inside another one has none.
    pub fn fits_tcp(&self) -> bool {
        self.engine == Engine::Userspace && self.over.is_none() && self.encap != Encap::Esp
    }

    /// Whether its IKE SAs may move (RFC 4555): selectors of transport mode are the addresses
    /// themselves, and where a peer behind another tunnel is, that tunnel says.
    pub fn may_move(&self) -> bool {
        let is_bound = |child: &ChildConfig| child.mode == Mode::Transport;
        self.mobike != Mobike::No && self.over.is_none() && !self.children.iter().any(is_bound)
    }

    /// Whether we may use this address of ours.
    pub fn may_use(&self, address: IpAddr) -> bool {
        let allows = |host: &HostSpec| host.contains(address).unwrap_or(true);
        self.local_addresses.is_empty() || self.local_addresses.iter().any(allows)
    }

    /// Whether we could initiate: at least one remote address names a single host.
    pub fn can_initiate(&self) -> bool {
        self.remote_addresses.iter().any(HostSpec::is_single)
    }
}

/// Which protocol negotiates: they have nothing in common but the port.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IkeVersion {
    /// IKEv1 (RFC 2409), for peers that have nothing else.
    V1,
    /// IKEv2 (RFC 7296).
    #[default]
    V2,
}

/// Whether phase 1 of IKEv1 may be aggressive mode (RFC 2409 §5), which says in clear who both ends are,
/// and with a pre-shared key gives whoever asks something to guess the key from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Aggressive {
    /// No.
    #[default]
    Refuse,
    /// If the peer begins so.
    Allow,
    /// We begin so, too.
    Initiate,
}

/// Whether phase 1 of IKEv1 may be base mode (draft-ietf-ipsec-ike-base-mode-02), which says in clear who
/// both ends are, and has the initiator prove itself before the responder computes much or shows anything to
/// guess a pre-shared key from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum BaseMode {
    /// No.
    #[default]
    Refuse,
    /// If the peer begins so.
    Allow,
    /// We begin so, too.
    Initiate,
}

/// UDP ports of the first IKE message; after NAT detection both become 4500.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ports {
    /// Our port.
    pub local: u16,
    /// The peer's port.
    pub remote: u16,
}

/// Port 500 on both sides, RFC 7296 §2.
impl Default for Ports {
    fn default() -> Self {
        Self { local: 500, remote: 500 }
    }
}

/// How ESP packets travel.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Encap {
    /// Inside UDP if a NAT is detected or the peer, an Adit, prefers it as we do; else as IP protocol
    /// 50 (RFC 7296 §2.23); inside TCP while UDP does not pass and [`Connection::tcp_ports`] has
    /// any.
    #[default]
    Auto,
    /// Always inside UDP (RFC 3948).
    Udp,
    /// Always as IP protocol 50; fails behind most NATs.
    Esp,
    /// IKE and ESP always inside TCP (RFC 9329), to the first of [`Connection::tcp_ports`].
    Tcp,
}

/// Whether an IKE SA moves with the addresses of its ends (RFC 4555).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mobike {
    /// No: it ends with the address of either side.
    No,
    /// If the peer does so, too. Packets follow to an address that nobody has vouched for when it has
    /// answered (§3.7).
    #[default]
    Yes,
    /// The same without that check: peers are trusted not to name somebody else's address.
    Unchecked,
}

/// Who protects the packets of a connection. Both engines take the same [`crate::ChildSa`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Engine {
    /// This program, through its TUN interface.
    #[default]
    Userspace,
    /// The kernel.
    Kernel,
    /// The kernel if it has everything that may be negotiated, else this program. Who loads a
    /// connection decides: where SAs are made there is no such value any more.
    Auto,
}

impl Engine {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
            Self::Kernel => "kernel",
            Self::Auto => "auto",
        }
    }

    /// The engine that has an inbound SPI.
    pub fn of(spi: Spi) -> Self {
        if spi.0 & KERNEL_SPI == 0 { Self::Userspace } else { Self::Kernel }
    }

    /// The SPI made an inbound one of this engine. The top bit says whose it is, as both engines
    /// share one UDP port and a packet must find the right one.
    pub fn own(self, spi: Spi) -> Spi {
        match self {
            Self::Kernel => Spi(spi.0 | KERNEL_SPI),
            Self::Userspace | Self::Auto => Spi(spi.0 & !KERNEL_SPI),
        }
    }
}

/// The bit of an inbound SPI that says that the kernel has the SA.
pub const KERNEL_SPI: u32 = 1 << 31;

/// What happens to an IKE SA when another with the same identities is made (RFC 7296 §2.4).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Unique {
    /// The new one replaces the old one.
    #[default]
    Replace,
    /// The old one stays and the new one is refused.
    Keep,
    /// Both live; an initial contact notify still clears the old one.
    Never,
    /// Both live whatever is said, and we do not say INITIAL_CONTACT: several hosts have the identity.
    Replicated,
}

/// How often an unreachable peer is tried before a wanted connection gives up.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum KeyingTries {
    /// So many rounds of retransmission, then the failure is final.
    Tries(NonZeroU32),
    /// Again and again, with growing pauses.
    #[default]
    Forever,
}

/// One child: which traffic, protected how, kept in which state.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildConfig {
    /// The operator's name for it, unique within the connection.
    pub name: ChildName,
    /// What we speak for.
    pub local_ts: Vec<TsSpec>,
    /// What the peer speaks for.
    pub remote_ts: Vec<TsSpec>,
    /// ESP or AH proposals in order of preference.
    pub proposals: Vec<ProposalSpec>,
    /// AH proposals in order of preference, if AH goes around ESP (RFC 2401 §4.3); none without. Of IKEv1
    /// alone.
    pub outer_ah: Vec<ProposalSpec>,
    /// What is asked for; a peer that declines transport mode gets a tunnel.
    pub mode: Mode,
    /// If it takes some packets from another child.
    pub class: Option<DscpClass>,
    /// How many children beside it have its selectors and are for one resource of the sender each
    /// (RFC 9611): it is their fallback.
    pub cpus: u16,
    /// Of a child that is for one: its number, from 0. It takes no code points from the fallback, but
    /// what the thread of that number sends.
    pub resource: Option<u16>,
    /// Desired state.
    pub keep: Keep,
    /// Which selectors come from the packet that asks for the child; only if that is on demand.
    pub pfp: Pfp,
    /// Limits after which the child is rekeyed and deleted.
    pub lifetime: LifetimeSpec,
    /// Replay window; zero switches replay protection and with it ESN off (CHECKLIST E16).
    pub replay_window: WindowSize,
    /// That of the peer, which no protocol tells: what several threads send at the same time arrives
    /// in another order, and a narrow window takes that for replays.
    pub peer_replay_window: WindowSize,
    /// What becomes of ICMP messages.
    pub icmp: IcmpRules,
    /// The DSCP of the outer header.
    pub dscp: DscpPolicy,
    /// The ECN field of the outer header.
    pub ecn: EcnPolicy,
    /// The DF bit of an outer IPv4 header; in tunnel mode.
    pub df: DfPolicy,
    /// How its path MTU is found and kept.
    pub mtu: MtuPolicy,
    /// What lengths and pauses tell; in tunnel mode.
    pub tfc: Tfc,
    /// Whether to compress what is protected, if the peer does so, too (RFC 3173).
    pub compress: bool,
    /// Whether to negotiate what makes a tunnel faster between peers that can: that inner packets
    /// share ESP packets (RFC 9347).
    pub turbo: bool,
    /// What only the kernel does, as engine.
    pub kernel: KernelOptions,
    /// What happens when the peer is found dead.
    pub dpd_action: EndAction,
    /// What happens when the peer deletes the child.
    pub close_action: EndAction,
}

impl ChildConfig {
    /// A child with every value at its default: `dynamic` selectors, default proposals, passive.
    pub fn new(name: ChildName) -> Self {
        Self {
            name,
            local_ts: vec![TsSpec::DYNAMIC],
            remote_ts: vec![TsSpec::DYNAMIC],
            proposals: ProposalSpec::esp_default(),
            outer_ah: Vec::new(),
            mode: Mode::default(),
            class: None,
            cpus: 0,
            resource: None,
            keep: Keep::default(),
            pfp: Pfp::NONE,
            lifetime: LifetimeSpec::default(),
            replay_window: WindowSize::DEFAULT,
            peer_replay_window: WindowSize::MIN,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::default(),
            ecn: EcnPolicy::default(),
            df: DfPolicy::default(),
            mtu: MtuPolicy::default(),
            tfc: Tfc::OFF,
            compress: false,
            turbo: true,
            kernel: KernelOptions::default(),
            dpd_action: EndAction::default(),
            close_action: EndAction::default(),
        }
    }

    /// The child with a desired state and the end actions that keep it so.
    #[must_use]
    pub fn kept(self, keep: Keep) -> Self {
        let action = keep.end_action();
        Self { keep, dpd_action: action, close_action: action, ..self }
    }

    /// Whether every proposal is for AH.
    pub fn is_ah_only(&self) -> bool {
        self.proposals.iter().all(|spec| spec.protocol() == ProtocolId::AH)
    }

    /// Whether compression is negotiated: where it is wanted, and makes sense. Padding hides the
    /// lengths that compression shows, and for AH nobody has asked.
    pub fn negotiates_ipcomp(&self) -> bool {
        self.compress && self.is_esp_only() && self.tfc.padding == 0 && self.mode != Mode::Beet
    }

    /// Whether shared ESP packets may be negotiated (RFC 9347): for ESP in tunnel mode, which counts
    /// packets. Padding and dummies hide what this does not, and what is compressed is alone.
    fn may_share_packets(&self) -> bool {
        let is_alone = self.compress || self.tfc != Tfc::OFF;
        let is_fit =
            self.mode == Mode::Tunnel && self.is_esp_only() && !self.replay_window.is_off();
        self.turbo && is_fit && !is_alone
    }

    /// Whether every proposal is for ESP.
    pub fn is_esp_only(&self) -> bool {
        self.proposals.iter().all(|spec| spec.protocol() == ProtocolId::ESP)
    }

    /// Whether probes of the path MTU are possible, and their lengths give nothing away.
    pub fn may_probe_path(&self) -> bool {
        self.is_esp_only() && self.tfc == Tfc::OFF
    }

    /// The proposals as they may be offered: without ESN where the receiver keeps no replay
    /// window, for it could not follow the high half of the sequence number (CHECKLIST E16).
    pub fn offered_proposals(&self) -> Vec<ProposalSpec> {
        self.offered(&self.proposals)
    }

    /// Those of AH around ESP, likewise.
    pub fn offered_outer_ah(&self) -> Vec<ProposalSpec> {
        self.offered(&self.outer_ah)
    }

    fn offered(&self, specs: &[ProposalSpec]) -> Vec<ProposalSpec> {
        if self.replay_window.is_off() {
            specs.iter().map(ProposalSpec::without_esn).collect()
        } else {
            specs.to_vec()
        }
    }
}

/// Traffic flow confidentiality (RFC 4303 §2.6, §2.7): lengths and pauses that tell nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tfc {
    /// Octets that inner packets are filled up to, as far as the path takes them; zero for none.
    pub padding: u16,
    /// Dummy packets per second while there is nothing else to send; zero for none.
    pub dummies: u16,
}

impl Tfc {
    /// Packets as they are.
    pub const OFF: Self = Self { padding: 0, dummies: 0 };

    /// Padding of every packet to the longest that the path takes.
    pub const TO_MTU: u16 = u16::MAX;

    /// Most dummy packets per second.
    pub const DUMMIES_MAX: u16 = 1_000;
}

/// What an SA protects (RFC 4301 §4.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    /// Whole packets, whoever sent them, inside packets between the peers.
    #[default]
    Tunnel,
    /// What two hosts say to each other, behind the headers of their own packets.
    Transport,
    /// What two hosts behind the peers say to each other, whose addresses do not travel
    /// (draft-nikander-esp-beet-mode).
    Beet,
}

impl Mode {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Transport => "transport",
            Self::Beet => "beet",
        }
    }
}

/// As strongSwan prints it: `TUNNEL`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "TUNNEL",
            Self::Transport => "TRANSPORT",
            Self::Beet => "BEET",
        })
    }
}

/// The state the operator wants a child in.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Keep {
    /// Always up: negotiated at start and again after every loss.
    Up,
    /// Negotiated when the first packet wants through.
    OnDemand,
    /// Only the peer negotiates, or an operator's command.
    #[default]
    Passive,
}

impl Keep {
    /// What must follow the end of a child so that the desired state holds.
    pub fn end_action(self) -> EndAction {
        match self {
            Self::Up => EndAction::Restart,
            Self::OnDemand => EndAction::Trap,
            Self::Passive => EndAction::Clear,
        }
    }
}

/// What follows the end of a child that nobody here asked for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EndAction {
    /// Nothing.
    #[default]
    Clear,
    /// The next packet negotiates it again.
    Trap,
    /// It is negotiated again at once.
    Restart,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let connection = Connection::new("berlin".parse().unwrap());
        assert_eq!(connection.over_time * 10, connection.rekey_time);
        assert_eq!(connection.proposals, ProposalSpec::ike_default());
        assert!(!connection.can_initiate());
        let child = ChildConfig::new("net".parse().unwrap());
        assert_eq!(child.replay_window.packets(), 1024);
        assert_eq!(child.lifetime.seconds.soft, 3600);
        assert_eq!(child.keep, Keep::Passive);
    }

    #[test]
    fn a_kept_child_comes_back() {
        let child = ChildConfig::new("net".parse().unwrap()).kept(Keep::Up);
        assert_eq!(
            (child.dpd_action, child.close_action),
            (EndAction::Restart, EndAction::Restart)
        );
    }

    #[test]
    fn transport_mode_is_for_the_two_ends() {
        let mut connection = Connection::new("berlin".parse().unwrap());
        connection.remote_addresses = vec![HostSpec::Address("203.0.113.7".parse().unwrap())];
        let mut child = ChildConfig::new("net".parse().unwrap());
        child.mode = Mode::Transport;
        assert_eq!(connection.beyond_ends(&child), None);
        child.remote_ts = vec!["203.0.113.7[tcp/179]".parse().unwrap()];
        assert_eq!(connection.beyond_ends(&child), None);
        for wider in ["203.0.113.8", "203.0.113.0/24"] {
            child.remote_ts = vec![TsSpec::DYNAMIC, wider.parse().unwrap()];
            assert_eq!(connection.beyond_ends(&child), child.remote_ts.last());
        }
        child.mode = Mode::Tunnel;
        assert_eq!(connection.beyond_ends(&child), None);
    }

    /// CHECKLIST E16: replay window zero switches ESN off.
    #[test]
    fn no_window_no_esn() {
        let mut child = ChildConfig::new("net".parse().unwrap());
        child.proposals = ProposalSpec::esp_list("aes256gcm16-esn-noesn").unwrap();
        child.replay_window = WindowSize::OFF;
        assert_eq!(child.offered_proposals()[0].to_string(), "aes256gcm16-noesn");
    }
}
