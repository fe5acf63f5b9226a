//! Who protects a tunnel's packets: decided when it is loaded, since routes and SPIs depend on it
//! before anything is negotiated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use adit_crypto::{Authentication, Protection};
use adit_db::{
    ChildConfig, Connection, ConnectionName, DfPolicy, Dscp, DscpPolicy, Engine, HostSpec,
    HwOffload, IcmpRules, InterfaceName, Mode, MtuPolicy, OperatorPolicy, PolicyId, ProposalSpec,
    SpdEntry, Tfc,
};
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::SysError;
use adit_sys::netlink::{Family, Netlink};
use adit_sys::xfrm::{Missing, Xfrm, probe};
use adit_wire::iana::{IntegrityId, ProtocolId, TransformType};
use adit_wire::ikev2::TrafficSelector;
use tracing::info;

/// Why the kernel cannot be the engine of a tunnel.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It lacks something.
    Missing(String),
    /// The tunnel sets a DSCP.
    Dscp(Dscp),
    /// The tunnel may be one in BEET mode.
    Beet,
    /// The tunnel sets the DF bit.
    Df,
    /// The tunnel has rules for ICMP.
    Icmp,
    /// The tunnel has rules for the path MTU.
    PathMtu,
    /// The tunnel may be one of AH alone.
    Ah,
    /// The tunnel is a bundle of AH and ESP, and asks for what the kernel does not do with two SAs.
    Bundle(&'static str),
    /// The tunnel has an SA for each class of traffic.
    Classes,
    /// The tunnel has SAs for CPUs.
    Cpus,
    /// The tunnel pads packets, or sends dummies.
    Tfc,
    /// The tunnel may compress packets.
    IpComp,
    /// The tunnel goes through another, or another through it.
    Nested,
    /// The tunnel may go over TCP.
    Tcp,
    /// The tunnel takes selectors from packets.
    Pfp,
    /// Some of the traffic is that of an operator's policy.
    Policy(ConnectionName),
    /// The tunnel's interface cannot be made.
    Interface(InterfaceName, String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) | Self::Interface(_, what) => f.write_str(what),
            Self::Dscp(dscp) => write!(f, "the kernel sets no DSCP {} of its own", dscp.get()),
            Self::Beet => f.write_str("BEET mode is done in user space alone"),
            Self::Df => f.write_str("the kernel clears or copies the DF bit, and never sets it"),
            Self::Icmp => f.write_str(
                "the kernel has no rules for ICMP (`icmp`, `icmp_errors`, `icmp_carry`)",
            ),
            Self::PathMtu => f.write_str(
                "the kernel finds the path MTU by itself (`path_mtu`, `path_mtu_age`, `fragment`, \
                 `mss_clamp`, `path_probe`)",
            ),
            Self::Ah => f.write_str("AH without ESP is done in user space alone"),
            Self::Bundle(with) => write!(f, "the kernel has no AH around ESP with {with}"),
            Self::Cpus => f.write_str("the kernel is not asked which CPU sends (`cpus`)"),
            Self::Classes => f.write_str("the kernel has one SA for all classes of traffic"),
            Self::Tfc => f.write_str("the kernel makes no padding and no dummies (TFC)"),
            Self::IpComp => f.write_str("compression (IPComp) is done in user space alone"),
            Self::Nested => f.write_str("tunnels are nested in user space alone (`over`)"),
            Self::Tcp => f.write_str("ESP in TCP (RFC 9329) is done in user space alone"),
            Self::Pfp => f.write_str("the kernel's policies take no selectors from packets (PFP)"),
            Self::Policy(name) => {
                write!(
                    f,
                    "policies/{name}.toml is about its traffic, and the kernel does not ask it"
                )
            }
        }
    }
}

