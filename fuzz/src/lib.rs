//! What the fuzz targets share: reading choices out of an input, and worlds to make them in.

#![forbid(unsafe_code)]

mod choices;
pub mod esp;
pub mod ike;
pub mod policy;
pub mod tree;

pub use choices::Choices;

use std::time::Instant;

/// An instant to start from.
#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
pub fn start() -> Instant {
    Instant::now()
}
