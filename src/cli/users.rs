//! `tollhouse user`: people.

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    reach::reach,
    setup::password,
    table::{or_dash, yes_or_no},
};
use crate::{
    app::Folder,
    client::{self, UserForm, UserView},
    domain::Role,
};

/// People.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Users {
    /// List everybody with an account
    #[command(alias = "ls", after_help = "Example:\n  tollhouse user list -o json")]
    List,
    /// Show somebody's account
    #[command(after_help = "Example:\n  tollhouse user show ana")]
    Show {
        /// Id, name or address
        user: String,
    },
    /// Make an account; asks for a password
    #[command(after_help = "\
Examples:
  tollhouse user create ana --email ana@example.com
  printf '%s' \"$PASS\" | tollhouse user create bo --role viewer --password-stdin")]
    Create(Create),
    /// Change an account: role, address, whether it is let in, password
    #[command(after_help = "\
Examples:
  tollhouse user update ana --role admin
  tollhouse user update ana --active false")]
    Update(Update),
    /// Delete an account, with the API keys it owns
    #[command(aliases = ["rm", "remove"], after_help = "Example:\n  tollhouse user delete ana")]
    Delete {
        /// Id, name or address
        user: String,
    },
}

/// An account to be made.
#[derive(Debug, Clone, Args)]
pub(super) struct Create {
    /// What they sign in with
    username: String,
    /// Their address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// What people call them
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What they may do; `user` where nothing is said
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
    /// Let them do everything, in every organization
    #[arg(long)]
    superuser: bool,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// What is to be different about an account.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Change {
    /// Their address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// What people call them
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What they may do
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
    /// Whether they may do everything, in every organization
    #[arg(long, value_name = "BOOL")]
    superuser: Option<bool>,
    /// Whether they, and their API keys, are let in
    #[arg(long, value_name = "BOOL")]
    active: Option<bool>,
    /// Give them a new password
    #[arg(long)]
    password: bool,
    /// The same, read from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// An account, and what is to be different about it.
#[derive(Debug, Clone, Args)]
pub(super) struct Update {
    /// Id, name or address
    user: String,
    #[command(flatten)]
    change: Change,
}

pub(super) async fn run(context: &Context, users: Users) -> Result<(), Failure> {
    match users {
        Users::List => list(context).await,
        Users::Show { user } => {
            let shown = reach(context, Folder::MustBeThere, async |client| {
                client.user(&user).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Users::Create(create) => make(context, create).await,
        Users::Update(update) => change(context, update).await,
        Users::Delete { user } => delete(context, &user).await,
    }
}

fn show(context: &Context, user: &UserView) -> Result<(), Failure> {
    context.out.one(user, &user.username)
}

fn unknown(error: client::Error) -> Failure {
    Failure::unless_there("'tollhouse user list' shows who there is")(error)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let users = reach(context, Folder::MustBeThere, async |client| Ok(client.users().await?));
    let headings = ["NAME", "EMAIL", "ROLE", "ACTIVE", "ID"];
    context.out.many(
        &users.await?,
        |user| &user.username,
        &headings,
        |user| {
            let role = if user.is_superuser { "superuser" } else { &user.role };
            let email = or_dash(user.email.clone());
            let is_active = yes_or_no(user.is_active);
            vec![user.username.clone(), email, role.to_owned(), is_active, user.id.clone()]
        },
    )
}

async fn make(context: &Context, create: Create) -> Result<(), Failure> {
    let form = UserForm {
        username: Some(create.username),
        email: create.email,
        name: create.name,
        password: Some(password(create.password_stdin)?),
        role: create.role,
        is_superuser: create.superuser.then_some(true),
        is_active: None,
    };
    let made =
        reach(context, Folder::MustBeThere, async |client| Ok(client.user_create(&form).await?));
    show(context, &made.await?)
}

async fn change(context: &Context, Update { user, change }: Update) -> Result<(), Failure> {
    let is_new = change.password || change.password_stdin;
    let form = UserForm {
        username: None,
        email: change.email,
        name: change.name,
        password: is_new.then(|| password(change.password_stdin)).transpose()?,
        role: change.role,
        is_superuser: change.superuser,
        is_active: change.active,
    };
    let changed = reach(context, Folder::MustBeThere, async |client| {
        client.user_change(&user, &form).await.map_err(unknown)
    });
    show(context, &changed.await?)
}

async fn delete(context: &Context, user: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.user_delete(user).await.map_err(unknown)
    })
    .await?;
    let note = format!("deleted {user}, and the keys that were theirs");
    context.out.done("deleted", user, &note)
}
