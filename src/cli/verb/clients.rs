//! `octaskly clients`: who may submit, and under which name.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::{ClientsArgs, ClientsRenameArgs, ClientsVerb};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Page, json, say, text};
use crate::cli::resolve;
use crate::model::trust::ClientView;

/// Prints them, or renames one.
pub(super) fn perform(args: &ClientsArgs, context: &Context) -> Result<ExitCode, CliError> {
    if let Some(ClientsVerb::Rename(args)) = &args.verb {
        return rename(args, context);
    }
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let clients = session.client().clients().await?;
        Page::rows(args.json.json, clients.iter().map(json::Client::from), || table(&clients))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn rename(args: &ClientsRenameArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (name, new) = (resolve::node_name(&args.name)?, resolve::new_name(&args.new)?);
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let what = match session.client().rename_client(name.clone(), new.clone()).await? {
            true => format!("{name} is called {new} now, and its jobs show that"),
            false => format!("it is called {new} already"),
        };
        say::note(context.quiet(), &what);
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn table(clients: &[ClientView]) -> Table {
    let mut table = Table::new(&[
        Column::GivesWay("NAME"),
        Column::Left("ROLE"),
        Column::Left("STATE"),
        Column::Right("LINKS"),
        Column::Left("ENROLLED"),
        Column::Left("ID"),
    ]);
    for client in clients {
        table.row([
            client.name.to_string(),
            client.role.to_string(),
            json::client_state(client).to_owned(),
            client.links.to_string(),
            text::rfc3339(client.enrolled_at),
            client.node.short().to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::trust_tests::sample_client;

    #[test]
    fn the_list_of_clients_fits_eighty_columns() {
        let long = ClientView { name: "c".repeat(63).parse().expect("a name"), ..sample_client() };
        let lines = table(&[sample_client(), long]).lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let words: Vec<_> = lines[1].split_whitespace().take(5).collect();
        assert_eq!(words, ["client-1", "client", "enrolled", "1", "1970-01-01T00:00:01.000Z"]);
    }
}
