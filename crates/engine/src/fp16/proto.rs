//! The messages of onnx.proto (onnx 1.23, IR version 14) that the rewriting reads.
//!
//! Every field of the format must be listed, because prost drops unlisted fields. A field that the rewriting does not
//! read is kept as bytes, whatever message it holds, so it does not change. Optional fields that are absent stay
//! absent.

/// `TensorProto.DataType.FLOAT`: float32.
pub(crate) const FLOAT: i32 = 1;
/// `TensorProto.DataType.FLOAT16`.
pub(crate) const FLOAT16: i32 = 10;
/// `TensorProto.DataLocation.EXTERNAL`: the data is in another file.
pub(crate) const EXTERNAL: i32 = 1;

/// The encoded bytes of a message.
type Opaque = Vec<u8>;

/// `ModelProto`: a whole file.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Model {
    #[prost(int64, optional, tag = 1)]
    pub(crate) ir_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub(crate) producer_name: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub(crate) producer_version: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 4)]
    pub(crate) domain: Option<Opaque>,
    #[prost(int64, optional, tag = 5)]
    pub(crate) model_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(message, optional, tag = 7)]
    pub graph: Option<Graph>,
    #[prost(bytes = "vec", repeated, tag = 8)]
    pub(crate) opset_import: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 14)]
    pub(crate) metadata_props: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 20)]
    pub(crate) training_info: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 25)]
    pub functions: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 26)]
    pub configuration: Vec<Opaque>,
}

/// `GraphProto`: nodes in the order of their computation, weights, inputs and outputs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = 1)]
    pub(crate) node: Vec<Node>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub name: Option<Opaque>,
    #[prost(message, repeated, tag = 5)]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(bytes = "vec", optional, tag = 10)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(message, repeated, tag = 11)]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = 12)]
    pub output: Vec<ValueInfo>,
    #[prost(message, repeated, tag = 13)]
    pub(crate) value_info: Vec<ValueInfo>,
    #[prost(bytes = "vec", repeated, tag = 14)]
    pub(crate) quantization_annotation: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 15)]
    pub(crate) sparse_initializer: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 16)]
    pub(crate) metadata_props: Vec<Opaque>,
}

/// `NodeProto`: one application of an operator. An empty name means that the input or output is omitted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = 1)]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = 2)]
    pub output: Vec<String>,
    #[prost(string, optional, tag = 3)]
    pub name: Option<String>,
    #[prost(string, optional, tag = 4)]
    pub(crate) op_type: Option<String>,
    #[prost(message, repeated, tag = 5)]
    pub(crate) attribute: Vec<Attribute>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(string, optional, tag = 7)]
    pub(crate) domain: Option<String>,
    #[prost(bytes = "vec", optional, tag = 8)]
    pub(crate) overload: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 9)]
    pub(crate) metadata_props: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 10)]
    pub(crate) device_configurations: Vec<Opaque>,
}

/// `AttributeProto`: a parameter of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Attribute {
    #[prost(string, optional, tag = 1)]
    pub name: Option<String>,
    #[prost(float, optional, tag = 2)]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = 3)]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = 4)]
    pub s: Option<Vec<u8>>,
    #[prost(message, optional, tag = 5)]
    pub t: Option<Tensor>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub g: Option<Opaque>,
    #[prost(float, repeated, packed = "false", tag = 7)]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = 8)]
    pub(crate) ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = 9)]
    pub(crate) strings: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = 10)]
    pub tensors: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = 11)]
    pub graphs: Vec<Opaque>,
    #[prost(bytes = "vec", optional, tag = 13)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 14)]
    pub(crate) tp: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 15)]
    pub(crate) type_protos: Vec<Opaque>,
    #[prost(int32, optional, tag = 20)]
    pub r#type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 21)]
    pub(crate) ref_attr_name: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 22)]
    pub(crate) sparse_tensor: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 23)]
    pub(crate) sparse_tensors: Vec<Opaque>,
}

/// `TensorProto`: values and their shape. The values are in `raw_data`, little-endian, or in the list for their type.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = 1)]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, optional, tag = 2)]
    pub(crate) data_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub(crate) segment: Option<Opaque>,
    #[prost(float, repeated, tag = 4)]
    pub(crate) float_data: Vec<f32>,
    #[prost(int32, repeated, tag = 5)]
    pub(crate) int32_data: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = 6)]
    pub(crate) string_data: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = 7)]
    pub(crate) int64_data: Vec<i64>,
    #[prost(string, optional, tag = 8)]
    pub name: Option<String>,
    #[prost(bytes = "vec", optional, tag = 9)]
    pub(crate) raw_data: Option<Vec<u8>>,
    #[prost(double, repeated, tag = 10)]
    pub(crate) double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = 11)]
    pub(crate) uint64_data: Vec<u64>,
    #[prost(bytes = "vec", optional, tag = 12)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 13)]
    pub(crate) external_data: Vec<Opaque>,
    #[prost(int32, optional, tag = 14)]
    pub(crate) data_location: Option<i32>,
    #[prost(bytes = "vec", repeated, tag = 16)]
    pub(crate) metadata_props: Vec<Opaque>,
}

/// `ValueInfoProto`: the type of a named value.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ValueInfo {
    #[prost(string, optional, tag = 1)]
    pub name: Option<String>,
    #[prost(message, optional, tag = 2)]
    pub r#type: Option<Type>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub(crate) doc_string: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 4)]
    pub(crate) metadata_props: Vec<Opaque>,
}

/// `TypeProto`: a tensor, or one of the kinds that the rewriting does not read.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Type {
    #[prost(message, optional, tag = 1)]
    pub(crate) tensor_type: Option<TensorType>,
    #[prost(bytes = "vec", optional, tag = 4)]
    pub(crate) sequence_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 5)]
    pub(crate) map_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub(crate) denotation: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 7)]
    pub(crate) opaque_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 8)]
    pub(crate) sparse_tensor_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 9)]
    pub(crate) optional_type: Option<Opaque>,
}

/// `TypeProto.Tensor`: element type and shape.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TensorType {
    #[prost(int32, optional, tag = 1)]
    pub(crate) elem_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub shape: Option<Opaque>,
}

impl ValueInfo {
    /// The element type, if the value is a tensor.
    pub(crate) fn element(&mut self) -> Option<&mut i32> {
        self.r#type
            .as_mut()?
            .tensor_type
            .as_mut()?
            .elem_type
            .as_mut()
    }
}

impl Node {
    /// Whether the operator is one of ONNX's own.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self.domain(), "" | "ai.onnx")
    }

    /// The attribute with this name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute
            .iter()
            .find(|attribute| attribute.name() == name)
    }

    /// The node's label in messages.
    pub(crate) fn label(&self) -> String {
        let name = match (self.name(), self.output.first()) {
            ("", Some(output)) => format!("that writes {output}"),
            ("", None) => "without a name".to_owned(),
            (name, _) => name.to_owned(),
        };
        format!("the {} node {name}", self.op_type())
    }
}
