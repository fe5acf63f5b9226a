//! One constructor for each kind of failure: typed values in, the operator's words out.

mod ec2n;
mod sessions;
mod words;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use adit_db::proposal::transform_word;
use adit_db::{Identity, IdentityPattern, ProposalError, ProposalSpec, TransformWords};
use adit_wire::iana::{ExchangeType, KeyExchangeId, ProtocolId};
use adit_wire::ikev2::{Proposal, TrafficSelector, Transform};

use super::{Diagnosis, Place};
use crate::codes::Code;
use crate::secret::{SecretFacts, Weakness};

pub(crate) use self::words::human;
use self::words::{joined, list_lines, pattern_words, with_kind};

/// What surrounds a failure.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The tunnel's name, when it is known.
    pub tunnel: Option<String>,
    /// The tunnel's file; `None` when it was loaded by swanctl, and the fixes then use the words
    /// of swanctl.conf.
    pub file: Option<String>,
    /// Lines of the keys in that file, counted from 1.
    pub key_lines: BTreeMap<String, usize>,
    /// Time from the start of the attempt.
    pub elapsed: Option<Duration>,
    /// The peer's program as its vendor id tells.
    pub peer_software: Option<String>,
}

impl Context {
    /// A context that knows the tunnel's name alone.
    pub fn of(tunnel: impl Into<String>) -> Self {
        Self { tunnel: Some(tunnel.into()), ..Self::default() }
    }

    pub(super) fn start(&self, code: Code, sentence: impl Into<String>) -> Diagnosis {
        let mut diagnosis = Diagnosis::new(code, sentence);
        diagnosis.tunnel.clone_from(&self.tunnel);
        diagnosis
    }

    /// The place of a native key; the file alone when the key is not in it.
    pub(super) fn at(&self, key: &str) -> Option<Place> {
        let line = self.key_lines.get(key).copied();
        self.file.as_ref().map(|file| Place { file: file.clone(), line })
    }

    /// A key in the words of the file that is to be mended.
    pub(super) fn key(&self, native: &'static str, swanctl: &'static str) -> &'static str {
        if self.file.is_some() || self.tunnel.is_none() { native } else { swanctl }
    }

    /// Selectors as a value of the file that is to be mended.
    fn literal(&self, selectors: &[TrafficSelector]) -> String {
        if self.key("native", "swanctl") == "swanctl" {
            return joined(selectors);
        }
        let quoted: Vec<_> = selectors.iter().map(|one| format!("\"{one}\"")).collect();
        match quoted.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }

    fn software(&self) -> Option<String> {
        self.peer_software.as_ref().map(|name| format!("{name}, says its vendor id"))
    }

    fn name(&self) -> &str {
        self.tunnel.as_deref().unwrap_or("NAME")
    }
}

/// Which side said no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// This side.
    Us,
    /// The other side, by a notify.
    Peer,
}

/// What is known when a login fails.
#[derive(Clone, Debug)]
pub struct AuthFacts<'a> {
    /// Who found out.
    pub by: Side,
    /// Our identity.
    pub local: &'a Identity,
    /// The peer's identity as far as it is known.
    pub remote: &'a IdentityPattern,
    /// Whether the secret is certainly the reason.
    pub certain: bool,
    /// Name of our secret and what may be said about it.
    pub secret: Option<(&'a str, SecretFacts)>,
}

/// What is known when the selectors do not overlap. Empty lists: the peer did not say.
#[derive(Clone, Debug)]
pub struct SelectorFacts<'a> {
    /// Who found out.
    pub by: Side,
    /// Our side of the tunnel as configured here.
    pub our_local: &'a [TrafficSelector],
    /// The peer's side as configured here.
    pub our_remote: &'a [TrafficSelector],
    /// What the peer wants our side to be.
    pub their_view_of_local: &'a [TrafficSelector],
    /// What the peer wants its own side to be.
    pub their_view_of_remote: &'a [TrafficSelector],
}

