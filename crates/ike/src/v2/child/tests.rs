use adit_wire::ikev2::TrafficSelector;

use super::*;
use crate::proposal::Offer;

/// E103 on the responder's side: a peer that offers AH through a NAT all the same is refused, and
/// gets ESP if there is some.
#[test]
fn ah_is_refused_behind_a_nat() {
    let ah = ProposalSpec::ah_list("sha256").unwrap();
    let both = [ah.clone(), ProposalSpec::esp_list("aes128gcm16").unwrap()].concat();
    let mut config = ChildConfig::new("net".parse().unwrap());
    config.local_ts = vec!["10.2.0.0/24".parse().unwrap()];
    config.remote_ts = vec!["10.1.0.0/24".parse().unwrap()];
    let selectors = SelectorPair {
        initiator: vec![TrafficSelector::ANY_V4],
        responder: vec![TrafficSelector::ANY_V4],
    };
    let chosen = |ours: &[ProposalSpec], nat: bool| {
        let mut connection = Connection::new("berlin".parse().unwrap());
        connection.children = vec![ChildConfig { proposals: ours.to_vec(), ..config.clone() }];
        let ends = Ends {
            local: "192.0.2.2".parse().unwrap(),
            remote: "192.0.2.1".parse().unwrap(),
            we_are_behind_nat: false,
            peer_is_behind_nat: nat,
            udp: nat,
        };
        let sa = Offer::new(Purpose::FirstChild, &both, &Spi::MIN.to_octets()).sa();
        let offered = Offered {
            purpose: Purpose::FirstChild,
            sa: &sa,
            selectors: &selectors,
            said: Said::default(),
            rekeys: None,
            claims: None,
        };
        match choose(&connection, ends, &offered) {
            Ok(answer) => Ok(answer.choice.protocol()),
            Err(refusal) => {
                Err((refusal.notify(), refusal.reason(&connection, ends, &offered).code()))
            }
        }
    };
    assert_eq!(chosen(&ah, false), Ok(ProtocolId::AH));
    assert_eq!(chosen(&ah, true), Err((NotifyType::NO_PROPOSAL_CHOSEN, Some(103))));
    assert_eq!(chosen(&both, false), Ok(ProtocolId::AH));
    assert_eq!(chosen(&both, true), Ok(ProtocolId::ESP));
}

/// What a responder chooses for an offer, of children with these selectors `[local, remote]`.
fn chosen(children: &[[&str; 2]], offer: [&[&str]; 2]) -> (String, bool) {
    let mut connection = Connection::new("berlin".parse().unwrap());
    let suites = ProposalSpec::esp_list("aes128gcm16").unwrap();
    for (number, [local, remote]) in children.iter().enumerate() {
        let mut config = ChildConfig::new(format!("net-{number}").parse().unwrap());
        config.local_ts = vec![local.parse().unwrap()];
        config.remote_ts = vec![remote.parse().unwrap()];
        config.proposals = suites.clone();
        connection.children.push(config);
    }
    let selectors = |texts: &[&str]| -> Vec<TrafficSelector> {
        let specs = texts.iter().map(|text| text.parse::<TsSpec>().unwrap());
        specs.filter_map(|spec| spec.selector()).collect()
    };
    let [initiator, responder] = offer.map(selectors);
    let ends = Ends {
        local: "192.0.2.2".parse().unwrap(),
        remote: "192.0.2.1".parse().unwrap(),
        we_are_behind_nat: false,
        peer_is_behind_nat: false,
        udp: false,
    };
    let sa = Offer::new(Purpose::FirstChild, &suites, &Spi::MIN.to_octets()).sa();
    let offered = Offered {
        purpose: Purpose::FirstChild,
        sa: &sa,
        selectors: &SelectorPair { initiator, responder },
        said: Said::default(),
        rekeys: None,
        claims: None,
    };
    let answer =
        choose(&connection, ends, &offered).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    (answer.config.name.to_string(), answer.others_possible)
}

const TWO: [[&str; 2]; 2] = [["10.2.1.0/24", "10.1.0.0/16"], ["10.2.2.0/24", "10.1.0.0/16"]];

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.9
//= type=test
//# If the responder's policy allows it to accept the first selector of TSi and TSr, then the
//# responder MUST narrow the Traffic Selectors to a subset that includes the
//# initiator's first choices.
/// CHECKLIST H01: of several children that fit, the one that the packet asks for.
#[test]
fn the_child_with_the_first_choices_is_chosen() {
    let all = ["10.1.0.7/32", "10.1.0.0/16"];
    for (number, packet) in ["10.2.1.9/32", "10.2.2.9/32"].into_iter().enumerate() {
        let (name, _) = chosen(&TWO, [&all, &[packet, "10.2.0.0/16"]]);
        assert_eq!(name, format!("net-{number}"));
    }
    // Nobody has it: any will do.
    assert_eq!(chosen(&TWO, [&all, &["10.2.9.9/32", "10.2.0.0/16"]]).0, "net-0");
}

/// CHECKLIST H08: ADDITIONAL_TS_POSSIBLE says that there might be more in another SA, and nothing where
/// that is not so.
#[test]
fn more_is_possible_where_another_child_takes_other_parts() {
    let left: &[&str] = &["10.1.0.0/16"];
    assert_eq!(chosen(&TWO, [left, &["10.2.0.0/16"]]), ("net-0".to_owned(), true));
    assert_eq!(chosen(&TWO, [left, &["10.2.2.0/24"]]), ("net-1".to_owned(), false));
    assert_eq!(chosen(&TWO, [left, &["10.2.2.0/25"]]), ("net-1".to_owned(), false));
    assert_eq!(chosen(&TWO[..1], [left, &["10.2.0.0/16"]]), ("net-0".to_owned(), false));
    // What the other one would take is in the first one's as well.
    let within = [["10.2.0.0/17", "10.1.0.0/16"], ["10.2.2.0/24", "10.1.0.0/16"]];
    assert_eq!(chosen(&within, [left, &["10.2.0.0/16"]]), ("net-0".to_owned(), false));
}
