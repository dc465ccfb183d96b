//! Reads typed values out of a parsed file, notes what is wrong, and goes on.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::{listed, nearest};
use super::problem::{Problem, WrongFile};
use super::schema::{self, Support};
use super::values::{shortened, shown};

/// More problems than this are counted and not listed: nobody reads them.
const PROBLEMS_MAX: usize = 100;

/// Everything wrong so far, and where lines begin.
pub(super) struct Problems {
    line_starts: Vec<usize>,
    found: RefCell<Vec<(usize, Problem)>>,
    unserved: RefCell<Vec<(usize, String)>>,
}

impl Problems {
    pub(super) fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            line_starts: std::iter::once(0).chain(breaks).collect(),
            found: RefCell::default(),
            unserved: RefCell::default(),
        }
    }

    /// Notes a problem at the byte `at` of the text.
    pub(super) fn note(&self, at: usize, field: &str, found: String, expected: String) {
        let problem = Problem { line: 0, column: 0, field: field.to_owned(), found, expected };
        self.found.borrow_mut().push((at, problem));
    }

    /// Warnings of the fields that nothing acts on yet, in the order of the text.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut unserved = self.unserved.take();
        unserved.sort();
        let warning = |(_, field): (usize, String)| {
            format!("{field}: this version checks it, and nothing acts on it yet")
        };
        unserved.into_iter().map(warning).collect()
    }

    /// The line, from 1, of the byte `at`.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// All problems in the order of the text, or `Ok` if there are none.
    pub(super) fn into_result(self, file: &str, text: &str) -> Result<(), WrongFile> {
        let mut found = self.found.take();
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|(at, _)| *at);
        let left_out = found.len().saturating_sub(PROBLEMS_MAX);
        found.truncate(PROBLEMS_MAX);
        let problems = found.into_iter().map(|(at, problem)| self.placed(text, at, problem)).collect();
        Err(WrongFile { file: file.to_owned(), problems, left_out })
    }

    fn placed(&self, text: &str, at: usize, problem: Problem) -> Problem {
        let line = self.line(at);
        let start = self.line_starts[line - 1];
        let column = text.get(start..at).map_or(at - start, |before| before.chars().count()) + 1;
        Problem { line, column, ..problem }
    }
}

/// One table of the file, for example `[port.vm1]`.
pub(super) struct TableReader<'f> {
    /// Its path in the file, for example `port.vm1`.
    pub(super) path: String,
    /// Byte where its name stands.
    pub(super) at: usize,
    table: &'f DeTable<'f>,
    problems: &'f Problems,
}

impl<'f> TableReader<'f> {
    /// The file's top level.
    pub(super) fn top(table: &'f DeTable<'f>, problems: &'f Problems) -> Self {
        Self { path: String::new(), at: 0, table, problems }
    }

    /// The field's full name, for example `port.vm1.mtu`.
    pub(super) fn field_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where the field's value stands, or the table's name if the field is left out.
    pub(super) fn at(&self, field: &str) -> usize {
        self.table.get(field).map_or(self.at, |value| value.span().start)
    }

    /// Whether the field is written in the file.
    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// The line, from 1, where the field or else the table stands.
    pub(super) fn line(&self, field: &str) -> usize {
        self.problems.line(self.at(field))
    }

    /// Notes a problem with the field.
    pub(super) fn note(&self, field: &str, found: String, expected: String) {
        self.problems.note(self.at(field), &self.field_path(field), found, expected);
    }

    /// How many problems were noted so far, anywhere.
    pub(super) fn noted(&self) -> usize {
        self.problems.found.borrow().len()
    }

    /// Notes a problem with the table's own name.
    pub(super) fn note_self(&self, found: String, expected: String) {
        self.problems.note(self.at, &self.path, found, expected);
    }

