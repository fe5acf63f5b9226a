//! What a peer remembers and says: IKE SAs, children, tasks, messages.

/// One of the two peers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// The one that made the first IKE SA.
    Left,
    /// The other one.
    Right,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A configured child: a pair of selectors.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(pub u8);

/// The SPI that a peer receives a child SA's packets under; no two are alike.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Spi(pub u8);

/// The SPIs of an IKE SA, which both peers know.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IkeId(pub u8);

/// Where the lowest nonce of an exchange stands among those of others. Equal luck is decided by the
/// side, so that both orders of two crossing exchanges come about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rank {
    /// Drawn for each exchange.
    pub lucky: bool,
    /// Who began it.
    pub by: Side,
}

/// A request.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// CREATE_CHILD_SA for a child, new or instead of the one that the sender receives under `rekeys`.
    Child {
        /// The selectors.
        name: Name,
        /// The old one.
        rekeys: Option<Spi>,
        /// What the sender will receive under.
        spi: Spi,
        /// Its nonces.
        rank: Rank,
    },
    /// CREATE_CHILD_SA that rekeys the IKE SA.
    RekeyIke {
        /// What it makes.
        new: IkeId,
        /// Its nonces.
        rank: Rank,
    },
    /// INFORMATIONAL with Delete payloads for children.
    Delete(Vec<Spi>),
    /// INFORMATIONAL with a Delete payload for the IKE SA.
    DeleteIke,
}

impl Request {
    /// Whether it is a CREATE_CHILD_SA, not an INFORMATIONAL.
    pub fn is_create(&self) -> bool {
        matches!(self, Self::Child { .. } | Self::RekeyIke { .. })
    }
}

/// A response.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Response {
    /// The child is there; the sender receives under this.
    Child(Spi),
    /// The new IKE SA is there.
    RekeyIke,
    /// A delete was taken.
    Deleted,
    /// TEMPORARY_FAILURE (RFC 7296 §2.25).
    Busy,
    /// CHILD_SA_NOT_FOUND (RFC 7296 §2.25).
    NotFound,
}

/// What a message says.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Body {
    /// It asks.
    Request(Request),
    /// It answers a CREATE_CHILD_SA, or an INFORMATIONAL.
    Response {
        /// Which of the two.
        create: bool,
        /// The answer.
        what: Response,
    },
}

/// A message as it is sent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Message {
    /// Who sent it.
    pub from: Side,
    /// The IKE SA.
    pub ike: IkeId,
    /// The message id.
    pub id: u8,
    /// The payloads.
    pub body: Body,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// It carries traffic.
    Installed,
    /// It carries traffic until its successor is there.
    Rekeying,
    /// The peer made a successor and will delete this one.
    Rekeyed {
        /// What the successor is received under.
        by: Spi,
    },
    /// We delete it.
    Deleting,
}

/// A child SA.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Child {
    /// Its selectors.
    pub name: Name,
    /// What we receive under.
    pub ours: Spi,
    /// What the peer receives under.
    pub theirs: Spi,
    /// Where it stands.
    pub phase: Phase,
    /// Whether the peer surely has it.
    pub confirmed: bool,
    /// Whether it was told to end, so that a successor ends too.
    pub ended: bool,
}

impl Child {
    /// Whether it carries traffic now and later.
    pub fn is_current(&self) -> bool {
        matches!(self.phase, Phase::Installed | Phase::Rekeying)
    }
}

/// Something a peer wants and has not asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Task {
    /// A child.
    Create(Name),
    /// A successor of a child.
    RekeyChild(Spi),
    /// A successor of the IKE SA.
    RekeyIke,
    /// A child deleted.
    DeleteChild(Spi),
    /// A child deleted that the peer alone has.
    DeleteSpi(Spi),
}

/// The peer's exchange that crossed ours, and what it made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rival<T> {
    /// Its nonces.
    pub rank: Rank,
    /// What it made.
    pub made: T,
}

