//! `adit why-lifetime`: when the SAs of a tunnel are renewed and when they end, and what each number
//! comes from (RFC 4301 §4.4.2.1, RFC 7296 §2.8, RFC 4478).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adit_db::{ChildConfig, Connection, IkeVersion, LimitSpec, Usage};
use adit_ike::lifetime::Origin;
use adit_ike::{AuthLimit, ChildSaInfo, IkeSaInfo};
use adit_mgmt::api::{LifetimeReport, LimitStatus, SCHEMA, SaLifetimes, Source};
use adit_sys::clock;

use super::Running;
use super::answers::Numbers;
use super::snapshots::{seconds_since, seconds_until};
use super::why::halves;

impl Running {
    /// What limits the SAs of a tunnel; nothing if it has none.
    pub(super) fn lifetimes(&self, tunnel: &str, numbers: &Numbers) -> LifetimeReport {
        let mut report =
            LifetimeReport { schema: SCHEMA, tunnel: tunnel.to_owned(), ..Default::default() };
        let known = numbers.connections.iter().map(|known| &known.connection);
        let Some(connection) = known.into_iter().find(|one| one.name.as_str() == tunnel) else {
            return report;
        };
        report.source = self.store.source(&connection.name);
        let context = self.store.context(Some(tunnel));
        let written = Written {
            file: context.file.as_deref(),
            lines: &context.key_lines,
            source: report.source,
        };
        let scene = Scene { connection, written, now: clock::now() };
        let mut sas: Vec<&IkeSaInfo> = numbers.sas.iter().collect();
        sas.retain(|sa| sa.connection.as_ref() == Some(&connection.name));
        sas.sort_by_key(|sa| (sa.established, sa.id));
        for ike in sas {
            report.sas.extend(scene.ike(ike));
            let children = ike.children.iter();
            report.sas.extend(children.map(|sa| scene.child(sa, used(sa, numbers))));
        }
        report
    }
}

/// What has gone through the direction that is nearer to its limits.
fn used(sa: &ChildSaInfo, numbers: &Numbers) -> Usage {
    let halves = halves(sa.id, numbers);
    let most = |count: fn(&adit_dataplane::SaCounters) -> u64| {
        halves.iter().flatten().map(count).max().unwrap_or(0)
    };
    Usage { octets: most(|half| half.octets), packets: most(|half| half.packets) }
}

/// Where a tunnel's configuration stands.
#[derive(Clone, Copy)]
struct Written<'a> {
    file: Option<&'a str>,
    lines: &'a BTreeMap<String, usize>,
    source: Source,
}

/// A key of a tunnel's file, and what VICI calls the same.
type Key = (&'static str, &'static str);

/// What a number comes from, and the line that has it.
type From = (String, Option<String>);

impl Written<'_> {
    /// What a number comes from that one key has, or another that it is derived from, as `derived` says.
    fn from(&self, own: Key, other: Option<(Key, &str)>) -> From {
        let line = |key: &str| {
            let line = self.lines.get(key)?;
            self.file.map(|file| format!("{file}:{line}"))
        };
        if let Some(place) = line(own.0) {
            return (own.0.to_owned(), Some(place));
        }
        if let Some(((key, _), derived)) = other
            && let Some(place) = line(key)
        {
            return (format!("{derived} {key}"), Some(place));
        }
        match self.source {
            // What was left out is not told from what was written.
            Source::Vici => (format!("{} by VICI, or its default", own.1), None),
            Source::File => ("default".to_owned(), None),
        }
    }
}

/// What all SAs of a tunnel have in common.
struct Scene<'a> {
    connection: &'a Connection,
    written: Written<'a>,
    now: Instant,
}

