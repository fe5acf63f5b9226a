//! What is wrong with the way between the two sides.

use adit_mgmt::api::{Fate, Why};
use adit_mgmt::{Code, Diagnosis, drops as advice};

use super::{is_up, of_each, seen_of_each};
use crate::doctor::facts::{Answer, BESIDES_MIN, Echo, Facts, Ports, Tunnel};
use crate::doctor::look;
use crate::echo::way::Way;
use crate::words::grouped;

/// Port 500 answers and 4500 does not, or neither does, and nothing comes in on the tunnel's SAs: a
/// peer may keep silent to strangers, but not to its tunnel.
pub(super) fn ports(facts: &Facts) -> Vec<Diagnosis> {
    of_each(facts, |tunnel| {
        let ports = tunnel.ports.as_ref()?;
        let hears = tunnel.echo.as_ref().is_some_and(Echo::is_heard);
        let wants_4500 = !is_up(tunnel) || tunnel.status.children.iter().any(|child| child.udp);
        let Ports { peer, ike, nat, .. } = ports;
        match (ike, nat) {
            (Answer::Yes, Answer::Silence) if !hears && wants_4500 => Some(
                Diagnosis::new(Code::E121, "UDP 500 works, UDP 4500 is blocked on the way")
                    .line("saw", format!("{peer}:500 answers, {peer}:4500 does not"))
                    .line("and", "nothing came in on the tunnel's SAs meanwhile")
                    .line("means", "a firewall drops UDP 4500, or a NAT has forgotten whose it is")
                    .fix("allow UDP 4500 in both directions on the way and on both hosts")
                    .fix("`adit restart NAME` makes a NAT remember; tcp = true does without UDP"),
            ),
            (Answer::Refused, _) if !hears => Some(
                Diagnosis::new(Code::E111, format!("{peer} cannot be reached"))
                    .line("saw", format!("ICMP says that nobody listens at {peer}:500"))
                    .fix("start the peer's IKE daemon, or correct the address"),
            ),
            (Answer::Silence, Answer::Silence) if !hears && is_up(tunnel) => Some(
                Diagnosis::new(Code::E110, "the peer has fallen silent")
                    .line("saw", format!("no answer from {peer}, neither at port 500 nor at 4500"))
                    .line("and", "nothing came in on the tunnel's SAs meanwhile")
                    .fix("see whether the peer runs and its address is still the same"),
            ),
            _ => None,
        }
    })
}

pub(super) fn ports_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let ports = tunnel.ports.as_ref()?;
        let word = |answer: Answer| match answer {
            Answer::Yes => "answers",
            Answer::Silence => "is silent",
            Answer::Refused => "is closed",
            Answer::Unknown => "was not asked",
        };
        Some(format!("500 {}, 4500 {}", word(ports.ike), word(ports.nat)))
    })
}

/// The kernel or a policy sends echo requests to a network elsewhere than into its tunnel.
pub(super) fn routes(facts: &Facts) -> Vec<Diagnosis> {
    of_each(facts, |tunnel| {
        let strayed =
            |why: &&Why| matches!(why.fate, Fate::Astray | Fate::Blocked | Fate::Discarded);
        let mut strayed = tunnel.whys.iter().filter(strayed).filter(|_| is_up(tunnel));
        strayed.find_map(|why| why.problem.clone())
    })
}

pub(super) fn routes_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let ways = tunnel.whys.iter().map(|why| format!("{} by {}", why.destination, why.route));
        Some(ways.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
    })
}

/// The echo requests of a tunnel that left on its SAs while nothing came in.
fn unheard(tunnel: &Tunnel) -> Option<&Echo> {
    let echo = tunnel.echo.as_ref().filter(|echo| echo.sent > 0 && echo.answered == 0)?;
    (echo.flow.packets_out > 0 && !echo.is_heard()).then_some(echo)
}

