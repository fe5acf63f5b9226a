//! Key shares made ahead of need: what takes longest in an exchange is done while nobody waits for it
//! (RFC 7296 §2.12: each is used once, all the same).

use std::collections::VecDeque;

use crate::{KeyExchange, KeyExchangeError, KeyShare, Rng, Secret};

/// Key shares in stock, of the methods that were asked for.
///
/// They are erased when used or dropped, as all key shares are. Until somebody calls
/// [`KeyShareStock::prepare`] there are none, and every share comes from the source of randomness of
/// the one who asks: a seeded run that does not prepare draws what it would draw without a stock.
#[derive(Debug, Default)]
pub struct KeyShareStock {
    shelves: [Shelf; METHODS.len()],
}

/// The shares of one method.
#[derive(Debug, Default)]
struct Shelf {
    /// Whether anybody has asked for one.
    is_wanted: bool,
    shares: VecDeque<KeyShare>,
}

/// The methods whose shares are made in so short a time that nobody notices.
const METHODS: [KeyExchange; 4] =
    [KeyExchange::X25519, KeyExchange::EcpP256, KeyExchange::EcpP384, KeyExchange::MlKem768];

/// Shares of a method in stock: those of a burst.
pub const KEY_SHARES_MAX: usize = 64;

impl KeyShareStock {
    /// Whether a method that was asked for has less than [`KEY_SHARES_MAX`].
    pub fn lacks(&self) -> bool {
        self.shelves.iter().any(Shelf::lacks)
    }

    /// Makes one share of what is lacking. It takes as long as [`KeyExchange::generate`].
    pub fn prepare(&mut self, rng: &mut dyn Rng) {
        let mut shelves = self.shelves.iter_mut().zip(METHODS);
        if let Some((shelf, method)) = shelves.find(|(shelf, _)| shelf.lacks()) {
            shelf.shares.push_back(method.generate(rng));
        }
    }

    /// A share that nobody else gets, from stock or made of `rng`.
    pub fn take(&mut self, method: KeyExchange, rng: &mut dyn Rng) -> KeyShare {
        self.in_stock(method).unwrap_or_else(|| method.generate(rng))
    }

    /// As [`KeyExchange::respond`], with a share from stock where the method has the responder use one.
    ///
    /// # Errors
    ///
    /// [`KeyExchangeError`] if `peer_public` has a wrong length or is not valid.
    pub fn respond(
        &mut self,
        method: KeyExchange,
        peer_public: &[u8],
        rng: &mut dyn Rng,
    ) -> Result<(Vec<u8>, Secret), KeyExchangeError> {
        if method.is_kem() {
            return method.respond(peer_public, rng);
        }
        match self.in_stock(method) {
            Some(share) => Ok((share.public().to_vec(), share.agree(peer_public)?)),
            None => method.respond(peer_public, rng),
        }
    }

    fn in_stock(&mut self, method: KeyExchange) -> Option<KeyShare> {
        let mut shelves = self.shelves.iter_mut().zip(METHODS);
        let (shelf, _) = shelves.find(|(_, kept)| *kept == method)?;
        shelf.is_wanted = true;
        shelf.shares.pop_front()
    }
}

impl Shelf {
    fn lacks(&self) -> bool {
        self.is_wanted && self.shares.len() < KEY_SHARES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::SeededRng;

    #[test]
    fn shares_are_made_of_what_was_asked_for_alone_and_up_to_a_bound() {
        let mut rng = SeededRng::new(1);
        let mut stock = KeyShareStock::default();
        assert!(!stock.lacks());
        stock.prepare(&mut rng);
        assert!(stock.shelves.iter().all(|shelf| shelf.shares.is_empty()));

        stock.take(KeyExchange::X25519, &mut rng);
        stock.take(KeyExchange::Modp2048, &mut rng);
        let mut made = 0;
        while stock.lacks() {
            stock.prepare(&mut rng);
            made += 1;
        }
        assert_eq!(made, KEY_SHARES_MAX);
        assert_eq!(stock.take(KeyExchange::X25519, &mut rng).method(), KeyExchange::X25519);
        assert!(stock.lacks());
    }

    /// RFC 7296 §2.12: no share is given out twice.
    #[test]
    fn each_share_is_given_once() {
        let mut rng = SeededRng::new(2);
        let mut stock = KeyShareStock::default();
        let method = KeyExchange::EcpP256;
        let mut publics = BTreeSet::new();
        for _ in 0..3 {
            publics.insert(stock.take(method, &mut rng).public().to_vec());
            stock.prepare(&mut rng);
            stock.prepare(&mut rng);
            publics.insert(stock.take(method, &mut rng).public().to_vec());
        }
        assert_eq!(publics.len(), 6);
    }

    #[test]
    fn both_ends_agree_whatever_comes_from_stock() {
        let mut rng = SeededRng::new(3);
        for method in KeyExchange::ALL {
            let (mut one, mut other) = (KeyShareStock::default(), KeyShareStock::default());
            for prepares in [false, true] {
                if prepares {
                    one.prepare(&mut rng);
                    other.prepare(&mut rng);
                }
                let share = one.take(method, &mut rng);
                let answer = other.respond(method, share.public(), &mut rng);
                let (public, secret) = answer.unwrap();
                assert_eq!(share.agree(&public), Ok(secret));
            }
            assert!(other.respond(method, &[1], &mut rng).is_err());
        }
    }

    #[test]
    fn a_stock_that_nobody_prepares_draws_as_if_there_were_none() {
        let (mut with, mut without) = (SeededRng::new(4), SeededRng::new(4));
        let mut stock = KeyShareStock::default();
        for method in KeyExchange::ALL {
            let taken = stock.take(method, &mut with);
            let made = method.generate(&mut without);
            assert_eq!(taken.public(), made.public());
            let (answer, _) = stock.respond(method, made.public(), &mut with).unwrap();
            let (expected, _) = method.respond(made.public(), &mut without).unwrap();
            assert_eq!(answer, expected);
        }
    }
}
