//! What the files of many tunnels say alike is read and understood once. Of everything only the last
//! is remembered: files that differ cost what they cost, and no memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use adit_db::{ProposalError, ProposalSpec};
use adit_pki::{Certificate, PkiError};

use super::{ReadSecret, SecretFile};

/// How a list of proposals is read.
pub(super) type ReadProposals = fn(&str) -> Result<Vec<ProposalSpec>, ProposalError>;

/// The certificates of a file.
type Certificates = Vec<Arc<Certificate>>;

/// The memory of one [`super::load_all`].
pub(super) struct Memo<'a> {
    secrets: ReadSecret<'a>,
    secret: RefCell<Option<(PathBuf, Rc<SecretFile>)>>,
    /// By the key that names the file.
    certificates: RefCell<BTreeMap<&'static str, (PathBuf, Certificates)>>,
    /// By the key of the list.
    proposals: RefCell<BTreeMap<&'static str, (String, Vec<ProposalSpec>)>>,
}

impl<'a> Memo<'a> {
    /// Remembers nothing yet; reads secrets' files with this function.
    pub(super) fn new(secrets: ReadSecret<'a>) -> Self {
        Self {
            secrets,
            secret: RefCell::default(),
            certificates: RefCell::default(),
            proposals: RefCell::default(),
        }
    }

    /// A secret's file. Its octets are in one place, which is erased when another file is read.
    pub(super) fn secret(&self, path: &Path) -> Result<Rc<SecretFile>, String> {
        let mut last = self.secret.borrow_mut();
        if let Some((known, file)) = last.as_ref()
            && known == path
        {
            return Ok(Rc::clone(file));
        }
        let file = Rc::new((self.secrets)(path)?);
        *last = Some((path.to_owned(), Rc::clone(&file)));
        Ok(file)
    }

    /// The certificates of a file, by the key that names it; the outer error is the system's text.
    pub(super) fn certificates(
        &self,
        key: &'static str,
        path: &Path,
        read: impl FnOnce(&[u8]) -> Result<Certificates, PkiError>,
    ) -> Result<Result<Certificates, PkiError>, String> {
        let mut known = self.certificates.borrow_mut();
        if let Some((last, list)) = known.get(key)
            && last == path
        {
            return Ok(Ok(list.clone()));
        }
        let file = (self.secrets)(path)?;
        let list = match read(file.octets.as_bytes()) {
            Ok(list) => list,
            Err(error) => return Ok(Err(error)),
        };
        known.insert(key, (path.to_owned(), list.clone()));
        Ok(Ok(list))
    }

    /// The list of proposals that stands under this key, which says how it is read.
    pub(super) fn proposals(
        &self,
        key: &'static str,
        text: &str,
        read: ReadProposals,
    ) -> Result<Vec<ProposalSpec>, ProposalError> {
        let mut known = self.proposals.borrow_mut();
        if let Some((last, list)) = known.get(key)
            && last == text
        {
            return Ok(list.clone());
        }
        let list = read(text)?;
        known.insert(key, (text.to_owned(), list.clone()));
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use adit_crypto::Secret;

    use super::*;

    #[test]
    fn what_stands_in_many_files_is_read_once() {
        let reads = Cell::new(0);
        let read = |path: &Path| {
            reads.set(reads.get() + 1);
            let name = path.display().to_string();
            let file = SecretFile { octets: Secret::from_slice(name.as_bytes()), mode: 0o600 };
            if name == "bad" { Err("no such file".to_owned()) } else { Ok(file) }
        };
        let memo = Memo::new(&read);
        for name in ["a", "a", "a", "bad", "a", "b", "b", "a"] {
            let found = memo.secret(Path::new(name)).ok();
            let octets = found.as_ref().map(|file| file.octets.as_bytes());
            assert_eq!(octets, (name != "bad").then_some(name.as_bytes()));
        }
        assert_eq!(reads.get(), 4);
    }

    #[test]
    fn lists_are_told_apart_by_key_and_text() {
        let memo = Memo::new(&|_| Err(String::new()));
        for text in ["aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha256-x25519", "default"] {
            let ike = memo.proposals("ike", text, ProposalSpec::ike_list);
            assert_eq!(ike, ProposalSpec::ike_list(text));
        }
        let esp = memo.proposals("esp", "default", ProposalSpec::esp_list);
        assert_eq!(esp, ProposalSpec::esp_list("default"));
        assert!(memo.proposals("esp", "nonsense", ProposalSpec::esp_list).is_err());
        let again = memo.proposals("esp", "nonsense", ProposalSpec::esp_list);
        assert_eq!(again, ProposalSpec::esp_list("nonsense"));
    }
}
