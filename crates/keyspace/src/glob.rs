//! Glob patterns as `KEYS`, `SCAN` and `PSUBSCRIBE` read them: `*`, `?`, `[a-c]`, `[^x]` and `\` for the next byte
//! itself. (Redis: KEYS)

/// True when the whole of `text` matches `pattern`. Takes O(pattern × text) at worst, whatever the pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if let Some(b'*') = pattern.get(p) {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(&byte) => {
                if let Some(len) = match_one(&pattern[p..], byte) {
                    p += len;
                    t += 1;
                    continue;
                }
            }
        }
        let Some((behind_star, from)) = retry else { return false };
        (p, t) = (behind_star, from + 1);
        retry = Some((behind_star, from + 1));
    }
}

/// How many pattern bytes matched this one byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => {
            let (matched, len) = match_class(class, byte);
            matched.then_some(1 + len)
        }
        [b'\\', next, ..] => (next == byte).then_some(2),
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// Whether the class matches, and its length up to and including the `]` (which may be missing).
fn match_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut i = usize::from(negated);
    let mut matched = false;
    loop {
        match *class.get(i..).unwrap_or_default() {
            [] => break,
            [b']', ..] => {
                i += 1;
                break;
            }
            [b'\\', literal, ..] => {
                matched |= literal == byte;
                i += 2;
            }
            [from, b'-', to, ..] => {
                matched |= (from.min(to)..=from.max(to)).contains(&byte);
                i += 3;
            }
            [literal, ..] => {
                matched |= literal == byte;
                i += 1;
            }
        }
    }
    (matched != negated, i)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn as_redis_matches() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("a*", "b", false),
            ("[", "[", false),
            ("a**b", "ab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(!matches(&b"a*".repeat(50), &[b'a'; 40]));
    }
}
