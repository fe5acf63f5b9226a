//! Verbs that change something: `up`, `down`, `restart`, `rekey`, `reload`.

use std::path::Path;
use std::time::{Duration, Instant};

use adit_mgmt::Diagnosis;
use adit_mgmt::api::{self, Change, Progress, ReloadReport, Status, TunnelEvent, TunnelStatus};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{EventKind, Initiate, Rekey as RekeyRequest, Request};
use adit_mgmt::vici::{Selection, Terminate, Timeout};
use adit_sys::clock;

use crate::args::{Act, Json, Rekey};
use crate::daemon::{Daemon, Event};
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::words::{clean, duration};

/// `adit up`.
pub(crate) fn up(args: &Act, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    bring_up(&mut daemon, args, screen)
}

/// `adit down`.
pub(crate) fn down(args: &Act, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    known_tunnel(&mut daemon, &args.name)?;
    take_down(&mut daemon, args, screen)
}

/// `adit restart`.
pub(crate) fn restart(args: &Act, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    known_tunnel(&mut daemon, &args.name)?;
    let exit = take_down(&mut daemon, args, screen)?;
    if exit != Exit::Good {
        return Ok(exit);
    }
    bring_up(&mut daemon, args, screen)
}

fn bring_up(daemon: &mut Daemon, args: &Act, screen: &mut Screen) -> Result<Exit, Error> {
    let tunnel = known_tunnel(daemon, &args.name)?;
    let started = clock::now();
    if !args.json {
        let name = screen.paint.with(Style::Bold, &tunnel.name).into_owned();
        screen.line(&format!("{name}  -> {}", tunnel.peer))?;
    }
    let mut steps = 0;
    for child in children(&tunnel) {
        let request = Request::Initiate(Initiate {
            child,
            connection: Some(tunnel.name.clone()),
            timeout: timeout(args),
            log_level: -1,
        });
        let outcome = daemon.act(&request, |event| {
            let Event::Progress(step) = event else { return Ok(()) };
            if step.tunnel != tunnel.name {
                return Ok(());
            }
            steps += 1;
            print_step(&step, args.json, screen)
        })?;
        if outcome.error.is_some() {
            return failed(&tunnel.name, outcome, args.json, screen);
        }
    }
    if steps == 0 && !args.json {
        let up = screen.paint.with(Style::Good, "UP").into_owned();
        screen.line(&format!("{up} already"))?;
        return Ok(Exit::Good);
    }
    print_up(daemon, &tunnel, started, args.json, screen)
}

/// The children by name; an IKE SA alone when the connection has none.
fn children(tunnel: &TunnelStatus) -> Vec<Option<String>> {
    if tunnel.children.is_empty() {
        return vec![None];
    }
    tunnel.children.iter().map(|child| Some(child.name.clone())).collect()
}

fn print_up(
    daemon: &mut Daemon,
    tunnel: &TunnelStatus,
    started: Instant,
    json: bool,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    let took = clock::now().saturating_duration_since(started);
    if json {
        let now = known_tunnel(daemon, &tunnel.name)?;
        let peer = now.peer_address.unwrap_or(now.peer);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        screen.json(&TunnelEvent::new(&tunnel.name, Change::Up { peer, took_ms }))?;
    } else {
        let up = screen.paint.with(Style::Good, "UP").into_owned();
        screen.line(&format!("{up} in {}", duration(took)))?;
    }
    Ok(Exit::Good)
}

