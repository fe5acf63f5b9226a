//! Numbers of the IKEv2 header and of most payloads (RFC 7296 §3).

use super::registry;

registry! {
    /// Security protocol of a proposal, notify or delete (RFC 7296 §3.3.1).
    pub struct ProtocolId(u8) {
        NONE = 0, "NONE";
        IKE = 1, "IKE";
        AH = 2, "AH";
        ESP = 3, "ESP";
    }
}

registry! {
    /// Exchange type (RFC 7296 §3.1); those below 34 are IKEv1's (RFC 2409 appendix A).
    pub struct ExchangeType(u8) {
        BASE_MODE = 1, "Base Mode";
        MAIN_MODE = 2, "Main Mode";
        AGGRESSIVE_MODE = 4, "Aggressive Mode";
        TRANSACTION = 6, "Transaction";
        QUICK_MODE = 32, "Quick Mode";
        NEW_GROUP_MODE = 33, "New Group Mode";
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        IKE_AUTH = 35, "IKE_AUTH";
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        INFORMATIONAL = 37, "INFORMATIONAL";
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// Payload type (RFC 7296 §3.2). [`PayloadType::NONE`] ends a chain.
    pub struct PayloadType(u8) {
        NONE = 0, "NONE";
        SA = 33, "SA";
        KE = 34, "KE";
        ID_I = 35, "IDi";
        ID_R = 36, "IDr";
        CERT = 37, "CERT";
        CERTREQ = 38, "CERTREQ";
        AUTH = 39, "AUTH";
        NONCE = 40, "Nonce";
        NOTIFY = 41, "N";
        DELETE = 42, "D";
        VENDOR_ID = 43, "V";
        TS_I = 44, "TSi";
        TS_R = 45, "TSr";
        SK = 46, "SK";
        CP = 47, "CP";
        EAP = 48, "EAP";
        GSPM = 49, "GSPM";
        ID_G = 50, "IDg";
        GSA = 51, "GSA";
        KD = 52, "KD";
        SKF = 53, "SKF";
        PS = 54, "PS";
    }
}

registry! {
    /// Identification type (RFC 7296 §3.5).
    pub struct IdType(u8) {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        FC_NAME = 12, "ID_FC_NAME";
        NULL = 13, "ID_NULL";
    }
}

registry! {
    /// Authentication method of an AUTH payload (RFC 7296 §3.8).
    pub struct AuthMethod(u8) {
        RSA_SIGNATURE = 1, "RSA digital signature";
        SHARED_KEY = 2, "shared key message integrity code";
        DSS_SIGNATURE = 3, "DSS digital signature";
        ECDSA_SHA256_P256 = 9, "ECDSA with SHA-256 on P-256";
        ECDSA_SHA384_P384 = 10, "ECDSA with SHA-384 on P-384";
        ECDSA_SHA512_P521 = 11, "ECDSA with SHA-512 on P-521";
        SECURE_PASSWORD = 12, "generic secure password";
        NULL = 13, "NULL authentication";
        DIGITAL_SIGNATURE = 14, "digital signature";
    }
}

registry! {
    /// Type of a PPK_ID, the first octet of a PPK_IDENTITY notify (RFC 8784 §5.1).
    pub struct PpkIdType(u8) {
        OPAQUE = 1, "PPK_ID_OPAQUE";
        FIXED = 2, "PPK_ID_FIXED";
    }
}

registry! {
    /// Certificate encoding (RFC 7296 §3.6).
    pub struct CertEncoding(u8) {
        PKCS7 = 1, "PKCS #7 wrapped X.509";
        PGP = 2, "PGP";
        DNS_SIGNED_KEY = 3, "DNS signed key";
        X509_SIGNATURE = 4, "X.509 - signature";
        KERBEROS_TOKEN = 6, "Kerberos token";
        CRL = 7, "CRL";
        ARL = 8, "ARL";
        SPKI = 9, "SPKI";
        X509_ATTRIBUTE = 10, "X.509 - attribute";
        RAW_RSA_KEY = 11, "raw RSA key";
        HASH_AND_URL_X509 = 12, "hash and URL of X.509";
        HASH_AND_URL_BUNDLE = 13, "hash and URL of X.509 bundle";
        OCSP_CONTENT = 14, "OCSP content";
        RAW_PUBLIC_KEY = 15, "raw public key";
    }
}

registry! {
    /// Traffic selector type (RFC 7296 §3.13.1).
    pub struct TsType(u8) {
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        SECLABEL = 10, "TS_SECLABEL";
    }
}

registry! {
    /// Kind of a configuration payload (RFC 7296 §3.15).
    pub struct ConfigurationType(u8) {
        REQUEST = 1, "CFG_REQUEST";
        REPLY = 2, "CFG_REPLY";
        SET = 3, "CFG_SET";
        ACK = 4, "CFG_ACK";
    }
}

registry! {
    /// Hash in a SIGNATURE_HASH_ALGORITHMS notify (RFC 7427 §4).
    pub struct HashAlgorithm(u16) {
        SHA1 = 1, "SHA1";
        SHA2_256 = 2, "SHA2-256";
        SHA2_384 = 3, "SHA2-384";
        SHA2_512 = 4, "SHA2-512";
        IDENTITY = 5, "Identity";
    }
}
