//! Differences between two lists of lines.

use std::fmt::Write as _;

/// More lines than this are not paired with each other; they are shown one list after the other.
const MAX_LINES: usize = 2000;

/// Does `text` fit `pattern`, in which `*` stands for anything?
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// An error and its causes on one line, each cause once.
pub fn told(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// How the lines `new` differ from `old`, in which two are the same if `same` says so: each line after two spaces, `- `
/// if only `old` has it, or `+ ` if only `new` has it. None if there is no difference.
pub fn diff(old: &[String], new: &[String], same: impl Fn(&str, &str) -> bool) -> Option<String> {
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b)) {
        return None;
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let mut put = |mark: &str, line: &str| {
        let _ = writeln!(text, "{mark} {line}");
    };
    if old.len() > MAX_LINES || new.len() > MAX_LINES {
        old.iter().for_each(|line| put("-", line));
        new.iter().for_each(|line| put("+", line));
        return Some(text);
    }
    // The length of the longest common subsequence of what follows each pair of places.
    let mut common = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a][b] =
                if same(&old[a], &new[b]) { common[a + 1][b + 1] + 1 } else { common[a + 1][b].max(common[a][b + 1]) };
        }
    }
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && same(&old[a], &new[b]) {
            put(" ", &new[b]);
            (a, b) = (a + 1, b + 1);
        } else if b == new.len() || (a < old.len() && common[a + 1][b] >= common[a][b + 1]) {
            put("-", &old[a]);
            a += 1;
        } else {
            put("+", &new[b]);
            b += 1;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let check = |pattern: &str, text: &str, expected: bool| assert_eq!(fits(pattern, text), expected, "{pattern}");
        check("abc", "abc", true);
        check("abc", "abcd", false);
        check("a*", "abcd", true);
        check("a*d", "abcd", true);
        check("a*d", "abc", false);
        check("a*b*a", "aba", true);
        check("a*b*a", "aa", false);
        check("*", "", true);
        check("*b*", "abc", true);
        check("ab*ba", "aba", false);
    }

    #[test]
    fn differences_are_shown_among_what_is_the_same() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let check = |old: &str, new: &str, expected: Option<&str>| {
            let shown = diff(&lines(old), &lines(new), |a, b| a == b);
            assert_eq!(shown.map(|text| text.replace(['\n', ' '], "")).as_deref(), expected, "{old} {new}");
        };
        check("abc", "abc", None);
        check("abc", "adc", Some("a-b+dc"));
        check("abc", "bc", Some("-abc"));
        check("", "a", Some("+a"));
    }
}
