//! Who protects a tunnel's packets.

use adit_db::Engine;

use super::{changed, good, with};

#[test]
fn every_engine_has_its_word() {
    assert_eq!(good(&changed(|_| ())).connection.engine, Engine::Userspace);
    for engine in [Engine::Userspace, Engine::Kernel, Engine::Auto] {
        let line = format!("engine = \"{}\"", engine.word());
        let text = format!("{}{line}\n", changed(|_| ()));
        assert_eq!(good(&text).connection.engine, engine);
    }
}

#[test]
fn other_engines_are_named_as_mistakes() {
    insta::assert_snapshot!(with("engine = \"xfrm\""), @r#"
        error[E510]: berlin: unknown value for `engine`
         --> tunnels/berlin.toml:5:10
          |
        5 | engine = "xfrm"
          |          ^^^^^^ must be "userspace", "kernel" or "auto"
        "#);
}
