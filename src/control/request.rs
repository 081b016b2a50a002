//! What a request says: its envelope, its method, its parameters, from the tokens of its text.
//!
//! The members of an object come in any order, so nothing is decided before the end. What is kept until then is bounded:
//! an id, a method, a [`Draft`] of a policy, and the first fault of each kind. An entry is parsed when its string
//! ends, and of what no request has (members of other names, values of other types), only the end is looked for.
#![forbid(unsafe_code)]

use super::ChannelNames;
use super::json::{Text, Token, TokenSink};
use super::reply::{Code, Fault, Id, quote};
use crate::engine::{Draft, List};

/// What a client may ask for.
#[derive(Debug)]
pub(super) enum Request {
    /// `softnet.policy.get`
    Get,
    /// `softnet.policy.set`
    Set(Draft),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the text's value, or after it.
    Outside,
    /// In the request's object, at the value of a member.
    Envelope(Member),
    /// In the object of the parameters, at the value of a member, which is a list that was not there before.
    Params(Option<List>),
    /// In a list.
    List(List),
}

/// A member of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Version = 1,
    Id = 2,
    Method = 4,
    Params = 8,
    /// One that there is not, or that has been there.
    None = 0,
}

#[derive(Debug)]
enum Method {
    Get,
    Set,
    Unknown(String),
}

/// The parameters so far.
#[derive(Debug, Default)]
struct Params {
    /// There is an object, with at least one member.
    has_members: bool,
    has_allow: bool,
    has_block: bool,
    draft: Draft,
    /// The first thing that is wrong. The draft is empty then.
    fault: Option<String>,
}

/// Builds a request.
#[derive(Debug)]
pub(super) struct Builder {
    names: ChannelNames,
    place: Place,
    /// How deep in a value that no request has at this place.
    below: u32,
    /// The members of the envelope that have been there.
    seen: u8,
    id: Id,
    method: Option<Method>,
    params: Params,
    fault: Option<String>,
}

impl Builder {
    pub(super) fn new(names: ChannelNames) -> Self {
        Builder {
            names,
            place: Place::Outside,
            below: 0,
            seen: 0,
            id: Id::Null,
            method: None,
            params: Params::default(),
            fault: None,
        }
    }

    /// The request, once its text has ended: the id that its reply bears, and what is asked for.
    pub(super) fn finish(self) -> (Id, Result<Request, Fault>) {
        let Builder { seen, id, method, params, fault, .. } = self;
        let lacks = |member: Member| seen & member as u8 == 0;
        let missing = if lacks(Member::Version) {
            Some("`jsonrpc` is missing: it is \"2.0\"")
        } else if lacks(Member::Id) {
            Some("`id` is missing: every request is answered, and there are no notifications")
        } else if lacks(Member::Method) {
            Some("`method` is missing")
        } else {
            None
        };
        let request = match (fault.or(missing.map(str::to_owned)), method) {
            (Some(fault), _) => Err(Fault::new(Code::InvalidRequest, fault)),
            // Without a fault there is a method.
            (None, None) => Err(Fault::new(Code::InvalidRequest, "`method` is missing")),
            (None, Some(Method::Unknown(name))) => Err(Fault::new(
                Code::MethodNotFound,
                format!("there is no method {name}: there are softnet.policy.get and softnet.policy.set"),
            )),
            (None, Some(Method::Get)) => params.none().map(|()| Request::Get),
            (None, Some(Method::Set)) => params.lists().map(Request::Set),
        };
        (id, request)
    }

    fn outermost(&mut self, token: Token<'_>) {
        match token {
            Token::ObjectStart => self.place = Place::Envelope(Member::None),
            Token::ArrayStart => self.foreign(token, "a batch is not taken: send one request a line"),
            _ => self.foreign(token, "a request is an object"),
        }
    }

    fn in_envelope(&mut self, member: Member, token: Token<'_>) {
        match (member, token) {
            (_, Token::Key(name)) => self.place = Place::Envelope(self.member(name)),
            (_, Token::ObjectEnd) => self.place = Place::Outside,
            (Member::Version, Token::String(text)) if text.short() == Some("2.0") => {}
            (Member::Version, _) => self.foreign(token, "`jsonrpc` is not \"2.0\""),
            (Member::Id, _) => match id(token) {
                Some(id) => self.id = id,
                None => {
                    self.foreign(token, "`id` is neither a string of at most 256 bytes nor an integer from 0 to 2^64-1")
                }
            },
            (Member::Method, Token::String(name)) => self.method = Some(method(name)),
            (Member::Method, _) => self.foreign(token, "`method` is no string"),
            (Member::Params, Token::ObjectStart) => self.place = Place::Params(None),
            (Member::Params, Token::Null) => {}
            (Member::Params, _) => self.bad_params(token, || "`params` is no object".to_owned()),
            (Member::None, _) => self.below = depth(token),
        }
    }

    /// The member of this name, if there is such a member and it has not been there.
    fn member(&mut self, name: Text<'_>) -> Member {
        let member = match name.short() {
            Some("jsonrpc") => Member::Version,
            Some("id") => Member::Id,
            Some("method") => Member::Method,
            Some("params") => Member::Params,
            _ => {
                self.envelope_fault(|| format!("there is no member {} in a request", quote(name)));
                return Member::None;
            }
        };
        if self.seen & member as u8 == 0 {
            self.seen |= member as u8;
            return member;
        }
        self.envelope_fault(|| format!("the member {} is there twice", quote(name)));
        if member == Member::Id {
            // Which of them would the client look for?
            self.id = Id::Null;
        }
        Member::None
    }

