//! What a started interface says of itself.

/// A fact with its value.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// The largest IP packet.
    MTU(u64),
    /// The largest frame.
    MaxPacketSize(u64),
    /// The most packets a read.
    ReadMaxPackets(u64),
    /// The most packets a write.
    WriteMaxPackets(u64),
    /// The first address of the subnet: the host's own.
    StartAddress(String),
    /// The subnet's mask.
    SubnetMask(String),
}

/// Which fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ParameterKind {
    MTU,
    MaxPacketSize,
    ReadMaxPackets,
    WriteMaxPackets,
    StartAddress,
    SubnetMask,
}

/// All facts.
#[derive(Clone, Debug, Default)]
pub struct Parameters(pub(crate) Vec<Parameter>);

impl Parameters {
    /// The fact of that kind, if vmnet told it.
    pub fn get(&self, kind: ParameterKind) -> Option<Parameter> {
        let is_kind = |parameter: &&Parameter| {
            kind == match parameter {
                Parameter::MTU(_) => ParameterKind::MTU,
                Parameter::MaxPacketSize(_) => ParameterKind::MaxPacketSize,
                Parameter::ReadMaxPackets(_) => ParameterKind::ReadMaxPackets,
                Parameter::WriteMaxPackets(_) => ParameterKind::WriteMaxPackets,
                Parameter::StartAddress(_) => ParameterKind::StartAddress,
                Parameter::SubnetMask(_) => ParameterKind::SubnetMask,
            }
        };
        self.0.iter().find(is_kind).cloned()
    }
}
