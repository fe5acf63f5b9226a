//! How identities, lists and durations are written.

use std::fmt::Display;
use std::time::Duration;

use adit_db::{Identity, IdentityPattern};
use adit_wire::ikev2::TrafficSelector;

/// An identity, and what kind of name it is.
pub(super) fn with_kind(identity: &Identity) -> String {
    let kind = match identity {
        Identity::Ipv4(_) | Identity::Ipv6(_) => "address",
        Identity::Fqdn(_) => "host name",
        Identity::Rfc822(_) => "mail address",
        Identity::KeyId(_) => "key id",
        Identity::Dn(_) => "distinguished name",
        Identity::Null => "nobody",
    };
    format!("{identity} ({kind})")
}

/// Whom a pattern stands for.
pub(super) fn pattern_words(pattern: &IdentityPattern) -> String {
    match pattern {
        IdentityPattern::Any => "anybody".to_owned(),
        IdentityPattern::Exact(identity) => with_kind(identity),
        IdentityPattern::Below(_) | IdentityPattern::MailOf(_) => pattern.to_string(),
    }
}

/// One a line.
pub(super) fn list_lines<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// All in one line.
pub(super) fn joined(selectors: &[TrafficSelector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A duration in the words of `adit status`: 18 ms, 3.2 s, 41 min, 5 h, 2 d.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
