//! `[claims]`: which peer may speak for which networks (RFC 4301 §4.4.3.4).
//!
//! ```toml
//! [claims]
//! "oslo.branch.example"  = "10.2.1.0/24"
//! "*.north.branch.example" = ["10.2.16.0/20", "fd02:10::/32"]
//! ```

use adit_db::{Claim, Connection, IdentityPattern, TsSpec};

use super::parse_side;
use crate::config::fields::{Fields, Placed};
use crate::config::report::Mistake;

/// Reads the table, once peer and selectors are known.
pub(super) fn read(fields: &mut Fields<'_>, connection: &mut Connection) {
    let Some(rows) = fields.table("claims") else { return };
    let remote: Vec<TsSpec> =
        connection.children.iter().flat_map(|child| child.remote_ts.iter().copied()).collect();
    for (id, texts) in rows {
        let Some(pattern) = read_id(fields, &id, &connection.pad.remote_id) else { continue };
        let networks = parse_side(fields, "claims", texts);
        if let Some(outside) = networks.iter().find(|network| !meets(network.value, &remote)) {
            fields.mistake(
                Mistake::new(outside.span.clone(), "a claim to what the tunnel does not carry")
                    .label("nothing of it is in `remote`")
                    .help("widen `remote`, or remove it"),
            );
        }
        let networks = networks.into_iter().map(|network| network.value).collect();
        connection.pad.claims.push(Claim { id: pattern, networks });
    }
    if connection.pad.remote_id.exact().is_some_and(|id| {
        let networks = connection.pad.claimed_by(id);
        networks.is_some_and(|networks| networks.is_empty())
    }) && fields.mistakes.is_empty()
    {
        fields.mistake(
            Mistake::whole_file("`claims` leave nothing to the tunnel's peer")
                .help("give its networks to its identity, or remove [claims]"),
        );
    }
}

fn read_id(
    fields: &mut Fields<'_>,
    id: &Placed<String>,
    peers: &IdentityPattern,
) -> Option<IdentityPattern> {
    match id.value.parse::<IdentityPattern>() {
        Ok(pattern) if pattern.exact().is_some_and(|id| !peers.matches(id)) => {
            fields.mistake(
                Mistake::new(id.span.clone(), "no peer of this tunnel has this identity")
                    .label(format!("`peer_id` lets in {peers} alone")),
            );
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            fields.mistake(
                Mistake::new(id.span.clone(), "a claim of nobody").label(error.to_string()),
            );
            None
        }
    }
}

/// Whether a claim has something in common with the tunnel's networks, as far as they are known.
fn meets(claim: TsSpec, remote: &[TsSpec]) -> bool {
    let Some(claim) = claim.selector() else { return true };
    remote
        .iter()
        .any(|ts| ts.selector().is_none_or(|selector| selector.intersection(&claim).is_some()))
}
