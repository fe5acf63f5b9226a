//! Traffic selectors between two configurations (RFC 7296 §2.9).

#![cfg(test)]

use adit_db::TsSpec;
use adit_sim::{Pair, Seed, Setup};

fn specs(text: &str) -> Vec<TsSpec> {
    text.split_whitespace().map(|one| one.parse().unwrap()).collect()
}

fn with_selectors(left: [&str; 2], right: [&str; 2]) -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].local_ts = specs(left[0]);
    setup.left.children[0].remote_ts = specs(left[1]);
    setup.right.children[0].local_ts = specs(right[0]);
    setup.right.children[0].remote_ts = specs(right[1]);
    setup
}

/// The left side's selectors, as text.
fn agreed(pair: &Pair) -> [String; 2] {
    let sas = pair.left.child_sas();
    let sa = sas.iter().next().expect("a child");
    let text = |list: &[adit_wire::ikev2::TrafficSelector]| {
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sas, pair.right.child_sas().mirrored());
    [text(&sa.local_ts), text(&sa.remote_ts)]
}

/// CHECKLIST H01, H05, H06.
#[test]
fn both_sides_install_what_they_have_in_common() {
    let cases = [
        (
            ["10.1.0.0/16", "10.2.0.0/16"],
            ["10.2.5.0/24", "10.1.0.0/16"],
            ["10.1.0.0/16", "10.2.5.0/24"],
        ),
        (
            ["10.1.0.0/16", "0.0.0.0/0"],
            ["10.2.0.0/16 10.3.0.0/16", "10.1.0.0/16"],
            ["10.1.0.0/16", "10.2.0.0/16 10.3.0.0/16"],
        ),
        (
            ["10.1.0.0/16 fd01::/64", "10.2.0.0/16 fd02::/64"],
            ["10.2.0.0/16 fd02::/64", "10.1.0.0/16 fd01::/64"],
            ["10.1.0.0/16 fd01::/64", "10.2.0.0/16 fd02::/64"],
        ),
        (["fd01::/64", "fd02::/64"], ["::/0", "::/0"], ["fd01::/64", "fd02::/64"]),
    ];
    for (left, right, expected) in cases {
        assert_eq!(agreed(&with_selectors(left, right).pair().up()), expected);
    }
}

/// CHECKLIST H04.
#[test]
fn protocols_and_ports_are_narrowed() {
    let left = ["10.1.0.0/16", "10.2.0.0/16"];
    let right = ["10.2.0.0/16[tcp/443]", "10.1.0.0/16"];
    let pair = with_selectors(left, right).pair().up();
    assert_eq!(agreed(&pair), ["10.1.0.0/16", "10.2.0.0/16[tcp/443]"]);
}

/// The selectors survive rekeying from the narrower and the wider side (CHECKLIST J28).
#[test]
fn rekeying_keeps_the_narrowed_selectors() {
    let left = ["10.1.0.0/16", "0.0.0.0/0"];
    let right = ["10.2.0.0/16", "10.1.0.0/24"];
    let mut pair = with_selectors(left, right).pair().up();
    let expected = ["10.1.0.0/24".to_owned(), "10.2.0.0/16".to_owned()];
    assert_eq!(agreed(&pair), expected);
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
}

/// `dynamic` is the address of the side itself.
#[test]
fn dynamic_selectors_are_the_gateways_themselves() {
    let pair = with_selectors(["dynamic", "dynamic"], ["dynamic", "dynamic"]).pair().up();
    assert_eq!(agreed(&pair), ["192.0.2.1/32", "203.0.113.2/32"]);
}
