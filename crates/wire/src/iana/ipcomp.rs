//! IPComp transform identifiers (RFC 2407 §4.4.5, RFC 7296 §3.10.1).

use super::registry;

registry! {
    /// Algorithm that an IPCOMP_SUPPORTED notify offers.
    pub struct IpCompTransformId(u8) {
        OUI = 1, "OUI";
        DEFLATE = 2, "DEFLATE";
        LZS = 3, "LZS";
        LZJH = 4, "LZJH";
    }
}
