//! Cookies and the life of their secrets.

use adit_crypto::SeededRng;

use super::*;

const REQUEST: CookieRequest<'static> = CookieRequest {
    nonce: &[1; 32],
    address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    spi_i: IkeSpi([2; 8]),
};

fn jar(now: Instant) -> (CookieJar, SeededRng) {
    let mut rng = SeededRng::new(7);
    (CookieJar::new(now, &mut rng), rng)
}

/// RFC 7296 §3.10.1: a cookie has 1 to 64 octets.
#[test]
fn a_cookie_is_taken_back_for_the_same_request_only() {
    let (jar, _) = jar(start());
    let cookie = jar.make(REQUEST);
    assert!((1..=64).contains(&cookie.len()));
    assert!(jar.check(&cookie, REQUEST));
    let other_address = "192.0.2.2".parse().unwrap();
    assert!(!jar.check(&cookie, CookieRequest { nonce: &[9; 32], ..REQUEST }));
    assert!(!jar.check(&cookie, CookieRequest { address: other_address, ..REQUEST }));
    assert!(!jar.check(&cookie, CookieRequest { spi_i: IkeSpi([9; 8]), ..REQUEST }));
}

/// CHECKLIST C03, C04: mangled and invented cookies are no cookies.
#[test]
fn a_mangled_cookie_is_refused() {
    let (jar, _) = jar(start());
    let cookie = jar.make(REQUEST);
    for at in 0..cookie.len() {
        let mut mangled = cookie.clone();
        mangled[at] ^= 1;
        assert!(!jar.check(&mangled, REQUEST));
        assert!(!jar.check(&cookie[..at], REQUEST));
    }
}

/// CHECKLIST C06: the previous secret is good for one more period.
#[test]
fn a_cookie_lives_until_the_second_rotation() {
    let now = start();
    let (mut jar, mut rng) = jar(now);
    let cookie = jar.make(REQUEST);
    jar.rotate(now + SECRET_PERIOD, &mut rng);
    assert_ne!(jar.make(REQUEST), cookie);
    assert!(jar.check(&cookie, REQUEST));
    jar.rotate(now + SECRET_PERIOD * 3 / 2, &mut rng);
    assert!(jar.check(&cookie, REQUEST));
    jar.rotate(now + SECRET_PERIOD * 2, &mut rng);
    assert!(!jar.check(&cookie, REQUEST));
}

#[test]
fn a_long_pause_forgets_both_secrets() {
    let now = start();
    let (mut jar, mut rng) = jar(now);
    let cookie = jar.make(REQUEST);
    jar.rotate(now + SECRET_PERIOD * 9, &mut rng);
    assert!(!jar.check(&cookie, REQUEST));
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of the test")]
fn start() -> Instant {
    Instant::now()
}
