//! The keys of one file, each taken once, with their places.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use adit_db::Tfc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::SourceFile;
use super::report::{ConfigError, Mistake, line_of};
use crate::codes::Severity;

/// A value and where it stands.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Placed<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: f(self.value), span: self.span }
    }
}

/// A row of a table: its name, and its one text or several.
pub(super) type Row = (Placed<String>, Vec<Placed<String>>);

/// A name and its text.
pub(super) type Pair = (Placed<String>, Placed<String>);

/// Tables of texts by name, and lists of texts by name that stand among them.
pub(super) type Tables = (Vec<(Placed<String>, Vec<Pair>)>, Vec<Row>);

/// A string or an integer of a list.
pub(super) enum Item {
    Text(String),
    Number(u32),
}

/// The keys of a file that have not been taken yet, and the mistakes so far.
pub(super) struct Fields<'a> {
    pub(super) file: &'a SourceFile,
    table: BTreeMap<String, (Range<usize>, Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
    pub(super) key_lines: BTreeMap<String, usize>,
    pub(super) mistakes: Vec<Mistake<'a>>,
}

/// Mistakes of one file that are told; the first ones are the useful ones.
const MISTAKES_MAX: usize = 20;

impl<'a> Fields<'a> {
    /// Reads the file as TOML. With a mistake in the syntax there are no fields, only mistakes.
    pub(super) fn new(file: &'a SourceFile) -> Self {
        let (document, errors) = DeTable::parse_recoverable(&file.text);
        let mistakes: Vec<_> = errors.iter().map(syntax_mistake).collect();
        let table = if mistakes.is_empty() { document.into_inner() } else { DeTable::new() };
        let table: BTreeMap<_, _> = table
            .into_iter()
            .map(|(key, value): (Spanned<DeString<'a>>, _)| {
                let span = key.span();
                (key.into_inner().into_owned(), (span, value))
            })
            .collect();
        let line = |span: &Range<usize>| line_of(&file.text, span.start);
        let key_lines = table.iter().map(|(key, (span, _))| (key.clone(), line(span))).collect();
        Self { file, table, known: Vec::new(), missing: Vec::new(), key_lines, mistakes }
    }

    pub(super) fn mistake(&mut self, mistake: Mistake<'a>) {
        self.mistakes.push(mistake);
    }

    fn know(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    /// Looks at a value that is still there.
    fn peek(&self, key: &str) -> Option<&DeValue<'a>> {
        self.table.get(key).map(|(_, value)| value.get_ref())
    }

