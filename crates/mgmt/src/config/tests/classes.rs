//! Classes of traffic with SAs of their own.

use super::{FIVE_LINES, good, with};

/// CHECKLIST S17; RFC 4301 §4.1.
#[test]
fn each_class_is_a_child_of_its_own() {
    let lines = "classes = [[\"ef\", \"cs5\"], [\"af41\", 36, 0x26]]\nrekey = \"20m\"";
    let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
    let [rest, voice, video] = tunnel.connection.children.as_slice() else { panic!("three") };
    assert_eq!((rest.name.as_str(), &rest.class), ("berlin", &None));
    assert_eq!([voice.name.as_str(), video.name.as_str()], ["berlin.1", "berlin.2"]);
    let of = |child: &adit_db::ChildConfig| {
        let class = child.class.as_ref().unwrap();
        (class.of.to_string(), class.code_points.to_string())
    };
    assert_eq!(of(voice), ("berlin".to_owned(), "cs5, ef".to_owned()));
    assert_eq!(of(video), ("berlin".to_owned(), "af41, af42, af43".to_owned()));
    let same = adit_db::ChildConfig { name: rest.name.clone(), class: None, ..video.clone() };
    assert_eq!(same, *rest, "everything else is the tunnel's");

    let dscp = |name| adit_db::Dscp::named(name).unwrap();
    for child in [rest, voice, video] {
        let carrier = |name| tunnel.connection.class_for(child, dscp(name)).name.as_str();
        assert_eq!(["ef", "af43", "cs0"].map(carrier), ["berlin.1", "berlin.2", "berlin"]);
    }
}

#[test]
fn mistakes_in_classes_are_named() {
    let word = with("classes = [[\"ef\"], [\"af44\"]]");
    assert!(word.contains("unknown value for `classes`"), "{word}");
    assert!(word.contains("did you mean \"af41\"?"), "{word}");
    let number = with("classes = [[64]]");
    assert!(number.contains("or 0 to 63"), "{number}");
    let twice = with("classes = [[\"ef\"], [\"cs5\", 46]]");
    assert!(twice.contains("ef is there twice"), "{twice}");
    let flat = with("classes = [\"ef\"]");
    assert!(flat.contains("must be a list, not a string"), "{flat}");
    let one = with("classes = \"ef\"");
    assert!(one.contains("must be a list of lists, not a string"), "{one}");
    for empty in ["classes = []", "classes = [[]]"] {
        let refused = with(empty);
        assert!(refused.contains("`classes` must not be empty"), "{refused}");
    }
    let both = with("classes = [[\"ef\"]]\nkeep = \"on-demand\"\npfp = [\"remote\"]");
    assert!(both.contains("`classes` and `pfp` divide the same traffic"), "{both}");
    let kind = with("classes = [[true]]");
    assert!(kind.contains("must be a string or an integer"), "{kind}");
    let many = with("classes = [[1], [2], [3], [4], [5], [6], [7], [8], [9]]");
    assert!(many.contains("8 at most"), "{many}");
}
