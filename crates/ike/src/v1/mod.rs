//! IKEv1 (RFC 2407, 2408, 2409), for tunnels that say `ike = 1`: the sibling of `v2`, with which it
//! shares values and no flow.
//!
//! | file | contents | RFC |
//! |---|---|---|
//! | `ike_sa` | one IKE SA: phase 1, and the children that outlive it | 2409 §5 |
//! | `attempt` | a phase 1 under way, by either machine | |
//! | `phase1` | its messages by tables: main and aggressive mode | 2409 §5.1, §5.4 |
//! | `encryption` | the same with nonces encrypted to RSA keys | 2409 §5.2, §5.3 |
//! | `patience` | how long both wait | 2408 §5.1 |
//! | `method` | how both ends prove themselves | 2409 appendix A |
//! | `established` | what a complete phase 1 does | |
//! | `quick_mode`, `answer` | phase 2, and what a responder makes of it | 2409 §5.5 |
//! | `transaction_phase`, `transaction` | XAUTH and Mode-Config between the two | draft-ietf-ipsec-isakmp-mode-cfg-05 |
//! | `xauth`, `mode_config` | their attributes | draft-ietf-ipsec-isakmp-xauth-06 |
//! | `new_group` | private groups, which are refused | 2409 §5.6 |
//! | `fragmentation` | of the vendors | |
//! | `succession` | which child carries what | |
//! | `standing` | which of the phase 1s with a peer has the children | |
//! | `pairs` | which quick modes a child has | 2409 §5.5 |
//! | `nat`, `leash` | NAT traversal, and what goes to an address before it is proven | 3947 |
//! | `lifetimes`, `volume` | RESPONDER-LIFETIME, kilobytes of phase 1 | 2407 §4.6.3.1, 2409 appendix A |
//! | `gateway_notice` | ICMP errors and reports of fragments between Adits | |
//! | `notification_data` | what refusals say beside their type | |
//! | `vendor` | vendor ids: what the peer can do, and who it is | 2408 §3.16 |
//! | `informational`, `dpd` | notifies, deletes, dead peer detection | 2409 §5.7, 3706 |
//! | `suite`, `child_suite` | proposals of phase 1 and of phase 2 | 2407 §4.5, 2409 appendix A |
//! | `ec2n` | groups that are refused by name | 2409 §6.3 |
//! | `bundle` | AH, ESP and IPComp that belong together | 2408 §4.2, 2401 §4.3 |
//! | `keymat`, `keys` | keys, hashes, IVs | 2409 §5, appendix B |
//! | `sessions` | all IKE SAs of an endpoint | |

mod answer;
mod attempt;
mod bundle;
mod child;
mod child_suite;
mod core;
mod dpd;
pub(crate) mod ec2n;
pub(crate) mod encryption;
mod established;
mod fragmentation;
mod gateway_notice;
mod identification;
pub(crate) mod ike_sa;
mod informational;
mod keymat;
mod keys;
mod leash;
mod lifetimes;
mod method;
mod mode_config;
mod nat;
mod new_group;
mod notification_data;
mod pairs;
mod patience;
mod phase1;
mod quick_mode;
mod received;
mod retransmission;
pub(crate) mod sessions;
mod standing;
mod succession;
mod suite;
mod transaction;
mod transaction_phase;
mod vendor;
mod volume;
mod xauth;

pub(crate) use self::attempt::Attempt;
pub(crate) use self::core::Core;
pub(crate) use self::identification::claimed_identity;
pub(crate) use self::informational::refusal;
pub(crate) use self::phase1::Phase1;
pub(crate) use self::phase1::rules::Exchange;
pub(crate) use self::received::Received;
pub(crate) use self::suite::choose_phase1;
