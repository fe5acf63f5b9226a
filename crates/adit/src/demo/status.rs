//! `adit demo status`: how both gateways see the tunnel.

use adit_mgmt::Diagnosis;
use adit_mgmt::api::{SCHEMA, Status};
use serde::Serialize;

use crate::daemon::Daemon;
use crate::demo::client::Client;
use crate::demo::place::{Place, Site};
use crate::error::{Error, Exit};
use crate::screen::{Screen, Style};
use crate::verb::status::{overview, problems};

/// For `--json`.
#[derive(Serialize)]
struct Both {
    schema: u32,
    oslo: Answer,
    berlin: Answer,
}

/// What a gateway's daemon answers.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Status(Status),
    /// Nothing: it does not run.
    Silent {
        diagnosis: Box<Diagnosis>,
    },
}

/// Shows both; a problem on either side is one of the demo.
pub(crate) fn run(place: &Place, json: bool, screen: &mut Screen) -> Result<Exit, Error> {
    // Without a demo this says so, instead of blaming a daemon.
    drop(Client::connect(place)?);
    let (oslo, berlin) = (ask(place, Site::Oslo)?, ask(place, Site::Berlin)?);
    let good = [&oslo, &berlin].into_iter().all(Answer::is_good);
    if json {
        screen.json(&Both { schema: SCHEMA, oslo, berlin })?;
    } else {
        print(place, Site::Oslo, &oslo, screen)?;
        screen.line("")?;
        print(place, Site::Berlin, &berlin, screen)?;
    }
    Ok(if good { Exit::Good } else { Exit::Problem })
}

fn ask(place: &Place, site: Site) -> Result<Answer, Error> {
    match Daemon::connect(&place.vici(site)).and_then(|mut daemon| daemon.status()) {
        Ok(status) => Ok(Answer::Status(status)),
        Err(Error::Diagnosed(mut diagnosis)) => {
            // The daemons of the demo are its own to start.
            diagnosis.fixes = vec!["adit demo fix".to_owned()];
            Ok(Answer::Silent { diagnosis })
        }
        Err(error) => Err(error),
    }
}

impl Answer {
    fn is_good(&self) -> bool {
        matches!(self, Self::Status(status) if problems(status) == 0)
    }
}

fn print(place: &Place, site: Site, answer: &Answer, screen: &mut Screen) -> Result<(), Error> {
    let name = format!("{}-gw", site.name());
    let heading = screen.paint.with(Style::Bold, &name).into_owned();
    let vici = place.vici(site).display().to_string();
    screen.line(&format!("{heading}   adit --vici {vici} …"))?;
    match answer {
        Answer::Status(status) => screen.text(&overview(status, screen.paint)),
        Answer::Silent { diagnosis } => screen.diagnosis(diagnosis),
    }
}
