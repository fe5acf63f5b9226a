//! XAUTH (draft-ietf-ipsec-isakmp-xauth-06, draft-beaulieu-ike-xauth-02): attributes by which a server
//! asks a user who they are, and what each side makes of the other's.
//!
//! ```text
//! server   REQUEST(NAME, PASSWORD)  ->  <-  REPLY(NAME = alice, PASSWORD = ...)   user
//!          SET(STATUS = OK)         ->  <-  ACK(STATUS)
//! ```

use adit_crypto::Secret;
use adit_wire::iana::ConfigAttribute as Class;
use adit_wire::isakmp::{AttributeList, AttributeValue, Attributes};

/// How often a user may be wrong on one phase 1.
pub(crate) const TRIES_MAX: u8 = 3;

/// Octets of a user's name and of a password.
const OCTETS_MAX: usize = 255;

/// Octets of a text for the user.
const MESSAGE_OCTETS_MAX: usize = 512;

/// The only type that is built: name and password as they are.
const GENERIC: u64 = 0;

const STATUS_OK: u16 = 1;
const STATUS_FAIL: u16 = 0;

/// Whether a list of attributes is one of XAUTH.
pub(crate) fn is_xauth(attributes: &Attributes<'_>) -> bool {
    attributes.iter().any(|one| Class(one.class).is_xauth())
}

// ---- Server ----

/// Asks for name and password. Without a type it is the generic one, and so nobody can take offence at
/// it (draft-beaulieu-ike-xauth-02 §6.2).
pub(crate) fn question(message: Option<&str>) -> Attributes<'static> {
    let mut list = AttributeList::new();
    if let Some(message) = message {
        list = list.variable(Class::XAUTH_MESSAGE.0, message.as_bytes());
    }
    list.variable(Class::XAUTH_USER_NAME.0, &[])
        .variable(Class::XAUTH_USER_PASSWORD.0, &[])
        .finish()
}

/// What a user says.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// What a reply says; `None` if the user declines, or says nothing that could be right.
pub(crate) fn credentials(reply: &Attributes<'_>) -> Option<Credentials> {
    let (mut user, mut password) = (None, None);
    for one in reply.iter() {
        let AttributeValue::Variable(octets) = one.value else {
            // The user cannot do what was asked.
            if Class(one.class) == Class::XAUTH_STATUS {
                return None;
            }
            continue;
        };
        let place = match Class(one.class) {
            Class::XAUTH_USER_NAME => &mut user,
            Class::XAUTH_USER_PASSWORD | Class::XAUTH_PASSCODE => &mut password,
            _ => continue,
        };
        if octets.len() > OCTETS_MAX {
            return None;
        }
        *place = Some(octets);
    }
    // Some count a zero at the end.
    let user = std::str::from_utf8(user?).ok()?.trim_end_matches('\0');
    let is_plain = !user.is_empty() && !user.chars().any(char::is_control);
    let password = password?;
    let password = password.strip_suffix(&[0]).unwrap_or(password);
    is_plain.then(|| Credentials { user: user.to_owned(), password: Secret::from_slice(password) })
}

/// Whether the user is let in.
pub(crate) fn verdict(is_right: bool) -> Attributes<'static> {
    let status = if is_right { STATUS_OK } else { STATUS_FAIL };
    AttributeList::new().basic(Class::XAUTH_STATUS.0, status).finish()
}

// ---- User ----

/// What a server asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Question {
    /// Text for the user.
    pub(crate) message: Option<String>,
    /// Something other than name and password.
    pub(crate) is_strange: bool,
    fields: Vec<Class>,
    has_type: bool,
}

impl Question {
    /// Reads a request.
    pub(crate) fn read(request: &Attributes<'_>) -> Self {
        let mut question = Self::default();
        for one in request.iter() {
            match Class(one.class) {
                Class::XAUTH_TYPE => {
                    question.has_type = true;
                    question.is_strange |= one.value.number() != Some(GENERIC);
                }
                Class::XAUTH_MESSAGE => question.message = told(one.value),
                class @ (Class::XAUTH_USER_NAME
                | Class::XAUTH_USER_PASSWORD
                | Class::XAUTH_PASSCODE
                | Class::XAUTH_DOMAIN)
                    if !question.fields.contains(&class) =>
                {
                    question.fields.push(class);
                }
                // What has to be computed or chosen is for people.
                Class::XAUTH_CHALLENGE | Class::XAUTH_NEXT_PIN | Class::XAUTH_ANSWER => {
                    question.is_strange = true;
                }
                _ => {}
            }
        }
        question
    }