fn take_down(daemon: &mut Daemon, args: &Act, screen: &mut Screen) -> Result<Exit, Error> {
    let request = Request::Terminate(Terminate {
        selection: Selection::connection(&args.name),
        force: true,
        timeout: timeout(args),
        log_level: -1,
    });
    let outcome = daemon.act(&request, |_| Ok(()))?;
    let was_up = outcome.matches.unwrap_or(0) > 0;
    if was_up && outcome.error.is_some() {
        return failed(&args.name, outcome, args.json, screen);
    }
    // Nothing to delete is what was wanted, too.
    let reason = if was_up { "by command" } else { "it was not up" };
    if args.json {
        let change = Change::Down { reason: reason.to_owned() };
        screen.json(&TunnelEvent::new(&args.name, change))?;
    } else {
        let name = screen.paint.with(Style::Bold, &args.name).into_owned();
        let down = screen.paint.with(Style::Warning, "DOWN").into_owned();
        screen.line(&format!("{name}  {down}, {reason}"))?;
    }
    Ok(Exit::Good)
}

/// `adit rekey`.
pub(crate) fn rekey(args: &Rekey, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    let tunnel = known_tunnel(&mut daemon, &args.name)?;
    daemon.subscribe(EventKind::AditEvent)?;
    let wanted: Vec<String> = if args.ike {
        vec!["ike".to_owned()]
    } else {
        tunnel.children.iter().filter(|child| child.up).map(|child| child.name.clone()).collect()
    };
    for what in wanted.iter().chain(wanted.is_empty().then_some(&args.name)) {
        let mut selection = Selection::connection(&args.name);
        selection.child = (!args.ike).then(|| what.clone());
        let request = Request::Rekey(RekeyRequest { selection, reauthenticate: false });
        let outcome = daemon.act(&request, |_| Ok(()))?;
        if outcome.matches == Some(0) {
            let name = &args.name;
            return Err(Error::Refused(format!(
                "{name} is not up; `adit up {name}` makes new keys"
            )));
        }
        if let Some(reason) = outcome.error {
            return Err(Error::Refused(format!("{}: {reason}", args.name)));
        }
        let exit = await_rekey(&mut daemon, &args.name, what, args.json, screen)?;
        if exit != Exit::Good {
            return Ok(exit);
        }
    }
    Ok(Exit::Good)
}

/// Waits until new keys for `what` are in use.
fn await_rekey(
    daemon: &mut Daemon,
    name: &str,
    what: &str,
    json: bool,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    let started = clock::now();
    let deadline = started + REKEY_PATIENCE;
    while let Some(event) = daemon.next_event(Some(deadline))? {
        let Event::Tunnel(event) = event else {
            continue;
        };
        if event.tunnel != name {
            continue;
        }
        if let Change::Rekeyed { what: rekeyed } = &event.change
            && rekeyed == what
        {
            return print_rekeyed(&event, started, json, screen);
        }
        if let Change::Failed { diagnosis } = &event.change {
            return print_failure(name, (**diagnosis).clone(), json, screen);
        }
        if let Change::Down { reason } = &event.change {
            return Err(Error::Refused(format!("{name} went down meanwhile: {reason}")));
        }
    }
    let patience = duration(REKEY_PATIENCE);
    Err(Error::Refused(format!("{name}: no new keys for {what} after {patience}")))
}

fn print_rekeyed(
    event: &TunnelEvent,
    started: Instant,
    json: bool,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    if json {
        screen.json(event)?;
    } else {
        let took = clock::now().saturating_duration_since(started);
        let name = screen.paint.with(Style::Bold, &event.tunnel).into_owned();
        screen.line(&format!("{name}  {} in {}", clean(&event.text), duration(took)))?;
    }
    Ok(Exit::Good)
}

/// `adit reload`.
pub(crate) fn reload(args: &Json, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    let answer = daemon.call(&Request::AditReload { dry_run: false }, |_| Ok(()))?;
    let report: ReloadReport = api::from_message(&answer)?;
    if args.json {
        screen.json(&report)?;
    } else {
        screen.text(&render_reload(&report, screen.paint))?;
    }
    Ok(if report.has_errors() { Exit::Problem } else { Exit::Good })
}

/// A report in words.
pub(crate) fn render_reload(report: &ReloadReport, paint: Paint) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        out.push_str(problem.rendered.trim_end());
        out.push_str("\n\n");
    }
    if !report.applied {
        let verdict = paint.with(Style::Bad, "nothing was changed");
        out.push_str(&format!("{verdict}: the running configuration stays as it is\n"));
        return out;
    }
    out + &render_changes(report, paint)
}

