//! A real Linux kernel as a peer: booted as a program (User-mode Linux), so that it has an IPsec of
//! its own whatever the machine's kernel can do.

mod beet;
mod bundle;
pub(crate) mod guest;
pub(crate) mod layer;
pub(crate) mod packets;
pub(crate) mod pcap;
pub(crate) mod suite;
pub(crate) mod vectors;

/// What a guest is made of.
pub(crate) const PROGRAMS: [&str; 4] = ["ip", "cc", "linux.uml", "modprobe"];
