//! The fields of all that goes into an endpoint.

use std::sync::Arc;

use adit_crypto::{KemPublicKey, KemSet, KeyKind, Secret, SignatureHash, SignatureScheme};
use adit_db::{
    AbsentLifetime, Aggressive, AuthSpec, BaseMode, ChildConfig, ChildName, ChildSaId, Childless,
    Claim, ClientSettings, ConfigClient, ConfigMode, ConfigServer, Connection, ConnectionName,
    DfPolicy, Dscp, DscpClass, DscpPolicy, DscpSet, EchoRule, EcnPolicy, Encap, EndAction, Engine,
    FragmentPolicy, Gateway, GatewayNotice, HostSpec, HwOffload, IcmpCarry, IcmpInterfaces,
    IcmpPassage, IcmpRed, IcmpRow, IcmpRules, IcmpTreatment, Identity, IdentityPattern, IkeSaId,
    IkeVersion, InboundThreads, InterfaceName, Keep, KernelOptions, KeyingTries, LifetimeBounds,
    LifetimeRule, LifetimeSpec, LimitSpec, LocalRound, Mark, Mobike, Mode, MssClamp, MtuPolicy,
    NonceEncryption, PadEntry, PathMtuRule, PerFamily, Pfp, Ports, PpkId, PpkSpec, ProposalSpec,
    Redirect, RemoteAccess, RemoteRound, SecurityFailures, SignatureSpec, StaticKemSpec, Steering,
    Tfc, Transit, TsSpec, TunMtu, Unique, UserAuth, WindowSize,
};
use adit_pki::{Certificate, Distrust, KemKeyId, Moment, PublicKey};
use adit_wire::esp::Spi;
use adit_wire::iana::{AuthMethod, CertEncoding, KeyExchangeId, ProtocolId};
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, Icmp};
use adit_wire::{Reader, WireError, Writer};
use ipnet::IpNet;

use crate::auth::DerivedKey;
use crate::command::{
    AuthResult, Command, IcmpHeard, JobId, Limited, PacketEvent, Path, ProofEnd, RequestId,
    TcpProblem, Transport,
};
use crate::config::{EndpointConfig, FragmentOctets, Retransmission, Retry};
use crate::ticket::TicketKeys;
use crate::v2::ppk::PpkKeys;
use crate::v2::signature::{CertificateData, Proof, SignFailure};

use super::codec::{Coded, enums, put_octets, structs, take_octets, texts, wrappers};

// ---- Settings of the endpoint ----

structs! {
    EndpointConfig {
        ike_port, nat_port, connecting, established, cookie_threshold, half_open_max,
        half_open_per_address_max, half_open_timeout, fragment_octets, inbound_grace,
        inbound_threads, retry, udp_probe, export_keys
    }
    Retransmission { first, longest, transmissions }
    FragmentOctets { v4, v6 }
    Retry { first, longest }
}

impl Coded for InboundThreads {
    fn put(&self, w: &mut Writer<'_>) {
        self.count().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        u32::take(r).map(Self::new)
    }
}

// ---- What happens ----

wrappers! { IkeSaId ChildSaId Spi RequestId JobId Moment AuthMethod CertEncoding }

structs! {
    Path { local, remote, transport }
    Icmp { kind, code }
    IcmpHeard { icmp, by }
    FlowKey { src, dst, protocol, src_port, dst_port, opaque }
    Proof { method, data, certificates }
    CertificateData { encoding, data }
    Limited { end, verified, signed, decrypted }
    ProofEnd { left_s, ours, subject, until }
    PpkKeys { d, pi, pr }
}

enums! {
    Transport { 0 Udp, 1 TcpOriginator, 2 TcpResponder }
    TcpProblem { 0 Refused, 1 Unreachable, 2 Silent, 3 Closed, 4 Garbled }
    Command {
        0 Load(connection),
        1 LoadElsewhere(connection),
        2 BringUp { connection, here },
        3 Unload(name),
        4 Initiate { connection, child, request },
        5 Down { connection, request },
        6 TerminateIke { id, request },
        7 TerminateChild { id, request },
        8 RekeyIke(id),
        9 Reauthenticate(id),
        10 RekeyChild(id),
        11 UseTicketKeys { keys, now_s },
        12 RedirectIke { id, to },
        13 Shutdown
    }
    PacketEvent {
        0 Acquire { connection, child, flow },
        1 SoftExpire { child },
        2 HardExpire { child },
        3 PeerMoved { child, remote },
        4 Traffic { child },
        5 Used { child },
        6 Notice { child, notice },
        7 Doubted { child },
        8 UnknownSpi { spi, remote }
    }
    GatewayNotice { 0 IcmpError(octets), 1 LargestFragment(octets) }
    AuthResult {
        0 Signed(proof),
        1 Verified,
        2 VerifiedAndSigned(proof),
        3 Refused,
        4 Mixed(keys),
        5 NoSecret,
        6 Distrusted(reason),
        7 CannotSign(reason),
        8 Limited(limited),
        9 Derived(key),
        10 Decrypted(messages)
    }
    SignFailure { 0 NoKey(identity), 1 NoScheme { key, takes } }
    KeyKind { 0 Rsa(bits), 1 P256, 2 P384, 3 P521, 4 Ed25519, 5 Dsa(bits) }
    Distrust {
        0 UnknownIssuer { subject, issuer },
        1 OtherIssuer { subject, issuer },
        2 Expired { subject, until, now },
        3 NotYetValid { subject, from, now },
        4 Unfit { subject, reason },
        5 OtherIdentity { subject, claimed },
        6 OtherKey,
        7 NoCertificate(reason),
        8 BadSignature,
        9 Method(reason)
    }
}

