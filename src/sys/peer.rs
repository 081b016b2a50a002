//! Whether the guest's end of the socket is still there.
//!
//! A datagram socket whose other end was closed shows it nowhere: poll(2) and SO_ERROR stay as they were, and only a send
//! fails. What tells is each system's own: [`PeerWatch`]. Both systems also tell of the end of a process at the other
//! end. That is a reason to look at once, and no verdict: a launcher may end long before its VM.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub use linux::PeerWatch;
#[cfg(target_os = "macos")]
pub use macos::PeerWatch;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_peer_is_there_until_its_last_descriptor_is_closed() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        let mut watch = PeerWatch::new(ours.as_fd()).unwrap();
        assert!(!watch.is_gone().unwrap());
        let copy = guest.try_clone().unwrap();
        drop(guest);
        assert!(!watch.is_gone().unwrap());
        drop(copy);
        assert!(watch.is_gone().unwrap());
    }

    #[test]
    fn a_peer_that_was_gone_before_we_looked_is_gone() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        drop(guest);
        assert!(PeerWatch::new(ours.as_fd()).unwrap().is_gone().unwrap());
    }
}