/// What besides echo requests goes out without an answer. That alone says that a direction fails:
/// nobody may live at the address that was asked.
fn unanswered(tunnel: &Tunnel, echo: &Echo) -> Option<String> {
    let status = &tunnel.status;
    if echo.besides() >= BESIDES_MIN {
        return Some(
            "more than the echo requests was sent on its SAs meanwhile, and 0 received".into(),
        );
    }
    let never = status.packets_in == 0 && status.packets_out >= OUT_OF_NOTE;
    never.then(|| {
        format!("{} packets sent on its SAs before, 0 ever received", grouped(status.packets_out))
    })
}

/// Nobody answers, which is no problem: the tunnel may be idle, and the address nobody's.
pub(super) fn nobody(facts: &Facts) -> Vec<String> {
    let note = |tunnel: &Tunnel| {
        let echo = tunnel.echo.as_ref().filter(|echo| echo.sent > 0 && echo.answered == 0)?;
        let is_told = unheard(tunnel).is_some_and(|echo| unanswered(tunnel, echo).is_some());
        let (name, to) = (tunnel.name(), echo.to.filter(|_| !is_told)?);
        let who = match &echo.refused {
            Some(refused) => refused.clone(),
            None => format!("nobody at {to} answers"),
        };
        Some(format!("{name}: {who}; try adit ping {name} ADDRESS"))
    };
    facts.tunnels.iter().filter_map(note).collect()
}

/// We send and nothing comes back, although the peer's IKE answers.
pub(super) fn one_way(facts: &Facts) -> Vec<Diagnosis> {
    of_each(facts, |tunnel| {
        let echo = unheard(tunnel)?;
        // Then the cause is known better.
        if blocked(tunnel) {
            return None;
        }
        let saw = unanswered(tunnel, echo)?;
        let ever = if tunnel.status.packets_in == 0 { "ever" } else { "any more" };
        let found = Diagnosis::new(Code::E405, "packets go out, and none comes back")
            .line("saw", saw)
            .line_some("asked", echo.to.map(|to| format!("{to}, without an answer")))
            .line_some("peer", ports_words(tunnel))
            .line(
                "means",
                format!(
                    "what the peer sends on the SA does not arrive {ever}, or it sends nothing"
                ),
            )
            .fix("let ESP pass in both directions, and look at the routes and drops of the peer");
        Some(
            found.fix(format!(
                "adit ping {} ADDRESS asks another host behind the peer",
                tunnel.name()
            )),
        )
    })
}

/// Whether [`ports`] tells the cause.
fn blocked(tunnel: &Tunnel) -> bool {
    tunnel.ports.as_ref().is_some_and(|ports| {
        ports.nat != Answer::Yes
            && matches!(ports.ike, Answer::Yes | Answer::Silence)
            && tunnel.status.children.iter().any(|child| child.udp)
    })
}

fn ports_words(tunnel: &Tunnel) -> Option<String> {
    let ports = tunnel.ports.as_ref()?;
    let answers = ports.ike == Answer::Yes || ports.nat == Answer::Yes;
    answers.then(|| format!("its IKE answers at {}, so it lives", ports.peer))
}

pub(super) fn echo_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let echo = tunnel.echo.as_ref().filter(|echo| echo.sent > 0)?;
        let Echo { sent, answered, flow, .. } = echo;
        Some(format!(
            "{answered} of {sent} echo requests answered, {} out, {} in",
            flow.packets_out, flow.packets_in
        ))
    })
}

