//! Texts inside of other texts: shell words, values of QEMU options, XML.

use std::borrow::Cow;

/// The text as one word of a POSIX shell: as it stands if nothing in it is special, else in single quotes.
#[must_use]
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=,+@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The text as a value in a QEMU option: a comma would end it and is doubled.
pub(crate) fn option_value(text: &str) -> String {
    text.replace(',', ",,")
}

/// The text as an XML attribute's value between single quotes.
pub(crate) fn attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_one_word_whatever_is_in_it() {
        assert_eq!(shell_word("socket,path=/run/a.sock"), "socket,path=/run/a.sock");
        assert_eq!(shell_word("/a b"), "'/a b'");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_shell_reads_the_word_back() {
        for text in ["plain", "a b", "it's", "$(id)", "`id`", "a\\b", "*?[", "ä", "~", "#x", "a\tb", ""] {
            let script = format!("printf %s {}", shell_word(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_comma_is_doubled_for_qemu_and_markup_escaped_for_xml() {
        assert_eq!(option_value("/a,b"), "/a,,b");
        assert_eq!(attribute("<a & 'b'>\""), "&lt;a &amp; &apos;b&apos;&gt;&quot;");
    }
}
