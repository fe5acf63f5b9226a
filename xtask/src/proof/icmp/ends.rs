//! Two daemons on the row's gateways with one tunnel between them, and transfers through it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::net::{Net, inner_host};
use crate::interop::gateway::{Gateway, Make};
use crate::interop::lab::Side;
use crate::interop::plan::{CONNECTION, Plan};
use crate::interop::transfer::{Transfer, between};

/// How packets travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    /// IPv6 between the hosts.
    pub(super) inside_v6: bool,
    /// IPv6 between the gateways.
    pub(super) outside_v6: bool,
    /// ESP in UDP, else above IP.
    pub(super) udp: bool,
    /// Transport mode: the gateways speak for themselves.
    pub(super) transport: bool,
}

impl Shape {
    /// All that there are: hosts in transport mode have one family inside and outside.
    pub(super) fn all() -> Vec<Self> {
        let bits = |number: u8, bit: u8| number & (1 << bit) != 0;
        let of = |number: u8| Self {
            inside_v6: bits(number, 0),
            outside_v6: bits(number, 1),
            udp: bits(number, 2),
            transport: bits(number, 3),
        };
        let is_one = |shape: &Self| !shape.transport || shape.inside_v6 == shape.outside_v6;
        (0..16).map(of).filter(is_one).collect()
    }

    /// `tunnel 4-in-6 udp`.
    pub(super) fn name(self) -> String {
        let digit = |v6| if v6 { 6 } else { 4 };
        let mode = if self.transport { "transport" } else { "tunnel" };
        let way = if self.udp { "udp" } else { "raw" };
        let (inside, outside) = (digit(self.inside_v6), digit(self.outside_v6));
        format!("{mode} {inside}-in-{outside} {way}")
    }

    /// As both gateways are configured.
    pub(super) fn plan(self) -> Plan {
        Plan {
            inside_v6: self.inside_v6,
            outside_v6: self.outside_v6,
            udp: self.udp,
            transport: self.transport,
            log_level: "info",
            ..Plan::default()
        }
    }
}

/// The daemons; they are ended when this is dropped.
pub(super) struct Ends<'a> {
    /// Ours.
    pub(super) left: Gateway,
    /// Ours, or a peer.
    pub(super) right: Gateway,
    net: &'a Net,
    shape: Shape,
}

impl<'a> Ends<'a> {
    /// Starts both and brings the tunnel up.
    ///
    /// # Errors
    ///
    /// A daemon does not start, or the tunnel does not come up.
    pub(super) fn up(net: &'a Net, shape: Shape, plan: &Plan, peer: Make) -> anyhow::Result<Self> {
        let right = Gateway::start(&net.right, &net.left, plan, peer)?;
        let left = Gateway::start(&net.left, &net.right, plan, Make::Adit);
        let left = left.inspect_err(|_| drop(right.kill()))?;
        let ends = Self::of(net, shape, left, right);
        ends.left.initiate().context("the tunnel does not come up")?;
        Ok(ends)
    }

    /// Of daemons that run already.
    pub(super) fn of(net: &'a Net, shape: Shape, left: Gateway, right: Gateway) -> Self {
        Self { left, right, net, shape }
    }

    /// Who speaks through the tunnel: the hosts, or the gateways themselves.
    pub(super) fn speakers(&self) -> [(&'a Side, IpAddr); 2] {
        let Net { a, left, right, b, .. } = self.net;
        if self.shape.transport {
            let v6 = self.shape.outside_v6;
            [(left, left.outside(v6)), (right, right.outside(v6))]
        } else {
            let v6 = self.shape.inside_v6;
            [(a, inner_host(a, v6)), (b, inner_host(b, v6))]
        }
    }

    /// A transfer from left to right.
    pub(super) fn there(&self, octets: u64, pace: Duration) -> anyhow::Result<Transfer> {
        let [near, far] = self.speakers();
        between(near, far, octets, pace).context("from left to right")
    }

    /// A transfer from right to left.
    pub(super) fn back(&self, octets: u64, pace: Duration) -> anyhow::Result<Transfer> {
        let [near, far] = self.speakers();
        between(far, near, octets, pace).context("from right to left")
    }

    /// What the left daemon says of its tunnel.
    pub(super) fn status(&self) -> anyhow::Result<Value> {
        // Its exit status says whether all is well, which is not asked here.
        let text = self.left.ask(&["status", CONNECTION, "--json"])?;
        let status: Value = serde_json::from_str(&text).context("`adit status --json`")?;
        let tunnel = status.pointer("/tunnels/0").context("no such tunnel in the status")?;
        Ok(tunnel.clone())
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for gateway in [&self.left, &self.right] {
            if gateway.stop().is_err() {
                let _ = gateway.kill();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_all_that_can_be() {
        let names: Vec<String> = Shape::all().into_iter().map(Shape::name).collect();
        assert_eq!(names.len(), 12);
        assert!(names.iter().any(|name| name == "tunnel 4-in-6 udp"));
        assert!(names.iter().all(|name| name != "transport 4-in-6 udp"));
    }
}
