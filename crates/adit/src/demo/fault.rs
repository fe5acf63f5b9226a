//! `break` and `fix`: faults as they happen to operators, made in the running demo.

mod on_the_way;

use std::time::Duration;

use adit_mgmt::{Code, Diagnosis};
use adit_sys::clock;
use adit_sys::netlink::{Family, Route, Rule, RuleAction};
use adit_sys::route::UdpBlackhole;

use crate::args::Fault;
use crate::demo::lab::{BERLIN_NETWORK, ROUTER_FROM_OSLO, prefix};
use crate::demo::news::{Line, Mood, News};
use crate::demo::place::Site;
use crate::demo::show::{ping_words, up_words};
use crate::demo::stage::{Attempt, Stage, Watch};
use crate::error::Error;

/// Breaks something, waits for the diagnosis and passes it on. `false` if none came or another one
/// than the fault should cause.
pub(crate) fn break_it(stage: &mut Stage, fault: Fault, line: &mut Line) -> Result<bool, Error> {
    // One fault at a time, in a tunnel that is up: otherwise the diagnosis is of something else.
    if (stage.fault.is_some() || !stage.is_up()?) && !fix(stage, line)? {
        return Ok(false);
    }
    line.tell("break", what(stage, fault), Mood::Bad)?;
    stage.fault = Some(fault);
    let found = match fault {
        Fault::Route => break_route(stage, line)?,
        Fault::Daemon => break_daemon(stage, line)?,
        Fault::Port => {
            stage.hole = Some(stage.lab.internet.run(|| UdpBlackhole::install(4500))??);
            line.send(&patience("no answer is no news: the daemon tries for a while"))?;
            negotiate(stage, fault, line)?
        }
        Fault::Psk | Fault::Id | Fault::Proposal | Fault::Esp | Fault::Selectors => {
            negotiate(stage, fault, line)?
        }
        Fault::Mtu | Fault::Nat | Fault::Fragments | Fault::Oneway => {
            on_the_way::break_it(stage, fault, line)?
        }
    };
    let wanted = expected(fault);
    if found.is_some_and(|code| wanted.contains(&code)) {
        return Ok(true);
    }
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    line.tell("missing", format!("a diagnosis {}", wanted.join(" or ")), Mood::Bad)?;
    Ok(false)
}

/// Undoes every break and shows the tunnel coming back.
pub(crate) fn fix(stage: &mut Stage, line: &mut Line) -> Result<bool, Error> {
    let fault = stage.fault;
    if fault.is_none() && stage.is_up()? {
        line.fact("fix", "nothing is broken")?;
        return Ok(true);
    }
    line.fact("fix", fault.map_or("the tunnel is not up: both sides begin anew", mended))?;
    let attempt = match fault {
        Some(Fault::Daemon) if !stage.is_held_down()? => Some(come_back(stage, line)?),
        Some(Fault::Route) => {
            undo_system(stage)?;
            await_problem(stage, false)?;
            None
        }
        _ => {
            undo_system(stage)?;
            stage.start_daemons()?;
            Some(stage.negotiate(None, line)?.0)
        }
    };
    match attempt {
        Some(Attempt::Failed(diagnosis)) => {
            line.send(&News::Diagnosis { site: Site::Oslo, diagnosis })?;
            return Ok(false);
        }
        Some(Attempt::Up(took)) => {
            line.tell("tunnel", up_words(took), Mood::Good)?;
        }
        None => {}
    }
    stage.fault = None;
    let pings = stage.ping(3, Duration::from_secs(1))?;
    let mood = if pings.lost() == 0 { Mood::Good } else { Mood::Bad };
    line.tell("ping", ping_words(&pings), mood)?;
    Ok(pings.lost() == 0)
}

fn what(stage: &Stage, fault: Fault) -> String {
    let place = stage.place.path().display();
    match fault {
        Fault::Psk => format!("oslo-gw gets another secret ({place}/oslo/tunnels/berlin.psk)"),
        Fault::Id => "oslo-gw calls itself oslo-gw.example; berlin-gw expects oslo.example".into(),
        Fault::Proposal => "the two gateways allow different IKE algorithms".into(),
        Fault::Esp => "the two gateways allow different ESP algorithms".into(),
        Fault::Selectors => "berlin-gw protects 10.3.0.0/24 instead of 10.2.0.0/24".into(),
        Fault::Route => {
            format!("a rule on oslo-gw sends {BERLIN_NETWORK} to the Internet, past the tunnel")
        }
        Fault::Port => "the Internet drops UDP 4500, which encap = \"udp\" needs".into(),
        Fault::Daemon => "berlin-gw's aditd is killed (kill -9)".into(),
        Fault::Mtu => "the link to berlin-gw takes 1,280 octets, and ICMP does not say so".into(),
        Fault::Nat => "a NAT before oslo-gw forgets it: UDP 4500 from berlin-gw is dropped".into(),
        Fault::Fragments => {
            "the link to berlin-gw takes 1,280 octets, and the Internet drops fragments".into()
        }
        Fault::Oneway => "the Internet drops ESP from berlin-gw; IKE passes".into(),
    }
}

fn mended(fault: Fault) -> &'static str {
    match fault {
        Fault::Psk => "both gateways have the same secret again",
        Fault::Id => "oslo-gw calls itself oslo.example again",
        Fault::Proposal | Fault::Esp => "both gateways allow the same algorithms again",
        Fault::Selectors => "berlin-gw protects 10.2.0.0/24 again",
        Fault::Route => "the rule is gone",
        Fault::Port => "UDP 4500 passes again",
        Fault::Daemon => "berlin-gw's aditd is started again",
        Fault::Mtu => "the link takes 1,500 octets again, and ICMP passes",
        Fault::Nat => "the NAT knows oslo-gw again",
        Fault::Fragments => "the link takes 1,500 octets again, and fragments pass",
        Fault::Oneway => "ESP passes again",
    }
}

