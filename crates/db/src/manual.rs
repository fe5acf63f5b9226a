//! SAs keyed by hand (RFC 4301 §4.5): what an operator wrote down instead of negotiating it, but
//! for the keys.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use adit_crypto::{Authentication, Cipher, Encryption, Protection};
use adit_wire::esp::Spi;
use adit_wire::iana::{EncryptionId, IntegrityId, ProtocolId, TransformType};
use adit_wire::ikev2::{TrafficSelector, Transform};

use crate::child_sa::{ChildKeys, ChildSa, Encapsulation};
use crate::connection::{KERNEL_SPI, Mode, Tfc};
use crate::icmp::IcmpRules;
use crate::ids::{ChildSaId, IkeSaId, PolicyId};
use crate::lifetime::Lifetime;
use crate::mtu_policy::MtuPolicy;
use crate::names::{ChildName, ConnectionName};
use crate::outer_header::{DfPolicy, DscpPolicy, EcnPolicy};
use crate::proposal::ProposalSpec;
use crate::replay::WindowSize;
use crate::spd::{Action, SpdEntry};

/// Inbound SPIs of SAs that are keyed by hand: never drawn for others, so that neither can take
/// the other's place.
pub const MANUAL_SPIS: RangeInclusive<u32> = 256..=0xffff;

/// Inbound SPIs of multicast SAs: whose they are the group says, too, so only those of the kernel's
/// engine are out.
pub const GROUP_SPIS: RangeInclusive<u32> = 256..=KERNEL_SPI - 1;

/// Most senders of one multicast SA that have replay windows of their own.
pub const SENDERS_MAX: usize = 64;

/// One SA or a pair of them, keyed by hand. The keys are kept apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ManualSa {
    /// The operator's name for it; no connection has the same.
    pub name: ConnectionName,
    /// Our outer address and port; the port counts only inside UDP.
    pub local: SocketAddr,
    /// The peer's, or the multicast group's.
    pub remote: SocketAddr,
    /// What the two directions are.
    pub directions: Directions,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Protocol and algorithms.
    pub protection: Protection,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// Whether ESP runs inside UDP (RFC 3948).
    pub udp: bool,
    /// What we speak for, or the group that we listen to.
    pub local_ts: Vec<TrafficSelector>,
    /// What the peer speaks for, or the group that we speak to.
    pub remote_ts: Vec<TrafficSelector>,
    /// Replay window of what comes in, for each sender.
    pub replay_window: WindowSize,
}

/// Which SAs there are (RFC 4301 §4.1: a unicast exchange needs two, a multicast group one).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Directions {
    /// With one peer, both ways.
    Both {
        /// SPI of what comes in, one of [`MANUAL_SPIS`].
        spi_in: Spi,
        /// SPI of what goes out.
        spi_out: Spi,
    },
    /// To a group.
    ToGroup(Spi),
    /// From a group.
    FromGroup {
        /// SPI, one of [`GROUP_SPIS`].
        spi: Spi,
        /// Who may send; anybody who has the key, if empty. At most [`SENDERS_MAX`].
        senders: Vec<IpAddr>,
    },
}

impl Directions {
    /// SPI of what comes in.
    pub fn spi_in(&self) -> Option<Spi> {
        match *self {
            Self::Both { spi_in: spi, .. } | Self::FromGroup { spi, .. } => Some(spi),
            Self::ToGroup(_) => None,
        }
    }

    /// SPI of what goes out.
    pub fn spi_out(&self) -> Option<Spi> {
        match *self {
            Self::Both { spi_out: spi, .. } | Self::ToGroup(spi) => Some(spi),
            Self::FromGroup { .. } => None,
        }
    }
}

impl ManualSa {
    /// Its entry of the SPD.
    pub fn policy(&self, number: PolicyId) -> SpdEntry {
        SpdEntry {
            local: self.local_ts.clone(),
            remote: self.remote_ts.clone(),
            action: Action::Protect(number),
        }
    }

    /// The child of this name in the places that ask for one.
    pub fn child_name(&self) -> Option<ChildName> {
        ChildName::new(self.name.as_str()).ok()
    }

