//! What goes wrong on the guest's link, as far as its frames tell: for the operator, and without any effect on a verdict.
//!
//! | trouble | what shows it | it is over |
//! | --- | --- | --- |
//! | no DHCP answer | a DHCPDISCOVER or DHCPREQUEST of the guest's, and no answer of the server's within [`ANSWER`] | by an answer |
//! | the gateway is silent | [`QUESTIONS`] ARP requests for its address over [`PERSISTENCE`] or more, and no ARP of its own meanwhile | by that, or when the guest asks no more |
//! | nothing comes from beyond the host | [`QUESTIONS`] TCP segments that begin a connection beyond it, and pass, over [`STILLNESS`] or more, and no IPv4 from there meanwhile | by that, or when the guest begins no more |
//! | the address is claimed | ARP from the host's side in which another MAC has the leased address (RFC 5227, section 2.4); or the host itself has another MAC for it, twice in a row | at once |
//! | the address was declined | a DHCPDECLINE of the guest's for the leased address (RFC 2131, section 4.4.4) | at once |
//! | another source | a frame of the guest's side from another MAC than the guest's | at once |
//!
//! Each is told once an occurrence, and at most once in [`AGAIN`]: a guest can bring about most of them at will, and gets
//! no more lines than that for it. Of other sources, each new one counts as an occurrence, the same one again does not.
//! Memory is a few words.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::{Duration, Instant, after};

/// How long the DHCP server may take: it is on this host, and answers within milliseconds.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How many ARP requests a silent gateway leaves unanswered: what Linux sends before it gives up, twice.
pub const QUESTIONS: u32 = 4;
/// And over how long.
pub const PERSISTENCE: Duration = Duration::from_secs(5);
/// Over how long connections beyond the host have no answer: one that is tried by itself is at its fifth segment then (RFC 6298).
pub const STILLNESS: Duration = Duration::from_secs(10);
/// The longest pause between two such requests, or segments.
const PAUSE: Duration = Duration::from_secs(30);
/// The least time between two words about the same kind of trouble.
pub const AGAIN: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The DHCP server does not answer the guest.
    NoDhcpAnswer,
    /// The gateway does not answer the guest's ARP requests.
    GatewaySilent,
    /// Nothing comes from beyond the host.
    BeyondSilent,
    /// The leased address is another's as well.
    AddressClaimed {
        /// The leased address.
        address: Ipv4Addr,
        /// Who claims it.
        by: EthernetAddress,
    },
    /// The guest has found its leased address in use.
    AddressDeclined {
        /// The leased address.
        address: Ipv4Addr,
    },
    /// A frame of the guest's side is not from the guest's MAC.
    OtherSource {
        /// Where it is from.
        mac: EthernetAddress,
    },
}

/// How many kinds there are.
const KINDS: usize = 6;

impl Trouble {
    const fn kind(self) -> usize {
        match self {
            Trouble::NoDhcpAnswer => 0,
            Trouble::GatewaySilent => 1,
            Trouble::AddressClaimed { .. } => 2,
            Trouble::AddressDeclined { .. } => 3,
            Trouble::OtherSource { .. } => 4,
            Trouble::BeyondSilent => 5,
        }
    }
}

/// Questions for the gateway, or for whoever is beyond the host, that have no answer.
#[derive(Clone, Copy, Debug)]
struct Questions {
    first: Instant,
    latest: Instant,
    count: u32,
    are_told: bool,
}

impl Questions {
    /// Behind these, if they go on, one more.
    fn another(before: Option<Self>, now: Instant) -> Self {
        match before.filter(|questions| now <= after(questions.latest, PAUSE)) {
            Some(before) => Questions { latest: now, count: before.count.saturating_add(1), ..before },
            None => Questions { first: now, latest: now, count: 1, are_told: false },
        }
    }

    /// Whether it is time to tell of them.
    fn are_due(&self, persistence: Duration, now: Instant) -> bool {
        !self.are_told && self.count >= QUESTIONS && now >= after(self.first, persistence)
    }
}

/// The troubles of one guest.
#[derive(Debug)]
pub(super) struct Troubles {
    /// Whether the guest waits for the DHCP server.
    waits_for_dhcp: bool,
    questions: Option<Questions>,
    beyond: Option<Questions>,
    latest_source: Option<EthernetAddress>,
    /// Who else had the leased address when the host was asked last.
    latest_owner: Option<(Ipv4Addr, EthernetAddress)>,
    /// When the silence of the DHCP server is to be told; the end of time if it is not.
    due: Instant,
    /// When each kind was told last.
    told: [Option<Instant>; KINDS],
    /// What is to be told, at most one of a kind.
    waiting: [Option<Trouble>; KINDS],
}

