//! Which outputs of the model are sent.

use super::ConfigError;
use crate::engine::ModelSpec;

/// The indices of the outputs called `names`, in that order; all outputs if there are no names.
///
/// # Errors
/// A [`ConfigError`] if a name is none of the model's, or is repeated.
pub(super) fn select(model: &ModelSpec, names: &[String]) -> Result<Vec<usize>, ConfigError> {
    if names.is_empty() {
        return Ok((0..model.outputs.len()).collect());
    }
    let mut selected = Vec::new();
    let mut rest = names;
    while let Some(name) = rest.first() {
        let (index, parts) = find(model, rest).ok_or_else(|| unknown(model, name))?;
        if selected.contains(&index) {
            return Err(ConfigError {
                flag: "--output",
                given: names.join(","),
                reason: format!("it selects '{name}' twice; name each output once"),
            });
        }
        selected.push(index);
        rest = rest.get(parts..).unwrap_or_default();
    }
    Ok(selected)
}

/// The output that `names` begins with, and how many of the names it takes: a name with commas was taken apart where the list
/// was.
fn find(model: &ModelSpec, names: &[String]) -> Option<(usize, usize)> {
    (1..=names.len()).find_map(|parts| {
        let given = names.get(..parts)?;
        let is_meant = |name: &str| {
            let own = name
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            own.eq(given.iter().map(String::as_str))
        };
        let index = model
            .outputs
            .iter()
            .position(|output| is_meant(&output.name))?;
        Some((index, parts))
    })
}

fn unknown(model: &ModelSpec, name: &str) -> ConfigError {
    let names: Vec<_> = model
        .outputs
        .iter()
        .map(|o| format!("'{}'", o.name))
        .collect();
    ConfigError {
        flag: "--output",
        given: name.to_owned(),
        reason: format!("this model's outputs are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BatchDimension, TensorSpec};
    use crate::frame::values::Element;

    fn select_of(outputs: &[&str], names: &[&str]) -> Result<Vec<usize>, String> {
        let tensor = |name: &&str| TensorSpec {
            name: (*name).to_owned(),
            shape: vec![1, 4, 4],
            element: Element::F32,
        };
        let model = ModelSpec {
            input: tensor(&"x"),
            outputs: outputs.iter().map(tensor).collect(),
            batch: BatchDimension::Static(1),
        };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        select(&model, &names).map_err(|error| error.to_string())
    }

    #[test]
    fn an_output_is_selected_once_and_by_any_name_it_has() {
        assert_eq!(select_of(&["a", "b"], &[]), Ok(vec![0, 1]));
        assert_eq!(select_of(&["a", "b"], &["b", "a"]), Ok(vec![1, 0]));
        // The list is taken apart at the commas of a name too.
        let outputs = ["out/phase:0", "amp, real", "a,b,c"];
        assert_eq!(select_of(&outputs, &["amp", "real"]), Ok(vec![1]));
        assert_eq!(
            select_of(&outputs, &["a", "b", "c", "out/phase:0"]),
            Ok(vec![2, 0])
        );
        assert_eq!(select_of(&["a,b", "a", "b"], &["a", "b"]), Ok(vec![1, 2]));
        for names in [
            &["y", "y"][..],
            &["y", "z", "y"],
            &["amp", "real", "amp", "real"],
        ] {
            let told = select_of(&["y", "z", "amp, real"], names).unwrap_err();
            assert!(
                told.starts_with("--output: '") && told.contains("name each output once"),
                "{told}"
            );
        }
        let told = select_of(&outputs, &["amp"]).unwrap_err();
        assert_eq!(
            told,
            "--output: 'amp' is not allowed: this model's outputs are 'out/phase:0', 'amp, real', 'a,b,c'"
        );
    }
}
