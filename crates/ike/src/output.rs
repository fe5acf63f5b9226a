//! What an [`Endpoint`](crate::Endpoint) asks of the program.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_crypto::{Prf, Secret};
use adit_db::{
    AuthSpec, ChildSa, ChildSaId, ConnectionName, Encapsulation, GatewayNotice, Identity,
};
use adit_pki::KemKeyId;
use adit_wire::iana::AuthMethod;
use adit_wire::ikev2::IkeSpi;

use crate::command::{JobId, Path, RequestId};
use crate::event::Event;
use crate::failure::Failure;
use crate::shard::Tidings;
use crate::v1::encryption::Ciphertexts;
use crate::v2::ppk::PpkJob;
use crate::v2::signature::{Announced, Proof};

/// One thing to do, in the order of [`Endpoint::poll_output`](crate::Endpoint::poll_output).
#[derive(Debug)]
pub enum Output {
    /// Send one datagram.
    Transmit {
        /// Where from and where to.
        path: Path,
        /// The IKE message, without a non-ESP marker.
        octets: Vec<u8>,
    },
    /// Send the single octet `0xff`, without a non-ESP marker: it keeps the NAT's mapping alive
    /// and the peer ignores it (RFC 3948 §2.3).
    Keepalive(Path),
    /// Close a TCP connection, once what was sent has left: nothing uses it any more (RFC 9329 §6.1).
    HangUp(Path),
    /// Give a child SA to the packet engine. The inbound direction works at once.
    InstallChild {
        /// Keys, selectors and lifetimes of both directions.
        sa: Box<ChildSa>,
        /// Whether the outbound direction carries traffic from now on; if not,
        /// [`Output::ActivateOutbound`] follows or the SA is removed.
        outbound: bool,
    },
    /// Send on this child SA from now on, instead of the one it replaces.
    ActivateOutbound(ChildSaId),
    /// Take a child SA from the packet engine: outbound now, inbound after `delay`.
    RemoveChild {
        /// The child SA.
        id: ChildSaId,
        /// How long packets under way are still accepted.
        delay: Duration,
    },
    /// The peer has another address, or the encapsulation changed.
    UpdatePeer {
        /// The child SA.
        child: ChildSaId,
        /// The new outer addresses.
        encap: Encapsulation,
    },
    /// Leave out so many sequence numbers of what is sent on this child SA from now on (RFC 6311
    /// §5.2).
    SkipSequence {
        /// The child SA.
        child: ChildSaId,
        /// How many.
        by: u64,
    },
    /// The peer tells something about a child SA, whose packets could not carry it.
    Notice {
        /// The child SA.
        child: ChildSaId,
        /// What it tells.
        notice: GatewayNotice,
    },
    /// Compute with a long-term secret; answer with
    /// [`Endpoint::handle_auth`](crate::Endpoint::handle_auth).
    Auth(AuthJob),
    /// Mix a post-quantum pre-shared key into the keys of an IKE SA; answer with
    /// [`Endpoint::handle_auth`](crate::Endpoint::handle_auth).
    Ppk(PpkJob),
    /// Look something up; answer with
    /// [`Endpoint::handle_resolved`](crate::Endpoint::handle_resolved).
    Resolve {
        /// Comes back with the addresses.
        job: JobId,
        /// The question.
        query: Query,
    },
    /// Tell who listens.
    Event(Event),
    /// A command has come to its end.
    Done {
        /// The command.
        request: RequestId,
        /// Why it failed, if it did.
        result: Result<(), Box<Failure>>,
    },
    /// Keys for a packet analyser; only with
    /// [`EndpointConfig::export_keys`](crate::EndpointConfig::export_keys).
    Keys(DebugKeys),
    /// Tell the other endpoints of this host, with
    /// [`Endpoint::handle_tidings`](crate::Endpoint::handle_tidings); only where there are some.
    Tidings(Tidings),
}

/// A question about addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Query {
    /// The addresses of a host name, best first. None: the name does not resolve (now).
    Name(String),
    /// The local address this host would send from to this one, by its routing table. None: there
    /// is no route. NAT detection (RFC 7296 §2.23) needs it before anything is sent.
    SourceFor(IpAddr),
}

/// One computation with a long-term secret (RFC 7296 §2.15).
///
/// With a pre-shared key the authentication data is
/// `prf(prf(secret, "Key Pad for IKEv2"), octets)`, else a signature of `octets`. The secrets live
/// elsewhere, where [`AuthJob::answer`] is called.
#[derive(Debug)]
pub struct AuthJob {
    /// Comes back with the result.
    pub job: JobId,
    /// Which way round.
    pub kind: AuthJobKind,
    /// The connection the IKE SA belongs to.
    pub connection: ConnectionName,
    /// Which authentication of its side each proof is (RFC 4739), counted from 0. Rounds of both sides
    /// go in step, so that with [`AuthJobKind::VerifyAndSign`] it is the same of both.
    pub round: usize,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's identity as it claims it. An initiator that signs first and whose configuration
    /// names no single identity gives the peer's address.
    pub remote_id: Identity,
    /// The negotiated pseudo-random function.
    pub prf: Prf,
    /// The signed octets: ours for [`AuthJobKind::Sign`], else the peer's.
    pub octets: Secret,
    /// How we prove our identity.
    pub local_auth: AuthSpec,
    /// How the peer has to prove its own.
    pub remote_auth: AuthSpec,
    /// Which signatures the peer takes, and from whom certificates.
    pub announced: Announced,
}

