//! JSON as a value. (lua-cjson: `cjson.decode`)

use super::Settings;
use mlua::{Lua, Value};
use std::sync::atomic::Ordering::Relaxed;

/// What the text consists of; the names are those that refusals use.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Punctuation(u8),
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Wrong(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::Punctuation(b'{') => "T_OBJ_BEGIN",
            Token::Punctuation(b'}') => "T_OBJ_END",
            Token::Punctuation(b'[') => "T_ARR_BEGIN",
            Token::Punctuation(b']') => "T_ARR_END",
            Token::Punctuation(b':') => "T_COLON",
            Token::Punctuation(_) => "T_COMMA",
            Token::Text(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::End => "T_END",
            Token::Wrong(what) => what,
        }
    }
}

struct Parser<'a> {
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    /// Where the last token began.
    token_at: usize,
}

type Parsed = mlua::Result<Result<Value, String>>;

pub(super) fn decode(lua: &Lua, settings: &Settings, text: &[u8]) -> Parsed {
    if matches!(text, [0, _, ..] | [_, 0, ..]) {
        return Ok(Err("JSON parser does not support UTF-16 or UTF-32".into()));
    }
    let mut parser = Parser { settings, text, at: 0, token_at: 0 };
    let first = parser.next();
    let value = match parser.value(lua, first, 0)? {
        Ok(value) => value,
        Err(why) => return Ok(Err(why)),
    };
    let last = parser.next();
    Ok(if last == Token::End { Ok(value) } else { Err(parser.expected("the end", &last)) })
}

