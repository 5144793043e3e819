//! Where a footer goes. A text that ends with it already stays as it is, so that a message that passes twice has it once;
//! one that quotes it gets it anew.

/// The HTML with the footer at the end of its body; none if it is there.
pub(crate) fn into_html(html: &str, footer: &str) -> Option<String> {
    let end = rfind_ignoring_case(html, "</body").or_else(|| rfind_ignoring_case(html, "</html")).unwrap_or(html.len());
    let (before, after) = html.split_at(end);
    if ends_with(before, footer) {
        return None;
    }
    let line_end = if before.is_empty() || before.ends_with('\n') { "" } else { "\r\n" };
    Some([before, line_end, footer, "\r\n", after].concat())
}

/// The text with the footer under it; none if it is there.
pub(crate) fn under_text(text: &str, footer: &str) -> Option<String> {
    if ends_with(text, footer) {
        return None;
    }
    let text = text.trim_end_matches(['\r', '\n']);
    let empty_line = if text.is_empty() { "" } else { "\r\n\r\n" };
    Some([text, empty_line, footer, "\r\n"].concat())
}

/// Does the text end with the footer, as whole lines and whatever white space ends them?
fn ends_with(text: &str, footer: &str) -> bool {
    let mut lines = text.trim_end().lines().rev();
    footer.trim_end().lines().rev().all(|line| lines.next().is_some_and(|other| other.trim_end() == line.trim_end()))
}

/// The last place of an ASCII text.
fn rfind_ignoring_case(text: &str, what: &str) -> Option<usize> {
    let mut windows = text.as_bytes().windows(what.len());
    windows.rposition(|window| window.eq_ignore_ascii_case(what.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html() {
        let check = |html: &str, expected: &str| {
            let once = into_html(html, "<p>F</p>").unwrap();
            assert_eq!(once, expected);
            assert_eq!(into_html(&once, "<p>F</p>"), None);
        };
        check("<html><body><p>é</p></body></html>", "<html><body><p>é</p>\r\n<p>F</p>\r\n</body></html>");
        check("<p>a</p>\r\n</BODY >\r\n", "<p>a</p>\r\n<p>F</p>\r\n</BODY >\r\n");
        check("<html>a</html>", "<html>a\r\n<p>F</p>\r\n</html>");
        check("a", "a\r\n<p>F</p>\r\n");
        check("", "<p>F</p>\r\n");
        // The one that is quoted is no footer of this text.
        check(
            "<blockquote>\n<p>F</p>\n</blockquote></body>",
            "<blockquote>\n<p>F</p>\n</blockquote>\r\n<p>F</p>\r\n</body>",
        );
        check("</body> is a tag</body>", "</body> is a tag\r\n<p>F</p>\r\n</body>");
    }

    #[test]
    fn text() {
        let check = |text: &str, expected: &str| {
            let once = under_text(text, "-- \r\nF").unwrap();
            assert_eq!(once, expected);
            assert_eq!(under_text(&once, "-- \r\nF"), None);
            assert_eq!(under_text(&once.replace("-- ", "--").replace('\r', ""), "-- \r\nF"), None);
        };
        check("a\r\n\r\n\r\n", "a\r\n\r\n-- \r\nF\r\n");
        check("", "-- \r\nF\r\n");
        check("a\n> -- \n> F\n", "a\n> -- \n> F\r\n\r\n-- \r\nF\r\n");
        check("x-- \nF", "x-- \nF\r\n\r\n-- \r\nF\r\n");
    }
}
