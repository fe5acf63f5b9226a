//! Commands of clients: what can be answered here is, the rest goes to the other roles.

use std::time::Instant;

use adit_db::{Action, ChildName, ConnectionName};
use adit_ike::{Command, RequestId};
use adit_mgmt::vici::answer::{Outcome, Version, names_message};
use adit_mgmt::vici::{
    Event, Initiate, Install, LoadPpk, LoadShared, LoadUser, LogLine, Message, PolicyFilter,
    Request, RequestError, Timeout,
};
use adit_sys::clock;
use adit_sys::process::system_name;
use adit_sys::wake::CommandSender;

use super::gathered::Gathered;
use super::{ClientId, Query, Running, Waiting};
use crate::calendar::iso;
use crate::message::{Asked, QueryId, ToIke, ToInbound, ToKernel, ToOutbound};
use crate::role::keys::{SharedPpk, SharedSecret, SharedUser, ToKeys};

impl Running {
    /// Carries out one command of a client.
    pub(super) fn command(&mut self, id: ClientId, name: &str, message: &Message) {
        let request = match Request::parse(name, message) {
            Ok(request) => request,
            Err(error) => return self.refuse(id, &error),
        };
        if let Some(answer) = request.ready_answer() {
            return self.answer(id, answer);
        }
        self.carry_out(id, request);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is about what is configured")]
    fn carry_out(&mut self, id: ClientId, request: Request) {
        match request {
            Request::Version => self.answer(id, version()),
            Request::AditEngine => self.ask_engine(id),
            Request::Initiate(initiate) => self.initiate(id, &initiate),
            Request::Install(install) => self.install(id, &install, true),
            Request::Uninstall(install) => self.install(id, &install, false),
            Request::ListConns { connection } => self.list_conns(id, connection.as_deref()),
            Request::ListCerts(filter) => self.list_certs(id, &filter),
            Request::ListPolicies(filter) => self.list_policies(id, &filter),
            Request::AditLog { tunnel, lines } => self.history(id, tunnel.as_deref(), lines),
            Request::GetCounters { .. } | Request::ResetCounters { .. } => {
                let outcome = Outcome::refused("message counters are not kept yet; see --list-sas");
                self.answer(id, outcome.message());
            }
            request @ (Request::Stats
            | Request::ListSas(_)
            | Request::GetPools(_)
            | Request::AditStatus { .. }
            | Request::AditSpd
            | Request::AditSad
            | Request::AditWhy { .. }
            | Request::AditWhyLifetime { .. }
            | Request::AditForgetPath { .. }
            | Request::Terminate(_)
            | Request::Rekey(_)
            | Request::Redirect(_)) => self.ask(id, request),
            request => self.configure(id, request),
        }
    }

    /// Commands about connections and secrets.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is answered before")]
    fn configure(&mut self, id: ClientId, request: Request) {
        let message = match request {
            Request::ReloadSettings => {
                let answer = self.reload_settings().message();
                return self.answer_when_applied(id, answer);
            }
            Request::AditReload { dry_run } => {
                let report = self.reload(dry_run);
                let answer = adit_mgmt::api::to_message(&report);
                if report.applied {
                    return self.answer_when_applied(id, answer);
                }
                answer
            }
            Request::GetConns => {
                let names = self.store.vici_names();
                names_message("conns", names.iter().map(String::as_str))
            }
            Request::LoadConn { name, section } => self.load_conn(&name, &section).message(),
            Request::UnloadConn { name } => self.unload_conn(&name).message(),
            Request::LoadShared(shared) => self.load_shared(shared).message(),
            Request::LoadPpk(ppk) => self.load_ppk(ppk).message(),
            Request::LoadUser(user) => self.load_user(user).message(),
            Request::LoadPool(pool) => self.load_pool(pool).message(),
            Request::UnloadPool { name } => self.unload_pool(&name).message(),
            Request::UnloadShared { id: secret } => {
                let known = self.store.forget_shared(&secret);
                self.to_keys(ToKeys::Unload(secret));
                let outcome =
                    if known { Outcome::ok() } else { Outcome::refused("no such secret") };
                outcome.message()
            }
            Request::GetShared => {
                let names = self.store.shared_names();
                names_message("keys", names.iter().map(String::as_str))
            }
            Request::LoadCert(loaded) => self.load_cert(loaded),
            Request::LoadKey(key) => self.load_key(key),
            Request::UnloadKey(fingerprint) => self.unload_key(fingerprint),
            Request::GetKeys => {
                let names = self.store.credentials.fingerprints();
                names_message("keys", names.iter().map(String::as_str))
            }
            Request::ClearCreds => {
                self.store.forget_all_shared();
                self.store.credentials.clear();
                self.to_keys(ToKeys::Clear);
                Outcome::ok().message()
            }
            _ => return self.refuse(id, &RequestError::UnknownCommand),
        };
        self.answer(id, message);
    }

    fn reload_settings(&mut self) -> Outcome {
        let report = self.reload(false);
        if !report.has_errors() {
            return Outcome::ok();
        }
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        Outcome::refused(&problems.join("; "))
    }

    /// Answers a client's running command.
    pub(super) fn answer(&mut self, id: ClientId, message: Message) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.answer(message);
        }
    }

    fn refuse(&mut self, id: ClientId, error: &RequestError) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.busy = false;
            client.send(&error.packet());
        }
    }

    /// Asks the other roles for their numbers; the answer is made when all have come.
    fn ask(&mut self, id: ClientId, request: Request) {
        let query = QueryId(self.number());
        let links = &self.role.links;
        let packet = if let Request::AditWhy { flow, dscp, interface } = &request {
            Some(Asked { flow: *flow, dscp: *dscp, interface: interface.clone() })
        } else {
            None
        };
        let first = if let Request::Stats = request {
            // Two numbers of the ike role are the whole answer.
            let asked = send(&links.ike, ToIke::Count(query));
            return self.note(id, query, request, asked);
        } else if needs_policies(&request) {
            send(&links.ike, ToIke::Policies(query, packet))
        } else {
            links.outbound.try_send_each(|| ToOutbound::Report(query, None))
        };
        let asked = first
            && send(&links.ike, ToIke::Snapshot(query))
            && links.inbound.try_send_each(|| ToInbound::Report(query))
            && send(&links.kernel, ToKernel::Report(query));
        self.note(id, query, request, asked);
    }

    /// Notes who waits for the answer to a question, if it could be asked.
    fn note(&mut self, id: ClientId, query: QueryId, request: Request, asked: bool) {
        if !asked {
            return self.answer(id, Outcome::refused(BUSY).message());
        }
        let parts = Query {
            client: id,
            request,
            sas: None,
            outbound: Gathered::new(self.role.links.outbound.count()),
            inbound: Gathered::new(self.role.links.inbound.count()),
            kernel: None,
            policies: None,
        };
        self.queries.insert(query, parts);
    }

    fn initiate(&mut self, id: ClientId, initiate: &Initiate) {
        let found = self.store.find(initiate.connection.as_deref(), initiate.child.as_deref());
        let (connection, child) = match found {
            Ok(found) => found,
            Err(reason) => return self.answer(id, Outcome::refused(&reason).message()),
        };
        let request = RequestId(self.number());
        let name = connection.to_string();
        let command = Command::Initiate { connection, child, request };
        self.begin(id, command, request, &name, (initiate.timeout, initiate.log_level));
    }

    /// Hands a command to the ike role and notes who waits for its end.
    pub(super) fn begin(
        &mut self,
        id: ClientId,
        command: Command,
        request: RequestId,
        connection: &str,
        (timeout, log_level): (Timeout, i8),
    ) {
        // Many clients may ask at the same time: `run` wakes the ike role for all of them.
        if self.role.links.ike.try_push(ToIke::Command(command)).is_err() {
            return self.answer(id, Outcome::refused(BUSY).message());
        }
        if timeout == Timeout::Immediately {
            return self.answer(id, Outcome::ok().message());
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.log_level = log_level;
        }
        let deadline = deadline(timeout, clock::now());
        let waiting =
            Waiting { client: id, connection: connection.to_owned(), deadline, matches: None };
        self.waiting.insert(request, waiting);
    }

    fn install(&mut self, id: ClientId, install: &Install, on: bool) {
        let found = self.store.find(install.connection.as_deref(), Some(&install.child));
        let outcome = match found {
            Ok((connection, Some(child))) => match self.store.install(&connection, &child, on) {
                Ok(()) => {
                    let message = ToIke::Install { connection, child, install: on };
                    let sent = send(&self.role.links.ike, message);
                    if sent { Outcome::ok() } else { Outcome::refused(BUSY) }
                }
                Err(reason) => Outcome::refused(&reason),
            },
            Ok((_, None)) => Outcome::refused("install needs a child"),
            Err(reason) => Outcome::refused(&reason),
        };
        self.answer(id, outcome.message());
    }

    fn list_conns(&mut self, id: ClientId, only: Option<&str>) {
        let connections = self.store.connections(only);
        if let Some(client) = self.clients.get_mut(&id) {
            for connection in connections {
                client.tell(&Event::ListConn(connection));
            }
            client.answer(Message::new());
        }
    }

    fn list_policies(&mut self, id: ClientId, filter: &PolicyFilter) {
        let mut policies = Vec::new();
        if filter.drop {
            policies.extend(self.store.shunts(Action::Discard));
        }
        if filter.pass {
            policies.extend(self.store.shunts(Action::Bypass));
        }
        if filter.trap {
            policies.extend(self.store.traps());
        }
        let wanted = |text: &Option<String>, name: &str| text.as_deref().is_none_or(|t| t == name);
        if let Some(client) = self.clients.get_mut(&id) {
            for policy in policies {
                if wanted(&filter.connection, &policy.connection)
                    && wanted(&filter.child, &policy.child)
                {
                    client.tell(&Event::ListPolicy(policy));
                }
            }
            client.answer(Message::new());
        }
    }

    fn load_shared(&mut self, shared: LoadShared) -> Outcome {
        let number = self.number();
        let name = shared.id.unwrap_or_else(|| format!("unnamed-{number}"));
        self.store.remember_shared(&name);
        self.to_keys(ToKeys::Load(SharedSecret {
            id: name,
            owners: shared.owners,
            secret: shared.secret,
        }));
        Outcome::ok()
    }

    fn load_ppk(&mut self, ppk: LoadPpk) -> Outcome {
        let number = self.number();
        let id = ppk.id.unwrap_or_else(|| format!("unnamed-{number}"));
        self.store.remember_shared(&id);
        self.to_keys(ToKeys::LoadPpk(SharedPpk { id, names: ppk.names, secret: ppk.secret }));
        Outcome::ok()
    }

    fn load_user(&mut self, user: LoadUser) -> Outcome {
        let number = self.number();
        let id = user.id.unwrap_or_else(|| format!("unnamed-{number}"));
        self.store.remember_shared(&id);
        let LoadUser { names, password, .. } = user;
        self.to_keys(ToKeys::LoadUser(SharedUser { id, names, password }));
        Outcome::ok()
    }

    fn history(&mut self, id: ClientId, tunnel: Option<&str>, lines: Option<u32>) {
        let fits = |line: &&crate::log::Line| {
            tunnel.is_none_or(|tunnel| line.connection.as_deref() == Some(tunnel))
        };
        let most = lines.map_or(usize::MAX, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
        let all: Vec<&crate::log::Line> = self.lines.iter().filter(fits).collect();
        let skip = all.len().saturating_sub(most);
        let chosen: Vec<LogLine> = all.into_iter().skip(skip).flat_map(log_lines).collect();
        if let Some(client) = self.clients.get_mut(&id) {
            for line in chosen {
                client.tell(&Event::Log(line));
            }
            client.answer(Message::new());
        }
    }

    pub(super) fn to_keys(&self, message: ToKeys) {
        // The keys role is gone only when the daemon stops.
        let _ = self.role.links.keys.send(message);
    }
}

