//! How the path MTU is found and what becomes of what is too long.

use std::time::Duration;

use adit_db::{EchoRule, FragmentPolicy, MssClamp, MtuPolicy, PathMtuRule};

use super::{FIVE_LINES, good, with};

fn read(lines: &str) -> MtuPolicy {
    good(&format!("{FIVE_LINES}\n{lines}\n")).connection.children[0].mtu
}

/// CHECKLIST PM-15, PM-24, PM-26, PM-39: each has its key.
#[test]
fn every_policy_about_the_path_has_a_key() {
    assert_eq!(read(""), MtuPolicy::default());
    let usual = "path_mtu = \"discover\"\nfragment = \"before\"\nmss_clamp = true";
    assert_eq!(read(usual), MtuPolicy::default());
    let all = "path_mtu = \"ignore\"\npath_mtu_age = 900\nfragment = \"after\"\nmss_clamp = false";
    assert_eq!(
        read(all),
        MtuPolicy {
            path: PathMtuRule::Ignore,
            ageing: Duration::from_secs(900),
            fragment: FragmentPolicy::After,
            mss: MssClamp::Off,
            echo: EchoRule::DEFAULT,
        }
    );
    assert_eq!(read("path_mtu = 1400").path, PathMtuRule::Fixed(1_400));
    assert_eq!(read("mss_clamp = 1200").mss, MssClamp::To(1_200));
}

#[test]
fn what_is_out_of_range_is_said() {
    let small = with("path_mtu = 500");
    assert!(small.contains("must be 576 to 65535 octets"), "{small}");
    let young = with("path_mtu_age = 5");
    assert!(young.contains("must be 60 to 86400 seconds"), "{young}");
    let tiny = with("mss_clamp = 4");
    assert!(tiny.contains("must be 88 to 65495 octets"), "{tiny}");
    let word = with("path_mtu = \"ignor\"");
    assert!(word.contains("did you mean \"ignore\"?"), "{word}");
    let other = with("nopmtudisc = true");
    assert!(other.contains("did you mean `path_mtu`?"), "{other}");
}

#[test]
fn the_kernel_does_not_obey_them() {
    let refused = with("engine = \"kernel\"\npath_mtu = 1400");
    assert!(refused.contains("the kernel finds the path MTU by itself"), "{refused}");
}
