//! What lies between phase 1 and quick modes: XAUTH and Mode-Config, in the order in which both sides
//! need them. Until it is through there is no quick mode, and the IKE SA counts as one on its way.
//!
//! ```text
//! server: AskingUser -> Checking -> Telling ------> [Pushing] ------------------> Open
//! user:   AwaitingQuestion -> Fetching -> AwaitingVerdict -> [AskingAddress] ----> Open
//! ```
//!
//! What is in brackets a connection without addresses leaves out, and without users the rest. A server of
//! which the client asks its address is open before: the client may ask, or go on with the address that
//! it had.

use std::net::IpAddr;
use std::time::Instant;

use adit_crypto::{Prf, Secret};
use adit_db::{AuthSpec, ClientSettings, ConfigMode, Identity, UserAuth};
use adit_wire::iana::isakmp::ConfigurationType;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::isakmp::{Attributes, Header};
use ipnet::IpNet;

use crate::Announced;
use crate::command::{AuthResult, JobId};
use crate::context::Context;
use crate::event::AccessInfo;
use crate::failure::{By, FailureReason};
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::pools::{Client, Wanted};

use super::core::Core;
use super::mode_config;
use super::transaction::{News, Transactions};
use super::xauth::{self, Question, TRIES_MAX};

/// What an IKE SA has of remote access.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Who the peer's user is, proven.
    pub(crate) user: Option<String>,
    /// What the peer has given us.
    pub(crate) given: Option<Box<ClientSettings>>,
    /// The peer's addresses inside, which it has from us.
    pub(crate) leases: Vec<IpAddr>,
}

/// XAUTH and Mode-Config of one phase 1.
#[derive(Debug)]
pub(crate) struct TransactionPhase {
    transactions: Transactions,
    stage: Stage,
    /// When it has to be through.
    deadline: Instant,
    tries: u8,
    /// Server: the user was wrong.
    was_wrong: bool,
}

#[derive(Debug)]
enum Stage {
    /// Server: the user is asked.
    AskingUser,
    /// Server: whoever knows the users checks the password.
    Checking { job: JobId, user: String },
    /// Server: the verdict is out.
    Telling { is_right: bool },
    /// Server: the address is.
    Pushing,
    /// User: the server is to ask.
    AwaitingQuestion,
    /// User: whoever has the password is asked.
    Fetching { job: JobId, question: Question },
    /// User: the answer is out.
    AwaitingVerdict,
    /// Client: the address is asked for.
    AskingAddress,
    /// Client: the server is to give it.
    AwaitingAddress,
    /// All is settled.
    Open,
}

/// What an input comes to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing new.
    Stay,
    /// All is settled: quick modes may come.
    Opened,
    /// There will be no quick mode.
    Failed(FailureReason),
}

type StepResult = Result<Progress, FailureReason>;

#[expect(clippy::wildcard_enum_match_arm, reason = "in any other stage that means nothing")]
impl TransactionPhase {
    /// Phase 1 is complete.
    pub(crate) fn start(core: &mut Core, cx: &mut Context<'_>) -> (Self, Progress) {
        let mut phase = Self {
            transactions: Transactions::default(),
            stage: Stage::AwaitingQuestion,
            deadline: cx.now + cx.config.connecting.total() + cx.config.half_open_timeout,
            tries: 0,
            was_wrong: false,
        };
        let result = match core.connection.remote_access.user.clone() {
            UserAuth::None => phase.configure(core, cx),
            UserAuth::Ours { .. } => Ok(Progress::Stay),
            UserAuth::Peers { message } => phase.ask_user(message.as_deref(), core, cx),
        };
        let progress = result.unwrap_or_else(Progress::Failed);
        (phase, progress)
    }

    /// Whether quick modes may come.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    // ---- Server ----

    fn ask_user(&mut self, message: Option<&str>, core: &Core, cx: &mut Context<'_>) -> StepResult {
        self.tries = self.tries.saturating_add(1);
        self.stage = Stage::AskingUser;
        let question = xauth::question(message);
        self.transactions.ask(ConfigurationType::REQUEST, question, core, cx)?;
        Ok(Progress::Stay)
    }

    /// The user's answer: whoever knows the users is asked.
    fn check(&mut self, reply: &Attributes<'_>, core: &Core, cx: &mut Context<'_>) -> StepResult {
        let Some(said) = xauth::credentials(reply) else {
            // Who declines has nothing else to say when asked again.
            if xauth::status(reply).is_some() {
                self.tries = TRIES_MAX;
            }
            return self.judge(false, core, cx);
        };
        let kind = AuthJobKind::CheckPassword { user: said.user.clone(), password: said.password };
        let job = ask_keys(kind, core, cx);
        self.stage = Stage::Checking { job, user: said.user };
        Ok(Progress::Stay)
    }

