//! What is wrong around the guests: leases of nobody, a VPN, programs, leftovers, the administrator's file.

use super::*;

#[test]
fn leases_that_last_long_for_nobody_are_told() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        for number in 1..=2 {
            let (softnet, guest) = bed.guest(Mac::guest(number), "--subnet 172.29.7.0/29 --bootpd-lease-time 86400");
            drop(guest);
            softnet.stop();
        }
        doctor(&bed).assert_warns(
            "dhcp.leases",
            "2 addresses of softnet0 are leased for more than an hour to guests that do not run",
        );
    });
}

#[test]
fn a_vpn_that_takes_the_guests_subnet_is_told() {
    in_own_network(|| {
        let (bed, softnet, _guest) = served();
        tools::add_interface("vpn");
        tools::run("ip addr add 10.44.0.2/32 dev vpn");
        tools::run("ip route add 192.168.64.0/18 dev vpn");
        doctor(&bed).assert_fails(&[("network.subnet", "192.168.64.0/18, a route of this host by way of vpn")]);
        softnet.stop();
        // The mend.
        tools::finish(softnet::command(Path::new(SOFTNET), Caller::Root).args(["network", "down"]));
        doctor(&bed).assert_fails(&[("network.subnet", "no /24 of 192.168.64.0/18 is free")]);
    });
}

#[test]
fn a_program_that_is_missing_is_told_with_its_package() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (program, package) in [("dnsmasq", "dnsmasq-base"), ("nft", "nftables")] {
            let path: PathBuf = tools::find(program).expect("it is installed");
            tools::run(&format!("mount --bind /dev/null {}", path.display()));
            let word = doctor(&bed);
            let told = word.of(&format!("program.{program}"));
            let expected = format!(
                "{program} not found in /usr/sbin, /usr/bin, /sbin, /bin -> install it with `apt-get install {package}`"
            );
            assert_eq!(told, [("fail", expected)]);
            tools::run(&format!("umount {}", path.display()));
        }
    });
}

#[test]
fn what_a_bridge_left_behind_is_told() {
    in_own_network(|| {
        let (bed, softnet, guest) = served();
        drop(guest);
        softnet.stop();
        let ended = doctor(&bed);
        assert_eq!(ended.bad(), Vec::<&str>::new());
        assert!(
            ended.of("state.guests")[0].1.contains("1 lock files that nobody holds"),
            "{:?}",
            ended.of("state.guests")
        );
        kill_dnsmasq();
        tools::run("ip link del softnet0");
        doctor(&bed).assert_warns("state.leftovers", "softnet0.leases, softnet0.pid, softnet0.subnet");
        tools::finish(softnet::command(Path::new(SOFTNET), Caller::Root).args(["network", "down"]));
        assert_eq!(doctor(&bed).bad(), Vec::<&str>::new());
        fs::create_dir("/run/softnet").expect("made");
        fs::set_permissions("/run/softnet", Permissions::from_mode(0o777)).expect("set");
        doctor(&bed).assert_fails(&[("state.directory", "is not a directory of root's that only root writes to")]);
    });
}

#[test]
fn the_administrators_file_is_told_and_what_it_limits() {
    in_own_network(|| {
        isolate::own_etc();
        let bed = LinuxTestbed::new(SOFTNET);
        let say = |text: &str| {
            fs::write("/etc/softnet.toml", text).expect("written");
            fs::set_permissions("/etc/softnet.toml", Permissions::from_mode(0o600)).expect("set");
        };
        say("guests-per-user = 4\nblock = [\"169.254.0.0/16\"]\n");
        let word = doctor(&bed);
        assert_eq!(word.bad(), Vec::<&str>::new());
        let limits = "/etc/softnet.toml is in order: 4 guests a user; always blocked [169.254.0.0/16]";
        assert!(word.of("administrator.file")[0].1.starts_with(limits), "{:?}", word.of("administrator.file"));
        say("expose = []\nrate-limit = \"100mbit/s\"\n");
        let limits =
            "/etc/softnet.toml is in order: callers may expose no ports; callers' guests get 100mbit/s at most";
        let word = doctor(&bed);
        assert!(word.of("administrator.file")[0].1.starts_with(limits), "{:?}", word.of("administrator.file"));
        let plain = binary::install(&bed.program, "plain", 0o755);
        let blind = ask(&plain, Caller::User, &path_to(&plain));
        assert_eq!(blind.of("administrator.file")[0].0, "skip", "{:?}", blind.of("administrator.file"));
        say("blok = []\n");
        doctor(&bed).assert_fails(&[("administrator.file", "/etc/softnet.toml, line 1: there is no key `blok`")]);
        say("users = [\"no-such-user\"]\n");
        doctor(&bed).assert_warns("administrator.callers", "user no-such-user");
        fs::set_permissions("/etc/softnet.toml", Permissions::from_mode(0o666)).expect("set");
        doctor(&bed)
            .assert_fails(&[("administrator.file", "others than root may write to /etc/softnet.toml (mode 0666)")]);
    });
}
