//! Properties of every file and every graph.

use super::*;
use proptest::prelude::*;

/// Operators of every rule, each with its number of inputs.
const OPERATORS: [(&str, usize); 14] = [
    ("Conv", 2),
    ("MatMul", 2),
    ("Add", 2),
    ("Mul", 2),
    ("Concat", 3),
    ("Relu", 1),
    ("Identity", 1),
    ("MaxPool", 1),
    ("Resize", 3),
    ("Exp", 1),
    ("Softmax", 1),
    ("Div", 2),
    ("BatchNormalization", 5),
    ("ReduceMean", 1),
];

fn weights() -> Vec<Tensor> {
    vec![
        weight("w0", &[1.0]),
        weight("w1", &[1e-9]),
        weight("w2", &[0.0]),
    ]
}

/// A graph in which each node reads any of the values before it, and one or two values are outputs.
fn any_graph() -> impl Strategy<Value = Graph> {
    let node = (
        0..OPERATORS.len(),
        prop::array::uniform5(any::<prop::sample::Index>()),
    );
    (
        prop::collection::vec(node, 1..20),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(choices, second)| {
            let mut names = vec!["x".to_owned(), "w0".into(), "w1".into(), "w2".into()];
            let mut nodes = Vec::new();
            for (i, (operator, inputs)) in choices.iter().enumerate() {
                let (operator, count) = OPERATORS[*operator];
                let inputs: Vec<_> = inputs[..count]
                    .iter()
                    .map(|index| names[index.index(names.len())].as_str())
                    .collect();
                let output = format!("v{i}");
                nodes.push(super::node(operator, &inputs, &[&output]));
                names.push(output);
            }
            let mut graph = graph(nodes, weights());
            let last = choices.len() - 1;
            graph.output = vec![info(&format!("v{last}"), FLOAT)];
            let second = second.index(choices.len());
            if second != last {
                graph.output.push(info(&format!("v{second}"), FLOAT));
            }
            graph
        })
}

proptest! {
    #[test]
    fn the_types_of_every_rewritten_graph_fit(given in any_graph()) {
        let outputs = given.output.clone();
        let operators = |graph: &Graph| {
            let mut all: Vec<_> = graph.node.iter().map(|n| n.op_type().to_owned()).collect();
            all.retain(|operator| !["Cast", "Identity"].contains(&operator.as_str()));
            all
        };
        let before = operators(&given);
        let (after, summary) = halved(given);
        prop_assert_eq!(operators(&after), before);
        prop_assert_eq!(&after.output, &outputs);
        let casts = after.node.iter().filter(|n| n.op_type() == "Cast").count();
        prop_assert_eq!(casts, summary.casts);
        let mut conversions: Vec<_> = after
            .node
            .iter()
            .filter(|n| n.op_type() == "Cast")
            .map(|n| &n.input)
            .collect();
        conversions.sort();
        conversions.dedup();
        prop_assert_eq!(conversions.len(), casts, "a value is converted once");
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(to_half(&bytes));
    }

    #[test]
    fn damaged_models_do_not_panic(
        given in any_graph(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(given);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        drop(to_half(&bytes));
        bytes.truncate(cut.index(bytes.len()));
        drop(to_half(&bytes));
    }
}
