//! What this kernel can do: the honest way to know is to ask for an SA and take it away again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_crypto::{Cipher, Secret};
use adit_db::{ChildKeys, KERNEL_SPI, Lifetime, Mode};
use adit_wire::esp::Spi;
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
    /// One suite.
    #[error("the kernel has no {cipher}")]
    Suite {
        /// The suite.
        cipher: Cipher,
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

/// Whether the kernel can protect packets of a suite between addresses of a family.
///
/// It makes an SA between loopback addresses and removes it; nothing uses it in between.
///
/// # Errors
///
/// What is missing; [`Missing::System`] without CAP_NET_ADMIN.
pub fn probe(xfrm: &mut Xfrm, cipher: Cipher, family: Family) -> Result<(), Missing> {
    // A kernel without ESP may lack the ciphers as well: the lack of ESP is the one to be told.
    try_suite(xfrm, REFERENCE, family).map_err(|refusal| missing(refusal, None, family)).and_then(
        |()| {
            try_suite(xfrm, cipher, family)
                .map_err(|refusal| missing(refusal, Some(cipher), family))
        },
    )
}

/// A suite that every kernel with ESP has.
const REFERENCE: Cipher =
    Cipher::Paired(adit_crypto::Encryption::Null, adit_crypto::Integrity::HmacSha1_96);

fn missing(refusal: Refusal, cipher: Option<Cipher>, family: Family) -> Missing {
    match (refusal.errno(), cipher) {
        (libc::ENOSYS | libc::EINVAL | libc::ENOENT, Some(cipher)) => Missing::Suite { cipher },
        (libc::EPROTONOSUPPORT | libc::ENOSYS | libc::EAFNOSUPPORT, _) => Missing::Esp { family },
        _ => Missing::System(SysError::of("ask the kernel for an SA", refusal.source)),
    }
}

fn try_suite(xfrm: &mut Xfrm, cipher: Cipher, family: Family) -> Result<(), Refusal> {
    let host: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let spi = Spi(KERNEL_SPI | PROBE_SPI);
    let id = StateId { source: host, destination: host, spi, mark: None };
    // Not a key that protects anything; unequal octets, as 3DES refuses weak keys.
    let octets = |count: usize| Secret::new((1..=u8::MAX).cycle().take(count).collect());
    let keys = ChildKeys {
        encryption: octets(cipher.encryption_key_len()),
        integrity: octets(cipher.integrity_key_len()),
    };
    let state = State {
        id,
        reqid: REQID_LAST,
        mode: Mode::Transport,
        cipher,
        keys: &keys,
        encap: None,
        lifetime: Lifetime::NONE,
        replay: Replay::sending(false),
        selector: None,
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