/// CHECKLIST PM-25: short packets pass, long ones vanish without a word. Where pieces of packets
/// vanish, that is the cause, and [`pieces`] tells it.
pub(super) fn black_hole(facts: &Facts) -> Vec<Diagnosis> {
    of_each(facts, |tunnel| {
        let echo = tunnel.echo.as_ref().filter(|_| !loses_pieces(tunnel));
        let sizes = echo.and_then(|echo| echo.sizes);
        let Some((echo, sizes, lost)) =
            echo.zip(sizes).and_then(|(echo, sizes)| Some((echo, sizes, sizes.lost?)))
        else {
            return found_by_probes(tunnel);
        };
        let largest = sizes.largest;
        let sentence =
            format!("packets above {} octets are lost inside the tunnel", grouped(largest.into()));
        let found = Diagnosis::new(Code::E401, sentence)
            .line(
                "measured",
                format!(
                    "{} octets pass both ways uncut, {} vanish without a word{}; this host sends up to {}",
                    grouped(largest.into()),
                    grouped(lost.into()),
                    Way::words(tunnel.lost_on()),
                    grouped(sizes.whole.into())
                ),
            )
            .line_some("but", passes(tunnel, echo))
            .fix("let ICMP type 3 code 4 and ICMPv6 type 2 pass on the way");
        let name = tunnel.name();
        // RFC 8200 §5: no router cuts packets of IPv6.
        let is_ipv6 = look::peer(&tunnel.status).is_some_and(|peer| peer.is_ipv6());
        Some(found.fix(if is_ipv6 {
            format!("set path_mtu in {name}'s file to what the way takes, so that senders are told")
        } else {
            format!("set df = \"clear\" in {name}'s file, so that routers cut the outer packets")
        }))
    })
}

/// What passes in spite of the black hole.
fn passes(tunnel: &Tunnel, echo: &Echo) -> Option<String> {
    match tunnel.probed() {
        Some((path, _)) => Some(format!(
            "probes have found meanwhile that the way takes {} octets: traffic passes again",
            grouped(path.into())
        )),
        None => (echo.whole_cut == Some(true)).then(|| "they pass when they may be cut".into()),
    }
}

/// The daemon's probes were faster than the doctor.
fn found_by_probes(tunnel: &Tunnel) -> Option<Diagnosis> {
    let (path, link) = tunnel.probed().filter(|_| tunnel.narrowed && !loses_pieces(tunnel))?;
    let by = tunnel.probes()?;
    let sentence = format!("packets above {} octets are lost on the way", grouped(path.into()));
    Some(
        Diagnosis::new(Code::E401, sentence)
            .line(
                "found",
                format!("by {by}, just now; the first link takes {}", grouped(link.into())),
            )
            .line("means", "traffic passes again, in shorter packets")
            .fix("let ICMP type 3 code 4 and ICMPv6 type 2 pass on the way"),
    )
}

/// What probes have found before: the tunnel has made up for it, unless nothing comes back at all.
pub(super) fn probed(facts: &Facts) -> Vec<String> {
    let note = |tunnel: &Tunnel| {
        let quiet = tunnel.narrowed || unheard(tunnel).is_some();
        let (path, link) = tunnel.probed().filter(|_| !quiet)?;
        Some(format!(
            "{}: the way takes {} octets, its first link {}: found by {}, so traffic passes",
            tunnel.name(),
            grouped(path.into()),
            grouped(link.into()),
            tunnel.probes()?
        ))
    };
    facts.tunnels.iter().filter_map(note).collect()
}

pub(super) fn sizes_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let sizes = tunnel.echo.as_ref()?.sizes?;
        Some(format!("{} of {} octets pass both ways", sizes.largest, sizes.whole))
    })
}