/// A request in flight.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Own {
    /// For a child.
    Child {
        /// The selectors.
        name: Name,
        /// The old one.
        rekeys: Option<Spi>,
        /// What we will receive under.
        spi: Spi,
        /// Its nonces.
        rank: Rank,
        /// What crossed it.
        rival: Option<Rival<Spi>>,
        /// What the peer deleted meanwhile and we did not know.
        deleted: Vec<Spi>,
    },
    /// For an IKE SA.
    RekeyIke {
        /// What it makes.
        new: IkeId,
        /// Its nonces.
        rank: Rank,
        /// What crossed it.
        rival: Option<Rival<IkeId>>,
    },
    /// Deletes children.
    Delete(Vec<Task>),
}

/// Where an IKE SA stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// In use.
    Established,
    /// The peer made its successor and will delete it.
    Rekeyed,
    /// Our delete is under way.
    Deleting,
    /// Over, but for repeated requests.
    Closed,
}

/// An IKE SA as one peer has it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Ike {
    /// Which one.
    pub id: IkeId,
    /// Where it stands.
    pub stage: Stage,
    /// Message id of our next request.
    pub next: u8,
    /// Message id of the peer's next request.
    pub expected: u8,
    /// The answer to the peer's last request.
    pub last: Option<Body>,
    /// Our request that has no answer yet.
    pub in_flight: Option<Request>,
    /// What it is for.
    pub own: Option<Own>,
    /// What comes next.
    pub tasks: Vec<Task>,
    /// What is tried again later.
    pub delayed: Vec<Task>,
    /// Whether it is to be deleted as soon as the window is free.
    pub closing: bool,
    /// Its children.
    pub children: Vec<Child>,
}

impl Ike {
    /// A fresh one.
    pub fn new(id: IkeId) -> Self {
        Self {
            id,
            stage: Stage::Established,
            next: 0,
            expected: 0,
            last: None,
            in_flight: None,
            own: None,
            tasks: Vec::new(),
            delayed: Vec::new(),
            closing: false,
            children: Vec::new(),
        }
    }

    /// Whether children can be asked for.
    pub fn is_usable(&self) -> bool {
        self.stage == Stage::Established && !self.closing
    }

    /// Whether nothing is going on.
    pub fn is_quiet(&self) -> bool {
        let settled = |child: &Child| child.phase == Phase::Installed;
        match self.stage {
            Stage::Closed => true,
            Stage::Rekeyed | Stage::Deleting => false,
            Stage::Established => {
                self.in_flight.is_none()
                    && self.tasks.is_empty()
                    && self.delayed.is_empty()
                    && self.children.iter().all(settled)
            }
        }
    }

    pub(crate) fn child(&mut self, ours: Spi) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.ours == ours)
    }

    pub(crate) fn has(&self, ours: Spi) -> bool {
        self.children.iter().any(|child| child.ours == ours)
    }

    pub(crate) fn has_current(&self, name: Name) -> bool {
        self.children.iter().any(|child| child.name == name && child.is_current())
    }

    pub(crate) fn has_child(&self, name: Name) -> bool {
        let in_flight = matches!(&self.own, Some(Own::Child { name: asked, rekeys: None, .. })
            if *asked == name);
        let create = Task::Create(name);
        let waits = self.tasks.contains(&create) || self.delayed.contains(&create);
        in_flight || waits || self.has_current(name)
    }

    pub(crate) fn is_rekeying(&self) -> bool {
        matches!(self.own, Some(Own::RekeyIke { .. }))
    }

    pub(crate) fn queue(&mut self, task: Task) {
        if !self.tasks.contains(&task) && !self.delayed.contains(&task) {
            self.tasks.push(task);
        }
    }
}

/// A peer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// Which one.
    pub side: Side,
    /// Its IKE SAs, the newest last.
    pub ikes: Vec<Ike>,
    /// Children that somebody asked for and that were not there yet, by name.
    pub wants: [bool; 2],
    /// Whether what is wanted waits, because something was lost.
    pub waits: bool,
}

/// Numbers that nobody has had.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Fresh {
    /// The next [`Spi`].
    pub spi: u8,
    /// The next [`IkeId`].
    pub ike: u8,
}

impl Fresh {
    pub(crate) fn spi(&mut self) -> Spi {
        self.spi = self.spi.wrapping_add(1);
        Spi(self.spi.wrapping_sub(1))
    }

    pub(crate) fn ike(&mut self) -> IkeId {
        self.ike = self.ike.wrapping_add(1);
        IkeId(self.ike.wrapping_sub(1))
    }
}
