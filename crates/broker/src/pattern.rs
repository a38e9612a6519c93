//! Regular expressions of permissions and policies: searched for anywhere in a name, as RabbitMQ does it.

use fancy_regex::{Regex, RegexBuilder};
use std::fmt;

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    All,
    /// Empty: the empty name only, which nothing has. (RabbitMQ: `^$`)
    Empty,
    Regex(Box<Regex>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongPattern(String);

impl fmt::Display for WrongPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Steps after which an expression that has to try again and again does not match.
const STEPS_MAX: usize = 10_000;
const BYTES_MAX: usize = 256 * 1024;
/// What patterns of topic permissions may contain.
const VARIABLES: [&str; 2] = ["{username}", "{vhost}"];

impl Pattern {
    /// Matches every name.
    pub fn all() -> Self {
        Self { text: ".*".into(), matcher: Matcher::All }
    }

    /// From its text.
    pub fn new(text: &str) -> Result<Self, WrongPattern> {
        let matcher = match text {
            "" => Matcher::Empty,
            ".*" | "^.*$" | "^.*" | ".*$" => Matcher::All,
            _ => {
                // Where they stand for nothing, variables are only letters.
                let text = VARIABLES
                    .iter()
                    .fold(text.to_owned(), |text, name| text.replace(name, &fancy_regex::escape(name)));
                let mut builder = RegexBuilder::new(&text);
                builder.backtrack_limit(STEPS_MAX).delegate_size_limit(BYTES_MAX);
                Matcher::Regex(Box::new(builder.build().map_err(|error| WrongPattern(error.to_string()))?))
            }
        };
        Ok(Self { text: text.into(), matcher })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when no name fails.
    pub fn matches_all(&self) -> bool {
        matches!(self.matcher, Matcher::All)
    }

    /// True when it is found in the name. Names that are not UTF-8 match only what matches everything.
    pub fn is_match(&self, name: &[u8]) -> bool {
        match &self.matcher {
            Matcher::All => true,
            Matcher::Empty => name.is_empty(),
            Matcher::Regex(regex) => {
                std::str::from_utf8(name).is_ok_and(|name| regex.is_match(name).unwrap_or(false))
            }
        }
    }
}

impl Pattern {
    /// Likewise, with the variables `{username}` and `{vhost}` of the pattern standing for these, letter by letter.
    pub fn is_match_for(&self, name: &[u8], username: &str, vhost: &str) -> bool {
        if !VARIABLES.iter().any(|variable| self.text.contains(variable)) {
            return self.is_match(name);
        }
        let expanded =
            VARIABLES.iter().zip([username, vhost]).fold(self.text.clone(), |text, (variable, value)| {
                text.replace(variable, &fancy_regex::escape(value))
            });
        Pattern::new(&expanded).is_ok_and(|pattern| pattern.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    //! As RabbitMQ's guide on access control has it.
    use super::Pattern;

    #[test]
    fn patterns_are_searched_for() {
        let is_match =
            |pattern: &str, name: &str| Pattern::new(pattern).expect("a pattern").is_match(name.as_bytes());
        assert!(is_match("task", "my-tasks"));
        assert!(!is_match("^task", "my-tasks"));
        assert!(is_match("^(?!secret).*", "open"));
        assert!(!is_match("^(?!secret).*", "secret-box"));
        assert!(is_match("^(amq\\.gen.*|amq\\.default)$", "amq.default"));
        assert!(!is_match("", "anything"));
        assert!(is_match(".*", ""));
        assert!(Pattern::new("(").is_err());
        let own = Pattern::new("^{username}\\.").expect("a pattern");
        assert!(own.is_match_for(b"a.b.c", "a.b", "/"));
        assert!(!own.is_match_for(b"axb.c", "a.b", "/"));
        // An expression that would try for ever gives up.
        assert!(!is_match("^(?=(a+)+$)(a+)+b\\1$", &"a".repeat(60)));
    }
}