    /// Tells the user, who may try again a few times.
    fn judge(&mut self, is_right: bool, core: &Core, cx: &mut Context<'_>) -> StepResult {
        self.was_wrong |= !is_right;
        if !is_right && self.tries < TRIES_MAX {
            return self.ask_user(Some(WRONG), core, cx);
        }
        self.stage = Stage::Telling { is_right };
        let verdict = xauth::verdict(is_right);
        self.transactions.ask(ConfigurationType::SET, verdict, core, cx)?;
        Ok(Progress::Stay)
    }

    /// The verdict has arrived.
    fn told(&mut self, is_right: bool, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        match is_right {
            true => self.configure(core, cx),
            false => Err(FailureReason::UserRefused { by: By::Us, user: None }),
        }
    }

    /// Gives the peer an address, or as few as there are.
    fn lease(&self, asked: &[(bool, Option<IpAddr>)], core: &mut Core, cx: &mut Context<'_>) {
        let Some(server) = core.connection.remote_access.server.clone() else { return };
        let Some(client) = client_of(core) else { return };
        for (is_v6, address) in asked {
            let device = core.remote_id.as_ref().map(ToString::to_string).unwrap_or_default();
            let wanted = Wanted {
                client: client.clone(),
                device: &device,
                pool: &server.pool,
                is_v6: *is_v6,
                address: *address,
                holder: core.id,
            };
            let Some(address) = cx.out.pools.lease(&wanted) else { continue };
            core.access.leases.retain(|one| one.is_ipv6() != *is_v6);
            core.access.leases.push(address);
        }
    }

    /// Answers a client that asks.
    fn answer_request(
        &mut self,
        request: &Attributes<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        self.lease(&mode_config::asked_addresses(request), core, cx);
        let reply = mode_config::reply(request, &settings_for(core));
        self.transactions.answer(reply, core, cx)?;
        Ok(Progress::Stay)
    }

    // ---- User and client ----

    /// The server asks who the user is.
    fn answer_question(
        &mut self,
        question: Question,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let UserAuth::Ours { name } = &core.connection.remote_access.user else {
            return Ok(Progress::Stay);
        };
        let name = name.clone();
        if question.is_strange {
            self.transactions.answer(xauth::decline(), core, cx)?;
            return Err(FailureReason::UserRefused { by: By::Us, user: Some(name) });
        }
        if !question.asks_password() {
            let answer = question.answer(&name, &Secret::default());
            self.transactions.answer(answer, core, cx)?;
            return Ok(Progress::Stay);
        }
        // Who asks again after an answer does not believe it, and there is no other.
        self.tries = self.tries.saturating_add(1);
        if self.tries > 1 {
            self.transactions.answer(xauth::decline(), core, cx)?;
            return Err(FailureReason::UserRefused { by: By::Peer, user: Some(name) });
        }
        let job = ask_keys(AuthJobKind::Password { user: name }, core, cx);
        self.stage = Stage::Fetching { job, question };
        Ok(Progress::Stay)
    }

    /// The server's verdict on the user.
    fn take_verdict(
        &mut self,
        set: &Attributes<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(is_right) = xauth::status(set) else { return Ok(Progress::Stay) };
        self.transactions.answer(xauth::acknowledgement(set), core, cx)?;
        if is_right {
            return self.configure(core, cx);
        }
        let user = match &core.connection.remote_access.user {
            UserAuth::Ours { name } => Some(name.clone()),
            UserAuth::None | UserAuth::Peers { .. } => None,
        };
        Err(FailureReason::UserRefused { by: By::Peer, user })
    }

    /// What the server has given.
    fn take_settings(&mut self, said: &Attributes<'_>, core: &mut Core) -> StepResult {
        let settings = mode_config::read(said);
        if settings.addresses.is_empty() {
            return Err(FailureReason::NoInnerAddress);
        }
        core.access.given = Some(Box::new(settings));
        self.stage = Stage::Open;
        Ok(Progress::Opened)
    }

    // ---- Both ----

