//! `octaskly token create`, `list` and `revoke`: what others enrol with.
//!
//! The one invariant: stdout gets the token and nothing else, so that a script
//! can take it; how to use it goes to stderr.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::Context;
use crate::cli::args::{TokenArgs, TokenCreateArgs, TokenListArgs, TokenRevokeArgs, TokenVerb};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Page, json, say, text};
use crate::cli::resolve::{self, TokenPlan};
use crate::cli::session::Session;
use crate::model::trust::{TokenState, TokenView};
use crate::model::{NodeName, Role, Timestamp};
use crate::node::{Clock, addresses};

/// Addresses that the hints name beside the likeliest one.
const OTHERS_NAMED: usize = 3;

/// Does what stands behind `token`.
pub(super) fn perform(args: &TokenArgs, context: &Context) -> Result<ExitCode, CliError> {
    match &args.verb {
        TokenVerb::Create(args) => create(args, context),
        TokenVerb::List(args) => list(args, context),
        TokenVerb::Revoke(args) => revoke(args, context),
    }
}

fn create(args: &TokenCreateArgs, context: &Context) -> Result<ExitCode, CliError> {
    let plan = resolve::token(args)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let made = session.client().create_token(plan.role, plan.name.clone(), plan.uses, plan.lifetime).await?;
        let mut page = Page::begin();
        match args.json.json {
            Some(form) => {
                let tokens = session.client().tokens().await?;
                let view = tokens.iter().find(|view| view.id == made.id);
                page.objects(form, view.map(|view| json::MadeToken::new(made.token.clone(), view)))?;
            }
            None => page.line(&made.token)?,
        }
        page.end()?;
        if args.json.json.is_none() && !context.quiet() {
            let places = Places::of_dispatcher(&session).await?;
            for line in usage(&plan, &made.token, &made.id.to_string(), &places) {
                say::note(false, &line);
            }
        }
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(args: &TokenListArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let tokens = session.client().tokens().await?;
        Page::rows(args.json.json, tokens.iter().map(json::Token::from), || {
            table(&tokens, Clock::anchored_now().now())
        })?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn revoke(args: &TokenRevokeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let id = resolve::token_id(&args.id)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let what = match session.client().revoke_token(id).await? {
            true => "it enrols nobody any more; whom it enrolled stays enrolled",
            false => "it was revoked before",
        };
        say::note(context.quiet(), &format!("revoked token {id}: {what}"));
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Where others reach the dispatcher.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    /// The likeliest address first.
    addresses: Vec<SocketAddr>,
    /// Whether other machines reach them.
    from_elsewhere: bool,
}

impl Places {
    /// Those of the dispatcher that was just asked.
    async fn of_dispatcher(session: &Session) -> Result<Self, CliError> {
        let client = session.client();
        let dialled = client.address();
        if !addresses::is_own(dialled.ip()) {
            // From here it is reached there, and so it is from elsewhere.
            return Ok(Self { addresses: vec![dialled], from_elsewhere: true });
        }
        let bound: SocketAddr = client.status().await?.address.parse().unwrap_or(dialled);
        let reachable = addresses::reachable_at(bound);
        let at_its_port = |host| SocketAddr::new(host, bound.port());
        Ok(match reachable.is_empty() {
            true => Self { addresses: vec![dialled], from_elsewhere: false },
            false => Self { addresses: reachable.into_iter().map(at_its_port).collect(), from_elsewhere: true },
        })
    }
}

/// What to do with a new token, a line each.
fn usage(plan: &TokenPlan, token: &str, id: &str, places: &Places) -> Vec<String> {
    let TokenPlan { role, name, uses, lifetime } = plan;
    let whom = match (uses, name) {
        (1, None) => format!("one {role}"),
        (1, Some(name)) => format!("one {role}, called {name},"),
        (many, None) => format!("{many} {role}s"),
        (many, Some(name)) => format!("{many} {role}s, called {name}, {} and so on,", name.numbered(2)),
    };
    let mut lines = vec![format!("token {id} enrols {whom} within {lifetime} and is not shown again")];
    if let Some(first) = places.addresses.first() {
        lines.push(match role {
            Role::Worker => {
                format!("on the machine that is to work: octaskly worker --dispatcher {first} --token {token}")
            }
            _ => format!("there, once: octaskly status --dispatcher {first} --token {token}"),
        });
    }
    let others: Vec<String> = places.addresses.iter().skip(1).take(OTHERS_NAMED).map(ToString::to_string).collect();
    if !others.is_empty() {
        lines.push(format!("this dispatcher is also at {}", others.join(" and ")));
    }
    if *role != Role::Worker {
        lines.push("later commands there need neither --dispatcher nor --token".to_owned());
    }
    if !places.from_elsewhere {
        lines.push("other machines cannot reach this dispatcher; --bind 0.0.0.0 lets them".to_owned());
    }
    lines
}

fn table(tokens: &[TokenView], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        Column::Left("ID"),
        Column::Left("ROLE"),
        Column::GivesWay("NAME"),
        Column::Left("STATE"),
        Column::Left("USED"),
        Column::Left("EXPIRES"),
        Column::Left("CREATED"),
    ]);
    for token in tokens {
        table.row([
            token.id.to_string(),
            token.role.to_string(),
            token.name.as_ref().map_or_else(|| "-".to_owned(), NodeName::to_string),
            state(token.state).to_owned(),
            format!("{}/{}", token.used, token.uses),
            text::rfc3339(token.expires_at),
            text::ago(token.created_at, now),
        ]);
    }
    table
}

/// The word for where a token stands.
fn state(state: TokenState) -> &'static str {
    match state {
        TokenState::Valid => "valid",
        TokenState::Used => "used",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::trust_tests::sample_token;
    use crate::model::Millis;

    fn said(role: Role, uses: u32, addresses: &[&str], from_elsewhere: bool) -> Vec<String> {
        let plan = TokenPlan { role, name: None, uses, lifetime: Millis::from_secs(86_400) };
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        usage(&plan, "okt1-a-b", "aebagbaf", &Places { addresses, from_elsewhere })
    }

    #[test]
    fn a_new_token_comes_with_the_exact_line_to_type() {
        let lines = said(Role::Worker, 1, &["192.168.1.10:7878", "10.0.0.1:7878"], true);
        assert_eq!(
            lines,
            [
                "token aebagbaf enrols one worker within 24 h and is not shown again",
                "on the machine that is to work: octaskly worker --dispatcher 192.168.1.10:7878 --token okt1-a-b",
                "this dispatcher is also at 10.0.0.1:7878",
            ]
        );
        let lines = said(Role::Client, 5, &["[2001:db8::1]:7900"], true);
        assert!(lines[0].contains("5 clients"), "{lines:?}");
        assert!(lines[1].ends_with(": octaskly status --dispatcher [2001:db8::1]:7900 --token okt1-a-b"), "{lines:?}");
    }

    #[test]
    fn a_dispatcher_that_nobody_else_can_reach_is_said_to_be_one() {
        let lines = said(Role::Worker, 1, &["127.0.0.1:7878"], false);
        assert!(lines.last().is_some_and(|line| line.contains("--bind 0.0.0.0")), "{lines:?}");
    }

    #[test]
    fn the_list_of_tokens_fits_eighty_columns() {
        let lines = table(&[sample_token()], Timestamp::from_millis(61_000)).lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let words: Vec<_> = lines[1].split_whitespace().take(5).collect();
        assert_eq!(words, ["aebagbaf", "worker", "lab", "valid", "1/2"]);
    }
}
