//! DNS messages, sound ones and others, for tests.

use std::net::Ipv4Addr;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const IN: u16 = 1;

/// A standard query that desires recursion.
pub const QUERY: u16 = 0x0100;
/// Its answer, without an error.
pub const ANSWER: u16 = 0x8180;

/// A name on the wire. A label `@N` is a pointer to N, and ends it.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        if let Some(target) = label.strip_prefix('@') {
            bytes.extend((0xc000 | target.parse::<u16>().unwrap()).to_be_bytes());
            return bytes;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A message in the making.
#[derive(Clone, Debug)]
pub struct Dns {
    pub id: u16,
    pub flags: u16,
    pub questions: u16,
    pub answers: u16,
    pub body: Vec<u8>,
}

impl Dns {
    pub fn query(id: u16, of: &str) -> Dns {
        Dns { id, flags: QUERY, questions: 0, answers: 0, body: Vec::new() }.question(of, A, IN)
    }

    pub fn answer(id: u16, to: &str) -> Dns {
        Dns { flags: ANSWER, ..Dns::query(id, to) }
    }

    pub fn question(mut self, of: &str, kind: u16, class: u16) -> Dns {
        self.questions += 1;
        self.body.extend([&name(of)[..], &kind.to_be_bytes(), &class.to_be_bytes()].concat());
        self
    }

    pub fn record(mut self, owner: &str, kind: u16, class: u16, seconds: u32, data: &[u8]) -> Dns {
        self.answers += 1;
        self.body.extend(name(owner));
        self.body.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
        self.body.extend(seconds.to_be_bytes());
        self.body.extend((data.len() as u16).to_be_bytes());
        self.body.extend(data);
        self
    }

    pub fn a(self, owner: &str, seconds: u32, address: Ipv4Addr) -> Dns {
        self.record(owner, A, IN, seconds, &address.octets())
    }

    pub fn cname(self, owner: &str, seconds: u32, to: &str) -> Dns {
        self.record(owner, CNAME, IN, seconds, &name(to))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let head = [self.id, self.flags, self.questions, self.answers, 0, 0];
        [head.map(u16::to_be_bytes).concat(), self.body.clone()].concat()
    }
}
