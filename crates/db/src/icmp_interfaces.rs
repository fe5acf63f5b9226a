//! Which interfaces are outside (`red`) and which inside (`black`), as far as somebody says so: the words of
//! draft-ietf-ipsec-icmp-handle-v4.

use std::fmt;
use std::sync::Arc;

use crate::kernel::InterfaceName;

/// Interfaces by colour. Most tunnels name none.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct IcmpInterfaces(Option<Arc<Named>>);

#[derive(Debug, Default, Eq, Hash, PartialEq)]
struct Named {
    red: Vec<InterfaceName>,
    black: Vec<InterfaceName>,
}

impl IcmpInterfaces {
    /// Nothing is named: all interfaces but those of tunnels are red.
    pub const NONE: Self = Self(None);

    /// Interfaces of either colour, at most [`Self::NAMES_MAX`] each; more are left out.
    #[must_use]
    pub fn new(mut red: Vec<InterfaceName>, mut black: Vec<InterfaceName>) -> Self {
        red.truncate(Self::NAMES_MAX);
        black.truncate(Self::NAMES_MAX);
        let is_none = red.is_empty() && black.is_empty();
        Self((!is_none).then(|| Arc::new(Named { red, black })))
    }

    /// By which a host talks to itself; it has no colour.
    pub const LOOPBACK: &str = "lo";

    /// Interfaces of one colour.
    pub const NAMES_MAX: usize = 16;

    /// Whether none is named.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Those that are outside.
    #[must_use]
    pub fn red(&self) -> &[InterfaceName] {
        self.0.as_deref().map_or(&[], |named| &named.red)
    }

    /// Those that are inside.
    #[must_use]
    pub fn black(&self) -> &[InterfaceName] {
        self.0.as_deref().map_or(&[], |named| &named.black)
    }

    /// Whether what comes by this interface comes from outside: if some are red then only by those, else by
    /// all that are not black. What this host's own kernel says, that it does not find a way, comes by
    /// [`Self::LOOPBACK`] and is always heard. `None` is an interface that nobody can name any more.
    #[must_use]
    pub fn is_red(&self, name: Option<&str>) -> bool {
        let is_among = |named: &[InterfaceName]| {
            name.is_some_and(|name| named.iter().any(|one| one.as_str() == name))
        };
        name == Some(Self::LOOPBACK)
            || is_among(self.red())
            || (self.red().is_empty() && !is_among(self.black()))
    }
}

/// `red wan0, black lan0 lan1`; nothing if none is named.
impl fmt::Display for IcmpInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colours = [("red", self.red()), ("black", self.black())];
        let mut separator = "";
        for (colour, names) in colours.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{separator}{colour}")?;
            names.iter().try_for_each(|name| write!(f, " {name}"))?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<InterfaceName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_outside_follows_from_the_names() {
        let is_red = |red: &str, black: &str, name: Option<&str>| {
            IcmpInterfaces::new(names(red), names(black)).is_red(name)
        };
        assert!(is_red("", "", Some("eth0")) && is_red("", "", None));
        assert!(is_red("wan0 wan1", "", Some("wan1")));
        assert!(!is_red("wan0", "", Some("eth0")) && !is_red("wan0", "", None));
        assert!(is_red("", "lan0", Some("eth0")) && is_red("", "lan0", None));
        assert!(!is_red("", "lan0", Some("lan0")));
        assert!(is_red("wan0", "lan0", Some("wan0")) && is_red("wan0", "lan0", Some("lo")));
        assert!(!is_red("wan0", "lan0", Some("lan0")) && !is_red("wan0", "lan0", Some("eth0")));
    }

    #[test]
    fn names_are_bounded_and_shown() {
        let many: Vec<InterfaceName> = (0..99).map(|n| format!("e{n}").parse().unwrap()).collect();
        let interfaces = IcmpInterfaces::new(many.clone(), Vec::new());
        assert_eq!(interfaces.red().len(), IcmpInterfaces::NAMES_MAX);
        assert_eq!(
            IcmpInterfaces::new(names("wan0"), names("a b")).to_string(),
            "red wan0, black a b"
        );
        assert_eq!(IcmpInterfaces::new(Vec::new(), names("a")).to_string(), "black a");
        assert_eq!(IcmpInterfaces::NONE.to_string(), "");
        assert!(IcmpInterfaces::new(Vec::new(), Vec::new()).is_none());
    }
}