/// What an [`AuthJob`] computes.
#[derive(Debug, Eq, PartialEq)]
pub enum AuthJobKind {
    /// Our proof. Answer: [`AuthResult::Signed`](crate::AuthResult::Signed).
    Sign,
    /// Whether the peer's is right. Answer: [`AuthResult::Verified`](crate::AuthResult::Verified)
    /// or [`AuthResult::Refused`](crate::AuthResult::Refused).
    Verify {
        /// The peer's proof.
        auth: Proof,
    },
    /// The same, and ours if it is. Answer:
    /// [`AuthResult::VerifiedAndSigned`](crate::AuthResult::VerifiedAndSigned) or
    /// [`AuthResult::Refused`](crate::AuthResult::Refused).
    VerifyAndSign {
        /// The peer's proof.
        auth: Proof,
        /// Our signed octets.
        ours: Secret,
    },
    /// SKEYID of IKEv1, `prf(secret, octets)`, where the octets are both nonces (RFC 2409 §5).
    /// Answer: [`AuthResult::Derived`](crate::AuthResult::Derived).
    Derive,
    /// The password by which the connection's user proves who they are (XAUTH). The peer gets it as it
    /// is. Answer: [`AuthResult::Derived`](crate::AuthResult::Derived).
    Password {
        /// What our user is called.
        user: String,
    },
    /// Whether that is the password of a user of the connection. Answer:
    /// [`AuthResult::Verified`](crate::AuthResult::Verified) or
    /// [`AuthResult::Refused`](crate::AuthResult::Refused).
    CheckPassword {
        /// The user's name, as the peer says it.
        user: String,
        /// What the peer says is the password.
        password: Secret,
    },
    /// The secret in a ciphertext to a static ML-KEM key of ours, where the octets are the ciphertext
    /// (docs/dhless.md). Who the peer is nobody knows then. Answer:
    /// [`AuthResult::Derived`](crate::AuthResult::Derived).
    Decapsulate {
        /// The key.
        key: KemKeyId,
    },
    /// Our proof for IKEv1, a signature of `octets`, which are HASH_I or HASH_R (RFC 2409 §5.1, RFC 4754
    /// §5). Answer: [`AuthResult::Signed`](crate::AuthResult::Signed).
    SignHash {
        /// The kind of key, as IKEv2 numbers it: both ends sign with the same.
        method: AuthMethod,
    },
    /// Whether the peer's is right. Answer: as of [`AuthJobKind::Verify`].
    VerifyHash {
        /// The peer's proof; its method is the kind of key.
        auth: Proof,
    },
    /// What the peer of IKEv1 has encrypted to our key (RFC 2409 §5.2, §5.3). Answer:
    /// [`AuthResult::Decrypted`](crate::AuthResult::Decrypted), whatever it is.
    Decrypt(Ciphertexts),
    /// Whether a certificate of the peer of IKEv1 is trusted, to whose key something is to be encrypted (RFC 2409
    /// §5.3); nothing is proven by it yet. Answer: as of [`AuthJobKind::Verify`].
    Trust {
        /// The certificate, unread.
        certificate: Vec<u8>,
    },
}

/// Session keys as a packet analyser wants them.
#[derive(Debug)]
pub enum DebugKeys {
    /// Keys of an IKE SA: one row of Wireshark's `ikev2_decryption_table`.
    Ike(IkeDebugKeys),
    /// Keys of an ISAKMP SA of IKEv1: one row of Wireshark's `ikev1_decryption_table`.
    Isakmp(IsakmpDebugKeys),
    /// Keys of a child SA in one direction: one row of Wireshark's `esp_sa`.
    Esp(EspDebugKeys),
}

/// Keys of an IKE SA (RFC 7296 §2.14). A second value for the same SPIs replaces the first
/// (IKE_INTERMEDIATE, RFC 9370 §2.2.2).
#[derive(Debug)]
pub struct IkeDebugKeys {
    /// The initiator's SPI.
    pub spi_i: IkeSpi,
    /// The responder's SPI.
    pub spi_r: IkeSpi,
    /// SK_ei, with the salt of an AEAD at its end.
    pub sk_ei: Secret,
    /// SK_er, with the salt of an AEAD at its end.
    pub sk_er: Secret,
    /// SK_ai; empty with an AEAD.
    pub sk_ai: Secret,
    /// SK_ar; empty with an AEAD.
    pub sk_ar: Secret,
    /// The cipher suite of the SK payload.
    pub cipher: adit_crypto::Cipher,
}

/// Keys of an ISAKMP SA (RFC 2409 §5, appendix B), once both ends have authenticated.
#[derive(Debug)]
pub struct IsakmpDebugKeys {
    /// The initiator's cookie.
    pub cookie_i: IkeSpi,
    /// The responder's cookie.
    pub cookie_r: IkeSpi,
    /// The cipher, in CBC.
    pub encryption: adit_crypto::Encryption,
    /// Its key, made of SKEYID_e.
    pub key: Secret,
    /// SKEYID_a, which HASH(1) to HASH(3) are computed with.
    pub skeyid_a: Secret,
    /// What they are computed by.
    pub prf: Prf,
    /// The last block of phase 1: with a message id it gives the IV of any other exchange.
    pub last_block: Vec<u8>,
}

/// Keys of one direction of a child SA (RFC 7296 §2.17).
#[derive(Debug)]
pub struct EspDebugKeys {
    /// Outer source, as we see it.
    pub source: SocketAddr,
    /// Outer destination, as we see it.
    pub destination: SocketAddr,
    /// The SPI in the packets.
    pub spi: adit_wire::esp::Spi,
    /// The cipher suite.
    pub cipher: adit_crypto::Cipher,
    /// Encryption key, with the salt of an AEAD at its end.
    pub encryption: Secret,
    /// Integrity key; empty with an AEAD.
    pub integrity: Secret,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
}
