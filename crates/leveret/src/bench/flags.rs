//! Flags of one load: a table with defaults, and what the command line said.

use anyhow::{Context, Result, anyhow, bail};
use std::str::FromStr;

/// A flag. Without a value's name it is a switch.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

/// A row of the table.
pub(crate) const fn flag(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, value, default, help }
}

/// What was given, beside the table that says what there is.
pub(crate) struct Flags {
    table: &'static [Flag],
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads `--name value`, `--name=value` and `--switch`; anything that is not in the table is refused.
    pub(crate) fn parse(table: &'static [Flag], args: &[String]) -> Result<Flags> {
        let mut given = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let flag = arg.strip_prefix("--").with_context(|| format!("'{arg}' is not a flag"))?;
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let known = table
                .iter()
                .find(|known| known.name == name)
                .ok_or_else(|| anyhow!("there is no flag '--{name}'; 'leveret bench --help' lists all"))?;
            let value = match (known.value.is_empty(), inline) {
                (true, None) => String::new(),
                (true, Some(value)) => bail!("--{name} takes no value, and was given '{value}'"),
                (false, Some(value)) => value,
                (false, None) => args.next().with_context(|| format!("--{name} needs a value"))?.clone(),
            };
            given.push((known.name, value));
        }
        Ok(Flags { table, given })
    }

    /// True when the command line has it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// Its value, the last one given, or the default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let given =
            self.given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str());
        given.unwrap_or_else(|| {
            let known = self.table.iter().find(|known| known.name == name);
            known.expect("the load asks for flags of its own table").default
        })
    }

    /// Its value as a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name);
        text.parse().map_err(|_| anyhow!("--{name}: '{text}' is not a number that fits"))
    }

    /// Its value as a number of which one is needed.
    pub(crate) fn positive<T: FromStr + Default + PartialEq>(&self, name: &str) -> Result<T> {
        let number = self.number(name)?;
        if number == T::default() {
            bail!("--{name} must be at least 1");
        }
        Ok(number)
    }
}

/// The table as text.
pub(crate) fn help(table: &[Flag]) -> String {
    let mut text = String::new();
    for flag in table {
        let left = format!("--{} {}", flag.name, flag.value);
        let default = if flag.default.is_empty() { String::new() } else { format!(" [{}]", flag.default) };
        text.push_str(&format!("  {left:<34} {}{default}\n", flag.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[flag("port", "N", "6379", "where"), flag("json", "", "", "one line of JSON")];

    fn parse(line: &str) -> Result<Flags> {
        Flags::parse(TABLE, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn refusal(line: &str) -> String {
        parse(line).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn values_and_defaults() {
        assert_eq!(parse("").unwrap().number::<u16>("port").unwrap(), 6379);
        assert_eq!(parse("--port 1 --port=2").unwrap().number::<u16>("port").unwrap(), 2);
        assert!(parse("--json").unwrap().has("json"));
        assert!(parse("--port 70000").unwrap().number::<u16>("port").is_err());
        assert!(parse("--port 0").unwrap().positive::<u16>("port").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(refusal("--prot 1").contains("'--prot'"));
        assert!(refusal("port 1").contains("'port'"));
        assert!(refusal("--port").contains("needs a value"));
        assert!(refusal("--json=yes").contains("takes no value"));
    }
}
