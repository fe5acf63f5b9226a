//! The packet engine through its public interface: what one side seals, the other opens.

#![cfg(test)]

mod ah;
mod allocation;
mod ecn;
mod fixtures;
mod forged;
mod fragment;
mod ipcomp;
mod lifetime;
mod moving;
mod pfp;
mod policy;
mod round_trip;
mod sequence;
mod tfc;
mod transport;
