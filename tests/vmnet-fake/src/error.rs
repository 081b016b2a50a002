use std::fmt;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// vmnet returned this status.
    VmnetErrorStatus(Status),
    /// vmnet returned a status that its header does not name.
    VmnetUnknownStatus(u32),
    /// vmnet made no interface.
    VmnetStartInterfaceFailed,
    /// No packet waits.
    VmnetReadNothing,
    /// An IPv4 rule for an IPv6 address, or the other way round.
    AddressFamilyMismatch,
    /// The interface was stopped by its owner.
    InterfaceFinalized,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

/// `vmnet_return_t` of vmnet.h.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Success = 1000,
    Failure = 1001,
    MemFailure = 1002,
    InvalidArgument = 1003,
    SetupIncomplete = 1004,
    InvalidAccess = 1005,
    PacketTooBig = 1006,
    BufferExhausted = 1007,
    TooManyPackets = 1008,
    SharingServiceBusy = 1009,
    NotAuthorized = 1010,
}

impl TryFrom<u32> for Status {
    type Error = u32;

    fn try_from(number: u32) -> std::result::Result<Self, u32> {
        Ok(match number {
            1000 => Status::Success,
            1001 => Status::Failure,
            1002 => Status::MemFailure,
            1003 => Status::InvalidArgument,
            1004 => Status::SetupIncomplete,
            1005 => Status::InvalidAccess,
            1006 => Status::PacketTooBig,
            1007 => Status::BufferExhausted,
            1008 => Status::TooManyPackets,
            1009 => Status::SharingServiceBusy,
            1010 => Status::NotAuthorized,
            _ => return Err(number),
        })
    }
}
