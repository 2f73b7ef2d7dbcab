//! Which model a frame is for.
//!
//! ```text
//!  x-model: high ─────────────────────────────▶ high       unknown: rejected, with the names there are
//!  else the first route whose header the frame has,
//!       with a value that the route lists ────▶ its model
//!  else ──────────────────────────────────────▶ the default
//! ```
//!
//! What always holds: the choice depends on the frame's headers alone; a blank header counts as absent.

use crate::frame::{Rejection, headers};
use std::collections::{BTreeMap, HashMap};

/// Values of a header, and the models that they choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The header, in lower case.
    pub header: String,
    /// From its value to the index of a model.
    pub values: BTreeMap<String, usize>,
}

/// See the module's essay.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    names: Vec<String>,
    default: usize,
    routes: Vec<Route>,
}

/// The model of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Its headers name it, or have nothing to choose by.
    Chosen(usize),
    /// The default, although the frame has a header of the routes: none lists its value.
    Unlisted(usize),
}

impl Routes {
    /// Models by name; `default` is the index of the one for all other frames.
    pub(crate) fn new(names: Vec<String>, default: usize, routes: Vec<Route>) -> Self {
        Self {
            names,
            default,
            routes,
        }
    }

    /// The index of the model for frames that say nothing.
    pub(crate) fn default_model(&self) -> usize {
        self.default
    }

    /// The model for a frame with these headers.
    ///
    /// # Errors
    /// [`Rejection::UnknownModel`] if `x-model` names no model.
    pub(crate) fn choose(&self, headers: &HashMap<String, String>) -> Result<Choice, Rejection> {
        if let Some(given) = headers::get(headers, headers::MODEL) {
            let given = given.trim();
            let named = self.names.iter().position(|name| name == given);
            let unknown = || Rejection::unknown_model(given, self.names.iter().map(String::as_str));
            return named.map(Choice::Chosen).ok_or_else(unknown);
        }
        let mut unlisted = false;
        for route in &self.routes {
            let Some(value) = headers::get(headers, &route.header) else {
                continue;
            };
            if let Some(model) = route.values.get(value.trim()) {
                return Ok(Choice::Chosen(*model));
            }
            unlisted = true;
        }
        Ok(if unlisted {
            Choice::Unlisted(self.default)
        } else {
            Choice::Chosen(self.default)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let route = |header: &str, values: &[(&str, usize)]| Route {
            header: header.to_owned(),
            values: values.iter().map(|(v, n)| ((*v).to_owned(), *n)).collect(),
        };
        Routes::new(
            ["low", "high", "wide"].map(str::to_owned).to_vec(),
            0,
            vec![
                route("x-energy-kev", &[("8", 0), ("12", 1)]),
                route("x-probe", &[("large", 2)]),
            ],
        )
    }

    fn choice(headers: &[(&str, &str)]) -> Result<Choice, String> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        routes()
            .choose(&headers)
            .map_err(|rejection| rejection.to_string())
    }

    #[test]
    fn the_header_chooses_then_the_routes_in_order_then_the_default() {
        use Choice::{Chosen, Unlisted};
        let energy = ("X-Energy-keV", "12");
        assert_eq!(choice(&[("x-model", "wide"), energy]), Ok(Chosen(2)));
        assert_eq!(choice(&[energy, ("x-probe", "large")]), Ok(Chosen(1)));
        assert_eq!(choice(&[("x-probe", " large ")]), Ok(Chosen(2)));
        assert_eq!(choice(&[("x-model", " "), energy]), Ok(Chosen(1)));
        assert_eq!(
            choice(&[("x-energy-kev", "10"), ("x-probe", "large")]),
            Ok(Chosen(2))
        );
        assert_eq!(choice(&[]), Ok(Chosen(0)));
        assert_eq!(choice(&[("x-energy-kev", "10")]), Ok(Unlisted(0)));
    }

    #[test]
    fn an_unknown_model_is_rejected_with_the_names_there_are() {
        let told = "header x-model is 'High': this sidecar has the models low, high, wide";
        assert_eq!(choice(&[("x-model", "High")]), Err(told.to_owned()));
    }
}
