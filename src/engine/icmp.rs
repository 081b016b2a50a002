//! ICMP errors of the guest's: what they may be about.
//!
//! An error quotes the datagram that it is about (RFC 792), and who gets it, or a NAT on its way, goes by the quote: it is
//! taken for a word about *that* flow, whoever sent it. A guest that quotes a neighbour's flow would so have the host tell
//! the neighbour's peer, in the host's own name, that the port is closed or the path narrow. So the quoted datagram must be
//! one that came to the guest from whom the error goes to.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::ipv4::{Ipv4, Part};
use super::verdict::DropReason;

/// Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122, section 3.2.2).
const ERRORS: [u8; 5] = [3, 4, REDIRECT, 11, 12];
const REDIRECT: u8 = 5;
const HEADER: usize = 8;
const QUOTED_HEADER: usize = 20;

/// Whether an ICMP message of the guest's, from its own address, is no error, or one that it may send. Kept out of the way
/// of what is no ICMP.
#[cold]
#[inline(never)]
pub(super) fn check_error(datagram: Ipv4<'_>) -> Result<(), DropReason> {
    match (datagram.part(), datagram.payload.first()) {
        (Part::Whole, Some(kind)) if ERRORS.contains(kind) => {
            let is_about_us = *kind != REDIRECT && quotes_its_own(&datagram);
            if is_about_us { Ok(()) } else { Err(DropReason::IcmpQuote) }
        }
        // The type is in the first fragment and nowhere else. Errors are short: no honest one is cut.
        (Part::First, Some(kind)) if ERRORS.contains(kind) => Err(DropReason::IcmpQuote),
        _ => Ok(()),
    }
}

fn quotes_its_own(datagram: &Ipv4<'_>) -> bool {
    let quote = datagram.payload.get(HEADER..).and_then(|quote| quote.first_chunk::<QUOTED_HEADER>());
    let Some(&[version, .., a, b, c, d, e, f, g, h]) = quote else { return false };
    let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    version >> 4 == 4 && source == datagram.destination() && destination == datagram.source()
}
