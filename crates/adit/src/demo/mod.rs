//! `adit demo`: two sites, a real tunnel between two daemons, real packets, on one machine.
//!
//! The command starts a holder in the background ([`hold`]) and shows what that one tells
//! ([`news`]). `break`, `fix` and `stop` are orders to the same holder.

mod client;
mod fault;
mod files;
mod find;
mod gateway;
mod hold;
mod lab;
mod news;
mod pieces;
mod place;
mod render;
mod shell;
mod show;
mod stage;
mod status;
mod traffic;
mod wire;

use serde::Serialize;

use adit_mgmt::api::SCHEMA;

use crate::args::{Demo, DemoVerb};
use crate::demo::client::Client;
use crate::demo::news::{Order, Show};
use crate::demo::place::Place;
use crate::error::{Error, Exit};
use crate::screen::Screen;

/// `adit demo`.
pub(crate) fn run(args: &Demo, screen: &mut Screen) -> Result<Exit, Error> {
    let place = Place::new(args.directory.as_deref());
    match &args.verb {
        None => start(args, &place, screen),
        Some(DemoVerb::Break { what, json }) => {
            let order = Order::Break { fault: *what };
            Client::connect(&place)?.order(&order, args.json || *json, screen)
        }
        Some(DemoVerb::Fix { json }) => {
            Client::connect(&place)?.order(&Order::Fix, args.json || *json, screen)
        }
        Some(DemoVerb::Status { json }) => status::run(&place, args.json || *json, screen),
        Some(DemoVerb::Shell { host, command }) => shell::run(&place, *host, command),
        Some(DemoVerb::Stop { json }) => stop(&place, args.json || *json, screen),
        Some(DemoVerb::Hold { aditd }) => hold::run(&place, aditd).map(|()| Exit::Good),
    }
}

/// Whether the caller is a program that reads JSON.
pub(crate) fn wants_json(args: &Demo) -> bool {
    match &args.verb {
        Some(
            DemoVerb::Break { json, .. }
            | DemoVerb::Fix { json }
            | DemoVerb::Status { json }
            | DemoVerb::Stop { json },
        ) => args.json || *json,
        _ => args.json,
    }
}

fn start(args: &Demo, place: &Place, screen: &mut Screen) -> Result<Exit, Error> {
    let once = args.once || args.json;
    let order = Order::Show(Show {
        bytes: args.bytes,
        capture: absolute(args.capture.as_deref())?,
        keys: absolute(args.keys.as_deref())?,
        ike: args.ike,
        keep: !once,
    });
    let mut client = Client::start(place)?;
    let exit = match client.order(&order, args.json, screen) {
        Ok(exit) => exit,
        Err(error) => {
            client.wait();
            return Err(error);
        }
    };
    if once {
        client.finish()?;
    } else {
        screen.text(&render::what_to_try(&find::own_name(), screen.paint))?;
    }
    Ok(exit)
}

fn stop(place: &Place, json: bool, screen: &mut Screen) -> Result<Exit, Error> {
    match Client::stop(place) {
        Ok(()) => {}
        // Its holder was killed, and namespaces and daemons went with it; the files did not.
        Err(_) if Client::holder(place).is_none() && place.lab().is_file() => place.remove()?,
        Err(error) => return Err(error),
    }
    if json {
        screen.json(&Stopped { schema: SCHEMA, ok: true })?;
    } else {
        screen.line("the demo is gone; nothing is left of it")?;
    }
    Ok(Exit::Good)
}

/// What `stop --json` prints.
#[derive(Serialize)]
struct Stopped {
    schema: u32,
    ok: bool,
}

/// The holder has another working directory.
fn absolute(path: Option<&std::path::Path>) -> Result<Option<std::path::PathBuf>, Error> {
    path.map(std::path::absolute).transpose().map_err(Error::io("working directory"))
}
