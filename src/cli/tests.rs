use super::*;
use crate::control::ChannelNames;
use crate::engine::{Entry, EthernetAddress};

const MINIMAL: [&str; 5] = ["softnet", "--vm-fd", "0", "--vm-mac-address", "5a:94:ef:e4:0c:ee"];

fn parse(more: &[&str]) -> Result<ServeOptions, String> {
    let cli = Cli::try_parse_from(MINIMAL.iter().chain(more)).map_err(|error| one_line(&error))?;
    Ok(cli.serve.expect("options were given"))
}

#[test]
fn the_declaration_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn tarts_command_line_is_understood() {
    let serve = parse(&["--vm-net-type", "host", "--allow", "10.0.0.0/8,@host", "--block", "0.0.0.0/0"]).unwrap();
    assert_eq!(serve.vm_fd, Some(0));
    assert_eq!(serve.vm_net_type, NetTypeName::Host);
    assert_eq!(serve.bootpd_lease_time, 600);
    assert_eq!(serve.allow[0].0.len(), 2);
}

#[test]
fn offload_is_there_unless_it_is_refused() {
    assert!(!parse(&[]).unwrap().no_offload);
    assert!(parse(&["--no-offload"]).unwrap().no_offload);
}

#[test]
fn refusals_are_silent_unless_they_are_to_be_answered() {
    use crate::engine::Refusals;
    assert_eq!(parse(&[]).unwrap().reject.refusals(), Refusals::Silent);
    assert_eq!(parse(&["--reject"]).unwrap().reject.refusals(), Refusals::Answered);
}

#[test]
fn lists_may_be_empty_and_may_be_repeated() {
    for empty in [&["--allow="][..], &["--allow", ""]] {
        assert_eq!(parse(empty).unwrap().allow, [EntryList::default()]);
    }
    let serve = parse(&["--allow=10.0.0.0/8", "--allow", "192.0.2.1"]).unwrap();
    assert_eq!(serve.allow.iter().map(|list| list.0.len()).sum::<usize>(), 2);
}

#[test]
fn one_argument_may_hold_a_direction_and_a_target() {
    let serve = parse(&["--allow", "in @host", "--allow", "in @host:22,out 10.0.0.0/8:80-90"]).unwrap();
    let texts: Vec<String> = serve.policy().unwrap().allow.iter().map(Entry::to_string).collect();
    assert_eq!(texts, ["in @host", "in @host:22", "out 10.0.0.0/8:80-90"]);
}

#[test]
fn the_lists_have_an_end_together() {
    let list = |count: usize| vec!["@host"; count].join(",");
    for (allow, block, is_too_long) in [(4096, 0, false), (2000, 2096, false), (2000, 2097, true), (1, 4096, true)] {
        let (allow, block) = (list(allow), list(block));
        let cli = Cli::try_parse_from(MINIMAL.into_iter().chain(["--allow", &allow, "--block", &block])).unwrap();
        match cli.checked() {
            Ok(_) => assert!(!is_too_long),
            Err(error) => {
                assert!(is_too_long);
                assert_eq!(error.exit_code(), 2);
                assert!(one_line(&error).contains("--allow and --block: entry `@host`: is one too many"));
            }
        }
    }
}

