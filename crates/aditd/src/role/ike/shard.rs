//! A shard of the ike role: a thread with an IKE endpoint of its own. It computes and sends; what has
//! to do with policies, routes and people is for the ike role, in the order in which it comes.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use adit_crypto::BufferedRng;
use adit_ike::{Command, Endpoint, EndpointConfig, Output, Shard};
use adit_sys::wake::{CommandReceiver, Interest, Next, wait_for};
use adit_sys::{BatchIo, clock};
use adit_wire::PacketBuf;
use tracing::error;

use super::{TOGETHER, buffers};
use crate::message::{Input, Links, ShardAnswer, ToIke, ToParent, ToShard};
use crate::role::ike_sockets::{IkeSockets, Letter};
use crate::role::keys::ToKeys;

/// What a shard beside the first needs.
pub(crate) struct ShardRole {
    /// UDP 500 and UDP 4500, to send.
    pub(crate) sockets: IkeSockets,
    /// The other roles.
    pub(crate) links: Links,
    /// Settings of all shards.
    pub(crate) config: EndpointConfig,
    /// Which one it is.
    pub(crate) shard: Shard,
}

impl ShardRole {
    /// Runs until it is told to stop and every peer of its has been told.
    pub(crate) fn run(self, requests: &CommandReceiver<ToShard>) {
        let Self { sockets, links, config, shard } = self;
        let number = shard.number();
        let endpoint = Endpoint::of_shard(config, shard);
        let mut running = Running {
            sockets,
            links,
            number,
            endpoint,
            rng: BufferedRng::default(),
            inside: Arc::default(),
            letters: Vec::with_capacity(TOGETHER),
            packets: buffers(TOGETHER),
            batch: BatchIo::new(0),
            outputs: Vec::new(),
            behind: VecDeque::new(),
            stopping: false,
        };
        if let Err(error) = running.run(requests) {
            error!(%error, "a shard of the ike role cannot wait");
            let _ = running.links.parent.send(ToParent::Failed("ike"));
        }
    }
}

/// Requests taken between two looks at the timers.
const BATCH: usize = 32;
/// Messages that the ike role may be behind with before datagrams are dropped.
const BEHIND_MAX: usize = 4_096;
/// An ike role that has no room is asked again then.
const AGAIN: Duration = Duration::from_millis(1);

struct Running {
    sockets: IkeSockets,
    links: Links,
    number: u16,
    endpoint: Endpoint,
    rng: BufferedRng,
    /// Peers that are behind tunnels.
    inside: Arc<BTreeSet<IpAddr>>,
    /// For peers, with the next [`Self::ring`].
    letters: Vec<Letter>,
    /// Room for these.
    packets: Vec<PacketBuf>,
    batch: BatchIo,
    /// For the ike role, with the next [`Self::ring`].
    outputs: Vec<Output>,
    /// What the ike role had no room for, with what came after it.
    behind: VecDeque<ToIke>,
    stopping: bool,
}

