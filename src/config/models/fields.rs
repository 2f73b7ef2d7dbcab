//! The fields of a model, and the settings that they make.

use super::document::{Map, Mistake, Node, Place, cut};
use crate::config::parse::{
    bad_pixels, batch_size, clean, decoders, decoders_in_force, either, time, time_or_off,
    whole_number, word, yes_or_no,
};
use crate::frame::{BadPixelFill, BadValue};
use crate::inference::model::{BadPixelSettings, ModelSettings};
use std::collections::BTreeMap;

/// The longest name of a model. It is the value of a label in metrics.
const LONGEST_NAME: usize = 63;

/// What holds where a field is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unless {
    /// Nothing: it must be given.
    Required,
    /// This value.
    Value(&'static str),
    /// The value of this flag.
    Flag(&'static str),
}

/// A field of a model.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) unless: Unless,
    /// Whether several values may be given as a list.
    many: bool,
    read: fn(&mut ModelSettings, &str) -> Result<(), BadValue>,
}

const fn one(
    name: &'static str,
    unless: Unless,
    read: fn(&mut ModelSettings, &str) -> Result<(), BadValue>,
) -> Field {
    Field {
        name,
        unless,
        many: false,
        read,
    }
}

const fn many(
    name: &'static str,
    unless: Unless,
    read: fn(&mut ModelSettings, &str) -> Result<(), BadValue>,
) -> Field {
    Field {
        many: true,
        ..one(name, unless, read)
    }
}

use Unless::{Flag, Required, Value};

/// The fields of a model, in the order of `docs/models.md`. Values are read by the readers of the flags.
pub(crate) static FIELDS: &[Field] = &[
    one("name", Required, |model, text| {
        set(&mut model.name, name(text))
    }),
    one("path", Required, |model, text| {
        put(&mut model.path, text.to_owned())
    }),
    one("batch", Flag("bsz-size"), |model, text| {
        model.batch_size = batch_size(text)?;
        put(&mut model.engine.rows, model.batch_size.exactly())
    }),
    one("priority", Value("normal"), |model, text| {
        set(&mut model.priority, word(text))
    }),
    one("backlog", Value("512"), |model, text| {
        set(&mut model.backlog, whole_number::<1, 65_536>(text))
    }),
    many("outputs", Flag("output"), |model, text| {
        let names = text.split(',').map(str::trim);
        put(
            &mut model.outputs,
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }),
    one("output-size", Flag("output-size"), |model, text| {
        set(&mut model.output_size, text.parse())
    }),
    one("output-dtype", Flag("output-dtype"), |model, text| {
        set(&mut model.output_dtype, text.parse())
    }),
    one("output-format", Flag("output-format"), |model, text| {
        set(&mut model.output_format, text.parse())
    }),
    one("frame-dtype", Flag("frame-dtype"), |model, text| {
        set(&mut model.frame_dtype, text.parse())
    }),
    many("bad-pixels", Flag("bad-pixels"), |model, text| {
        rule(&mut model.bad_pixels, text)
    }),
    one("bad-pixel-fill", Flag("bad-pixel-fill"), |model, text| {
        set(&mut model.bad_pixels.fill, text.parse())
    }),
    one("max-bad-pixels", Flag("max-bad-pixels"), |model, text| {
        set(&mut model.bad_pixels.limit, text.parse())
    }),
    one("mask", Flag("mask"), |model, text| {
        put(&mut model.bad_pixels.mask, Some(text.into()))
    }),
    one("decoders", Flag("decoders"), |model, text| {
        put(&mut model.decoders, decoders_in_force(decoders(text)?))
    }),
    one("batch-timeout", Flag("batch-timeout"), |model, text| {
        put(&mut model.limits.batch_timeout, time_or_off(text)?.0)
    }),
    one(
        "inference-timeout",
        Flag("inference-timeout"),
        |model, text| set(&mut model.limits.inference_timeout, time(text)),
    ),
    one(
        "allow-mixed-rows",
        Flag("allow-mixed-rows"),
        |model, text| set(&mut model.mixing, yes_or_no(text)),
    ),
    one("device", Flag("device"), |model, text| {
        set(&mut model.engine.device, word(text))
    }),
    many("devices", Flag("devices"), |model, text| {
        set(&mut model.engine.devices, text.parse())
    }),
    one("balance", Flag("balance"), |model, text| {
        set(&mut model.balance, word(text))
    }),
    one("precision", Flag("precision"), |model, text| {
        set(&mut model.engine.precision, word(text))
    }),
    one("spin", Flag("spin"), |model, text| {
        set(&mut model.engine.spin, yes_or_no(text))
    }),
    one("no-cuda-graphs", Flag("no-cuda-graphs"), |model, text| {
        put(&mut model.engine.cuda_graphs, !yes_or_no(text)?)
    }),
    one("engine-cache", Flag("engine-cache"), |model, text| {
        put(&mut model.engine.cache, text.into())
    }),
    one("tensorrt-path", Flag("tensorrt-path"), |model, text| {
        put(&mut model.engine.library_path, Some(text.into()))
    }),
];

/// Puts a value that was read into its setting.
fn set<T>(setting: &mut T, value: Result<T, BadValue>) -> Result<(), BadValue> {
    put(setting, value?)
}

fn put<T>(setting: &mut T, value: T) -> Result<(), BadValue> {
    *setting = value;
    Ok(())
}

fn name(text: &str) -> Result<String, BadValue> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(is_plain) {
        let instead = format!("a name of 1 to {LONGEST_NAME} letters, digits, '.', '_' and '-'");
        return Err(BadValue::new(text, instead));
    }
    Ok(text.to_owned())
}

