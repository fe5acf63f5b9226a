//! Every state of the model, within bounds that every change can afford.

#![cfg(test)]

use adit_model::world::{Bounds, Runs};
use stateright::{Checker, Model};

/// CHECKLIST J10, J21, J24, K04, K11, L08: in every order of events, each loss and each late copy.
#[test]
fn every_run_ends_in_agreement() {
    let bounds = Bounds { orders: 2, losses: 1, copies: 1 };
    let checker = Runs(bounds).checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    assert!(checker.unique_state_count() > 50_000);
    checker.assert_properties();
}
