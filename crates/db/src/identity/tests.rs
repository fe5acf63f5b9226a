use proptest::prelude::*;

use super::*;

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn pattern(text: &str) -> IdentityPattern {
    text.parse().unwrap()
}

#[test]
fn texts_read_as_swanctl_reads_them() {
    assert_eq!(id("192.0.2.1"), Identity::Ipv4([192, 0, 2, 1].into()));
    assert_eq!(id("2001:db8::1"), Identity::Ipv6("2001:db8::1".parse().unwrap()));
    assert_eq!(id("@gw.berlin.example"), Identity::Fqdn("gw.berlin.example".into()));
    assert_eq!(id("gw.berlin.example"), Identity::Fqdn("gw.berlin.example".into()));
    assert_eq!(id("alice@berlin.example"), Identity::Rfc822("alice@berlin.example".into()));
    assert_eq!(id("@@berlin.example"), Identity::Rfc822("berlin.example".into()));
    assert_eq!(id("@#0a0B"), Identity::KeyId(vec![10, 11]));
    assert_eq!(id("keyid:branch-7"), Identity::KeyId(b"branch-7".to_vec()));
    assert_eq!(id("keyid:0x00ff"), Identity::KeyId(vec![0, 255]));
    assert_eq!(id("fqdn:10.0.0.1"), Identity::Fqdn("10.0.0.1".into()));
    assert_eq!(id("email:x"), Identity::Rfc822("x".into()));
    assert_eq!(id("ipv4:10.0.0.1"), Identity::Ipv4([10, 0, 0, 1].into()));
    assert_eq!(id("ipv6:::1"), Identity::Ipv6(Ipv6Addr::LOCALHOST));
    assert_eq!(id("dn:#3000"), Identity::Dn(vec![0x30, 0]));
}

#[test]
fn broken_texts_say_why() {
    let error = |text: &str| text.parse::<Identity>().unwrap_err();
    assert_eq!(error(""), IdentityError::Empty);
    assert_eq!(error("@"), IdentityError::Empty);
    assert_eq!(error("fqdn:"), IdentityError::Empty);
    assert_eq!(error("ipv4:::1"), IdentityError::BadAddress("::1".into()));
    assert_eq!(error("@#0g"), IdentityError::BadHex("0g".into()));
    assert_eq!(error("@#012"), IdentityError::BadHex("012".into()));
    assert_eq!(error("%any"), IdentityError::Pattern("%any".into()));
    assert_eq!(error("*.example"), IdentityError::Pattern("*.example".into()));
    assert_eq!(error(&"x".repeat(1025)), IdentityError::TooLong);
}

#[test]
fn wire_octets_must_fit_their_type() {
    let read = |kind, octets: &[u8]| Identity::from_wire(kind, octets).unwrap_err();
    assert_eq!(read(IdType::IPV4_ADDR, &[1, 2, 3]), IdentityError::BadOctets);
    assert_eq!(read(IdType::IPV6_ADDR, &[0; 4]), IdentityError::BadOctets);
    assert_eq!(read(IdType::FQDN, b"a\0"), IdentityError::BadOctets);
    assert_eq!(read(IdType::FQDN, &[0xff]), IdentityError::BadOctets);
    assert_eq!(read(IdType::KEY_ID, b""), IdentityError::Empty);
    assert_eq!(read(IdType::KEY_ID, &[0; 1025]), IdentityError::TooLong);
    assert_eq!(read(IdType(10), b"x"), IdentityError::UnsupportedType(10));
}

/// CHECKLIST F01, F23: exact names, domains, and any.
#[test]
fn patterns_accept_what_they_say() {
    assert!(pattern("%any").matches(&id("10.0.0.1")));
    let berlin = pattern("*.berlin.example");
    assert!(berlin.matches(&id("gw1.Berlin.EXAMPLE")));
    assert!(berlin.matches(&id("a.b.berlin.example")));
    assert!(!berlin.matches(&id("berlin.example")));
    assert!(!berlin.matches(&id(".berlin.example")));
    assert!(!berlin.matches(&id("gw.notberlin.example")));
    assert!(!berlin.matches(&id("email:gw.berlin.example")));
    assert!(pattern("*@corp").matches(&id("bob@corp")));
    assert!(!pattern("*@corp").matches(&id("bob@sub.corp")));
    assert!(!pattern("*@corp").matches(&id("email:@corp")));
    assert!(pattern("gw.oslo.example").matches(&id("@GW.oslo.example")));
    assert!(!pattern("10.0.0.1").matches(&id("fqdn:10.0.0.1")));
    assert!(pattern("@*.x.example").matches(&id("a.x.example")));
}

#[test]
fn patterns_allow_a_star_in_front_only() {
    for text in ["gw.*.example", "*", "*."] {
        let read = text.parse::<IdentityPattern>();
        assert_eq!(read.is_ok(), text == "*", "{text}");
    }
    assert!("*.*.example".parse::<IdentityPattern>().is_err());
    assert!("%anyx".parse::<IdentityPattern>().is_err());
}

#[test]
fn exact_patterns_outrank_wildcards() {
    assert!(pattern("a.example").rank() > pattern("*.example").rank());
    assert!(pattern("*.example").rank() > pattern("%any").rank());
}

/// Found by fuzzing: we would have sent an identity that every peer, ourselves included, refuses.
#[test]
fn names_have_no_control_characters() {
    for text in ["\n", "@\0", "gw.example\r", "fqdn:a\tb", "email:a@b\u{85}", "a\n@b"] {
        assert_eq!(text.parse::<Identity>(), Err(IdentityError::BadOctets), "{text:?}");
    }
}

/// Found by fuzzing: swanctl takes a bare text with `=` for a distinguished name.
#[test]
fn an_equals_sign_is_never_printed_bare() {
    for (text, shown) in [("@g=o.example", "fqdn:g=o.example"), ("@@a=b@c", "email:a=b@c")] {
        assert_eq!(id(text).to_string(), shown);
    }
    assert!("@*.c=ch".parse::<IdentityPattern>().is_err());
}

fn identities() -> impl Strategy<Value = Identity> {
    let name = "[ -~]{1,24}";
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Identity::Ipv4(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| Identity::Ipv6(octets.into())),
        name.prop_map(Identity::Fqdn),
        "[a-z@.:*%#0-9]{1,9}".prop_map(Identity::Fqdn),
        name.prop_map(Identity::Rfc822),
        "[a-z@.:*%#0-9]{1,9}".prop_map(Identity::Rfc822),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Identity::KeyId),
        "[a-z0#x:]{1,9}".prop_map(|text| Identity::KeyId(text.into_bytes())),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Identity::Dn),
    ]
}

proptest! {
    /// What an identity prints is read back as the same identity: the text is unambiguous.
    #[test]
    fn identities_print_unambiguously(identity in identities()) {
        prop_assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn identities_round_trip_on_the_wire(identity in identities()) {
        let read = Identity::from_wire(identity.kind(), &identity.octets());
        prop_assert_eq!(read, Ok(identity));
    }

    #[test]
    fn patterns_print_what_they_read(identity in identities()) {
        let exact = IdentityPattern::Exact(identity);
        prop_assert_eq!(exact.to_string().parse(), Ok(exact));
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".*") {
        let _ = text.parse::<Identity>();
        let _ = text.parse::<IdentityPattern>();
    }
}
