//! The packet engine through its public interface: what one side seals, the other opens.

#![cfg(test)]

mod aggfrag;
mod ah;
mod allocation;
mod beet;
mod bundle;
mod classes;
mod early;
mod echo_probes;
mod ecn;
mod fixtures;
mod forged;
mod fragment;
mod gateway_notice;
mod group;
mod icmp;
mod icmp_outside;
mod ipcomp;
mod lifetime;
mod moving;
mod nesting;
mod outer_header;
mod path_mtu;
mod pfp;
mod policy;
mod probing;
mod round_trip;
mod scattered;
mod security_failure;
mod sequence;
mod super_packets;
mod tables;
mod tfc;
mod threads;
mod trains;
mod transit;
mod transport;
