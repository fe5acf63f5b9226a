//! Five network namespaces, joined like two sites and the Internet between them.
//!
//! ```text
//! oslo-host ---- oslo-gw ======== internet ======== berlin-gw ---- berlin-host
//! 10.1.0.10   .1 |  | 198.51.100.2 .1 | .1 203.0.113.2 |  | .1   10.2.0.20
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use adit_sys::SysError;
use adit_sys::netlink::Route;
use adit_sys::netns::Namespace;
use serde::{Deserialize, Serialize};

use crate::args::DemoHost;
use crate::demo::place::Site;

/// The machine in Berlin.
pub(crate) const BERLIN_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 20));
/// Oslo's network.
pub(crate) const OSLO_NETWORK: &str = "10.1.0.0/24";
/// Berlin's network.
pub(crate) const BERLIN_NETWORK: &str = "10.2.0.0/24";
/// The router's interface towards Oslo: what passes here is what anyone on the way sees.
pub(crate) const WIRE_OSLO: &str = "oslo0";
/// The router's interface towards Berlin.
pub(crate) const WIRE_BERLIN: &str = "berlin0";
/// The router, seen from Oslo's gateway.
pub(crate) const ROUTER_FROM_OSLO: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

impl Site {
    /// The gateway's address towards the Internet.
    pub(crate) fn gateway(self) -> IpAddr {
        IpAddr::V4(match self {
            Self::Oslo => Ipv4Addr::new(198, 51, 100, 2),
            Self::Berlin => Ipv4Addr::new(203, 0, 113, 2),
        })
    }

    /// The network behind the gateway.
    pub(crate) fn network(self) -> &'static str {
        match self {
            Self::Oslo => OSLO_NETWORK,
            Self::Berlin => BERLIN_NETWORK,
        }
    }
}

impl DemoHost {
    /// All of them, from Oslo to Berlin.
    pub(crate) const ALL: [Self; 5] =
        [Self::OsloHost, Self::OsloGw, Self::Internet, Self::BerlinGw, Self::BerlinHost];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OsloHost => "oslo-host",
            Self::OsloGw => "oslo-gw",
            Self::Internet => "internet",
            Self::BerlinGw => "berlin-gw",
            Self::BerlinHost => "berlin-host",
        }
    }
}

/// The namespaces.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) oslo_host: Namespace,
    pub(crate) oslo_gw: Namespace,
    pub(crate) internet: Namespace,
    pub(crate) berlin_gw: Namespace,
    pub(crate) berlin_host: Namespace,
}

/// Where the namespaces are, for other processes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LabFile {
    /// The holder.
    pub(crate) pid: u32,
    /// Name of each host and a path to its namespace.
    pub(crate) hosts: Vec<(String, PathBuf)>,
}

impl Lab {
    /// Makes namespaces, wires, addresses and routes.
    pub(crate) fn build() -> Result<Self, SysError> {
        let lab = Self {
            oslo_host: Namespace::create()?,
            oslo_gw: Namespace::create()?,
            internet: Namespace::create()?,
            berlin_gw: Namespace::create()?,
            berlin_host: Namespace::create()?,
        };
        join((&lab.oslo_host, "lan0", "10.1.0.10/24"), (&lab.oslo_gw, "lan0", "10.1.0.1/24"))?;
        join(
            (&lab.oslo_gw, "wan0", "198.51.100.2/24"),
            (&lab.internet, WIRE_OSLO, "198.51.100.1/24"),
        )?;
        join(
            (&lab.berlin_gw, "wan0", "203.0.113.2/24"),
            (&lab.internet, WIRE_BERLIN, "203.0.113.1/24"),
        )?;
        join((&lab.berlin_host, "lan0", "10.2.0.20/24"), (&lab.berlin_gw, "lan0", "10.2.0.1/24"))?;
        for router in [&lab.oslo_gw, &lab.internet, &lab.berlin_gw] {
            router.enable_forwarding()?;
        }
        default_route(&lab.oslo_host, [10, 1, 0, 1])?;
        default_route(&lab.oslo_gw, [198, 51, 100, 1])?;
        default_route(&lab.berlin_gw, [203, 0, 113, 1])?;
        default_route(&lab.berlin_host, [10, 2, 0, 1])?;
        Ok(lab)
    }

    /// The namespace of a host.
    pub(crate) fn host(&self, host: DemoHost) -> &Namespace {
        match host {
            DemoHost::OsloHost => &self.oslo_host,
            DemoHost::OsloGw => &self.oslo_gw,
            DemoHost::Internet => &self.internet,
            DemoHost::BerlinGw => &self.berlin_gw,
            DemoHost::BerlinHost => &self.berlin_host,
        }
    }

    /// Where the namespaces are as long as this process lives.
    pub(crate) fn file(&self) -> LabFile {
        let hosts = DemoHost::ALL
            .into_iter()
            .map(|host| (host.name().to_owned(), self.host(host).path()))
            .collect();
        LabFile { pid: std::process::id(), hosts }
    }

    /// Lets the Internet route the sites' private networks, or stops that: without it, nothing
    /// unprotected gets from one site to the other.
    pub(crate) fn route_private_networks(&self, on: bool) -> Result<(), SysError> {
        let mut netlink = self.internet.netlink()?;
        for site in Site::ALL {
            let route = Route::by_gateway(prefix(site.network()), site.gateway());
            if on {
                netlink.add_route(&route)?;
            } else {
                netlink.delete_route(&route)?;
            }
        }
        Ok(())
    }
}

/// A prefix of this file.
pub(crate) fn prefix(text: &str) -> ipnet::IpNet {
    text.parse().expect("the addresses of the demo are constants")
}

/// A host's interface with its address.
type End<'a> = (&'a Namespace, &'static str, &'static str);

/// Joins two hosts by a wire and waits until it carries packets.
fn join(a: End<'_>, b: End<'_>) -> Result<(), SysError> {
    let ((host_a, name_a, _), (host_b, name_b, _)) = (a, b);
    host_a.netlink()?.add_veth_to(name_a, name_b, host_b)?;
    for (host, name, address) in [a, b] {
        let mut netlink = host.netlink()?;
        let link = netlink.link_by_name(name)?;
        netlink.add_address(link.index, prefix(address))?;
        netlink.set_up(link.index, true)?;
    }
    for (host, name, _) in [a, b] {
        let mut netlink = host.netlink()?;
        let link = netlink.link_by_name(name)?;
        netlink.wait_until_ready(link.index, READY_PATIENCE)?;
    }
    Ok(())
}

fn default_route(host: &Namespace, via: [u8; 4]) -> Result<(), SysError> {
    let route = Route::by_gateway(prefix("0.0.0.0/0"), Ipv4Addr::from(via).into());
    host.netlink()?.add_route(&route)
}

const READY_PATIENCE: Duration = Duration::from_secs(5);
