//! What a seed plays: the configuration of both sides, the network, the operations.

use std::fmt;
use std::time::Duration;

use adit_crypto::SeededRng;
use adit_db::{Encap, Keep, LimitSpec, ProposalSpec};
use adit_ike::{EndpointConfig, FragmentOctets};

use super::Profile;
use crate::Seed;
use crate::draw::Draw as _;
use crate::network::Faults;
use crate::pair::Side;
use crate::peer::Child;
use crate::setup::Setup;

/// Why two peers cannot agree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disagreement {
    Secret,
    Identity,
    IkeProposal,
    EspProposal,
    Selectors,
}

impl Disagreement {
    const ALL: [Self; 5] =
        [Self::Secret, Self::Identity, Self::IkeProposal, Self::EspProposal, Self::Selectors];

    /// The errors of which the initiator must report one.
    ///
    /// Through a NAT a stranger learns nothing: a wrong secret and an unknown identity look
    /// alike, and E203 names both.
    pub(super) fn codes(self, nat: bool) -> &'static [u16] {
        match self {
            Self::Secret => &[203],
            Self::Identity if nat => &[204, 203],
            Self::Identity => &[204],
            Self::IkeProposal => &[101],
            Self::EspProposal => &[102],
            Self::Selectors => &[301],
        }
    }
}

/// Who wants the tunnel up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keepers {
    Left,
    Right,
    Both,
}

/// Something done to one side, or to both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    RekeyChild,
    RekeyIke,
    RekeyBoth,
    RekeyIkeBoth,
    TerminateChild,
    TerminateIke,
    TerminateBoth,
    Initiate,
    Packet,
    SoftExpire,
    HardExpire,
    Crash,
    Cut,
    /// The NAT, if there is one, gives the left side another port.
    Remap,
}

impl Operation {
    const ALL: [Self; 14] = [
        Self::RekeyChild,
        Self::RekeyIke,
        Self::RekeyBoth,
        Self::RekeyIkeBoth,
        Self::TerminateChild,
        Self::TerminateIke,
        Self::TerminateBoth,
        Self::Initiate,
        Self::Packet,
        Self::SoftExpire,
        Self::HardExpire,
        Self::Crash,
        Self::Cut,
        Self::Remap,
    ];

    pub(super) fn draw(rng: &mut SeededRng) -> Self {
        rng.pick(&Self::ALL)
    }
}

/// The drawn configuration of one run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) disagreement: Option<Disagreement>,
    pub(super) operations: u64,
    pub(super) children: usize,
    keepers: Keepers,
    faults: Faults,
    pub(super) nat: bool,
    forced_udp: bool,
    cookies: bool,
    other_group_first: bool,
    small_fragments: bool,
    no_additional: bool,
    short_lives: bool,
    dpd_delay: Duration,
}

impl Scenario {
    pub(super) fn draw(rng: &mut SeededRng, profile: Profile) -> Self {
        let disagreement = rng.percent(12).then(|| rng.pick(&Disagreement::ALL));
        let nat = rng.percent(20);
        Self {
            disagreement,
            operations: match disagreement {
                Some(_) => 0,
                None => rng.below(u64::from(profile.operations_max) + 1),
            },
            children: if rng.percent(30) { 2 } else { 1 },
            // Nobody can initiate towards a peer behind a NAT.
            keepers: match rng.below(4) {
                0 if !nat => Keepers::Right,
                1 if !nat => Keepers::Both,
                _ => Keepers::Left,
            },
            faults: draw_faults(rng, profile),
            nat,
            forced_udp: rng.percent(20),
            cookies: rng.percent(20),
            other_group_first: rng.percent(20),
            small_fragments: rng.percent(20),
            no_additional: rng.percent(30),
            short_lives: rng.percent(25),
            dpd_delay: rng.pick(&[5, 10, 30].map(Duration::from_secs)),
        }
    }

    pub(super) fn setup(&self, seed: Seed) -> Setup {
        let mut setup = Setup::new(seed);
        if self.children > 1 {
            setup = setup.with_child(9);
        }
        if self.nat {
            setup = setup.behind_nat();
        }
        self.set_connections(&mut setup);
        self.set_disagreement(&mut setup);
        setup.faults = self.faults;
        setup.left_config = self.config(Side::Left);
        setup.right_config = self.config(Side::Right);
        setup
    }

    /// An endpoint's settings.
    pub(super) fn config(&self, side: Side) -> EndpointConfig {
        let mut config = EndpointConfig::default();
        if self.cookies && side == Side::Right {
            config.cookie_threshold = 0;
        }
        if self.small_fragments {
            config.fragment_octets = FragmentOctets { v4: 576, v6: 1_280 };
        }
        config
    }

