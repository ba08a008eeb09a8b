//! What can be typed behind the verbs about who belongs and who gets work.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::client::{ConnectArgs, JsonArg};

/// Options of `octaskly approve`.
#[derive(Debug, Default, Args)]
pub(crate) struct ApproveArgs {
    /// The name that the worker waits under
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
    /// The code that it shows
    #[arg(value_name = "CODE", required = true)]
    pub(crate) code: Vec<OsString>,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly revoke`.
#[derive(Debug, Default, Args)]
pub(crate) struct RevokeArgs {
    /// What the worker or client is called
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
    /// The worker of this name
    #[arg(long, conflicts_with = "client")]
    pub(crate) worker: bool,
    /// The client of this name
    #[arg(long)]
    pub(crate) client: bool,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly clients`.
#[derive(Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "rename")]
pub(crate) struct ClientsArgs {
    /// What to do instead of listing them.
    #[command(subcommand)]
    pub(crate) verb: Option<ClientsVerb>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// The commands behind `octaskly clients`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientsVerb {
    /// Give a client another name; its jobs show it at once
    Rename(ClientsRenameArgs),
}

/// Options of `octaskly clients rename`.
#[derive(Debug, Default, Args)]
pub(crate) struct ClientsRenameArgs {
    /// What it is called
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
    /// What it is to be called
    #[arg(value_name = "NEW")]
    pub(crate) new: OsString,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What `octaskly token` is to do.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct TokenArgs {
    /// That.
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

/// The commands behind `octaskly token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and print it: the only time that anybody sees it
    Create(TokenCreateArgs),
    /// List the tokens, also those that are used up or over
    List(TokenListArgs),
    /// Take a token back; whom it enrolled stays enrolled
    Revoke(TokenRevokeArgs),
}

/// Options of `octaskly token create`.
#[derive(Debug, Default, Args)]
pub(crate) struct TokenCreateArgs {
    /// What it makes of whoever brings it: worker, client or admin [default: worker]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<OsString>,
    /// What its bearer is called: the owner of its jobs, or the worker [default: client-N, worker-N]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<OsString>,
    /// How many machines may use it [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) uses: Option<OsString>,
    /// How long it can be used [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly token list`.
#[derive(Debug, Default, Args)]
pub(crate) struct TokenListArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly token revoke`.
#[derive(Debug, Default, Args)]
pub(crate) struct TokenRevokeArgs {
    /// Its id, as `octaskly token list` shows it, or the token itself
    #[arg(value_name = "ID")]
    pub(crate) id: OsString,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly drain`.
#[derive(Debug, Default, Args)]
pub(crate) struct DrainArgs {
    /// The worker
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
    /// Return when it runs nothing any more
    #[arg(long)]
    pub(crate) wait: bool,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly resume`.
#[derive(Debug, Default, Args)]
pub(crate) struct ResumeArgs {
    /// The worker
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
