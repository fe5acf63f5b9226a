//! Anti-replay window and extended sequence numbers, RFC 4303 §3.4.3 and Appendix A2.
//!
//! The window is a ring of bits, one per sequence number from `top - size + 1` to `top`. A packet
//! is judged before its ICV is checked and marked after, so that a forgery moves nothing.

use std::fmt;

use adit_crypto::Prefetch;

/// Anti-replay state of one inbound SA.
///
/// ```text
///   too old        window (size bits)          new
/// ──────────┤ seen? seen? … seen?  top ├──────────────
/// ```
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// Highest authenticated sequence number; 0 before the first packet.
    top: u64,
    esn: bool,
    size: WindowSize,
    /// Bit `sequence % size` says whether `sequence` was seen. Empty if the window is off.
    seen: Box<[u64]>,
}

/// Number of packets a replay window covers: 0 (off), or a power of two from 64 to 65,536.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WindowSize(u32);

/// Why a packet is refused before its ICV is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The number was seen before.
    #[error("sequence number seen before")]
    Duplicate,
    /// The number lies before the window.
    #[error("sequence number older than the replay window")]
    TooOld,
    /// Zero, which no sender uses (RFC 4303 §3.3.3), or a number outside the 64 bits.
    #[error("impossible sequence number")]
    Impossible,
}

impl WindowSize {
    /// No replay protection.
    pub const OFF: Self = Self(0);
    /// 1,024 packets.
    pub const DEFAULT: Self = Self(1024);
    /// The smallest window, the default of RFC 4303 §3.4.3.
    pub const MIN: Self = Self(64);
    /// The largest window: 8 KiB of bits per SA.
    pub const MAX: Self = Self(65_536);

    /// The smallest window that covers so many packets; `None` above [`WindowSize::MAX`].
    pub const fn covering(packets: u32) -> Option<Self> {
        match packets {
            0 => Some(Self::OFF),
            1..=64 => Some(Self::MIN),
            65..=65_536 => Some(Self(packets.next_power_of_two())),
            _ => None,
        }
    }

    /// Packets covered; 0 is off.
    pub const fn packets(self) -> u32 {
        self.0
    }

    /// Whether there is no replay protection.
    pub const fn is_off(self) -> bool {
        self.0 == 0
    }
}

impl Default for WindowSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for WindowSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ReplayWindow {
    /// A window that has seen nothing. This is the only place where it allocates.
    pub fn new(size: WindowSize, esn: bool) -> Self {
        let words = size.0.div_ceil(u64::BITS) as usize;
        Self { top: 0, esn, size, seen: vec![0; words].into_boxed_slice() }
    }

    /// The highest authenticated sequence number; 0 before the first.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Tells the processor of the part of the window in which the number of a packet is that shows this
    /// low half.
    #[inline]
    pub fn prefetch(&self, low: u32, by: Prefetch) {
        // Sizes are powers of two of at most 2^16: the high half has no part in it.
        let (word, _) = self.place(low.into());
        if let Some(word) = self.seen.get(word) {
            by.value(word);
        }
    }

    /// Whether the SA counts with 64 bits.
    pub fn is_extended(&self) -> bool {
        self.esn
    }

    /// The whole sequence number of a packet that shows its low half (RFC 4303 Appendix A2.2).
    ///
    /// Without ESN the number is the low half itself. With ESN the high half is the one that puts
    /// the number nearest the window; only the ICV, computed over it, proves the guess.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Impossible`] if the guess falls outside the 64 bits.
    #[inline]
    pub fn infer(&self, low: u32) -> Result<u64, ReplayError> {
        if !self.esn {
            return Ok(low.into());
        }
        let (top_high, top_low) = halves(self.top);
        // Appendix A2.1 needs a window to reason with; without one take the smallest.
        let reach = self.size.0.max(WindowSize::MIN.0).saturating_sub(1);
        let bottom_low = top_low.wrapping_sub(reach);
        let high = if top_low >= reach {
            // Case A: the window lies in one subspace; a smaller number belongs to the next.
            if low >= bottom_low { Some(top_high) } else { top_high.checked_add(1) }
        } else {
            // Case B: the window spans two; a large number belongs to the one before.
            if low >= bottom_low { top_high.checked_sub(1) } else { Some(top_high) }
        };
        let high = high.ok_or(ReplayError::Impossible)?;
        Ok((u64::from(high) << u32::BITS) | u64::from(low))
    }

    /// Judges a number before the ICV is checked; changes nothing (RFC 4303 §3.4.3).
    ///
    /// # Errors
    ///
    /// The three of [`ReplayError`]. A window that is off refuses [`ReplayError::Impossible`]
    /// only.
    #[inline]
    pub fn check(&self, sequence: u64) -> Result<(), ReplayError> {
        if sequence == 0 {
            return Err(ReplayError::Impossible);
        }
        if sequence > self.top || self.size.is_off() {
            return Ok(());
        }
        if self.top.saturating_sub(sequence) >= u64::from(self.size.0) {
            return Err(ReplayError::TooOld);
        }
        let (word, bit) = self.place(sequence);
        match self.seen.get(word) {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(ReplayError::Duplicate),
        }
    }

    /// Marks a number whose ICV was right. Returns whether it is the newest so far.
    ///
    /// The caller has [checked](Self::check) it; an old or repeated number changes nothing.
    #[inline]
    pub fn advance(&mut self, sequence: u64) -> bool {
        if self.check(sequence).is_err() {
            return false;
        }
        let newest = sequence > self.top;
        if newest {
            // The next number alone enters the window, and that is marked.
            if sequence.saturating_sub(1) != self.top {
                self.forget(self.top, sequence);
            }
            self.top = sequence;
        }
        let (word, bit) = self.place(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
        newest
    }

    /// Clears the bits of the numbers after `top` up to `sequence`, which enter the window.
    fn forget(&mut self, top: u64, sequence: u64) {
        let mut entering = sequence.saturating_sub(top);
        if entering >= u64::from(self.size.0) {
            self.seen.fill(0);
            return;
        }
        let mut next = top.saturating_add(1);
        while entering > 0 {
            let (word, first_bit) = self.place(next);
            let before = first_bit.trailing_zeros();
            // To the end of the word, or to `sequence` if that comes first.
            let run = entering.min(u64::BITS.saturating_sub(before).into());
            let unset = u64::BITS.saturating_sub(low_bits(run));
            let bits = u64::MAX.checked_shr(unset).unwrap_or(0);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !(bits << before);
            }
            next = next.saturating_add(run);
            entering = entering.saturating_sub(run);
        }
    }

    /// Word and bit of a number.
    #[inline]
    fn place(&self, sequence: u64) -> (usize, u64) {
        // Sizes are powers of two of at most 2^16, so the slot fits any usize.
        let slot = low_bits(sequence & u64::from(self.size.0.saturating_sub(1)));
        ((slot / u64::BITS) as usize, 1 << (slot % u64::BITS))
    }
}

/// High and low 32 bits.
fn halves(sequence: u64) -> (u32, u32) {
    (low_bits(sequence >> u32::BITS), low_bits(sequence))
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_bits(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests;
