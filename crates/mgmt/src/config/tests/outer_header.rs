//! DSCP, ECN and DF of the outer header.

use adit_db::{DfPolicy, DscpPolicy, EcnPolicy};

use super::{FIVE_LINES, good, with};

/// CHECKLIST S17.
#[test]
fn each_field_of_the_outer_header_has_its_policy() {
    let read = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        let child = &tunnel.connection.children[0];
        let dscp = match child.dscp {
            DscpPolicy::Copy => None,
            DscpPolicy::Set(dscp) => Some(dscp.get()),
        };
        (dscp, child.ecn, child.df)
    };
    assert_eq!(read(""), (None, EcnPolicy::Normal, DfPolicy::Clear));
    let all = "dscp = \"ef\"\necn = \"compatibility\"\ndf = \"copy\"";
    assert_eq!(read(all), (Some(46), EcnPolicy::Compatibility, DfPolicy::Copy));
    let same = "dscp = \"copy\"\necn = \"normal\"\ndf = \"clear\"";
    assert_eq!(read(same), (None, EcnPolicy::Normal, DfPolicy::Clear));
    assert_eq!(read("dscp = 63\ndf = \"set\"").0, Some(63));
    assert_eq!(read("df = \"set\"").2, DfPolicy::Set);
    assert_eq!(read("dscp = \"cs0\"").0, Some(0));
}

#[test]
fn unknown_words_name_the_nearest() {
    let dscp = with("dscp = \"af44\"");
    assert!(dscp.contains("unknown value for `dscp`"), "{dscp}");
    assert!(dscp.contains("= help: did you mean \"af41\"?"), "{dscp}");
    let large = with("dscp = 64");
    assert!(large.contains("must be 0 to 63"), "{large}");
    let ecn = with("ecn = \"norml\"");
    assert!(ecn.contains("did you mean \"normal\"?"), "{ecn}");
    let df = with("df = \"cleer\"");
    assert!(df.contains("did you mean \"clear\"?"), "{df}");
    let word = with("copy_df = \"yes\"");
    assert!(word.contains("did you mean `df`?"), "{word}");
}

#[test]
fn transport_mode_has_no_outer_header() {
    let refused = with("mode = \"transport\"\ndf = \"set\"");
    assert!(refused.contains("there is no outer header in transport mode"), "{refused}");
}
