//! The end of what clients asked for: numbers that came in, requests that are done, and what
//! happened meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_db::{ChildSaId, Engine, IkeSaId};
use adit_ike::{
    Command, ConnectionInfo, Event as IkeEvent, Failure, IkeSaCounts, IkeSaInfo, RequestId,
};
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{self, Change, Progress, Step, TunnelEvent};
use adit_mgmt::vici::answer::{Outcome, Stats};
use adit_mgmt::vici::{
    Event, EventKind, LogLine, Rekey, Request, SaSnapshot, Selection, Terminate, Timeout,
};
use adit_sys::clock;
use adit_wire::iana::ProtocolId;
use tracing::{Level, debug, enabled, info, warn};

use super::client::Client;
use super::requests::{BUSY, deadline, log_lines, needs_policies, send};
use super::snapshots::{self, Flows};
use super::{ClientId, LINES_MAX, PROBLEMS_MAX, Query, Running, Waiting, events};
use crate::diagnose;
use crate::log::Line;
use crate::message::{QueryId, ToIke};

/// All numbers that a question needs.
pub(super) struct Numbers {
    pub(super) sas: Vec<IkeSaInfo>,
    pub(super) connections: Vec<ConnectionInfo>,
    pub(super) outbound: Box<adit_dataplane::OutboundReport>,
    pub(super) inbound: Box<adit_dataplane::InboundReport>,
}

impl Running {
    /// Answers a question when all its parts are there.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other request asks for numbers")]
    pub(super) fn conclude(&mut self, id: QueryId) {
        let complete = self.queries.get(&id).is_some_and(|query| {
            query.sas.is_some()
                && query.outbound.is_complete()
                && query.inbound.is_complete()
                && (query.policies.is_some() || !needs_policies(&query.request))
                && query.kernel.is_some()
        });
        if !complete {
            return;
        }
        let Some(Query { client, request, sas, outbound, inbound, kernel, policies }) =
            self.queries.remove(&id)
        else {
            return;
        };
        let (
            Some((sas, connections)),
            Some((mut outbound, carriers)),
            Some(mut inbound),
            Some(kernel),
        ) = (sas, outbound.into_sum(), inbound.into_sum(), kernel)
        else {
            return;
        };
        // For whoever asks there is one engine.
        outbound.sas.extend(kernel.outbound);
        inbound.sas.extend(kernel.inbound);
        let numbers = Numbers { sas, connections, outbound, inbound };
        match request {
            Request::ListSas(filter) => self.list_sas(client, &filter.selection, numbers),
            Request::GetPools(filter) => self.get_pools(client, &filter, &numbers),
            Request::AditStatus { tunnel } => {
                let status = self.status(tunnel.as_deref(), &numbers);
                self.answer(client, api::to_message(&status));
            }
            Request::AditSpd => self.answer(client, api::to_message(&self.spd(policies))),
            Request::AditSad => self.answer(client, api::to_message(&self.sad(&numbers))),
            Request::AditWhy { flow, dscp, interface } => {
                let packet = (&flow, dscp, interface.as_deref());
                let answer = self.why(packet, policies, &carriers, &numbers);
                self.answer(client, api::to_message(&answer));
            }
            Request::AditWhyLifetime { tunnel } => {
                let report = self.lifetimes(&tunnel, &numbers);
                self.answer(client, api::to_message(&report));
            }
            Request::Terminate(terminate) => self.terminate(client, &terminate, &numbers),
            Request::AditForgetPath { tunnel } => self.forget_path(client, &tunnel, &numbers.sas),
            Request::Redirect(redirect) => self.redirect(client, &redirect, &numbers.sas),
            Request::Rekey(rekey) => self.rekey(client, &rekey, &numbers),
            _ => debug!("a question was asked that needs no numbers"),
        }
        self.take_commands(client);
    }