/// The codes that a fault may cause.
fn expected(fault: Fault) -> &'static [Code] {
    match fault {
        Fault::Psk => &[Code::E203],
        Fault::Id => &[Code::E204],
        Fault::Proposal => &[Code::E101],
        Fault::Esp => &[Code::E102],
        Fault::Selectors => &[Code::E301],
        Fault::Route => &[Code::E501],
        Fault::Port => &[Code::E121],
        Fault::Daemon => &[Code::E110, Code::E111],
        Fault::Mtu => &[Code::E401],
        Fault::Nat => &[Code::E121],
        Fault::Fragments => &[Code::E406],
        Fault::Oneway => &[Code::E405],
    }
}

/// A fault that shows when the tunnel is negotiated.
fn negotiate(stage: &mut Stage, fault: Fault, line: &mut Line) -> Result<Option<Code>, Error> {
    let (attempt, berlin) = stage.negotiate(Some(fault), line)?;
    let found = tell(attempt, line)?;
    if let Some(diagnosis) = berlin {
        line.send(&News::Diagnosis { site: Site::Berlin, diagnosis })?;
    }
    Ok(found)
}

fn tell(attempt: Attempt, line: &mut Line) -> Result<Option<Code>, Error> {
    match attempt {
        Attempt::Up(took) => {
            line.tell("tunnel", format!("{} all the same", up_words(took)), Mood::Bad)?;
            Ok(None)
        }
        Attempt::Failed(diagnosis) => {
            let code = diagnosis.code;
            line.send(&News::Diagnosis { site: Site::Oslo, diagnosis })?;
            Ok(Some(code))
        }
    }
}

fn break_route(stage: &mut Stage, line: &mut Line) -> Result<Option<Code>, Error> {
    let mut netlink = stage.lab.oslo_gw.netlink()?;
    netlink.add_route(&stray_route())?;
    netlink.add_rule(&stray_rule())?;
    let pings = stage.ping(2, Duration::from_millis(300))?;
    line.tell("ping", ping_words(&pings), Mood::Bad)?;
    let Some(diagnosis) = await_problem(stage, true)? else { return Ok(None) };
    let code = diagnosis.code;
    line.send(&News::Diagnosis { site: Site::Oslo, diagnosis: Box::new(diagnosis) })?;
    Ok(Some(code))
}

/// Waits until Oslo's daemon tells of a problem, or of none; returns the problem.
fn await_problem(stage: &mut Stage, wanted: bool) -> Result<Option<Diagnosis>, Error> {
    let deadline = clock::now() + PROBLEM_PATIENCE;
    loop {
        let status = stage.oslo.connect()?.status()?;
        let of_tunnels = status.tunnels.into_iter().filter_map(|tunnel| tunnel.problem);
        let mut problems = of_tunnels.chain(status.daemon.problems);
        let stray = problems.find(|problem| problem.code == Code::E501);
        if stray.is_some() == wanted || clock::now() >= deadline {
            return Ok(stray);
        }
        std::thread::sleep(PROBLEM_POLL);
    }
}

fn break_daemon(stage: &mut Stage, line: &mut Line) -> Result<Option<Code>, Error> {
    stage.berlin.kill()?;
    let pings = stage.ping(2, Duration::from_millis(300))?;
    line.tell("ping", ping_words(&pings), Mood::Bad)?;
    line.send(&patience("adit restart berlin: silence has to last before it is believed"))?;
    let attempt = stage.restart(line)?;
    tell(attempt, line)
}

/// Berlin's daemon starts; Oslo's, which keeps the tunnel up, tries again by itself.
fn come_back(stage: &mut Stage, line: &mut Line) -> Result<Attempt, Error> {
    use adit_mgmt::vici::EventKind;
    let mut oslo = stage.oslo.connect()?;
    oslo.subscribe(EventKind::AditEvent)?;
    oslo.subscribe(EventKind::AditProgress)?;
    stage.berlin.start(&stage.lab.berlin_gw)?;
    line.send(&News::Patience {
        text: "oslo-gw has to notice by itself".into(),
        seconds: COME_BACK_PATIENCE.as_secs(),
    })?;
    Watch::only_up().wait(&mut oslo, line, COME_BACK_PATIENCE)
}

/// Removes what was added to the hosts.
fn undo_system(stage: &mut Stage) -> Result<(), Error> {
    // The rules belong to the namespace that the value was made in.
    stage.hole = None;
    on_the_way::undo(stage)?;
    let mut netlink = stage.lab.oslo_gw.netlink()?;
    netlink.delete_rule(&stray_rule())?;
    Ok(netlink.delete_route(&stray_route())?)
}

/// `from all lookup STRAY_TABLE`, asked before the daemon's own rule.
fn stray_rule() -> Rule {
    Rule::new(Family::V4, STRAY_PRIORITY, RuleAction::Table(STRAY_TABLE))
}

fn stray_route() -> Route {
    Route::by_gateway(prefix(BERLIN_NETWORK), ROUTER_FROM_OSLO).in_table(STRAY_TABLE)
}

fn patience(text: &str) -> News {
    News::Patience { text: text.to_owned(), seconds: SILENCE_S }
}

/// A rule as another VPN program might make it.
const STRAY_PRIORITY: u32 = 100;
const STRAY_TABLE: u32 = 100;
/// How long the daemon repeats a request before it calls the peer silent.
const SILENCE_S: u64 = 30;
const PROBLEM_PATIENCE: Duration = Duration::from_secs(10);
const PROBLEM_POLL: Duration = Duration::from_millis(50);
const COME_BACK_PATIENCE: Duration = Duration::from_secs(90);
