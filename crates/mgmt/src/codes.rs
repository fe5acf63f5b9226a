//! The registry of codes: every problem the operator is told about has a code that never changes
//! its meaning, a title, and the long text of `adit explain CODE`.
//!
//! Blocks: E1xx reach and negotiate, E2xx identity, E3xx traffic selection, E4xx data path, E5xx
//! this host, E6xx kernel and crypto.

mod dhless;
mod doctor;
mod encryption;
mod forms;
mod negotiation;
mod recording;
mod remote_access;
mod weak;

use std::fmt;

use serde::{Deserialize, Serialize};

use dhless::E225_TEXT;
use doctor::{
    E401_TEXT, E405_TEXT, E406_TEXT, E407_TEXT, E526_TEXT, E527_TEXT, E528_TEXT, E529_TEXT,
};
use encryption::{E109_TEXT, E224_TEXT, E534_TEXT};
pub use forms::UnknownCode;
use negotiation::{E103_TEXT, E104_TEXT};
use recording::E530_TEXT;
use remote_access::{E222_TEXT, E223_TEXT, E303_TEXT};
use weak::{E105_TEXT, E514_TEXT, E515_TEXT, E516_TEXT, E519_TEXT};

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, and should be looked at tomorrow.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

macro_rules! codes {
    ($($name:ident $number:literal $severity:ident $title:literal $explanation:tt)*) => {
        /// One code; `Display` gives `E203`.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name = $number,)*
        }

        impl Code {
            /// Every code, in the order of numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code with that number, `203` for E203.
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its number.
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it means, in one line without the tunnel's name.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }

            /// The long text: what it means, how we know, usual causes, what to do. Paragraphs
            /// are separated by an empty line; lines are not wrapped.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation,)*
                }
            }
        }
    };
}

