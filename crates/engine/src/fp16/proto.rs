//! The messages of onnx.proto (onnx 1.23, IR version 14), as far as they are looked into.
//!
//! Always: every field that the format has is listed, since one that is not would be dropped. A field that is
//! not looked into is kept as its bytes, whatever message it holds, so it passes untouched. Fields that the
//! format says may be absent stay absent.

/// `TensorProto.DataType.FLOAT`: float32.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType.FLOAT16`.
pub const FLOAT16: i32 = 10;
/// `TensorProto.DataLocation.EXTERNAL`: the data is in another file.
pub const EXTERNAL: i32 = 1;

/// A message as its bytes.
type Opaque = Vec<u8>;

/// `ModelProto`: a whole file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Model {
    #[prost(int64, optional, tag = 1)]
    pub ir_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub producer_name: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub producer_version: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 4)]
    pub domain: Option<Opaque>,
    #[prost(int64, optional, tag = 5)]
    pub model_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub doc_string: Option<Opaque>,
    #[prost(message, optional, tag = 7)]
    pub graph: Option<Graph>,
    #[prost(bytes = "vec", repeated, tag = 8)]
    pub opset_import: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 14)]
    pub metadata_props: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 20)]
    pub training_info: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 25)]
    pub functions: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 26)]
    pub configuration: Vec<Opaque>,
}

/// `GraphProto`: nodes in the order of their computation, weights, inputs and outputs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Graph {
    #[prost(message, repeated, tag = 1)]
    pub node: Vec<Node>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub name: Option<Opaque>,
    #[prost(message, repeated, tag = 5)]
    pub initializer: Vec<Tensor>,
    #[prost(bytes = "vec", optional, tag = 10)]
    pub doc_string: Option<Opaque>,
    #[prost(message, repeated, tag = 11)]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = 12)]
    pub output: Vec<ValueInfo>,
    #[prost(message, repeated, tag = 13)]
    pub value_info: Vec<ValueInfo>,
    #[prost(bytes = "vec", repeated, tag = 14)]
    pub quantization_annotation: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 15)]
    pub sparse_initializer: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 16)]
    pub metadata_props: Vec<Opaque>,
}

/// `NodeProto`: one operator at work. An empty name of an input or output stands for one left out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    #[prost(string, repeated, tag = 1)]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = 2)]
    pub output: Vec<String>,
    #[prost(string, optional, tag = 3)]
    pub name: Option<String>,
    #[prost(string, optional, tag = 4)]
    pub op_type: Option<String>,
    #[prost(message, repeated, tag = 5)]
    pub attribute: Vec<Attribute>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub doc_string: Option<Opaque>,
    #[prost(string, optional, tag = 7)]
    pub domain: Option<String>,
    #[prost(bytes = "vec", optional, tag = 8)]
    pub overload: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 9)]
    pub metadata_props: Vec<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 10)]
    pub device_configurations: Vec<Opaque>,
}

/// `AttributeProto`: a setting of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
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
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = 9)]
    pub strings: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = 10)]
    pub tensors: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = 11)]
    pub graphs: Vec<Opaque>,
    #[prost(bytes = "vec", optional, tag = 13)]
    pub doc_string: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 14)]
    pub tp: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 15)]
    pub type_protos: Vec<Opaque>,
    #[prost(int32, optional, tag = 20)]
    pub r#type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 21)]
    pub ref_attr_name: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 22)]
    pub sparse_tensor: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 23)]
    pub sparse_tensors: Vec<Opaque>,
}

/// `TensorProto`: numbers and their shape. Its numbers are in `raw_data`, lowest byte first, or in the list
/// for their type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = 1)]
    pub dims: Vec<i64>,
    #[prost(int32, optional, tag = 2)]
    pub data_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub segment: Option<Opaque>,
    #[prost(float, repeated, tag = 4)]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = 5)]
    pub int32_data: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = 6)]
    pub string_data: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = 7)]
    pub int64_data: Vec<i64>,
    #[prost(string, optional, tag = 8)]
    pub name: Option<String>,
    #[prost(bytes = "vec", optional, tag = 9)]
    pub raw_data: Option<Vec<u8>>,
    #[prost(double, repeated, tag = 10)]
    pub double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = 11)]
    pub uint64_data: Vec<u64>,
    #[prost(bytes = "vec", optional, tag = 12)]
    pub doc_string: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 13)]
    pub external_data: Vec<Opaque>,
    #[prost(int32, optional, tag = 14)]
    pub data_location: Option<i32>,
    #[prost(bytes = "vec", repeated, tag = 16)]
    pub metadata_props: Vec<Opaque>,
}

/// `ValueInfoProto`: the type of a named value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueInfo {
    #[prost(string, optional, tag = 1)]
    pub name: Option<String>,
    #[prost(message, optional, tag = 2)]
    pub r#type: Option<Type>,
    #[prost(bytes = "vec", optional, tag = 3)]
    pub doc_string: Option<Opaque>,
    #[prost(bytes = "vec", repeated, tag = 4)]
    pub metadata_props: Vec<Opaque>,
}

/// `TypeProto`: a tensor, or one of the kinds that are not looked into.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Type {
    #[prost(message, optional, tag = 1)]
    pub tensor_type: Option<TensorType>,
    #[prost(bytes = "vec", optional, tag = 4)]
    pub sequence_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 5)]
    pub map_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 6)]
    pub denotation: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 7)]
    pub opaque_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 8)]
    pub sparse_tensor_type: Option<Opaque>,
    #[prost(bytes = "vec", optional, tag = 9)]
    pub optional_type: Option<Opaque>,
}

/// `TypeProto.Tensor`: element type and shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorType {
    #[prost(int32, optional, tag = 1)]
    pub elem_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = 2)]
    pub shape: Option<Opaque>,
}

impl ValueInfo {
    /// The element type, where the value is a tensor.
    pub fn element(&mut self) -> Option<&mut i32> {
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
    pub fn is_standard(&self) -> bool {
        matches!(self.domain(), "" | "ai.onnx")
    }

    /// The attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute
            .iter()
            .find(|attribute| attribute.name() == name)
    }

    /// What a message calls the node.
    pub fn label(&self) -> String {
        let name = match (self.name(), self.output.first()) {
            ("", Some(output)) => format!("that writes {output}"),
            ("", None) => "without a name".to_owned(),
            (name, _) => name.to_owned(),
        };
        format!("the {} node {name}", self.op_type())
    }
}