/// Whether the answer to a question names policies.
pub(super) fn needs_policies(request: &Request) -> bool {
    matches!(request, Request::AditSpd | Request::AditWhy { .. })
}

/// The ike role has no room for another command.
pub(super) const BUSY: &str = "the daemon is overloaded; try again";

/// Sends without waiting: the control role never waits for the others.
pub(super) fn send<T>(to: &CommandSender<T>, message: T) -> bool {
    to.try_send(message).is_ok()
}

/// When a client stops waiting.
pub(super) fn deadline(timeout: Timeout, now: Instant) -> Option<Instant> {
    match timeout {
        Timeout::Forever | Timeout::Immediately => None,
        Timeout::After(duration) => now.checked_add(duration),
    }
}

/// What was written to the log at once, as VICI: one event for each line of it, as swanctl shows
/// nothing of a text with line feeds.
pub(super) fn log_lines(line: &crate::log::Line) -> Vec<LogLine> {
    let texts = line.text.lines().filter(|text| !text.trim().is_empty());
    texts.map(|text| LogLine { text: text.to_owned(), ..log_line(line) }).collect()
}

/// Everything but the text.
fn log_line(line: &crate::log::Line) -> LogLine {
    let level = match line.level {
        tracing::Level::ERROR | tracing::Level::WARN => 0,
        tracing::Level::INFO => 1,
        tracing::Level::DEBUG => 2,
        tracing::Level::TRACE => 3,
    };
    LogLine {
        group: group(line.target).to_owned(),
        level,
        thread: line.thread,
        connection: line.connection.clone(),
        time: Some(iso(line.at)),
        ..LogLine::default()
    }
}

/// The part of the program in strongSwan's three letters.
fn group(target: &str) -> &'static str {
    match target.split("::").next().unwrap_or_default() {
        "adit_ike" => "IKE",
        "adit_dataplane" => "ESP",
        "adit_sys" => "KNL",
        "adit_mgmt" => "CFG",
        _ if target.contains("control") => "CFG",
        _ => "DMN",
    }
}

fn version() -> Message {
    let (sysname, release, machine) = system_name();
    Version {
        daemon: "aditd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sysname,
        release,
        machine,
    }
    .message()
}

/// A connection and, if one was asked for, a child of it.
pub(super) type Found = (ConnectionName, Option<ChildName>);
