//! What is judged by looking at all hosts at once.

use std::time::Duration;

use adit_db::IkeVersion;
use adit_ike::{ChildSaState, IkeSaInfo, IkeSaState};

use super::World;
use crate::world::host::Installed;
use crate::world::invariants::Broken;
use crate::world::invariants::bounds::{self, Holding};
use crate::world::invariants::converged::{self, is_up};
use crate::world::invariants::one_child;
use crate::world::scenario::{Tunnel, host_name, tunnel_name};
use crate::world::schedule::Place;

/// How often it is looked whether all is up.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// When a packet has arrived on a good network.
const PASSED_AFTER: Duration = Duration::from_millis(200);

impl World<'_> {
    /// The network is good from here on, and everything is wanted.
    pub(in crate::world) fn settle(&mut self) {
        self.net.calm_down();
        self.story.line(self.now, "the network is good from here on, and everything is wanted");
        for (tunnel, plan) in self.scenario.tunnels.iter().enumerate() {
            for (host, _) in plan.ends.into_iter().zip(plan.keeps).filter(|(_, keeps)| *keeps) {
                for child in 0..self.scenario.children {
                    self.host(host).initiate(Place { host, tunnel, child });
                }
            }
        }
        self.flush();
    }

    /// Waits until everything is up, and says how long that took.
    ///
    /// # Errors
    ///
    /// The first invariant that broke.
    pub(in crate::world) fn converge(&mut self) -> Result<Duration, Broken> {
        let begin = self.now;
        loop {
            let before = self.now;
            // SAs are not enough: where an address changed packets go nowhere until both ends know.
            if self.is_up() && self.try_all()? {
                return Ok(before.saturating_sub(begin));
            }
            let took = self.now.saturating_sub(begin);
            converged::took(took, || self.state()).map_or(Ok(()), Err)?;
            self.run_until(before + LOOK_EVERY)?;
        }
    }

    /// Waits until nothing is there twice.
    ///
    /// # Errors
    ///
    /// The first invariant that broke.
    pub(in crate::world) fn quiet_down(&mut self) -> Result<(), Broken> {
        let begin = self.now;
        while !(self.is_up() && self.is_single()) {
            let took = self.now.saturating_sub(begin);
            one_child::took(took, || self.state()).map_or(Ok(()), Err)?;
            self.run_until(self.now + LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Sends a packet each way over each child; all must arrive.
    ///
    /// # Errors
    ///
    /// The first invariant that broke.
    pub(in crate::world) fn pass(&mut self) -> Result<(), Broken> {
        let text = "a packet does not arrive";
        match self.try_all()? {
            true => Ok(()),
            false => Err(Broken::new("converged", format_args!("{text}\n{}", self.state()))),
        }
    }

    /// Sends a packet each way over each child, and says whether all arrive.
    fn try_all(&mut self) -> Result<bool, Broken> {
        self.try_those(|_| true)
    }

    /// The same over the children of one version of IKE.
    pub(super) fn try_all_of(&mut self, version: IkeVersion) -> Result<bool, Broken> {
        self.try_those(|tunnel| tunnel.version == version)
    }

    fn try_those(&mut self, are_meant: impl Fn(&Tunnel) -> bool) -> Result<bool, Broken> {
        let mut numbers = Vec::new();
        let tunnels = self.scenario.tunnels.iter().enumerate();
        for (tunnel, plan) in tunnels.filter(|(_, plan)| are_meant(plan)) {
            for host in plan.ends {
                for child in 0..self.scenario.children {
                    numbers.push(self.send_packet(Place { host, tunnel, child }));
                }
            }
        }
        self.flush();
        self.run_until(self.now + PASSED_AFTER)?;
        Ok(numbers.iter().all(|number| self.watch.delivered.has(*number)))
    }

    /// Whether every child is up at both ends.
    fn is_up(&self) -> bool {
        let tunnels = self.scenario.tunnels.iter().enumerate();
        let mut places = tunnels.flat_map(|(tunnel, plan)| {
            (0..self.scenario.children).map(move |child| (plan.ends, tunnel, child))
        });
        places.all(|([one, other], tunnel, child)| {
            let of = |host: usize| self.live_of(host, tunnel, child);
            is_up(of(one), of(other))
        })
    }

    fn live_of(
        &self,
        host: usize,
        tunnel: usize,
        child: usize,
    ) -> impl Iterator<Item = &Installed> + Clone {
        let host = self.hosts.get(host).expect("a host of this world");
        let all: Vec<&Installed> = host.engine.live(host.now).collect();
        all.into_iter().filter(move |sa| (sa.tunnel, sa.child) == (tunnel, child))
    }

    /// Whether no child SA and no IKE SA is there twice.
    fn is_single(&self) -> bool {
        let tunnels = self.scenario.tunnels.iter().enumerate();
        let mut ends = tunnels.flat_map(|(tunnel, plan)| plan.ends.map(|host| (host, tunnel)));
        let ike_sas: Vec<Vec<IkeSaInfo>> = self.hosts.iter().map(|host| host.ike_sas()).collect();
        ends.all(|(host, tunnel)| {
            let name = tunnel_name(tunnel);
            let is_its = |info: &&IkeSaInfo| {
                info.connection.as_ref().is_some_and(|connection| connection.as_str() == name)
            };
            let of_host = ike_sas.get(host).map(Vec::as_slice).unwrap_or_default();
            let all = of_host.iter().filter(is_its).count();
            let up = |info: &&IkeSaInfo| info.state == IkeSaState::Established;
            all == 1 && of_host.iter().filter(is_its).filter(up).count() == 1
        }) && self.hosts.iter().zip(&ike_sas).all(|(host, ike_sas)| {
            let live = host.engine.live(host.now);
            one_child::are_single(live.filter(|sa| !self.is_put_aside(sa, ike_sas)))
        })
    }

    /// Whether another child of IKEv1 has the place of this one, which stays as long as the peer may send
    /// on it: nobody hears an answer to what it says.
    fn is_put_aside(&self, sa: &Installed, ike_sas: &[IkeSaInfo]) -> bool {
        let plan = self.scenario.tunnels.get(sa.tunnel);
        let mut children = ike_sas.iter().flat_map(|ike| &ike.children);
        plan.is_some_and(|plan| plan.version == IkeVersion::V1)
            && children.any(|one| one.id == sa.id && one.state == ChildSaState::Rekeyed)
    }

    /// Looks at what every host holds.
    pub(super) fn check_holdings(&mut self) {
        for number in 0..self.hosts.len() {
            let ends = self.scenario.tunnels.iter().flat_map(|tunnel| tunnel.ends);
            let tunnels = ends.filter(|end| *end == number).count();
            let children = tunnels * self.scenario.children;
            let host = self.host(number);
            let counts = host.ike_counts();
            let (events_lost, held) = host.engine.load();
            let seen = Holding {
                tunnels,
                children,
                ike_sas: counts.established + counts.leaving,
                half_open: counts.half_open,
                half_open_max: host.half_open_max(),
                child_sas: host.engine.all().count(),
                held,
                events_lost,
            };
            self.note_broken(bounds::held(seen));
        }
        self.note_broken(bounds::under_way(self.net.under_way()));
    }

    /// What all hosts hold, for people.
    pub(in crate::world) fn state(&self) -> String {
        let mut lines = Vec::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let name = host_name(number);
            lines.push(format!("{name} at {:.3} s, {}:", self.now.as_secs_f64(), host.address));
            for ike in host.ike_sas() {
                let role = if ike.initiator { "initiator" } else { "responder" };
                let connection = ike.connection.as_ref().map_or("nobody's", |name| name.as_str());
                let (id, spi_i, spi_r, state) = (ike.id, ike.spi_i, ike.spi_r, ike.state);
                let path = format!("{} {}", ike.local, ike.remote);
                lines
                    .push(format!("  IKE {id} {connection} {spi_i}/{spi_r} {state} {role} {path}"));
                for child in &ike.children {
                    let (spi_in, spi_out, state) = (child.spi_in, child.spi_out, child.state);
                    let (id, name) = (child.id, &child.name);
                    lines.push(format!("    child {id} {name} in {spi_in} out {spi_out} {state}"));
                }
            }
            for sa in host.engine.live(host.now) {
                let Installed { tunnel, child, spi_in, spi_out, active, .. } = sa;
                let place = format!("tunnel-{tunnel} net-{child}");
                lines.push(format!("  engine {place} in {spi_in} out {spi_out} active {active}"));
            }
        }
        lines.join("\n")
    }
}
