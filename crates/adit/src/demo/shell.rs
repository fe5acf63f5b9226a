//! `adit demo shell HOST`: becomes a shell, or a command, inside one of the demo's hosts.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use adit_sys::netns::{Namespace, join_user_namespace_of};

use crate::args::DemoHost;
use crate::demo::client::{Client, not_running};
use crate::demo::lab::LabFile;
use crate::demo::place::Place;
use crate::error::{Error, Exit};

/// Returns only if it fails.
pub(crate) fn run(place: &Place, host: DemoHost, command: &[String]) -> Result<Exit, Error> {
    let holder = Client::holder(place).ok_or_else(not_running)?;
    let text = std::fs::read_to_string(place.lab()).map_err(Error::io("demo"))?;
    let lab: LabFile = serde_json::from_str(&text)
        .map_err(|_| Error::Refused("the demo is not built yet; try again in a moment".into()))?;
    let path = lab.hosts.iter().find(|(name, _)| name == host.name()).map(|(_, path)| path);
    let (Some(path), true) = (path, lab.pid == holder) else {
        return Err(Error::Refused("the demo's files are of another run".into()));
    };
    join_user_namespace_of(holder)?;
    Namespace::open(path)?.enter()?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program, arguments),
        None => {
            eprintln!("in {}; `exit` or Ctrl-D leaves it", host.name());
            (&shell, &[][..])
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).env("ADIT_DEMO_HOST", host.name());
    command.env("PS1", format!("{}# ", host.name()));
    let error = command.exec();
    Err(Error::Io { what: program.clone(), source: error })
}