/// Why a port or socket is not ours.
#[derive(Clone, Debug)]
pub struct PortProblem<'a> {
    /// What was to be bound, `0.0.0.0:500` or a path.
    pub address: &'a str,
    /// Who holds it, if that could be found out, such as `charon-systemd, pid 712`.
    pub holder: Option<&'a str>,
}

/// Negotiation: E1xx.
impl Diagnosis {
    /// E101: the IKE proposals have no suite in common.
    pub fn no_common_ike_suite(
        cx: &Context,
        by: Side,
        ours: &[ProposalSpec],
        theirs: &[Proposal],
    ) -> Self {
        let key = cx.key("ike", "proposals");
        let diagnosis = cx.start(Code::E101, "no common IKE algorithms");
        let diagnosis = suites(diagnosis, cx, by, ours, theirs)
            .fix(suite_fix(key, theirs, ProposalSpec::ike))
            .place(cx.at("ike"));
        match cx.file {
            Some(_) => diagnosis.fix(
                "set suite = \"compat\", for equipment from before 2018 (`adit explain E101`)",
            ),
            None => diagnosis,
        }
    }

    /// E101: the peer insists on a key exchange that we did not offer.
    pub fn key_exchange_not_offered(
        cx: &Context,
        wanted: KeyExchangeId,
        ours: &[ProposalSpec],
    ) -> Self {
        let word = transform_word(&Transform::key_exchange(wanted));
        let fix = match word {
            Some(word) => format!("add {word} to `{}`", cx.key("ike", "proposals")),
            None => "it is not supported here; let the peer accept x25519 or ecp384".to_owned(),
        };
        cx.start(Code::E101, "the peer asks for a key exchange that we do not offer")
            .line("peer wants", wanted.to_string())
            .line("we offered", list_lines(ours))
            .line_some("peer is", cx.software())
            .fix(fix)
            .place(cx.at("ike"))
    }

    /// E102: the ESP proposals have no suite in common.
    pub fn no_common_esp_suite(
        cx: &Context,
        by: Side,
        ours: &[ProposalSpec],
        theirs: &[Proposal],
    ) -> Self {
        let wants_ah = ours.iter().all(|spec| spec.protocol() == ProtocolId::AH);
        let is_ah = |proposal: &Proposal| proposal.protocol == ProtocolId::AH;
        let (sentence, place, key, read): (_, _, _, fn(&str) -> _) = if wants_ah {
            let key = cx.key("ah", "ah_proposals");
            ("no common AH algorithms", "ah", key, ProposalSpec::ah)
        } else {
            let key = cx.key("esp", "esp_proposals");
            ("no common ESP algorithms", "esp", key, ProposalSpec::esp)
        };
        let diagnosis = suites(cx.start(Code::E102, sentence), cx, by, ours, theirs);
        if !theirs.is_empty() && theirs.iter().all(|theirs| is_ah(theirs) != wants_ah) {
            let (other, swanctl) =
                if wants_ah { ("esp", "esp_proposals") } else { ("ah", "ah_proposals") };
            let fix = match cx.key("protocol", swanctl) {
                "protocol" => format!("set protocol = \"{other}\", as the peer has it"),
                key => format!("write `{key}`, as the peer has it"),
            };
            return diagnosis.fix(fix).place(cx.at("protocol"));
        }
        diagnosis.fix(suite_fix(key, theirs, read)).place(cx.at(place))
    }

    /// E103: AH, and a NAT on the way.
    pub fn ah_through_nat(cx: &Context, nat_local: bool, nat_remote: bool) -> Self {
        let nat = match (nat_local, nat_remote) {
            (true, true) => "NAT on both sides",
            (true, false) => "we are behind a NAT",
            (false, true) => "the peer is behind a NAT or acts like it",
            (false, false) => "UDP was asked for by configuration",
        };
        let fix = match cx.key("protocol", "esp_proposals") {
            "protocol" => "set protocol = \"esp\" on both sides",
            _ => "write esp_proposals instead of ah_proposals on both sides",
        };
        cx.start(Code::E103, "AH cannot pass a NAT")
            .line("saw", nat)
            .line("means", "AH covers the addresses that a NAT changes")
            .fix(fix)
            .place(cx.at("protocol"))
    }

