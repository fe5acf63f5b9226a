//! The long texts of what `adit doctor` finds by looking and trying.

pub(super) const E401_TEXT: &str = "The tunnel is up and small packets pass, but packets above a certain size vanish \
on the way, and nobody says that they were too big: an MTU black hole. Logging in works, file transfers hang.

We know because echo requests of growing size, which forbid being cut, were sent through the tunnel: up to the size in \
the message they are answered, above it never. Or the daemon's own probes of the path found it just then, and what is sent \
now is short enough.

Usual causes: a link on the way with a smaller MTU (PPPoE, another tunnel, a mobile network), together with a firewall \
that drops the ICMP messages by which routers tell senders about it.

Let ICMP type 3 code 4 and ICMPv6 type 2 pass on the way. Where nobody can be asked for that, `df = \"clear\"` in the \
tunnel's file lets routers cut the outer packets. Over IPv6, where no router cuts, `path_mtu` there says what the way takes, \
and senders are told.";

pub(super) const E405_TEXT: &str = "We send on the tunnel's SA and nothing comes in on its counterpart: a tunnel with one direction.

We know because the counters of both directions were compared while echo requests were sent through the tunnel: those of \
packets sent rose, those of packets received stood still. Nobody may live at the address that was asked, so that counts only if \
other traffic, or the probes of the path that two Adits answer each other, had no answer either, or if nothing ever came in. \
That ports 500 and 4500 answer shows that the peer is alive.

Usual causes: a firewall or a NAT that lets IKE through and drops ESP in one direction; a peer that sends what is for us by \
another way, because its routes or its policies say so; or traffic that nobody answers by its nature.

Look at the peer: `adit status NAME --drops` there, or its counters. If packets come in there and answers go out, the way back \
drops them. If none come in, it is the way there. `adit ping NAME ADDRESS` tries with another host behind the peer.";

pub(super) const E406_TEXT: &str = "Packets that are longer than a link on the way takes are cut, and the pieces do not arrive. Whatever fits \
into one piece passes.

We know because the peer's IKE answers a question that travels in one piece and not one that is longer than any link takes, and \
long packets are lost in the tunnel, too, or its way is known to be narrow, or it is down; or because this host waited in vain for the other pieces of several \
packets, one in twenty at least, which the kernel counts (`nstat -az IpReasmFails`).

Usual causes: home routers, mobile networks and firewalls that drop fragments as a matter of principle, or balancers that \
send the pieces of a packet to different hosts.

Keep packets small enough: `adit ping NAME --mtu` finds the largest that passes, and the interface of the tunnel should have \
no more. `df = \"copy\"` lets hosts find out by themselves where ICMP passes.";

pub(super) const E407_TEXT: &str = "The packet engine refuses packets of this tunnel, more than now and then.

We know because every refusal is counted by its reason. `adit status NAME --drops` shows all of them with their meanings.

Usual causes differ by reason. A failed integrity check (bad_icv) is damage or forgery on the way. Sequence numbers that were \
seen before, or are too old, come from networks that double packets or mix up their order by more than the replay window. An inner packet \
outside of the selectors means that the two sides disagree about what belongs into the tunnel.

The line `means` has the reason's own meaning, and `fix` what helps.";

pub(super) const E526_TEXT: &str = "A rule of this host's packet filter drops what the tunnel needs: UDP 500 or 4500, or ESP (IP protocol 50).

We know because the rules in the kernel were read (`nft list ruleset`), and one that drops or rejects names such a port or \
protocol; or because what comes in is dropped unless a rule lets it in, and none does that for them.

Usual causes: a firewall made before the tunnel was, or one that allows port 500 alone.

Accept UDP 500 and 4500 in both directions, and ESP where there is no NAT. The rule in the message shows where it stands; \
a firewall manager (ufw, firewalld) has to be told in its own words, or it puts the rule back.";

pub(super) const E527_TEXT: &str = "The clock of this host is obviously wrong, or nothing keeps it right while certificates depend on it.

We know because it shows a time before this program was released; or because the kernel says that no program corrects the clock \
(adjtimex) and there are certificates to be judged by it.

Usual causes: a device without a battery for its clock that has no network yet, or no NTP service. A clock that is wrong \
makes good certificates look invalid (E211, E212), and invalid ones good.

`timedatectl set-ntp true` turns time synchronisation on; `chronyc tracking` or `timedatectl` shows whether it works.";

pub(super) const E528_TEXT: &str = "The interface that leads to the peer has an MTU below 1,280 octets, the least that IPv6 may ask of a link.

We know because the kernel was asked which way packets to the peer leave, and how long they may be there.

Usual causes: a setting that was meant for another interface, or a tunnel within a tunnel within a tunnel. ESP takes some \
sixty octets more off what is left; IPv6 inside needs 1,280 and then travels in pieces.

`ip link set dev NAME mtu 1500` mends a wrong setting.";

pub(super) const E529_TEXT: &str = "A certificate that this host shows to its peers ends within two weeks, or has ended. From then on \
the peers refuse our login.

We know from the certificate in the file that the tunnel's `cert` names, and from this host's clock.

Usual causes: a renewal that fails unnoticed, or that nobody has thought of.

Renew it, put it in place of the old one and `adit reload`. Tunnels that are up stay up until they authenticate anew.";
