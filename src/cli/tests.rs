use clap::CommandFactory;

use super::*;

fn parsed(line: &str) -> Result<Command, clap::Error> {
    Command::try_parse_from(line.split(' '))
}

fn context(line: &str, environment: Environment) -> Context {
    let command = parsed(line).expect(line);
    let out = Out::new(Format::Table, true, &environment);
    Context::new(&command, environment, out)
}

#[test]
fn the_commands_are_consistent() {
    Command::command().debug_assert();
}

#[test]
fn every_verb_has_an_example() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "{} has no example", command.get_name());
        command.get_subcommands().for_each(check);
    }

    check(&Command::command());
}

#[test]
fn scripts_may_write_what_was_promised() {
    for line in [
        "tollhouse",
        "tollhouse start --data D --listen 127.0.0.1:1 --config F",
        "tollhouse serve --host localhost --port 8080",
        "tollhouse setup --data D --username admin --password-stdin -o json",
        "tollhouse register --data D n --endpoint http://h/mcp --prefix never",
        "tollhouse register --data D n --env A=B --cwd /x -- cmd -x --data y",
        "tollhouse register n --command cmd --working-dir /x --env A=B",
        "tollhouse server add n --url http://g --key k -- cmd",
        "tollhouse tools call n k=v k2:=1 --url http://g --key k",
        "tollhouse tools call n --json -",
        "tollhouse status --data D -o json",
        "tollhouse key create n --role viewer --expires 90d",
        "tollhouse key create n --type a2a --permission tools:* --namespace a --server b",
        "tollhouse key update id --active false --permission tools:call",
        "tollhouse user create n --email a@x --role admin --password-stdin --org acme",
        "tollhouse user update n --role viewer",
        "tollhouse org create acme --plan pro --max-servers 5",
        "tollhouse namespace delete n --force -o json",
        "tollhouse db --data D check -o json",
        "tollhouse config --data D show --origin",
        "tollhouse version -o json",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for line in [
        "tollhouse sing",
        "tollhouse list --data D --url http://g",
        "tollhouse register n --endpoint http://h/mcp -- cmd",
        "tollhouse register n --header A:b -- cmd",
        "tollhouse register n --header A:b --command cmd",
        "tollhouse start --listen 127.0.0.1:1 --port 2",
        "tollhouse list -o xml",
        "tollhouse key update id",
        "tollhouse key create n --role user --permission tools:call",
        "tollhouse user update n",
        "tollhouse org delete acme",
    ] {
        assert_eq!(parsed(line).expect_err(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn a_named_data_folder_outweighs_the_url_of_the_environment() {
    let environment = || Environment::from([("TOLLHOUSE_URL", "http://g"), ("TOLLHOUSE_KEY", "k")]);

    let here = context("tollhouse list --data /d", environment());
    let there = context("tollhouse list", environment());

    assert_eq!(here.url(), None);
    assert_eq!((there.url(), there.key()), (Some("http://g"), Some("k")));
}

#[test]
fn a_socket_that_nobody_listens_on_is_no_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = format!("tollhouse list --data {}", folder.path().display());
    let context = context(&line, Environment::default());
    let settings = context.settings().expect("settings").settings;
    let found = || reach::running(&settings).expect("a folder of our own");

    let before = found();
    let listener = std::os::unix::net::UnixListener::bind(settings.socket()).expect("a socket");
    let during = found();
    drop(listener);
    let after = found();

    assert_eq!((before, during, after), (None, Some(settings.socket()), None));
}

#[test]
fn results_about_data_elsewhere_name_the_folder() {
    let home = || Environment::from([("HOME", "/home/ana")]);
    let usual = context("tollhouse status", home());
    let named = context("tollhouse status --data /my$data", home());
    let flag =
        |context: &Context| context.data_flag(&context.settings().expect("settings").settings);

    assert_eq!(flag(&usual), "");
    assert_eq!(flag(&named), " --data '/my$data'");
}
