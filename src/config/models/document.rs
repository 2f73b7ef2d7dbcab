//! YAML text as a tree in which every key and value has its place in the file.
//!
//! Scalars stay text: `8`, `8.50` and `off` are what is written, and the readers of the values decide what they mean. Anchors,
//! aliases and tags are refused, so the tree is never larger than the file; its depth is limited. A key occurs once in its map.

use crate::telemetry::text::escaped;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::BTreeMap;
use std::fmt;

/// The most values around a value. A models file needs four: the file, a list, an entry, its field.
const DEEPEST: usize = 8;

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The character in the line, from 1.
    pub(crate) column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place behind `text`, which the file begins with.
    pub(super) fn after(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self {
            line: text.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        }
    }

    /// A mistake at this place; `what` says what is wrong and the remedy.
    pub(super) fn mistake(self, what: impl AsRef<str>) -> Mistake {
        Mistake {
            place: self,
            what: escaped(what.as_ref()),
        }
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A mistake in a models file: its place, what is wrong and the remedy, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Mistake {
    /// Where it is.
    pub(crate) place: Place,
    what: String,
}

/// A text of the file in a message, cut if it is long.
pub(super) fn cut(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// A text with its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Nothing is written, or `null`.
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// The entries of a map, in the order of the file.
pub(super) type Map = Vec<(Text, Node)>;

impl Node {
    /// The text of one value; `name` is its field in a message.
    pub(super) fn text(&self, name: &str) -> Result<&str, Mistake> {
        match &self.content {
            Content::Text(text) => Ok(text),
            _ => Err(self.mismatch(name, "a value")),
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self, name: &str) -> Result<&[Self], Mistake> {
        match &self.content {
            Content::List(nodes) => Ok(nodes),
            _ => Err(self.mismatch(name, "a list")),
        }
    }

    /// The entries of a map.
    pub(super) fn map(&self, name: &str) -> Result<&Map, Mistake> {
        match &self.content {
            Content::Map(entries) => Ok(entries),
            _ => Err(self.mismatch(name, "fields, such as 'name: low'")),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.content, Content::List(_))
    }

    fn mismatch(&self, name: &str, wanted: &str) -> Mistake {
        let given = match &self.content {
            Content::Nothing => "nothing is given",
            Content::Text(_) => "a single value is given",
            Content::List(_) => "a list is given",
            Content::Map(_) => "fields are given",
        };
        self.place
            .mistake(format!("{name}: {given}; write {wanted}"))
    }
}

/// Reads a file of one document; `None`: nothing is in it.
///
/// # Errors
/// The first [`Mistake`].
pub(super) fn read(text: &str) -> Result<Option<Node>, Mistake> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
    };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(document),
            (Event::DocumentStart(..), place) if document.is_some() => {
                return Err(place.mistake("a second document begins here; write one"));
            }
            (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
            (event, place) => document = Some(reader.node(event, place, 0)?),
        }
    }
}

/// From the parser's events to nodes.
struct Reader<'t, E: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> {
    events: E,
}

impl<'t, E: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> Reader<'t, E> {
    fn next(&mut self) -> Result<(Event<'t>, Place), Mistake> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.into())),
            Some(Err(error)) => {
                let place = Place::from(Span::empty(*error.marker()));
                Err(place.mistake(format!("this is not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Place::START)),
        }
    }

    /// The node that begins with `event`, inside `depth` others.
    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Mistake> {
        if depth > DEEPEST {
            return Err(
                place.mistake("values are nested too deeply; a models file has four levels")
            );
        }
        if event.anchor_id().is_some() || event.alias_id().is_some() {
            return Err(place
                .mistake("anchors (&) and aliases (*) are not allowed; write the value itself"));
        }
        if event.tag().is_some() {
            return Err(place.mistake("tags (!) are not allowed; write the value without its tag"));
        }
        let content = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..)
                if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
            {
                Content::Nothing
            }
            Event::Scalar(text, ..) => Content::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut nodes = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Content::List(nodes),
                        (event, place) => nodes.push(self.node(event, place, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => Content::Map(self.entries(depth)?),
            _ => return Err(place.mistake("this is not YAML: a value is missing")),
        };
        Ok(Node { place, content })
    }

    /// The entries of a map up to its end.
    fn entries(&mut self, depth: usize) -> Result<Map, Mistake> {
        let mut entries = Map::new();
        let mut lines = BTreeMap::new();
        loop {
            let (event, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                other => other,
            };
            let key = self.node(event, place, depth + 1)?;
            let Content::Text(text) = key.content else {
                return Err(place.mistake("the name of a field is text; write it as one word"));
            };
            if let Some(line) = lines.insert(text.clone(), place.line) {
                return Err(place.mistake(format!(
                    "{}: it is also given in line {line}; write it once",
                    cut(&text)
                )));
            }
            let (event, begin) = self.next()?;
            let value = self.node(event, begin, depth + 1)?;
            entries.push((Text { place, text }, value));
        }
    }
}
