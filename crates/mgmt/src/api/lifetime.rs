//! When SAs are renewed and when they end, and what each number comes from: `adit why-lifetime`.

use serde::{Deserialize, Serialize};

use super::Source;

/// Answer to `adit-why-lifetime`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LifetimeReport {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The tunnel.
    pub tunnel: String,
    /// Where its configuration comes from.
    pub source: Source,
    /// Its SAs, each IKE SA before its children.
    pub sas: Vec<SaLifetimes>,
}

/// What limits one SA.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SaLifetimes {
    /// `IKE`, `ESP` or `AH`.
    pub protocol: String,
    /// The child's name; none for an IKE SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// Its number in this process.
    pub id: u32,
    /// `ESTABLISHED`, `INSTALLED`, `REKEYING` and so on.
    pub state: String,
    /// Time since it was there.
    pub age_s: u64,
    /// Its limits, in the order of people: renewal before end.
    pub limits: Vec<LimitStatus>,
}

/// One limit of an SA.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LimitStatus {
    /// What happens: `rekey`, `reauthenticate`, `end` or `idle`.
    pub limit: String,
    /// In what it is counted: `seconds`, `octets` or `packets`.
    pub unit: String,
    /// How much, since the SA was there; none is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// What is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Whether it is the first of those that do the same in the same unit.
    pub first: bool,
    /// What the number comes from, in words.
    pub origin: String,
    /// The file that has it, and the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}
