//! How packets find their way to a tunnel, and what the kernel alone does as its engine.

use std::fmt;
use std::str::FromStr;

/// How packets come to a child, and what the kernel alone does for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KernelOptions {
    /// What besides its selectors makes a packet the child's.
    pub steering: Steering,
    /// Whether routes are somebody else's affair.
    pub no_routes: bool,
    /// How much of ESP a network device does.
    pub offload: HwOffload,
    /// What the interface that carries it takes; several tunnels of one get the longest.
    pub tun_mtu: TunMtu,
}

/// The longest packet that the interface of a tunnel takes whole: what is sent inside may not be longer,
/// whatever its path takes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TunMtu {
    /// What fits the links to the peers.
    #[default]
    Auto,
    /// So many octets.
    Fixed(u16),
}

impl TunMtu {
    /// What may be said, octets: IPv6 wants the first (RFC 8200 §5), and with the second an ESP packet in
    /// UDP and IPv6 has 9,000, the most that network devices take as a rule.
    pub const RANGE: std::ops::RangeInclusive<u16> = 1_280..=8_890;
}

impl KernelOptions {
    /// The key of the first option that user space does not have.
    pub fn key(&self) -> Option<&'static str> {
        let Self { steering: Steering { interface: _, mark }, no_routes: _, offload, tun_mtu: _ } =
            self;
        let keys = [(mark.is_some(), "mark"), (*offload != HwOffload::Off, "offload")];
        keys.into_iter().find(|(is_set, _)| *is_set).map(|(_, key)| key)
    }
}

/// What besides its selectors makes a packet a child's.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Steering {
    /// It goes through this interface, which is made for it.
    pub interface: Option<InterfaceName>,
    /// It has this firewall mark.
    pub mark: Option<Mark>,
}

impl Steering {
    /// Whether a packet may be the business of both, as far as this tells. What goes through an
    /// interface of its own has been given to it by a route.
    pub fn meets(&self, other: &Self) -> bool {
        let marks_meet = match (self.mark, other.mark) {
            (Some(one), Some(two)) => (one.value ^ two.value) & one.mask & two.mask == 0,
            // The mark is asked for first.
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => true,
        };
        self.interface == other.interface && marks_meet
    }
}

/// The name of a network interface, as the kernel and the names of its settings allow it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Octets of the longest name: IFNAMSIZ without the zero behind it.
    pub const OCTETS_MAX: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not the name of an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InterfaceNameError {
    /// Empty, or more octets than [`InterfaceName::OCTETS_MAX`].
    #[error("a name has 1 to {} octets", InterfaceName::OCTETS_MAX)]
    Length,
    /// Something else than letters, digits, `-`, `_` and `.`.
    #[error("a name is made of letters, digits, '-', '_' and '.'")]
    Character,
    /// A name with a meaning of its own.
    #[error("the name is taken: it means something else to the system")]
    Reserved,
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::OCTETS_MAX {
            return Err(InterfaceNameError::Length);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !text.chars().all(is_plain) {
            return Err(InterfaceNameError::Character);
        }
        // Directories of /proc/sys/net/ipv4/conf, or a path.
        if ["all", "default", "lo", ".", ".."].contains(&text) {
            return Err(InterfaceNameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A firewall mark that packets must have: `packet & mask == value`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// Not a mark.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MarkError {
    /// Not one or two numbers.
    #[error("a mark is a number such as 0x10, or a number and its mask: 0x10/0xff")]
    Number,
    /// Every packet has it, or none.
    #[error("the mask leaves no bit of the mark, or the mark has bits outside of it")]
    Mask,
}

impl FromStr for Mark {
    type Err = MarkError;

    /// `0x10/0xff`; without a mask all bits count.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let read = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            read.map_err(|_| MarkError::Number)
        };
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value)?, number(mask)?),
            None => (number(text)?, u32::MAX),
        };
        if mask == 0 || value & !mask != 0 {
            return Err(MarkError::Mask);
        }
        Ok(Self { value, mask })
    }
}

/// As it is read.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

/// How much of ESP a network device does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HwOffload {
    /// Nothing.
    #[default]
    Off,
    /// The cipher.
    Crypto,
    /// Headers, policies and replay window too.
    Packet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_takes() {
        for good in ["vpn1", "a", "berlin-oslo_4.2"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().to_string(), good);
        }
        let error = |text: &str| text.parse::<InterfaceName>().unwrap_err();
        assert_eq!(error(""), InterfaceNameError::Length);
        assert_eq!(error("sixteen-octets-x"), InterfaceNameError::Length);
        for odd in ["vpn/1", "vpn 1", "vpn%d", "eth0:1", "gr\u{fc}n"] {
            assert_eq!(error(odd), InterfaceNameError::Character, "{odd}");
        }
        for taken in ["lo", "all", "default", "."] {
            assert_eq!(error(taken), InterfaceNameError::Reserved, "{taken}");
        }
    }

    #[test]
    fn interfaces_and_marks_keep_packets_apart() {
        let on = |interface: &str, mark: &str| Steering {
            interface: interface.parse().ok(),
            mark: mark.parse().ok(),
        };
        assert!(on("", "").meets(&on("", "")));
        assert!(on("vpn1", "").meets(&on("vpn1", "")));
        assert!(!on("vpn1", "").meets(&on("vpn2", "")));
        assert!(!on("vpn1", "").meets(&on("", "")));
        assert!(!on("", "1").meets(&on("", "")));
        assert!(!on("", "1/0xf").meets(&on("", "2/0xf")));
        assert!(on("", "1/0xf").meets(&on("", "0x10/0xf0")));
    }

    #[test]
    fn marks_have_bits_within_their_mask() {
        let mark = |text: &str| text.parse::<Mark>();
        assert_eq!(mark("0x10/0xff"), Ok(Mark { value: 0x10, mask: 0xff }));
        assert_eq!(mark("42"), Ok(Mark { value: 42, mask: u32::MAX }));
        // All packets without any of these bits.
        assert_eq!(mark("0/0xff").unwrap().to_string(), "0x0/0xff");
        assert_eq!(mark("0x100/0xff"), Err(MarkError::Mask));
        assert_eq!(mark("0/0"), Err(MarkError::Mask));
        for odd in ["", "0x", "ten", "1/", "1/2/3", "-1", "0x1ffffffff"] {
            assert_eq!(mark(odd), Err(MarkError::Number), "{odd}");
        }
    }
}
