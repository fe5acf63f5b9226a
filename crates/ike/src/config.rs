//! Configuration of an [`Endpoint`](crate::Endpoint): what holds for every connection.
//!
//! What holds for one connection is [`adit_db::Connection`]. The defaults follow RFC 7296 §2.1
//! (retransmission), §2.6 (cookies) and RFC 7383 §2.5.2 (fragment sizes).

use std::time::Duration;

use adit_db::InboundThreads;

/// Settings shared by all IKE SAs of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Local UDP port for IKE without encapsulation, 500 (RFC 7296 §2).
    pub ike_port: u16,
    /// Local UDP port for IKE and ESP behind NATs, 4500 (RFC 7296 §2.23). A [`Path`](crate::Path)
    /// whose local port is this one carries the non-ESP marker on the wire.
    pub nat_port: u16,
    /// Retransmission of requests before the peer has authenticated.
    pub connecting: Retransmission,
    /// Retransmission of requests on an established IKE SA.
    pub established: Retransmission,
    /// Half-open IKE SAs from which on an IKE_SA_INIT request must carry a cookie (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Half-open IKE SAs above which IKE_SA_INIT requests are dropped, cookie or not.
    pub half_open_max: usize,
    /// Half-open IKE SAs one remote address, of IPv6 one /64, may hold; more are dropped.
    pub half_open_per_address_max: usize,
    /// How long a responder waits for an IKE SA to become established.
    pub half_open_timeout: Duration,
    /// Largest IP datagram an IKE message may fill before it is fragmented (RFC 7383).
    pub fragment_octets: FragmentOctets,
    /// How long a removed inbound child SA still accepts packets that were under way.
    pub inbound_grace: Duration,
    /// How many threads share the inbound SAs.
    pub inbound_threads: InboundThreads,
    /// Waiting times between attempts to bring up what should be up.
    pub retry: Retry,
    /// How long a connection that may use UDP and had to go over TCP waits before it tries UDP again
    /// (RFC 9329 §5.1).
    pub udp_probe: Duration,
    /// Emits [`Output::Keys`](crate::Output::Keys) for a packet analyser. Off unless debugging:
    /// whoever reads these can read the traffic.
    pub export_keys: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            ike_port: 500,
            nat_port: 4500,
            connecting: Retransmission {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(10),
                transmissions: 6,
            },
            established: Retransmission {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(20),
                transmissions: 8,
            },
            cookie_threshold: 30,
            half_open_max: 1_000,
            half_open_per_address_max: 100,
            half_open_timeout: Duration::from_secs(30),
            fragment_octets: FragmentOctets::DEFAULT,
            inbound_grace: Duration::from_secs(5),
            inbound_threads: InboundThreads::ONE,
            retry: Retry { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
            udp_probe: Duration::from_mins(5),
            export_keys: false,
        }
    }
}

/// When a request is sent again (RFC 7296 §2.1): waiting times double from `first` to `longest`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retransmission {
    /// Wait after the first transmission.
    pub first: Duration,
    /// Upper bound of every wait.
    pub longest: Duration,
    /// Transmissions in all, the first included; after the wait that follows the last, the peer
    /// is taken for silent.
    pub transmissions: u8,
}

impl Retransmission {
    /// Wait that follows transmission number `sent` (1 = the first).
    pub fn wait_after(&self, sent: u8) -> Duration {
        let doublings = u32::from(sent.saturating_sub(1)).min(DOUBLINGS_MAX);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// Time from the first transmission until the peer is taken for silent.
    pub fn total(&self) -> Duration {
        (1..=self.transmissions).map(|sent| self.wait_after(sent)).sum()
    }
}

/// Largest IP datagram, headers included, that carries an IKE message in one piece, in octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FragmentOctets {
    /// Over IPv4.
    pub v4: usize,
    /// Over IPv6.
    pub v6: usize,
}

impl FragmentOctets {
    /// Over IPv6 what every path takes (RFC 7383 §2.5.1). Over IPv4 no length is sure to pass whole, and
    /// a key of ML-KEM-768 makes messages of 1,281 to 1,320 octets, with UDP encapsulation and any
    /// cipher: they leave in one piece, as mobile networks take 1,358 octets and Ethernet more.
    pub const DEFAULT: Self = Self { v4: 1_320, v6: 1_280 };
}

/// Waiting times between attempts, doubling from `first` to `longest`, each with up to a quarter
/// of jitter so that many gateways do not return in step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retry {
    /// Wait after the first failure.
    pub first: Duration,
    /// Upper bound of every wait.
    pub longest: Duration,
}

impl Retry {
    /// Wait that follows failure number `failures` (1 = the first), without jitter.
    pub fn wait_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// Keeps `1 << doublings` in range; any sensible `longest` is reached long before.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let retransmission = EndpointConfig::default().connecting;
        let waits: Vec<u128> =
            (1..=6).map(|sent| retransmission.wait_after(sent).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(retransmission.total(), Duration::from_millis(25_500));
    }

    #[test]
    fn a_huge_count_does_not_overflow() {
        let retry = EndpointConfig::default().retry;
        assert_eq!(retry.wait_after(u32::MAX), retry.longest);
    }
}
