//! What is, as `list-sa`, `list-conn` and `list-policy` show it: charon's field names and values
//! in charon's order, so that `swanctl --list-sas` prints what its users know.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_db::{
    AuthSpec, ChildConfig, Connection, EndAction, HostSpec, Identity, IkeVersion, IpComp, Mode,
    SignatureSpec, Unique, UserAuth,
};
use adit_pki::Certificate;
use adit_wire::esp::Spi;
use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, ProtocolId, TransformType};
use adit_wire::ikev2::{IkeSpi, TrafficSelector, Transform};

use super::algorithm;
use super::message::Section;

/// An IKE SA at one moment; ages and remaining times are in seconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaSnapshot {
    /// Name of its connection.
    pub connection: String,
    /// Process-unique number.
    pub unique_id: u32,
    /// The protocol.
    pub version: IkeVersion,
    /// `CONNECTING`, `ESTABLISHED`, `REKEYING`, `REKEYED` or `DELETING`.
    pub state: String,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Our identity, when it is known.
    pub local_id: Option<Identity>,
    /// The peer's identity, when it is known.
    pub remote_id: Option<Identity>,
    /// Whether we are the initiator.
    pub initiator: bool,
    /// The initiator's SPI.
    pub spi_i: IkeSpi,
    /// The responder's SPI.
    pub spi_r: IkeSpi,
    /// Whether we are behind a NAT.
    pub nat_local: bool,
    /// Whether the peer is behind a NAT.
    pub nat_remote: bool,
    /// Whether UDP encapsulation was forced by pretending a NAT.
    pub nat_fake: bool,
    /// Whether it was resumed by a ticket.
    pub resumed: bool,
    /// The agreed transforms; empty while not agreed.
    pub suite: Vec<Transform>,
    /// Age since it was established.
    pub established_s: Option<u64>,
    /// Time until we rekey it.
    pub rekey_s: Option<u64>,
    /// Time until we authenticate anew.
    pub reauth_s: Option<u64>,
    /// Whether a post-quantum key is in its keys.
    pub ppk: bool,
    /// Users, and addresses inside.
    pub access: AccessSnapshot,
    /// Its children, oldest first.
    pub children: Vec<ChildSnapshot>,
}

/// What an IKE SA has of remote access.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessSnapshot {
    /// Who the peer's user has proven to be.
    pub user: Option<String>,
    /// Our addresses inside, which we have from the peer.
    pub local_addresses: Vec<IpAddr>,
    /// The peer's, which it has from us.
    pub remote_addresses: Vec<IpAddr>,
}

/// A child SA at one moment; ages and remaining times are in seconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChildSnapshot {
    /// Name of its configuration.
    pub name: String,
    /// Process-unique number.
    pub unique_id: u32,
    /// Number of its policy, the same across rekeys.
    pub reqid: u32,
    /// `INSTALLED`, `REKEYING`, `REKEYED`, `DELETING` or `DELETED`.
    pub state: String,
    /// ESP or AH.
    pub protocol: ProtocolId,
    /// Whether ESP travels in UDP.
    pub udp: bool,
    /// What was agreed on.
    pub mode: Mode,
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer.
    pub spi_out: Spi,
    /// Its compression, if it has one.
    pub ipcomp: Option<IpComp>,
    /// AH around its ESP, if both are a bundle.
    pub ah: Option<AhSnapshot>,
    /// The agreed transforms.
    pub suite: Vec<Transform>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// Octets of inner packets received.
    pub octets_in: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Time since the last packet received.
    pub idle_in_s: Option<u64>,
    /// Octets of inner packets sent.
    pub octets_out: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Time since the last packet sent.
    pub idle_out_s: Option<u64>,
    /// Time until we rekey it.
    pub rekey_s: Option<u64>,
    /// Time until it ends unless it was replaced.
    pub life_s: Option<u64>,
    /// Age since it was installed.
    pub installed_s: u64,
    /// What the path of what we send takes, if an engine of ours knows it.
    pub path: Option<PathSnapshot>,
    /// Our side.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
}

/// AH around the ESP of a child SA (RFC 2401 §4.3). strongSwan has nothing like it: these keys are ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AhSnapshot {
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer.
    pub spi_out: Spi,
    /// The agreed transforms.
    pub suite: Vec<Transform>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
}

