//! The long texts about what two sides cannot agree on.

pub(super) const E103_TEXT: &str =
"The tunnel protects its traffic with AH, and there is a NAT between the two sides, or UDP was asked for.

AH covers the addresses of a packet (RFC 4302 §3.3.3.1), so that every packet a NAT has changed is refused on arrival. \
ESP has UDP for that (RFC 3948), AH has nothing. So it is not even tried.

We know from the NAT detection of IKE (RFC 7296 §2.23); a peer that wants UDP in any case, as `encap = \"udp\"` and \
swanctl's `encap = yes` do, looks the same.

Use ESP: `protocol = \"esp\"`. If only integrity is wanted, `esp = \"aes256gmac\"` or `\"null-sha256\"` gives it \
through a NAT.";

pub(super) const E104_TEXT: &str =
"An IKE SA may begin without a child SA, which is then made by an exchange of its own (RFC 6023). One side insists on \
that with `childless = \"force\"`, and the other does not do it.

We know because a responder says in its first message whether it takes that, and this one did not; or because a peer \
asked for a child at once although we insist. The first message is covered by the peer's login, as always.

Usual causes: `force` against equipment that does not know RFC 6023, or against `childless = never`.

`childless = \"prefer\"` begins without a child where the peer can, and with one where it cannot.";