/// What does not travel in one piece does not arrive at the peer; or this host waits in vain for
/// pieces.
pub(super) fn pieces(facts: &Facts) -> Vec<Diagnosis> {
    let mut found = of_each(facts, |tunnel| {
        let ports = tunnel.ports.as_ref().filter(|_| loses_pieces(tunnel))?;
        let sizes = tunnel.echo.as_ref().and_then(|echo| echo.sizes);
        let narrow = sizes.filter(|sizes| sizes.lost.is_some()).map(|sizes| {
            let (largest, whole) = (grouped(sizes.largest.into()), grouped(sizes.whole.into()));
            format!("and in the tunnel {largest} octets pass, of {whole} that this host sends")
        });
        let known = tunnel.narrow().map(|(path, link)| {
            let (path, link) = (grouped(path.into()), grouped(link.into()));
            format!("the way takes {path} octets in one piece, its first link {link}")
        });
        Some(
            Diagnosis::new(Code::E406, "pieces of packets are lost on the way")
                .line("asked", format!("IKE at {}: a question of one piece is answered", ports.peer))
                .line("but", "a question of two pieces is not")
                .line_some("measured", narrow.or(known))
                .line("means", "something on the way drops fragments; what is longer than a link never arrives")
                .fix("let fragments pass on the way")
                .fix("keep packets short: adit ping NAME --mtu finds the longest that passes"),
        )
    });
    let pieces = facts.host.pieces;
    let share = pieces.failed.saturating_mul(PIECES_SHARE) >= pieces.joined;
    if found.is_empty() && pieces.failed >= PIECES_MIN && share {
        found.push(
            Diagnosis::new(Code::E406, "pieces of packets do not arrive at this host")
                .line(
                    "saw",
                    format!(
                        "{} packets given up, {} joined while looking",
                        pieces.failed, pieces.joined
                    ),
                )
                .fix("let fragments pass on the way, or lower the MTU of whoever sends them"),
        );
    }
    found
}

/// A question of one piece is answered and one of two is not, and it matters: lengths are lost in the
/// tunnel, too, or the way is known to be narrow, or the tunnel does not come up. A peer's IKE may drop
/// what is long and nothing else.
fn loses_pieces(tunnel: &Tunnel) -> bool {
    let sizes = tunnel.echo.as_ref().and_then(|echo| echo.sizes);
    let is_narrow = sizes.is_some_and(|sizes| sizes.lost.is_some()) || tunnel.narrow().is_some();
    let matters = is_narrow || !is_up(tunnel);
    matters && tunnel.ports.as_ref().is_some_and(|ports| ports.pieces == Answer::Silence)
}

pub(super) fn pieces_seen(facts: &Facts) -> Option<String> {
    let pieces = facts.host.pieces;
    Some(format!("{} packets joined, {} given up", pieces.joined, pieces.failed))
}

/// The engine refuses what it should not have to, more than now and then.
pub(super) fn drops(facts: &Facts) -> Vec<Diagnosis> {
    of_each(facts, |tunnel| {
        let mut worst: Option<(&str, &str, u64, u64)> = None;
        for sa in &tunnel.sas {
            let ways =
                [("in", &sa.drops_in, sa.packets_in), ("out", &sa.drops_out, sa.packets_out)];
            for (way, drops, passed) in ways {
                for (reason, packets) in drops.iter().filter(|one| is_many(one, passed)) {
                    if worst.is_none_or(|(.., most, _)| *packets > most) {
                        worst = Some((way, reason, *packets, passed));
                    }
                }
            }
        }
        let (way, reason, packets, passed) = worst?;
        let found = Diagnosis::new(Code::E407, "packets of the tunnel are dropped").line(
            "saw",
            format!("{} dropped {way} ({reason}), {} passed", grouped(packets), grouped(passed)),
        );
        let found = advice::fix(reason).map_or_else(|| found.clone(), |fix| found.clone().fix(fix));
        Some(found.fix(format!("adit status {} --drops shows every reason", tunnel.name())))
    })
}

fn is_many((reason, packets): &(String, u64), passed: u64) -> bool {
    advice::is_fault(reason) && *packets >= DROPS_MIN && packets.saturating_mul(100) >= passed
}

pub(super) fn drops_seen(facts: &Facts) -> Option<String> {
    seen_of_each(facts, |tunnel| {
        let counts = tunnel.sas.iter().flat_map(|sa| &sa.drops).map(|(_, packets)| packets);
        (!tunnel.sas.is_empty()).then(|| format!("{} packets dropped", grouped(counts.sum())))
    })
}

/// Fewer than these, or than one of a hundred, happen on any network.
const DROPS_MIN: u64 = 10;
/// Packets out without any in, ever: more than a few runs of the doctor send to nobody.
const OUT_OF_NOTE: u64 = 100;
/// Fewer packets whose pieces are missing than these, or than one of twenty, happen on any host.
const PIECES_MIN: u64 = 5;
const PIECES_SHARE: u64 = 20;