impl Coded for DerivedKey {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.0.as_bytes(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(Secret::from_slice(take_octets(r)?)))
    }
}

impl Coded for TicketKeys {
    fn put(&self, w: &mut Writer<'_>) {
        self.octets().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let keys = Self::from_octets(take_octets(r)?);
        keys.ok_or(WireError::BadValue("keys of tickets", 0))
    }
}

// ---- Connections ----

texts! { ConnectionName ChildName InterfaceName HostSpec IpNet }

structs! {
    Connection {
        name, ike, aggressive, base_mode, local_addresses, remote_addresses, ports, tcp_ports, pad, proposals, encap, engine,
        over, on_first_thread, fragmentation, mobike, keepalive, dpd_delay, rekey_time, over_time,
        rand_time, reauth_time, lifetime_rule, unique, reach, childless, redirect, resumption, nonce_encryption, remote_access, children
    }
    ChildConfig {
        name, local_ts, remote_ts, proposals, outer_ah, mode, class, cpus, resource, keep, pfp, lifetime,
        replay_window, peer_replay_window, icmp, dscp, ecn, df, mtu, tfc, compress, turbo, kernel, dpd_action,
        close_action
    }
    Ports { local, remote }
    PadEntry {
        local_id, remote_id, local_auth, remote_auth, more_local, more_remote, ppk, static_kem, claims
    }
    Claim { id, networks }
    LocalRound { id, auth }
    RemoteRound { id, auth }
    PpkSpec { id, required }
    SignatureSpec { schemes, certificates, public_keys, authorities }
    Redirect { to, follow }
    RemoteAccess { user, client, server }
    ConfigClient { mode }
    ConfigServer { mode, pool, settings }
    ClientSettings {
        addresses, netmask, dns, nbns, expiry_s, domain, split_dns, split, exclude, banner,
        save_password, pfs_group, version
    }
    DscpClass { of, code_points }
    Pfp { local, remote, protocol, local_port, remote_port }
    LifetimeSpec { seconds, octets, packets, idle_s }
    LimitSpec { soft, hard, rand }
    LifetimeRule {
        absent, strict, ike_seconds, ike_kilobytes, ike_own_kilobytes, child_seconds, child_kilobytes
    }
    LifetimeBounds { least, most }
    Tfc { padding, dummies }
    IcmpTreatment { red, black, tunnel }
    MtuPolicy { path, ageing, fragment, mss, echo }
    EchoRule { asks_peer, to, from }
    PerFamily { v4, v6 }
    KernelOptions { steering, no_routes, offload, tun_mtu }
    Steering { interface, mark }
    Mark { value, mask }
    TrafficSelector { protocol, ports, start, end }
    PortRange { start, end }
}

