//! Rules of the packet filter that drop what tunnels need, out of what `nft -j list ruleset` says.

use serde_json::Value;

/// A rule, or a chain, that drops.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Blocked {
    /// What: `UDP 4500`, `ESP`.
    pub(crate) what: String,
    /// Where: `table inet filter, chain input`.
    pub(crate) place: String,
    /// `drop` or `reject`, of a rule or because nothing else matches.
    pub(crate) how: String,
    /// Of which packets: IPv4, IPv6.
    pub(crate) families: [bool; 2],
}

/// What of the tunnels' needs the filter drops. What it does by addresses and interfaces is taken at
/// its word: such a rule may be meant for others, so only rules about nothing else count.
pub(crate) fn blocked(ruleset: &Value) -> Vec<Blocked> {
    let objects = ruleset.get("nftables").and_then(Value::as_array);
    let objects: &[Value] = objects.map_or(&[], Vec::as_slice);
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    chains.filter(|chain| is_on_the_way(chain)).flat_map(|chain| of_chain(chain, objects)).collect()
}

/// Whether packets of this host's own daemon pass it. Our own tables are about the clear packets.
fn is_on_the_way(chain: &Value) -> bool {
    let ours = text(chain, "table").is_some_and(|table| table.starts_with("adit_adit"));
    let hook = text(chain, "hook");
    !ours && matches!(hook, Some("prerouting" | "input" | "output" | "postrouting"))
}

/// Whether a chain sees packets of IPv4, and of IPv6. `None` if it sees neither, but ARP or the frames of a bridge.
fn families(chain: &Value) -> Option<[bool; 2]> {
    match text(chain, "family")? {
        "inet" => Some([true, true]),
        "ip" => Some([true, false]),
        "ip6" => Some([false, true]),
        _ => None,
    }
}

fn of_chain(chain: &Value, objects: &[Value]) -> Vec<Blocked> {
    let Some(families) = families(chain) else { return Vec::new() };
    let same = |rule: &&Value| {
        let is = |name| text(rule, name) == text(chain, name);
        is("family") && is("table") && text(rule, "chain") == text(chain, "name")
    };
    let rules = objects.iter().filter_map(|object| object.get("rule")).filter(same);
    let rules: Vec<Rule<'_>> = rules.filter_map(Rule::read).collect();
    let place = format!(
        "table {} {}, chain {}",
        text(chain, "family").unwrap_or("?"),
        text(chain, "table").unwrap_or("?"),
        text(chain, "name").unwrap_or("?")
    );
    let falls = text(chain, "policy") == Some("drop");
    let mut found = Vec::new();
    for need in Need::ALL {
        // The first rule that is about it decides.
        let rule = rules.iter().find(|rule| rule.is_about(need));
        let how = match rule {
            Some(Rule { verdict: Verdict::Accept, .. }) => None,
            Some(Rule { verdict: Verdict::Jump, .. }) => None,
            Some(Rule { verdict: Verdict::Drop(word), .. }) => Some(format!("a rule says {word}")),
            None => falls.then(|| "policy drop, and no rule lets it through".to_owned()),
        };
        let what = need.name().to_owned();
        found.extend(how.map(|how| Blocked { what, place: place.clone(), how, families }));
    }
    // ESP is on the way only without UDP; a filter that lets 4500 in does all that is needed.
    let esp_by_policy =
        |one: &Blocked| one.what == Need::Esp.name() && one.how.starts_with("policy");
    found.retain(|one| !esp_by_policy(one));
    found
}

/// What tunnels need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Need {
    Ike,
    Nat,
    Esp,
}

impl Need {
    const ALL: [Self; 3] = [Self::Ike, Self::Nat, Self::Esp];

    fn name(self) -> &'static str {
        match self {
            Self::Ike => "UDP 500",
            Self::Nat => "UDP 4500",
            Self::Esp => "ESP",
        }
    }

    fn port(self) -> Option<u64> {
        match self {
            Self::Ike => Some(500),
            Self::Nat => Some(4500),
            Self::Esp => None,
        }
    }
}

/// What becomes of a packet that a rule matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Accept,
    /// Another chain decides, which is not followed.
    Jump,
    Drop(&'static str),
}

struct Rule<'a> {
    matches: Vec<&'a Value>,
    /// Whether there are conditions beside them, of which nothing is known: a limit, an ipset.
    has_others: bool,
    verdict: Verdict,
}