/// What a path takes at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathSnapshot {
    /// Longest outer packet, octets.
    pub mtu: u16,
    /// Longest inner packet, octets, if there is a limit.
    pub inner: Option<u16>,
    /// Who says so: `link`, `icmp`, `probe`, `report` or `operator`.
    pub source: String,
}

/// An installed policy: one that negotiates on demand, lets pass or drops.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicySnapshot {
    /// Name of the child configuration.
    pub child: String,
    /// Name of its connection.
    pub connection: String,
    /// `TUNNEL` or `TRANSPORT` as is asked for; `PASS`, `DROP`.
    pub mode: String,
    /// Our side.
    pub local_ts: Vec<String>,
    /// The peer's side.
    pub remote_ts: Vec<String>,
}

impl SaSnapshot {
    /// The fields without `child-sas`, as the events `ike-updown` and `ike-rekey` carry them.
    pub fn section(&self) -> Section {
        let mut s = Section::new()
            .with("uniqueid", self.unique_id)
            .with("version", if self.version == IkeVersion::V1 { 1 } else { 2 })
            .with("state", &self.state)
            .with("local-host", self.local.ip())
            .with("local-port", self.local.port())
            .with("local-id", id_words(self.local_id.as_ref()))
            .with("remote-host", self.remote.ip())
            .with("remote-port", self.remote.port())
            .with("remote-id", id_words(self.remote_id.as_ref()));
        s.put_some("remote-xauth-id", self.access.user.as_ref());
        s.put_if("initiator", self.initiator);
        s.put("initiator-spi", hex(&self.spi_i.0));
        s.put("responder-spi", hex(&self.spi_r.0));
        s.put_if("nat-local", self.nat_local);
        s.put_if("nat-remote", self.nat_remote);
        s.put_if("resumed", self.resumed);
        s.put_if("nat-fake", self.nat_fake);
        s.put_if("nat-any", self.nat_local || self.nat_remote || self.nat_fake);
        put_suite(&mut s, &self.suite);
        s.put_some("established", self.established_s);
        s.put_some("rekey-time", self.rekey_s);
        s.put_some("reauth-time", self.reauth_s);
        s.put_if("ppk", self.ppk);
        let AccessSnapshot { local_addresses, remote_addresses, .. } = &self.access;
        for (name, addresses) in
            [("local-vips", local_addresses), ("remote-vips", remote_addresses)]
        {
            if !addresses.is_empty() {
                s.put_list(name, addresses);
            }
        }
        s
    }

    /// The fields with the given children below `child-sas`.
    pub fn section_with<'a>(
        &self,
        children: impl IntoIterator<Item = &'a ChildSnapshot>,
    ) -> Section {
        let mut sas = Section::new();
        for child in children {
            sas = sas.with_section(&child.key(), child.section());
        }
        self.section().with_section("child-sas", sas)
    }
}

impl ChildSnapshot {
    /// Name of its section below `child-sas`: unlike [`Self::name`] unique during a rekeying.
    pub fn key(&self) -> String {
        format!("{}-{}", self.name, self.unique_id)
    }

    /// Its fields.
    pub fn section(&self) -> Section {
        let mut s = Section::new()
            .with("name", &self.name)
            .with("uniqueid", self.unique_id)
            .with("reqid", self.reqid)
            .with("state", &self.state)
            .with("mode", self.mode)
            .with("protocol", self.protocol);
        s.put_if("encap", self.udp);
        s.put("spi-in", hex(&self.spi_in.0.to_be_bytes()));
        s.put("spi-out", hex(&self.spi_out.0.to_be_bytes()));
        if let Some(IpComp { cpi_in, cpi_out }) = self.ipcomp {
            s.put("cpi-in", hex(&cpi_in.0.to_be_bytes()));
            s.put("cpi-out", hex(&cpi_out.0.to_be_bytes()));
        }
        if let Some(ah) = &self.ah {
            s.put("ah-spi-in", hex(&ah.spi_in.0.to_be_bytes()));
            s.put("ah-spi-out", hex(&ah.spi_out.0.to_be_bytes()));
            let integrity = ah.suite.iter().find(|one| one.kind == TransformType::INTEG);
            let name = integrity.map(|one| algorithm::integrity(IntegrityId(one.id)));
            s.put_some("ah-integ-alg", name);
            s.put_if("ah-esn", ah.esn);
        }
        put_suite(&mut s, &self.suite);
        if self.esn {
            s.put("esn", 1);
        }
        s.put("bytes-in", self.octets_in);
        s.put("packets-in", self.packets_in);
        s.put_some("use-in", self.idle_in_s);
        s.put("bytes-out", self.octets_out);
        s.put("packets-out", self.packets_out);
        s.put_some("use-out", self.idle_out_s);
        s.put_some("rekey-time", self.rekey_s);
        s.put_some("life-time", self.life_s);
        s.put("install-time", self.installed_s);
        if let Some(path) = &self.path {
            s.put("path-mtu", path.mtu);
            s.put_some("inner-mtu", path.inner);
            s.put("path-mtu-source", &path.source);
        }
        s.put_list("local-ts", &self.local_ts);
        s.put_list("remote-ts", &self.remote_ts);
        s
    }
}

