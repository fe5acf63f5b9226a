//! The words of configuration: what is read prints as a text that is read as the same value.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use adit_db::{
    ChildName, ConnectionName, HostSpec, Identity, IdentityPattern, ProposalError, ProposalSpec,
    TsSpec, nearest, proposal,
};
use adit_wire::ikev2::TrafficSelector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    check_proposal(text, ProposalSpec::ike);
    check_proposal(text, ProposalSpec::esp);
    check_list(text, ProposalSpec::ike_list);
    check_list(text, ProposalSpec::esp_list);
    check::<ConnectionName>(text);
    check::<ChildName>(text);
    check::<HostSpec>(text);
    check::<TsSpec>(text);
    check::<TrafficSelector>(text);
    check::<Identity>(text);
    check::<IdentityPattern>(text);
    if let Ok(identity) = text.parse::<Identity>() {
        check_identity(&identity);
    }
    if let Ok(ts) = text.parse::<TsSpec>()
        && let Some(selector) = ts.selector()
    {
        let again = TrafficSelector::from_range(selector.start, selector.end).expect("in order");
        assert!(selector.is_subset_of(&again));
    }
    if let Some(word) = nearest(text, proposal::all_words()) {
        assert!(proposal::all_words().any(|known| known == word));
    }
});

fn check<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            match shown.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} prints as {shown:?}"),
                Err(error) => panic!("{text:?} prints as {shown:?}: {error}"),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_proposal(text: &str, read: fn(&str) -> Result<ProposalSpec, ProposalError>) {
    match read(text) {
        Ok(proposal) => {
            let shown = proposal.to_string();
            assert_eq!(read(&shown).as_ref(), Ok(&proposal), "{text:?} prints as {shown:?}");
            for changed in [proposal.without_esn(), proposal.without_key_exchange()] {
                assert!(changed.transforms().len() <= proposal.transforms().len() + 1);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_list(text: &str, read: fn(&str) -> Result<Vec<ProposalSpec>, ProposalError>) {
    if let Ok(list) = read(text) {
        let words: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(read(&words.join(",")), Ok(list));
    }
}

/// What can be configured can be sent, and the peer reads what was sent.
fn check_identity(identity: &Identity) {
    let received = Identity::from_wire(identity.kind(), &identity.octets());
    assert_eq!(received.as_ref(), Ok(identity));
    assert!(IdentityPattern::Exact(identity.clone()).matches(identity));
    assert!(IdentityPattern::Any.matches(identity));
}