    /// Notes each field that does not exist, or that this version cannot do.
    pub(super) fn check_fields(&self, known: &schema::Table) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            match known.field(name) {
                Some(field) if field.support == Support::Now => {}
                Some(field) if field.support == Support::Unserved => {
                    self.problems.unserved.borrow_mut().push((key.span().start, self.field_path(name)));
                }
                Some(_) => self.note_key(key, name, later(name)),
                None => self.note_key(key, name, unknown(name, known)),
            }
        }
    }

    fn note_key(&self, key: &Spanned<toml::de::DeString<'_>>, name: &str, expected: String) {
        let name = shortened(name);
        self.problems.note(
            key.span().start,
            &self.field_path(&name),
            format!("the field `{name}`"),
            expected,
        );
    }

    /// Whether the field's value is `false`; nothing is noted.
    pub(super) fn is_false(&self, field: &str) -> bool {
        self.table.get(field).is_some_and(|value| super::values::boolean(value.get_ref()) == Some(false))
    }

    /// The field's value, if it is a text; nothing is noted.
    pub(super) fn text(&self, field: &str) -> Option<&'f str> {
        super::values::text(self.table.get(field)?.get_ref())
    }

    /// The field's value as `parse` understands it; `None` if it is left out, or wrong and now noted.
    pub(super) fn read<T>(
        &self,
        field: &str,
        expected: &str,
        parse: impl FnOnce(&DeValue<'f>) -> Option<T>,
    ) -> Option<T> {
        let value = self.table.get(field)?.get_ref();
        let parsed = parse(value);
        if parsed.is_none() {
            self.note(field, shown(value), expected.to_owned());
        }
        parsed
    }

    /// The field's value as one of `words`; `later` are words that only a later version can do.
    pub(super) fn read_word<T: Copy>(&self, field: &str, words: &[(&str, T)], later: &[&str]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let value = self.table.get(field)?.get_ref();
        let found = super::values::text(value);
        let parsed = words.iter().find(|(name, _)| Some(*name) == found).map(|(_, word)| *word);
        if parsed.is_none() {
            let hint = match found {
                Some(text) if later.contains(&text) => format!(": this version cannot do \"{text}\" yet"),
                Some(text) => nearest(text, names()).map_or(String::new(), |name| format!(": \"{name}\"?")),
                None => String::new(),
            };
            let one_of = if words.len() > 1 { "one of " } else { "" };
            self.note(field, shown(value), format!("{one_of}{}{hint}", listed(names())));
        }
        parsed
    }

    /// The field's value as a list, each item by `parse`; an item that is wrong is noted where it stands.
    pub(super) fn read_list<T>(
        &self,
        field: &str,
        expected: &str,
        mut parse: impl FnMut(&DeValue<'f>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.table.get(field)?.get_ref();
        let DeValue::Array(array) = value else {
            self.note(field, shown(value), expected.to_owned());
            return None;
        };
        let mut items = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.field_path(field));
            match parse(item.get_ref()) {
                Ok(parsed) => items.push(parsed),
                Err(expected) => {
                    self.problems.note(item.span().start, &path, shown(item.get_ref()), expected)
                }
            }
        }
        Some(items)
    }

    /// The same of one item, or a list of them.
    pub(super) fn read_items<T>(
        &self,
        field: &str,
        expected: &str,
        mut parse: impl FnMut(&DeValue<'f>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.table.get(field)?.get_ref();
        if matches!(value, DeValue::Array(_)) {
            return self.read_list(field, expected, parse);
        }
        match parse(value) {
            Ok(parsed) => Some(vec![parsed]),
            Err(expected) => {
                self.note(field, shown(value), expected);
                None
            }
        }
    }

    /// How many items the field's value has, if it is a list; nothing is noted.
    pub(super) fn list_len(&self, field: &str) -> Option<usize> {
        match self.table.get(field)?.get_ref() {
            DeValue::Array(array) => Some(array.len()),
            _ => None,
        }
    }

    /// The names of all fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'f str> + use<'f> {
        let table: &'f DeTable<'f> = self.table;
        table.iter().map(|(key, _)| {
            let name: &'f str = key.get_ref();
            name
        })
    }

    /// The field's value as a list of tables; what is none is noted where it stands.
    pub(super) fn read_tables(&self, field: &str, expected: &str) -> Vec<TableReader<'f>> {
        let Some(value) = self.table.get(field).map(Spanned::get_ref) else { return Vec::new() };
        let DeValue::Array(array) = value else {
            self.note(field, shown(value), expected.to_owned());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let (path, at) = (format!("{}[{index}]", self.field_path(field)), item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => {
                    tables.push(TableReader { path, at, table, problems: self.problems })
                }
                other => self.problems.note(at, &path, shown(other), expected.to_owned()),
            }
        }
        tables
    }

    /// The tables of a field that is a list of them; nothing is noted.
    pub(super) fn items(&self, field: &str) -> impl Iterator<Item = TableReader<'f>> + use<'f> {
        let path = self.field_path(field);
        let problems = self.problems;
        let array = match self.table.get(field).map(Spanned::get_ref) {
            Some(DeValue::Array(array)) => Some(array),
            _ => None,
        };
        array.into_iter().flat_map(|array| array.iter()).enumerate().filter_map(move |(index, item)| {
            let DeValue::Table(table) = item.get_ref() else { return None };
            Some(TableReader { path: format!("{path}[{index}]"), at: item.span().start, table, problems })
        })
    }

    /// Whether the field is written as a table, where it may be something else, too.
    pub(super) fn is_table(&self, field: &str) -> bool {
        matches!(self.table.get(field).map(Spanned::get_ref), Some(DeValue::Table(_)))
    }

    /// The field as a table; `None` if it is left out, or not a table and now noted.
    pub(super) fn table(&self, field: &str) -> Option<TableReader<'f>> {
        let (key, value) = self.table.get_key_value(field)?;
        self.inner(key.span().start, field, value.get_ref())
    }

    /// All fields as tables, for tables that are keyed by names that users give.
    pub(super) fn tables(&self) -> Vec<(&'f str, TableReader<'f>)> {
        let entries = self.table.iter();
        let readers = entries.filter_map(|(key, value)| {
            let name: &'f str = key.get_ref();
            self.inner(key.span().start, name, value.get_ref()).map(|reader| (name, reader))
        });
        readers.collect()
    }

    /// The names of the tables under a field, if it is a table; nothing is noted.
    pub(super) fn names(&self, field: &str) -> impl Iterator<Item = &'f str> + use<'f> {
        let table: Option<&'f DeTable<'f>> = match self.table.get(field).map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            _ => None,
        };
        table.into_iter().flat_map(|table| table.iter()).map(|(key, _)| {
            let name: &'f str = key.get_ref();
            name
        })
    }

    /// How many fields the table has.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn inner(&self, at: usize, name: &str, value: &'f DeValue<'f>) -> Option<TableReader<'f>> {
        let path = self.field_path(&shortened(name));
        if let DeValue::Table(table) = value {
            return Some(TableReader { path, at, table, problems: self.problems });
        }
        let instead = match value {
            DeValue::Boolean(true) => "; `{}` is one with every default",
            DeValue::Boolean(false) => "; leave the field out to have none",
            _ => "",
        };
        self.problems.note(at, &path, shown(value), format!("a table, as under [{path}]{instead}"));
        None
    }
}

/// What to say about a field that only a later version can do.
fn later(name: &str) -> String {
    format!("none: this version cannot do `{name}` yet; leave it out")
}

/// What to say about a field that does not exist.
fn unknown(name: &str, known: &schema::Table) -> String {
    match nearest(name, known.fields.iter().map(|field| field.name)) {
        Some(near) => format!("`{near}`, the nearest known name"),
        None => format!("one of {}", listed(known.names_now())),
    }
}
