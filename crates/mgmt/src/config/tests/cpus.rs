//! SAs for CPUs.

use super::{FIVE_LINES, good, with};

/// RFC 9611 §3: what is for one resource is like the first in everything.
#[test]
fn each_cpu_has_a_child_like_the_first() {
    let tunnel = good(&format!("{FIVE_LINES}\ncpus = 2\nrekey = \"20m\"\n"));
    let [all, first, second] = tunnel.connection.children.as_slice() else { panic!("three") };
    assert_eq!((all.name.as_str(), all.cpus, all.resource), ("berlin", 2, None));
    assert_eq!((first.name.as_str(), first.resource), ("berlin.cpu1", Some(0)));
    assert_eq!((second.name.as_str(), second.resource), ("berlin.cpu2", Some(1)));
    let class = second.class.as_ref().unwrap();
    assert!(class.of == all.name && class.code_points.iter().next().is_none());
    let name = all.name.clone();
    let same = adit_db::ChildConfig { name, class: None, resource: None, ..second.clone() };
    assert_eq!(same, *all, "everything else is the tunnel's");
    assert_eq!(tunnel.connection.resources_of(all).count(), 2);
}

#[test]
fn mistakes_about_cpus_are_named() {
    let none = with("cpus = 0");
    assert!(none.contains("1 to 64"), "{none}");
    for divided in ["classes = [[\"ef\"]]", "keep = \"on-demand\"\npfp = [\"remote\"]"] {
        let both = with(&format!("cpus = 2\n{divided}"));
        assert!(both.contains("divides what `classes` or `pfp` divides already"), "{both}");
    }
}
