//! IP payload compression, RFC 3173 with DEFLATE (RFC 2394): before ESP seals, after it opens.
//!
//! ```text
//! ESP( | inner packet, or what follows the IP header |                       )  as it was
//! ESP( | next (1) | flags (1) | CPI (2) | DEFLATE of the same, without frame | )  if that is less
//! ```
//!
//! Every packet is compressed by itself, so that none tells of another. The two algorithms and
//! their buffers belong to the halves of the engine, made with the first SA that asks for them; an
//! SA has its CPI, and remembers whether trying has paid.
//!
//! A host's own IPComp packets pass an SA in transport mode if that does not compress, or shrinks
//! them: else the receiver takes the host's CPI for one of the SA and drops them.

use adit_db::IpComp;
use adit_wire::iana::IpProtocol;
use adit_wire::ipcomp::{Cpi, IpCompHeader};
use adit_wire::{PacketBuf, Reader};
use miniz_oxide::DataFormat;
use miniz_oxide::deflate::CompressionLevel;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::counters::IpCompCounters;
use crate::drop_reason::DropReason;
use crate::reassembly::Reassembly;

/// What compresses, for all SAs of an engine.
pub(crate) struct Deflater {
    state: CompressorOxide,
    out: [u8; PAYLOAD_MAX],
}

impl Default for Deflater {
    fn default() -> Self {
        let level = CompressionLevel::DefaultLevel;
        let state = CompressorOxide::with_format_and_level(DataFormat::Raw, level);
        Self { state, out: [0; PAYLOAD_MAX] }
    }
}

impl Deflater {
    /// IPComp header and compressed payload, if both together are shorter than the payload.
    ///
    //= https://www.rfc-editor.org/rfc/rfc3173#section-2.2
    //# If the total size of a compressed payload and the IPComp header, as
    //# defined in section 3, is not smaller than the size of the original
    //# payload, the IP datagram MUST be sent in the original non-compressed
    //# form.
    fn deflate(&mut self, payload: &[u8], header: IpCompHeader) -> Option<&[u8]> {
        let room = self.out.get_mut(..payload.len().checked_sub(1)?)?;
        let (front, room) = room.split_first_chunk_mut::<{ IpCompHeader::LEN }>()?;
        *front = header.to_octets();
        self.state.reset();
        let (status, _, len) = compress(&mut self.state, payload, room, TDEFLFlush::Finish);
        if status != TDEFLStatus::Done {
            return None;
        }
        self.out.get(..len.checked_add(IpCompHeader::LEN)?)
    }
}

/// What inflates, for all SAs of an engine.
pub(crate) struct Inflater {
    state: DecompressorOxide,
    out: [u8; INFLATED_MAX],
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: DecompressorOxide::new(), out: [0; INFLATED_MAX] }
    }
}

impl Inflater {
    /// What was compressed. What follows its end is not looked at: it may be padding (RFC 4303
    /// §2.7).
    fn inflate(&mut self, octets: &[u8]) -> Result<&[u8], DropReason> {
        self.state.init();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        match decompress(&mut self.state, octets, &mut self.out, 0, flags) {
            (TINFLStatus::Done, _, len) => self.out.get(..len).ok_or(DropReason::InflatesTooFar),
            (TINFLStatus::HasMoreOutput, ..) => Err(DropReason::InflatesTooFar),
            _ => Err(DropReason::BadCompression),
        }
    }
}

/// Compression of one outbound SA.
#[derive(Debug)]
pub(crate) struct Compression {
    cpi: Cpi,
    /// Packets in a row that did not shrink.
    misses: u8,
    /// Packets that are not tried after so many misses.
    pause: u16,
    /// How many of them are still to come.
    paused: u16,
    pub(crate) counters: IpCompCounters,
}

impl Compression {
    pub(crate) fn new(ipcomp: IpComp) -> Self {
        let counters = IpCompCounters::default();
        Self { cpi: ipcomp.cpi_out, misses: 0, pause: PAUSE_MIN, paused: 0, counters }
    }

    /// What is to be protected instead of this payload, if that is worth it.
    pub(crate) fn compress<'a>(
        &mut self,
        payload: &[u8],
        next: IpProtocol,
        deflater: &'a mut Deflater,
    ) -> Option<&'a [u8]> {
        if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&payload.len()) || self.is_paused() {
            return None;
        }
        let compressed = deflater.deflate(payload, IpCompHeader { next, cpi: self.cpi });
        match compressed {
            Some(less) => {
                self.misses = 0;
                self.pause = PAUSE_MIN;
                self.counters.count(payload.len(), less.len());
            }
            None => self.note_miss(),
        }
        compressed
    }

    fn is_paused(&mut self) -> bool {
        let is_paused = self.paused > 0;
        self.paused = self.paused.saturating_sub(1);
        is_paused
    }

    /// RFC 3173 §2.2: what does not shrink comes in trains, each pause is longer than that before.
    fn note_miss(&mut self) {
        self.misses = self.misses.saturating_add(1);
        if self.misses >= MISSES_MAX {
            self.misses = 0;
            self.paused = self.pause;
            self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

/// Compression of one inbound SA.
#[derive(Debug)]
pub(crate) struct Decompression {
    cpi: Cpi,
    pub(crate) counters: IpCompCounters,
}

impl Decompression {
    pub(crate) fn new(ipcomp: IpComp) -> Self {
        Self { cpi: ipcomp.cpi_in, counters: IpCompCounters::default() }
    }

    /// Replaces an IPComp packet without IP header by what was compressed; returns what that is. What
    /// is longer than its buffer gets one of `buffers`.
    ///
    /// # Errors
    ///
    /// - [`DropReason::UnknownCpi`]: the CPI is not that of this SA.
    /// - [`DropReason::BadCompression`]: no IPComp header, or no DEFLATE behind it.
    /// - [`DropReason::InflatesTooFar`]: more than an IP packet holds, or than the buffer does.
    pub(crate) fn decompress(
        &mut self,
        packet: &mut PacketBuf,
        inflater: &mut Inflater,
        buffers: &mut Reassembly,
    ) -> Result<IpProtocol, DropReason> {
        let mut r = Reader(packet.data());
        let header = IpCompHeader::read(&mut r).map_err(|_| DropReason::BadCompression)?;
        if header.cpi != self.cpi {
            return Err(DropReason::UnknownCpi);
        }
        let inflated = inflater.inflate(r.rest())?;
        self.counters.count(inflated.len(), packet.len());
        if packet.fill(inflated) || buffers.lend(packet) && packet.fill(inflated) {
            Ok(header.next)
        } else {
            Err(DropReason::InflatesTooFar)
        }
    }
}

/// Payloads that are shorter are not tried: what DEFLATE saves the header costs.
const PAYLOAD_MIN: usize = 90;

/// Payloads that are longer are not tried: there are receivers that look back 2,048 octets and no
/// further, Linux among them. Only packets that came in fragments are so long.
const PAYLOAD_MAX: usize = 2_048;

/// Most octets that come out of a packet: those that IP has for one.
const INFLATED_MAX: usize = 65_535;

/// Packets in a row that did not shrink, before some are not tried.
const MISSES_MAX: u8 = 4;

/// Packets that are not tried at first.
const PAUSE_MIN: u16 = 16;

/// Most packets that are not tried.
const PAUSE_MAX: u16 = 256;

#[cfg(test)]
mod tests;