/// The rule and the fill of `RULE=FILL`. `above=0` is a rule alone: no rule is left before its last `=`.
fn rule_with_fill(text: &str) -> Option<(&str, &str)> {
    let (rule, fill) = text.rsplit_once('=')?;
    let (rule, fill) = (rule.trim(), fill.trim());
    let are_both = bad_pixels(rule).is_ok() && fill.parse::<BadPixelFill>().is_ok();
    are_both.then_some((rule, fill))
}

fn rule(settings: &mut BadPixelSettings, text: &str) -> Result<(), BadValue> {
    let rule = match rule_with_fill(text) {
        Some((rule, fill)) => {
            settings.fill = fill.parse()?;
            rule
        }
        None => text,
    };
    let rule = bad_pixels(rule).map_err(|wrong| {
        BadValue::new(
            text,
            format!("{}; =0 or =median behind it is the fill", wrong.instead()),
        )
    })?;
    settings.rule = rule.0;
    Ok(())
}

/// The values of the fields that are given, as text, with their places. A fill in `bad-pixels` is also that of `bad-pixel-fill`.
pub(crate) type Given = BTreeMap<&'static str, (Place, String)>;

/// The settings of one model: those of its fields, and those of `flags`.
///
/// # Errors
/// The first [`Mistake`].
pub(super) fn read(node: &Node, flags: &ModelSettings) -> Result<(ModelSettings, Given), Mistake> {
    let mut model = flags.clone();
    let mut given = Given::new();
    for (key, node) in node.map("a model")? {
        let field = FIELDS.iter().find(|field| field.name == key.text);
        let field = field.ok_or_else(|| unknown_field(key.place, &key.text))?;
        let text = value(field, node)?;
        let wrong = |wrong| node.place.mistake(format!("{}: {wrong}", field.name));
        (field.read)(&mut model, &text).map_err(wrong)?;
        given.insert(field.name, (node.place, text));
    }
    for field in FIELDS.iter().filter(|field| field.unless == Required) {
        if !given.contains_key(field.name) {
            let what = format!("{} is missing; each model has its own", field.name);
            return Err(node.place.mistake(what));
        }
    }
    if let Some((place, text)) = given.get("bad-pixels")
        && let Some((rule, fill)) = rule_with_fill(text)
    {
        if let Some((place, second)) = given.get("bad-pixel-fill") {
            // Whichever is read last would win.
            let what = format!(
                "bad-pixel-fill: '{second}' is a second fill; write it here, or behind '{rule}='"
            );
            return Err(place.mistake(what));
        }
        let fill = (*place, fill.to_owned());
        given.insert("bad-pixel-fill", fill);
    }
    Ok((model, given))
}

/// The text of a field; of a list, its elements, separated by commas as in a flag.
fn value(field: &Field, node: &Node) -> Result<String, Mistake> {
    let nodes = match node.is_list() && field.many {
        true => node.list(field.name)?,
        false => std::slice::from_ref(node),
    };
    let mut texts = Vec::new();
    for node in nodes {
        texts.push(cleaned(field.name, node)?);
    }
    Ok(texts.join(","))
}

/// The text of a value that is not blank.
pub(super) fn cleaned<'n>(name: &str, node: &'n Node) -> Result<&'n str, Mistake> {
    let wrong = |wrong| node.place.mistake(format!("{name}: {wrong}"));
    match clean(node.text(name)?).map_err(wrong)? {
        "" => Err(node
            .place
            .mistake(format!("{name}: the value is blank; write one"))),
        text => Ok(text),
    }
}

/// The field that has the values of a flag, which is written without its dashes.
pub(super) fn of_flag(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| {
        matches!(field.unless, Flag(flag) if flag == name)
            || (field.name, name) == ("path", "model-path")
    })
}

/// The mistake of a field that no model has.
fn unknown_field(place: Place, key: &str) -> Mistake {
    let plain = key.to_ascii_lowercase().replace('_', "-");
    let meant = FIELDS.iter().find(|field| field.name == plain);
    let remedy = match meant.or_else(|| of_flag(&plain)) {
        Some(field) => format!("did you mean {}?", field.name),
        None => {
            let names: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
            format!("use {}", either(&names))
        }
    };
    place.mistake(format!("{}: there is no such field; {remedy}", cut(key)))
}

/// The values of the fields `names` of a map that has no others.
///
/// # Errors
/// The [`Mistake`] of another field.
pub(super) fn of<'n, const N: usize>(
    map: &'n Map,
    names: [&str; N],
) -> Result<[Option<&'n Node>; N], Mistake> {
    let mut nodes = [None; N];
    for (key, node) in map {
        let slot = names
            .iter()
            .zip(&mut nodes)
            .find(|(name, _)| **name == key.text);
        let what = || {
            format!(
                "{}: there is no such field; use {}",
                cut(&key.text),
                either(&names)
            )
        };
        let (_, slot) = slot.ok_or_else(|| key.place.mistake(what()))?;
        *slot = Some(node);
    }
    Ok(nodes)
}