    fn in_params(&mut self, list: Option<List>, token: Token<'_>) {
        match (list, token) {
            (_, Token::Key(name)) => {
                self.params.has_members = true;
                self.place = Place::Params(self.params.member(name));
            }
            (_, Token::ObjectEnd) => self.place = Place::Envelope(Member::None),
            (Some(list), Token::ArrayStart) => self.place = Place::List(list),
            (Some(list), _) => self.bad_params(token, || format!("`{}` is no list of strings", name_of(list))),
            (None, _) => self.below = depth(token),
        }
    }

    fn in_list(&mut self, list: List, token: Token<'_>) {
        match token {
            Token::String(text) => self.params.add(list, text, self.names),
            Token::ArrayEnd => self.place = Place::Params(None),
            _ => self.bad_params(token, || format!("`{}` has something that is no string", name_of(list))),
        }
    }

    /// A value that no request has in the envelope.
    fn foreign(&mut self, token: Token<'_>, fault: &str) {
        self.envelope_fault(|| fault.to_owned());
        self.below = depth(token);
    }

    fn envelope_fault(&mut self, fault: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(fault);
    }

    /// A value that no request has in the parameters.
    fn bad_params(&mut self, token: Token<'_>, fault: impl FnOnce() -> String) {
        self.params.fault(fault);
        self.below = depth(token);
    }
}

impl TokenSink for Builder {
    fn token(&mut self, token: Token<'_>) {
        if self.below > 0 {
            match token {
                Token::ObjectStart | Token::ArrayStart => self.below += 1,
                Token::ObjectEnd | Token::ArrayEnd => self.below -= 1,
                _ => {}
            }
            return;
        }
        match self.place {
            Place::Outside => self.outermost(token),
            Place::Envelope(member) => self.in_envelope(member, token),
            Place::Params(list) => self.in_params(list, token),
            Place::List(list) => self.in_list(list, token),
        }
    }
}

impl Params {
    /// The list of this name, if there is such a list and it has not been there.
    fn member(&mut self, name: Text<'_>) -> Option<List> {
        let list = match name.short() {
            Some("allow") => List::Allow,
            Some("block") => List::Block,
            _ => {
                self.fault(|| format!("there is no parameter {}: there are `allow` and `block`", quote(name)));
                return None;
            }
        };
        let is_there = match list {
            List::Allow => &mut self.has_allow,
            List::Block => &mut self.has_block,
        };
        if std::mem::replace(is_there, true) {
            self.fault(|| format!("the parameter `{}` is there twice", name_of(list)));
            return None;
        }
        Some(list)
    }

    fn add(&mut self, list: List, text: Text<'_>, names: ChannelNames) {
        if self.fault.is_some() {
            return;
        }
        if let Err(error) = self.draft.push(list, text.kept()) {
            self.fault(|| format!("`{}`: {error}", name_of(list)));
        } else if names == ChannelNames::Refused && self.draft.has_names() {
            self.fault(|| format!("`{}`: the entry {} is about a name, which this channel takes only if softnet was started with --policy-names", name_of(list), quote(text)));
        } else if text.is_cut() {
            // No entry is so long, and what was kept of this does not stand for it.
            self.fault(|| format!("`{}`: the entry {} is too long", name_of(list), quote(text)));
        }
    }

    fn fault(&mut self, fault: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(fault());
            self.draft = Draft::default();
        }
    }

    fn none(self) -> Result<(), Fault> {
        match self.fault {
            Some(fault) => Err(Fault::new(Code::InvalidParams, fault)),
            None if self.has_members => Err(Fault::new(Code::InvalidParams, "this method takes no parameters")),
            None => Ok(()),
        }
    }

    fn lists(self) -> Result<Draft, Fault> {
        let fault = match self {
            Params { fault: Some(fault), .. } => fault,
            Params { has_allow: false, .. } => "the parameter `allow` is missing: it may be an empty list".to_owned(),
            Params { has_block: false, .. } => "the parameter `block` is missing: it may be an empty list".to_owned(),
            Params { draft, .. } => return Ok(draft),
        };
        Err(Fault::new(Code::InvalidParams, fault))
    }
}

/// The id that a value is, if it is one. `1.0`, `1e0` and `-0` are no integers here: they could not be echoed exactly.
fn id(token: Token<'_>) -> Option<Id> {
    match token {
        Token::String(text) => text.short().map(|text| Id::Text(text.to_owned())),
        Token::Number(letters) => {
            let digits = letters.short().filter(|letters| letters.bytes().all(|letter| letter.is_ascii_digit()))?;
            digits.parse().ok().map(Id::Number)
        }
        _ => None,
    }
}

fn method(name: Text<'_>) -> Method {
    match name.short() {
        Some("softnet.policy.get") => Method::Get,
        Some("softnet.policy.set") => Method::Set,
        _ => Method::Unknown(quote(name)),
    }
}

/// How deep one is in a value after its first token.
fn depth(token: Token<'_>) -> u32 {
    match token {
        Token::ObjectStart | Token::ArrayStart => 1,
        _ => 0,
    }
}

const fn name_of(list: List) -> &'static str {
    match list {
        List::Allow => "allow",
        List::Block => "block",
    }
}