impl Parser<'_> {
    fn expected(&self, what: &str, found: &Token) -> String {
        format!("Expected {what} but found {} at character {}", found.name(), self.token_at + 1)
    }

    fn value(&mut self, lua: &Lua, token: Token, depth: usize) -> Parsed {
        Ok(Ok(match token {
            Token::Text(text) => Value::String(lua.create_string(text)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Null => Value::NULL,
            Token::Punctuation(b'{') => return self.object(lua, depth + 1),
            Token::Punctuation(b'[') => return self.array(lua, depth + 1),
            other => return Ok(Err(self.expected("value", &other))),
        }))
    }

    fn check_depth(&self, depth: usize) -> Result<(), String> {
        let max = self.settings.decode_depth_max.load(Relaxed).min(DEPTH_MAX);
        if depth <= max {
            return Ok(());
        }
        Err(format!("Found too many nested data structures ({depth}) at character {}", self.token_at + 1))
    }

    fn object(&mut self, lua: &Lua, depth: usize) -> Parsed {
        if let Err(why) = self.check_depth(depth) {
            return Ok(Err(why));
        }
        let table = lua.create_table()?;
        let mut token = self.next();
        if token == Token::Punctuation(b'}') {
            return Ok(Ok(Value::Table(table)));
        }
        loop {
            let Token::Text(key) = token else {
                return Ok(Err(self.expected("object key string", &token)));
            };
            token = self.next();
            if token != Token::Punctuation(b':') {
                return Ok(Err(self.expected("colon", &token)));
            }
            let first = self.next();
            match self.value(lua, first, depth)? {
                Ok(value) => table.raw_set(lua.create_string(key)?, value)?,
                Err(why) => return Ok(Err(why)),
            }
            match self.next() {
                Token::Punctuation(b'}') => return Ok(Ok(Value::Table(table))),
                Token::Punctuation(b',') => token = self.next(),
                other => return Ok(Err(self.expected("comma or object end", &other))),
            }
        }
    }

    fn array(&mut self, lua: &Lua, depth: usize) -> Parsed {
        if let Err(why) = self.check_depth(depth) {
            return Ok(Err(why));
        }
        let table = lua.create_table()?;
        let mut token = self.next();
        if token == Token::Punctuation(b']') {
            return Ok(Ok(Value::Table(table)));
        }
        for i in 1.. {
            match self.value(lua, token, depth)? {
                Ok(value) => table.raw_set(i, value)?,
                Err(why) => return Ok(Err(why)),
            }
            match self.next() {
                Token::Punctuation(b']') => break,
                Token::Punctuation(b',') => token = self.next(),
                other => return Ok(Err(self.expected("comma or array end", &other))),
            }
        }
        Ok(Ok(Value::Table(table)))
    }

    fn next(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.token_at = self.at;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start == word);
        let (token, len) = match rest.first() {
            None => (Token::End, 0),
            Some(&byte @ (b'{' | b'}' | b'[' | b']' | b':' | b',')) => (Token::Punctuation(byte), 1),
            Some(b'"') => return self.string(),
            Some(_) if word(b"true") => (Token::Boolean(true), 4),
            Some(_) if word(b"false") => (Token::Boolean(false), 5),
            Some(_) if word(b"null") => (Token::Null, 4),
            Some(_) => match number(rest, self.settings.decodes_invalid.load(Relaxed)) {
                Ok((number, len)) => (Token::Number(number), len),
                Err(what) => (Token::Wrong(what), 0),
            },
        };
        self.at += len;
        token
    }

    fn string(&mut self) -> Token {
        let mut text = Vec::new();
        self.at += 1;
        let wrong = |parser: &mut Self, what| {
            parser.token_at = parser.at;
            Token::Wrong(what)
        };
        loop {
            let Some(&byte) = self.text.get(self.at) else { return wrong(self, "unexpected end of string") };
            match byte {
                b'"' => {
                    self.at += 1;
                    return Token::Text(text);
                }
                0 => return wrong(self, "unexpected end of string"),
                b'\\' => {
                    let escaped = self.text.get(self.at + 1).copied();
                    let plain = match escaped {
                        Some(byte @ (b'"' | b'\\' | b'/')) => byte,
                        Some(b'b') => 8,
                        Some(b'f') => 12,
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(b'u') => match self.unicode() {
                            Some(code) => {
                                text.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                                continue;
                            }
                            None => return wrong(self, "invalid unicode escape code"),
                        },
                        Some(_) | None => return wrong(self, "invalid escape code"),
                    };
                    text.push(plain);
                    self.at += 2;
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// `\u` and four digits, or a pair of them for what is beyond 16 bits.
    fn unicode(&mut self) -> Option<char> {
        let unit = |text: &[u8], at: usize| -> Option<u32> {
            let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
        };
        let first = unit(self.text, self.at)?;
        let (code, len) = match first {
            0xd800..=0xdbff => {
                let second = unit(self.text, self.at + 6).filter(|unit| (0xdc00..=0xdfff).contains(unit))?;
                (0x10000 + ((first & 0x3ff) << 10 | second & 0x3ff), 12)
            }
            _ => (first, 6),
        };
        let code = char::from_u32(code)?;
        self.at += len;
        Some(code)
    }
}

/// Deeper text would exhaust the stack, whatever the setting says.
const DEPTH_MAX: usize = 1000;

/// A number at the beginning of the text and how long it is. With `lenient` also hexadecimal ones, infinities and what is no number
/// at all, as `strtod` reads them; else what JSON allows.
fn number(text: &[u8], lenient: bool) -> Result<(f64, usize), &'static str> {
    const INVALID: &str = "invalid token";
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let signed = text.len() - unsigned.len();
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let starts =
        |word: &[u8]| unsigned.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let is_odd = starts(b"0x") || starts(b"inf") || starts(b"nan");
    if is_odd && !lenient {
        return Err(if unsigned.first() == Some(&b'0') { "invalid number" } else { INVALID });
    }
    if starts(b"0x") {
        let digits = unsigned.iter().skip(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let value =
            unsigned.iter().skip(2).take(digits).fold(0.0, |value, &digit| {
                value * 16.0 + f64::from(char::from(digit).to_digit(16).unwrap_or(0))
            });
        return if digits == 0 {
            Ok((sign * 0.0, signed + 1))
        } else {
            Ok((sign * value, signed + 2 + digits))
        };
    }
    for (word, value) in [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)] {
        if starts(word) {
            return Ok((sign * value, signed + word.len()));
        }
    }
    let digits = |from: usize| unsigned.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    if whole == 0 {
        return Err(INVALID);
    }
    if !lenient && whole > 1 && unsigned.first() == Some(&b'0') {
        return Err("invalid number");
    }
    let mut end = whole;
    if unsigned.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(unsigned.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(unsigned.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let spelt = unsigned.get(..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or(INVALID)?;
    let value: f64 = spelt.parse().map_err(|_| INVALID)?;
    Ok((sign * value, signed + end))
}
