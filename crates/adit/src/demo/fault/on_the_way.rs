//! Faults on the way between the gateways that no daemon can see by itself: the tunnel stays up, and
//! `adit doctor` on Oslo's gateway says what is wrong.

use adit_mgmt::Code;
use adit_sys::fault::{self, Fault as Dropped};
use adit_sys::netns::Namespace;

use crate::args::Fault;
use crate::daemon::Daemon;
use crate::demo::lab::WIRE_BERLIN;
use crate::demo::news::{Line, Mood, News};
use crate::demo::place::Site;
use crate::demo::show::up_words;
use crate::demo::stage::{Attempt, Stage};
use crate::doctor::{Findings, Wish, examine};
use crate::error::Error;

/// Breaks the way below a tunnel that is up and lets the doctor say what it sees. The code of the
/// first problem that it finds.
pub(super) fn break_it(
    stage: &mut Stage,
    fault: Fault,
    line: &mut Line,
) -> Result<Option<Code>, Error> {
    // What the fault needs in the files is taken over first.
    if matches!(fault, Fault::Mtu | Fault::Nat | Fault::Fragments) {
        match stage.negotiate(Some(fault), line)?.0 {
            Attempt::Up(took) => line.tell("tunnel", up_words(took), Mood::Good)?,
            Attempt::Failed(diagnosis) => {
                line.send(&News::Diagnosis { site: Site::Oslo, diagnosis })?;
                return Ok(None);
            }
        }
    }
    install(stage, fault)?;
    let vici = stage.place.vici(Site::Oslo);
    line.fact("doctor", format!("adit --vici {} doctor", vici.display()))?;
    let findings = stage.lab.oslo_gw.run(|| -> Result<Findings, Error> {
        examine(&mut Daemon::connect(&vici)?, &Wish::default())
    })??;
    let mut first = None;
    for problem in findings.problems {
        first = first.or(Some(problem.code));
        line.send(&News::Diagnosis { site: Site::Oslo, diagnosis: Box::new(problem) })?;
    }
    Ok(first)
}

fn install(stage: &Stage, fault: Fault) -> Result<(), Error> {
    let berlin = Site::Berlin.gateway();
    let lab = &stage.lab;
    let drop =
        |at: &Namespace, what: Dropped| -> Result<(), Error> { Ok(at.run(|| what.install())??) };
    match fault {
        Fault::Mtu => {
            narrow(stage, SMALL_MTU)?;
            // The router and Berlin's gateway are silent about it.
            drop(&lab.internet, Dropped::TooBigMessages)
        }
        Fault::Fragments => {
            narrow(stage, SMALL_MTU)?;
            drop(&lab.internet, Dropped::Fragments)
        }
        Fault::Nat => drop(&lab.internet, Dropped::Udp4500From(berlin)),
        Fault::Oneway => drop(&lab.internet, Dropped::EspFrom(berlin)),
        Fault::Psk
        | Fault::Id
        | Fault::Proposal
        | Fault::Esp
        | Fault::Selectors
        | Fault::Route
        | Fault::Port
        | Fault::Daemon => Ok(()),
    }
}

/// Both ends of the wire between the Internet and Berlin.
fn narrow(stage: &Stage, mtu: u32) -> Result<(), Error> {
    for (host, name) in [(&stage.lab.internet, WIRE_BERLIN), (&stage.lab.berlin_gw, "wan0")] {
        let mut netlink = host.netlink()?;
        let link = netlink.link_by_name(name)?;
        netlink.set_mtu(link.index, mtu)?;
    }
    Ok(())
}

/// Mends all of that, whatever of it is broken.
pub(super) fn undo(stage: &Stage) -> Result<(), Error> {
    match stage.fault {
        Some(Fault::Mtu | Fault::Fragments) => narrow(stage, USUAL_MTU)?,
        Some(Fault::Nat | Fault::Oneway) => {}
        _ => return Ok(()),
    }
    Ok(stage.lab.internet.run(fault::mend)??)
}

const SMALL_MTU: u32 = 1_280;
const USUAL_MTU: u32 = 1_500;