/// Which tunnels a reload touches.
pub(crate) fn render_changes(report: &ReloadReport, paint: Paint) -> String {
    let mut out = String::new();
    let kinds = [
        ("added", &report.added, Style::Good),
        ("changed", &report.changed, Style::Warning),
        ("removed", &report.removed, Style::Bad),
        ("unchanged", &report.unchanged, Style::Dim),
    ];
    for (word, names, style) in kinds {
        if !names.is_empty() {
            let label = format!("{word:<10}");
            out.push_str(&format!("{} {}\n", paint.with(style, &label), names.join(", ")));
        }
    }
    if kinds.iter().all(|(_, names, _)| names.is_empty()) {
        out.push_str("no tunnels are configured\n");
    }
    out
}

/// The tunnel of that name.
///
/// # Errors
///
/// [`Error::Usage`] with the nearest name if there is none.
pub(crate) fn known_tunnel(daemon: &mut Daemon, name: &str) -> Result<TunnelStatus, Error> {
    find_tunnel(daemon.status()?, name)
}

/// The tunnel of that name in a status.
pub(crate) fn find_tunnel(status: Status, name: &str) -> Result<TunnelStatus, Error> {
    let names: Vec<String> = status.tunnels.iter().map(|tunnel| tunnel.name.clone()).collect();
    let found = status.tunnels.into_iter().find(|tunnel| tunnel.name == name);
    found.ok_or_else(|| unknown_tunnel(name, &names))
}

fn unknown_tunnel(name: &str, names: &[String]) -> Error {
    let hint = match (adit_db::nearest(name, names.iter().map(String::as_str)), names) {
        (Some(nearest), _) => format!("did you mean {nearest}?"),
        (None, []) => "none is configured; `adit check` reads the files".to_owned(),
        (None, names) => format!("there is {}", names.join(", ")),
    };
    Error::Usage(format!("there is no tunnel {name:?}: {hint}"))
}

/// A step as a line, the words painted.
pub(crate) fn step_line(step: &Progress, paint: Paint) -> String {
    let ms = step.elapsed_ms;
    format!(
        "{} {} {}",
        paint.with(Style::Dim, &format!("{:>3}.{:02} s ", ms / 1_000, ms % 1_000 / 10)),
        paint.with(Style::Label, &format!("{:<9}", step.step.word())),
        clean(&step.text)
    )
}

fn print_step(step: &Progress, json: bool, screen: &mut Screen) -> Result<(), Error> {
    if json { screen.json(step) } else { screen.line(&step_line(step, screen.paint)) }
}

/// Prints what is known about a failure; the daemon's one line if it sent no more.
fn failed(tunnel: &str, outcome: Outcome, json: bool, screen: &mut Screen) -> Result<Exit, Error> {
    match outcome.diagnosis {
        Some(diagnosis) => print_failure(tunnel, diagnosis, json, screen),
        None => {
            let reason = outcome.error.unwrap_or_default();
            Err(Error::Refused(format!("{tunnel}: {reason}")))
        }
    }
}

fn print_failure(
    tunnel: &str,
    diagnosis: Diagnosis,
    json: bool,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    if json {
        let change = Change::Failed { diagnosis: Box::new(diagnosis) };
        screen.json(&TunnelEvent::new(tunnel, change))?;
    } else {
        screen.line("")?;
        screen.diagnosis(&diagnosis)?;
    }
    Ok(Exit::Problem)
}

fn timeout(args: &Act) -> Timeout {
    match args.timeout {
        0 => Timeout::Forever,
        seconds => Timeout::After(Duration::from_secs(seconds)),
    }
}

/// How long new keys may take: a request with all its repetitions.
const REKEY_PATIENCE: Duration = Duration::from_secs(30);