    /// Users have been settled: addresses are next.
    fn configure(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let access = core.connection.remote_access.clone();
        if let Some(client) = access.client {
            if client.mode == ConfigMode::Push {
                self.stage = Stage::AwaitingAddress;
                return Ok(Progress::Stay);
            }
            self.stage = Stage::AskingAddress;
            let request = mode_config::request(&[]);
            self.transactions.ask(ConfigurationType::REQUEST, request, core, cx)?;
            return Ok(Progress::Stay);
        }
        if let Some(server) = access.server {
            if server.mode == ConfigMode::Push {
                let families = [false, true].map(|is_v6| (is_v6, None));
                self.lease(&families, core, cx);
                self.stage = Stage::Pushing;
                let set = mode_config::set(&settings_for(core));
                self.transactions.ask(ConfigurationType::SET, set, core, cx)?;
                return Ok(Progress::Stay);
            }
            // It may go on with what it had without a word.
            if let Some(client) = client_of(core) {
                let device = core.remote_id.as_ref().map(ToString::to_string).unwrap_or_default();
                let had = |is_v6| cx.out.pools.of(&client, &device, is_v6).first().copied();
                let had = [false, true].map(|is_v6| (is_v6, had(is_v6)));
                let had: Vec<_> = had.into_iter().filter(|(_, had)| had.is_some()).collect();
                self.lease(&had, core, cx);
            }
        }
        self.stage = Stage::Open;
        Ok(Progress::Opened)
    }

    // ---- Inputs ----