    /// E110: a request was sent until the tries were spent and nothing usable came back.
    pub fn peer_silent(
        cx: &Context,
        exchange: ExchangeType,
        remote: SocketAddr,
        transmissions: u8,
        waited: Duration,
    ) -> Self {
        cx.start(Code::E110, format!("{} does not answer", remote.ip()))
            .line("we sent", tries(exchange, remote, transmissions, waited))
            .line("came back", "nothing")
            .line("means", "wrong address, peer not running, or UDP 500/4500 filtered on the way")
            .fix(format!(
                "see whether our packets arrive there: tcpdump -ni any udp port {}",
                remote.port()
            ))
            .place(cx.at("peer"))
    }

    /// E110: the peer started a handshake and did not finish it.
    pub fn handshake_timeout(cx: &Context, waited: Duration) -> Self {
        cx.start(Code::E110, "the peer started a handshake and did not finish it")
            .line("waited", human(waited))
            .line("means", "our answers do not reach it, or it gave up: its log says which")
    }

    /// E111: the network says that the peer cannot be reached, and nothing better came.
    pub fn peer_unreachable(
        cx: &Context,
        exchange: ExchangeType,
        remote: SocketAddr,
        transmissions: u8,
        waited: Duration,
    ) -> Self {
        cx.start(Code::E111, format!("{} cannot be reached", remote.ip()))
            .line("we sent", tries(exchange, remote, transmissions, waited))
            .line("came back", "ICMP: destination unreachable")
            .line(
                "means",
                format!("no route on the way, or nothing listens on UDP {}", remote.port()),
            )
            .fix("start the peer's IKE daemon, or correct the address")
            .place(cx.at("peer"))
    }

    /// E111: this host has no route to the peer.
    pub fn no_route(cx: &Context, remote: IpAddr) -> Self {
        cx.start(Code::E111, format!("this host has no route to {remote}"))
            .fix(format!("ip route get {remote} must name an interface"))
            .place(cx.at("peer"))
    }

    /// E112: the peer's host name has no address.
    pub fn name_unknown(cx: &Context, name: &str) -> Self {
        cx.start(Code::E112, format!("the name {name} does not resolve"))
            .line("means", "a typing error, or DNS cannot be reached without the tunnel")
            .fix(format!("getent ahosts {name} must print an address; or write the address"))
            .place(cx.at("peer"))
    }

    /// E121: the peer answers on port 500, and nothing comes back from port 4500.
    pub fn nat_port_blocked(
        cx: &Context,
        exchange: ExchangeType,
        remote: SocketAddr,
        transmissions: u8,
        waited: Duration,
        nat: (bool, bool),
    ) -> Self {
        let fix = if nat == (false, false) {
            "allow UDP 4500 in both directions on the way, or set encap = \"esp\" for protocol 50"
        } else {
            "allow UDP 4500 in both directions on the NAT device and both hosts, or set tcp = true \
             if the peer listens for TCP (RFC 9329)"
        };
        let nat = match nat {
            (true, true) => "NAT on both sides",
            (true, false) => "we are behind a NAT",
            // RFC 7296 §2.23 lets a peer pretend, to get ESP into UDP; `encap = "udp"` does.
            (false, true) => "the peer is behind a NAT or acts like it",
            (false, false) => "no NAT, both sides prefer UDP",
        };
        cx.start(Code::E121, "UDP 500 works, UDP 4500 is blocked on the way")
            .line(
                "saw",
                format!(
                    "IKE_SA_INIT answered on 500 ({nat})\n{}: nothing back",
                    tries(exchange, remote, transmissions, waited)
                ),
            )
            .fix(fix)
    }

    /// E130: the peer deleted the SA.
    pub fn closed_by_peer(cx: &Context) -> Self {
        cx.start(Code::E130, "the peer closed the tunnel")
            .line("peer said", after(cx, "DELETE"))
            .line_some("peer is", cx.software())
            .fix("see its log for the reason, which the protocol does not carry")
    }
}

