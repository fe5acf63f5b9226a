//! Who may speak for what.

use super::{FIVE_LINES, complaint, good};

fn with_claims(rows: &str) -> String {
    format!("peer_id = \"*.branch.example\"\n{FIVE_LINES}\n[claims]\n{rows}\n")
}

#[test]
fn claims_are_networks_of_identities() {
    let tunnel = good(&with_claims(
        "\"oslo.branch.example\" = \"10.2.0.0/25\"\n\"*.north.branch.example\" = [\"10.2.0.128/25\", \"dynamic\"]",
    ));
    let claimed = |id: &str| {
        let id = id.parse().unwrap();
        let networks = tunnel.connection.pad.claimed_by(&id).unwrap();
        networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(claimed("oslo.branch.example"), "10.2.0.0/25");
    assert_eq!(claimed("hamar.north.branch.example"), "10.2.0.128/25 dynamic");
    assert_eq!(claimed("berlin.branch.example"), "");
}

#[test]
fn claims_that_cannot_be_are_refused() {
    let outside = complaint(&with_claims("\"oslo.branch.example\" = \"10.3.0.0/24\""));
    assert!(outside.contains("nothing of it is in `remote`"), "{outside}");
    assert!(outside.contains("7 | \"oslo.branch.example\" = \"10.3.0.0/24\""), "{outside}");
    let stranger = complaint(&with_claims("\"oslo.example\" = \"10.2.0.0/25\""));
    assert!(stranger.contains("lets in *.branch.example alone"), "{stranger}");
    let nobody = complaint(&with_claims("\"oslo.*\" = \"10.2.0.0/25\""));
    assert!(nobody.contains("a claim of nobody"), "{nobody}");
    let network = complaint(&with_claims("\"oslo.branch.example\" = \"10.2.0.0/40\""));
    assert!(network.contains("`claims` cannot be understood"), "{network}");
    let number = complaint(&with_claims("\"oslo.branch.example\" = 7"));
    assert!(number.contains("must be a string or a list of strings, not an integer"), "{number}");
    let flat = complaint(&format!("claims = \"10.2.0.0/25\"\n{FIVE_LINES}\n"));
    assert!(flat.contains("must be a table, [claims], not a string"), "{flat}");
    let other = format!("{FIVE_LINES}\n[claims]\n\"*.example\" = \"10.2.0.0/25\"\n");
    let nothing = complaint(&other);
    assert!(nothing.contains("`claims` leave nothing to the tunnel's peer"), "{nothing}");
}
