//! What a responder makes of an offer. It may not change the transform that it chooses (RFC 2409 §5), so
//! what it does instead it says in RESPONDER-LIFETIME.

use super::{
    DEFAULT_SECONDS, FLOOR_KILOBYTES, FLOOR_SECONDS, Limit, Limits, Offer, Origin, PHASE_1_SECONDS,
};

/// Which SA is negotiated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The ISAKMP SA: no document has a default.
    One,
    /// An IPsec SA: 28,800 seconds by default (RFC 2407 §4.5).
    Two,
}

/// What an offer of phase 1 without seconds is taken for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Absent {
    /// The shorter of ours and 28,800 seconds, which is what a peer most probably thinks of.
    #[default]
    Shorter,
    /// `local-default`: what we would have offered.
    LocalDefault,
    /// `28800`: an offer of so many seconds, by analogy with phase 2.
    Seconds28800,
    /// `infinite`: an offer without end.
    Infinite,
    /// `reject`: nothing to talk about.
    Reject,
}

/// Between what a limit may lie, in its unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Less than that is refused whatever else holds: a storm of rekeyings.
    pub floor: u64,
    /// The least that the operator wants. Shorter is safe, so it is for [`Policy::strict`] alone.
    pub least: u64,
    /// The most, and who wants it; `None` is any.
    pub most: Option<Limit>,
}

/// What one end wants of lifetimes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Of which SA.
    pub phase: Phase,
    /// What we offer, and have where nothing else is said.
    pub ours: Limits,
    /// Bounds of seconds.
    pub seconds: Bounds,
    /// Bounds of kilobytes.
    pub kilobytes: Bounds,
    /// What an offer of phase 1 without seconds is taken for.
    pub absent: Absent,
    /// Offers outside of the bounds are refused, and so is a peer that notifies what cannot be.
    pub strict: bool,
}

/// Why an offer is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It would be over at once.
    #[error("a lifetime of {offered}, and no less than {floor} is taken")]
    BelowFloor {
        /// What was offered.
        offered: u64,
        /// The least.
        floor: u64,
    },
    /// It is outside of what is configured, and that is strict.
    #[error("a lifetime of {offered}, and only {least} to {most} is taken")]
    OutOfBounds {
        /// What was offered.
        offered: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// It says nothing of seconds, and `absent` is `reject`.
    #[error("no lifetime was offered")]
    Absent,
}

/// What a responder lives by when it has accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Agreement {
    /// Where the SA ends, for this end.
    pub limits: Limits,
    /// What the other end cannot know: it belongs in RESPONDER-LIFETIME.
    pub notify: Option<Offer>,
}

impl Bounds {
    /// Whatever is not below the floor.
    pub fn any(floor: u64) -> Self {
        Self { floor, least: floor, most: None }
    }

    /// What becomes of an offered amount, and whether the peer must be told.
    fn judge(&self, offered: u64, origin: Origin, strict: bool) -> Result<(Limit, bool), Refusal> {
        let floor = self.floor;
        if offered < floor {
            return Err(Refusal::BelowFloor { offered, floor });
        }
        let above = self.most.as_ref().filter(|most| offered > most.amount);
        if strict && (above.is_some() || offered < self.least) {
            let most = self.most.as_ref().map_or(u64::MAX, |most| most.amount);
            return Err(Refusal::OutOfBounds { offered, least: self.least, most });
        }
        // Our own bound may be below the floor, and is nobody's storm but ours.
        Ok(above.map_or_else(|| (Limit::new(offered, origin), false), |most| (most.clone(), true)))
    }
}

impl Policy {
    /// What holds where the operator has written nothing.
    pub fn new(phase: Phase) -> Self {
        let seconds = match phase {
            Phase::One => PHASE_1_SECONDS,
            Phase::Two => DEFAULT_SECONDS,
        };
        let ours = Limit::new(seconds, Origin::Default);
        Self {
            phase,
            seconds: Bounds { most: Some(ours.clone()), ..Bounds::any(FLOOR_SECONDS) },
            ours: Limits { seconds: Some(ours), kilobytes: None },
            kilobytes: Bounds::any(FLOOR_KILOBYTES),
            absent: Absent::default(),
            strict: false,
        }
    }

    /// What an initiator offers: seconds always, as their absence is read in many ways.
    pub fn offer(&self) -> Offer {
        let seconds = self.ours.seconds.as_ref().map_or(PHASE_1_SECONDS, |limit| limit.amount);
        let kilobytes = self.ours.kilobytes.as_ref().map(|limit| limit.amount);
        Offer { seconds: Some(seconds), kilobytes }
    }

    /// Seconds where the offer names none.
    fn unsaid_seconds(&self) -> Result<(Option<Limit>, bool), Refusal> {
        let most = self.seconds.most.clone();
        let ours = self.ours.seconds.clone().or_else(|| most.clone());
        let at_most = |limit: Limit| match &most {
            Some(most) if limit.amount > most.amount => most.clone(),
            _ => limit,
        };
        if self.absent == Absent::Reject {
            return Err(Refusal::Absent);
        }
        if self.phase == Phase::Two {
            // Both ends have read it, so only less is news.
            let limit = at_most(Limit::new(DEFAULT_SECONDS, Origin::Doi));
            let news = limit.amount != DEFAULT_SECONDS;
            return Ok((Some(limit), news));
        }
        let analogous = Limit::new(DEFAULT_SECONDS, Origin::Doi);
        let limit = match self.absent {
            Absent::Shorter => Some(match ours {
                Some(ours) if ours.amount < DEFAULT_SECONDS => ours,
                _ => analogous,
            }),
            Absent::LocalDefault => ours,
            Absent::Seconds28800 => Some(analogous),
            Absent::Infinite | Absent::Reject => most.clone(),
        };
        let limit = limit.map(at_most);
        let news = limit.is_some();
        Ok((limit, news))
    }
}

/// A responder's verdict on the lifetimes of a transform that it would choose anyway: lifetimes have no
/// part in that choice.
///
/// # Errors
///
/// [`Refusal`]: NO-PROPOSAL-CHOSEN (14), unless another transform fits.
pub fn respond(offer: Offer, policy: &Policy) -> Result<Agreement, Refusal> {
    let (seconds, seconds_are_news) = match offer.seconds {
        Some(offered) => {
            let (limit, news) = policy.seconds.judge(offered, Origin::Offered, policy.strict)?;
            (Some(limit), news)
        }
        None => policy.unsaid_seconds()?,
    };
    // Unsaid kilobytes are any number of them, for everybody.
    let (kilobytes, kilobytes_are_news) = match offer.kilobytes {
        Some(offered) => {
            let (limit, news) = policy.kilobytes.judge(offered, Origin::Offered, policy.strict)?;
            (Some(limit), news)
        }
        None => (policy.kilobytes.most.clone(), policy.kilobytes.most.is_some()),
    };
    let told = |limit: &Option<Limit>, news: bool| {
        limit.as_ref().filter(|_| news).map(|limit| limit.amount)
    };
    let notify = Offer {
        seconds: told(&seconds, seconds_are_news),
        kilobytes: told(&kilobytes, kilobytes_are_news),
    };
    let notify = Some(notify).filter(|offer| *offer != Offer::NONE);
    Ok(Agreement { limits: Limits { seconds, kilobytes }, notify })
}