    /// There may be a hundred thousand: each is put into words when the client has room for it.
    fn list_sas(&mut self, id: ClientId, selection: &Selection, numbers: Numbers) {
        let now = clock::now();
        let flows = flows(&numbers);
        let shown = numbers.sas.into_iter().filter(|info| shows(selection, info));
        let shown = shown.map(|info| (self.store.forces_udp(&info), info));
        let shown: Vec<(bool, IkeSaInfo)> = shown.collect();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.answer_with(Box::new(shown.into_iter().map(move |(nat_fake, info)| {
            let snapshot = SaSnapshot { nat_fake, ..snapshots::sa(&info, &flows, now) };
            Event::ListSa(Box::new(snapshot))
        })));
    }

    /// Answers `stats`.
    pub(super) fn tell_stats(&mut self, id: QueryId, counts: IkeSaCounts) {
        let Some(Query { client, .. }) = self.queries.remove(&id) else { return };
        let uptime = clock::now().saturating_duration_since(self.started);
        let stats = Stats {
            uptime,
            since: since(uptime),
            workers: WORKERS,
            ike_sas: [counts.established, counts.half_open, counts.leaving].iter().sum(),
            half_open: counts.half_open,
            plugins: vec!["ikev2".to_owned(), "esp".to_owned(), "vici".to_owned()],
        };
        self.answer(client, stats.message());
        self.take_commands(client);
    }

    fn terminate(&mut self, id: ClientId, terminate: &Terminate, numbers: &Numbers) {
        let orders = self.terminate_orders(&terminate.selection, numbers);
        if orders.is_empty() {
            let outcome = Outcome::refused("no matching SAs to terminate found");
            return self.answer(id, outcome.matches(0).terminated(0).message());
        }
        let matches = orders.len();
        let deadline = deadline(terminate.timeout, clock::now());
        for (connection, command, request) in orders {
            if matches!(command, Command::Down { .. }) {
                // What failed before does not matter to a tunnel that nobody wants up.
                self.store.clear_failure(&connection);
            }
            if !send(&self.role.links.ike, ToIke::Command(command)) {
                self.waiting.retain(|_, waiting| waiting.client != id);
                return self.answer(id, Outcome::refused(BUSY).message());
            }
            if terminate.timeout != Timeout::Immediately {
                let waiting = Waiting { client: id, connection, deadline, matches: Some(matches) };
                self.waiting.insert(request, waiting);
            }
        }
        if terminate.timeout == Timeout::Immediately {
            let outcome = Outcome::ok().matches(matches).terminated(matches);
            self.answer(id, outcome.message());
        } else if let Some(client) = self.clients.get_mut(&id) {
            client.log_level = terminate.log_level;
        }
    }

    /// What to delete: by the name of a connection everything of it, retries included.
    fn terminate_orders(
        &mut self,
        selection: &Selection,
        numbers: &Numbers,
    ) -> Vec<(String, Command, RequestId)> {
        let mut orders = Vec::new();
        if selection.is_child() {
            for (info, child) in children(selection, &numbers.sas) {
                let request = RequestId(self.number());
                let command = Command::TerminateChild { id: child, request };
                orders.push((connection_of(info), command, request));
            }
            return orders;
        }
        if let Some(id) = selection.ike_id {
            for info in numbers.sas.iter().filter(|info| info.id == IkeSaId(id)) {
                let request = RequestId(self.number());
                let command = Command::TerminateIke { id: info.id, request };
                orders.push((connection_of(info), command, request));
            }
            return orders;
        }
        for known in &numbers.connections {
            let name = &known.connection.name;
            let named =
                selection.connection.as_deref().is_none_or(|wanted| wanted == name.as_str());
            // A tunnel that is down but tried again and again is to be taken down, too.
            let alive = !known.ike_sas.is_empty() || known.retry_at.is_some();
            if named && alive {
                let request = RequestId(self.number());
                let command = Command::Down { connection: name.clone(), request };
                orders.push((name.to_string(), command, request));
            }
        }
        orders
    }

