//! Two tunnels that claim the same traffic: which of them a packet takes would be an accident.

use std::ops::Range;

use adit_db::Steering;
use adit_wire::ikev2::TrafficSelector;

use super::report::{ConfigError, Mistake, tunnel_name};
use super::tunnel::Draft;

/// A selector of a tunnel and where it stands.
pub(super) struct PlacedSelector {
    pub(super) selector: TrafficSelector,
    pub(super) span: Range<usize>,
}

/// One error for each pair of tunnels of which a packet could take either.
pub(super) fn find(drafts: &[Draft<'_>]) -> Vec<ConfigError> {
    // Sorted by where the remote side begins, only neighbours up to its end can overlap.
    let mut sides: Vec<(usize, &PlacedSelector)> = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        sides.extend(draft.remote.iter().map(|remote| (index, remote)));
    }
    sides.sort_by_key(|(_, remote)| (remote.selector.is_ipv4(), remote.selector.start));
    let mut found: Vec<(usize, usize, ConfigError)> = Vec::new();
    for (position, (first, a)) in sides.iter().enumerate() {
        for (second, b) in sides.iter().skip(position + 1) {
            let beyond = b.selector.start > a.selector.end;
            if a.selector.is_ipv4() != b.selector.is_ipv4() || beyond {
                break;
            }
            let pair = (*first.min(second), *first.max(second));
            let known = found.iter().any(|(x, y, _)| (*x, *y) == pair);
            if first == second || known || found.len() >= FOUND_MAX {
                continue;
            }
            let (earlier, later) = if first < second { (a, b) } else { (b, a) };
            if let Some(error) = clash(drafts, pair, earlier, later) {
                found.push((pair.0, pair.1, error));
            }
        }
    }
    found.sort_by_key(|(first, second, _)| (*second, *first));
    found.into_iter().map(|(_, _, error)| error).collect()
}

/// What besides selectors tells its packets from those of others.
fn steering(draft: &Draft<'_>) -> Steering {
    let child = draft.tunnel.connection.children.first();
    child.map_or_else(Steering::default, |child| child.kernel.steering.clone())
}

/// Overlaps that are told.
const FOUND_MAX: usize = 20;

fn clash(
    drafts: &[Draft<'_>],
    (first, second): (usize, usize),
    earlier: &PlacedSelector,
    later: &PlacedSelector,
) -> Option<ConfigError> {
    let (one, other) = (drafts.get(first)?, drafts.get(second)?);
    if !steering(one).meets(&steering(other)) {
        return None;
    }
    let common = earlier.selector.intersection(&later.selector)?;
    // Different local networks towards the same remote one are told apart by their source.
    let same_source = one
        .local
        .iter()
        .any(|a| other.local.iter().any(|b| a.selector.intersection(&b.selector).is_some()));
    let dynamic = one.local.is_empty() || other.local.is_empty();
    if !same_source && !dynamic {
        return None;
    }
    let name = tunnel_name(one.file);
    let mistake =
        Mistake::new(later.span.clone(), format!("tunnel {name} claims this traffic too"))
            .label(format!("{common} would go into either tunnel"))
            .elsewhere(one.file, earlier.span.clone(), "claimed here")
            .help(
                "make the remote networks disjoint, or give the tunnels different local networks",
            );
    Some(mistake.render(other.file))
}
