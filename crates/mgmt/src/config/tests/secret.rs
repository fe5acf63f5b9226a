//! What may be a secret is not repeated.

use super::{FIVE_LINES, complaint};

#[test]
fn secret_of_the_wrong_kind_is_not_repeated() {
    let said = complaint(&FIVE_LINES.replace("\"file:good.psk\"", "[\"hunter2\"]"));
    assert!(!said.contains("hunter2"));
    assert!(said.contains("`secret` must be a string"));
    assert!(said.contains("tunnels/berlin.toml:4"));
    let misspelt =
        complaint(&FIVE_LINES.replace("secret = \"file:good.psk\"", "secrt = \"hunter2\""));
    assert!(
        misspelt.contains("unknown key `secrt`") && !misspelt.contains("hunter2"),
        "{misspelt}"
    );
}