enums! {
    Gateway { 0 Address(address), 1 Name(name) }
    Identity { 0 Ipv4(a), 1 Ipv6(a), 2 Fqdn(a), 3 Rfc822(a), 4 KeyId(a), 5 Dn(a), 6 Null }
    IdentityPattern { 0 Any, 1 Exact(identity), 2 Below(domain), 3 MailOf(domain) }
    TsSpec { 0 Dynamic { protocol, ports }, 1 Selector(selector) }
    AuthSpec { 0 Psk, 1 Signature(spec), 2 Null }
    SignatureScheme { 0 RsaPkcs1(hash), 1 RsaPss(hash), 2 Ecdsa(hash), 3 Ed25519 }
    SignatureHash { 0 Sha1, 1 Sha2_256, 2 Sha2_384, 3 Sha2_512, 4 Identity }
    IkeVersion { 0 V1, 1 V2 }
    UserAuth { 0 None, 1 Ours { name }, 2 Peers { message } }
    ConfigMode { 0 Pull, 1 Push }
    Aggressive { 0 Refuse, 1 Allow, 2 Initiate }
    NonceEncryption { 0 Plain, 1 Revised, 2 DhLess }
    BaseMode { 0 Refuse, 1 Allow, 2 Initiate }
    Encap { 0 Auto, 1 Udp, 2 Esp, 3 Tcp }
    AbsentLifetime { 0 Shorter, 1 LocalDefault, 2 Seconds28800, 3 Infinite, 4 Reject }
    Engine { 0 Userspace, 1 Kernel, 2 Auto }
    Mobike { 0 No, 1 Yes, 2 Unchecked }
    Unique { 0 Replace, 1 Keep, 2 Never, 3 Replicated }
    KeyingTries { 0 Tries(count), 1 Forever }
    Childless { 0 Allow, 1 Prefer, 2 Force, 3 Never }
    Mode { 0 Tunnel, 1 Transport, 2 Beet }
    Keep { 0 Up, 1 OnDemand, 2 Passive }
    EndAction { 0 Clear, 1 Trap, 2 Restart }
    DscpPolicy { 0 Copy, 1 Set(dscp) }
    EcnPolicy { 0 Normal, 1 Compatibility }
    DfPolicy { 0 Clear, 1 Copy, 2 Set }
    PathMtuRule { 0 Discover, 1 Ignore, 2 Fixed(octets) }
    FragmentPolicy { 0 Before, 1 After }
    MssClamp { 0 ToPath, 1 Off, 2 To(octets) }
    IcmpPassage { 0 Discard, 1 Explicit, 2 Implicit }
    IcmpRed { 0 Discard, 1 Prompt, 2 Measure }
    IcmpCarry { 0 Esp, 1 Ike }
    Transit { 0 Hide, 1 Reveal }
    SecurityFailures { 0 Off, 1 Inside, 2 All }
    HwOffload { 0 Off, 1 Crypto, 2 Packet }
    TunMtu { 0 Auto, 1 Fixed(octets) }
}

impl Coded for IcmpRules {
    fn put(&self, w: &mut Writer<'_>) {
        self.errors.put(w);
        self.carry.put(w);
        self.transit.put(w);
        self.security_failures.put(w);
        (0..IcmpRow::COUNT).for_each(|row| self.treatment(row).put(w));
        self.interfaces.red().to_vec().put(w);
        self.interfaces.black().to_vec().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut rules = Self::DEFAULT;
        rules.errors = Coded::take(r)?;
        rules.carry = Coded::take(r)?;
        rules.transit = Coded::take(r)?;
        rules.security_failures = Coded::take(r)?;
        for row in 0..IcmpRow::COUNT {
            rules.set(row, Coded::take(r)?);
        }
        rules.interfaces = IcmpInterfaces::new(Coded::take(r)?, Coded::take(r)?);
        Ok(rules)
    }
}

impl Coded for PpkId {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(&self.to_wire(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::from_wire(take_octets(r)?).map_err(|_| WireError::BadValue("name of a PPK", 0))
    }
}

impl Coded for StaticKemSpec {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(&self.local().0);
        self.set().static_id().0.put(w);
        put_octets(self.remote().octets(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let name = r.bytes(KemKeyId::LEN)?.try_into();
        let local = name.map(KemKeyId).map_err(|_| WireError::BadValue("static ML-KEM", 0))?;
        let id = KeyExchangeId(r.u16()?);
        let bad = WireError::BadValue("static ML-KEM", id.0.into());
        let set = KemSet::from_static_id(id).ok_or(bad)?;
        let remote = KemPublicKey::from_octets(set, take_octets(r)?).map_err(|_| bad)?;
        Ok(Self::new(local, Arc::new(remote)))
    }
}

impl Coded for WindowSize {
    fn put(&self, w: &mut Writer<'_>) {
        self.packets().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let packets = r.u32()?;
        Self::covering(packets).ok_or_else(|| WireError::BadValue("replay window", packets.into()))
    }
}

impl Coded for Dscp {
    fn put(&self, w: &mut Writer<'_>) {
        self.get().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let value = r.u8()?;
        Self::new(value).ok_or_else(|| WireError::BadValue("DSCP", value.into()))
    }
}

impl Coded for DscpSet {
    fn put(&self, w: &mut Writer<'_>) {
        self.iter().collect::<Vec<_>>().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut set = Self::default();
        for dscp in Vec::take(r)? {
            set.insert(dscp);
        }
        Ok(set)
    }
}

/// In the words of a configuration, which have a place for every transform that is known.
impl Coded for ProposalSpec {
    fn put(&self, w: &mut Writer<'_>) {
        self.protocol().0.put(w);
        self.to_string().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (protocol, text) = (ProtocolId(r.u8()?), String::take(r)?);
        let read = match protocol {
            ProtocolId::IKE => Self::ike(&text),
            ProtocolId::ESP => Self::esp(&text),
            ProtocolId::AH => Self::ah(&text),
            other => return Err(WireError::BadValue("protocol", other.0.into())),
        };
        read.map_err(|_| WireError::BadValue("proposal", 0))
    }
}

impl Coded for Certificate {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.der(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::from_der(take_octets(r)?).map_err(|_| WireError::BadValue("certificate", 0))
    }
}

impl Coded for PublicKey {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.der(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::from_der(take_octets(r)?).map_err(|_| WireError::BadValue("public key", 0))
    }
}
