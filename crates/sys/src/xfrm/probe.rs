//! What this kernel can do: the honest way to know is to ask for an SA and take it away again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_crypto::{Authentication, Cipher, Encryption, Integrity, Protection, Secret};
use adit_db::{ChildKeys, KERNEL_SPI, Lifetime, Mode};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use nix::libc;

use super::{REQID_LAST, Refusal, Replay, State, StateId, Xfrm};
use crate::error::SysError;
use crate::netlink::Family;

/// What the kernel lacks to be a tunnel's engine.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// IPsec as a whole.
    #[error("the kernel has no IPsec interface (CONFIG_XFRM_USER, module xfrm_user)")]
    Xfrm,
    /// ESP of one family.
    #[error("the kernel has no ESP over {} ({})", words(*family).0, words(*family).1)]
    Esp {
        /// The family of the outer addresses.
        family: Family,
    },
    /// AH of one family.
    #[error("the kernel has no AH over {} ({})", ah_words(*family).0, ah_words(*family).1)]
    Ah {
        /// The family of the outer addresses.
        family: Family,
    },
    /// One suite.
    #[error("the kernel has no {suite}")]
    Suite {
        /// The suite.
        suite: Protection,
    },
    /// The right to change it, or something else that has nothing to do with IPsec.
    #[error(transparent)]
    System(#[from] SysError),
}

impl Missing {
    pub(super) fn of_socket(operation: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => Self::Xfrm,
            _ => Self::System(SysError::of(operation, error)),
        }
    }
}

fn words(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("IPv4", "CONFIG_INET_ESP, module esp4"),
        Family::V6 => ("IPv6", "CONFIG_INET6_ESP, module esp6"),
    }
}

fn ah_words(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("IPv4", "CONFIG_INET_AH, module ah4"),
        Family::V6 => ("IPv6", "CONFIG_INET6_AH, module ah6"),
    }
}

/// Whether the kernel can protect packets of a suite between addresses of a family.
///
/// It makes an SA between loopback addresses and removes it; nothing uses it in between.
///
/// # Errors
///
/// What is missing; [`Missing::System`] without CAP_NET_ADMIN.
pub fn probe(xfrm: &mut Xfrm, suite: impl Into<Protection>, family: Family) -> Result<(), Missing> {
    let suite = suite.into();
    // A kernel without ESP may lack the ciphers as well: the lack of ESP is the one to be told.
    let (reference, without) = match suite {
        Protection::Esp(_) => (Protection::Esp(REFERENCE), Missing::Esp { family }),
        Protection::Ah(_) => (Protection::Ah(AH_REFERENCE), Missing::Ah { family }),
    };
    if let Err(refusal) = try_suite(xfrm, reference, family) {
        return Err(missing(refusal, without));
    }
    try_suite(xfrm, suite, family).map_err(|refusal| match refusal.errno() {
        libc::ENOSYS | libc::EINVAL | libc::ENOENT => Missing::Suite { suite },
        _ => missing(refusal, without),
    })
}

/// A suite that every kernel with ESP has.
const REFERENCE: Cipher = Cipher::Paired(Encryption::Null, Integrity::HmacSha1_96);

/// One that every kernel with AH has.
const AH_REFERENCE: Authentication = Authentication::Mac(Integrity::HmacSha1_96);

fn missing(refusal: Refusal, without: Missing) -> Missing {
    match refusal.errno() {
        libc::EPROTONOSUPPORT | libc::ENOSYS | libc::EAFNOSUPPORT => without,
        _ => Missing::System(SysError::of("ask the kernel for an SA", refusal.source)),
    }
}

fn try_suite(xfrm: &mut Xfrm, protection: Protection, family: Family) -> Result<(), Refusal> {
    let host: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let spi = Spi(KERNEL_SPI | PROBE_SPI);
    let protocol = match protection {
        Protection::Esp(_) => IpProtocol::ESP,
        Protection::Ah(_) => IpProtocol::AH,
    };
    let id = StateId { source: host, destination: host, protocol, spi, mark: None };
    // Not a key that protects anything; unequal octets, as 3DES refuses weak keys.
    let octets = |count: usize| Secret::new((1..=u8::MAX).cycle().take(count).collect());
    let keys = ChildKeys {
        encryption: octets(protection.encryption_key_len()),
        integrity: octets(protection.integrity_key_len()),
    };
    let state = State {
        id,
        reqid: REQID_LAST,
        mode: Mode::Transport,
        protection,
        keys: &keys,
        encap: None,
        lifetime: Lifetime::NONE,
        replay: Replay::sending(false),
        selector: None,
        any_family: false,
        clear_dscp: false,
        clear_ecn: false,
        clear_df: false,
        output_mark: None,
        if_id: None,
        offload: None,
    };
    let added = xfrm.add_state(&state);
    match added {
        // Another probe at the same time, or one that was killed: it could be made.
        Err(refusal) if refusal.errno() != libc::EEXIST => Err(refusal),
        Ok(()) | Err(_) => xfrm.delete_state(&id),
    }
}

/// Below the numbers that [`adit_db::random_spi`] is likely to draw, and not reserved.
const PROBE_SPI: u32 = 0x0000_ad17;
