//! The long texts about algorithms and modes that are weak, or are not there.

pub(super) const E105_TEXT: &str =
"The peer begins IKEv1 in aggressive mode (RFC 2409 §5) or in base mode (draft-ietf-ipsec-ike-base-mode-02), and the \
tunnel that it names does not allow that. Both say in clear who both sides are; aggressive mode with a secret also gives \
whoever asks a hash to try guesses on.

We know from the exchange type of its first message. Nobody has authenticated that message: it may be a stranger's, \
who looks for gateways that answer.

Usual causes: the peer is set to aggressive mode, as many are whose address changes.

Set the peer to main mode. If it knows nothing else, `aggressive = \"allow\"` in the tunnel's file takes it \
(E519 says what that costs), and `base_mode = \"allow\"` takes the other.";

pub(super) const E514_TEXT: &str =
"A list of algorithms names one that RFC 8221 or RFC 8247 forbids or advises against. It is refused, lest an old \
example make a tunnel weaker than its owner knows.

We know from the list itself. These algorithms must be allowed by name: 3des, des, blowfish, cast128 and md5.

Usual causes: a configuration copied from equipment of the nineties, or a peer that knows nothing better.

Remove the algorithm, or write `allow = [\"3des\"]` into the tunnel's file if the peer cannot be replaced; \
`adit check` then says what it costs. Over the control socket (swanctl.conf) there is no such key: naming the \
algorithm is enough there, as with strongSwan, and the log has the warning.";

pub(super) const E515_TEXT: &str =
"The tunnel's file allows an algorithm that RFC 8221 or RFC 8247 forbids or advises against, and its lists name it; or a \
key of a tunnel of IKEv1 is a DSA key of less than 2048 bits.

We know from `allow` and the lists, or from the key. Whether what a list names is used is up to the peer: the message \
stays as long as it could be.

The message says what the algorithm costs. Ciphers with blocks of 64 bits (3des, blowfish, cast128, des) also limit \
what a key may carry, whatever the lifetimes say: it is replaced after 1 GiB and ends after 4 GiB.

Once the peer knows better, take the word out of the lists and out of `allow`; for a DSA key make one of RSA or ECDSA, on \
both sides.";

pub(super) const E516_TEXT: &str =
"The tunnel uses AH, or its `esp` list names a suite that only authenticates: null with an integrity algorithm, or \
AES-GMAC. Nobody on the way can change the traffic, and everybody there can read it.

We know from `protocol` or the list. Such a suite is in order where the traffic is public or encrypted already, which is why it \
need not be allowed (RFC 8221 §5 demands that it can be had).

If that is not what you want, use aes256gcm16, which costs about as much as authentication alone.";

pub(super) const E519_TEXT: &str =
"The tunnel takes or uses aggressive mode of IKEv1 with a secret. In its second message the responder proves itself by a \
hash of the secret and of what was sent in clear. Whoever sends one message with a name that we know gets that hash, and \
tries guesses on it at leisure, millions per second, without us noticing.

We know from `aggressive` and from the tunnel having a secret. With certificates or keys there is nothing to guess.

In main mode nobody who only listens can do that. Somebody who answers in the peer's place can, there, too, and in IKEv2 \
(Felsch, Grothe, Schwenk, Czubak, Szymanek: The Dangers of Key Reuse, USENIX Security 2018). So a secret has to be one \
that nobody guesses, in any mode: E513 is about that.

Use main mode or certificates. Where the peer knows neither, `adit secret new` makes a secret of 256 random bits, on \
which guesses are lost; make another one for each peer.";