impl Unfit {
    /// What the operator is told who insists on the kernel.
    pub(crate) fn diagnosis(&self, cx: &Context) -> Diagnosis {
        match self {
            Self::Missing(what) => Diagnosis::no_kernel_engine(cx, what),
            Self::Interface(name, what) => Diagnosis::no_interface(cx, name, what),
            Self::Dscp(_)
            | Self::Df
            | Self::Beet
            | Self::Icmp
            | Self::PathMtu
            | Self::Ah
            | Self::Bundle(_)
            | Self::Classes
            | Self::Cpus
            | Self::Tfc
            | Self::IpComp
            | Self::Nested
            | Self::Tcp
            | Self::Pfp
            | Self::Policy(_) => Diagnosis::not_for_kernel(cx, self),
        }
    }
}

/// Asks the kernel, each question once.
#[derive(Default)]
pub(crate) struct EngineChooser {
    xfrm: Option<Result<Xfrm, String>>,
    answers: BTreeMap<(Family, Protection), Result<(), String>>,
    /// Connections that others go through.
    outer: BTreeSet<ConnectionName>,
}

impl EngineChooser {
    /// Asks about connections of which those in `outer` have others going through them.
    pub(crate) fn with_outer(outer: BTreeSet<ConnectionName>) -> Self {
        Self { outer, ..Self::default() }
    }

