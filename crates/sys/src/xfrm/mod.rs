//! The kernel's IPsec (XFRM): its SAs and policies over netlink, for tunnels whose packets the
//! kernel protects.
//!
//! RFC 4301 §4.4 in the kernel's terms: a *state* is an SA of one direction, a *policy* an entry
//! of the SPD, a *template* in a policy says which states serve it, by a number both carry
//! (`reqid`). What is ours in a table is recognised by that number: see [`REQID_FIRST`].

mod algorithm;
mod event;
mod octets;
mod policy;
mod probe;
mod selector;
mod sockets;
mod state;
#[cfg(test)]
mod tests;

use std::io;

use adit_db::Mark;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_XFRM};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use zeroize::Zeroizing;

pub use self::event::{Event, EventSocket};
use self::octets::{HEADER_OCTETS, Request, View};
pub use self::policy::{Action, Direction, Migration, Policy, PolicyInfo, PolicyKey, Template};
pub use self::probe::{Missing, probe};
pub use self::selector::{MaskedPort, SELECTORS_MAX, Selector, SelectorError};
pub use self::sockets::{EspInUdp, exempt};
pub use self::state::{EncapPorts, NoSuchSuite, Offload, Replay, State, StateId, StateInfo};

/// The first number of our templates. What carries a number from here to [`REQID_LAST`] is ours:
/// other programs count from one.
pub const REQID_FIRST: u32 = 0xad17_0000;
/// The last number of our templates.
pub const REQID_LAST: u32 = 0xad17_ffff;

/// Our policies have priorities from here to [`PRIORITY_LAST`]: those without a template are
/// recognised by that.
pub const PRIORITY_FIRST: u32 = 0x00ad_0000;
/// The last priority of our policies, the least urgent one.
pub const PRIORITY_LAST: u32 = 0x00ad_ffff;

/// `struct xfrm_mark`; `None` for the mark that any packet has.
fn read_mark(view: View<'_>) -> Option<Mark> {
    let mark = Mark { value: view.u32(0)?, mask: view.u32(4)? };
    (mark.mask != 0).then_some(mark)
}

/// A connection to the kernel's SAs and policies in the namespace of its creator.
#[derive(Debug)]
pub struct Xfrm {
    socket: Socket,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
}

/// What the kernel objected to.
#[derive(Debug, thiserror::Error)]
#[error("{source}{}", self.said())]
pub struct Refusal {
    /// The number of the error.
    #[source]
    pub source: io::Error,
    /// The kernel's own words, if it had any.
    pub text: Option<String>,
}

impl Refusal {
    fn said(&self) -> String {
        self.text.as_ref().map_or_else(String::new, |text| format!(" ({text})"))
    }

    /// The number of the error.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(nix::libc::EIO)
    }

    fn is_absence(&self) -> bool {
        [nix::libc::ESRCH, nix::libc::ENOENT].contains(&self.errno())
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, text: None }
    }
}

impl From<NoSuchSuite> for Refusal {
    fn from(error: NoSuchSuite) -> Self {
        let source = io::Error::from_raw_os_error(nix::libc::ENOSYS);
        Self { source, text: Some(error.to_string()) }
    }
}

