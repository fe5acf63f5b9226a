//! Numbers of ISAKMP (RFC 2408 §3) and of the payloads that later documents added to it.

use super::registry;

registry! {
    /// Payload type (RFC 2408 §3.1, RFC 3947 §3, §5.2). [`PayloadType::NONE`] ends a chain.
    ///
    /// The drafts of NAT traversal up to 03 had private numbers, those from 04 to 08 numbers that IANA
    /// gave to others afterwards.
    pub struct PayloadType(u8) {
        NONE = 0, "NONE";
        SA = 1, "SA";
        PROPOSAL = 2, "P";
        TRANSFORM = 3, "T";
        KE = 4, "KE";
        ID = 5, "ID";
        CERT = 6, "CERT";
        CERTREQ = 7, "CR";
        HASH = 8, "HASH";
        SIGNATURE = 9, "SIG";
        NONCE = 10, "NONCE";
        NOTIFICATION = 11, "N";
        DELETE = 12, "D";
        VENDOR_ID = 13, "VID";
        ATTRIBUTES = 14, "ATTR";
        NAT_D_DRAFT_04 = 15, "NAT-D (draft 04)";
        NAT_OA_DRAFT_04 = 16, "NAT-OA (draft 04)";
        NAT_D = 20, "NAT-D";
        NAT_OA = 21, "NAT-OA";
        NAT_D_DRAFT = 130, "NAT-D (draft)";
        NAT_OA_DRAFT = 131, "NAT-OA (draft)";
        FRAGMENT = 132, "FRAGMENT";
    }
}

impl PayloadType {
    /// Whether a receiver to whom the number means nothing skips the payload: numbers that are left to
    /// private agreement (RFC 2408 §3.1), and those of drafts that gateways send unasked.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 >= 128 || matches!(self, Self::NAT_D_DRAFT_04 | Self::NAT_OA_DRAFT_04)
    }
}

registry! {
    /// Exchange type (RFC 2408 §3.1, RFC 2409 appendix A).
    pub struct ExchangeType(u8) {
        NONE = 0, "NONE";
        BASE = 1, "Base";
        IDENTITY_PROTECTION = 2, "Identity Protection";
        AUTHENTICATION_ONLY = 3, "Authentication Only";
        AGGRESSIVE = 4, "Aggressive";
        INFORMATIONAL = 5, "Informational";
        TRANSACTION = 6, "Transaction";
        QUICK_MODE = 32, "Quick Mode";
        NEW_GROUP_MODE = 33, "New Group Mode";
    }
}