impl Scene<'_> {
    /// An IKE SA that is up.
    fn ike(&self, info: &IkeSaInfo) -> Option<SaLifetimes> {
        let since = info.established?;
        let rekey = self.connection.rekey_time;
        let ours = if rekey.is_zero() { rekey } else { rekey + self.connection.over_time };
        let agreed = self.agreed(since, (info.rekey_at, info.over_at), ours.as_secs());
        let (rekey, end) = agreed.unwrap_or_else(|| (self.ike_rekey(info, since), self.ike_end()));
        let mut limits = vec![
            self.time("rekey", since, info.rekey_at, rekey),
            self.time("reauthenticate", since, info.reauth_at, reauthentication(info)),
            self.time("end", since, info.over_at, end),
        ];
        let proofs = info.auth_limits.iter();
        limits.extend(
            proofs.map(|limit| {
                self.time("authentication", since, Some(limit.until), self.proof(limit))
            }),
        );
        limits.extend(self.ike_volume(info));
        mark(&mut limits);
        Some(SaLifetimes {
            protocol: "IKE".to_owned(),
            child: None,
            id: info.id.0,
            state: info.state.to_string(),
            age_s: seconds_since(since, self.now),
            limits,
        })
    }

    /// The limits of an ISAKMP SA in octets, if it has any.
    fn ike_volume(&self, info: &IkeSaInfo) -> Vec<LimitStatus> {
        let Some(volume) = info.volume else { return Vec::new() };
        let own = self.connection.lifetime_rule.ike_own_kilobytes.saturating_mul(KILOBYTE);
        let ours = LimitSpec { hard: own, ..LimitSpec::NONE };
        let both = [("rekey", volume.soft), ("end", volume.hard)];
        let said = both.into_iter().filter_map(|(limit, amount)| Some((limit, amount?)));
        said.map(|(limit, amount)| {
            let (origin, place) = match self.is_agreed("octets", volume.hard, ours) {
                true => ("agreed with the peer".to_owned(), None),
                false => self.written.from(IKE_LIFE_BYTES, None),
            };
            LimitStatus {
                limit: limit.to_owned(),
                unit: "octets".to_owned(),
                amount: Some(amount),
                left: Some(amount.saturating_sub(volume.octets)),
                first: false,
                origin,
                place,
            }
        })
        .collect()
    }

    /// What the renewal and the end of an SA of IKEv1 come from where the peer wants it to end sooner than
    /// we do, after `ours_s` seconds.
    fn agreed(
        &self,
        since: Instant,
        (rekey_at, over_at): (Option<Instant>, Option<Instant>),
        ours_s: u64,
    ) -> Option<(From, From)> {
        let end_s = round_up(over_at?.saturating_duration_since(since));
        let is_peers = ours_s == 0 || end_s < ours_s;
        if self.connection.ike != IkeVersion::V1 || !is_peers {
            return None;
        }
        let end = match ours_s {
            0 => "agreed with the peer; none is configured".to_owned(),
            ours_s => format!("the peer's; ours would be {ours_s} s"),
        };
        let lead_s = over_at?.saturating_duration_since(rekey_at?).as_secs();
        let rekey = format!("{lead_s} s before the end that was agreed");
        Some(((rekey, None), (end, None)))
    }

    /// Whether octets are less than ours, as the peer of IKEv1 wants it.
    fn is_agreed(&self, unit: &str, hard: Option<u64>, ours: LimitSpec) -> bool {
        let is_less = hard.is_some_and(|hard| ours.hard == 0 || hard < ours.hard);
        self.connection.ike == IkeVersion::V1 && unit == "octets" && is_less
    }

    fn ike_rekey(&self, info: &IkeSaInfo, since: Instant) -> From {
        let spec = self.connection.rekey_time.as_secs();
        if spec == 0 {
            return ("no rekeying is configured".to_owned(), None);
        }
        let drawn = info.rekey_at.map(|at| at.saturating_duration_since(since));
        let drawn_s = drawn.map(round_up).unwrap_or(spec);
        let rand_s = self.connection.rand_time.as_secs();
        lowered(self.written.from(IKE_REKEY, None), spec, drawn_s, rand_s, "s")
    }

    fn ike_end(&self) -> From {
        let rekey_s = self.connection.rekey_time.as_secs();
        let over_s = self.connection.over_time.as_secs();
        if rekey_s == 0 || over_s == 0 {
            return ("no end is configured".to_owned(), None);
        }
        let (origin, place) = self.written.from(IKE_REKEY, None);
        (format!("{origin}: {rekey_s} s, and {over_s} s more"), place)
    }

    /// What ends authentication.
    fn proof(&self, limit: &AuthLimit) -> From {
        match limit.origin == Origin::Configured {
            true => self.written.from(REAUTH, None),
            false => (limit.origin.to_string(), None),
        }
    }

    fn child(&self, info: &ChildSaInfo, used: Usage) -> SaLifetimes {
        let config = self.connection.child(&info.name);
        let spec = |limit: fn(&ChildConfig) -> LimitSpec| config.map(limit).unwrap_or_default();
        let seconds = spec(|child| child.lifetime.seconds);
        let since = info.installed;
        let soft_s = info.rekey_at.map(|at| round_up(at.saturating_duration_since(since)));
        let soft = self.written.from(REKEY, Some((LIFE, "a tenth less than")));
        let soft = lowered(soft, seconds.soft, soft_s.unwrap_or(seconds.soft), seconds.rand, "s");
        let end = self.written.from(LIFE, Some((REKEY, "a tenth more than")));
        let agreed = self.agreed(since, (info.rekey_at, info.over_at), seconds.hard);
        let (soft, end) = agreed.unwrap_or((soft, end));
        let mut limits = vec![
            self.time("rekey", since, info.rekey_at, soft),
            self.time("end", since, info.over_at, end),
        ];
        if let Some(amounts) = &info.amounts {
            let [soft, hard] = **amounts;
            let octets = spec(|child| child.lifetime.octets);
            let packets = spec(|child| child.lifetime.packets);
            let all = [
                ("rekey", "octets", soft.octets, used.octets, octets, REKEY_BYTES),
                ("end", "octets", hard.octets, used.octets, LimitSpec::NONE, LIFE_BYTES),
                ("rekey", "packets", soft.packets, used.packets, packets, REKEY_PACKETS),
                ("end", "packets", hard.packets, used.packets, LimitSpec::NONE, LIFE_PACKETS),
            ];
            for (limit, unit, amount, used, spec, key) in all {
                let Some(amount) = amount else { continue };
                let from = match self.is_agreed(unit, hard.octets, octets) {
                    true => ("agreed with the peer".to_owned(), None),
                    false => self.written.from(key, other(key)),
                };
                let (origin, place) = match spec.soft {
                    0 => from,
                    configured => lowered(from, configured, amount, spec.rand, unit),
                };
                limits.push(LimitStatus {
                    limit: limit.to_owned(),
                    unit: unit.to_owned(),
                    amount: Some(amount),
                    left: Some(amount.saturating_sub(used)),
                    first: false,
                    origin,
                    place,
                });
            }
        }
        if info.idle_at.is_some() {
            // Counted from the last packet, not from the beginning.
            let idle = self.time("idle", since, info.idle_at, self.written.from(IDLE, None));
            let amount = config.map(|child| child.lifetime.idle_s);
            limits.push(LimitStatus { amount, ..idle });
        }
        mark(&mut limits);
        SaLifetimes {
            protocol: info.protocol.to_string(),
            child: Some(info.name.to_string()),
            id: info.id.0,
            state: info.state.to_string(),
            age_s: seconds_since(since, self.now),
            limits,
        }
    }

    /// A limit in time.
    fn time(&self, limit: &str, since: Instant, at: Option<Instant>, from: From) -> LimitStatus {
        let (origin, place) = from;
        LimitStatus {
            limit: limit.to_owned(),
            unit: "seconds".to_owned(),
            amount: at.map(|at| round_up(at.saturating_duration_since(since))),
            left: at.map(|at| seconds_until(at, self.now)),
            first: false,
            origin,
            place,
        }
    }
}