/// The rest of E1xx: what happens between two ends that do talk.
impl Diagnosis {
    /// E113: the tunnel can only be begun by the peer.
    pub fn no_address(cx: &Context) -> Self {
        cx.start(Code::E113, "the tunnel names no peer to call")
            .fix(format!("name the peer's address in {}", cx.key("peer", "remote_addrs")))
            .fix("begin the tunnel on the other side")
            .place(cx.at("peer"))
    }

    /// E131: the peer sent an error without a number of its own, or broke the rules; `what` says
    /// which.
    pub fn peer_error(cx: &Context, what: &str) -> Self {
        cx.start(Code::E131, "the peer answered what it may not")
            .line("saw", what)
            .line_some("peer is", cx.software())
            .fix("see its log")
    }

    /// E132: one side keeps the IKE SA that exists.
    pub fn not_unique(cx: &Context) -> Self {
        cx.start(Code::E132, "a tunnel with this peer exists already").fix(format!(
            "take it down first (adit down {}), or let new ones replace it",
            cx.name()
        ))
    }

    /// E133: the SA reached its hard limit.
    pub fn lifetime_over(cx: &Context) -> Self {
        cx.start(Code::E133, "the tunnel's keys have reached the end of their life")
            .line("means", "it was not rekeyed in time, or the peer refused")
            .fix(format!("adit log {} says why the rekeying failed", cx.name()))
    }
}

/// Identity: E2xx.
impl Diagnosis {
    /// E204: no connection of ours is for the address the peer calls from.
    pub fn no_connection(cx: &Context, from: Option<SocketAddr>) -> Self {
        let from = from.map_or_else(|| "this peer".to_owned(), |from| from.ip().to_string());
        cx.start(Code::E204, format!("no tunnel accepts {from}"))
            .line("saw", "IKE_SA_INIT from an address that no tunnel names")
            .fix(format!("add a tunnel with peer = \"{from}\", if it is one of yours"))
    }

    /// E201: no secret for this pair of identities.
    pub fn no_secret(cx: &Context, local: &Identity, remote: &Identity) -> Self {
        let diagnosis = cx
            .start(Code::E201, "there is no secret for this peer")
            .line("we are", local.to_string())
            .line("peer is", remote.to_string());
        if cx.file.is_some() {
            diagnosis.fix(format!("secret = \"file:{}.psk\"", cx.name())).place(cx.at("secret"))
        } else {
            diagnosis.fix("give the secret these ids, or none, and run swanctl --load-creds")
        }
    }

    /// E203: the secrets differ.
    pub fn wrong_secret(cx: &Context, facts: &AuthFacts<'_>) -> Self {
        let sentence = match (facts.by, facts.certain) {
            (Side::Us, _) => "the peer's login is wrong: the pre-shared keys differ",
            (Side::Peer, true) => "the peer rejects our login: the pre-shared keys differ",
            (Side::Peer, false) => {
                "the peer rejects our login; the pre-shared keys probably differ"
            }
        };
        let secret = facts.secret.as_ref().map(|(name, facts)| format!("{name}, {facts}"));
        let diagnosis = cx
            .start(Code::E203, sentence)
            .line("we are", facts.local.to_string())
            .line("peer is", pattern_words(facts.remote))
            .line_some("our secret", secret);
        let diagnosis = match (facts.by, facts.certain) {
            (Side::Us, _) => diagnosis.line("saw", "its AUTH payload does not fit our secret"),
            (Side::Peer, true) => diagnosis.line(
                "peer said",
                "AUTHENTICATION_FAILED, and its own name: it did find a tunnel for us",
            ),
            (Side::Peer, false) => {
                diagnosis.line("peer said", "AUTHENTICATION_FAILED right after our AUTH").line(
                    "or",
                    format!(
                        "it does not know {} (E204): its log says which of the two",
                        facts.local
                    ),
                )
            }
        };
        diagnosis
            .line("common cause", "quotes in the secret's file, or hex that one side takes as text")
            .fix("make a new one with `adit secret new` and copy its file to both sides")
            .place(cx.at("secret"))
    }

