//! A real Linux kernel as a peer: booted as a program (User-mode Linux), so that it has an IPsec of
//! its own whatever the machine's kernel can do.

pub(crate) mod guest;
mod packets;
mod pcap;
mod suite;
pub(crate) mod vectors;

pub(crate) use packets::send_rounds;

/// What a guest is made of.
pub(crate) const PROGRAMS: [&str; 4] = ["ip", "cc", "linux.uml", "modprobe"];
