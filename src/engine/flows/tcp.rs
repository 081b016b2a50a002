//! How far a TCP connection has come, from the flags of its segments alone (RFC 9293, section 3.3.2).
//!
//! Sequence numbers are not followed. So a RST or FIN that a third party made up can *shorten* a flow, never lengthen it, and one
//! whose initiator goes on to acknowledge has not been reset (RFC 5961: the ends ignore such a RST, and so are still
//! talking). Nothing that the other side sends, and nothing out of place, lengthens anything.
#![forbid(unsafe_code)]

use super::Class;

/// The flags of a segment that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Flags(u8);

impl Flags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// From the byte behind the data offset.
    pub(in super::super) fn new(byte: u8) -> Self {
        Flags(byte & (Self::FIN | Self::SYN | Self::RST | Self::ACK))
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// The first segment of a connection: SYN and none of the others.
    pub(in super::super) fn opens(self) -> bool {
        self.0 == Self::SYN
    }

    /// The answer to it: SYN and ACK, and none of the others.
    pub(super) fn answers(self) -> bool {
        self.0 == Self::SYN | Self::ACK
    }

    /// A segment in the middle of a connection: ACK, and neither SYN nor RST.
    pub(in super::super) fn goes_on(self) -> bool {
        self.has(Self::ACK) && !self.has(Self::SYN) && !self.has(Self::RST)
    }

    /// Whether a segment of the responder's can belong to the connection: it bears no SYN but the one that answers.
    pub(super) fn can_come_back(self) -> bool {
        !self.has(Self::SYN) || self.answers()
    }
}

/// Which side of a flow sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Initiator,
    Responder,
}

/// Whether a segment gives the flow its whole time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    Renews,
    RenewsNothing,
}

/// What has been seen of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress(u8);

impl Progress {
    /// It was picked up in its middle: no handshake is to be seen.
    const PICKED_UP: u8 = 1;
    /// The responder has answered.
    const ANSWERED: u8 = 2;
    /// And the initiator has acknowledged: the handshake is whole.
    const ESTABLISHED: u8 = 4;
    const INITIATOR_ENDED: u8 = 8;
    const RESPONDER_ENDED: u8 = 16;
    const BOTH_ENDED: u8 = Self::INITIATOR_ENDED | Self::RESPONDER_ENDED;
    const RESET: u8 = 32;

    /// A connection whose first segment bears these flags.
    pub(super) fn begin(flags: Flags) -> Self {
        Progress(if flags.opens() { 0 } else { Self::PICKED_UP })
    }

    fn has(self, what: u8) -> bool {
        self.0 & what == what
    }

    /// Which time is the connection's.
    pub(super) fn class(self) -> Class {
        if self.has(Self::RESET) || self.has(Self::BOTH_ENDED) {
            Class::TcpClosing
        } else if self.has(Self::ESTABLISHED) {
            Class::TcpEstablished
        } else {
            Class::TcpHalfOpen
        }
    }