impl Xfrm {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Missing::Xfrm`] in a kernel without IPsec, [`Missing::System`].
    pub fn open() -> Result<Self, Missing> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_XFRM)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_S))?;
            // The kernel's words; older ones have none.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(socket)
        };
        let socket =
            open().map_err(|error| Missing::of_socket("open the kernel's IPsec", error))?;
        Ok(Self { socket, sequence: 0, buffer: Zeroizing::new(vec![0; BUFFER_OCTETS]) })
    }

    /// Adds an SA.
    ///
    /// # Errors
    ///
    /// EEXIST: its SPI is taken; ENOSYS: no such suite; EPROTONOSUPPORT: no ESP, no AH; EPERM.
    pub fn add_state(&mut self, state: &State<'_>) -> Result<(), Refusal> {
        self.change(state.add()?)
    }

    /// Removes an SA; content if it is gone already.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn delete_state(&mut self, id: &StateId) -> Result<(), Refusal> {
        unless_absent(self.change(id.delete()))
    }

    /// How an SA stands; `None` if there is none.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn state(&mut self, id: &StateId) -> Result<Option<StateInfo>, Refusal> {
        match self.query(id.get(), octets::NEWSA) {
            Ok(message) => Ok(message.and_then(|octets| StateInfo::read(state::body(&octets)))),
            Err(refusal) if refusal.is_absence() => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// All SAs of ESP and AH in the namespace, whoever made them.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn states(&mut self) -> Result<Vec<StateInfo>, Refusal> {
        self.dump(state::list(), octets::NEWSA, StateInfo::read)
    }

    /// Adds a policy or replaces that of the same key.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn put_policy(&mut self, policy: &Policy) -> Result<(), Refusal> {
        self.change(policy.put())
    }

    /// Removes a policy; content if it is gone already.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn delete_policy(&mut self, key: &PolicyKey) -> Result<(), Refusal> {
        unless_absent(self.change(key.delete()))
    }

    /// All policies of the namespace, whoever made them.
    ///
    /// # Errors
    ///
    /// EPERM and the like.
    pub fn policies(&mut self) -> Result<Vec<PolicyInfo>, Refusal> {
        self.dump(policy::list(), octets::NEWPOLICY, PolicyInfo::read)
    }

    /// Moves an SA to other addresses or ports, its sequence numbers and window with it. If several
    /// have the number and the addresses, one of them.
    ///
    /// # Errors
    ///
    /// ENOPROTOOPT: the kernel is built without it (CONFIG_XFRM_MIGRATE); ENODATA: nothing to move.
    pub fn migrate(&mut self, migration: &Migration) -> Result<(), Refusal> {
        let handle = migration.handle();
        self.put_policy(&handle)?;
        let moved = self.change(policy::migrate(&handle.id, migration));
        // Its template has moved, its key has not.
        let removed = self.delete_policy(&handle.id);
        moved.and(removed)
    }

    /// Removes what an earlier run left behind: everything with a number of ours.
    ///
    /// # Errors
    ///
    /// The first failure; the rest is removed nevertheless.
    pub fn remove_leftovers(&mut self) -> Result<usize, Refusal> {
        let ours = |reqid: u32| (REQID_FIRST..=REQID_LAST).contains(&reqid);
        let mut result = Ok(0);
        let mut note = |removed: Result<(), Refusal>| match (&mut result, removed) {
            (Ok(count), Ok(())) => *count += 1,
            (slot @ Ok(_), Err(refusal)) => *slot = Err(refusal),
            (Err(_), _) => {}
        };
        let priorities = PRIORITY_FIRST..=PRIORITY_LAST;
        let is_ours =
            |p: &&PolicyInfo| p.reqid.map_or_else(|| priorities.contains(&p.priority), ours);
        for policy in self.policies()?.iter().filter(is_ours) {
            note(self.delete_policy(&policy.id));
        }
        for state in self.states()?.iter().filter(|state| ours(state.reqid)) {
            note(self.delete_state(&state.id));
        }
        result
    }

    /// Sends a change and waits for the verdict.
    fn change(&mut self, request: Request) -> Result<(), Refusal> {
        self.send(request)?;
        loop {
            let length = self.receive()?;
            let octets = self.buffer.get(..length).unwrap_or_default();
            for (kind, sequence, message) in messages(octets) {
                if kind == NLMSG_ERROR && sequence == self.sequence {
                    return verdict(message);
                }
            }
        }
    }

    /// Asks one question; the answer is a message of type `wanted`.
    fn query(
        &mut self,
        request: Request,
        wanted: u16,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
        self.send(request)?;
        loop {
            let length = self.receive()?;
            let octets = self.buffer.get(..length).unwrap_or_default();
            for (kind, sequence, message) in messages(octets) {
                if sequence != self.sequence {
                    continue;
                }
                if kind == NLMSG_ERROR {
                    return verdict(message).map(|()| None);
                }
                if kind == wanted {
                    return Ok(Some(Zeroizing::new(message.to_vec())));
                }
            }
        }
    }

    fn dump<T>(
        &mut self,
        request: Request,
        wanted: u16,
        read: impl Fn(View<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        self.send(request)?;
        let mut found = Vec::new();
        loop {
            let length = self.receive()?;
            let octets = self.buffer.get(..length).unwrap_or_default();
            for (kind, sequence, message) in messages(octets) {
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => verdict(message)?,
                    kind if kind == wanted => found.extend(read(state::body(message))),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, request: Request) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.finish(self.sequence), 0).map(drop)
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.socket.recv(&mut &mut self.buffer[..], 0)
    }
}

fn unless_absent(result: Result<(), Refusal>) -> Result<(), Refusal> {
    match result {
        Err(refusal) if refusal.is_absence() => Ok(()),
        result => result,
    }
}

/// Splits a datagram into messages: type, sequence number, and all octets. Ends at the first
/// malformed one.
fn messages(octets: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let view = View(rest);
        let length = usize::try_from(view.u32(0)?).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER_OCTETS)?;
        let (kind, sequence) = (view.u16(4)?, view.u32(8)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, message))
    })
}

/// Reads `struct nlmsgerr`, with the kernel's words behind it.
fn verdict(message: &[u8]) -> Result<(), Refusal> {
    let body = state::body(message);
    let code = body.u32(0).unwrap_or(0).cast_signed();
    if code == 0 {
        return Ok(());
    }
    let flags = View(message).u16(6).unwrap_or(0);
    let capped = flags & NLM_F_CAPPED != 0;
    let request_octets = if capped { Some(HEADER_OCTETS) } else { body.u32(4).map(octets_of) };
    let words =
        (flags & NLM_F_ACK_TLVS != 0).then_some(()).and(request_octets).and_then(|length| {
            let text = body.attributes(length.next_multiple_of(4).saturating_add(4));
            let text = text.find_kind(NLMSGERR_ATTR_MSG)?.0;
            Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
        });
    Err(Refusal { source: io::Error::from_raw_os_error(code.wrapping_neg()), text: words })
}

fn octets_of(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Longest wait for an answer of the kernel.
const TIMEOUT_S: i64 = 10;
/// The kernel never sends a larger datagram than 32 KiB to a reader of this size.
const BUFFER_OCTETS: usize = 65_536;
/// NLM_F_REQUEST.
const ASK: u16 = 1;
/// NLM_F_REQUEST | NLM_F_ACK.
const ACK: u16 = 1 | 4;
/// NLM_F_REQUEST | NLM_F_DUMP.
const DUMP: u16 = 1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