    /// E204: the peer does not know us by our identity.
    pub fn unknown_to_peer(cx: &Context, local: &Identity, remote: &IdentityPattern) -> Self {
        cx.start(Code::E204, "the peer does not know us by this name")
            .line("we said", with_kind(local))
            .line("asked for", pattern_words(remote))
            .line("peer said", "AUTHENTICATION_FAILED, without proving its own identity first")
            .fix(format!("set {} here to the name the peer expects", cx.key("id", "local.id")))
            .fix(format!("set {} = \"{local}\" there", cx.key("peer_id", "remote.id")))
            .place(cx.at("id"))
    }

    /// E204: no connection of ours expects the peer's identity. `expected` are the connections
    /// with that address and the identities they ask for.
    pub fn unknown_peer(
        cx: &Context,
        remote: &Identity,
        asked_for: Option<&Identity>,
        from: Option<SocketAddr>,
        expected: &[(String, IdentityPattern)],
    ) -> Self {
        let from = from.map_or_else(String::new, |from| format!(" from {}", from.ip()));
        let mut diagnosis = cx
            .start(Code::E204, format!("no tunnel accepts {remote}{from}"))
            .line("peer said", with_kind(remote))
            .line_some("it asked for", asked_for.map(with_kind));
        for (tunnel, pattern) in expected {
            diagnosis = diagnosis
                .line("we expect", format!("{} for tunnel {tunnel}", pattern_words(pattern)));
        }
        let key = cx.key("peer_id", "remote.id");
        let diagnosis = match expected.first() {
            Some((tunnel, pattern)) => {
                let diagnosis = diagnosis.fix(format!("set {key} = \"{remote}\" in {tunnel} here"));
                match pattern.exact() {
                    Some(identity) => diagnosis.fix(format!("set id = \"{identity}\" there")),
                    None => diagnosis,
                }
            }
            None => diagnosis.fix(format!("add a tunnel with {key} = \"{remote}\"")),
        };
        diagnosis.place(cx.at("peer_id"))
    }

    /// E205: the peer proves another identity than the configured one.
    pub fn wrong_identity(cx: &Context, expected: &IdentityPattern, received: &Identity) -> Self {
        cx.start(Code::E205, "the peer proved another identity than the configured one")
            .line("we expect", pattern_words(expected))
            .line("peer is", with_kind(received))
            .fix(format!(
                "if that is the right peer: {} = \"{received}\"",
                cx.key("peer_id", "remote.id")
            ))
            .place(cx.at("peer_id"))
    }
}

/// Traffic selection and this host: E3xx, E5xx, E6xx.
impl Diagnosis {
    /// E301: the two sides disagree about the traffic to protect.
    pub fn selector_mismatch(cx: &Context, facts: &SelectorFacts<'_>) -> Self {
        let (ours, theirs) = match facts.by {
            Side::Us => ("we allow", "peer asks for"),
            Side::Peer => ("we asked for", "peer allows"),
        };
        let our_local = joined(facts.our_local);
        let our_remote = joined(facts.our_remote);
        let diagnosis = cx
            .start(Code::E301, "the two sides disagree about which networks to connect")
            .line(ours, format!("{our_local} <-> {our_remote}"));
        if facts.their_view_of_local.is_empty() || facts.their_view_of_remote.is_empty() {
            return diagnosis
                .line("peer said", "TS_UNACCEPTABLE, and not what it would accept")
                .line_some("peer is", cx.software())
                .fix(format!(
                    "there, the local side must cover {our_remote} and the remote side {our_local}"
                ))
                .place(cx.at("remote"));
        }
        let their_local = joined(facts.their_view_of_local);
        let their_remote = joined(facts.their_view_of_remote);
        let remote_differs = facts.their_view_of_local == facts.our_local;
        let local_len = their_local.chars().count();
        let mark = if remote_differs {
            local_len + 5..local_len + 5 + their_remote.chars().count()
        } else {
            0..local_len
        };
        let local_key = cx.key("local", "local_ts");
        let remote_key = cx.key("remote", "remote_ts");
        let (key, here, there_key, there, place) = if remote_differs {
            (remote_key, facts.their_view_of_remote, local_key, facts.our_remote, "remote")
        } else {
            (local_key, facts.their_view_of_local, remote_key, facts.our_local, "local")
        };
        diagnosis
            .marked(theirs, format!("{their_local} <-> {their_remote}"), mark)
            .fix(format!(
                "set {key} = {} here, or {there_key} = {} there",
                cx.literal(here),
                cx.literal(there)
            ))
            .place(cx.at(place))
    }

