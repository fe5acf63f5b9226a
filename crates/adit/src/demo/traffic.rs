//! Traffic between the two sites: a small web server in Berlin and its client in Oslo.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_sys::clock;
use adit_sys::netns::Namespace;
use adit_sys::thread::spawn_named;

use crate::demo::lab::BERLIN_HOST;
use crate::error::Error;

/// The page that nobody on the way should read.
pub(crate) const PAGE: &str = "The launch code is 0000. Do not tell anyone.\n";
/// The request for it.
pub(crate) const REQUEST: &str =
    "GET /secret HTTP/1.1\r\nHost: 10.2.0.20\r\nUser-Agent: adit-demo\r\n\r\n";

fn server() -> SocketAddr {
    SocketAddr::new(BERLIN_HOST, 80)
}

/// Starts the web server; it ends with the process.
pub(crate) fn serve(host: &Namespace) -> Result<(), Error> {
    let listener = host.run(|| TcpListener::bind(server()))?.map_err(Error::io("web server"))?;
    let block: Arc<[u8]> = block().into();
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let block = Arc::clone(&block);
            // A client that cannot be served sees its connection closed.
            let _ = spawn_named("web-client", move || answer(&stream, &block));
        }
    };
    spawn_named("web-server", accept).map_err(Error::io("web server"))?;
    Ok(())
}

/// Answers one request: `/secret`, or `/bulk/N` with N octets.
fn answer(mut stream: &TcpStream, block: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(stream.take(REQUEST_OCTETS_MAX));
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut header = String::new();
    // An empty line ends the header.
    while request.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    if let Some(octets) = path.strip_prefix("/bulk/").and_then(|count| count.parse().ok()) {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n")?;
        return send_bulk(stream, block, octets);
    }
    let (status, page) = match path {
        "/secret" => ("200 OK", PAGE),
        _ => ("404 Not Found", "There are /secret and /bulk/N.\n"),
    };
    let length = page.len();
    // In one piece, so that header and page share a packet.
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{page}");
    stream.write_all(text.as_bytes())
}

/// Sends the block again and again, its number in its first octets.
fn send_bulk(mut stream: &TcpStream, block: &[u8], octets: u64) -> io::Result<()> {
    let mut block = block.to_vec();
    let mut left = octets;
    let mut number = 0_u64;
    while left > 0 {
        stamp(&mut block, number);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(block.get(..length).unwrap_or_default())?;
        left -= length as u64;
        number += 1;
    }
    Ok(())
}

/// Asks for the secret page and returns it.
pub(crate) fn ask_secret(host: &Namespace) -> Result<String, Error> {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&server(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST.as_bytes())?;
        let mut answer = String::new();
        stream.take(REQUEST_OCTETS_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    host.run(ask)?.map_err(Error::io("GET /secret"))
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transfer {
    /// Octets that arrived.
    pub(crate) octets: u64,
    /// Whether each of them was the one that was sent.
    pub(crate) equal: bool,
    /// Time from the request to the last octet.
    pub(crate) took: Duration,
}

impl Transfer {
    /// Megabits in a second.
    pub(crate) fn mbit_s(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.octets as f64 * 8.0 / 1e6 / seconds } else { 0.0 }
    }
}

/// Fetches so many octets and compares each; `tell` hears about the progress a few times a second.
pub(crate) fn fetch_bulk(
    host: &Namespace,
    octets: u64,
    tell: &mut (dyn FnMut(u64) -> Result<(), Error> + Send),
) -> Result<Transfer, Error> {
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&server(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /bulk/{octets} HTTP/1.1\r\n\r\n")?;
        Ok(stream)
    };
    let started = clock::now();
    let stream = host.run(connect)?.map_err(Error::io("TCP transfer"))?;
    let mut reader = BufReader::with_capacity(BLOCK_OCTETS, stream);
    let mut line = String::new();
    while reader.read_line(&mut line).map_err(Error::io("TCP transfer"))? > 2 {
        line.clear();
    }
    let (received, equal) = compare_bulk(&mut reader, octets, started, tell)?;
    let took = clock::now().saturating_duration_since(started);
    Ok(Transfer { octets: received, equal: equal && received == octets, took })
}

fn compare_bulk(
    reader: &mut impl io::Read,
    octets: u64,
    started: Instant,
    tell: &mut (dyn FnMut(u64) -> Result<(), Error> + Send),
) -> Result<(u64, bool), Error> {
    let mut expected = block();
    let mut buffer = vec![0; BLOCK_OCTETS];
    let (mut received, mut number, mut equal) = (0, 0, true);
    let mut told = started;
    while received < octets {
        stamp(&mut expected, number);
        let wanted = usize::try_from(octets - received).unwrap_or(usize::MAX).min(BLOCK_OCTETS);
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        if reader.read_exact(part).is_err() {
            return Ok((received, false));
        }
        equal &= expected.get(..wanted) == Some(part);
        received += wanted as u64;
        number += 1;
        let now = clock::now();
        if now.saturating_duration_since(told) >= TELL_INTERVAL {
            told = now;
            tell(received)?;
        }
    }
    Ok((received, equal))
}

/// Octets that no compression and no mistake makes out of nothing: SplitMix64 from a fixed seed.
fn block() -> Vec<u8> {
    let mut state = 0xad17_u64;
    let mut block = Vec::with_capacity(BLOCK_OCTETS);
    while block.len() < BLOCK_OCTETS {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        block.extend((word ^ (word >> 31)).to_be_bytes());
    }
    block
}

fn stamp(block: &mut [u8], number: u64) {
    if let Some(front) = block.first_chunk_mut::<8>() {
        *front = number.to_be_bytes();
    }
}

const BLOCK_OCTETS: usize = 65_536;
const REQUEST_OCTETS_MAX: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(10);
const TELL_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(octets: &[u8]) -> (u64, bool) {
        let count = octets.len() as u64;
        compare_bulk(&mut &octets[..], count, clock::now(), &mut |_| Ok(())).unwrap()
    }

    fn sent(octets: u64) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let sender = spawn_named("sender", move || send_bulk(&server, &block(), octets)).unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        sender.join().unwrap().unwrap();
        all
    }

    #[test]
    fn a_transfer_is_equal_only_if_every_octet_is() {
        let mut octets = sent(200_001);
        assert_eq!(octets.len(), 200_001);
        assert_eq!(compare(&octets), (200_001, true));

        octets[150_000] ^= 1;
        assert_eq!(compare(&octets), (200_001, false));
        octets[150_000] ^= 1;
        octets.swap(65_536, 131_072);
        octets.rotate_left(65_536);
        assert!(!compare(&octets).1, "blocks out of order");
    }

    #[test]
    fn a_transfer_that_ends_early_is_not_equal() {
        let octets = sent(70_000);
        let got = compare_bulk(&mut &octets[..], 80_000, clock::now(), &mut |_| Ok(())).unwrap();
        assert!(!got.1);
    }

    #[test]
    fn rates_are_in_megabits() {
        let took = Duration::from_secs(2);
        let transfer = Transfer { octets: 100_000_000, equal: true, took };
        assert!((transfer.mbit_s() - 400.0).abs() < 1e-9);
    }
}
