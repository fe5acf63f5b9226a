//! Padding and dummy packets.

use adit_db::Tfc;

use super::{FIVE_LINES, good, with};

#[test]
fn padding_is_octets_or_all_that_fit() {
    let tfc = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        tunnel.connection.children[0].tfc
    };
    assert_eq!(tfc(""), Tfc::OFF);
    assert_eq!(tfc("tfc_padding = 1200"), Tfc { padding: 1_200, dummies: 0 });
    let all = "tfc_padding = \"mtu\"\ntfc_dummies = 20";
    assert_eq!(tfc(all), Tfc { padding: Tfc::TO_MTU, dummies: 20 });
}

#[test]
fn what_hides_nothing_is_refused() {
    let dummies = with("tfc_dummies = 20");
    assert!(dummies.contains("dummies without padding"), "{dummies}");
    assert!(dummies.contains("5 | tfc_dummies = 20"), "{dummies}");
    assert!(dummies.contains("= help: add tfc_padding = \"mtu\""), "{dummies}");
    for other in ["mode = \"transport\"", "protocol = \"ah\""] {
        let refused = with(&format!("{other}\ntfc_padding = 600"));
        assert!(refused.contains("are for ESP in tunnel mode"), "{refused}");
    }
    let most = with("tfc_padding = \"most\"");
    assert!(most.contains("must be \"mtu\""), "{most}");
    let large = with("tfc_padding = 70000");
    assert!(large.contains("must be 0 to 65534 octets"), "{large}");
    let many = with("tfc_padding = 600\ntfc_dummies = 5000");
    assert!(many.contains("must be 0 to 1000 packets per second"), "{many}");
}
