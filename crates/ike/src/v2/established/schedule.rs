//! When an established IKE SA (RFC 7296 §2.4, §2.8; RFC 3948 §4) does something by itself.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::v2::ike_sa::core::Core;

/// When to rekey and when to end, by the configuration (RFC 7296 §2.8).
pub(super) fn lifetimes(core: &Core, cx: &mut Context<'_>) -> (Option<Instant>, Option<Instant>) {
    let Some(connection) = core.connection.as_ref().filter(|c| !c.rekey_time.is_zero()) else {
        return (None, None);
    };
    let rand_ms = u64::try_from(connection.rand_time.as_millis()).unwrap_or(u64::MAX);
    let jitter = Duration::from_millis(cx.rng.next_u64() % rand_ms.saturating_add(1));
    let rekey_at = cx.now + connection.rekey_time.saturating_sub(jitter);
    let over_at = cx.now + connection.rekey_time + connection.over_time;
    (Some(rekey_at), (!connection.over_time.is_zero()).then_some(over_at))
}

/// Silence after which the peer is asked for a sign of life (RFC 7296 §2.4).
pub(super) fn dpd_delay(core: &Core) -> Option<Duration> {
    core.connection.as_ref().map(|connection| connection.dpd_delay).filter(|delay| !delay.is_zero())
}

/// RFC 3948 §4: only who is behind the NAT keeps its mapping alive (CHECKLIST N06).
pub(super) fn keepalive(core: &Core, cx: &Context<'_>) -> Option<Instant> {
    core.connection
        .as_ref()
        .map(|connection| connection.keepalive)
        //= https://www.rfc-editor.org/rfc/rfc9329#section-6.6
        //# IPsec ESP NAT-keepalive packets [RFC3948] SHOULD NOT be sent when using TCP encapsulation.
        .filter(|interval| core.nat.we_are_behind_nat && !core.path.is_tcp() && !interval.is_zero())
        .map(|interval| cx.now + interval)
}