    fn rekey(&mut self, id: ClientId, rekey: &Rekey, numbers: &Numbers) {
        let selection = &rekey.selection;
        let for_ike = match rekey.reauthenticate {
            true => Command::Reauthenticate,
            false => Command::RekeyIke,
        };
        let commands: Vec<Command> = if selection.is_child() {
            children(selection, &numbers.sas).map(|(_, child)| Command::RekeyChild(child)).collect()
        } else {
            let fits = |info: &&IkeSaInfo| shows(selection, info) && info.established.is_some();
            numbers.sas.iter().filter(fits).map(|info| for_ike(info.id)).collect()
        };
        let matches = commands.len();
        let sent =
            commands.into_iter().all(|command| send(&self.role.links.ike, ToIke::Command(command)));
        let outcome = match (matches, sent) {
            (0, _) => Outcome::refused("no matching SAs to rekey found"),
            (_, false) => Outcome::refused(BUSY),
            (_, true) => Outcome::ok(),
        };
        self.answer(id, outcome.matches(matches).message());
    }

    /// A request has come to its end.
    pub(super) fn done(&mut self, request: RequestId, result: Result<(), Box<Failure>>) {
        let Some(waiting) = self.waiting.remove(&request) else {
            return;
        };
        let id = waiting.client;
        if let Some(matches) = waiting.matches {
            let open = self.waiting.values().filter(|other| other.client == id).count();
            if open == 0 {
                let outcome = Outcome::ok().matches(matches).terminated(matches);
                self.answer(id, outcome.message());
                self.take_commands(id);
            }
            return;
        }
        let outcome = match result {
            Ok(()) => Outcome::ok(),
            Err(failure) => match self.diagnose(&failure) {
                Some(diagnosis) => {
                    // swanctl shows one line of a failure; both sides' values are in the others.
                    let block = diagnosis.to_string();
                    if let Some(client) = self.clients.get_mut(&id) {
                        tell_lines(client, &waiting.connection, None, &block);
                    }
                    Outcome::failed(diagnosis)
                }
                None => Outcome::refused(&failure.reason.to_string()),
            },
        };
        self.answer(id, outcome.message());
        self.take_commands(id);
    }

    /// A request takes longer than its client wants to wait.
    pub(super) fn give_up(&mut self, request: RequestId) {
        let Some(waiting) = self.waiting.remove(&request) else {
            return;
        };
        let id = waiting.client;
        self.waiting.retain(|_, other| other.client != id);
        let reason = format!("{} takes longer than the timeout; it goes on", waiting.connection);
        let mut outcome = Outcome::refused(&reason);
        if let Some(diagnosis) = self.store.failure(&waiting.connection) {
            outcome.diagnosis = Some(diagnosis.clone());
        }
        self.answer(id, outcome.message());
        self.take_commands(id);
    }

    /// Something happened: told to the clients, logged, remembered for `status`.
    pub(super) fn report(&mut self, event: &IkeEvent, flows: &Flows) {
        let followed = self.clients.values().any(Client::follows);
        if followed {
            for event in events::vici(event, flows, clock::now()) {
                self.tell_all(&event);
            }
        }
        if let IkeEvent::Progress { connection: Some(connection), ike, step, elapsed } = event {
            self.elapsed.insert(connection.clone(), *elapsed);
            self.log_transport(connection, step);
            // Words for people are made when somebody reads them: there are five for each handshake.
            if (followed || enabled!(Level::DEBUG))
                && let Some(progress) = events::progress(event)
            {
                self.tell_progress(&progress, *ike);
            }
        }
        let mut took = Duration::ZERO;
        match event {
            IkeEvent::Failed(failure) => self.failed(failure),
            IkeEvent::ChildUp { ike, child } => took = self.child_up(ike, child),
            IkeEvent::IkeDown { info, reason } => {
                let text = format!("keys: the IKE SA is closed, {reason}");
                self.control_log(&connection_of(info), Some(info.id), &text);
            }
            IkeEvent::ChildDown { ike, child, reason } => {
                let text = format!("traffic: {} is closed, {reason}", child.name);
                self.control_log(&connection_of(ike), Some(ike.id), &text);
            }
            IkeEvent::IkeUp(_)
            | IkeEvent::IkeRekeyed { .. }
            | IkeEvent::ChildRekeyed { .. }
            | IkeEvent::Moved { .. }
            | IkeEvent::PeerMoved { .. }
            | IkeEvent::Progress { .. }
            | IkeEvent::Retry { .. } => {}
        }
        if (followed || enabled!(Level::INFO))
            && let Some(change) = events::change(event, took)
        {
            info!(connection = %change.tunnel, "{}", change.text);
            self.tell_all(&Event::AditEvent(Box::new(change)));
        }
    }

