//! What every world goes through in the end: keys are replaced at both ends at once, under traffic.

use std::time::Duration;

use adit_db::{ChildSaId, IkeSaId, IkeVersion};
use adit_ike::IkeSaState;

use super::World;
use crate::world::host::Host;
use crate::world::invariants::Broken;
use crate::world::invariants::steady::{self, REPLACED_WITHIN};
use crate::world::scenario::host_name;
use crate::world::schedule::Place;

/// What crosses, of every tunnel: what the one end is told to replace, and what the other.
const CROSSINGS: [[Subject; 2]; 4] = [
    [Subject::Child, Subject::Child],
    [Subject::IkeSa, Subject::IkeSa],
    [Subject::Child, Subject::IkeSa],
    [Subject::IkeSa, Subject::Child],
];
/// Between two looks at whether packets pass, beside the time that they take.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be replaced.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Child,
    IkeSa,
}

/// An SA that a host was told to replace.
#[derive(Clone, Copy, Debug)]
enum Old {
    Child { host: usize, id: ChildSaId },
    IkeSa { host: usize, id: IkeSaId },
}

impl World<'_> {
    /// Watches a world in which everything is up, while keys are replaced.
    ///
    /// # Errors
    ///
    /// The first invariant that broke.
    pub(in crate::world) fn examine(&mut self) -> Result<(), Broken> {
        for crossing in CROSSINGS {
            let old = self.cross(crossing);
            let end = self.now + REPLACED_WITHIN;
            while self.now < end {
                let is_all = self.try_all_of(IkeVersion::V2)?;
                steady::passed(is_all, || self.state()).map_or(Ok(()), Err)?;
                self.run_until(self.now + LOOK_EVERY)?;
            }
            for sa in old {
                let is_there = self.is_there(sa);
                steady::replaced(is_there, &sa.to_string(), || self.state()).map_or(Ok(()), Err)?;
            }
        }
        Ok(())
    }

    /// Both ends of each tunnel are told at the same moment.
    fn cross(&mut self, subjects: [Subject; 2]) -> Vec<Old> {
        let mut old = Vec::new();
        for (tunnel, plan) in self.scenario.tunnels.iter().enumerate() {
            if plan.version != IkeVersion::V2 {
                continue;
            }
            for (host, subject) in plan.ends.into_iter().zip(subjects) {
                let place = Place { host, tunnel, child: 0 };
                self.story.line(self.now, &format!("{} replaces its {subject:?}", host_name(host)));
                let one = self.host(host);
                match subject {
                    Subject::Child => {
                        let id = one.engine.newest(tunnel, 0);
                        old.extend(id.map(|id| Old::Child { host, id }));
                        Host::rekey_child(one, place);
                    }
                    Subject::IkeSa => {
                        let id = one.newest_ike(tunnel);
                        old.extend(id.map(|id| Old::IkeSa { host, id }));
                        Host::rekey_ike(one, place);
                    }
                }
            }
        }
        self.flush();
        old
    }

    fn is_there(&self, sa: Old) -> bool {
        let of = |host: usize| self.hosts.get(host).expect("a host of this world");
        match sa {
            Old::Child { host, id } => of(host).engine.live(of(host).now).any(|sa| sa.id == id),
            Old::IkeSa { host, id } => {
                let mut all = of(host).ike_sas().into_iter();
                all.any(|info| info.id == id && info.state == IkeSaState::Established)
            }
        }
    }
}

impl std::fmt::Display for Old {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Child { host, id } => write!(f, "child SA {id} of {}", host_name(host)),
            Self::IkeSa { host, id } => write!(f, "IKE SA {id} of {}", host_name(host)),
        }
    }
}