    /// The engine of a connection. `auto` is the kernel if it has every algorithm that may be
    /// negotiated, else user space, and the log says why.
    pub(crate) fn choose(
        &mut self,
        connection: &Connection,
        policies: &[OperatorPolicy],
    ) -> Result<Engine, Unfit> {
        match connection.engine {
            Engine::Userspace => Ok(Engine::Userspace),
            // What asks for the kernel's own means has no use for user space.
            Engine::Auto if wants_kernel(connection) => {
                self.fit(connection, policies).map(|()| Engine::Kernel)
            }
            Engine::Kernel => self.fit(connection, policies).map(|()| Engine::Kernel),
            Engine::Auto => match self.fit(connection, policies) {
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

    fn fit(&mut self, connection: &Connection, policies: &[OperatorPolicy]) -> Result<(), Unfit> {
        if connection.over.is_some() || self.outer.contains(&connection.name) {
            return Err(Unfit::Nested);
        }
        if !connection.tcp_ports.is_empty() {
            return Err(Unfit::Tcp);
        }
        for child in &connection.children {
            could_do(child)?;
            if let Some(policy) = policies.iter().find(|one| overlaps(one, connection, child)) {
                return Err(Unfit::Policy(policy.name.clone()));
            }
            for family in families(connection) {
                for suite in suites(child) {
                    self.ask(family, suite).map_err(Unfit::Missing)?;
                }
            }
            if let Some(interface) = &child.kernel.steering.interface {
                ask_for_interface(interface)?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, family: Family, suite: Protection) -> Result<(), String> {
        if let Some(answer) = self.answers.get(&(family, suite)) {
            return answer.clone();
        }
        let words = |missing: Missing| missing.to_string();
        let answer = match self.xfrm.get_or_insert_with(|| Xfrm::open().map_err(words)) {
            Ok(xfrm) => probe(xfrm, suite, family).map_err(words),
            Err(missing) => Err(missing.clone()),
        };
        self.answers.insert((family, suite), answer.clone());
        answer
    }
}

/// Whether an interface could have this name, and be one of the kernel's IPsec.
fn ask_for_interface(name: &InterfaceName) -> Result<(), Unfit> {
    let ask = || -> Result<Result<(), Unfit>, SysError> {
        let mut netlink = Netlink::open()?;
        if !netlink.has_xfrm_links()? {
            return Ok(Err(Unfit::Missing(NO_INTERFACES.to_owned())));
        }
        let taken = netlink.link_by_name(name.as_str()).is_ok();
        // Ours, or that of an earlier run, which goes.
        let ours = netlink.our_xfrm_links()?.iter().any(|(_, known)| known == name.as_str());
        Ok(if taken && !ours {
            let error = SysError::InterfaceExists { name: name.to_string() };
            Err(Unfit::Interface(name.clone(), error.to_string()))
        } else {
            Ok(())
        })
    };
    ask().unwrap_or_else(|error| Err(Unfit::Interface(name.clone(), error.to_string())))
}

/// Whether a connection asks for what only the kernel has.
fn wants_kernel(connection: &Connection) -> bool {
    connection.children.iter().any(|child| child.kernel.key().is_some())
}

const NO_INTERFACES: &str =
    "the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE, module xfrm_interface)";

/// What no kernel does, or not for us.
fn could_do(child: &ChildConfig) -> Result<(), Unfit> {
    match child.dscp {
        DscpPolicy::Set(dscp) if dscp != Dscp::default() => return Err(Unfit::Dscp(dscp)),
        DscpPolicy::Set(_) | DscpPolicy::Copy => {}
    }
    if child.mode == Mode::Beet {
        return Err(Unfit::Beet);
    }
    if child.cpus > 0 {
        return Err(Unfit::Cpus);
    }
    if child.class.is_some() {
        return Err(Unfit::Classes);
    }
    if child.df == DfPolicy::Set {
        return Err(Unfit::Df);
    }
    if child.icmp != IcmpRules::default() {
        return Err(Unfit::Icmp);
    }
    if child.mtu != MtuPolicy::DEFAULT {
        return Err(Unfit::PathMtu);
    }
    if child.tfc != Tfc::OFF {
        return Err(Unfit::Tfc);
    }
    if child.negotiates_ipcomp() {
        return Err(Unfit::IpComp);
    }
    if !child.pfp.is_none() {
        return Err(Unfit::Pfp);
    }
    let is_ah = |proposal: &ProposalSpec| proposal.protocol() == ProtocolId::AH;
    if child.proposals.iter().any(is_ah) {
        return Err(Unfit::Ah);
    }
    if child.outer_ah.is_empty() { Ok(()) } else { could_do_bundle(child) }
}

/// What the kernel does not do with AH around ESP. A device has ESP as the last of all, and an XFRM interface
/// takes a packet that has come out of AH for one that is meant for itself.
fn could_do_bundle(child: &ChildConfig) -> Result<(), Unfit> {
    if child.kernel.offload != HwOffload::Off {
        return Err(Unfit::Bundle("`offload`"));
    }
    match child.kernel.steering.interface {
        Some(_) => Err(Unfit::Bundle("`interface`")),
        None => Ok(()),
    }
}

/// Whether a policy beside the tunnels decides about some of a child's packets. What the child's
/// selectors are may not be known yet; then they could be any.
fn overlaps(policy: &OperatorPolicy, connection: &Connection, child: &ChildConfig) -> bool {
    // What a route gives to an interface of its own is nobody else's.
    if child.kernel.steering.interface.is_some() {
        return false;
    }
    let meet = |ours: &[TrafficSelector], theirs: &[TrafficSelector]| {
        ours.iter().any(|one| theirs.iter().any(|other| one.intersection(other).is_some()))
    };
    let entry = &policy.entry;
    SpdEntry::configured(connection, child, PolicyId(0))
        .is_none_or(|child| meet(&entry.local, &child.local) && meet(&entry.remote, &child.remote))
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

/// Every suite that may be negotiated, those of AH around ESP among them.
fn suites(child: &ChildConfig) -> Vec<Protection> {
    let ciphers = child.proposals.iter().flat_map(ProposalSpec::ciphers).map(Protection::Esp);
    let macs = child.outer_ah.iter().flat_map(|spec| spec.of_kind(TransformType::INTEG));
    let known = macs.filter_map(|one| Authentication::from_id(IntegrityId(one.id)));
    let mut suites: Vec<Protection> = ciphers.chain(known.map(Protection::Ah)).collect();
    suites.sort();
    suites.dedup();
    suites
}

#[cfg(test)]
mod tests {
    use adit_db::{
        Action, DscpClass, DscpSet, FragmentPolicy, IcmpPassage, MssClamp, PathMtuRule, TsSpec,
    };

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
        let chosen = chooser.choose(&connection(Engine::Userspace), &[]).unwrap();
        assert_eq!(chosen, Engine::Userspace);
        assert!(chooser.xfrm.is_none());
    }

    /// Whatever kernel this is: `auto` and `kernel` agree about it.
    #[test]
    fn auto_is_the_kernel_exactly_where_the_kernel_can() {
        let mut chooser = EngineChooser::default();
        let by_kernel = chooser.choose(&connection(Engine::Kernel), &[]);
        let chosen = chooser.choose(&connection(Engine::Auto), &[]).unwrap();
        assert_eq!(by_kernel.is_ok(), chosen == Engine::Kernel);
        assert!(!chooser.answers.is_empty());
    }

    /// What is said of a tunnel that insists on the kernel; `auto` takes user space.
    fn unfit(change: impl Fn(&mut ChildConfig), policies: &[OperatorPolicy]) -> String {
        let mut chooser = EngineChooser::default();
        let mut strange = connection(Engine::Auto);
        change(&mut strange.children[0]);
        assert_eq!(chooser.choose(&strange, policies).unwrap(), Engine::Userspace);
        strange.engine = Engine::Kernel;
        let unfit = chooser.choose(&strange, policies).unwrap_err();
        assert!(chooser.xfrm.is_none(), "whatever the kernel can do");
        unfit.to_string()
    }

    #[test]
    fn what_no_kernel_does_is_named() {
        let dscp = |child: &mut ChildConfig| {
            child.dscp = DscpPolicy::Set(Dscp::new(46).unwrap());
        };
        assert_eq!(unfit(dscp, &[]), "the kernel sets no DSCP 46 of its own");
        let beet = |child: &mut ChildConfig| child.mode = Mode::Beet;
        assert_eq!(unfit(beet, &[]), "BEET mode is done in user space alone");
        let df = |child: &mut ChildConfig| child.df = DfPolicy::Set;
        assert_eq!(unfit(df, &[]), "the kernel clears or copies the DF bit, and never sets it");
        let class = |child: &mut ChildConfig| {
            let of = "net".parse().unwrap();
            child.class = Some(DscpClass { of, code_points: DscpSet::default() });
        };
        assert_eq!(unfit(class, &[]), "the kernel has one SA for all classes of traffic");
        let icmp = |child: &mut ChildConfig| child.icmp.errors = IcmpPassage::Discard;
        assert_eq!(
            unfit(icmp, &[]),
            "the kernel has no rules for ICMP (`icmp`, `icmp_errors`, `icmp_carry`)"
        );
        let ah = |child: &mut ChildConfig| child.proposals = ProposalSpec::ah_default();
        assert_eq!(unfit(ah, &[]), "AH without ESP is done in user space alone");
        let routed = |child: &mut ChildConfig| {
            child.outer_ah = ProposalSpec::ah_default();
            child.kernel.steering.interface = "vpn1".parse().ok();
        };
        let words = "the kernel has no AH around ESP with `interface`";
        assert_eq!(unfit(routed, &[]), words);
        let tfc = |child: &mut ChildConfig| child.tfc.padding = Tfc::TO_MTU;
        assert_eq!(unfit(tfc, &[]), "the kernel makes no padding and no dummies (TFC)");
        let ipcomp = |child: &mut ChildConfig| child.compress = true;
        assert_eq!(unfit(ipcomp, &[]), "compression (IPComp) is done in user space alone");
        let pfp = |child: &mut ChildConfig| child.pfp.remote = true;
        assert_eq!(unfit(pfp, &[]), "the kernel's policies take no selectors from packets (PFP)");
    }

    /// CHECKLIST U16: whatever kernel this is, it is asked about AH as well as ESP; and a tunnel that wants a device to do
    /// the work is refused, as what asks for the kernel alone has no use for user space.
    #[test]
    fn bundles_ask_for_both_protocols() {
        let mut bundle = connection(Engine::Auto);
        let child = &mut bundle.children[0];
        child.outer_ah = ProposalSpec::ah_list("sha256,sha1").unwrap();
        let asked = suites(child);
        let of_ah = asked.iter().filter(|one| matches!(one, Protection::Ah(_))).count();
        assert_eq!((of_ah, asked.len() > 2), (2, true));
        child.kernel.offload = HwOffload::Crypto;
        let refused = EngineChooser::default().choose(&bundle, &[]).unwrap_err();
        let words = "the kernel has no AH around ESP with `offload`";
        assert_eq!(refused.to_string(), words);
    }

    /// What an operator says about the path MTU is obeyed: `auto` is user space whichever key it is.
    #[test]
    fn rules_for_the_path_mtu_are_for_user_space() {
        let words = "the kernel finds the path MTU by itself \
                     (`path_mtu`, `path_mtu_age`, `fragment`, `mss_clamp`, `path_probe`)";
        let path = |child: &mut ChildConfig| child.mtu.path = PathMtuRule::Fixed(1_400);
        assert_eq!(unfit(path, &[]), words);
        let age = |child: &mut ChildConfig| child.mtu.ageing *= 2;
        assert_eq!(unfit(age, &[]), words);
        let fragment = |child: &mut ChildConfig| child.mtu.fragment = FragmentPolicy::After;
        assert_eq!(unfit(fragment, &[]), words);
        let mss = |child: &mut ChildConfig| child.mtu.mss = MssClamp::Off;
        assert_eq!(unfit(mss, &[]), words);
        let echo = |child: &mut ChildConfig| child.mtu.echo.asks_peer = false;
        assert_eq!(unfit(echo, &[]), words);
    }

    /// CHECKLIST S10: neither end of a nest is the kernel's; `auto` is user space for both.
    #[test]
    fn nested_tunnels_are_for_user_space() {
        let name: ConnectionName = "berlin".parse().unwrap();
        let mut chooser = EngineChooser::with_outer([name].into());
        let refused = chooser.choose(&connection(Engine::Kernel), &[]).unwrap_err();
        assert_eq!(refused.to_string(), "tunnels are nested in user space alone (`over`)");
        assert_eq!(chooser.choose(&connection(Engine::Auto), &[]).unwrap(), Engine::Userspace);
        let mut inner = connection(Engine::Kernel);
        inner.over = Some("paris".parse().unwrap());
        assert!(matches!(EngineChooser::default().choose(&inner, &[]), Err(Unfit::Nested)));
    }

    /// Whatever this kernel can do: what has a mark is the kernel's, or it is refused. An interface
    /// both engines have.
    #[test]
    fn what_asks_for_the_kernel_never_falls_back_to_user_space() {
        let mut chooser = EngineChooser::default();
        let mut routed = connection(Engine::Auto);
        routed.children[0].kernel.steering.interface = "vpn1".parse().ok();
        assert!(chooser.choose(&routed, &[]).is_ok());
        routed.children[0].kernel.steering.mark = "0x10".parse().ok();
        match chooser.choose(&routed, &[]) {
            Ok(engine) => assert_eq!(engine, Engine::Kernel),
            Err(unfit) => assert!(unfit.to_string().contains("the kernel has no"), "{unfit}"),
        }
    }

    /// The kernel would encrypt what an operator wants in clear, or dropped.
    #[test]
    fn policies_beside_the_tunnels_are_for_user_space() {
        let policy = |remote: &str| OperatorPolicy {
            name: "printer".parse().unwrap(),
            entry: SpdEntry {
                local: vec![TrafficSelector::ANY_V4],
                remote: vec![remote.parse::<TsSpec>().unwrap().selector().unwrap()],
                action: Action::Bypass,
            },
        };
        let networks = |child: &mut ChildConfig| {
            child.local_ts = vec!["10.1.0.0/24".parse().unwrap()];
            child.remote_ts = vec!["10.2.0.0/24".parse().unwrap()];
        };
        let words = unfit(networks, &[policy("10.9.0.0/24"), policy("10.2.0.5")]);
        assert_eq!(
            words,
            "policies/printer.toml is about its traffic, and the kernel does not ask it"
        );
        let mut apart = connection(Engine::Kernel);
        networks(&mut apart.children[0]);
        assert!(!overlaps(&policy("10.9.0.0/24"), &apart, &apart.children[0]));
    }

    #[test]
    fn every_suite_of_every_proposal_counts() {
        let mut child = ChildConfig::new("net".parse().unwrap());
        child.proposals = ProposalSpec::esp_list("aes128-aes256-sha256-sha1,aes128gcm16").unwrap();
        assert_eq!(suites(&child).len(), 5);
    }
}