impl Running {
    fn run(&mut self, requests: &CommandReceiver<ToShard>) -> std::io::Result<()> {
        while !(self.stopping && self.endpoint.is_idle() && self.behind.is_empty()) {
            let now = clock::now();
            let lacks_key_shares = self.endpoint.lacks_key_shares();
            let timeout = self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(now));
            let again = (!self.behind.is_empty()).then_some(AGAIN);
            let idle = lacks_key_shares.then_some(Duration::ZERO);
            let timeout = timeout.into_iter().chain(again).chain(idle).min();
            let is_asked = wait_for(requests, Interest::Readable, timeout)?;
            if lacks_key_shares && !is_asked {
                self.endpoint.prepare_key_share(&mut self.rng);
            }
            if !self.take_requests(requests) {
                return Ok(());
            }
            self.go_on();
        }
        let _ = self.links.ike.send(ToIke::ShardStopped(self.number));
        Ok(())
    }

    /// Takes some requests: whoever floods this shard must not stop its timers. False if all who could
    /// ask are gone.
    fn take_requests(&mut self, requests: &CommandReceiver<ToShard>) -> bool {
        for _ in 0..BATCH {
            match requests.next() {
                Next::Command(request) => self.handle(request, clock::now()),
                Next::Empty => return true,
                Next::Closed => return false,
            }
        }
        true
    }

    /// Does what is due, and tells what has come of it and of the last requests.
    fn go_on(&mut self) {
        self.endpoint.handle_timeout(clock::now(), &mut self.rng);
        self.drain();
        self.ring();
    }

    fn handle(&mut self, request: ToShard, now: Instant) {
        match request {
            ToShard::Input(Input::Datagram { .. }) if self.behind.len() >= BEHIND_MAX => {
                self.links.shards.drop_one();
            }
            ToShard::Input(input) => {
                self.stopping |= matches!(input, Input::Command(Command::Shutdown));
                input.give(&mut self.endpoint, now, &mut self.rng);
                self.drain();
            }
            ToShard::Inside(peers) => self.inside = peers,
            ToShard::Snapshot(query) => {
                let sas = self.endpoint.ike_sas().collect();
                let connections = self.endpoint.connections().collect();
                self.answer(ToIke::Answer(
                    query,
                    self.number,
                    ShardAnswer::Snapshot { sas, connections },
                ));
            }
            ToShard::Count(query) => {
                let counts = ShardAnswer::Counts(self.endpoint.ike_sa_counts());
                self.answer(ToIke::Answer(query, self.number, counts));
            }
            ToShard::Many(requests) => {
                for (number, request) in (1..).zip(requests) {
                    self.links.shards.take_off(self.number, 1);
                    self.handle(request, clock::now());
                    if number % BATCH == 0 {
                        self.go_on();
                    } else if number % TOGETHER == 0 {
                        self.post();
                    }
                }
            }
        }
    }

    /// What happened before is told before.
    fn answer(&mut self, answer: ToIke) {
        self.wrap_up();
        self.behind.push_back(answer);
    }

    /// Puts by what may go at once. What comes with a change of child SAs waits for it with the ike role:
    /// the peer may use them as soon as it has our message.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the ike role does the rest")]
    fn drain(&mut self) {
        let mut behind = false;
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } if !behind => {
                    let inside = self.inside.contains(&path.remote.ip());
                    self.letters.push(Letter { path, octets, inside });
                    if self.letters.len() >= TOGETHER {
                        self.post();
                    }
                }
                Output::Keepalive(path) if !behind => {
                    self.sockets.keep_alive(path, self.inside.contains(&path.remote.ip()));
                }
                Output::HangUp(path) if !behind => {
                    self.post();
                    self.sockets.hang_up(path);
                }
                Output::Auth(job) => {
                    let _ = self.links.keys.push(ToKeys::Auth(job));
                }
                Output::Ppk(job) => {
                    let _ = self.links.keys.push(ToKeys::Ppk(job));
                }
                output => {
                    behind |= changes_children(&output);
                    self.outputs.push(output);
                }
            }
        }
    }

    fn post(&mut self) {
        self.sockets.transmit_all(&self.letters, &mut self.packets, &mut self.batch);
        self.letters.clear();
    }

    fn wrap_up(&mut self) {
        if !self.outputs.is_empty() {
            let outputs = std::mem::take(&mut self.outputs);
            self.behind.push_back(ToIke::Outputs(self.number, outputs));
        }
    }

    /// Sends and hands on what was put by, and wakes whom it concerns. Never waits for the ike role, which may be
    /// waiting for the keys role, and that for this one.
    fn ring(&mut self) {
        self.post();
        self.wrap_up();
        while let Some(message) = self.behind.pop_front() {
            if let Err(TrySendError::Full(message)) = self.links.ike.try_send(message) {
                self.behind.push_front(message);
                break;
            }
        }
        self.links.keys.ring();
    }
}

fn changes_children(output: &Output) -> bool {
    match output {
        Output::InstallChild { .. }
        | Output::ActivateOutbound(_)
        | Output::RemoveChild { .. }
        | Output::UpdatePeer { .. }
        | Output::SkipSequence { .. }
        | Output::Notice { .. } => true,
        Output::Transmit { .. }
        | Output::Keepalive(_)
        | Output::HangUp(_)
        | Output::Auth(_)
        | Output::Ppk(_)
        | Output::Resolve { .. }
        | Output::Event(_)
        | Output::Done { .. }
        | Output::Keys(_)
        | Output::Tidings(_) => false,
    }
}
