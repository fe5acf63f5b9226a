//! Stateless cookies of a responder under load (RFC 7296 §2.6).
//!
//! `cookie = version | prf(secret, Ni | IPi | SPIi)`: whoever returns it can receive at its
//! address, and the responder has kept nothing. The secret is renewed every
//! [`SECRET_PERIOD`]; the one before is accepted for one more period (C06).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_crypto::{Prf, Rng, Secret};
use adit_wire::ikev2::IkeSpi;

/// How long one secret makes cookies. Short, so that an attacker who collects cookies for many
/// addresses can use them only briefly (RFC 7296 §2.6).
pub(crate) const SECRET_PERIOD: Duration = Duration::from_secs(60);

/// Makes and checks cookies.
#[derive(Debug)]
pub(crate) struct CookieJar {
    current: CookieSecret,
    previous: Option<CookieSecret>,
    made_at: Instant,
}

impl CookieJar {
    /// A jar with a fresh secret.
    pub(crate) fn new(now: Instant, rng: &mut dyn Rng) -> Self {
        Self { current: CookieSecret::generate(0, rng), previous: None, made_at: now }
    }

    /// Renews the secret when its time is over. Call before [`Self::make`] and
    /// [`Self::check`]; there is no timer, an idle responder does nothing.
    pub(crate) fn rotate(&mut self, now: Instant, rng: &mut dyn Rng) {
        let age = now.saturating_duration_since(self.made_at);
        if age < SECRET_PERIOD {
            return;
        }
        let next = CookieSecret::generate(self.current.version.wrapping_add(1), rng);
        let last = std::mem::replace(&mut self.current, next);
        // After two silent periods the last secret is too old as well.
        self.previous = (age < 2 * SECRET_PERIOD).then_some(last);
        self.made_at = now;
    }

    /// The cookie to ask back for this request.
    pub(crate) fn make(&self, request: CookieRequest<'_>) -> Vec<u8> {
        self.current.cookie(request)
    }

    /// Whether a returned cookie is ours for this request.
    pub(crate) fn check(&self, cookie: &[u8], request: CookieRequest<'_>) -> bool {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .filter(|secret| cookie.first() == Some(&secret.version))
            .any(|secret| Secret::new(secret.cookie(request)) == Secret::from_slice(cookie))
    }
}

/// What a cookie binds: an IKE_SA_INIT request and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CookieRequest<'a> {
    /// Ni, the nonce data.
    pub(crate) nonce: &'a [u8],
    /// IPi, the source of the datagram.
    pub(crate) address: IpAddr,
    /// SPIi of the header.
    pub(crate) spi_i: IkeSpi,
}

/// One secret and the version octet that names it.
#[derive(Debug)]
struct CookieSecret {
    version: u8,
    key: Secret,
}

impl CookieSecret {
    fn generate(version: u8, rng: &mut dyn Rng) -> Self {
        Self { version, key: Secret::random(PRF.key_len(), rng) }
    }

    fn cookie(&self, request: CookieRequest<'_>) -> Vec<u8> {
        let (v4, v6);
        let address: &[u8] = match request.address {
            IpAddr::V4(ip) => {
                v4 = ip.octets();
                &v4
            }
            IpAddr::V6(ip) => {
                v6 = ip.octets();
                &v6
            }
        };
        let mac = PRF.compute(self.key.as_bytes(), &[request.nonce, address, &request.spi_i.0]);
        let mut cookie = Vec::with_capacity(1 + mac.as_bytes().len());
        cookie.push(self.version);
        cookie.extend_from_slice(mac.as_bytes());
        cookie
    }
}

/// The keyed hash; a cookie has 33 octets of the 64 that are allowed.
const PRF: Prf = Prf::HmacSha2_256;

#[cfg(test)]
mod tests;
