//! Reading `tests/vectors`.

use std::fs;
use std::path::{Path, PathBuf};

use adit_crypto::Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// One file of vectors: groups with parameters of their own.
#[derive(Deserialize)]
pub(crate) struct Vectors<G> {
    #[serde(rename = "testGroups")]
    pub(crate) groups: Vec<G>,
}

/// What a correct implementation does with a case.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Valid,
    Invalid,
    /// Some accept it, some do not; whoever accepts it gets the stated result.
    Acceptable,
}

/// Octets, in the file as hexadecimal digits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        // Wycheproof writes big integers without their leading zero.
        let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
        let octet = |i| u8::from_str_radix(&digits[i..i + 2], 16);
        (0..digits.len())
            .step_by(2)
            .map(octet)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// Reads `tests/vectors/<name>.json`.
pub(crate) fn load<G: DeserializeOwned>(name: &str) -> Vectors<G> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    read(&folder.join(format!("{name}.json")))
}

/// Reads our subset of a Wycheproof file, and the whole of it where `WYCHEPROOF` says where it is.
pub(crate) fn load_wycheproof<G: DeserializeOwned>(name: &str) -> Vectors<G> {
    let mut vectors = load::<G>(&format!("wycheproof_{name}"));
    match std::env::var_os("WYCHEPROOF") {
        Some(folder) => {
            let whole = PathBuf::from(folder).join(format!("{name}_test.json"));
            vectors.groups.extend(read::<G>(&whole).groups);
        }
        None => eprintln!("SKIPPED the whole set of {name}: WYCHEPROOF is not set"),
    }
    vectors
}

fn read<G: DeserializeOwned>(path: &Path) -> Vectors<G> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Gives the octets of a vector where an algorithm asks for randomness.
pub(crate) struct VectorRng(pub(crate) Vec<u8>);

impl Rng for VectorRng {
    fn fill(&mut self, out: &mut [u8]) {
        assert!(self.0.len() >= out.len(), "the vector has too little randomness");
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}
