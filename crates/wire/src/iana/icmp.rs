//! Codes of ICMP messages (RFC 2521).

use super::registry;

registry! {
    /// Code of an ICMP security failure message, type 40.
    pub struct SecurityFailure(u8) {
        BAD_SPI = 0, "bad SPI";
        AUTHENTICATION_FAILED = 1, "authentication failed";
        DECOMPRESSION_FAILED = 2, "decompression failed";
        DECRYPTION_FAILED = 3, "decryption failed";
        NEED_AUTHENTICATION = 4, "need authentication";
        NEED_AUTHORIZATION = 5, "need authorization";
    }
}
