//! Kinds of bad luck, as rates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::net::Weather;

/// What a world suffers from most.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum WorldProfile {
    /// SAs are replaced all the time, from both ends at once, under traffic.
    Rekey,
    /// Hosts change their addresses, NATs their mappings.
    Roam,
    /// Hosts die, return without state, or sleep and return with clocks that jumped.
    Crash,
    /// Strangers forge, replay and flood.
    Dos,
    /// All of it.
    Chaos,
    /// SAs have several key exchanges and are replaced in more than one way.
    Hybrid,
    /// Most tunnels are of IKEv1, and some of all of it happens.
    Ikev1,
    /// The same, and many children are bundles of AH and ESP.
    Bundle,
}

impl WorldProfile {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rekey,
        Self::Roam,
        Self::Crash,
        Self::Dos,
        Self::Chaos,
        Self::Hybrid,
        Self::Ikev1,
        Self::Bundle,
    ];

    /// Its word on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rekey => "rekey",
            Self::Roam => "roam",
            Self::Crash => "crash",
            Self::Dos => "dos",
            Self::Chaos => "chaos",
            Self::Hybrid => "hybrid",
            Self::Ikev1 => "ikev1",
            Self::Bundle => "bundle",
        }
    }

    pub(super) fn rates(self) -> Rates {
        match self {
            Self::Rekey => REKEY,
            Self::Roam => ROAM,
            Self::Crash => CRASH,
            Self::Dos => DOS,
            Self::Chaos => CHAOS,
            Self::Hybrid => HYBRID,
            Self::Ikev1 => IKEV1,
            Self::Bundle => BUNDLE,
        }
    }
}

impl fmt::Display for WorldProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for WorldProfile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|profile| profile.word() == text);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("there is no profile {text:?}; profiles are {words}")
        })
    }
}

/// How often what happens. Those of deeds are weights: their sum has no meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Most hosts; the least are two.
    pub(super) hosts_max: u64,
    /// Most deeds of a run.
    pub(super) deeds_max: u64,
    /// The time over which they lie.
    pub(super) span: Duration,
    /// Replaces keys, of an IKE SA or a child SA, often at both ends at once.
    pub(super) rekey: u64,
    /// Ends an IKE SA or a child SA by command.
    pub(super) terminate: u64,
    /// Sets up a child by command.
    pub(super) initiate: u64,
    /// Sends many packets in a short time.
    pub(super) talk: u64,
    /// Makes links worse for a while.
    pub(super) weather: u64,
    /// Cuts a link for a while.
    pub(super) cut: u64,
    /// Stops a host, which returns without state.
    pub(super) crash: u64,
    /// Stops a host, which returns with its state and later.
    pub(super) pause: u64,
    /// Gives a host another address.
    pub(super) roam: u64,
    /// Lets a NAT forget.
    pub(super) rebind: u64,
    /// Changes a clock.
    pub(super) clock: u64,
    /// Strangers send.
    pub(super) flood: u64,
    /// Hosts behind a NAT, in percent.
    pub(super) nat_percent: u64,
    /// Runs whose SAs live for a minute or two, in percent.
    pub(super) short_lives_percent: u64,
    /// Tunnels of IKEv1, in percent.
    pub(super) ikev1_percent: u64,
    /// Of those tunnels, and where no NAT is, the ones whose children are bundles of AH and ESP, in percent.
    pub(super) bundle_percent: u64,
    /// Whether tunnels have extras: several key exchanges, authentication that is repeated.
    pub(super) has_extras: bool,
    /// How bad links may be all the time.
    pub(super) background: Weather,
}

const NOTHING: Rates = Rates {
    hosts_max: 3,
    deeds_max: 24,
    span: Duration::from_secs(240),
    rekey: 0,
    terminate: 0,
    initiate: 1,
    talk: 4,
    weather: 3,
    cut: 0,
    crash: 0,
    pause: 0,
    roam: 0,
    rebind: 0,
    clock: 1,
    flood: 0,
    nat_percent: 15,
    short_lives_percent: 30,
    ikev1_percent: 0,
    bundle_percent: 0,
    has_extras: false,
    background: Weather {
        loss_percent: 10,
        duplicate_percent: 10,
        spoilt_percent: 1,
        delay_max: Duration::from_millis(200),
        ..Weather::GOOD
    },
};

const REKEY: Rates =
    Rates { deeds_max: 60, rekey: 24, terminate: 2, short_lives_percent: 60, ..NOTHING };

const ROAM: Rates =
    Rates { hosts_max: 4, rekey: 4, roam: 10, rebind: 10, cut: 2, nat_percent: 60, ..NOTHING };

const CRASH: Rates = Rates { rekey: 4, crash: 10, pause: 8, cut: 4, clock: 4, ..NOTHING };

const DOS: Rates = Rates {
    rekey: 4,
    flood: 12,
    terminate: 2,
    background: Weather { loss_percent: 3, ..NOTHING.background },
    ..NOTHING
};

const CHAOS: Rates = Rates {
    hosts_max: 4,
    deeds_max: 40,
    rekey: 10,
    terminate: 4,
    initiate: 3,
    cut: 3,
    crash: 3,
    pause: 3,
    roam: 3,
    rebind: 3,
    clock: 3,
    flood: 3,
    nat_percent: 30,
    background: Weather {
        loss_percent: 20,
        duplicate_percent: 20,
        spoilt_percent: 2,
        delay_max: Duration::from_millis(400),
        ..Weather::GOOD
    },
    ..NOTHING
};

const HYBRID: Rates = Rates {
    deeds_max: 48,
    rekey: 20,
    terminate: 3,
    cut: 2,
    crash: 3,
    pause: 2,
    roam: 2,
    rebind: 2,
    flood: 3,
    nat_percent: 30,
    short_lives_percent: 50,
    has_extras: true,
    ..NOTHING
};

const IKEV1: Rates = Rates {
    deeds_max: 40,
    rekey: 14,
    terminate: 3,
    initiate: 3,
    cut: 2,
    crash: 3,
    pause: 2,
    roam: 2,
    rebind: 3,
    clock: 2,
    flood: 4,
    nat_percent: 30,
    short_lives_percent: 50,
    ikev1_percent: 80,
    ..NOTHING
};

// AH passes no NAT.
const BUNDLE: Rates = Rates { ikev1_percent: 90, bundle_percent: 80, nat_percent: 10, ..IKEV1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_word() {
        for profile in WorldProfile::ALL {
            assert_eq!(profile.word().parse(), Ok(profile));
        }
        assert!("calm".parse::<WorldProfile>().unwrap_err().contains("rekey, roam"));
    }
}