impl PolicySnapshot {
    /// Its fields.
    pub fn section(&self) -> Section {
        Section::new()
            .with("child", &self.child)
            .with("ike", &self.connection)
            .with("mode", &self.mode)
            .with_list("local-ts", &self.local_ts)
            .with_list("remote-ts", &self.remote_ts)
    }
}

/// A connection as `list-conn` shows it.
pub fn conn_section(connection: &Connection) -> Section {
    let mut s = Section::new()
        .with_list("local_addrs", hosts(&connection.local_addresses))
        .with_list("remote_addrs", hosts(&connection.remote_addresses))
        .with("version", if connection.ike == IkeVersion::V1 { "IKEv1" } else { "IKEv2" })
        .with("reauth_time", connection.reauth_time.as_secs())
        .with("rekey_time", connection.rekey_time.as_secs())
        .with("unique", unique_words(connection.unique));
    if !connection.dpd_delay.is_zero() {
        s.put("dpd_delay", connection.dpd_delay.as_secs());
    }
    let pad = &connection.pad;
    if let Some(ppk) = &pad.ppk {
        s.put("ppk_id", &ppk.id);
        s.put_if("ppk_required", pad.requires_ppk());
    }
    let mut children = Section::new();
    for child in &connection.children {
        children = children.with_section(child.name.as_str(), child_section(child));
    }
    let local = [(pad.local_id.as_ref(), &pad.local_auth)].into_iter();
    let local = local.chain(pad.more_local.iter().map(|round| (round.id.as_ref(), &round.auth)));
    let local: Vec<_> = local.map(|(id, auth)| (id_words(id), auth)).collect();
    let remote = [(&pad.remote_id, &pad.remote_auth)].into_iter();
    let remote = remote.chain(pad.more_remote.iter().map(|round| (&round.id, &round.auth)));
    let remote: Vec<_> = remote.map(|(id, auth)| (id.to_string(), auth)).collect();
    let (ours, theirs) = match &connection.remote_access.user {
        UserAuth::None => (None, None),
        UserAuth::Ours { name } => (Some(Some(name)), None),
        UserAuth::Peers { .. } => (None, Some(None)),
    };
    s = put_rounds(s, "local", &local, ours);
    s = put_rounds(s, "remote", &remote, theirs);
    s.with_section("children", children)
}

/// `local-1`, `local-2` and so on: what a side proves itself by, and its user after that. Where the user is
/// all (hybrid), the device has no round.
fn put_rounds(
    all: Section,
    side: &str,
    rounds: &[(String, &AuthSpec)],
    user: Option<Option<&String>>,
) -> Section {
    let device = rounds.first().filter(|(_, auth)| user.is_some() && **auth == AuthSpec::Null);
    let mut sections: Vec<Section> = match device {
        Some(_) => Vec::new(),
        None => rounds.iter().map(|(id, auth)| auth_section(id, auth)).collect(),
    };
    sections.extend(user.map(|name| user_section(device.map(|(id, _)| id), name)));
    let numbered = (1_usize..).zip(sections);
    numbered.fold(all, |all, (number, round)| all.with_section(&format!("{side}-{number}"), round))
}