codes! {
E101 101 Error "no common IKE algorithms"
"The two sides could not agree on how to protect the negotiation itself: no combination of encryption, integrity, \
pseudo-random function and key exchange is acceptable to both.

We know because the peer answered our first message with NO_PROPOSAL_CHOSEN (RFC 7296 §3.10.1), or because nothing \
in the peer's offer is allowed by our configuration. That answer is not authenticated; it is believed only after \
no better answer came.

Usual causes: one side insists on older suites (aes-cbc, sha1, modp1024), or the list of one side has a typing \
error that removed the suite both would have had.

Compare the two lists in the message. On this side, `ike` in the tunnel's file takes proposals such as \
\"aes256gcm16-prfsha384-x25519\"; `suite = \"compat\"` offers what equipment from before 2018 understands: AES-CBC \
with HMAC-SHA2 and MODP-2048 first, and no ML-KEM, which some of it refuses to read. The price is that the keys are \
not safe from a future quantum computer.

Groups of curves over 2^n (EC2N; groups 3, 4 and 6 to 13 of IKEv1) are not done here. A peer that offers nothing else, \
or a list that names one, needs MODP-2048 (group 14) or ECP-256 (group 19)."

E102 102 Error "no common ESP algorithms"
"Both sides know each other by now, but could not agree on the algorithms for the traffic itself (the child SA), so \
no packet can flow.

We know because the peer answered NO_PROPOSAL_CHOSEN to a request that was authenticated, or because its \
authenticated offer contains nothing our `esp` list allows. Another Adit tells its own list, which is then shown.

Usual causes: different key lengths (aes128gcm16 on one side, aes256gcm16 on the other), a key exchange for the \
child (PFS) that only one side demands, or extended sequence numbers (`esn`) demanded by one side and refused by the \
other.

Make the `esp` lists overlap. Note that the first child of an IKE SA is created without a key exchange of its own: \
a difference in the group alone shows up only when the child is rekeyed an hour later."

E103 103 Error "AH cannot pass a NAT" E103_TEXT

E104 104 Error "one side insists on beginning without a child" E104_TEXT

E105 105 Error "the peer begins in a mode that is not allowed" E105_TEXT

E109 109 Error "the peer declines to decrypt nonces" E109_TEXT

E110 110 Error "the peer does not answer"
"We sent a request several times with growing pauses and got nothing usable back.

We know only that nothing came: silence does not say who is silent. A firewall that drops, a host that is off, a \
wrong address, and a peer which ignores strangers all look the same from here.

Usual causes: UDP 500 blocked on the way, the peer's daemon not running, an address that changed, or a peer that \
drops requests from addresses it does not know. If an established tunnel fell silent, the path between the two sites \
is the first suspect.

Check the address, then look on the peer for our packets (`tcpdump -ni any udp port 500 or udp port 4500`). If they \
arrive there, the peer's log says why it does not answer. A tunnel with `keep = \"up\"` keeps trying by itself."

E111 111 Error "the peer cannot be reached"
"Our own system or a router on the way says that packets to the peer cannot be delivered.

We know because sending failed for lack of a route, or because an ICMP message came back that names the address or \
the port as unreachable. ICMP can be forged, so we keep trying all the same.

Usual causes: no default route, an interface that is down, a wrong address, or a running host on which nothing \
listens on UDP 500.

Run `ip route get ADDRESS` here; if that names the right interface, look whether the peer's daemon runs."

E112 112 Error "the peer's name does not resolve"
"The tunnel's `peer` is a host name, and no address was found for it.

We know because the resolver of this host answered that there is no such name or no address, or did not answer at \
all.

Usual causes: a typing error, a DNS server that is reachable only through the very tunnel that is down, or no \
network yet after boot.

Look the name up with `getent ahosts NAME`. If DNS depends on the tunnel, write the address instead. We ask again \
before every attempt, so a name that changes its address needs no reload."

E113 113 Error "the tunnel names no peer to call"
"Somebody asked for the tunnel to be set up from here, and its configuration names no single peer address: only the \
peer can begin.

Usual causes: `peer` is a network or anything at all, because the peers are road warriors.

Name the peer's address or host name in `peer`, or begin the tunnel on the other side."

E121 121 Error "UDP 4500 is blocked on the way"
"The first exchange on UDP port 500 works, the following ones on port 4500 get no answer.

We know because IKE_SA_INIT was answered and everything after it, sent to port 4500 as RFC 7296 §2.23 demands when a \
NAT is on the path (or when `encap = \"udp\"` asks for it, both sides are Adits that prefer UDP, or the tunnel may \
move, RFC 4555), vanished.

Usual causes: a firewall rule that allows port 500 alone, a NAT device with a broken \"IPsec passthrough\", or a \
cloud security group that lists only one port.

Allow UDP 4500 in both directions on every device between the two sides, and on both hosts. ESP itself then travels \
inside UDP 4500 as well; protocol 50 need not be allowed. Where there is no NAT and only protocol 50 is allowed, \
`encap = \"esp\"` does without port 4500. Where UDP cannot be had at all, `tcp = true` lets the tunnel go over to TCP \
(RFC 9329) by itself, if the peer listens there, and `encap = \"tcp\"` begins with it."

E122 122 Error "no TCP connection to the peer"
"The tunnel goes over TCP (RFC 9329), because `encap = \"tcp\"` asks for it or because UDP got no answer and `tcp` \
allows it, and no connection to the peer's port comes about.

We know because the kernel said so: the peer's host refused the connection, nothing answered for ten seconds, or there \
is no way there.

Usual causes: the peer does not listen for TCP (an Adit does only with `aditd --listen-tcp 4500`), it listens on \
another port than `tcp` says, or a firewall lets that port through as little as it does UDP.

Let the peer listen on a port that is open on the way, 443 as a rule, and write that port: `tcp = 443`. \
`nc -vz PEER PORT` shows whether it can be reached."

E123 123 Error "what answers on the peer's TCP port is no IKE"
"A TCP connection to the peer came about and ended, or carried something else, before the peer had authenticated \
(RFC 9329).

We know because the connection was closed or reset while we waited for an answer, or because what came back has no \
lengths that such a stream could have.

Usual causes: a web server or a proxy that owns the port, a firewall that looks into connections and ends what it does \
not know, or a peer that takes IKE in TCP only on another port.

Write the port on which the peer takes IKE in TCP: `tcp = 4500`. If something on the way ends these connections, only \
another port helps: they look like no other protocol, and there is no TLS around them."

E124 124 Error "the peer does not take our new address"
"An address of this host has changed, or another way to the peer became the better one, and the tunnel was to move \
there (MOBIKE, RFC 4555). The peer refuses that address. The tunnel goes on where it was, if it can.

We know because the peer answered UPDATE_SA_ADDRESSES with UNACCEPTABLE_ADDRESSES, for this way and for every other \
one there is.

Usual causes: the peer takes us from certain networks alone, and the new address is in none of them: `peer` there \
names a network.

Name the network in `peer` at the other side, or say with `address` here which addresses to use."

E125 125 Error "a NAT changes addresses, and none is allowed"
"With `encap = \"esp\"` the tunnel has no NAT traversal, and so nobody on the way may change the addresses of its \
messages (RFC 4555 §3.9). Somebody does.

We know because a protected message named other addresses than it travelled with: ours, which the peer answered with \
UNEXPECTED_NAT_DETECTED, or the peer's.

Usual causes: a NAT device between the two sides, or a network with one that a host has moved into.

Take `encap = \"auto\"` on both sides, which passes a NAT inside UDP 4500; or take the NAT off the way."

E130 130 Error "the peer closed the tunnel"
"The peer sent an authenticated Delete for the SA (RFC 7296 §1.4.1). It meant it: somebody stopped the tunnel there, \
its configuration changed, its lifetime ended, or its daemon shut down.

We know because the message was protected by the keys of the SA.

If it happens right after the tunnel came up, the peer did not like something it learned late: its log has the \
reason, which the protocol has no room for. If it happens after a fixed time, look for a lifetime without rekeying \
on that side.

With `keep = \"up\"` the tunnel is negotiated again; with \"on-demand\" the next packet does it; with \"passive\" it \
is up to the peer."

E131 131 Error "the peer answered what it may not"
"The peer sent an error that has no number of its own here, or a message that breaks the rules of RFC 7296.

We know because the message came within the exchange and, behind IKE_SA_INIT, was protected by the keys of the SA.

Usual causes: a peer that is overloaded or misconfigured in a way only it knows, or a defect in its program or in ours.

The peer's log has its side of the story. If the peer is in order, report the line `adit log NAME` prints."

E132 132 Error "a tunnel with this peer exists already"
"Both identities already have an IKE SA with each other, and one side is configured to keep the old one \
(`unique = keep` in swanctl.conf) instead of replacing it.

We know because the side that keeps the old one refused the new one after the login, so both are who they claim to be.

Usual causes: the same identity configured on two machines, or a peer that lost its state and calls again while the \
other side still believes the old SA to be alive; a shorter `dpd` finds that out sooner.

Take the old one down first, or let new ones replace old ones, which is the default of tunnel files."

E133 133 Error "the tunnel's keys have reached the end of their life"
"The SA lived to its hard limit of time, octets or packets, and was not replaced before (RFC 7296 §2.8). Its traffic \
stopped rather than go on under old keys.

We know because the packet engine and the IKE daemon count time, octets and packets against the limits.

Usual causes: the peer did not answer the rekeying, refused it, or the soft and hard limits lie too close together. An \
IKE SA also ends with the first certificate that it rests on. `adit why-lifetime NAME` says what each limit comes from.

With `keep = \"up\"` the tunnel is negotiated anew. Look in the log for why the rekeying failed."

E134 134 Error "gateways send us from one to the other"
"The gateway we called sent us to another one, that one to a third, and so on, more often than five times within five \
minutes. So we stop (RFC 5685 §7) and try the configured gateway again later.

We know because we counted. A redirection in the first exchange is not authenticated; whoever is met at the end must \
prove to be the peer in any case.

Usual causes: two gateways that name each other in `redirect`, or somebody on the way who answers in their name.

Look where each of the gateways redirects to. `follow_redirects = false` stays with the configured one."

E201 201 Error "there is no secret for this peer"
"The connection uses a pre-shared key, and none is loaded for this pair of identities.

We know because the lookup in our own memory found nothing; nothing was sent to the peer about it.

Usual causes: the tunnel's `secret` is missing or its file could not be read; with swanctl.conf, the `id` of the \
secret names neither side as the connection does, or `swanctl --load-creds` was not run.

Name the file with `secret = \"file:NAME\"`. `adit secret new` makes a good one. In swanctl.conf a secret without any \
`id` fits every peer."

E203 203 Error "the pre-shared keys differ"
"The peer found a configuration for us, checked our login, and it was wrong; or its login was wrong here. The names \
are right, the secrets differ.

We know because AUTHENTICATION_FAILED came right after our AUTH payload, or because the peer's AUTH payload does not \
fit our secret. Only an Adit peer lets us tell this case from E204 with certainty; with another peer the message \
says so and names both possibilities.

Usual causes: a trailing newline or quotes that one side takes as part of the secret, a secret in hex or base64 that \
one side takes literally (swanctl.conf writes 0x and 0s in front of those), or two tunnels whose files were mixed up. A \
post-quantum key (`ppk`) enters the login as well: two of one name that differ show like this.

Compare the lengths that both sides report. When in doubt make a new one \
with `adit secret new` and copy it over: it contains no character that any configuration format treats specially."

E204 204 Error "one side does not know the other by its name"
"The peer refused our login before it proved its own identity: it has no connection for the name we gave. Or the \
other way round: a peer came with a name that no connection here expects.

We know because the peer sent AUTHENTICATION_FAILED without its own identity in the answer (if it is an Adit), or \
because we looked and found nothing; then the message shows the nearest names we do expect.

Usual causes: one side names itself by its address and the other expects a host name; behind a NAT the private \
address is the default identity; a name with and without its domain.

Set `id` to what the peer expects, or `peer_id` there to what we say. Names of different kinds never match: \
\"192.0.2.1\" as an address is not the host name \"192.0.2.1\"."

E205 205 Error "the peer proved another identity than the configured one"
"The login itself worked, but the peer is not who the configuration asks for.

We know because its authenticated identity does not match `peer_id`. We closed the negotiation: a valid login of \
the wrong peer is worth nothing.

Usual causes: `peer_id` is missing, so the peer's address is expected while it calls itself by a name; the address \
leads to another gateway than intended.

If the shown name is the right one, put it in `peer_id`. If it is not, find out who answers at that address."

E206 206 Error "we have nothing to sign our login with"
"The tunnel wants us to prove our identity by a signature, and no private key is there that could make one.

We know because we looked among the keys that are loaded; nothing was sent to the peer about it. Or there is a key, \
and the peer says it takes no signature that such a key makes (RFC 7427 §4).

Usual causes: the key's file was not loaded (`swanctl --load-creds`), the certificate of the tunnel belongs to \
another key, or without `certs` no loaded certificate has our identity in it.

In a tunnel's file name both, `cert = \"file:gw.pem\"` and `key = \"file:gw.key\"`. With swanctl.conf put the key \
into the `private` directory and name the certificate in `certs`."

E207 207 Error "the peer's certificate or key is not one we trust"
"The peer signed its login, and nothing we were told to trust stands behind its key: no authority of ours has signed \
its certificate, or its key is not the one that was pinned.

We know because we followed the issuers from its certificate as far as they were sent or known.

Usual causes: `ca` names another authority than the peer's; an intermediate certificate is missing at the peer, which \
has to send it; the peer got a new certificate from elsewhere; or somebody else answers at that address.

Name the authority in `ca` (swanctl.conf: `cacerts`, or the directory x509ca). If the peer has a raw key, \
`peer_key` has to be its public half."

E208 208 Error "a signature is refused"
"A login that is signed was not accepted. Either the peer's signature does not fit its own key, or the peer refuses \
ours without saying why: AUTHENTICATION_FAILED is all that the protocol has (RFC 7296 §2.21.2).

Usual causes when the peer refuses: it does not trust the authority of our certificate, our certificate is expired \
by its clock, our identity is not in the certificate, or it does not know us by this name.

The log of the peer names the reason. `adit check` shows our certificate and the names in it."

E209 209 Error "the two sides authenticate in different ways"
"One side uses a pre-shared key where the other expects a signature, or signs with an algorithm that the other side \
does not allow.

We know because the AUTH payload names its method (RFC 7296 §3.8), and a signature its algorithm (RFC 7427 §3).

Usual causes: `secret` on one side and certificates on the other; SHA-1, which is refused; `auth = rsa-sha512` where \
the peer signs with SHA-256.

Let both tunnels ask for what the other side does. Each direction stands for itself: one side may have a secret and \
the other a certificate."

E210 210 Error "the peer's certificate is for somebody else"
"The certificate is valid and from an authority we trust, and the name that the peer uses is not in it.

We know because the identity must stand in subjectAltName, or be the whole subject (RFC 4945 §3.1). The common name \
alone does not count.

Usual causes: the peer's `id` is its address or another of its names; a certificate without subjectAltName.

Let the peer use a name of its certificate as its identity, or get it a certificate with that name."

E211 211 Error "the peer's certificate has expired"
"The certificate of the peer, or one between it and the authority, is over by our clock.

The message names both times. If ours is wrong, correct it (`timedatectl`).

Renew the certificate at the peer. Tunnels that are up stay up until they are negotiated anew."

E212 212 Error "the peer's certificate is not valid yet"
"The certificate of the peer, or one between it and the authority, begins later than our clock says.

Most often our clock is slow: a board without a battery begins in 1970 or at the day its system was built.

Compare the two times in the message; `timedatectl set-ntp true` sets the clock. If it is right, the certificate was \
made for later."

E213 213 Error "the peer's certificate may not be used for this"
"The certificate is not fit for IKE, or one of those above it not fit for signing others: key usage, basic \
constraints, path length, a critical extension that is not known here (name constraints and policies among them), or a \
signature with SHA-1 (RFC 5280 §4.2, RFC 4945 §5).

We know because the certificates say what they are for. Usual causes: a certificate that was made for something else, \
such as signing programs, or an authority's that was made without CA:TRUE.

Get a certificate with digitalSignature as key usage and, if it has extended key usages, one of ipsecIKE, serverAuth \
or clientAuth; authorities need CA:TRUE and keyCertSign. Where IKEv1 encrypts nonces to it, it needs keyEncipherment \
instead. Authorities with DSA keys count in IKEv1 alone."

E221 221 Error "no post-quantum key in common"
"A tunnel has a post-quantum pre-shared key (RFC 8784), which both sides mix into the keys of the IKE SA, and one side \
insists on it. The other has none, or another one.

We know because the first messages say whether a side has such a key at all (USE_PPK), and IKE_AUTH names it \
(PPK_IDENTITY). That the names agree and the keys differ shows as E203: the key enters the login as well.

Usual causes: `ppk_id` differs; only one side has been given the key yet; the secret was not loaded (`swanctl \
--load-creds`).

Compare `ppk_id` on both sides. While a network is being equipped, `ppk_required = false` lets those without a key in; \
when all have theirs, take it out, or an attacker with a quantum computer can talk both sides out of the key."

E222 222 Error "the two sides authenticate a different number of times" E222_TEXT

E223 223 Error "a user is not let in" E223_TEXT

E224 224 Error "the RSA keys of the two sides do not fit" E224_TEXT

E225 225 Error "no static ML-KEM keys in common" E225_TEXT

E301 301 Error "the two sides disagree about which networks to connect"
"Both sides know each other, and then found no traffic that both want in the tunnel: what we call `local` must be \
(part of) what the peer calls remote, and the other way round.

We know because the peer answered TS_UNACCEPTABLE (RFC 7296 §2.9), or because its offer does not overlap with our \
configuration. An Adit peer tells its own selectors after login, and the difference is marked.

Usual causes: a typing error in a prefix, the two sides not mirrored, or protocol and port restrictions on one side. \
strongSwan also answers TS_UNACCEPTABLE when its kernel refused the policy; its log then says `unable to install`.

Make `remote` here cover what is `local` there, and the other way round. One side may be larger: the smaller wins."

E302 302 Error "the peer claims networks that it may not speak for"
"The peer proved who it is, and asks for networks that `[claims]` in the tunnel's file does not give to its identity. \
Nothing of what it asks for is left, so it gets no tunnel (RFC 4301 §4.4.3.4); where something is left, it gets that.

We know because its traffic selectors would fit `remote`, but not the claim that fits its identity best: an exact \
identity before `*.north.example`, that before `*.example`, and that before `%any`. Who is in no claim has nothing. \
An identity is proven by the tunnel's secret alone: whoever knows that can be any that `peer_id` lets in.

Usual causes: a network was added at the peer and not here, its identity changed, or it wants what is another's.

Add the network to its line under `[claims]`, or make `local` at the peer smaller."

E303 303 Error "the gateway has no address for us" E303_TEXT

E401 401 Warning "large packets are lost inside the tunnel" E401_TEXT

E402 402 Error "no policy lets a packet through"
"The packet reached us and no policy matches it: no tunnel has its source on our side and its destination on the \
peer's, and no policy of the operator lets it pass. Then it is dropped (RFC 4301 §4.4.1).

We know because we asked our policies about exactly this packet, as the packet engine does.

Usual causes: the source address is not in the tunnel's `local`, often because the host itself sends and takes the \
address of its outer interface; the destination is routed here for another tunnel; a port or protocol that the \
selectors leave out.

`adit spd` lists the policies. Widen `local` or `remote` of the tunnel on both sides, or send from an address inside \
`local`. What shall pass in clear needs a policy of its own, `policies/NAME.toml` with action = \"bypass\"."

E403 403 Error "a policy discards a packet"
"An operator wrote a policy with action = \"discard\" that matches the packet before any tunnel does. It is dropped, \
also when the tunnel is up.

We know because we asked our policies about exactly this packet, as the packet engine does.

Somebody wanted it so: the policy's file says which addresses and ports. If this packet is to pass, make the policy \
smaller, or put a policy with action = \"bypass\" before it in the order of file names."

E404 404 Error "the tunnel that should carry a packet is down"
"A policy sends the packet into a tunnel, and the tunnel has no SA that carries it. A few packets wait for it, the \
others are dropped; none is sent in clear.

We know because we asked our policies about exactly this packet, and the packet engine which SAs it has.

Usual causes: the tunnel failed, which has a code of its own; it was taken down by a command; it waits for the peer to \
begin (`keep = \"passive\"`); or the peer narrowed the traffic, so that this packet is outside of what was agreed. In a \
tunnel with `pfp` the first packet opens an SA of its own, unless there are 256 already (`too_many_sas` in the counters of \
dropped packets): `idle` makes room.

`adit status NAME` says what keeps the tunnel down, `adit up NAME` tries it now."

E405 405 Error "packets go out, and none comes back" E405_TEXT

E406 406 Warning "pieces of packets are lost on the way" E406_TEXT

E407 407 Warning "packets of the tunnel are dropped" E407_TEXT

E501 501 Error "this host sends the tunnel's traffic elsewhere"
"The tunnel is up, but the routing table of this host sends packets for the remote networks to another interface.

We know because the route was looked up after installing ours, and the answer names another interface.

Usual causes: a more specific route from DHCP or a routing daemon, a rule with a higher priority, or another VPN \
that claims the same network.

`ip route get ADDRESS` shows the winner, `ip rule` the order of tables. Remove the other route or make the tunnel's \
networks more specific."

E502 502 Error "an address or port is already in use"
"The daemon could not bind a UDP port or its control socket because another process holds it.

We know from the system's answer to bind(2).

Usual causes: another IKE daemon (strongSwan, Libreswan, racoon) or a second aditd in the same network namespace.

`ss -ulpn 'sport = 500 or sport = 4500'` names the process. Stop it, or run aditd in a namespace of its own or with \
other ports."

E503 503 Error "no TUN device can be made"
"The daemon carries the traffic through a TUN interface and could not create one.

We know from the system's answer when /dev/net/tun was opened or configured.

Usual causes: a container without that device, a kernel without the tun module, or a name that is taken.

In a container pass the device (`--device /dev/net/tun`) and the capability NET_ADMIN; on a host run `modprobe tun`."

E504 504 Error "missing privileges"
"The daemon may not do what it must: bind ports below 1024, create an interface, change routes.

We know from the system's answer (EPERM or EACCES).

Usual causes: started by an ordinary user, or in a container without NET_ADMIN and NET_RAW.

Run it as root or give it CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE. `adit demo` needs root for its \
network namespaces as well."

E505 505 Warning "this host does not forward packets"
"The tunnel connects networks behind this host, but the kernel does not forward packets between interfaces, so only \
the host itself can use it.

We know because net.ipv4.ip_forward (or net.ipv6.conf.all.forwarding) is 0.

`sysctl -w net.ipv4.ip_forward=1` turns it on until the next boot; a file in /etc/sysctl.d makes it stay. If the \
tunnel is meant for this host alone, ignore the warning."

E506 506 Error "this host drops the peer's packets on arrival"
"The peer lies inside the networks that the tunnel connects, so the way back to it leads into the tunnel, and the \
kernel is told to drop packets that arrive by another way than they would be answered: strict reverse path filtering.

We know because the larger of net.ipv4.conf.all.rp_filter and the interface's own value is 1.

`sysctl -w net.ipv4.conf.INTERFACE.rp_filter=2` makes the filter loose: it still drops sources that no route leads to. \
A file in /etc/sysctl.d makes it stay. Or leave the peer's own address out of `remote`."

E507 507 Error "the kernel cannot be the tunnel's engine"
"The tunnel says `engine = \"kernel\"`, but this host's kernel lacks something for it: IPsec as a whole, ESP, or one \
of the algorithms that the tunnel may negotiate. Or the tunnel asks for what only the engine in user space does: AH, \
padding and dummies, compression, classes, a DSCP or DF bit of its own, or the policies of /etc/adit/policies for \
some of its traffic. Or it asks for an interface of its own and the kernel has no XFRM interfaces (module \
xfrm_interface), or for a network device to do the work (`offload`) and the one towards the peer cannot.

We know because the kernel was asked for an SA of that kind and refused, and the message repeats its answer; or because \
the tunnel's file says so.

Usual causes: a kernel built without CONFIG_XFRM_USER or CONFIG_INET_ESP (CONFIG_INET6_ESP), modules that are not \
installed (esp4, esp6, xfrm_user), or a container that may not load them.

`modprobe esp4 esp6 xfrm_user` on the host helps if the modules are there. Otherwise leave the algorithm out of `esp`, \
or write engine = \"userspace\", which needs nothing of the kernel; engine = \"auto\" chooses by itself."

E508 508 Warning "clear packets are not kept out"
"A policy protects or discards traffic, and this host lets such packets in all the same if they arrive in clear, beside \
the tunnel. What leaves is protected as ever.

We know because the kernel's packet filter could not be set up; the message says why. The packet engine sees only what \
comes through tunnels and what leaves.

Usual causes: the program nft is not installed, the kernel has no nf_tables, or there are more policies than a filter \
should have (2048 pairs of selectors).

`apt install nftables` brings the program. If another firewall does the same, `aditd --inbound-filter off` leaves it to \
that."

E509 509 Error "the tunnel cannot have its interface"
"The tunnel's file names an interface that is to be its own, and the interface cannot be made: mostly because another \
one has that name already. It is left alone. With the kernel as engine the tunnel is not loaded; in user space it \
carries nothing until the name is free, and others go on.

We know because the kernel was asked for the interface of that name, or for a new one, and the message repeats its \
answer.

`ip -details link show NAME` shows what has the name. Give the tunnel's `interface` another one, or remove what nobody \
needs: `ip link delete NAME`. What the daemon made itself goes by itself: with the kernel as engine it has an if_id \
from 0xad170000 to 0xad17ffff, in user space it is a TUN like adit0."

E510 510 Error "a configuration file has a mistake"
"A file could not be understood or contradicts itself or another file. The running configuration stays as it was: \
nothing of a faulty set of files is used.

We know because every key and value is checked when it is read; the message points at the place and names the \
nearest valid word.

`adit check` reads the files exactly as the daemon does and changes nothing. `adit check --plan` also says which \
tunnels a reload would touch."

E511 511 Error "a secret can be read by others"
"The file with a secret is readable or writable for users other than its owner. Whoever can read it can pretend to \
be either side of the tunnel, so it is refused.

We know from the permissions of the file.

`chmod 600 FILE` and, if it was readable for long, replace the secret on both sides: `adit secret new`."

E512 512 Error "a file is missing or cannot be read"
"The configuration names a file that is not there, or that the daemon may not read.

We know from the system's answer, which the message repeats. A relative name is looked up beside the file that \
names it.

Create it (`adit secret new > NAME.psk; chmod 600 NAME.psk`), or mend the name."

E513 513 Warning "a secret is weak"
"The pre-shared key is short, or a word, or made of few different characters. Anyone who gets into the middle of one \
negotiation can try guesses at leisure afterwards (RFC 7296 §2.15), millions per second.

We know from its length and its characters; it is never sent or stored anywhere for this.

`adit secret new` makes 256 random bits; nobody needs to remember them."

E514 514 Error "an algorithm is too weak to be used unasked" E514_TEXT

E515 515 Warning "a weak algorithm is allowed" E515_TEXT

E516 516 Warning "the tunnel does not encrypt" E516_TEXT

E517 517 Warning "no packet ever reaches a policy"
"Policies are asked in order and the first that matches decides. This one is never the first: those before it, taken \
together, match everything it matches.

We know because the policies are taken apart into regions that do not overlap (RFC 4301 Appendix B), and none is left \
for this one.

Usual causes: a policy for a larger network whose file comes earlier in the order of names, or a policy that repeats \
another.

`adit spd` shows the order. Rename the file so that it comes first (10-NAME.toml before 20-NAME.toml), or remove it."

E518 518 Warning "compressed packets tell about their contents by their lengths"
"The tunnel compresses what it carries, so the length of a packet says how much of it repeats. Someone who watches the \
encrypted packets, and can have text of their choice sent beside a secret in the same packet, finds the secret out \
piece by piece: a guess that is right makes the packet shorter. This is how CRIME and BREACH read cookies.

We know from `compress = true` in the tunnel's file. What `ipcomp = yes` asks for in swanctl.conf is the same.

Usual cause: a slow link, where compression pays. Most traffic is compressed or encrypted already and does not shrink.

Leave `compress` out, unless nobody else can make hosts behind the tunnel send what they choose."

E519 519 Warning "a secret may be guessed by whoever asks" E519_TEXT

E520 520 Error "the daemon does not answer"
"The command line talks to aditd through its control socket, and nobody listens there.

We know from the system's answer to connect(2).

Usual causes: aditd does not run, listens at another path (`aditd --vici PATH`, `adit --vici PATH`), or the socket \
belongs to root and you are not.

Start it (`systemctl start aditd`, or `aditd --config DIR` in a terminal to see what it says)."

E521 521 Warning "SAs are keyed by hand"
"The keys of these SAs stand in files, and nobody negotiates new ones. Whoever gets such a file, today or in years, reads \
everything that was ever sent under it: there is no forward secrecy. A packet that someone has recorded is taken again, for \
sequence numbers say nothing when a sender that restarts counts from 1 (RFC 4303 §3.4.3). Nobody notices that the peer is \
gone. And after 2^32 packets, or what is safe under one key, the SA ends for good (E522).

We know because there is a file in `sas/`. All SAs of RFC 4301 §4.5 are like that, whoever makes them.

Usual causes: a peer that has no IKE, a multicast group without key management, a test.

Use a tunnel (`tunnels/NAME.toml`) with a pre-shared key where the peer has IKEv2. Otherwise replace the keys by hand on \
all sides, often: `adit secret new --sa SUITE FILE`. `replay_window` may help where senders never restart."

E522 522 Error "an SA keyed by hand has ended"
"An SA whose keys were written down has used up what it had: all 2^32 - 1 sequence numbers (RFC 4303 §3.3.3), or the \
octets that are safe under one key of its cipher. It carries nothing more, and nothing goes in clear instead.

We know from the packet engine, which counts both and refuses the packet that would be one too many.

Usual causes: none but traffic. Such an SA has nobody who would negotiate new keys before it is too late.

Put new keys into the files on all sides (`adit secret new --sa SUITE FILE`) and `adit reload`. With the same keys the \
SA would begin again at 1, and old packets would pass for new ones."

E523 523 Error "a multicast group is out of reach"
"An SA that is keyed by hand is for a multicast group, and this host cannot take part: its packets are sent nowhere, or none \
arrive.

We know because no interface has the `address` of the file, or because the kernel refused to join the group there.

Usual causes: the interface came up after the daemon, the address is that of another host, or the host has joined as many \
groups as it may (`net.ipv4.igmp_max_memberships`).

Give the interface its address, or mend `address`, and `adit reload` after a change of the file; a restart of the daemon \
tries again, too."

E524 524 Error "a certificate or key cannot be used"
"A file that the configuration names was read, and what is in it is no certificate or key that can be used here.

Usual causes: the files of two keys mixed up; a private key with a password on it; an RSA key of less than 2048 bits; \
a kind of key that is not supported (Ed448, other curves than P-256, P-384 and P-521); a DSA key whose numbers do not \
go together.

`openssl x509 -in FILE -text` and `openssl pkey -in FILE -text` show what a file holds."

E525 525 Error "a private key does not fit the certificate"
"The tunnel's `cert` and `key` do not belong together: no certificate in the file has the public half of the key. \
A signature by it would be refused by every peer.

Usual causes: the certificate was renewed with a new key and only one of the files replaced, or the files of two \
hosts mixed up.

`openssl x509 -in CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` must print the same."

E526 526 Error "this host's firewall drops the tunnel's packets" E526_TEXT

E527 527 Warning "this host's clock cannot be trusted" E527_TEXT

E528 528 Warning "the link towards the peer is too small" E528_TEXT

E529 529 Warning "a certificate of this host ends soon" E529_TEXT

E530 530 Error "nothing can be recorded" E530_TEXT

E534 534 Warning "no forward secrecy" E534_TEXT

E601 601 Error "something failed that should not"
"A computation, a message of the peer or a rule of the protocol came out in a way that honest peers and sound \
programs do not produce.

We know because the value was checked and the check failed; the message says which.

Usual causes: a peer that breaks the protocol, a middle box that changes packets, or a mistake in this program.

Please report it with `adit log` of the moment."
}

#[cfg(test)]
mod tests;
