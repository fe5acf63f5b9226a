//! Idle time.

use super::{FIVE_LINES, good, with};

#[test]
fn idle_time_ends_what_may_end() {
    let idle = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        tunnel.connection.children[0].lifetime.idle_s
    };
    assert_eq!(idle(""), 0);
    assert_eq!(idle("idle = \"off\""), 0);
    assert_eq!(idle("idle = \"10m\"\nkeep = \"on-demand\""), 600);
    assert_eq!(idle("keep = \"passive\"\nidle = \"2h\""), 7_200);
}

#[test]
fn what_is_to_be_up_does_not_end() {
    let implied = with("idle = \"10m\"");
    assert!(implied.contains("error[E510]"), "{implied}");
    assert!(implied.contains("`idle` ends what keep = \"up\" keeps up"), "{implied}");
    assert!(implied.contains("5 | idle = \"10m\""), "{implied}");
    assert!(implied.contains("= help: write keep = \"on-demand\""), "{implied}");
    assert!(with("keep = \"up\"\nidle = \"10m\"").contains("6 | idle = \"10m\""));
    assert!(with("idle = 10").contains("must be a string"), "{}", with("idle = 10"));
    assert!(with("inactivity = \"10m\"").contains("did you mean `idle`?"));
}
