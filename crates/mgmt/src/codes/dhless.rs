//! The long text about static ML-KEM keys.

pub(super) const E225_TEXT: &str =
"A tunnel of `static_mlkem` begins with ciphertexts to the ML-KEM keys of both sides (docs/dhless.md), and one side does \
not have what the other means.

We know because the first message names both keys by their hashes. If no tunnel here has this pair the request is declined \
as if the method were not known, so the other side reads E101.

Usual causes: one side has made a new key and the other still has the old public half; `kem_key` and `peer_kem_key` are of \
another pair; the tunnel is for another address.

`openssl pkey -in KEY -pubout` prints the public half of a key: it must be the file that the other side names in \
`peer_kem_key`. Then `adit reload` on both sides.";
