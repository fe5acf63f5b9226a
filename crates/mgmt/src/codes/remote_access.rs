//! The long texts of what goes wrong where one proof is not all: further rounds, users, and the addresses
//! of remote clients.

/// The two sides authenticate a different number of times.
pub(super) const E222_TEXT: &str =
"One side is to prove itself several times (RFC 4739), and the other does so more or less often than that.

We know because every login says whether another one follows (ANOTHER_AUTH_FOLLOWS), and both sides say beforehand \
whether they can do several at all (MULTIPLE_AUTH_SUPPORTED).

Usual causes: `[second]`, or `remote-2` of swanctl.conf, on one side only; a peer whose program does not know RFC 4739.

Let both sides say the same: what is `id` in `[second]` here is `peer_id` there.";

/// A user is not let in.
pub(super) const E223_TEXT: &str =
"Both devices know each other, and then the gateway asked who the user is (XAUTH of IKEv1). What it got as name and \
password it does not take.

We know from the gateway's verdict, or because it asked again after an answer that will not change.

Usual causes: a typing error in the name or the password; a user who was taken out of the gateway's list; a gateway that \
wants a one-time code or the answer to a challenge, which only a person can give.

On a client compare `user` and the file of `password` in `[xauth]` with the line of the user at the gateway. On a gateway \
the file of `users` has a line NAME PASSWORD for each; after a change `adit reload`.";

/// The gateway has no address for us.
pub(super) const E303_TEXT: &str =
"The tunnel asks the gateway for an address inside (`[mode_config]`), and the gateway's answer had none.

We know because the attributes of the answer have no address that a host could have.

Usual causes: the gateway's pool is empty or too small; it knows clients by name, and not this one; it has addresses of the \
other family alone.

Make the pool at the gateway larger. If addresses are not handed out there, write our own into `local` and leave \
`[mode_config]` out.";