    /// The sides that want the tunnel up.
    pub(super) fn keepers(&self) -> impl Iterator<Item = Side> + use<> {
        let keepers = self.keepers;
        [Side::Left, Side::Right].into_iter().filter(move |side| match keepers {
            Keepers::Left => *side == Side::Left,
            Keepers::Right => *side == Side::Right,
            Keepers::Both => true,
        })
    }

    pub(super) fn any_child(&self, rng: &mut SeededRng) -> Child {
        Child(usize::try_from(rng.below(2)).unwrap_or(0) % self.children)
    }

    fn set_connections(&self, setup: &mut Setup) {
        let keepers: Vec<Side> = self.keepers().collect();
        for (side, connection) in [(Side::Left, &mut setup.left), (Side::Right, &mut setup.right)] {
            connection.dpd_delay = self.dpd_delay;
            if self.forced_udp {
                connection.encap = Encap::Udp;
            }
            if self.short_lives {
                connection.rekey_time = Duration::from_secs(70);
                connection.rand_time = Duration::from_secs(20);
                connection.over_time = Duration::from_secs(60);
            }
            for child in &mut connection.children {
                if keepers.contains(&side) {
                    *child = child.clone().kept(Keep::Up);
                }
                if self.short_lives {
                    child.lifetime.seconds = LimitSpec { soft: 50, hard: 120, rand: 20 };
                }
            }
        }
        if self.no_additional {
            setup.left.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384");
            setup.right.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384");
        }
        if self.other_group_first {
            setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384-x25519");
        }
    }

    fn set_disagreement(&self, setup: &mut Setup) {
        // Both directions must fail alike, whoever initiates.
        match self.disagreement {
            None => {}
            Some(Disagreement::Secret) => {
                setup.right_secret = Some("incorrect horse".to_owned());
            }
            Some(Disagreement::Identity) => {
                let stranger = "stranger.example".parse().expect("a legal identity");
                setup.left.pad.remote_id = stranger;
                let stranger = "stranger.example".parse().expect("a legal identity");
                setup.right.pad.remote_id = stranger;
            }
            Some(Disagreement::IkeProposal) => {
                setup.left.proposals = ike("aes256gcm16-prfsha384-x25519");
                setup.right.proposals = ike("aes128gcm16-prfsha256-x25519");
            }
            Some(Disagreement::EspProposal) => {
                for child in &mut setup.left.children {
                    child.proposals = esp("aes256gcm16");
                }
                for child in &mut setup.right.children {
                    child.proposals = esp("aes128gcm16");
                }
            }
            Some(Disagreement::Selectors) => {
                for child in &mut setup.right.children {
                    child.local_ts = vec!["172.16.0.0/16".parse().expect("a legal selector")];
                }
            }
        }
    }
}

/// What it is, in one line.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { loss_percent, duplicate_percent, delay_max, .. } = self.faults;
        write!(f, "{:?} up, {} operations", self.keepers, self.operations)?;
        write!(f, ", loss {loss_percent} %, twice {duplicate_percent} %, delay to {delay_max:?}")?;
        let flags = [
            (self.nat, "NAT"),
            (self.forced_udp, "forced UDP"),
            (self.cookies, "cookies"),
            (self.other_group_first, "another group first"),
            (self.small_fragments, "small fragments"),
            (self.no_additional, "no ML-KEM"),
            (self.short_lives, "short lives"),
            (self.children > 1, "two children"),
        ];
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, ", {name}")?;
        }
        match self.disagreement {
            Some(disagreement) => write!(f, ", disagreement: {disagreement:?}"),
            None => Ok(()),
        }
    }
}

fn draw_faults(rng: &mut SeededRng, profile: Profile) -> Faults {
    let percent =
        |rng: &mut SeededRng, max: u8| u8::try_from(rng.below(u64::from(max) + 1)).unwrap_or(max);
    let delay_min = Duration::from_millis(5);
    let spread = profile.delay_max.saturating_sub(delay_min);
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    Faults {
        loss_percent: percent(rng, profile.loss_percent_max),
        duplicate_percent: percent(rng, profile.duplicate_percent_max),
        delay_min,
        delay_max: delay_min + Duration::from_millis(rng.below(spread_ms + 1)),
    }
}

fn ike(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::ike_list(text).expect("a legal proposal")
}

fn esp(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::esp_list(text).expect("a legal proposal")
}
