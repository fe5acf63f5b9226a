//! The long texts about nonces that are encrypted, and about keys that nothing protects later.

pub(super) const E109_TEXT: &str =
"The tunnel proves who both sides are by encrypting nonces to their RSA keys (`auth = \"rsa-encryption\"`, \
\"revised-rsa-encryption\" or \"dhless\"; RFC 2409 §5.2 and §5.3), and the peer takes no such offer.

We know because the peer answered the first message with NO-PROPOSAL-CHOSEN. That is not authenticated; it is believed \
only after nothing better came.

Usual causes: the peer's program has none of these methods, as most have not; `auth` differs on the two sides; no \
cipher and hash in common. \"dhless\" is known to Adit alone: its number has meant another method, so that only a peer \
with our vendor id is asked for it.

Write the same `auth` on both sides, or take signatures or a secret.";

pub(super) const E224_TEXT: &str =
"Each side encrypts a nonce to the other's RSA key, and the keys of the session come of both. They came out differently, \
so that one side has another key of the other than that one has.

We know because the last messages could not be read, or their hash is not the right one. Nobody says earlier that \
something could not be decrypted: an attacker could learn from it what others have sent.

Usual causes: `peer_key` or `peer_cert` is an old key, or somebody else's; `key` was renewed on one side; two tunnels \
whose files were mixed up.

`openssl pkey -in KEY -pubout` on one side must print what `peer_key` has on the other.";

pub(super) const E534_TEXT: &str =
"Nothing but the long-term keys protects what the tunnel sends: who records it today and gets the private keys of both \
ends in ten years reads it then. Every other method makes keys for one session and forgets them.

We know from the tunnel's file, which says `forward_secrecy = false`. Without that it would not load.

What is won is the cost of a key exchange: for small devices, for gateways whose thousands of peers come back at \
once, for traffic that has only to be authentic or is secret for an hour. Sessions are short by default.

With static ML-KEM (IKEv2) a rekey of the IKE SA has a key exchange, and what comes after it is secret for good; \
docs/dhless.md has the whole argument.

If you do not need that, leave `auth`, or static_mlkem in `ike`, and `forward_secrecy` out. A child with a group of its own (`esp = \
\"aes256gcm16-modp2048\"`) has keys of its own that nobody gets later.";
