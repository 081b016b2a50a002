//! vmnet's statuses: what each means for a link that is up, and what it says in words, with what to look at.
//!
//! The names and numbers are those of `vmnet_return_t` in vmnet.h. What a status means in practice goes beyond the header
//! where users of vmnet found more behind it (a general failure at the start is most often a missing right).

use std::fmt;

use nix::unistd::geteuid;

use super::api::{Error, Status};
use super::rights;

/// What a failed call means for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No packet waits.
    Nothing,
    /// Not now: the kernel's buffers are full. It passes by itself.
    Busy,
    /// Fewer packets a call, please.
    TooMany,
    /// This call was not taken; the next may be.
    Refused,
    /// No call will ever be taken again.
    Lost,
}

/// One status.
struct Row {
    status: Status,
    name: &'static str,
    meaning: Meaning,
    /// What is the matter, and what to look at.
    says: &'static str,
    /// Whether it is what softnet without the right is told.
    may_be_a_right: bool,
}

static TABLE: [Row; 10] = [
    Row {
        status: Status::Failure,
        name: "VMNET_FAILURE",
        meaning: Meaning::Refused,
        says: "a general failure; look whether softnet has root, whether another product (a VPN, a firewall, another \
               virtual machine monitor) holds the network, and whether the subnet of vmnet collides with another of \
               this Mac's",
        may_be_a_right: true,
    },
    Row {
        status: Status::MemFailure,
        name: "VMNET_MEM_FAILURE",
        meaning: Meaning::Busy,
        says: "no memory was left; look at the memory in Activity Monitor and stop a virtual machine or two",
        may_be_a_right: false,
    },
    Row {
        status: Status::InvalidArgument,
        name: "VMNET_INVALID_ARGUMENT",
        meaning: Meaning::Refused,
        says: "an argument was not accepted; a port that is forwarded already is one, as is a subnet in \
               /Library/Preferences/SystemConfiguration/com.apple.vmnet.plist that was changed by hand",
        may_be_a_right: false,
    },
    Row {
        status: Status::SetupIncomplete,
        name: "VMNET_SETUP_INCOMPLETE",
        meaning: Meaning::Lost,
        says: "the interface is not set up, or is no longer; look whether Internet Sharing was switched or a VPN was \
               started meanwhile, and start the virtual machine again",
        may_be_a_right: false,
    },
    Row {
        status: Status::InvalidAccess,
        name: "VMNET_INVALID_ACCESS",
        meaning: Meaning::Lost,
        says: "permission denied; look at System Settings > Privacy & Security > Local Network, where the program that \
               starts softnet (the terminal, Tart) must be allowed",
        may_be_a_right: true,
    },
    Row {
        status: Status::PacketTooBig,
        name: "VMNET_PACKET_TOO_BIG",
        meaning: Meaning::Refused,
        says: "a packet is larger than the link carries; look at the MTU in the guest, which must be the link's",
        may_be_a_right: false,
    },
    Row {
        status: Status::BufferExhausted,
        name: "VMNET_BUFFER_EXHAUSTED",
        meaning: Meaning::Busy,
        says: "the kernel's network buffers are full for the moment; should it last, look at 'netstat -m'",
        may_be_a_right: false,
    },
    Row {
        status: Status::TooManyPackets,
        name: "VMNET_TOO_MANY_PACKETS",
        meaning: Meaning::TooMany,
        says: "more packets at once than this macOS takes; softnet goes on with fewer at once",
        may_be_a_right: false,
    },
    Row {
        status: Status::SharingServiceBusy,
        name: "VMNET_SHARING_SERVICE_BUSY",
        meaning: Meaning::Refused,
        says: "the sharing service is taken; look at System Settings > General > Sharing > Internet Sharing and switch \
               it off, and look whether a VPN or another virtual machine monitor shares the network",
        may_be_a_right: false,
    },
    Row {
        status: Status::NotAuthorized,
        name: "VMNET_NOT_AUTHORIZED",
        meaning: Meaning::Lost,
        says: "not authorized; look whether softnet has root, and at System Settings > Privacy & Security > Local \
               Network, where the program that starts softnet (the terminal, Tart) must be allowed",
        may_be_a_right: true,
    },
];

fn row(status: &Status) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.status == *status)
}

/// What `error`, from a call on a link that is up, means for it.
pub(super) fn meaning(error: &Error) -> Meaning {
    match error {
        Error::VmnetErrorStatus(status) => row(status).map_or(Meaning::Refused, |row| row.meaning),
        Error::VmnetReadNothing => Meaning::Nothing,
        Error::InterfaceFinalized | Error::VmnetStartInterfaceFailed => Meaning::Lost,
        Error::VmnetUnknownStatus(_) | Error::AddressFamilyMismatch => Meaning::Refused,
    }
}