    /// Tells the last step of an attempt and returns how long the attempt took.
    fn child_up(&mut self, ike: &IkeSaInfo, child: &adit_ike::ChildSaInfo) -> Duration {
        let Some(connection) = &ike.connection else {
            return Duration::ZERO;
        };
        self.store.clear_failure(connection.as_str());
        let device = if Engine::of(child.spi_in) == Engine::Kernel {
            self.store.interface(connection).unwrap_or_else(|| "by the kernel".to_owned())
        } else {
            self.role.tun.clone()
        };
        let took = self.elapsed.remove(connection).unwrap_or_default();
        if child.protocol == ProtocolId::ESP
            && !child.encap.udp
            && (ike.nat_local || ike.nat_remote)
        {
            // Some NATs carry protocol 50 for one host behind them; so it is tried, as configured.
            warn!(%connection, "there is a NAT, and encap = \"esp\": its packets may not pass");
        }
        if !self.clients.values().any(Client::follows) && !enabled!(Level::DEBUG) {
            return took;
        }
        let step = Step::Installed {
            device,
            protocol: child.protocol.to_string(),
            udp: child.encap.udp && !child.encap.tcp,
            tcp: child.encap.tcp,
            routes: child.remote_ts.iter().map(ToString::to_string).collect(),
        };
        // Steps are told just before the child is.
        self.tell_progress(&Progress::new(connection.to_string(), took, step), Some(ike.id));
        took
    }

    fn failed(&mut self, failure: &Failure) {
        let Some(diagnosis) = self.diagnose(failure) else {
            return;
        };
        let tunnel = failure.connection.as_ref().map_or_else(String::new, ToString::to_string);
        warn!(connection = %tunnel, "{}", diagnosis.one_line());
        if let Some(says) = &failure.peer_says {
            info!(connection = %tunnel, "the peer says: {says}");
        }
        self.elapsed.remove(tunnel.as_str());
        self.store.set_failure(&tunnel, diagnosis.clone());
        let change = Change::Failed { diagnosis: Box::new(diagnosis) };
        self.tell_all(&Event::AditEvent(Box::new(TunnelEvent::new(tunnel, change))));
    }

    fn diagnose(&self, failure: &Failure) -> Option<Diagnosis> {
        let name = failure.connection.as_ref().map(|name| name.as_str());
        diagnose::failure(failure, &self.store.context(name), self.store.secret_note(name))
    }

    /// That a tunnel goes over TCP is worth a line also where steps are not.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other steps come with each handshake")]
    fn log_transport(&self, connection: &adit_db::ConnectionName, step: &adit_ike::Step) {
        match step {
            adit_ike::Step::FallingBack { reason } => {
                info!(%connection, "UDP gets no answer, trying TCP: {reason}");
            }
            adit_ike::Step::Reconnecting { problem } => {
                info!(%connection, "TCP: {problem}; connecting again");
            }
            _ => {}
        }
    }

    /// Steps go to whoever registered, and as control-log to the client whose command runs.
    fn tell_progress(&mut self, progress: &Progress, ike: Option<IkeSaId>) {
        debug!(connection = %progress.tunnel, "{}", progress.line().trim());
        let text = format!("{}: {}", progress.step.word(), progress.text);
        self.control_log(&progress.tunnel, ike, &text);
        self.tell_all(&Event::AditProgress(Box::new(progress.clone())));
    }