#[test]
fn names_go_to_a_client_of_the_channel_only_if_that_knows_them() {
    let check = |more: &[&str]| Cli::try_parse_from(MINIMAL.iter().chain(more)).and_then(Cli::checked);
    let names = |more: &[&str]| check(more).unwrap().serve.unwrap().channel_names();
    assert_eq!(names(&["--allow", "example.org"]), ChannelNames::Refused);
    assert_eq!(names(&["--allow", "@host", "--control-fd", "1"]), ChannelNames::Refused);
    assert_eq!(names(&["--control-fd", "1", "--policy-names", "--block", "a.org"]), ChannelNames::Taken);
    for (more, named) in
        [(&["--control-fd", "1", "--block", "a.org"][..], "add --policy-names"), (&["--policy-names"], "--control-fd")]
    {
        let error = check(more).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let line = one_line(&error);
        assert!(line.contains(named) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn a_guest_may_have_a_name() {
    let longest = "x".repeat(NAME_LENGTH);
    for name in ["a", "web-1", "9", "CI.runner_7", &longest] {
        assert_eq!(parse(&["--name", name]).unwrap().guest.name.as_deref(), Some(name));
    }
    assert_eq!(parse(&[]).unwrap().guest.name, None);
    for name in ["", "a b", "a/b", "\u{e9}", "a\n", "\x1b[2J", &format!("{longest}x")] {
        let line = parse(&["--name", name]).expect_err(name);
        assert!(line.contains("--name") && line.contains("as in web-1"), "{line}");
    }
}

#[test]
fn the_guests_side_is_a_descriptor_or_a_path() {
    let mac = ["--vm-mac-address", "2:0:0:0:0:1"];
    let parse = |side: &[&str]| Cli::try_parse_from([&["softnet"], &mac[..], side].concat());
    let serve = parse(&["--socket", "/run/vm.sock"]).unwrap().serve.unwrap();
    assert_eq!((serve.vm_fd, serve.socket.as_deref()), (None, Some(std::path::Path::new("/run/vm.sock"))));
    for (side, named) in [(&["--socket", "/x", "--vm-fd", "0"][..], "--socket"), (&[], "--vm-fd")] {
        let line = one_line(&parse(side).expect_err("one of the two"));
        assert!(line.contains(named), "{line}");
    }
}

#[test]
fn two_forwards_for_one_port_are_a_usage_error() {
    let check = |more: &[&str]| Cli::try_parse_from(MINIMAL.iter().chain(more)).and_then(Cli::checked);
    assert_eq!(
        check(&["--expose", "2222:22", "--expose=80:80"]).unwrap().serve.unwrap().forward.list().unwrap().len(),
        2
    );
    let error = check(&["--expose", "2222:22", "--expose=2222:80"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(one_line(&error).contains("--expose: `2222:22` and `2222:80`"), "{}", one_line(&error));
}

#[test]
fn short_octets_of_a_mac_are_accepted() {
    let cli = Cli::try_parse_from(["softnet", "--vm-fd=0", "--vm-mac-address=2:0:0:a:b:C"]).unwrap();
    assert_eq!(cli.serve.unwrap().vm_mac_address, EthernetAddress([2, 0, 0, 10, 11, 12]));
}

#[test]
fn a_bad_value_is_told_in_one_line_with_its_flag() {
    let too_long = format!("/{}", "x".repeat(107));
    for (flag, value) in [
        ("--vm-fd", "-1"),
        ("--vm-fd", "zero"),
        ("--vm-mac-address", "5a:94:ef:e4:0c"),
        ("--vm-mac-address", "01:00:5e:00:00:01"),
        ("--vm-mac-address", "00:00:00:00:00:00"),
        ("--vm-mac-address", "+5:94:ef:e4:0c:ee"),
        ("--vm-mac-address", "5a94efe40cee"),
        ("--vm-net-type", "bridged"),
        ("--bootpd-lease-time", "59"),
        ("--bootpd-lease-time", "86401"),
        ("--bootpd-lease-time", "-600"),
        ("--allow", "example..org"),
        ("--allow", "localhost"),
        ("--block", "10.0.0.0/33"),
        ("--allow", "10.0.0.0/8,,@host"),
        ("--allow", "in@host"),
        ("--block", "@host:0"),
        ("--bridge", "a/b"),
        ("--bridge", "0123456789abcdef"),
        ("--subnet", "192.168.70.0/30"),
        ("--subnet", "here"),
        ("--name", "a b"),
        ("--rate-limit", "100"),
        ("--rate-limit", "1kbit"),
        ("--expose", "2222"),
        ("--socket", "vm.sock"),
        ("--socket", "/"),
        ("--socket", &too_long),
        ("--control-fd", "-1"),
        ("--control-fd", "one"),
        ("--block", "in example.org"),
    ] {
        let base: Vec<&str> = match flag {
            "--vm-fd" | "--socket" => vec!["softnet", MINIMAL[3], MINIMAL[4]],
            "--vm-mac-address" => vec!["softnet", MINIMAL[1], MINIMAL[2]],
            _ => MINIMAL.to_vec(),
        };
        let bad = format!("{flag}={value}");
        let error = Cli::try_parse_from(base.into_iter().chain([bad.as_str()])).expect_err(&bad);
        let line = one_line(&error);
        assert_eq!(error.exit_code(), 2);
        assert!(line.contains(flag) && line.contains(value) && !line.contains('\n'), "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn subcommands_need_no_guest() {
    let cli = Cli::try_parse_from(["softnet", "network", "down", "--force"]).unwrap();
    assert!(matches!(cli.command, Some(Command::Network { action: NetworkAction::Down { force: true } })));
    assert!(Cli::try_parse_from(["softnet"]).is_err());
    assert!(Cli::try_parse_from(["softnet", "--vm-fd", "0"]).is_err());
}

fn help(option: &str) -> String {
    folded(&Cli::try_parse_from(["softnet", option]).expect_err("help is told as an error").render().to_string())
}

#[test]
fn the_short_help_fits_a_screen() {
    let short = help("-h");
    assert!(
        short.lines().count() <= 40,
        "{} lines: hide_short_help for what few people type\n{short}",
        short.lines().count()
    );
    assert!(short.lines().all(|line| line.chars().count() <= 80), "{short}");
    assert!(short.contains("--vm-fd") && short.contains("softnet --help"), "{short}");
}

#[test]
fn the_long_help_has_every_option_under_a_heading() {
    let long = help("--help");
    let command = Cli::command();
    let options: Vec<_> = command.get_arguments().filter(|option| !option.is_hide_set()).collect();
    assert!(options.len() > 10);
    for option in options {
        let name = format!("--{}", option.get_long().expect("softnet has no options of one letter of its own"));
        assert!(long.lines().any(|line| line.trim_start().starts_with(&name)), "{name} in\n{long}");
        assert!(option.get_help_heading().is_some(), "{name} is under a heading");
        assert!(long.contains(&format!("\n{}:\n", option.get_help_heading().unwrap())), "{name}");
    }
}

#[test]
fn a_word_that_is_nearly_right_is_answered_with_the_right_one() {
    for (words, meant) in [
        (
            &["--alow", "@host"][..],
            "unexpected argument '--alow' found; tip: a similar argument exists: '--allow' (try",
        ),
        (&["--vm-net-type=nta"], "invalid value 'nta' for '--vm-net-type <TYPE>' [possible values: nat, host] (try"),
        #[cfg(target_os = "linux")]
        (&["netwrk", "status"], "unrecognized subcommand 'netwrk'; tip: a similar subcommand exists: 'network' (try"),
    ] {
        let error = Cli::try_parse_from(["softnet"].iter().chain(words)).unwrap_err();
        assert!(one_line(&error).starts_with(meant), "{}", one_line(&error));
    }
}