    /// Takes a message of a Transaction exchange, and says whether it was authentic and new.
    pub(crate) fn handle_message(
        &mut self,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> (bool, Progress) {
        let Some(news) = self.transactions.handle_message(header, octets, core, cx) else {
            return (false, Progress::Stay);
        };
        let result = match news {
            News::Request(request) => self.handle_request(&request, core, cx),
            News::Set(set) => self.handle_set(&set, core, cx),
            News::Reply(reply) => match self.stage {
                Stage::AskingUser => self.check(&reply, core, cx),
                Stage::AskingAddress => self.take_settings(&reply, core),
                _ => Ok(Progress::Stay),
            },
            News::Ack => match self.stage {
                Stage::Telling { is_right } => self.told(is_right, core, cx),
                Stage::Pushing => self.open(),
                _ => Ok(Progress::Stay),
            },
        };
        (true, result.unwrap_or_else(Progress::Failed))
    }

    fn handle_request(
        &mut self,
        request: &Attributes<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if xauth::is_xauth(request) {
            return match self.stage {
                Stage::AwaitingQuestion | Stage::AwaitingVerdict => {
                    self.answer_question(Question::read(request), core, cx)
                }
                _ => Ok(Progress::Stay),
            };
        }
        if core.connection.remote_access.server.is_none() {
            return Ok(Progress::Stay);
        }
        match self.stage {
            // Who asks has heard what came before, and takes the answer for what is pushed.
            Stage::Telling { is_right: true } | Stage::Pushing => {
                self.transactions.forget_question();
                self.answer_request(request, core, cx)?;
                self.open()
            }
            Stage::Open => self.answer_request(request, core, cx),
            _ => Ok(Progress::Stay),
        }
    }

    fn handle_set(
        &mut self,
        set: &Attributes<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if xauth::is_xauth(set) {
            return match self.stage {
                Stage::AwaitingQuestion | Stage::AwaitingVerdict => {
                    self.take_verdict(set, core, cx)
                }
                _ => Ok(Progress::Stay),
            };
        }
        if core.connection.remote_access.client.is_none() {
            return Ok(Progress::Stay);
        }
        let acknowledgement = mode_config::acknowledgement(set);
        match self.stage {
            // A server that gives unasked has no ear for who asks.
            Stage::AskingAddress | Stage::AwaitingAddress => {
                self.transactions.answer(acknowledgement, core, cx)?;
                if mode_config::read(set).addresses.is_empty() {
                    return Ok(Progress::Stay);
                }
                self.transactions.forget_question();
                self.take_settings(set, core)
            }
            // What is said later changes nothing that quick modes rest on.
            Stage::Open => {
                self.transactions.answer(acknowledgement, core, cx)?;
                Ok(Progress::Stay)
            }
            _ => Ok(Progress::Stay),
        }
    }

    fn open(&mut self) -> StepResult {
        self.stage = Stage::Open;
        Ok(Progress::Opened)
    }

    /// Why the peer gives up, if that is to be seen.
    pub(crate) fn blame(&self) -> Option<FailureReason> {
        let refused = FailureReason::UserRefused { by: By::Us, user: None };
        (self.was_wrong && !self.is_open()).then_some(refused)
    }

    /// The id of the peer's last question, which is not to be used again.
    pub(crate) fn last_id(&self) -> Option<u32> {
        self.transactions.last_id()
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Progress {
        let step = match (&self.stage, result) {
            (Stage::Checking { job: own, user }, result) if *own == job => {
                let is_right = result == AuthResult::Verified;
                core.access.user = is_right.then(|| user.clone());
                self.judge(is_right, core, cx)
            }
            (Stage::Fetching { job: own, question }, AuthResult::Derived(password))
                if *own == job =>
            {
                let name = match &core.connection.remote_access.user {
                    UserAuth::Ours { name } => name.as_str(),
                    UserAuth::None | UserAuth::Peers { .. } => "",
                };
                let answer = question.answer(name, &password.0);
                self.stage = Stage::AwaitingVerdict;
                self.transactions.answer(answer, core, cx).map(|()| Progress::Stay)
            }
            (Stage::Fetching { job: own, .. }, _) if *own == job => {
                let (local, remote) = (core.own_id(), core.expected_id());
                Err(FailureReason::NoSecret { local, remote })
            }
            _ => Ok(Progress::Stay),
        };
        step.unwrap_or_else(Progress::Failed)
    }

    pub(crate) fn handle_timeout(&mut self, core: &Core, cx: &mut Context<'_>) -> Progress {
        if let Some(reason) = self.transactions.handle_timeout(core, cx) {
            return match self.stage {
                Stage::Telling { is_right: false } => {
                    Progress::Failed(FailureReason::UserRefused { by: By::Us, user: None })
                }
                Stage::Open => Progress::Stay,
                _ => Progress::Failed(reason),
            };
        }
        if !self.is_open() && cx.now >= self.deadline {
            return Progress::Failed(FailureReason::HandshakeTimeout {
                waited: core.elapsed(cx.now),
            });
        }
        Progress::Stay
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = (!self.is_open()).then_some(self.deadline);
        [self.transactions.poll_timeout(), deadline].into_iter().flatten().min()
    }
}

impl Access {
    /// What people may know of it; `None` if there is nothing.
    pub(crate) fn info(&self) -> Option<Box<AccessInfo>> {
        let Self { user, given, leases } = self;
        let given = given.as_deref().cloned();
        let info = AccessInfo { user: user.clone(), given, leases: leases.clone() };
        (info != AccessInfo::default()).then(|| Box::new(info))
    }

    /// Whether the peer has given us no address that speaks with this one.
    pub(crate) fn lacks(&self, other: Option<IpAddr>) -> bool {
        self.given.as_ref().is_some_and(|given| given.address_for(other).is_none())
    }

    /// Our address inside, of the family of what it speaks with; the outer one if there is none of its own.
    pub(crate) fn own(&self, other: Option<IpAddr>, outer: IpAddr) -> IpAddr {
        self.given.as_ref().and_then(|given| given.address_for(other)).unwrap_or(outer)
    }

    /// What of a network of the peer's goes through the tunnel, if the peer has said which networks do;
    /// nothing if that is all of it.
    pub(crate) fn split_within(&self, remote: TrafficSelector) -> Vec<TrafficSelector> {
        let split = self.given.as_ref().map(|given| given.split.as_slice()).unwrap_or_default();
        let network =
            |net: &IpNet| TrafficSelector { start: net.network(), end: net.broadcast(), ..remote };
        split.iter().map(network).filter(|net| net.is_subset_of(&remote)).collect()
    }

    /// The peer's, likewise. A peer that has one from us has no other: without it, none.
    pub(crate) fn peers(&self, other: Option<IpAddr>, core: &Core) -> IpAddr {
        if core.connection.remote_access.server.is_none() {
            return core.path.remote.ip();
        }
        let of_family = |one: &&IpAddr| other.is_none_or(|it| it.is_ipv4() == one.is_ipv4());
        let lease = self.leases.iter().find(of_family);
        lease.copied().unwrap_or(NOBODY)
    }
}

/// An address that no packet has.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// What a user who was wrong is shown.
const WRONG: &str = "Wrong name or password";

/// Whose address it is: the user's, else that of the device.
fn client_of(core: &Core) -> Option<Client> {
    let name = match (&core.access.user, &core.remote_id) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(id)) => format!("id {id}"),
        (None, None) => return None,
    };
    Some(Client { connection: core.connection_name().to_string(), name })
}

/// What the peer is told, its addresses included.
fn settings_for(core: &Core) -> ClientSettings {
    let settings = core.connection.remote_access.server.as_ref();
    let settings = settings.map(|server| server.settings.clone()).unwrap_or_default();
    ClientSettings { addresses: core.access.leases.clone(), ..settings }
}

/// Asks whoever has our secrets.
fn ask_keys(kind: AuthJobKind, core: &Core, cx: &mut Context<'_>) -> JobId {
    let job = cx.out.next_job();
    cx.out.begin_auth(job, core.id);
    let remote_id: Option<Identity> = core.remote_id.clone();
    cx.out.push(Output::Auth(AuthJob {
        job,
        kind,
        connection: core.connection_name().clone(),
        round: 0,
        local_id: core.own_id(),
        remote_id: remote_id.unwrap_or_else(|| core.expected_id()),
        prf: Prf::HmacSha2_256,
        octets: Secret::default(),
        local_auth: AuthSpec::Psk,
        remote_auth: AuthSpec::Psk,
        announced: Announced::default(),
    }));
    job
}