    /// Takes a value of any kind.
    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.know(key);
        self.table.remove(key).map(|(_, value)| value)
    }

    /// Takes a string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Placed<String>> {
        let value = self.take(key)?;
        self.text(value, "a string")
    }

    /// Takes a string whose text must not be repeated in a message.
    pub(super) fn hidden_string(&mut self, key: &'static str) -> Option<Placed<String>> {
        let value = self.take(key)?;
        let span = value.span();
        if let DeValue::String(text) = value.get_ref() {
            return Some(Placed { value: text.clone().into_owned(), span });
        }
        self.mistake(Mistake::hidden(span, format!("`{key}` must be a string")));
        None
    }

    /// Takes a string or a list of strings; `None` if the key is missing or malformed.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<Placed<String>>> {
        let value = self.take(key)?;
        self.list(key, value)
    }

    /// Takes a table of strings or lists of strings: its rows, by name.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Vec<Row>> {
        let value = self.take(key)?;
        let span = value.span();
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            self.wrong_kind(span, value.get_ref(), &format!("a table, [{key}]"));
            return None;
        }
        let DeValue::Table(table) = value.into_inner() else { return None };
        let mut rows = Vec::new();
        for (name, value) in table {
            let span = name.span();
            let name = Placed { value: name.into_inner().into_owned(), span };
            rows.extend(self.list(key, value).map(|texts| (name, texts)));
        }
        Some(rows)
    }

    /// Takes a table of tables of strings: their rows, by name. Names among `lists` have lists of strings
    /// instead.
    pub(super) fn tables(&mut self, key: &'static str, lists: &[&str]) -> Option<Tables> {
        let value = self.take(key)?;
        let (mut tables, mut listed) = (Vec::new(), Vec::new());
        for (name, value) in self.rows(value, &format!("a table, [{key}]"))? {
            if lists.contains(&name.value.as_str()) {
                let texts = self.list(&format!("{key}.{}", name.value), value);
                listed.extend(texts.map(|texts| (name, texts)));
                continue;
            }
            let wanted = format!("a table, [{key}.{}]", name.value);
            let mut pairs = Vec::new();
            for (name, value) in self.rows(value, &wanted).unwrap_or_default() {
                pairs.extend(self.text(value, "a string").map(|text| (name, text)));
            }
            tables.push((name, pairs));
        }
        Some((tables, listed))
    }

    fn rows(
        &mut self,
        value: Spanned<DeValue<'a>>,
        wanted: &str,
    ) -> Option<Vec<(Placed<String>, Spanned<DeValue<'a>>)>> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            self.wrong_kind(value.span(), value.get_ref(), wanted);
            return None;
        }
        let DeValue::Table(table) = value.into_inner() else { return None };
        let place = |(name, value): (Spanned<DeString<'a>>, _)| {
            let span = name.span();
            (Placed { value: name.into_inner().into_owned(), span }, value)
        };
        Some(table.into_iter().map(place).collect())
    }

    fn list(&mut self, key: &str, value: Spanned<DeValue<'a>>) -> Option<Vec<Placed<String>>> {
        let span = value.span();
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Some(vec![self.text(value, "a string or a list of strings")?]);
        }
        let DeValue::Array(items) = value.into_inner() else {
            return None;
        };
        if items.is_empty() {
            self.mistake(Mistake::new(span, format!("`{key}` must not be empty")));
            return None;
        }
        Some(items.into_iter().filter_map(|item| self.text(item, "a string")).collect())
    }

    /// Takes a list of lists of strings and integers, none of them empty.
    pub(super) fn lists(&mut self, key: &'static str) -> Option<Vec<Placed<Vec<Placed<Item>>>>> {
        let value = self.take(key)?;
        let lists = self.items(key, value, "a list of lists")?;
        let mut all = Vec::new();
        for list in lists {
            let span = list.span();
            let items = self.items(key, list, "a list")?;
            let items = items.into_iter().filter_map(|item| self.item(item)).collect();
            all.push(Placed { value: items, span });
        }
        Some(all)
    }

    /// Takes an integer or a list of integers, not empty; texts among them come out as texts.
    pub(super) fn integers(&mut self, key: &'static str) -> Option<Vec<Placed<Item>>> {
        let value = self.take(key)?;
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Some(vec![self.item(value)?]);
        }
        let items = self.items(key, value, "a list of integers")?;
        Some(items.into_iter().filter_map(|item| self.item(item)).collect())
    }

    /// Whether the value of a key is an integer, or a list that begins with one.
    pub(super) fn begins_with_integer(&self, key: &str) -> bool {
        match self.peek(key) {
            Some(DeValue::Integer(_)) => true,
            Some(DeValue::Array(items)) => items
                .iter()
                .next()
                .is_some_and(|item| matches!(item.get_ref(), DeValue::Integer(_))),
            _ => false,
        }
    }

    /// Whether the value of a key is this string.
    pub(super) fn is_text(&self, key: &str, text: &str) -> bool {
        matches!(self.peek(key), Some(DeValue::String(value)) if value.as_ref() == text)
    }

    /// Whether the value of a key is `true` or `false`.
    pub(super) fn is_flag(&self, key: &str) -> bool {
        matches!(self.peek(key), Some(DeValue::Boolean(_)))
    }

    fn items(
        &mut self,
        key: &str,
        value: Spanned<DeValue<'a>>,
        wanted: &str,
    ) -> Option<Vec<Spanned<DeValue<'a>>>> {
        let span = value.span();
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            self.wrong_kind(span, value.get_ref(), wanted);
            return None;
        }
        let DeValue::Array(items) = value.into_inner() else { return None };
        if items.is_empty() {
            self.mistake(Mistake::new(span, format!("`{key}` must not be empty")));
            return None;
        }
        Some(items.into_iter().collect())
    }

    fn item(&mut self, value: Spanned<DeValue<'a>>) -> Option<Placed<Item>> {
        let span = value.span();
        if let DeValue::Integer(number) = value.get_ref() {
            let digits = number.as_str().replace('_', "");
            // What has no place here is out of range in any case.
            let number = u32::from_str_radix(&digits, number.radix()).unwrap_or(u32::MAX);
            return Some(Placed { value: Item::Number(number), span });
        }
        self.text(value, "a string or an integer").map(|text| text.map(Item::Text))
    }

    fn text(&mut self, value: Spanned<DeValue<'a>>, wanted: &str) -> Option<Placed<String>> {
        let span = value.span();
        if let DeValue::String(text) = value.get_ref() {
            return Some(Placed { value: text.clone().into_owned(), span });
        }
        self.wrong_kind(span, value.get_ref(), wanted);
        None
    }

    /// Takes a string that reads as a `T`; `say` words the mistake if it does not.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        say: impl FnOnce(T::Err, &str) -> String,
    ) -> Option<Placed<T>> {
        let text = self.string(key)?;
        match text.value.parse() {
            Ok(value) => Some(Placed { value, span: text.span }),
            Err(error) => {
                let label = say(error, &text.value);
                let sentence = format!("`{key}` cannot be understood");
                self.mistake(Mistake::new(text.span, sentence).label(label));
                None
            }
        }
    }

    /// Takes one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Placed<T>> {
        let text = self.string(key)?;
        self.word_of(key, &text, words)
    }

    /// One of some words, where it has been taken already.
    pub(super) fn word_of<T: Copy>(
        &mut self,
        key: &'static str,
        text: &Placed<String>,
        words: &[(&'static str, T)],
    ) -> Option<Placed<T>> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Placed { value: *value, span: text.span.clone() });
        }
        let nearest = adit_db::nearest(&text.value, words.iter().map(|(word, _)| *word));
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let mistake = Mistake::new(text.span.clone(), format!("unknown value for `{key}`"))
            .label(format!("must be {}", listed(&all, "or")))
            .help_some(nearest.map(|word| format!("did you mean \"{word}\"?")));
        self.mistake(mistake);
        None
    }

    /// Takes an integer in a range; `unit` names it in the message.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
        unit: &str,
    ) -> Option<Placed<u32>> {
        let value = self.take(key)?;
        let span = value.span();
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_kind(span, value.get_ref(), "an integer");
            return None;
        };
        let digits = number.as_str().replace('_', "");
        match u32::from_str_radix(&digits, number.radix()) {
            Ok(value) if range.contains(&value) => Some(Placed { value, span }),
            _ => {
                let label = format!("must be {} to {} {unit}", range.start(), range.end());
                let sentence = format!("`{key}` is out of range");
                self.mistake(Mistake::new(span, sentence).label(label));
                None
            }
        }
    }

    /// Whether the value of a key is an integer.
    pub(super) fn is_integer(&self, key: &str) -> bool {
        matches!(self.peek(key), Some(DeValue::Integer(_)))
    }

    /// Takes `true` or `false`; a string goes to [`Self::word`].
    pub(super) fn flag(
        &mut self,
        key: &'static str,
        words: &[(&'static str, bool)],
    ) -> Option<Placed<bool>> {
        if matches!(self.peek(key), Some(DeValue::String(_))) {
            return self.word(key, words);
        }
        let value = self.take(key)?;
        let span = value.span();
        if let DeValue::Boolean(value) = *value.get_ref() {
            return Some(Placed { value, span });
        }
        self.wrong_kind(span, value.get_ref(), "true or false");
        None
    }

    /// Takes a number of octets, or `"mtu"` for as many as fit.
    pub(super) fn padding(&mut self, key: &'static str) -> Option<Placed<u16>> {
        const MTU: &[(&str, u16)] = &[("mtu", Tfc::TO_MTU)];
        if matches!(self.peek(key), Some(DeValue::String(_))) {
            return self.word(key, MTU);
        }
        let octets = self.integer(key, 0..=u32::from(Tfc::TO_MTU) - 1, "octets")?;
        Some(octets.map(|octets| u16::try_from(octets).unwrap_or(Tfc::TO_MTU)))
    }

    /// Says that a key is missing, and what could be written.
    pub(super) fn missing(&mut self, key: &'static str, example: impl Into<String>) {
        self.know(key);
        self.missing.push((key, example.into()));
    }

    /// Says that a key may be missing, so that a misspelt one finds it.
    pub(super) fn optional(&mut self, key: &'static str) {
        self.know(key);
    }

    /// Whether a key is there and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(|(span, _)| span.clone())
    }

    /// What was read, unless there is an error, and all that is to be said about the file.
    pub(super) fn conclude<T>(self, draft: Option<T>) -> (Option<T>, Vec<ConfigError>) {
        let file = self.file;
        let mistakes = self.finish();
        let problems: Vec<_> = mistakes.iter().map(|mistake| mistake.render(file)).collect();
        let broken = problems.iter().any(|problem| problem.severity == Severity::Error);
        (draft.filter(|_| !broken), problems)
    }

    /// Every key that was not taken is one nobody knows. Returns the mistakes in order.
    pub(super) fn finish(mut self) -> Vec<Mistake<'a>> {
        let unknown: Vec<_> = std::mem::take(&mut self.table).into_iter().collect();
        for (key, (span, value)) in unknown {
            let nearest =
                synonym(&key).or_else(|| adit_db::nearest(&key, self.known.iter().copied()));
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            // What looks like a secret is not repeated.
            let looks_secret = |word: &str| {
                ["secret", "key", "psk", "pass"].iter().any(|part| word.contains(part))
            };
            let is_secret = looks_secret(&key) || nearest.is_some_and(looks_secret);
            let sentence = format!("unknown key `{key}`");
            let new = if is_secret { Mistake::hidden } else { Mistake::new };
            let mistake = new(span, sentence)
                .label(if is_table { "not a table of this file" } else { "not a key" })
                .help_some(nearest.map(|word| format!("did you mean `{word}`?")))
                .help_some(
                    nearest.is_none().then(|| format!("known keys: {}", self.known.join(", "))),
                );
            self.mistake(mistake);
        }
        if let Some((first, _)) = self.missing.first() {
            let names: Vec<_> = self.missing.iter().map(|(key, _)| format!("`{key}`")).collect();
            let sentence = match names.as_slice() {
                [_] => format!("`{first}` is missing"),
                many => format!("{} are missing", listed(many, "and")),
            };
            let mut mistake = Mistake::whole_file(sentence);
            for (key, example) in &self.missing {
                mistake = mistake.help(format!("add {key} = {example}"));
            }
            self.mistakes.push(mistake);
        }
        self.mistakes.sort_by_key(Mistake::start);
        self.mistakes.truncate(MISTAKES_MAX);
        self.mistakes
    }

    fn wrong_kind(&mut self, span: Range<usize>, value: &DeValue<'_>, wanted: &str) {
        let found = match value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let label = format!("must be {wanted}, not {found}");
        self.mistake(Mistake::new(span, "wrong kind of value").label(label));
    }
}

