//! A TCP transfer between two namespaces: the hidden verbs `receive` and `send`, and what starts
//! them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::lab::{Side, output};
use crate::clock;

/// Octets of one write.
pub(crate) const CHUNK: usize = 64 * 1_024;

/// A peer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// What a transfer came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Megabits of payload in a second.
    pub(crate) mbit_s: f64,
    /// From the connection's first packet until all had arrived.
    pub(crate) time: Duration,
    /// The longest time in which nothing arrived, from then on.
    pub(crate) pause: Duration,
}

/// Sends `octets` from one inner address to the other and compares what arrived.
pub(crate) fn transfer(from: &Side, to: &Side, v6: bool, octets: u64) -> anyhow::Result<Transfer> {
    between((from, from.inside(v6)), (to, to.inside(v6)), octets, Duration::ZERO)
}

/// Sends `octets` from one address to another and compares what arrived. Before each [`CHUNK`] the
/// sender waits for `pace`.
///
/// # Errors
///
/// Nothing passes for [`SILENCE`], or something else arrives than what was sent.
pub(crate) fn between(
    from: (&Side, IpAddr),
    to: (&Side, IpAddr),
    octets: u64,
    pace: Duration,
) -> anyhow::Result<Transfer> {
    // The program may be built anew while we run.
    let program = own_copy(from.0)?;
    let mut receive = to.0.command(&program);
    receive.arg("receive").arg(to.1.to_string()).stdout(Stdio::piped());
    let mut receiver = receive.spawn().context("cannot start the receiver")?;
    let mut lines = BufReader::new(receiver.stdout.take().context("the receiver has no output")?);
    let mut address = String::new();
    lines.read_line(&mut address).context("the receiver does not listen")?;
    let start = clock::now();
    let mut send = from.0.command(&program);
    send.args(["send", &from.1.to_string(), address.trim(), &octets.to_string()]);
    send.arg(pace.as_millis().to_string());
    let sent = output(&mut send);
    let time = start.elapsed();
    if sent.is_err() {
        // It may wait for a connection that never comes. It is `timeout`, which passes this on.
        let process = i32::try_from(receiver.id()).context("a process id fits")?;
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
    }
    let mut received = String::new();
    let read = lines.read_line(&mut received);
    let mut pause = String::new();
    let read = read.and_then(|_| lines.read_line(&mut pause));
    receiver.wait().context("the receiver vanished")?;
    let sent = sent.context("the transfer stopped")?;
    read.context("the receiver says nothing")?;
    compare(&sent, &received)?;
    let pause = Duration::from_millis(pause.trim().parse().context("the receiver's pause")?);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mbit_s = octets as f64 * 8.0 / 1e6 / time.as_secs_f64();
    Ok(Transfer { mbit_s, time, pause })
}

/// What both ends say about the octets.
pub(crate) fn compare(sent: &str, received: &str) -> anyhow::Result<()> {
    let (sent, received) = (sent.trim(), received.trim());
    let why = format!("sent `{sent}`, received `{received}` (octets and checksum)");
    anyhow::ensure!(!sent.is_empty() && sent == received, "{why}");
    Ok(())
}

/// A copy of this program in the folder of `side`, which no build replaces.
pub(crate) fn own_copy(side: &Side) -> anyhow::Result<PathBuf> {
    let copy = side.folder.join("xtask");
    if !copy.exists() {
        let program = std::env::current_exe().context("cannot find this program")?;
        fs::copy(program, &copy).context("cannot copy this program")?;
    }
    Ok(copy)
}

/// The hidden verb: accepts one connection at `address`, any port, and prints first where it
/// listens, then what arrived, and last for how many milliseconds at most nothing did.
pub(crate) fn receive(address: IpAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind((address, 0)).context("cannot listen")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept().context("nobody came")?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut sum = Checksum::default();
    let mut chunk = vec![0; CHUNK];
    let mut last = clock::now();
    let mut pause = Duration::ZERO;
    loop {
        let len = stream.read(&mut chunk).context("the sender fell silent")?;
        pause = pause.max(last.elapsed());
        last = clock::now();
        match chunk.get(..len) {
            Some(octets) if len > 0 => sum.add(octets),
            _ => break,
        }
    }
    println!("{sum}\n{}", pause.as_millis());
    // The sender waits until we have read everything.
    stream.write_all(b".").context("the sender is gone")
}

/// The hidden verb: connects from `source` to `target`, sends `octets` pseudo-random octets and
/// prints what it sent. Before each [`CHUNK`] it waits for `pace`.
pub(crate) fn send(
    source: IpAddr,
    target: SocketAddr,
    octets: u64,
    pace: Duration,
) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into()).context("cannot bind")?;
    socket.connect_timeout(&target.into(), SILENCE).context("cannot connect")?;
    // Octets that nobody acknowledges end the connection: a write that was taken in part begins anew.
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SILENCE))?;
    let mut sum = Checksum::default();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut chunk = vec![0; CHUNK];
    let mut left = octets;
    while left > 0 {
        noise.fill(&mut chunk);
        let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get(..len).unwrap_or_default();
        std::thread::sleep(pace);
        stream.write_all(part).context("the receiver fell silent")?;
        sum.add(part);
        left -= len as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0]).context("the receiver did not read to the end")?;
    println!("{sum}");
    Ok(())
}

/// Count and FNV-1a of a stream of octets: against accidents, not against enemies.
struct Checksum {
    octets: u64,
    hash: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Self { octets: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Checksum {
    fn add(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        for octet in octets {
            self.hash = (self.hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}", self.octets, self.hash)
    }
}

/// Octets that no compressor and no repetition can hide in (xorshift64).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            for (octet, random) in word.iter_mut().zip(self.0.to_le_bytes()) {
                *octet = random;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the FNV reference code's test vectors.
    #[test]
    fn the_checksum_is_fnv_1a() {
        let mut sum = Checksum::default();
        sum.add(b"foo");
        sum.add(b"bar");
        assert_eq!(sum.to_string(), "6 85944171f73967e8");
    }
}
