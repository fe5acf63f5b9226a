//! The ike role and its shards.

use std::io;
use std::thread::JoinHandle;

use adit_ike::{EndpointConfig, Shard};
use adit_sys::wake::CommandReceiver;

use super::{open_key_log, spawn_role};
use crate::args::Args;
use crate::message::{Links, ToIke, ToShard};
use crate::record::RecordFile;
use crate::role::ike::{IkeRole, ShardRole};
use crate::role::ike_sockets::IkeSockets;
use crate::tickets::Tickets;

/// Starts the ike role, which has the first shard, and a thread for each of the others.
pub(super) fn start(
    args: &Args,
    config: &EndpointConfig,
    record: Option<RecordFile>,
    sockets: &IkeSockets,
    links: &Links,
    ike: CommandReceiver<ToIke>,
    others: Vec<CommandReceiver<ToShard>>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut shards = Shard::all(args.ike_threads.0).into_iter();
    let clone = || sockets.try_clone().map_err(io::Error::other);
    let role = IkeRole {
        sockets: clone()?,
        links: links.clone(),
        key_log: open_key_log(args)?,
        tickets: Tickets::open(args.state.as_deref())?,
        config: config.clone(),
        shard: shards.next().ok_or(io::ErrorKind::NotFound)?,
        record,
    };
    let mut threads = vec![spawn_role("ike", &links.parent, move || role.run(&ike))?];
    for (shard, requests) in shards.zip(others) {
        let (sockets, links, config) = (clone()?, links.clone(), config.clone());
        let parent = links.parent.clone();
        let role = ShardRole { sockets, links, config, shard };
        threads.push(spawn_role("ike", &parent, move || role.run(&requests))?);
    }
    Ok(threads)
}