    /// The value that packet engines take. A half that does not exist has SPI 0 and no key; with a
    /// group the halves' addresses are those of its packets.
    pub fn child_sa(
        &self,
        id: ChildSaId,
        keys_in: ChildKeys,
        keys_out: ChildKeys,
    ) -> Option<ChildSa> {
        let (local, remote) = match self.directions {
            Directions::FromGroup { .. } => (self.remote, self.local),
            Directions::Both { .. } | Directions::ToGroup(_) => (self.local, self.remote),
        };
        Some(ChildSa {
            id,
            ike: NO_IKE_SA,
            connection: self.name.clone(),
            child: self.child_name()?,
            spi_in: self.directions.spi_in().unwrap_or(Spi(0)),
            spi_out: self.directions.spi_out().unwrap_or(Spi(0)),
            protection: self.protection,
            mode: self.mode,
            peer_view: None,
            esn: self.esn,
            keys_in,
            keys_out,
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            encap: Encapsulation { udp: self.udp, tcp: false, local, remote },
            lifetime: Lifetime::NONE,
            replay_window: self.replay_window,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::default(),
            ecn: EcnPolicy::default(),
            df: DfPolicy::default(),
            mtu: MtuPolicy::default(),
            tfc: Tfc::OFF,
            ipcomp: None,
            aggfrag: None,
            path_probe: false,
            notices: false,
            outer: None,
            rekeys: None,
        })
    }
}

/// Nobody negotiates these SAs.
const NO_IKE_SA: IkeSaId = IkeSaId(0);

impl ChildSaId {
    /// The number of an SA that is keyed by hand; they are counted down from the end, where those
    /// of negotiations never get.
    pub fn manual(number: u32) -> Self {
        Self(u32::MAX.saturating_sub(number))
    }
}

/// Whether keys written down would use a nonce twice: whoever restarts begins to count anew, and
/// counter modes and the AEADs made of them give away what they protect when a nonce comes again
/// (RFC 8221 §4, RFC 4106 §2, RFC 4543 §3.2).
pub fn counts_nonces(protection: Protection) -> bool {
    match protection {
        Protection::Esp(Cipher::Paired(encryption, _)) => {
            matches!(encryption, Encryption::AesCtr(_) | Encryption::CamelliaCtr(_))
        }
        Protection::Esp(_) => true,
        Protection::Ah(authentication) => matches!(authentication, Authentication::AesGmac(_)),
    }
}

impl ProposalSpec {
    /// The algorithms of a proposal that leaves no choice, and whether it has ESN; `None` if there
    /// is one.
    pub fn single(&self) -> Option<(Protection, bool)> {
        let one = |kind: TransformType| -> Option<Option<Transform>> {
            let mut all = self.transforms().iter().filter(|transform| transform.kind == kind);
            let first = all.next().copied();
            all.next().is_none().then_some(first)
        };
        let (encryption, integrity) = (one(TransformType::ENCR)?, one(TransformType::INTEG)?);
        let esn = one(TransformType::ESN)?.is_some_and(|transform| transform.id == ESN);
        let is_key_exchange =
            |kind: TransformType| kind == TransformType::KE || kind.is_additional_ke();
        let key_exchange = self.transforms().iter().any(|one| is_key_exchange(one.kind));
        let integrity = integrity.map(|transform| IntegrityId(transform.id));
        if key_exchange {
            return None;
        }
        let protection = match self.protocol() {
            ProtocolId::AH => Authentication::from_id(integrity?)?.into(),
            _ => {
                let encryption = encryption?;
                let id = EncryptionId(encryption.id);
                Cipher::from_transforms(id, encryption.key_bits, integrity)?.into()
            }
        };
        Some((protection, esn))
    }
}

/// RFC 7296 §3.3.2, transform type 5.
const ESN: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_suite_is_one_choice_of_each_kind() {
        let read = |text: &str| ProposalSpec::esp(text).unwrap().single();
        let words = |text: &str| read(text).map(|(protection, esn)| (protection.to_string(), esn));
        assert_eq!(words("aes256-sha256"), Some(("aes256-sha256".to_owned(), false)));
        assert_eq!(words("null-sha256-esn"), Some(("null-sha256".to_owned(), true)));
        assert_eq!(words("aes256-aes128-sha256"), None);
        assert_eq!(words("aes256-sha256-x25519"), None);
        assert_eq!(words("aes256-sha256-esn-noesn"), None);
        let ah = ProposalSpec::ah("sha512").unwrap().single();
        assert_eq!(ah.map(|(protection, _)| protection.to_string()), Some("sha512".to_owned()));
    }

    /// RFC 8221 §4: these, and nothing else.
    #[test]
    fn what_counts_nonces_is_not_for_keys_that_stay() {
        let fit: Vec<String> = Cipher::ALL
            .into_iter()
            .filter(|cipher| !counts_nonces((*cipher).into()))
            .map(|cipher| cipher.to_string())
            .filter(|words| words.ends_with("-sha256"))
            .collect();
        assert_eq!(
            fit.join(" "),
            "aes256-sha256 aes192-sha256 aes128-sha256 camellia256-sha256 camellia192-sha256 \
             camellia128-sha256 3des-sha256 cast128-sha256 blowfish256-sha256 blowfish192-sha256 \
             blowfish128-sha256 des-sha256 null-sha256"
        );
        let unfit = Authentication::ALL.into_iter().filter(|one| counts_nonces((*one).into()));
        assert_eq!(unfit.count(), 3);
    }
}