    /// Whether the password is asked for.
    pub(crate) fn asks_password(&self) -> bool {
        let secret = [Class::XAUTH_USER_PASSWORD, Class::XAUTH_PASSCODE];
        self.fields.iter().any(|class| secret.contains(class))
    }

    /// The answer, each attribute in its place.
    pub(crate) fn answer(&self, user: &str, password: &Secret) -> Attributes<'static> {
        let mut list = AttributeList::new();
        if self.has_type {
            list = list.basic(Class::XAUTH_TYPE.0, 0);
        }
        for class in &self.fields {
            let value = match *class {
                Class::XAUTH_USER_NAME => user.as_bytes(),
                Class::XAUTH_DOMAIN => &[],
                _ => password.as_bytes(),
            };
            list = list.variable(class.0, value);
        }
        list.finish()
    }
}

/// What a user says who cannot answer (draft-beaulieu-ike-xauth-02 §4.1).
pub(crate) fn decline() -> Attributes<'static> {
    AttributeList::new().basic(Class::XAUTH_STATUS.0, STATUS_FAIL).finish()
}

/// What a set says about it; `None` if nothing.
pub(crate) fn status(set: &Attributes<'_>) -> Option<bool> {
    let status = set.iter().find(|one| Class(one.class) == Class::XAUTH_STATUS)?;
    Some(status.value.number() == Some(STATUS_OK.into()))
}

/// The answer to that: the same.
pub(crate) fn acknowledgement(set: &Attributes<'_>) -> Attributes<'static> {
    let own = set.iter().filter(|one| Class(one.class).is_xauth());
    own.fold(AttributeList::new(), AttributeList::attribute).finish()
}

/// A text for the user: nothing in it steers a terminal.
fn told(value: AttributeValue<'_>) -> Option<String> {
    let AttributeValue::Variable(octets) = value else { return None };
    let octets = octets.get(..MESSAGE_OCTETS_MAX).unwrap_or(octets);
    let text = String::from_utf8_lossy(octets);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim_end_matches('\0').chars().map(plain).collect();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST W01, W11: names and passwords of any length, odd ones too, and not one octet more.
    #[test]
    fn names_of_every_length_arrive() {
        let secret = Secret::from_slice(b"correct horse");
        for length in 1..=OCTETS_MAX {
            let user = "x".repeat(length);
            let asked = Question::read(&question(Some("Name, please")));
            assert_eq!(asked.message.as_deref(), Some("Name, please"));
            assert!(asked.asks_password() && !asked.is_strange);
            let read = credentials(&asked.answer(&user, &secret)).unwrap();
            assert_eq!((read.user.as_str(), read.password), (user.as_str(), secret.duplicate()));
        }
        let name = |octets: &[u8]| {
            let list = AttributeList::new().variable(16_521, octets).variable(16_522, b"p\0");
            credentials(&list.finish()).map(|read| (read.user, read.password))
        };
        let right = Secret::from_slice(b"p");
        assert_eq!(name(b"bob\0"), Some(("bob".to_owned(), right)));
        for wrong in [&b""[..], b"\0", b"a\nb", &[0xff], &[b'x'; 256]] {
            assert_eq!(name(wrong), None);
        }
    }

    /// CHECKLIST W01: what is answered is what was asked, and a user who cannot says so.
    #[test]
    fn questions_that_have_another_answer_are_declined() {
        let secret = Secret::from_slice(b"p");
        let of = |list: AttributeList| Question::read(&list.finish());
        let passcode = of(AttributeList::new().basic(16_520, 0).variable(16_523, &[]));
        let answer = passcode.answer("alice", &secret);
        let classes: Vec<u16> = answer.iter().map(|one| one.class).collect();
        assert_eq!(classes, [16_520, 16_523]);
        assert!(credentials(&answer).is_none());
        assert!(of(AttributeList::new().basic(16_520, 1)).is_strange);
        assert!(of(AttributeList::new().variable(16_525, b"1234")).is_strange);
        assert!(!of(AttributeList::new().variable(16_521, &[])).asks_password());
        assert!(credentials(&decline()).is_none());
        assert!(is_xauth(&decline()));
    }

    #[test]
    fn a_verdict_is_read_and_acknowledged() {
        for right in [true, false] {
            let set = verdict(right);
            assert_eq!(status(&set), Some(right));
            let taken = acknowledgement(&set);
            assert_eq!(taken.iter().map(|one| one.class).collect::<Vec<_>>(), [16_527]);
        }
        assert_eq!(status(&question(None)), None);
    }
}
