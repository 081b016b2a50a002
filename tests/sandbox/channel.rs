//! The control channel's calls: there with it, and not without.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use softnet::channel::Channel;
use softnet::control::ChannelNames;
use softnet::sandbox::Features;
use softnet::sys::stream;

use super::child::{Ended, call, exit_at_once, inside_with, inside_with_features};
use super::engine::engine;

/// The softnet's end, the client's, and one more pair.
type Sockets = (OwnedFd, UnixStream, UnixStream, UnixStream);

fn sockets() -> Sockets {
    let (ours, client) = UnixStream::pair().unwrap();
    let (other, far) = UnixStream::pair().unwrap();
    (OwnedFd::from(ours), client, other, far)
}

fn with_channel(body: impl FnOnce(Sockets)) -> Ended {
    let prepare = || {
        let sockets = sockets();
        (Features { channel: Some(sockets.0.as_raw_fd()), ..Features::default() }, sockets)
    };
    inside_with_features(prepare, body)
}

#[test]
fn a_whole_session_is_legal_with_a_channel() {
    with_channel(|(ours, client, ..)| {
        let mut engine = engine();
        let mut channel = Channel::new(ours, &engine, ChannelNames::Refused);
        let mut buffer = [0; 4096];
        let entries: Vec<String> = (0..4000).map(|n| format!("\"10.{}.{}.0/24\"", n / 250, n % 250)).collect();
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set","params":{{"allow":[{}],"block":[]}}}}"#,
            entries.join(",")
        );
        for piece in format!("{request}\nnonsense\n").as_bytes().chunks(1000) {
            assert_eq!(nix::unistd::write(&client, piece), Ok(piece.len()));
            for _ in 0..10 {
                channel.turn(&mut engine);
            }
        }
        let mut read = 0;
        while read < 60_000 {
            read += nix::unistd::read(&client, &mut buffer).unwrap();
            channel.turn(&mut engine);
        }
        drop(client);
        for _ in 0..10 {
            channel.turn(&mut engine);
        }
        if channel.poll_fd().is_some() || engine.rule_count() != 4000 {
            exit_at_once(1);
        }
    })
    .assert_exited(0);
}

#[test]
fn without_a_channel_nothing_is_sent_as_its_replies_are() {
    inside_with(sockets, |(ours, ..)| drop(stream::send(ours.as_fd(), b"x"))).assert_killed_by_the_filter();
}

#[test]
fn without_a_channel_nothing_is_shut_down() {
    inside_with(sockets, |(ours, ..)| drop(stream::shut_down(ours.as_fd()))).assert_killed_by_the_filter();
}

#[test]
fn nothing_is_sent_so_but_on_the_channel() {
    with_channel(|(_, _, other, _)| drop(stream::send(other.as_fd(), b"x"))).assert_killed_by_the_filter();
}

#[test]
fn nothing_is_shut_down_but_the_channel() {
    with_channel(|(_, _, other, _)| drop(stream::shut_down(other.as_fd()))).assert_killed_by_the_filter();
}

#[test]
fn the_channel_is_shut_down_both_ways_alone() {
    for way in [libc::SHUT_RD, libc::SHUT_WR] {
        with_channel(|(ours, ..)| {
            call(libc::SYS_shutdown, [ours.as_raw_fd().into(), way.into()]);
        })
        .assert_killed_by_the_filter();
    }
}