const IKE_REKEY: Key = ("ike_rekey", "rekey_time");
const IKE_LIFE_BYTES: Key = ("ike_life_kilobytes", "ike_life_kilobytes");
const REAUTH: Key = ("reauth", "reauth_time");
const REKEY: Key = ("rekey", "rekey_time");
const LIFE: Key = ("life", "life_time");
const IDLE: Key = ("idle", "inactivity");
const LIFE_BYTES: Key = ("life_kilobytes", "life_bytes");
// Those that files do not have.
const REKEY_BYTES: Key = ("", "rekey_bytes");
const REKEY_PACKETS: Key = ("", "rekey_packets");
const LIFE_PACKETS: Key = ("", "life_packets");

/// Octets of a kilobyte where an SA ends.
const KILOBYTE: u64 = 1_024;

/// The key that a number comes from where its own is none of files.
fn other(key: Key) -> Option<(Key, &'static str)> {
    (key == REKEY_BYTES).then_some((LIFE_BYTES, "before"))
}

/// Why authentication is repeated when it is, or not.
fn reauthentication(info: &IkeSaInfo) -> From {
    let first = info.auth_limits.iter().map(|limit| limit.until).min();
    let origin = match (first, info.reauth_at) {
        (None, None) => "nothing ends authentication".to_owned(),
        (Some(_), None) => "the peer has to begin, or it is too late".to_owned(),
        (None, Some(_)) => "an attempt failed, and is repeated".to_owned(),
        (Some(first), Some(at)) => {
            let lead_s = first.saturating_duration_since(at).as_secs();
            format!("{lead_s} s before authentication ends")
        }
    };
    (origin, None)
}

