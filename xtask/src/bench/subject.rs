//! What is measured beside each other.

use serde::Serialize;

/// One thing that carries packets from the left host to the right one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// The cable alone.
    Veth,
    /// Our plane without engine and cipher.
    Plain,
    /// Our daemon with AES-128-GCM.
    AditAes,
    /// Our daemon with ChaCha20-Poly1305.
    AditChacha,
    /// Our daemon with AES-128-GCM, as IP protocol 50.
    AditEsp,
    /// wireguard-go.
    WireguardGo,
    /// Cloudflare's boringtun.
    Boringtun,
    /// Mullvad's gotatun.
    Gotatun,
    /// strongSwan's ESP in user space.
    Libipsec,
}

impl Subject {
    /// All of them, roofs first, then ours.
    pub(crate) const ALL: [Self; 9] = [
        Self::Veth,
        Self::Plain,
        Self::AditAes,
        Self::AditChacha,
        Self::AditEsp,
        Self::WireguardGo,
        Self::Boringtun,
        Self::Gotatun,
        Self::Libipsec,
    ];

    /// Its name on the command line, in JSON and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Plain => "plain",
            Self::AditAes => "adit-aes",
            Self::AditChacha => "adit-chacha",
            Self::AditEsp => "adit-esp",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
            Self::Libipsec => "libipsec",
        }
    }

    /// What it is, for a legend.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Veth => "the cable alone (veth), nothing protected",
            Self::Plain => "our plane with nothing to protect: no policies, SAs and ciphers",
            Self::AditAes => "Adit, ESP in UDP",
            Self::AditChacha => "Adit, ESP in UDP",
            Self::AditEsp => "Adit, ESP as IP protocol 50",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
            Self::Gotatun => "gotatun-cli",
            Self::Libipsec => "strongSwan with kernel-libipsec, ESP in UDP",
        }
    }

    /// What encrypts its packets.
    pub(crate) fn cipher(self) -> &'static str {
        match self {
            Self::Veth | Self::Plain => "none",
            Self::AditAes | Self::AditEsp | Self::Libipsec => "AES-128-GCM",
            Self::AditChacha | Self::WireguardGo | Self::Boringtun | Self::Gotatun => {
                "ChaCha20-Poly1305"
            }
        }
    }

    /// Is it a program of others that does what we do?
    pub(crate) fn is_rival(self) -> bool {
        matches!(self, Self::WireguardGo | Self::Boringtun | Self::Gotatun | Self::Libipsec)
    }

    /// Is it built from this tree?
    pub(crate) fn is_ours(self) -> bool {
        self == Self::Plain || self.is_adit()
    }

    /// Is it our daemon?
    pub(crate) fn is_adit(self) -> bool {
        matches!(self, Self::AditAes | Self::AditChacha | Self::AditEsp)
    }
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|subject| subject.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no `{text}`; there are {names}")
        })
    }
}