    /// Takes note of a segment that passes.
    pub(super) fn note(&mut self, sender: Sender, flags: Flags) -> Renewal {
        if flags.has(Flags::RST) {
            self.0 |= Self::RESET;
            return Renewal::RenewsNothing;
        }
        if flags.has(Flags::SYN) {
            if sender == Sender::Responder && flags.answers() {
                self.0 |= Self::ANSWERED;
            }
            return Renewal::RenewsNothing;
        }
        if flags.has(Flags::FIN) {
            self.0 |= match sender {
                Sender::Initiator => Self::INITIATOR_ENDED,
                Sender::Responder => Self::RESPONDER_ENDED,
            };
        }
        if !flags.goes_on() {
            return Renewal::RenewsNothing;
        }
        match sender {
            Sender::Responder => {
                if self.has(Self::PICKED_UP) {
                    self.0 |= Self::ANSWERED;
                }
                Renewal::RenewsNothing
            }
            Sender::Initiator => {
                if self.has(Self::ANSWERED) {
                    self.0 |= Self::ESTABLISHED;
                }
                if !self.has(Self::ESTABLISHED) || self.has(Self::BOTH_ENDED) {
                    return Renewal::RenewsNothing;
                }
                self.0 &= !Self::RESET;
                Renewal::Renews
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::*;
    use Renewal::*;
    use Sender::*;

    fn flags(letters: &str) -> Flags {
        Flags::new(letters.chars().fold(0, |byte, letter| {
            byte | match letter {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                'P' => 8,
                'A' => 16,
                _ => 32,
            }
        }))
    }

    /// Plays segments on a connection that the first one of the initiator's has begun.
    fn play(first: &str, segments: &[(Sender, &str, Renewal, Class)]) {
        let mut progress = Progress::begin(flags(first));
        assert_eq!(progress.class(), TcpHalfOpen);
        for (index, &(sender, letters, renewal, class)) in segments.iter().enumerate() {
            assert_eq!(
                (progress.note(sender, flags(letters)), progress.class()),
                (renewal, class),
                "{index}: {letters}"
            );
        }
    }

    #[test]
    fn a_connection_lives_by_its_handshake_and_ends_by_both_fins() {
        play(
            "S",
            &[
                (Responder, "SA", RenewsNothing, TcpHalfOpen),
                (Initiator, "A", Renews, TcpEstablished),
                (Initiator, "PA", Renews, TcpEstablished),
                (Responder, "PA", RenewsNothing, TcpEstablished),
                (Initiator, "FA", Renews, TcpEstablished),
                (Responder, "A", RenewsNothing, TcpEstablished),
                (Initiator, "A", Renews, TcpEstablished),
                (Responder, "FA", RenewsNothing, TcpClosing),
                (Initiator, "A", RenewsNothing, TcpClosing),
            ],
        );
    }

    #[test]
    fn without_an_answer_nothing_is_established() {
        play(
            "S",
            &[
                (Initiator, "A", RenewsNothing, TcpHalfOpen),
                (Initiator, "S", RenewsNothing, TcpHalfOpen),
                (Responder, "A", RenewsNothing, TcpHalfOpen),
                (Responder, "S", RenewsNothing, TcpHalfOpen),
                (Responder, "SFA", RenewsNothing, TcpHalfOpen),
                (Initiator, "SA", RenewsNothing, TcpHalfOpen),
                (Initiator, "PA", RenewsNothing, TcpHalfOpen),
                (Responder, "SA", RenewsNothing, TcpHalfOpen),
                (Responder, "PA", RenewsNothing, TcpHalfOpen),
            ],
        );
    }

    #[test]
    fn what_was_picked_up_is_established_once_the_other_side_has_answered_and_the_initiator_goes_on() {
        play(
            "PA",
            &[
                (Initiator, "A", RenewsNothing, TcpHalfOpen),
                (Responder, "A", RenewsNothing, TcpHalfOpen),
                (Initiator, "A", Renews, TcpEstablished),
            ],
        );
    }

    #[test]
    fn a_rst_ends_a_connection_unless_the_initiator_goes_on() {
        let established = [(Responder, "SA", RenewsNothing, TcpHalfOpen), (Initiator, "A", Renews, TcpEstablished)];
        let ended = [
            (Responder, "RA", RenewsNothing, TcpClosing),
            (Responder, "A", RenewsNothing, TcpClosing),
            (Initiator, "S", RenewsNothing, TcpClosing),
            (Initiator, "R", RenewsNothing, TcpClosing),
            (Initiator, "P", RenewsNothing, TcpClosing),
        ];
        play("S", &[&established[..], &ended].concat());
        play("S", &[&established[..], &ended, &[(Initiator, "A", Renews, TcpEstablished)]].concat());
        play(
            "S",
            &[
                (Responder, "RA", RenewsNothing, TcpClosing),
                (Responder, "SA", RenewsNothing, TcpClosing),
                (Responder, "A", RenewsNothing, TcpClosing),
            ],
        );
        play("S", &[(Responder, "RA", RenewsNothing, TcpClosing), (Initiator, "A", RenewsNothing, TcpClosing)]);
    }

    #[test]
    fn only_a_syn_alone_opens_and_only_its_answer_comes_back() {
        for letters in ["", "A", "F", "R", "SA", "SF", "SR", "SFA", "SRA", "FA", "RA"] {
            assert!(!flags(letters).opens(), "{letters}");
        }
        assert!(
            flags("S").opens() && flags("SP").opens() && flags("SU").opens(),
            "PSH, URG, ECE and CWR do not matter"
        );
        for (letters, expected) in [
            ("S", false),
            ("SF", false),
            ("SRA", false),
            ("SFA", false),
            ("SA", true),
            ("A", true),
            ("R", true),
            ("", true),
        ] {
            assert_eq!(flags(letters).can_come_back(), expected, "{letters}");
        }
    }
}