/// A number that was lowered at random.
fn lowered(from: From, configured: u64, drawn: u64, at_most: u64, unit: &str) -> From {
    let (origin, place) = from;
    let by = configured.saturating_sub(drawn);
    let origin = match by {
        0 => format!("{origin}: {configured} {unit}"),
        by => format!("{origin}: {configured} {unit}, less {by} of up to {at_most} at random"),
    };
    (origin, place)
}

/// Marks what comes first: of what renews an SA, and of what ends it, in each unit.
fn mark(limits: &mut [LimitStatus]) {
    let kind = |limit: &LimitStatus| {
        let renews = matches!(limit.limit.as_str(), "rekey" | "reauthenticate");
        (renews, limit.unit.clone())
    };
    let mut least: BTreeMap<(bool, String), u64> = BTreeMap::new();
    for limit in limits.iter() {
        let Some(left) = limit.left else { continue };
        let known = least.entry(kind(limit)).or_insert(left);
        *known = left.min(*known);
    }
    for limit in limits {
        limit.first = limit.left.is_some() && least.get(&kind(limit)).copied() == limit.left;
    }
}

/// Seconds of a time that began and ends at instants with fractions.
fn round_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use adit_db::{Amounts, ChildSaId, Encapsulation, LifetimeSpec, Mode};
    use adit_ike::ChildSaState;
    use adit_wire::esp::Spi;
    use adit_wire::iana::ProtocolId;

    use super::*;

    fn child(since: Instant) -> ChildSaInfo {
        let soft = Amounts { octets: Some(900), packets: None, time: None };
        let hard = Amounts { octets: Some(1_100), packets: Some(50), time: None };
        let end = "192.0.2.1:4500".parse().unwrap();
        ChildSaInfo {
            id: ChildSaId(7),
            name: "net".parse().unwrap(),
            protocol: ProtocolId::ESP,
            reqid: 1,
            state: ChildSaState::Installed,
            encap: Encapsulation { udp: true, tcp: false, local: end, remote: end },
            mode: Mode::Tunnel,
            spi_in: Spi(1),
            spi_out: Spi(2),
            suite: Vec::new(),
            esn: true,
            ipcomp: None,
            outer: None,
            aggfrag: None,
            installed: since,
            rekey_at: Some(since + Duration::from_secs(3_300)),
            over_at: Some(since + Duration::from_secs(3_960)),
            amounts: Some(Box::new([soft, hard])),
            idle_at: None,
            local_ts: Vec::new(),
            remote_ts: Vec::new(),
        }
    }

    /// CHECKLIST S06: octets and packets beside seconds, what is left of them, and what comes first.
    #[test]
    fn limits_of_a_child_that_vici_has_loaded() {
        let now = clock::now();
        let mut connection = Connection::new("berlin".parse().unwrap());
        let octets = LimitSpec { soft: 1_000, hard: 1_100, rand: 100 };
        let lifetime = LifetimeSpec { octets, ..LifetimeSpec::default() };
        let config = ChildConfig { lifetime, ..ChildConfig::new("net".parse().unwrap()) };
        connection.children = vec![config];
        let lines = BTreeMap::new();
        let written = Written { file: None, lines: &lines, source: Source::Vici };
        let scene = Scene { connection: &connection, written, now: now + Duration::from_secs(300) };
        let sa = scene.child(&child(now), Usage { octets: 600, packets: 60 });
        assert_eq!((sa.protocol.as_str(), sa.age_s), ("ESP", 300));
        let row = |limit: &LimitStatus| {
            let LimitStatus { limit, unit, amount, left, first, origin, .. } = limit.clone();
            format!("{limit} {unit} {amount:?} {left:?} {first} {origin}")
        };
        let rows: Vec<String> = sa.limits.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                "rekey seconds Some(3300) Some(3000) true rekey_time by VICI, or its default: 3600 s, \
                 less 300 of up to 360 at random",
                "end seconds Some(3960) Some(3660) true life_time by VICI, or its default",
                "rekey octets Some(900) Some(300) true rekey_bytes by VICI, or its default: 1000 \
                 octets, less 100 of up to 100 at random",
                "end octets Some(1100) Some(500) true life_bytes by VICI, or its default",
                "end packets Some(50) Some(0) true life_packets by VICI, or its default",
            ]
        );
    }

    /// RFC 2407 §4.5: in IKEv1 the peer has a say in when an SA ends, and then no line of ours has the number.
    #[test]
    fn what_a_peer_of_ikev1_wants_is_said_to_be_its() {
        let now = clock::now();
        let lines = BTreeMap::new();
        let written = Written { file: None, lines: &lines, source: Source::File };
        let mut connection = Connection::new("berlin".parse().unwrap());
        connection.ike = IkeVersion::V1;
        let scene = Scene { connection: &connection, written, now };
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let agreed = scene.agreed(now, (at(3_240), at(3_600)), 15_840).unwrap();
        assert_eq!(agreed.0.0, "360 s before the end that was agreed");
        assert_eq!(agreed.1.0, "the peer's; ours would be 15840 s");
        assert_eq!(scene.agreed(now, (at(14_256), at(15_840)), 15_840), None);
        let ours = LimitSpec { hard: 1_024_000, ..LimitSpec::NONE };
        let octets = |hard, ours| scene.is_agreed("octets", hard, ours);
        assert!(octets(Some(512_000), ours) && octets(Some(512_000), LimitSpec::NONE));
        assert!(!octets(Some(1_024_000), ours) && !octets(None, LimitSpec::NONE));
        connection.ike = IkeVersion::V2;
        let scene = Scene { connection: &connection, written, now };
        assert!(!scene.is_agreed("octets", Some(512_000), ours));
        assert_eq!(scene.agreed(now, (at(3_240), at(3_600)), 15_840), None);
    }

    #[test]
    fn the_line_that_has_a_number_is_named() {
        let lines: BTreeMap<String, usize> = [("life".to_owned(), 4)].into();
        let written = Written { file: Some("berlin.toml"), lines: &lines, source: Source::File };
        let place = Some("berlin.toml:4".to_owned());
        assert_eq!(written.from(LIFE, Some((REKEY, "more than"))), ("life".into(), place.clone()));
        assert_eq!(
            written.from(REKEY, Some((LIFE, "less than"))),
            ("less than life".into(), place)
        );
        assert_eq!(written.from(IKE_REKEY, None), ("default".into(), None));
    }
}