/// The end of time.
const NEVER: Instant = Instant::from_micros_const(i64::MAX);

impl Troubles {
    /// None.
    pub(super) fn new() -> Self {
        Troubles {
            waits_for_dhcp: false,
            questions: None,
            beyond: None,
            latest_source: None,
            latest_owner: None,
            due: NEVER,
            told: [None; KINDS],
            waiting: [None; KINDS],
        }
    }

    /// The oldest kind of what is to be told.
    pub(super) fn poll(&mut self) -> Option<Trouble> {
        self.waiting.iter_mut().find_map(Option::take)
    }

    /// When time alone brings something to tell.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.due < NEVER).then_some(self.due)
    }

    /// Lets time pass.
    #[inline]
    pub(super) fn lapse(&mut self, now: Instant) {
        if now >= self.due {
            self.tell_silence(now);
        }
    }

    /// The guest asks the DHCP server for an address.
    pub(super) fn on_dhcp_request(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.waits_for_dhcp, true) {
            self.due = self.next_telling(Trouble::NoDhcpAnswer).max(after(now, ANSWER));
        }
    }

    /// The DHCP server answers the guest.
    pub(super) fn on_dhcp_answer(&mut self) {
        self.waits_for_dhcp = false;
        self.due = NEVER;
    }

    /// The guest asks who has the gateway's address.
    pub(super) fn on_question_for_gateway(&mut self, now: Instant) {
        let mut questions = Questions::another(self.questions, now);
        if questions.are_due(PERSISTENCE, now) {
            questions.are_told = self.tell(Trouble::GatewaySilent, now);
        }
        self.questions = Some(questions);
    }

    /// The gateway speaks ARP.
    pub(super) fn on_gateway(&mut self) {
        self.questions = None;
    }

    /// The guest begins a connection beyond the host, and may.
    #[cold]
    #[inline(never)]
    pub(super) fn on_beginning_beyond(&mut self, now: Instant) {
        let mut questions = Questions::another(self.beyond, now);
        if questions.are_due(STILLNESS, now) {
            questions.are_told = self.tell(Trouble::BeyondSilent, now);
        }
        self.beyond = Some(questions);
    }

    /// Whether an answer from beyond the host is waited for.
    #[inline]
    pub(super) fn wait_for_beyond(&self) -> bool {
        self.beyond.is_some()
    }

    /// Something comes from beyond the host.
    pub(super) fn on_beyond(&mut self) {
        self.beyond = None;
    }

    /// Somebody else has the guest's leased address.
    pub(super) fn on_claim(&mut self, address: Ipv4Addr, by: EthernetAddress, now: Instant) {
        self.tell(Trouble::AddressClaimed { address, by }, now);
    }

    /// The host has another MAC for the leased address than the guest's, or not.
    pub(super) fn on_owner(&mut self, other: Option<(Ipv4Addr, EthernetAddress)>, now: Instant) {
        if let Some((address, by)) = other.filter(|_| self.latest_owner == other) {
            self.on_claim(address, by, now);
        }
        self.latest_owner = other;
    }

    /// The guest gives its leased address back, since it is in use.
    pub(super) fn on_decline(&mut self, address: Ipv4Addr, now: Instant) {
        self.tell(Trouble::AddressDeclined { address }, now);
    }

    /// A frame of the guest's side is from another MAC.
    #[cold]
    #[inline(never)]
    pub(super) fn on_other_source(&mut self, mac: EthernetAddress, now: Instant) {
        if mac.is_unicast() && self.latest_source != Some(mac) && self.tell(Trouble::OtherSource { mac }, now) {
            self.latest_source = Some(mac);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_silence(&mut self, now: Instant) {
        self.due = NEVER;
        self.tell(Trouble::NoDhcpAnswer, now);
    }

    /// Has it told, unless another of its kind has been told too short a time ago.
    fn tell(&mut self, trouble: Trouble, now: Instant) -> bool {
        let may = now >= self.next_telling(trouble);
        if may
            && let (Some(told), Some(waiting)) =
                (self.told.get_mut(trouble.kind()), self.waiting.get_mut(trouble.kind()))
        {
            *told = Some(now);
            *waiting = Some(trouble);
        }
        may
    }

    /// When a trouble of this kind may be told.
    fn next_telling(&self, trouble: Trouble) -> Instant {
        let told = self.told.get(trouble.kind()).copied().flatten();
        told.map_or(Instant::from_micros_const(i64::MIN), |told| after(told, AGAIN))
    }
}
