//! IKE handshakes and the SAs they leave: figures of `cargo xtask bench handshakes`.

use anyhow::Context as _;

use super::Compared;
use crate::bench::handshakes::{Held, MANY, Make, Report, Row, SAMPLE};

/// X25519 alone, as charon has it.
const OURS: Make = Make::Adit { post_quantum: false };
const HYBRID: Make = Make::Adit { post_quantum: true };

/// Our handshakes per second beside charon's.
pub(super) fn rate(report: &Report) -> anyhow::Result<Compared> {
    let (ours, charon) = (row(report, OURS, SAMPLE)?, row(report, Make::Charon, SAMPLE)?);
    Ok(Compared {
        values: format!("{:.0} per second against {:.0}", ours.per_second, charon.per_second),
        ratio: ours.per_second / charon.per_second,
        reason: format!(
            "a handshake takes {}, with a child SA in user space, whose policies and routes stand since \
             the tunnel was loaded; of charon {}, with a child SA in user space (kernel-libipsec) and \
             the policies of it; {}",
            cpu(ours),
            cpu(charon),
            where_it_goes(report, OURS, SAMPLE)
        ),
    })
}

/// What a handshake costs while many SAs stand, as a multiple of what it costs with few.
pub(super) fn flatness(report: &Report) -> anyhow::Result<Compared> {
    let (few, many) = (row(report, OURS, SAMPLE)?, row(report, OURS, MANY)?);
    Ok(Compared {
        values: format!("{} against {}", cpu(many), cpu(few)),
        ratio: (many.initiator_us + many.responder_us) / (few.initiator_us + few.responder_us),
        reason: growth(report, (OURS, SAMPLE), (OURS, MANY)),
    })
}

/// Memory of our IKE SA with a child as a share of charon's.
pub(super) fn memory(report: &Report) -> anyhow::Result<Compared> {
    let held = |make| report.held(make).with_context(|| format!("memory of {make:?} is missing"));
    let (ours, charon) = (held(OURS)?, held(Make::Charon)?);
    let octets = |held: &Held| (held.initiator_octets + held.responder_octets) / 2.0;
    Ok(Compared {
        values: format!("{:.0} octets against {:.0}", octets(ours), octets(charon)),
        ratio: octets(ours) / octets(charon),
        reason: format!(
            "the mean of both ends and of {} IKE SAs, of charon {}, with keys of both directions in \
             the packet engine, which ours expands with the first packet; our policies and routes were \
             there before, as the tunnels were loaded, and are not counted; charon's are",
            ours.sas, charon.sas
        ),
    })
}

/// Our rate with ML-KEM-768 as a share of that without.
pub(super) fn hybrid(report: &Report) -> anyhow::Result<Compared> {
    let (hybrid, plain) = (row(report, HYBRID, SAMPLE)?, row(report, OURS, SAMPLE)?);
    Ok(Compared {
        values: format!("{:.0} per second against {:.0}", hybrid.per_second, plain.per_second),
        ratio: hybrid.per_second / plain.per_second,
        reason: format!(
            "{} against {}; {}",
            cpu(hybrid),
            cpu(plain),
            growth(report, (OURS, SAMPLE), (HYBRID, SAMPLE))
        ),
    })
}

/// What most of a handshake's time goes into.
fn where_it_goes(report: &Report, make: Make, standing: usize) -> String {
    let Some(costs) = costs(report, make, standing) else { return NO_PROFILE.to_owned() };
    let hottest = costs.iter().take(NAMED);
    let named: Vec<String> = hottest.map(|(name, us)| format!("{name} {us:.0} us")).collect();
    format!("of it {}", named.join(", "))
}

/// Which functions take more of one kind of handshake than of another.
fn growth(report: &Report, few: (Make, usize), many: (Make, usize)) -> String {
    let [few, many] = [few, many].map(|(make, standing)| costs(report, make, standing));
    let (Some(few), Some(many)) = (few, many) else { return NO_PROFILE.to_owned() };
    let before =
        |name: &str| few.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, us)| *us);
    let mut grown: Vec<(&str, f64)> =
        many.iter().map(|(name, us)| (*name, us - before(name))).collect();
    grown.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let named = grown.iter().take(NAMED).map(|(name, us)| format!("{name} {us:+.0} us"));
    format!("what grows most: {}", named.collect::<Vec<_>>().join(", "))
}

/// Functions of both ends and what a handshake spends in each, microseconds, the hottest first.
fn costs(report: &Report, make: Make, standing: usize) -> Option<Vec<(&str, f64)>> {
    let row = report.row(make, standing)?;
    let whole = row.initiator_us + row.responder_us;
    let functions = &report.seen(make, standing)?.functions;
    Some(functions.iter().map(|hot| (&*hot.function, whole * hot.percent / 100.0)).collect())
}

const NO_PROFILE: &str = "perf could not look, so that there is no profile";

/// Functions that a reason names.
const NAMED: usize = 6;

fn row(report: &Report, make: Make, standing: usize) -> anyhow::Result<&Row> {
    report.row(make, standing).with_context(|| format!("{make:?} with {standing} SAs is missing"))
}

fn cpu(row: &Row) -> String {
    format!("{:.0} + {:.0} us of CPU", row.initiator_us, row.responder_us)
}