/// An error of vmnet's that says in words what is the matter and what to look at; with both remedies, as commands, where
/// a missing right may be the reason and softnet has none.
#[derive(Debug)]
pub struct Said(pub(super) Error);

impl Said {
    fn may_be_a_right(&self) -> bool {
        match &self.0 {
            Error::VmnetErrorStatus(status) => row(status).is_some_and(|row| row.may_be_a_right),
            Error::VmnetStartInterfaceFailed => true,
            _ => false,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, remedies: Option<&str>) -> fmt::Result {
        match &self.0 {
            Error::VmnetErrorStatus(status) => match row(status) {
                Some(row) => write!(f, "{}: {}", row.name, row.says)?,
                None => write!(f, "vmnet reports a failure and calls it a success")?,
            },
            Error::VmnetUnknownStatus(status) => write!(
                f,
                "vmnet status {status}, which this softnet does not know; look for messages of vmnet in Console, and for a \
                 newer softnet"
            )?,
            Error::VmnetStartInterfaceFailed => {
                write!(
                    f,
                    "vmnet made no interface; look whether softnet has root, and whether 32 are running already"
                )?;
            }
            Error::VmnetReadNothing => write!(f, "no packet waits")?,
            Error::AddressFamilyMismatch => write!(f, "an IPv4 address was wanted")?,
            Error::InterfaceFinalized => write!(f, "the interface was stopped")?,
        }
        match remedies {
            Some(remedies) if self.may_be_a_right() => write!(f, ". For root: {remedies}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedies = (!geteuid().is_root()).then(rights::remedies);
        self.write(f, remedies.as_deref())
    }
}

impl std::error::Error for Said {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown<'a>(&'a Said, Option<&'a str>);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write(f, self.1)
        }
    }

    fn said(status: Status) -> String {
        Shown(&Said(Error::VmnetErrorStatus(status)), Some("REMEDIES")).to_string()
    }

    /// All that vmnet.h names but success: 1001 to 1010.
    fn statuses() -> impl Iterator<Item = Status> {
        (1001..=1010).map(|number| Status::try_from(number).expect("a status of vmnet.h"))
    }

    #[test]
    fn every_status_has_a_row_with_what_to_look_at() {
        for status in statuses() {
            let name = format!("{status:?}");
            let row = row(&status).unwrap_or_else(|| panic!("{name} has no row"));
            // VMNET_BUFFER_EXHAUSTED is BufferExhausted.
            assert_eq!(row.name.replace("VMNET", "").replace('_', ""), name.to_uppercase());
            let line = said(status);
            assert!(line.starts_with(row.name) && line.len() > row.name.len() + 20 && !line.contains('\n'), "{line}");
            assert!(["look", "goes on", "is one"].iter().any(|word| line.contains(word)), "{line}");
        }
        assert!(Status::try_from(1011).is_err(), "a status of which the table does not know");
    }

    #[test]
    fn each_sentence_is_its_own() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index].iter().all(|other| other.says != row.says && other.name != row.name),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn what_an_installation_lacks_is_named() {
        assert!(said(Status::InvalidAccess).contains("Local Network"));
        assert!(said(Status::NotAuthorized).contains("Local Network"));
        assert!(said(Status::SharingServiceBusy).contains("Internet Sharing"));
        assert!(said(Status::SharingServiceBusy).contains("VPN"));
        assert!(said(Status::Failure).contains("VPN"));
    }

    #[test]
    fn a_missing_right_comes_with_both_remedies_unless_root_is_there() {
        for status in statuses() {
            let missing_right = matches!(status, Status::Failure | Status::InvalidAccess | Status::NotAuthorized);
            assert_eq!(said(status).contains("REMEDIES"), missing_right);
        }
        let said = Said(Error::VmnetStartInterfaceFailed);
        assert!(Shown(&said, Some("REMEDIES")).to_string().contains("REMEDIES"));
        assert!(!Shown(&said, None).to_string().contains("For root"));
    }

    #[test]
    fn only_what_cannot_pass_ends_a_link() {
        let meaning = |status| super::meaning(&Error::VmnetErrorStatus(status));
        for status in statuses() {
            let name = format!("{status:?}");
            let lost = matches!(status, Status::SetupIncomplete | Status::InvalidAccess | Status::NotAuthorized);
            assert_eq!(meaning(status) == Meaning::Lost, lost, "{name}");
        }
        assert_eq!(meaning(Status::BufferExhausted), Meaning::Busy);
        assert_eq!(meaning(Status::TooManyPackets), Meaning::TooMany);
        assert_eq!(super::meaning(&Error::VmnetReadNothing), Meaning::Nothing);
        assert_eq!(super::meaning(&Error::InterfaceFinalized), Meaning::Lost);
        assert_eq!(super::meaning(&Error::VmnetUnknownStatus(1011)), Meaning::Refused);
    }
}