    /// E302: the peer claims networks that others have, or nobody.
    pub fn not_claimed(
        cx: &Context,
        peer: &Identity,
        allowed: &[TrafficSelector],
        claimed: &[TrafficSelector],
    ) -> Self {
        let id = peer.to_string();
        let allowed_text = if allowed.is_empty() { "nothing".to_owned() } else { joined(allowed) };
        cx.start(Code::E302, "the peer claims networks that it may not speak for")
            .line("peer is", id.as_str())
            .line("may claim", allowed_text)
            .line("claims", joined(claimed))
            .fix(format!("set \"{id}\" = {} under [claims] here", cx.literal(claimed)))
            .fix("make the local networks there smaller")
            .place(cx.at("claims"))
    }

    /// E501: another route wins over the tunnel's. `found` is what the kernel answers.
    pub fn route_elsewhere(cx: &Context, network: &str, found: &str, expected: &str) -> Self {
        cx.start(Code::E501, format!("this host sends {network} elsewhere"))
            .line("kernel says", found)
            .line("expected", expected)
            .fix("remove the other route, or make the tunnel's networks more specific")
            .place(cx.at("remote"))
    }

    /// E402: nobody wrote a policy for a packet that comes to us.
    pub fn no_policy(packet: &str) -> Self {
        Self::new(Code::E402, "no policy lets this packet through")
            .line("packet", packet)
            .fix("send from an address in the tunnel's local networks, or widen them on both sides")
            .fix("to let it pass in clear, write policies/NAME.toml with action = \"bypass\"")
    }

    /// E403: an operator wants a packet dropped.
    pub fn discarded(packet: &str, policy: &str) -> Self {
        Self::new(Code::E403, format!("the policy {policy} discards this packet"))
            .line("packet", packet)
            .fix(format!("make policies/{policy}.toml smaller, or put a bypass before it"))
    }

    /// E404: the tunnel that should carry a packet has no SA for it.
    pub fn no_sa(packet: &str, tunnel: &str) -> Self {
        Self::new(Code::E404, "no SA carries this packet")
            .tunnel(tunnel)
            .line("packet", packet)
            .fix(format!("adit up {tunnel}"))
            .fix(format!("adit sad shows whether the peer narrowed what {tunnel} carries"))
    }

    /// E404: the packet should have an SA of its own, which the first such packet opens.
    pub fn no_sa_yet(packet: &str, tunnel: &str, pfp: &[String]) -> Self {
        Self::new(Code::E404, "no SA carries this packet yet")
            .tunnel(tunnel)
            .line("packet", packet)
            .line("pfp", format!("{}: the SA takes them from its first packet", pfp.join(", ")))
            .fix("send it: adit why sends nothing itself")
            .fix("adit sad lists the SAs there are; 256 are the most")
    }

    /// E502: a UDP port or the control socket is taken.
    pub fn address_in_use(cx: &Context, problem: &PortProblem<'_>) -> Self {
        let fix = if problem.address.contains('/') {
            "stop the other aditd, or choose another path with --vici".to_owned()
        } else {
            "stop the other IKE daemon (ss -ulpn names it)".to_owned()
        };
        cx.start(Code::E502, format!("{} is already in use", problem.address))
            .line_some("held by", problem.holder)
            .fix(fix)
    }