    /// Tells the clients whose commands concern a connection.
    fn control_log(&mut self, connection: &str, ike: Option<IkeSaId>, text: &str) {
        let waiting = self.waiting.values().filter(|waiting| waiting.connection == connection);
        let waiters: BTreeSet<ClientId> = waiting.map(|waiting| waiting.client).collect();
        for (_, client) in self.clients.iter_mut().filter(|(id, _)| waiters.contains(id)) {
            tell_lines(client, connection, ike, text);
        }
    }

    /// A problem of the host: told, and remembered for `status`.
    pub(super) fn problem(&mut self, problem: Diagnosis) {
        let tunnel = problem.tunnel.clone().unwrap_or_default();
        if tunnel.is_empty() {
            if self.problems.len() < PROBLEMS_MAX && !self.problems.contains(&problem) {
                self.problems.push(problem.clone());
            }
        } else {
            self.store.set_problem(&tunnel, problem.clone());
        }
        let change = Change::Failed { diagnosis: Box::new(problem) };
        self.tell_all(&Event::AditEvent(Box::new(TunnelEvent::new(tunnel, change))));
    }

    /// A line of the log.
    pub(super) fn log(&mut self, line: Line) {
        if self.clients.values().any(|client| client.listens(EventKind::Log)) {
            for line in log_lines(&line) {
                self.tell_all(&Event::Log(line));
            }
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Tells the client of a running command, line by line.
fn tell_lines(client: &mut Client, connection: &str, ike: Option<IkeSaId>, text: &str) {
    if client.log_level < CONTROL_LOG_LEVEL {
        return;
    }
    for line in text.lines() {
        client.tell(&Event::ControlLog(LogLine {
            group: "IKE".to_owned(),
            level: CONTROL_LOG_LEVEL,
            connection: Some(connection.to_owned()),
            ike_id: ike.map(|id| id.0),
            text: line.to_owned(),
            ..LogLine::default()
        }));
    }
}

/// What the running command's client sees unless it wants silence.
const CONTROL_LOG_LEVEL: i8 = 0;

/// Threads that work: the roles.
const WORKERS: usize = 5;

/// Whether `list-sas` with this selection shows an IKE SA.
fn shows(selection: &Selection, info: &IkeSaInfo) -> bool {
    let named = selection.connection.as_deref().is_none_or(|name| connection_of(info) == name);
    let numbered = selection.ike_id.is_none_or(|id| info.id == IkeSaId(id));
    let child = !selection.is_child() || info.children.iter().any(|child| fits(selection, child));
    named && numbered && child
}

fn fits(selection: &Selection, child: &adit_ike::ChildSaInfo) -> bool {
    selection.child.as_deref().is_none_or(|name| child.name.as_str() == name)
        && selection.child_id.is_none_or(|id| child.id == ChildSaId(id))
}

/// The child SAs a selection names.
fn children<'a>(
    selection: &'a Selection,
    sas: &'a [IkeSaInfo],
) -> impl Iterator<Item = (&'a IkeSaInfo, ChildSaId)> {
    sas.iter().filter(|info| shows(selection, info)).flat_map(|info| {
        info.children
            .iter()
            .filter(|child| fits(selection, child))
            .map(move |child| (info, child.id))
    })
}

fn connection_of(info: &IkeSaInfo) -> String {
    info.connection.as_ref().map_or_else(String::new, ToString::to_string)
}

/// What flowed, both directions together.
pub(super) fn flows(numbers: &Numbers) -> Flows {
    let mut flows = Flows::new();
    for counters in &numbers.inbound.sas {
        flows.entry(counters.child).or_default().add_inbound(counters);
    }
    for counters in &numbers.outbound.sas {
        flows.entry(counters.child).or_default().add_outbound(counters);
    }
    flows
}

/// The start of the daemon as charon writes it, `Nov 24 03:12:00 2026`.
fn since(uptime: Duration) -> String {
    let started = clock::unix_time().saturating_sub(uptime);
    crate::calendar::ctime(started)
}

/// Keeps the type in one place.
pub(super) fn age(at: Option<Instant>, now: Instant) -> Option<u64> {
    at.map(|at| snapshots::seconds_since(at, now))
}