impl<'a> Rule<'a> {
    /// `None` for a rule that only counts or marks.
    fn read(rule: &'a Value) -> Option<Self> {
        let parts = rule.get("expr")?.as_array()?;
        let verdict = parts.iter().find_map(|part| {
            let has = |name| part.get(name).is_some();
            match () {
                () if has("drop") => Some(Verdict::Drop("drop")),
                () if has("reject") => Some(Verdict::Drop("reject")),
                () if has("accept") => Some(Verdict::Accept),
                // What a map says depends on its elements, as what a chain says on its rules.
                () if ["jump", "goto", "queue", "vmap"].into_iter().any(has) => Some(Verdict::Jump),
                () => None,
            }
        })?;
        let matches = parts.iter().filter_map(|part| part.get("match")).collect();
        let is_known = |part: &Value| KNOWN_PARTS.iter().any(|name| part.get(name).is_some());
        Some(Self { matches, has_others: !parts.iter().all(is_known), verdict })
    }

    /// Whether it matches every packet of that kind, or lets some of that kind through.
    fn is_about(&self, need: Need) -> bool {
        let fits: Vec<Option<bool>> = self.matches.iter().map(|one| fits(one, need)).collect();
        if fits.contains(&Some(false)) {
            return false;
        }
        match self.verdict {
            // A condition that is not understood may let the packet through, and may not drop it.
            Verdict::Accept | Verdict::Jump => true,
            Verdict::Drop(_) => !self.has_others && fits.iter().all(|fit| *fit == Some(true)),
        }
    }
}

/// Whether a condition holds for what is needed; `None` if it is about something else.
fn fits(condition: &Value, need: Need) -> Option<bool> {
    let right = condition.get("right")?;
    let equal = matches!(text(condition, "op"), Some("==" | "in"));
    let left = condition.get("left")?;
    let payload = left.get("payload");
    let of = |name: &str| payload.and_then(|payload| text(payload, name));
    let meta = left.get("meta").and_then(|meta| text(meta, "key"));
    // What this host says to itself.
    let own = matches!(meta, Some("iif" | "iifname" | "oif" | "oifname")) && right == "lo";
    if own {
        return Some(false);
    }
    if let Some(ct) = left.get("ct") {
        // Answers alone, or what makes no sense: the peer's first word is neither.
        let is_state = text(ct, "key") == Some("state");
        return (is_state && equal && !names(right, "new")).then_some(false);
    }
    let holds = match (of("protocol"), of("field"), meta) {
        (Some("udp"), Some("dport" | "sport"), _) => {
            need.port().is_some_and(|port| contains(right, port))
        }
        (Some("tcp" | "icmp" | "icmpv6"), _, _) => false,
        (Some("esp"), _, _) => need == Need::Esp,
        (Some("ip"), Some("protocol"), _)
        | (Some("ip6"), Some("nexthdr"), _)
        | (_, _, Some("l4proto")) => is_protocol(right, need),
        _ => return None,
    };
    Some(holds == equal)
}

fn is_protocol(right: &Value, need: Need) -> bool {
    let (name, number) = if need == Need::Esp { ("esp", 50) } else { ("udp", 17) };
    let is = |value: &Value| value.as_str() == Some(name) || contains(value, number);
    is(right) || set(right).iter().any(is)
}

/// Whether a number, a range or a set has a number.
fn contains(right: &Value, number: u64) -> bool {
    if let Some(one) = right.as_u64() {
        return one == number;
    }
    if let Some(ends) = right.get("range").and_then(Value::as_array) {
        let end = |at: usize| ends.get(at).and_then(Value::as_u64);
        return end(0).zip(end(1)).is_some_and(|(first, last)| (first..=last).contains(&number));
    }
    set(right).iter().any(|one| contains(one, number))
}

/// Whether a word is there, alone or in a set.
fn names(right: &Value, word: &str) -> bool {
    right == word || set(right).iter().any(|one| one == word)
}

