//! A text in parts that fit into messages: each begins with a byte that says whether it is the first and whether it is the last.
#![forbid(unsafe_code)]

use crate::companion::line::MAX_MESSAGE;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// The longest text that is put together.
const MAX_TEXT: usize = 1 << 20;

/// The messages that carry a text.
pub(super) fn parts(text: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let chunks = text.chunks(MAX_MESSAGE - 1);
    let last = chunks.len().saturating_sub(1);
    chunks.enumerate().map(move |(index, chunk)| {
        let mark = if index == 0 { FIRST } else { 0 } | if index == last { LAST } else { 0 };
        [&[mark], chunk].concat()
    })
}

/// Puts texts together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: Vec<u8>,
    /// The first part is there, and all that followed.
    is_open: bool,
}

impl Assembly {
    /// Takes a part; gives the whole text with its last one. A text without its first part is none.
    pub(super) fn take(&mut self, message: &[u8]) -> Option<&[u8]> {
        let (&mark, chunk) = message.split_first()?;
        if mark & FIRST != 0 {
            self.text.clear();
            self.is_open = true;
        }
        self.is_open &= self.text.len() + chunk.len() <= MAX_TEXT;
        if !self.is_open {
            return None;
        }
        self.text.extend_from_slice(chunk);
        if mark & LAST == 0 {
            return None;
        }
        self.is_open = false;
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_comes_out_whole() {
        let mut assembly = Assembly::default();
        for length in [1, MAX_MESSAGE - 1, MAX_MESSAGE, 3 * MAX_MESSAGE] {
            let text: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let whole: Vec<_> =
                parts(&text).filter_map(|message| assembly.take(&message).map(<[u8]>::to_vec)).collect();
            assert_eq!(whole, [text], "{length}");
        }
    }

    #[test]
    fn a_text_that_breaks_off_is_none_and_spoils_no_other() {
        let long: Vec<_> = parts(&[b'x'; 3 * MAX_MESSAGE]).collect();
        let mut assembly = Assembly::default();
        // The end of one whose beginning was lost.
        assert_eq!(assembly.take(&long[3]), None);
        // The beginning of one whose end is lost, and then a whole one.
        assert_eq!(assembly.take(&long[0]), None);
        let short: Vec<_> = parts(b"whole").collect();
        assert_eq!(assembly.take(&short[0]), Some(&b"whole"[..]));
        assert_eq!(assembly.take(&[]), None);
    }

    #[test]
    fn a_text_without_end_is_given_up() {
        let mut assembly = Assembly::default();
        let _ = assembly.take(&[&[FIRST], &[0; MAX_MESSAGE - 1][..]].concat());
        for _ in 0..2 * MAX_TEXT / MAX_MESSAGE {
            assert_eq!(assembly.take(&[0; MAX_MESSAGE]), None);
        }
        assert!(assembly.text.len() <= MAX_TEXT);
        assert_eq!(assembly.take(&[LAST]), None);
    }
}
