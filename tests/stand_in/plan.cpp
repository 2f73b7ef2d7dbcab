// Reads a plan.
#include "plan.h"

#include <sstream>

using nvinfer1::DataType;
using nvinfer1::Dims;

static struct {
    char const* name;
    DataType type;
    size_t size;
} const TYPES[] = {
    {"f32", DataType::kFLOAT, 4}, {"f16", DataType::kHALF, 2}, {"bf16", DataType::kBF16, 2},
    {"i8", DataType::kINT8, 1},   {"u8", DataType::kUINT8, 1}, {"i32", DataType::kINT32, 4},
    {"i64", DataType::kINT64, 8},
};

size_t size_of(DataType type) {
    for (auto const& known : TYPES)
        if (known.type == type) return known.size;
    return 0;
}

Dims Tensor::shape(int64_t batch) const {
    Dims shape = dims;
    if (batched) shape.d[0] = batch;
    return shape;
}

size_t Tensor::bytes(int64_t batch) const {
    return static_cast<size_t>(row_elements * (batched ? batch : 1)) * size_of(type);
}

Tensor const* Plan::find(char const* name) const {
    for (auto const& tensor : tensors)
        if (name && tensor.name == name) return &tensor;
    return nullptr;
}

static bool parse_tensor(std::istringstream& words, bool input, Tensor& tensor) {
    std::string type, extent;
    if (!(words >> tensor.name >> type)) return false;
    tensor.input = input;
    tensor.batched = false;
    tensor.row_elements = 1;
    tensor.dims = Dims{};
    bool known = false;
    for (auto const& candidate : TYPES)
        if (type == candidate.name) {
            tensor.type = candidate.type;
            known = true;
        }
    while (words >> extent) {
        if (tensor.dims.nbDims == Dims::MAX_DIMS) return false;
        int64_t& dim = tensor.dims.d[tensor.dims.nbDims++];
        if (extent == "N") {
            if (tensor.dims.nbDims > 1) return false;
            tensor.batched = true;
            dim = -1;
            continue;
        }
        if (extent.find_first_not_of("0123456789") != std::string::npos || extent.size() > 9)
            return false;
        dim = std::stoll(extent);
        if (dim == 0) return false;
        tensor.row_elements *= dim;
    }
    return known && tensor.dims.nbDims > 0;
}

static bool parse_batch(std::istringstream& words, Plan& plan) {
    std::vector<int64_t> numbers;
    for (int64_t number; words >> number;) numbers.push_back(number);
    if (!words.eof() || (numbers.size() != 1 && numbers.size() != 3)) return false;
    plan.least = numbers.front();
    plan.best = numbers[numbers.size() / 2];
    plan.most = numbers.back();
    return 1 <= plan.least && plan.least <= plan.best && plan.best <= plan.most;
}

static bool parse_bytes(std::istringstream& words, size_t& bytes) {
    int64_t number = -1;
    std::string rest;
    if (!(words >> number) || number < 0 || words >> rest) return false;
    bytes = static_cast<size_t>(number);
    return true;
}

bool Plan::parse(std::string const& text, std::string& why) {
    std::istringstream lines(text);
    std::string line, word;
    if (!std::getline(lines, line) || line != PLAN_HEADER) {
        why = "it does not begin with \"stand-in plan\"";
        return false;
    }
    bool inputs = false, outputs = false, batched = false;
    while (std::getline(lines, line)) {
        std::istringstream words(line);
        if (!(words >> word)) continue;
        bool good = false;
        if (word == "input" || word == "output") {
            Tensor tensor;
            good = parse_tensor(words, word == "input", tensor) && !find(tensor.name.c_str());
            (tensor.input ? inputs : outputs) = true;
            batched |= tensor.batched;
            tensors.push_back(tensor);
        } else if (word == "batch") {
            good = parse_batch(words, *this);
        } else if (word == "workspace") {
            good = parse_bytes(words, workspace);
        } else if (word == "weights") {
            good = parse_bytes(words, weights);
        } else if (word == "mixes") {
            good = parse_bytes(words, mixes);
        }
        if (!good) {
            why = "this line is not understood: " + line;
            return false;
        }
    }
    bool batched_input = false;
    for (auto const& tensor : tensors) batched_input |= tensor.input && tensor.batched;
    if (!inputs || !outputs) why = "it has no input or no output";
    if (batched && least == 0) why = "it has an N but no batch";
    if (batched && !batched_input) why = "an output has an N but no input has";
    return why.empty();
}
