//! docs/control-protocol.md, run: its examples are answered as it says, and its clients do what they are for.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use softnet_testbed::channel::{Client, MAC};
use softnet_testbed::guest::portable::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const DOCUMENT: &str = include_str!("../docs/control-protocol.md");

/// The block of code that is marked as `language`.
fn block(language: &str) -> &'static str {
    let start = format!("\n```{language}\n");
    let mut blocks = DOCUMENT.split(start.as_str()).skip(1).filter_map(|rest| rest.split("\n```\n").next());
    match (blocks.next(), blocks.next()) {
        (Some(block), None) => block,
        _ => panic!("the document has one block in {language}"),
    }
}

#[test]
fn every_example_is_answered_as_the_document_says() {
    in_own_network(|| {
        let (softnet, _guest, channel) = LinuxTestbed::new(SOFTNET).launch(MAC).start_with_channel();
        let mut client = Client::new(channel);
        let (_, examples) = DOCUMENT.split_once("\n## Examples\n").expect("there are examples");
        let lines: Vec<&str> =
            examples.lines().filter(|line| line.starts_with("-> ") || line.starts_with("<- ")).collect();
        assert!(lines.len() > 10 && lines.len().is_multiple_of(2));
        for pair in lines.chunks(2) {
            let [request, reply] =
                [pair[0].strip_prefix("-> "), pair[1].strip_prefix("<- ")].map(Option::unwrap_or_default);
            assert_eq!(client.ask(request), reply, "{request}");
        }
        softnet.stop();
    });
}

/// A client of the document's, with the guest's socket as its standard input.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a client that blocks the gateway, and looks whether it is.
fn assert_sets_a_policy(client: &mut Command, printed: &str) {
    let _bed = LinuxTestbed::new(SOFTNET);
    let output = Path::new(SCRATCH).join("printed");
    let (guest, other): (UnixDatagram, UnixDatagram) = sys::frame_sockets();
    let folder = Path::new(SOFTNET).parent().expect("a file is in a folder").display();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    client.args([&MAC.to_string(), "10.1.2.3/8,in 10.0.0.0/8:22", "@host"]).env("PATH", path);
    client.stdin(OwnedFd::from(other)).stdout(fs::File::create(&output).expect("a file"));
    let mut client = Running(client.spawn().unwrap_or_else(|error| panic!("{client:?}: {error}")));
    let text = wait::until("the policy", PATIENCE, || {
        let text = fs::read_to_string(&output).expect("a file");
        assert!(client.0.try_wait().expect("asked").is_none_or(|status| status.success()), "the client failed");
        text.ends_with('\n').then_some(text)
    });
    assert_eq!(text.unwrap_or_else(|error| panic!("{error}")).trim_end(), printed);

    let mut guest = PortableGuest::new(guest, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    assert!(guest.ping(guest.gateway(), SILENCE).is_err(), "the gateway is blocked");
    assert!(client.0.try_wait().expect("asked").is_none(), "the client waits for softnet");
    drop(guest);
    let ended = wait::until("the client's end", Duration::from_secs(5), || client.0.try_wait().expect("asked"));
    assert!(ended.expect("softnet has ended").success());
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(SCRATCH).join(name);
    fs::write(&path, text).expect("a file can be written");
    path
}

#[test]
fn the_client_in_python_sets_a_policy() {
    in_own_network(|| {
        let program = write("client.py", block("python"));
        let mut client = Command::new(tools::find("python3").expect("python3 is installed"));
        assert_sets_a_policy(client.arg(program), "['10.0.0.0/8', 'in 10.0.0.0/8:22'] ['@host'] 5");
    });
}

#[test]
fn the_client_in_shell_sets_a_policy() {
    in_own_network(|| {
        tools::find("socat").expect("socat is installed");
        let program = write("client.sh", block("bash"));
        let mut client = Command::new(tools::find("bash").expect("bash is installed"));
        let printed = r#"{"jsonrpc":"2.0","id":1,"result":{"allow":["10.0.0.0/8","in 10.0.0.0/8:22"],"block":["@host"],"ruleCount":5}}"#;
        assert_sets_a_policy(client.arg(program), printed);
    });
}

/// By whichever compiler is there: CI has one, and a developer need not.
#[test]
fn the_client_in_go_sets_a_policy() {
    in_own_network(|| {
        let (program, client) = (write("client.go", block("go")), Path::new(SCRATCH).join("client"));
        let mut compiler = match (tools::find("gccgo"), tools::find("go")) {
            (Some(gccgo), _) => Command::new(gccgo),
            (None, Some(go)) => {
                let mut command = Command::new(go);
                command.arg("build").env("GOCACHE", Path::new(SCRATCH).join("go")).env("GO111MODULE", "off");
                command
            }
            (None, None) => {
                assert!(std::env::var_os("CI").is_none(), "CI has a compiler for Go: scripts/setup.sh ci");
                eprintln!("NOT RUN: there is no compiler for Go; apt-get install gccgo");
                return;
            }
        };
        assert!(tools::succeeds(compiler.arg("-o").arg(&client).arg(program).stdin(Stdio::null())), "it compiles");
        assert_sets_a_policy(&mut Command::new(client), "[10.0.0.0/8 in 10.0.0.0/8:22] [@host] 5");
    });
}