/// The round of a user.
fn user_section(id: Option<&String>, name: Option<&String>) -> Section {
    let none: [&str; 0] = [];
    let mut section = Section::new();
    section.put_some("id", id.filter(|id| *id != "%any"));
    section.put_some("xauth_id", name);
    section
        .with("class", "XAuth")
        .with("xauth", "generic")
        .with_list("groups", none)
        .with_list("cert_policy", none)
        .with_list("certs", none)
        .with_list("cacerts", none)
}

fn auth_section(id: &str, auth: &AuthSpec) -> Section {
    let class = match auth {
        AuthSpec::Psk => "pre-shared key",
        AuthSpec::Signature(_) => "public key",
        AuthSpec::Null => "null",
    };
    let none: [&str; 0] = [];
    let subjects = |of: fn(&SignatureSpec) -> &[Arc<Certificate>]| {
        let certificates = auth.signature().map(|spec| of(spec)).unwrap_or_default();
        certificates.iter().map(|one| one.subject_text()).collect::<Vec<_>>()
    };
    Section::new()
        .with("id", id)
        .with("class", class)
        .with_list("groups", none)
        .with_list("cert_policy", none)
        .with_list("certs", subjects(|spec| &spec.certificates))
        .with_list("cacerts", subjects(|spec| &spec.authorities))
}

fn child_section(child: &ChildConfig) -> Section {
    Section::new()
        .with("mode", child.mode)
        .with("rekey_time", child.lifetime.seconds.soft)
        .with("rekey_bytes", child.lifetime.octets.soft)
        .with("rekey_packets", child.lifetime.packets.soft)
        .with("dpd_action", action_words(child.dpd_action))
        .with("close_action", action_words(child.close_action))
        .with_list("local-ts", &child.local_ts)
        .with_list("remote-ts", &child.remote_ts)
}

fn hosts(hosts: &[HostSpec]) -> Vec<String> {
    if hosts.is_empty() {
        return vec![HostSpec::Any.to_string()];
    }
    hosts.iter().map(ToString::to_string).collect()
}

fn unique_words(unique: Unique) -> &'static str {
    match unique {
        Unique::Replace => "UNIQUE_REPLACE",
        Unique::Keep => "UNIQUE_KEEP",
        // A new SA does not end the old one unless it says INITIAL_CONTACT: charon's `no`.
        Unique::Never => "UNIQUE_NO",
        Unique::Replicated => "UNIQUE_NEVER",
    }
}

fn action_words(action: EndAction) -> &'static str {
    match action {
        EndAction::Clear => "none",
        EndAction::Trap => "trap",
        EndAction::Restart => "start",
    }
}

fn id_words(identity: Option<&Identity>) -> String {
    identity.map_or_else(|| "%any".to_owned(), ToString::to_string)
}

/// `encr-alg`, `encr-keysize`, `integ-alg`, `prf-alg`, `dh-group`, and for additional key
/// exchanges (RFC 9370) `ke1-alg` and so on.
fn put_suite(s: &mut Section, suite: &[Transform]) {
    let find = |kind| suite.iter().find(move |transform| transform.kind == kind);
    if let Some(transform) = find(TransformType::ENCR) {
        s.put("encr-alg", algorithm::encryption(EncryptionId(transform.id)));
        s.put_some("encr-keysize", transform.key_bits);
    }
    if let Some(transform) = find(TransformType::INTEG).filter(|t| t.id != IntegrityId::NONE.0) {
        s.put("integ-alg", algorithm::integrity(IntegrityId(transform.id)));
    }
    if let Some(transform) = find(TransformType::PRF) {
        s.put("prf-alg", algorithm::prf(PrfId(transform.id)));
    }
    if let Some(transform) = find(TransformType::KE).filter(|t| t.id != KeyExchangeId::NONE.0) {
        s.put("dh-group", algorithm::key_exchange(KeyExchangeId(transform.id)));
    }
    for transform in suite.iter().filter(|t| t.kind.is_additional_ke()) {
        if transform.id == KeyExchangeId::NONE.0 {
            continue;
        }
        let number = transform.kind.0.saturating_sub(TransformType::ADDKE1.0).saturating_add(1);
        let name = algorithm::key_exchange(KeyExchangeId(transform.id));
        s.put(&format!("ke{number}-alg"), name);
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
