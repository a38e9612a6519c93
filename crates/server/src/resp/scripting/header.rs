//! The first line of a script: `#!lua flags=no-writes,allow-oom`, or of a library: `#!lua name=mylib`. (Redis: EVAL, FUNCTION LOAD)

use leveret_engine::keyspace::{Error, flag};

/// What a script or a function says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const NO_WRITES: Self = Self(1);
    pub(crate) const ALLOW_OOM: Self = Self(2);
    pub(crate) const ALLOW_STALE: Self = Self(4);
    pub(crate) const NO_CLUSTER: Self = Self(8);
    pub(crate) const ALLOW_CROSS_SLOT_KEYS: Self = Self(16);

    const NAMES: [(Self, &str); 5] = [
        (Self::NO_WRITES, "no-writes"),
        (Self::ALLOW_OOM, "allow-oom"),
        (Self::ALLOW_STALE, "allow-stale"),
        (Self::NO_CLUSTER, "no-cluster"),
        (Self::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
    ];

    /// The flag of a name.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| *flag)
    }

    /// The names of all that are set.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }

    /// With another one.
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when it is set.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags of the command that runs it: what it has said takes the place of what is assumed of others.
    pub(crate) fn of_command(self, flags: u32) -> u32 {
        let kept = flags & !(flag::STALE | flag::DENYOOM | flag::WRITE | flag::MAY_REPLICATE);
        let writes = if self.has(Self::NO_WRITES) { 0 } else { flag::WRITE };
        let needs_memory = if self.has(Self::NO_WRITES.with(Self::ALLOW_OOM)) { 0 } else { flag::DENYOOM };
        let stale = if self.has(Self::ALLOW_STALE) { flag::STALE } else { 0 };
        kept | writes | needs_memory | stale
    }
}

/// The first line and the rest, which keeps its line numbers.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = text.strip_prefix(b"#!")?;
    let end = line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len());
    let (line, rest) = line.split_at(end);
    Some((line, rest))
}

/// The engine, which stands at the very beginning, and the words behind it without their quotes.
fn words(line: &[u8]) -> (&[u8], Vec<Vec<u8>>) {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (engine, rest) = line.split_at(end);
    let (mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None);
    for &byte in rest {
        match quote {
            Some(open) if byte == open => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if byte.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            Some(_) | None => word.push(byte),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    (engine, words)
}

fn wrong(text: &str, word: &[u8]) -> Error {
    Error::Other(format!("ERR {text}{}", String::from_utf8_lossy(word)).into())
}

/// What a script says about itself, if anything, and its code.
pub(crate) fn of_script(text: &[u8]) -> Result<(Option<Flags>, &[u8]), Error> {
    if !text.starts_with(b"#!") {
        return Ok((None, text));
    }
    let (line, code) =
        split(text).filter(|(_, code)| !code.is_empty()).ok_or(Error::new("ERR Invalid script shebang"))?;
    let (engine, words) = words(line);
    if engine != b"lua" {
        return Err(wrong("Unexpected engine in script shebang: #!", engine));
    }
    let mut flags = Flags::default();
    for word in &words {
        let names =
            word.strip_prefix(b"flags=").ok_or_else(|| wrong("Unknown lua shebang option: ", word))?;
        for name in names.split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
            let flag =
                Flags::named(name).ok_or_else(|| wrong("Unexpected flag in script shebang: ", name))?;
            flags = flags.with(flag);
        }
    }
    Ok((Some(flags), code))
}

/// The name of a library, and its code.
pub(crate) fn of_library(text: &[u8]) -> Result<(String, &[u8]), Error> {
    let (line, code) = match split(text) {
        None => return Err(Error::new("ERR Missing library metadata")),
        Some((_, [])) => return Err(Error::new("ERR Invalid library metadata")),
        Some(parts) => parts,
    };
    let (engine, words) = words(line);
    let mut name: Option<&[u8]> = None;
    for word in &words {
        let given = word
            .get(..5)
            .filter(|start| start.eq_ignore_ascii_case(b"name="))
            .and_then(|_| word.get(5..))
            .ok_or_else(|| wrong("Invalid metadata value given: ", word))?;
        if name.replace(given).is_some() {
            return Err(Error::new("ERR Invalid metadata value, name argument was given multiple times"));
        }
    }
    let name = name.ok_or(Error::new("ERR Library name was not given"))?;
    if !is_name(name) {
        return Err(Error::new(
            "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        let engine = String::from_utf8_lossy(engine);
        return Err(Error::Other(format!("ERR Engine '{engine}' not found").into()));
    }
    Ok((String::from_utf8_lossy(name).into_owned(), code))
}

/// A name that a library or a function may have.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    //! Lines that are right and wrong.
    use super::{Flags, of_library, of_script};

    #[test]
    fn scripts_say_what_they_do() {
        assert_eq!(of_script(b"return 1"), Ok((None, &b"return 1"[..])));
        let both = Flags::NO_WRITES.with(Flags::ALLOW_OOM);
        assert_eq!(
            of_script(b"#!lua flags=no-writes,allow-oom\nreturn 1"),
            Ok((Some(both), &b"\nreturn 1"[..]))
        );
        assert_eq!(of_script(b"#!lua\nx"), Ok((Some(Flags::default()), &b"\nx"[..])));
        for (text, why) in [
            (&b"#!lua"[..], "ERR Invalid script shebang"),
            (b"#!js\n", "ERR Unexpected engine in script shebang: #!js"),
            (b"#!lua x=1\n", "ERR Unknown lua shebang option: x=1"),
            (b"#!lua flags=x\n", "ERR Unexpected flag in script shebang: x"),
        ] {
            assert_eq!(of_script(text).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn libraries_have_a_name() {
        assert_eq!(of_library(b"#!LUA name=a_1\nx"), Ok(("a_1".to_owned(), &b"\nx"[..])));
        assert_eq!(of_library(b"#!lua name=\"a\"\nx"), Ok(("a".to_owned(), &b"\nx"[..])));
        for (text, why) in [
            (&b"x"[..], "ERR Missing library metadata"),
            (b"#!lua name=x", "ERR Invalid library metadata"),
            (b"#!lua\n", "ERR Library name was not given"),
            (b"#!lua nam=x\n", "ERR Invalid metadata value given: nam=x"),
            (b"#!js name=x\n", "ERR Engine 'js' not found"),
            (b"#! name=x\n", "ERR Engine '' not found"),
        ] {
            assert_eq!(of_library(text).unwrap_err().to_string(), why);
        }
    }
}
