//! Childless IKE SAs and other gateways.

use adit_db::{Childless, Gateway};

use super::{FIVE_LINES, good, with};

#[test]
fn how_an_ike_sa_begins() {
    let childless = |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.childless;
    assert_eq!(childless(""), Childless::Allow);
    for (word, value) in Childless::WORDS {
        assert_eq!(childless(&format!("childless = \"{word}\"")), *value);
    }
    let wrong = with("childless = \"forced\"");
    assert!(wrong.contains("unknown value for `childless`"), "{wrong}");
    assert!(wrong.contains("did you mean \"force\"?"), "{wrong}");
}

#[test]
fn sessions_are_resumed_where_that_is_wanted() {
    let resumption = |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.resumption;
    assert!(!resumption(""));
    assert!(resumption("resumption = true"));
    let word = with("resumption = \"yes\"");
    assert!(word.contains("resumption"), "{word}");
}

#[test]
fn other_gateways() {
    let redirect =
        |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.redirect.clone();
    assert_eq!((redirect("").to, redirect("").follow), (None, false));
    let name = redirect("redirect = \"gw2.example\"");
    assert_eq!(name.to, Some(Gateway::Name("gw2.example".to_owned())));
    assert!(redirect("follow_redirects = true").follow);

    let network = with("redirect = \"203.0.113.0/24\"");
    assert!(network.contains("the address or the host name of one gateway"), "{network}");
    assert!(network.contains("5 | redirect = \"203.0.113.0/24\""), "{network}");
    let here = with("address = \"192.0.2.1\"\nredirect = \"192.0.2.1\"");
    assert!(here.contains("sends peers to where they are"), "{here}");
    let kind = with("follow_redirects = 1");
    assert!(kind.contains("true or false"), "{kind}");
}