    /// E503: no TUN device.
    pub fn no_tun(cx: &Context, error: impl Display) -> Self {
        cx.start(Code::E503, "no TUN device can be made")
            .line("system says", error.to_string())
            .fix("modprobe tun; in a container: --device /dev/net/tun --cap-add NET_ADMIN")
    }

    /// E504: the system refuses `what`.
    pub fn no_privileges(cx: &Context, what: &str, error: impl Display) -> Self {
        cx.start(Code::E504, format!("missing privileges to {what}"))
            .line("system says", error.to_string())
            .fix("run as root, or give CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE")
    }

    /// E505: packets are not forwarded between interfaces. `ipv6`: of that family.
    pub fn forwarding_off(cx: &Context, ipv6: bool) -> Self {
        let key = if ipv6 { "net.ipv6.conf.all.forwarding" } else { "net.ipv4.ip_forward" };
        cx.start(Code::E505, "this host does not forward packets; only itself can use the tunnel")
            .line("kernel says", format!("{key} = 0"))
            .fix(format!("sysctl -w {key}=1"))
    }

    /// E506: the strict reverse path filter of `interface` drops what `peer` sends, since the peer
    /// lies inside the tunnel's networks.
    pub fn reverse_path_filtered(cx: &Context, peer: IpAddr, interface: &str) -> Self {
        let key = format!("net.ipv4.conf.{interface}.rp_filter");
        cx.start(Code::E506, "this host drops the peer's packets on arrival")
            .line("peer", format!("{peer}, which `remote` contains: its way back is the tunnel"))
            .line("kernel says", format!("strict reverse path filter on {interface}"))
            .fix(format!("sysctl -w {key}=2, or leave {peer} out of `remote`"))
            .place(cx.at("remote"))
    }

    /// E507: the kernel lacks what a tunnel with `engine = "kernel"` needs.
    pub fn no_kernel_engine(cx: &Context, missing: impl Display) -> Self {
        cx.start(Code::E507, "the kernel cannot be the tunnel's engine")
            .line("missing", missing.to_string())
            .fix("modprobe esp4 esp6 xfrm_user, or write engine = \"userspace\"")
            .place(cx.at("engine"))
    }

    /// E507: the kernel's IPsec does not do for us what a tunnel with `engine = "kernel"` asks for.
    pub fn not_for_kernel(cx: &Context, reason: impl Display) -> Self {
        cx.start(Code::E507, "the kernel cannot be the tunnel's engine")
            .line("because", reason.to_string())
            .fix("engine = \"userspace\" does that; \"auto\" chooses by itself")
            .place(cx.at("engine"))
    }

    /// E507: the network device towards the peer does not do what `offload` asks of it.
    pub fn no_offload(cx: &Context, interface: &str, refusal: impl Display) -> Self {
        cx.start(Code::E507, "the kernel cannot be the tunnel's engine")
            .line("because", format!("the interface {interface} cannot offload"))
            .line("kernel says", refusal.to_string())
            .fix("set offload = \"off\"")
            .place(cx.at("offload"))
    }

    /// E509: a tunnel's own interface cannot be made, or its name is another's.
    pub fn no_interface(cx: &Context, interface: impl Display, reason: impl Display) -> Self {
        cx.start(Code::E509, "the tunnel cannot have its interface")
            .line("interface", interface.to_string())
            .line("because", reason.to_string())
            .fix("give `interface` another name, or remove the one that has it: ip link")
            .place(cx.at("interface"))
    }

    /// E508: what a policy protects may come in clear, because there is no packet filter.
    pub fn not_filtered(cx: &Context, reason: &str, fix: &str) -> Self {
        cx.start(Code::E508, "clear packets are not kept out")
            .line("packet filter", reason.to_owned())
            .fix(fix.to_owned())
    }

    /// E511: a secret's file is readable or writable by others; `mode` are its permission bits.
    pub fn secret_readable(cx: &Context, file: &Path, mode: u32) -> Self {
        let file = file.display();
        cx.start(Code::E511, format!("the secret in {file} can be read by others"))
            .line("permissions", format!("{:04o}, must be 0600", mode & 0o7777))
            .fix(format!("chmod 600 {file}"))
            .place(cx.at("secret"))
    }