fn set(right: &Value) -> &[Value] {
    let members = right.get("set").unwrap_or(right);
    members.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// Parts of a rule that are no condition, or one that [`fits`] looks at.
const KNOWN_PARTS: [&str; 11] = [
    "match", "counter", "log", "comment", "accept", "drop", "reject", "jump", "goto", "queue",
    "vmap",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": "inet", "table": "filter", "name": "c", "hook": hook,
            "policy": policy}})
    }

    fn rule(expr: &Value) -> Value {
        json!({"rule": {"family": "inet", "table": "filter", "chain": "c", "expr": expr}})
    }

    fn udp(field: &str, right: &Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": field}},
            "right": right}})
    }

    fn found(objects: &[Value]) -> Vec<String> {
        let all = blocked(&json!({"nftables": objects}));
        all.into_iter().map(|one| format!("{}: {}", one.what, one.how)).collect()
    }

    #[test]
    fn a_rule_that_drops_a_port_is_found() {
        let drop = json!({"drop": null});
        let rules = [
            chain("input", "accept"),
            rule(&json!([udp("dport", &json!({"set": [53, 4500]})), {"counter": {}}, drop])),
        ];
        assert_eq!(found(&rules), ["UDP 4500: a rule says drop"]);
        let range = [
            chain("output", "accept"),
            rule(&json!([udp("dport", &json!({"range": [400, 600]})), {"reject": {}}])),
        ];
        assert_eq!(found(&range), ["UDP 500: a rule says reject"]);
        let esp =
            json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "esp"}});
        let rules = [chain("prerouting", "accept"), rule(&json!([esp, drop]))];
        assert_eq!(found(&rules), ["ESP: a rule says drop"]);
    }

    /// A host without IPv6 often drops all of that; and what ARP or a bridge carries is no IKE.
    #[test]
    fn a_chain_is_about_the_packets_of_its_family() {
        let of = |family: &str| {
            let mut closed = chain("input", "drop");
            closed["chain"]["family"] = json!(family);
            blocked(&json!({"nftables": [closed]})).first().map(|one| one.families)
        };
        assert_eq!([of("inet"), of("ip")], [Some([true, true]), Some([true, false])]);
        assert_eq!([of("ip6"), of("arp"), of("bridge")], [Some([false, true]), None, None]);
    }

    #[test]
    fn a_rule_about_some_address_is_taken_at_its_word() {
        let from = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip",
            "field": "saddr"}}, "right": "192.0.2.1"}});
        let rules = [
            chain("input", "accept"),
            rule(&json!([from, udp("dport", &json!(4500)), {"drop": null}])),
        ];
        assert!(found(&rules).is_empty());
    }

    /// An ipset, a list of ports or a limit of the old tables is shown as `xt`, which says nothing.
    #[test]
    fn a_rule_with_a_condition_that_is_not_understood_drops_nothing_of_ours() {
        let of = |part: &Value| {
            let drop = rule(&json!([part, {"counter": {}}, {"drop": null}]));
            found(&[chain("input", "accept"), drop])
        };
        assert!(of(&json!({"xt": {"type": "match", "name": "set"}})).is_empty());
        assert!(of(&json!({"limit": {"rate": 10, "per": "second"}})).is_empty());
        assert_eq!(of(&json!({"log": null})).len(), 3, "it drops everything");
    }

    #[test]
    fn new_connections_and_maps_of_verdicts_may_let_us_through() {
        let state = |right: &Value| json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}});
        let ports = udp("dport", &json!({"set": [500, 4500]}));
        let of = |parts: &Value| found(&[chain("input", "drop"), rule(parts)]);
        let accept = json!({"accept": null});
        assert!(of(&json!([state(&json!("new")), ports, accept])).is_empty());
        assert!(of(&json!([state(&json!(["established", "new"])), ports, accept])).is_empty());
        assert_eq!(of(&json!([state(&json!(["established"])), ports, accept])).len(), 2);
        let mark = json!({"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": 7}});
        assert!(of(&json!([mark, ports, accept])).is_empty(), "it may be ours");
        let map = json!({"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}},
            "data": {"set": [[500, accept], [4500, accept]]}}});
        assert!(of(&json!([map])).is_empty());
    }

    #[test]
    fn what_is_not_let_in_is_dropped_by_the_policy() {
        let closed = [chain("input", "drop")];
        assert_eq!(
            found(&closed),
            [
                "UDP 500: policy drop, and no rule lets it through",
                "UDP 4500: policy drop, and no rule lets it through"
            ]
        );
        let usual = [
            chain("input", "drop"),
            rule(&json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}},
                "right": ["established", "related"]}}, {"accept": null}])),
            rule(&json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}},
                "right": "lo"}}, {"accept": null}])),
            rule(&json!([udp("dport", &json!(500)), {"accept": null}])),
        ];
        assert_eq!(found(&usual), ["UDP 4500: policy drop, and no rule lets it through"]);
        let inside = [
            chain("input", "drop"),
            rule(&json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}},
                "right": "eth1"}}, {"accept": null}])),
        ];
        assert!(found(&inside).is_empty(), "eth1 may be where the peer is");
        let open = [
            chain("input", "drop"),
            rule(&json!([udp("dport", &json!({"set": [500, 4500]})), {"accept": null}])),
        ];
        assert!(found(&open).is_empty());
        assert!(found(&[chain("forward", "drop")]).is_empty(), "not on our way");
        assert!(found(&[json!({"metainfo": {}}), json!(null)]).is_empty());
    }
}
