//! Mistakes in names, and in what refers to them: the default and the routes.

use super::mistakes::{check, mistake};
use super::*;

#[test]
fn a_mistake_in_a_name_is_shown_where_the_name_is() {
    let long = "a".repeat(64);
    for (name, shown) in [
        ("a/b", "a/b"),
        ("é", "é"),
        ("'a b'", "a b"),
        (&long, &"a".repeat(60)),
    ] {
        let line = mistake(&format!("models:\n- path: p\n  name: {name}\n"));
        let start = format!("3:9: name: '{shown}'");
        assert!(line.starts_with(&start), "{line}");
        assert!(
            line.ends_with(
                "is not allowed: use a name of 1 to 63 letters, digits, '.', '_' and '-'"
            ),
            "{line}"
        );
    }
    assert_eq!(
        mistake("models:\n- name: ''\n  path: p\n"),
        "2:9: name: the value is blank; write one"
    );
    check(
        &[
            (
                "models:\n- path: p\n",
                "2:3: name is missing; each model has its own",
            ),
            (
                "models:\n  - name: m\n",
                "2:5: path is missing; each model has its own",
            ),
            (
                "models:\n- {name: m, path: p}\n- {path: p, name: m}\n",
                "3:19: name: another model is called 'm'; use each name once",
            ),
            (
                "models:\n- {name: b, path: p}\n- {path: p, name: a}\n",
                "1:1: default is missing; use a or b",
            ),
            (
                "models:\n- {name: m, path: p}\ndefault: n\n",
                "3:10: default: there is no model 'n'; use m",
            ),
            (
                "models:\n- {name: m, path: p}\ndefault: [m]\n",
                "3:10: default: a list is given; write a value",
            ),
        ],
        str::to_owned,
    );
}

#[test]
fn a_long_text_of_the_file_is_cut_in_the_message() {
    let long = "a".repeat(1000);
    for text in [
        format!("models:\n- {{name: m, path: p}}\ndefault: {long}"),
        format!("models:\n- {{name: m, path: p, ? {long} : 1}}"),
        format!("models:\n- {{name: m, path: p}}\n? {long}\n: 1"),
        format!("models:\n- {{name: m, path: p, batch: {long}}}"),
    ] {
        let shown = mistake(&text);
        assert!(
            shown.contains(&format!("{}…", &long[..60]))
                || shown.contains(&format!("{}'…", &long[..60])),
            "{shown}"
        );
        assert!(shown.len() < 600, "{shown}");
    }
}

#[test]
fn there_are_at_most_64_models() {
    let models = |n: usize| {
        let lines = (0..n).map(|n| format!("- {{name: m{n}, path: p}}\n"));
        format!("default: m0\nmodels:\n{}", lines.collect::<String>())
    };
    assert_eq!(parsed(&models(64)).unwrap().models.len(), 64);
    assert_eq!(
        mistake(&models(65)),
        "67:3: models: 65 are given; use at most 64 in one sidecar"
    );
    let unknown = models(9).replace("default: m0", "default: m");
    assert_eq!(
        mistake(&unknown),
        "1:10: default: there is no model 'm'; use a name of models"
    );
}

#[test]
fn a_mistake_in_a_route() {
    let file = |routes: &str| format!("models:\n- {{name: m, path: p}}\nroutes:\n{routes}\n");
    check(
        &[
            (
                "- {header: x-a}",
                "4:3: a route has header and values; write both",
            ),
            (
                "- {values: {a: m}}",
                "4:3: a route has header and values; write both",
            ),
            (
                "- {haeder: x-a}",
                "4:4: haeder: there is no such field; use header or values",
            ),
            (
                "- {header: x-a, values: {a: n}}",
                "4:29: values: there is no model 'n'; use m",
            ),
            (
                "- {header: x-a, values: {a: [m]}}",
                "4:29: values: a list is given; write a value",
            ),
            (
                "- {header: x-a, values: {}}",
                "4:25: values: no value is given; write each with its model, such as '\"8\": low'",
            ),
            (
                "- {header: x-a, values: m}",
                "4:25: values: a single value is given; write fields, such as 'name: low'",
            ),
            (
                "- {header: x-a, values: {a: m, a: m}}",
                "4:32: a: it is also given in line 4; write it once",
            ),
            (
                "- {header: x-a, values: {a: m, ' a': m}}",
                "4:32: values: 'a' is given twice; write each value once",
            ),
            (
                "- {header: x-a, values: {'': m}}",
                "4:26: values: a value is blank; write one",
            ),
            (
                "- {header: x-a, values: {a: m}}\n- {header: X-A, values: {b: m}}",
                "5:12: header: there is a route for this header already; write all its values there",
            ),
            (
                "- {header: X-Model, values: {a: m}}",
                "4:12: header: x-model chooses the model by itself; use another header",
            ),
            (
                "- {header: energy, values: {a: m}}",
                "4:12: header: 'energy' is not allowed: use the name of a header that begins with x-, such as x-energy-kev",
            ),
            (
                "- {header: x-, values: {a: m}}",
                "4:12: header: 'x-' is not allowed: use the name of a header that begins with x-, such as x-energy-kev",
            ),
            (
                "- {header: 'x-a b', values: {a: m}}",
                "4:12: header: 'x-a b' is not allowed: use the name of a header that begins with x-, such as x-energy-kev",
            ),
            (
                "- m",
                "4:3: a route: a single value is given; write fields, such as 'name: low'",
            ),
            ("  m", "4:3: routes: a single value is given; write a list"),
        ],
        file,
    );
}