fn syntax_mistake<'a>(error: &toml::de::Error) -> Mistake<'a> {
    let sentence = error.message().lines().next().unwrap_or("not TOML").to_owned();
    Mistake::new(error.span().unwrap_or(0..0), format!("not valid TOML: {sentence}"))
}

/// `a, b or c`.
fn listed(words: &[String], last_joint: &str) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {last_joint} {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Our key for the word another product has for it.
fn synonym(key: &str) -> Option<&'static str> {
    const WORDS: &[(&str, &[&str])] = &[
        ("peer", &["remote_addrs", "right", "gateway", "endpoint", "host", "remote_host"]),
        ("address", &["local_addrs", "left", "local_host", "bind"]),
        ("local", &["local_ts", "leftsubnet", "local_subnet", "local_networks"]),
        ("remote", &["remote_ts", "rightsubnet", "remote_subnet", "allowed_ips"]),
        ("secret", &["psk", "auth", "password", "pre_shared_key"]),
        ("cert", &["certs", "certificate", "leftcert"]),
        ("key", &["private_key", "key_file"]),
        ("ca", &["cacert", "cacerts", "trust", "authority", "leftca"]),
        ("peer_cert", &["rightcert", "remote_cert"]),
        ("peer_key", &["pubkey", "pubkeys", "rightsigkey"]),
        ("id", &["local_id", "leftid", "my_id"]),
        ("peer_id", &["remote_id", "rightid"]),
        ("ike", &["proposals", "ike_proposals", "phase1"]),
        ("esp", &["esp_proposals", "phase2"]),
        ("ah", &["ah_proposals"]),
        ("keep", &["start_action", "auto", "start"]),
        ("rekey", &["rekey_time", "keylife", "lifetime"]),
        ("life", &["life_time"]),
        ("ike_rekey", &["ikelifetime", "ike_rekey_time"]),
        ("reauth", &["reauth_time", "reauthenticate"]),
        ("dpd", &["dpd_delay", "dpddelay"]),
        ("dscp", &["copy_dscp", "tos"]),
        ("ecn", &["copy_ecn"]),
        ("df", &["copy_df", "dont_fragment"]),
        ("path_mtu", &["mtu", "nopmtudisc", "pmtu", "pmtud"]),
        ("path_probe", &["echo_probe", "probe", "path_mtu_probe", "dplpmtud"]),
        ("mss_clamp", &["mss", "mssfix", "tcp_mss", "clamp_mss"]),
        ("compress", &["ipcomp", "compression"]),
        ("turbo", &["aggfrag", "iptfs", "aggregation"]),
        ("idle", &["inactivity", "idle_time", "idle_timeout"]),
        ("suite", &["profile"]),
        ("follow_redirects", &["accept_redirect", "accept_redirects"]),
        ("redirect", &["redirect_to", "gateway"]),
    ];
    let key = key.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().find(|(_, others)| others.contains(&key.as_str())).map(|(ours, _)| *ours)
}

/// The part of a value that holds `word`, or all of it: the caret stands under the culprit.
pub(super) fn narrow(file: &SourceFile, span: &Range<usize>, word: &str) -> Range<usize> {
    let found = file.text.get(span.clone()).and_then(|text| text.find(word));
    match found {
        Some(at) if !word.is_empty() => span.start + at..span.start + at + word.len(),
        _ => span.clone(),
    }
}