registry! {
    /// Notify message type (RFC 2408 §3.14.1, RFC 2407 §4.6.3, RFC 3706 §5.3). Below 16384 it reports
    /// an error. Ours are out of the private range for status, 32768 to 40959, and go to nobody but peers
    /// with our vendor ID; IKEv2 has numbers of its own for the same.
    pub struct NotifyType(u16) {
        INVALID_PAYLOAD_TYPE = 1, "INVALID-PAYLOAD-TYPE";
        DOI_NOT_SUPPORTED = 2, "DOI-NOT-SUPPORTED";
        SITUATION_NOT_SUPPORTED = 3, "SITUATION-NOT-SUPPORTED";
        INVALID_COOKIE = 4, "INVALID-COOKIE";
        INVALID_MAJOR_VERSION = 5, "INVALID-MAJOR-VERSION";
        INVALID_MINOR_VERSION = 6, "INVALID-MINOR-VERSION";
        INVALID_EXCHANGE_TYPE = 7, "INVALID-EXCHANGE-TYPE";
        INVALID_FLAGS = 8, "INVALID-FLAGS";
        INVALID_MESSAGE_ID = 9, "INVALID-MESSAGE-ID";
        INVALID_PROTOCOL_ID = 10, "INVALID-PROTOCOL-ID";
        INVALID_SPI = 11, "INVALID-SPI";
        INVALID_TRANSFORM_ID = 12, "INVALID-TRANSFORM-ID";
        ATTRIBUTES_NOT_SUPPORTED = 13, "ATTRIBUTES-NOT-SUPPORTED";
        NO_PROPOSAL_CHOSEN = 14, "NO-PROPOSAL-CHOSEN";
        BAD_PROPOSAL_SYNTAX = 15, "BAD-PROPOSAL-SYNTAX";
        PAYLOAD_MALFORMED = 16, "PAYLOAD-MALFORMED";
        INVALID_KEY_INFORMATION = 17, "INVALID-KEY-INFORMATION";
        INVALID_ID_INFORMATION = 18, "INVALID-ID-INFORMATION";
        INVALID_CERT_ENCODING = 19, "INVALID-CERT-ENCODING";
        INVALID_CERTIFICATE = 20, "INVALID-CERTIFICATE";
        CERT_TYPE_UNSUPPORTED = 21, "CERT-TYPE-UNSUPPORTED";
        INVALID_CERT_AUTHORITY = 22, "INVALID-CERT-AUTHORITY";
        INVALID_HASH_INFORMATION = 23, "INVALID-HASH-INFORMATION";
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION-FAILED";
        INVALID_SIGNATURE = 25, "INVALID-SIGNATURE";
        ADDRESS_NOTIFICATION = 26, "ADDRESS-NOTIFICATION";
        NOTIFY_SA_LIFETIME = 27, "NOTIFY-SA-LIFETIME";
        CERTIFICATE_UNAVAILABLE = 28, "CERTIFICATE-UNAVAILABLE";
        UNSUPPORTED_EXCHANGE_TYPE = 29, "UNSUPPORTED-EXCHANGE-TYPE";
        UNEQUAL_PAYLOAD_LENGTHS = 30, "UNEQUAL-PAYLOAD-LENGTHS";
        CONNECTED = 16384, "CONNECTED";
        RESPONDER_LIFETIME = 24576, "RESPONDER-LIFETIME";
        REPLAY_STATUS = 24577, "REPLAY-STATUS";
        INITIAL_CONTACT = 24578, "INITIAL-CONTACT";
        ADIT_ICMP_ERROR = 33000, "ADIT_ICMP_ERROR";
        ADIT_LARGEST_FRAGMENT = 33001, "ADIT_LARGEST_FRAGMENT";
        ADIT_PATH_PROBE = 33002, "ADIT_PATH_PROBE";
        R_U_THERE = 36136, "R-U-THERE";
        R_U_THERE_ACK = 36137, "R-U-THERE-ACK";
    }
}

impl NotifyType {
    /// Whether the notify reports an error; a status otherwise (RFC 2408 §3.14.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < Self::CONNECTED.0
    }
}

registry! {
    /// Certificate encoding (RFC 2408 §3.9).
    pub struct CertEncoding(u8) {
        NONE = 0, "NONE";
        PKCS7 = 1, "PKCS #7 wrapped X.509";
        PGP = 2, "PGP";
        DNS_SIGNED_KEY = 3, "DNS signed key";
        X509_SIGNATURE = 4, "X.509 - signature";
        X509_KEY_EXCHANGE = 5, "X.509 - key exchange";
        KERBEROS_TOKENS = 6, "Kerberos tokens";
        CRL = 7, "CRL";
        ARL = 8, "ARL";
        SPKI = 9, "SPKI";
        X509_ATTRIBUTE = 10, "X.509 - attribute";
    }
}

registry! {
    /// What an Attributes payload does (draft-ietf-ipsec-isakmp-mode-cfg-05 §3.2).
    pub struct ConfigurationType(u8) {
        REQUEST = 1, "ISAKMP_CFG_REQUEST";
        REPLY = 2, "ISAKMP_CFG_REPLY";
        SET = 3, "ISAKMP_CFG_SET";
        ACK = 4, "ISAKMP_CFG_ACK";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_ascend_without_repetition() {
        fn ascends<T: Ord>(all: &[T]) -> bool {
            all.windows(2).all(|pair| pair[0] < pair[1])
        }
        assert!(ascends(PayloadType::ALL));
        assert!(ascends(ExchangeType::ALL));
        assert!(ascends(NotifyType::ALL));
        assert!(ascends(CertEncoding::ALL));
        assert!(ascends(ConfigurationType::ALL));
    }

    /// RFC 2408 §3.14.1: errors are 1 to 16383, the last half of them private.
    #[test]
    fn errors_lie_below_16384() {
        assert!(NotifyType::UNEQUAL_PAYLOAD_LENGTHS.is_error());
        assert!(NotifyType(16_383).is_error());
        assert!(!NotifyType::CONNECTED.is_error());
        assert!(!NotifyType::R_U_THERE.is_error());
    }
}
