//! `classes`: an SA of its own for some code points (RFC 4301 §4.1).

use adit_db::{ChildConfig, ChildName, Dscp, DscpClass, DscpSet};

use super::super::fields::{Fields, Item, Placed};
use super::super::report::Mistake;
use super::outer_header::unknown;

/// The children that take some packets from `rest`, which has been read in whole.
pub(super) fn read(fields: &mut Fields<'_>, rest: &ChildConfig) -> Vec<ChildConfig> {
    let Some(lists) = fields.lists("classes") else { return Vec::new() };
    if let Some(first) = lists.first().filter(|_| !rest.pfp.is_none()) {
        fields.mistake(
            Mistake::new(first.span.clone(), "`classes` and `pfp` divide the same traffic")
                .label("an SA for each class, or one for each flow")
                .help("keep one of the two"),
        );
        return Vec::new();
    }
    if let Some(place) = lists.get(CLASSES_MAX).map(|list| list.span.clone()) {
        fields.mistake(
            Mistake::new(place, "too many classes")
                .label(format!("each is an SA of its own; {CLASSES_MAX} at most")),
        );
        return Vec::new();
    }
    let mut taken: Vec<Placed<Dscp>> = Vec::new();
    let mut children = Vec::new();
    for (number, list) in (1..).zip(lists) {
        let mut code_points = DscpSet::default();
        for item in list.value {
            let Some(dscp) = read_item(fields, item) else { continue };
            if let Some(first) = taken.iter().find(|one| one.value == dscp.value) {
                fields.mistake(
                    Mistake::new(dscp.span, format!("{} is there twice", dscp.value))
                        .label("a packet goes through one SA")
                        .note(first.span.clone(), "it stands here, too"),
                );
                continue;
            }
            code_points.insert(dscp.value);
            taken.push(dscp);
        }
        match ChildName::new(&format!("{}.{number}", rest.name)) {
            Ok(name) => {
                let class = Some(DscpClass { of: rest.name.clone(), code_points });
                children.push(ChildConfig { name, class, ..rest.clone() });
            }
            Err(error) => fields.mistake(
                Mistake::new(list.span, "the class has no name")
                    .label(format!("it would be the tunnel's with .{number} behind it: {error}"))
                    .help("give the file a shorter name"),
            ),
        }
    }
    children
}

/// A code point by name or number.
fn read_item(fields: &mut Fields<'_>, item: Placed<Item>) -> Option<Placed<Dscp>> {
    let Placed { value, span } = item;
    let (dscp, text) = match value {
        Item::Text(text) => (Dscp::named(&text), text),
        Item::Number(number) => (u8::try_from(number).ok().and_then(Dscp::new), number.to_string()),
    };
    if dscp.is_none() {
        fields.mistake(unknown("classes", &Placed { value: text, span: span.clone() }, ""));
    }
    Some(Placed { value: dscp?, span })
}

/// Most classes of a tunnel.
const CLASSES_MAX: usize = 8;
