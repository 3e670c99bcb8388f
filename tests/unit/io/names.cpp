// Names and boxes between disk and memory, for all families.
#include "plait/io/config.hpp"
#include "plait/io/load_tensors.hpp"
#include "plait/io/write_safetensors.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "support.hpp"

using namespace plait;
using namespace plait::io;
using namespace io_tests;

namespace {

using shape_list = std::vector<std::int64_t>;

model_config tiny(const std::string& family) {
  model_config c;
  c.family = family;
  c.vocabulary = 10;
  c.hidden = 6;
  c.layers = 12;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 2;
  c.experts = 11;  // a sort by name puts expert 10 before expert 2
  c.top_k = 2;
  c.expert_intermediate = 3;
  c.sparse_layer.assign(12, true);
  if (family == "qwen2_moe" || family == "hunyuan_v1_moe") c.shared_intermediate = 5;
  if (family == "hunyuan_v1_moe") c.query_key_norm = true;
  if (family == "qwen3_moe") {
    c.query_key_norm = true;
    c.attention_bias = true;
    c.dense_intermediate = 5;
    c.sparse_layer[0] = c.sparse_layer[7] = false;
  }
  return c;
}

/// The value of an element of a tensor in memory: exact in every type that is used here.
float value_at(std::size_t tensor, std::int64_t flat) {
  return static_cast<float>((static_cast<std::int64_t>(tensor) * 37 + flat) % 251);
}

std::vector<float> values(std::size_t tensor, const shape_list& shape) {
  std::vector<float> all(static_cast<std::size_t>(plait::io::detail::product(shape)));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = value_at(tensor, static_cast<std::int64_t>(i));
  return all;
}

/// Writes the model in the family's spelling, in files of about `per_file` tensors.
void write_model(const std::string& folder, const model_config& c, std::size_t per_file, bool in_memory_spelling = false) {
  const std::vector<named_shape> memory = memory_tensors(c);
  struct piece {
    std::string name;
    shape_list shape;
    std::vector<float> data;
  };
  std::vector<piece> pieces;
  for (std::size_t t = 0; t < memory.size(); ++t) {
    const std::vector<float> data = values(t, memory[t].shape);
    if (in_memory_spelling) {
      pieces.push_back({memory[t].name, memory[t].shape, data});
      continue;
    }
    for (const tensor_write& w : plan_writes(c.family, memory[t].name, memory[t].shape)) {
      const auto size = plait::io::detail::product(w.shape);
      pieces.push_back({w.name, w.shape, {data.begin() + w.from_offset, data.begin() + w.from_offset + size}});
    }
  }
  std::mt19937 random(3);
  std::shuffle(pieces.begin(), pieces.end(), random);  // the order of arrival means nothing
  std::string map;
  for (std::size_t i = 0; i < pieces.size(); i += per_file) {
    std::vector<tensor_to_write> tensors;
    const std::string file = per_file >= pieces.size() ? "model.safetensors" : "part-" + std::to_string(i) + ".safetensors";
    for (std::size_t k = i; k < std::min(i + per_file, pieces.size()); ++k) {
      tensors.push_back({pieces[k].name, element::f32, pieces[k].shape, pieces[k].data.data()});
      map += (map.empty() ? "\"" : ",\"") + pieces[k].name + "\":\"" + file + "\"";
    }
    write_safetensors(folder + "/" + file, tensors);
  }
  if (per_file < pieces.size()) write(folder + "/model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
}

}  // namespace

TEST_CASE("the tensors of a model, in memory and on disk") {
  const model_config mixtral = tiny("mixtral");
  const auto memory = memory_tensors(mixtral);
  CHECK(memory.size() == 3 + 12 * 9);
  const auto disk = disk_tensors(mixtral);
  CHECK(disk.size() == 3 + 12 * (7 + 3 * 11));
  std::map<std::string, shape_list> found;
  for (const auto& tensor : disk) found[tensor.name] = tensor.shape;
  CHECK(found.size() == disk.size());
  CHECK(found.at("model.layers.11.block_sparse_moe.gate.weight") == shape_list{11, 6});
  CHECK(found.at("model.layers.11.block_sparse_moe.experts.10.w1.weight") == shape_list{3, 6});
  CHECK(found.at("model.layers.11.block_sparse_moe.experts.10.w2.weight") == shape_list{6, 3});
  CHECK(found.at("model.layers.11.block_sparse_moe.experts.10.w3.weight") == shape_list{3, 6});
  CHECK(found.at("model.layers.0.self_attn.k_proj.weight") == shape_list{4, 6});
  CHECK(found.at("lm_head.weight") == shape_list{10, 6});

  model_config qwen = tiny("qwen3_moe");
  qwen.tied = true;
  found.clear();
  for (const auto& tensor : disk_tensors(qwen)) found[tensor.name] = tensor.shape;
  CHECK(found.count("lm_head.weight") == 0);
  CHECK(found.at("model.layers.0.mlp.gate_proj.weight") == shape_list{5, 6});
  CHECK(found.at("model.layers.0.mlp.down_proj.weight") == shape_list{6, 5});
  CHECK(found.count("model.layers.0.mlp.gate.weight") == 0);
  CHECK(found.at("model.layers.1.mlp.gate.weight") == shape_list{11, 6});
  CHECK(found.at("model.layers.1.mlp.experts.10.down_proj.weight") == shape_list{6, 3});
  CHECK(found.at("model.layers.1.self_attn.q_norm.weight") == shape_list{2});
  CHECK(found.at("model.layers.1.self_attn.o_proj.bias") == shape_list{6});
}

TEST_CASE("names on disk are parts of tensors in memory, by the number in the name") {
  const auto part = [](const char* family, const char* name) { return parse_disk_name(family, name); };
  disk_part p = part("mixtral", "model.layers.31.block_sparse_moe.experts.10.w3.weight");
  CHECK(p.memory_name == "model.layers.31.mlp.experts.gate_up_proj");
  CHECK(p.expert == 10);
  CHECK(p.part == disk_part::role::up);
  p = part("mixtral", "model.layers.31.block_sparse_moe.gate.weight");
  CHECK(p.memory_name == "model.layers.31.mlp.gate.weight");
  CHECK(p.expert == -1);
  CHECK(p.part == disk_part::role::whole);
  p = part("qwen3_moe", "model.layers.0.mlp.experts.127.down_proj.weight");
  CHECK(p.memory_name == "model.layers.0.mlp.experts.down_proj");
  CHECK(p.expert == 127);
  CHECK(part("qwen3_moe", "model.layers.0.mlp.gate_proj.weight").memory_name == "model.layers.0.mlp.gate_proj.weight");
  CHECK(part("qwen3_moe", "model.layers.0.mlp.gate.weight").memory_name == "model.layers.0.mlp.gate.weight");
  CHECK(part("qwen3_moe", "lm_head.weight").memory_name == "lm_head.weight");
  CHECK(part("mixtral", "model.layers.2.mlp.experts.gate_up_proj").memory_name == "model.layers.2.mlp.experts.gate_up_proj");
  CHECK(part("mixtral", "model.layers.2.block_sparse_moe.experts.down_proj").memory_name ==
        "model.layers.2.mlp.experts.down_proj");
  // what is no expert of this family keeps its name
  for (const char* name : {"model.layers.0.mlp.experts.01.down_proj.weight", "model.layers.0.mlp.experts.-1.down_proj.weight",
                           "model.layers.0.mlp.experts.1.w1.weight", "model.layers.0.mlp.experts.1.down_proj.bias",
                           "model.layers.00.mlp.experts.1.down_proj.weight", "model.layers.x.mlp.gate.weight"})
    CHECK(part("qwen3_moe", name).expert == -1);
  CHECK_THROWS_AS(part("gpt2", "x"), input_error);

  for (const char* family : {"mixtral", "qwen3_moe", "granitemoe", "qwen2_moe", "hunyuan_v1_moe", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss",
                             "llama4_text", "glm4_moe", "minimax_m2", "phimoe", "ernie4_5_moe"}) {
    const model_config c = tiny(family);
    for (const tensor_write& w : export_tensors(c)) {
      const disk_part back = parse_disk_name(family, w.name);
      REQUIRE(back.memory_name == w.memory_name);
      if (back.expert >= 0) REQUIRE(back.expert == w.start[0]);
      if (back.part == disk_part::role::gate) REQUIRE(w.start[1] == 0);
      if (back.part == disk_part::role::up) REQUIRE(w.start[1] == 3);
    }
  }
}

TEST_CASE("the reads of a box") {
  // rows 2..4 of gate_up (gate rows 0..2, up rows 3..5) of experts 9 and 10, columns 1..2
  const shape_list shape{11, 6, 4}, start{9, 2, 1}, count{2, 3, 2};
  const auto reads = plan_reads("mixtral", "model.layers.5.mlp.experts.gate_up_proj", shape, start, count);
  REQUIRE(reads.size() == 4);
  CHECK(reads[0].name == "model.layers.5.block_sparse_moe.experts.9.w1.weight");
  CHECK(reads[0].shape == shape_list{3, 4});
  CHECK(reads[0].start == shape_list{2, 1});
  CHECK(reads[0].count == shape_list{1, 2});
  CHECK(reads[0].to_start == shape_list{0, 0, 0});
  CHECK(reads[0].to_count == shape_list{1, 1, 2});
  CHECK(reads[0].to_offset == 0);
  CHECK(reads[1].name == "model.layers.5.block_sparse_moe.experts.9.w3.weight");
  CHECK(reads[1].start == shape_list{0, 1});
  CHECK(reads[1].count == shape_list{2, 2});
  CHECK(reads[1].to_start == shape_list{0, 1, 0});
  CHECK(reads[1].to_offset == 2);
  CHECK(reads[3].name == "model.layers.5.block_sparse_moe.experts.10.w3.weight");
  CHECK(reads[3].to_offset == 8);
  // only gate rows: up is not touched; an empty box reads nothing
  CHECK(plan_reads("qwen3_moe", "model.layers.5.mlp.experts.gate_up_proj", shape, shape_list{0, 0, 0}, shape_list{11, 3, 4})
            .size() == 11);
  CHECK(plan_reads("qwen3_moe", "model.layers.5.mlp.experts.gate_up_proj", shape, shape_list{11, 0, 0}, shape_list{0, 6, 4})
            .empty());
  CHECK_THROWS_AS(plan_reads("qwen3_moe", "a", shape, shape_list{0, 0, 0}, shape_list{12, 1, 1}), std::out_of_range);
  CHECK_THROWS_AS(plan_reads("qwen3_moe", "a", shape, shape_list{0, 0}, shape_list{1, 1}), std::out_of_range);
}

TEST_CASE("random boxes of every tensor are loaded rightly, each byte once") {
  for (const std::string family : {"mixtral", "qwen3_moe"}) {
    for (const bool fused : {false, true}) {
      CAPTURE(family);
      CAPTURE(fused);
      const scratch folder;
      const model_config c = tiny(family);
      write_model(folder.path, c, fused ? 100'000 : 50, fused);
      const hf_folder model(folder.path);
      const checkpoint_report report = check_checkpoint(model, c);
      CHECK(report.unexpected.empty());
      CHECK(report.warnings.empty());
      CHECK(report.expected == model.size());
      CHECK(model.bytes_read() == 0);
      const auto memory = memory_tensors(c);
      std::mt19937 random(11);
      for (std::size_t t = 0; t < memory.size(); ++t) {
        const shape_list& shape = memory[t].shape;
        const std::vector<float> all = values(t, shape);
        for (int round = 0; round < 6; ++round) {
          shape_list start, count;
          std::int64_t size = 1;
          for (const std::int64_t extent : shape) {
            const auto from = round == 0 ? 0 : static_cast<std::int64_t>(random() % static_cast<unsigned>(extent + 1));
            const auto most = extent - from;
            start.push_back(from);
            count.push_back(round < 2 ? most : static_cast<std::int64_t>(random() % static_cast<unsigned>(most + 1)));
            size *= count.back();
          }
          const std::uint64_t before = model.bytes_read();
          const dtype type = round % 3 == 0 ? dtype::f32 : round % 3 == 1 ? dtype::bf16 : dtype::f64;
          std::vector<char> out((static_cast<std::size_t>(size) + 1) * size_of(type), '\x5a');
          load_box(model, family, memory[t].name, shape, start, count, type, out.data());
          CHECK(model.bytes_read() - before == static_cast<std::uint64_t>(size) * 4);
          for (std::size_t i = static_cast<std::size_t>(size) * size_of(type); i < out.size(); ++i) REQUIRE(out[i] == '\x5a');
          shape_list at = start;
          for (std::int64_t i = 0; i < size; ++i) {
            std::int64_t flat = 0;
            for (std::size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + at[d];
            double found = 0;
            if (type == dtype::f32) found = reinterpret_cast<const float*>(out.data())[i];
            if (type == dtype::f64) found = reinterpret_cast<const double*>(out.data())[i];
            if (type == dtype::bf16) found = static_cast<float>(reinterpret_cast<const bfloat16*>(out.data())[i]);
            REQUIRE(found == all[static_cast<std::size_t>(flat)]);
            for (std::size_t d = shape.size(); d-- > 0;) {
              if (++at[d] < start[d] + count[d]) break;
              at[d] = start[d];
            }
          }
        }
      }
    }
  }
}

TEST_CASE("every rank of an expert-parallel load reads its own experts and nothing else") {
  const scratch folder;
  model_config c = tiny("mixtral");
  c.experts = 8;
  write_model(folder.path, c, 1'000'000);
  const shape_list shape{8, 6, 6};
  std::uint64_t total = 0;
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    const hf_folder mine(folder.path);
    std::vector<float> out(2 * 6 * 6);
    load_box(mine, "mixtral", "model.layers.3.mlp.experts.gate_up_proj", shape, shape_list{2 * rank, 0, 0}, shape_list{2, 6, 6},
             dtype::f32, out.data());
    CHECK(mine.bytes_read() == out.size() * 4);
    total += mine.bytes_read();
  }
  CHECK(total == 8 * 6 * 6 * 4);
}

TEST_CASE("element types") {
  const auto as_float = [](element type, auto raw) {
    float out = 0;
    convert_elements(type, &raw, dtype::f32, &out, 1);
    return out;
  };
  for (const auto& [bits, expected] : std::map<std::uint16_t, float>{{0x3c00, 1.0f},
                                                                     {0xc000, -2.0f},
                                                                     {0x7bff, 65504.0f},
                                                                     {0x0001, 0x1p-24f},
                                                                     {0x03ff, 1023 * 0x1p-24f},
                                                                     {0x0400, 0x1p-14f},
                                                                     {0x8000, -0.0f},
                                                                     {0x3555, 0x1.554p-2f}})
    CHECK(std::bit_cast<std::uint32_t>(as_float(element::f16, bits)) == std::bit_cast<std::uint32_t>(expected));
  CHECK(std::isinf(as_float(element::f16, std::uint16_t{0x7c00})));
  CHECK(std::isnan(as_float(element::f16, std::uint16_t{0x7e01})));
  CHECK(as_float(element::bf16, std::uint16_t{0x3f80}) == 1.0f);
  CHECK(as_float(element::f64, 1.0 + 0x1p-30) == 1.0f);
  const auto as_bf16 = [](element type, auto raw) {
    bfloat16 out;
    convert_elements(type, &raw, dtype::bf16, &out, 1);
    return out.bits;
  };
  CHECK(as_bf16(element::f32, 1.0f) == 0x3f80);
  CHECK(as_bf16(element::f32, std::bit_cast<float>(0x3f808000u)) == 0x3f80);  // half way: to even
  CHECK(as_bf16(element::f32, std::bit_cast<float>(0x3f818000u)) == 0x3f82);
  CHECK(as_bf16(element::f64, 1.0 + 0x1p-8) == 0x3f80);            // half way: to even
  CHECK(as_bf16(element::f64, 1.0 + 0x1p-8 + 0x1p-40) == 0x3f81);  // above half way, by less than float can say
  CHECK(as_bf16(element::f64, 1.0 + 3 * 0x1p-8 - 0x1p-40) == 0x3f81);
  CHECK(as_bf16(element::f64, -1.0 - 0x1p-8 - 0x1p-40) == 0xbf81);
  CHECK(std::isnan(static_cast<float>(bfloat16{})) == false);
  CHECK_THROWS_AS(convert_elements(element::i64, nullptr, dtype::f32, nullptr, 0), std::invalid_argument);

  // a tensor larger than the buffer between, of another type than asked for
  const scratch folder;
  const std::int64_t rows = 3, columns = 2'500'000;
  std::vector<std::uint16_t> data(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint16_t>(0x3f80 + i % 97);
  write_safetensors(folder.file("model.safetensors"), {{"w", element::bf16, {rows, columns}, data.data()}});
  const hf_folder model(folder.path);
  std::vector<float> out(2 * 2'499'999);
  load_box(model, "mixtral", "w", shape_list{rows, columns}, shape_list{1, 1}, shape_list{2, columns - 1}, dtype::f32,
           out.data());
  bool equal = true;
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t k = 0; k < columns - 1; ++k)
      equal = equal && std::bit_cast<std::uint32_t>(out[static_cast<std::size_t>(r * (columns - 1) + k)]) ==
                           static_cast<std::uint32_t>(data[static_cast<std::size_t>((r + 1) * columns + k + 1)]) << 16;
  CHECK(equal);
}

TEST_CASE("checkpoints that do not fit their config") {
  const model_config c = tiny("mixtral");
  const auto with = [&](auto change) {
    const scratch folder;
    std::vector<named_shape> tensors = disk_tensors(c);
    std::vector<element> types(tensors.size(), element::f32);
    change(tensors, types);
    types.resize(tensors.size(), element::f32);
    const std::vector<double> zeros(4096);
    std::vector<tensor_to_write> all;
    for (std::size_t i = 0; i < tensors.size(); ++i) all.push_back({tensors[i].name, types[i], tensors[i].shape, zeros.data()});
    write_safetensors(folder.file("model.safetensors"), all);
    const hf_folder model(folder.path);
    std::vector<std::string> unexpected;
    const auto message = refusal([&] { unexpected = check_checkpoint(model, c).unexpected; });
    return std::pair{message, unexpected};
  };
  using list = std::vector<named_shape>;
  using types = std::vector<element>;
  const auto at = [](list& tensors, std::string_view name) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].name == name) return i;
    FAIL("no such tensor");
    return std::size_t{0};
  };
  const char* expert = "model.layers.4.block_sparse_moe.experts.7.w2.weight";
  CHECK_FALSE(with([](list&, types&) {}).first);
  auto [message, ignored] = with([&](list& t, types&) { t.erase(t.begin() + static_cast<std::ptrdiff_t>(at(t, expert))); });
  CHECK(contains(message, std::string("tensor \"") + expert + "\": is missing;"));
  CHECK(contains(with([&](list& t, types&) { t.resize(t.size() - 2); }).first, "\"model.norm.weight\": is missing (and 1 more)"));
  CHECK(contains(with([&](list& t, types&) {
                   t[at(t, expert)].shape = {3, 6};
                 }).first,
                 "has shape [3, 6], config.json asks for [6, 3]"));
  CHECK(contains(with([&](list& t, types&) {
                   t[at(t, "model.norm.weight")].shape = {6, 1};
                 }).first,
                 "has shape [6, 1], config.json asks for [6]"));
  CHECK(contains(with([&](list& t, types& k) { k[at(t, expert)] = element::f8_e4m3; }).first, "of type F8_E4M3"));
  CHECK(contains(with([&](list& t, types& k) { k[at(t, expert)] = element::i32; }).first, "of type I32"));
  CHECK(contains(with([&](list& t, types&) {
                   t.push_back({"model.layers.4.mlp.experts.down_proj", {11, 6, 3}});
                 }).first,
                 "is there beside the fused tensor"));
  CHECK(contains(with([&](list& t, types&) {
                   t.push_back({"model.layers.4.mlp.gate.weight", {11, 6}});
                 }).first,
                 "is there under two names"));
  const auto extra = with([&](list& t, types&) {
    t.push_back({"model.layers.4.block_sparse_moe.experts.11.w2.weight", {6, 3}});
    t.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {1}});
  });
  CHECK_FALSE(extra.first);
  CHECK(extra.second == std::vector<std::string>{"model.layers.0.self_attn.rotary_emb.inv_freq",
                                                 "model.layers.4.block_sparse_moe.experts.11.w2.weight"});
  // the loader itself says the same
  const scratch folder;
  write_safetensors(folder.file("model.safetensors"), std::vector<tensor_to_write>{});
  const hf_folder empty(folder.path);
  float out[4];
  CHECK(contains(refusal([&] {
                   load_box(empty, "mixtral", "model.layers.0.mlp.experts.down_proj", shape_list{2, 2, 1}, shape_list{0, 0, 0},
                            shape_list{2, 2, 1}, dtype::f32, out);
                 }),
                 "\"model.layers.0.block_sparse_moe.experts.0.w2.weight\": is missing"));
}

