//! Escaping for HTML and XML.
//!
//! The one idea: all text goes through here, and what comes out can end neither an element nor an attribute. Characters that
//! XML forbids are shown as escapes, since no reference may stand for them.

use std::fmt;

use super::format::printable;

/// Text, safe as content and inside of double quotes. Line feeds stay, other control characters are shown as escapes.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' => f.write_str("\n")?,
                // The two characters that are no controls and yet may not stand in XML.
                '\u{fffe}' | '\u{ffff}' => write!(f, "{}", c.escape_unicode())?,
                c => f.write_str(&printable(c.encode_utf8(&mut [0; 4])))?,
            }
        }
        Ok(())
    }
}

/// See [`Escaped`].
pub(crate) fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_an_element_or_an_attribute() {
        assert_eq!(
            escaped("</p><script a=\"'\">&amp;"),
            "&lt;/p&gt;&lt;script a=&quot;&#39;&quot;&gt;&amp;amp;"
        );
    }

    #[test]
    fn what_xml_forbids_is_shown_as_an_escape() {
        assert_eq!(
            escaped("a\0\x1b\u{ffff}\tb\nc"),
            "a\\u{0}\\u{1b}\\u{ffff}\\u{9}b\nc"
        );
        assert_eq!(escaped("Größe 模型 🙂"), "Größe 模型 🙂");
    }
}