    /// E512: a file is missing or cannot be read.
    pub fn file_missing(cx: &Context, file: &Path, error: impl Display) -> Self {
        cx.start(Code::E512, format!("{} cannot be read", file.display()))
            .line("system says", error.to_string())
            .place(cx.at("secret"))
    }

    /// E513: the secret would not withstand guessing.
    pub fn secret_weak(cx: &Context, file: &Path, weakness: Weakness) -> Self {
        cx.start(Code::E513, format!("the secret in {} is weak", file.display()))
            .line("saw", weakness.to_string())
            .fix(format!("adit secret new > {}, on both sides", file.display()))
            .place(cx.at("secret"))
    }

    /// E520: nobody listens on the control socket.
    pub fn daemon_unreachable(path: &Path, error: impl Display) -> Self {
        Self::new(Code::E520, "the daemon does not answer")
            .line("socket", path.display().to_string())
            .line("system says", error.to_string())
            .fix("systemctl start aditd, or aditd --config DIR in a terminal")
    }

    /// E530: the file of `--record` cannot be written.
    pub fn no_recording(file: &Path, reason: impl Display, fix: &'static str) -> Self {
        Self::new(Code::E530, "nothing can be recorded")
            .line("file", file.display().to_string())
            .line("because", reason.to_string())
            .fix(fix)
    }

    /// E522: an SA that is keyed by hand carries nothing more.
    pub fn manual_sa_over(cx: &Context) -> Self {
        cx.start(Code::E522, "its sequence numbers or its key are used up")
            .fix("new keys on all sides: adit secret new --sa SUITE FILE, then adit reload")
            .place(cx.at("key_out"))
    }

    /// E523: packets of a multicast group cannot be had, or not sent.
    pub fn group_unreachable(cx: &Context, group: IpAddr, reason: &str) -> Self {
        cx.start(Code::E523, format!("the group {group} is out of reach"))
            .line("because", reason)
            .fix("`address` must be that of the interface towards the group; then adit reload")
            .place(cx.at("group"))
    }

    /// E601: something failed that should not; `what` names it.
    pub fn internal(cx: &Context, what: &str) -> Self {
        cx.start(Code::E601, what).fix(format!("report it with `adit log {}`", cx.name()))
    }
}

fn suites(
    diagnosis: Diagnosis,
    cx: &Context,
    by: Side,
    ours: &[ProposalSpec],
    theirs: &[Proposal],
) -> Diagnosis {
    let listed: Vec<_> = theirs.iter().map(|theirs| TransformWords(&theirs.transforms)).collect();
    let diagnosis = match by {
        Side::Peer => diagnosis
            .line("we offered", list_lines(ours))
            .line("peer said", after(cx, "NO_PROPOSAL_CHOSEN")),
        Side::Us => diagnosis.line("we allow", list_lines(ours)),
    };
    let label = if by == Side::Us { "peer offered" } else { "peer allows" };
    let theirs = (!listed.is_empty()).then(|| list_lines(&listed));
    diagnosis.line_some(label, theirs).line_some("peer is", cx.software())
}

/// The peer's first proposal that could be written into our file, or good advice.
fn suite_fix(
    key: &str,
    theirs: &[Proposal],
    read: fn(&str) -> Result<ProposalSpec, ProposalError>,
) -> String {
    let mut words = theirs.iter().map(|theirs| TransformWords(&theirs.transforms).to_string());
    match words.find(|words| read(words).is_ok()) {
        Some(words) => format!("set {key} = \"{words}\" here"),
        None => format!("make `{key}` here and on the peer overlap"),
    }
}

fn after(cx: &Context, what: &str) -> String {
    match cx.elapsed {
        Some(elapsed) => format!("{what}, {} after our first packet", human(elapsed)),
        None => what.to_owned(),
    }
}

fn tries(exchange: ExchangeType, remote: SocketAddr, count: u8, waited: Duration) -> String {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    format!("{exchange} to {remote}, {times} in {}", human(waited))
}