TEST_CASE("oracles: names and shapes are those of transformers' gradients, and an export gives the file back") {
  for (const char* name : {"mixtral", "qwen3_moe", "qwen3_moe_tied"}) {
    if (!has_oracle(name)) continue;
    CAPTURE(name);
    const model_config c = read_config(oracle(name));
    const hf_folder model(oracle(name));
    const checkpoint_report report = check_checkpoint(model, c);
    CHECK(report.unexpected.empty());
    CHECK(report.expected == model.size());

    const safetensors_file numbers(oracle(name) + "/oracle.safetensors");
    std::set<std::string> gradients;
    for (const tensor_entry& entry : numbers.entries())
      if (entry.name.starts_with("grad.")) gradients.insert(entry.name.substr(5));
    std::map<std::string, std::vector<float>> memory;
    for (const named_shape& tensor : memory_tensors(c)) {
      CHECK(gradients.erase(tensor.name) == 1);
      CHECK(std::ranges::equal(numbers.find("grad." + tensor.name)->shape(), tensor.shape));
      auto& data = memory[tensor.name];
      data.resize(static_cast<std::size_t>(plait::io::detail::product(tensor.shape)));
      load_tensor(model, c.family, tensor, dtype::f32, data.data());
      // ten steps of 1e-3 move no element by more than about 1e-2: another order of experts or halves would
      if (const tensor_entry* after = numbers.find("after." + tensor.name)) {
        std::vector<float> moved(data.size());
        numbers.read(*after, moved.data());
        float most = 0;
        for (std::size_t i = 0; i < data.size(); ++i) most = std::max(most, std::fabs(data[i] - moved[i]));
        CHECK(most < 0.0105f);
      }
    }
    CHECK(gradients.empty());
    CHECK(model.bytes_read() == fs::file_size(oracle(name) + "/model.safetensors") - 8 - std::bit_cast<std::uint64_t>([&] {
                                  std::array<char, 8> length{};
                                  const std::string bytes = slurp(oracle(name) + "/model.safetensors");
                                  std::copy_n(bytes.begin(), 8, length.begin());
                                  return length;
                                }()));

    const scratch folder;
    const std::vector<tensor_write> writes = export_tensors(c);
    std::vector<tensor_header> headers;
    for (const tensor_write& write : writes) headers.push_back({write.name, element::f32, write.shape});
    write_safetensors(folder.file("model.safetensors"), headers, {{"format", "pt"}},
                      [&](const tensor_header& header, std::size_t i, const tensor_sink& sink) {
                        sink(memory.at(writes[i].memory_name).data() + writes[i].from_offset,
                             static_cast<std::size_t>(header.bytes()));
                      });
    CHECK(slurp(folder.file("model.safetensors")) == slurp(oracle(name) + "/model.safetensors"));
  }
}
