//! What goes wrong with signatures and certificates: E206 to E213 (RFC 7427, RFC 5280).

use adit_db::{Identity, IdentityPattern};
use adit_pki::Distrust;

use super::{Context, Diagnosis};
use crate::codes::Code;

impl Diagnosis {
    /// E206: we cannot sign; `problem` says why.
    pub fn cannot_sign(cx: &Context, local: &Identity, problem: &str) -> Self {
        let fix = match cx.file {
            Some(_) => "name both: cert = \"file:NAME.pem\" and key = \"file:NAME.key\"",
            None => "put the private key where swanctl --load-creds finds it, and name `certs`",
        };
        cx.start(Code::E206, "we have nothing to sign our login with")
            .line("we are", local.to_string())
            .line("saw", problem)
            .fix(fix)
            .place(cx.at("cert"))
    }

    /// E207 to E213: the peer's signature, certificate or key is not believed.
    pub fn not_trusted(cx: &Context, remote: &Identity, problem: &Distrust) -> Self {
        let (code, sentence, fix, key) = distrust(cx, problem);
        cx.start(code, sentence)
            .line("peer is", remote.to_string())
            .line("saw", problem.to_string())
            .fix(fix)
            .place(cx.at(key))
    }

    /// E208: the peer refuses our signature, and does not say why.
    pub fn credential_refused(cx: &Context, local: &Identity, remote: &IdentityPattern) -> Self {
        cx.start(Code::E208, "the peer rejects our login by certificate or key")
            .line("we are", local.to_string())
            .line("peer is", remote.to_string())
            .line("peer said", "AUTHENTICATION_FAILED right after our AUTH")
            .line("means", "it does not trust our certificate, or does not know us by this name")
            .fix("see its log, which names the reason")
            .place(cx.at("cert"))
    }

    /// E209: the peer proves its identity in another way than it should.
    pub fn wrong_method(cx: &Context, expected: &str, received: &str) -> Self {
        cx.start(Code::E209, "the two sides authenticate in different ways")
            .line("we expect", expected)
            .line("peer did", received)
            .fix(format!(
                "let {} here ask for what the peer does, or change the peer",
                cx.key("ca, peer_key or secret", "remote.auth")
            ))
            .place(cx.at("secret"))
    }
}

/// Number, sentence, fix, and the key of the tunnel's file that it concerns.
fn distrust(cx: &Context, problem: &Distrust) -> (Code, &'static str, String, &'static str) {
    match problem {
        Distrust::UnknownIssuer { .. }
        | Distrust::OtherIssuer { .. }
        | Distrust::OtherKey
        | Distrust::NoCertificate(_) => {
            let key = cx.key("ca", "remote.cacerts");
            let fix = format!(
                "name the authority that signed it in {key}, or let the peer send what is missing"
            );
            (Code::E207, "the peer's certificate or key is not one we trust", fix, "ca")
        }
        Distrust::BadSignature => {
            let fix = "see which key the peer signs with; its certificate belongs to another one";
            (Code::E208, "the peer's signature is wrong", fix.to_owned(), "ca")
        }
        Distrust::Method(_) => {
            let fix = "let the peer sign with SHA-256 or better, in a way that both sides allow";
            (Code::E209, "the peer signs in a way that is not allowed", fix.to_owned(), "ca")
        }
        Distrust::OtherIdentity { .. } => {
            let fix = "let the peer use a name of its certificate as its identity";
            (Code::E210, "the peer's certificate is for somebody else", fix.to_owned(), "peer_id")
        }
        Distrust::Expired { .. } => {
            let fix = "renew the certificate at the peer; if our clock is wrong: timedatectl set-ntp true";
            (Code::E211, "the peer's certificate has expired", fix.to_owned(), "ca")
        }
        Distrust::NotYetValid { .. } => {
            let fix = "compare the two times; if our clock is wrong: timedatectl set-ntp true";
            (Code::E212, "the peer's certificate is not valid yet", fix.to_owned(), "ca")
        }
        Distrust::Unfit { .. } => {
            let fix = "get the peer a certificate that is for this (`adit explain E213`)";
            (Code::E213, "the peer's certificate may not be used for this", fix.to_owned(), "ca")
        }
    }
}
