// config.json: both spellings, defaults, and refusals.
#include "plait/io/config.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <map>

#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

namespace {

using edits = std::map<std::string, std::string>;

/// The fields of `base` with `changed` in their place; an empty text removes a field.
std::string with(edits base, const edits& changed) {
  for (const auto& [key, value] : changed) base[key] = value;
  std::string text = "{";
  for (const auto& [key, value] : base) {
    if (value.empty()) continue;
    if (text.size() > 1) text += ",\n";
    text += "\"" + key + "\": " + value;
  }
  return text + "}";
}

const edits mixtral_5 = {{"model_type", "\"mixtral\""},
                         {"vocab_size", "96"},
                         {"hidden_size", "32"},
                         {"intermediate_size", "24"},
                         {"num_hidden_layers", "2"},
                         {"num_attention_heads", "8"},
                         {"num_key_value_heads", "4"},
                         {"head_dim", "8"},
                         {"num_local_experts", "8"},
                         {"num_experts_per_tok", "2"},
                         {"hidden_act", "\"silu\""},
                         {"rms_norm_eps", "1e-05"},
                         {"dtype", "\"bfloat16\""},
                         {"eos_token_id", "null"},
                         {"bos_token_id", "1"},
                         {"rope_parameters", R"({"rope_theta": 1000000.0, "rope_type": "default"})"},
                         {"sliding_window", "null"},
                         {"router_aux_loss_coef", "0.02"},
                         {"output_router_logits", "false"},
                         {"tie_word_embeddings", "false"},
                         {"max_position_embeddings", "256"}};
const edits qwen_5 = {{"model_type", "\"qwen3_moe\""},
                      {"vocab_size", "96"},
                      {"hidden_size", "32"},
                      {"intermediate_size", "48"},
                      {"moe_intermediate_size", "24"},
                      {"num_hidden_layers", "4"},
                      {"num_attention_heads", "8"},
                      {"num_key_value_heads", "4"},
                      {"head_dim", "8"},
                      {"num_local_experts", "8"},
                      {"num_experts_per_tok", "2"},
                      {"norm_topk_prob", "true"},
                      {"mlp_only_layers", "[0]"},
                      {"decoder_sparse_step", "1"},
                      {"rope_parameters", R"({"rope_theta": 10000.0, "rope_type": "default"})"},
                      {"sliding_window", "4096"},
                      {"use_sliding_window", "false"}};

model_config mixtral(const edits& changed = {}) { return parse_config("dir/config.json", with(mixtral_5, changed)); }
model_config qwen(const edits& changed = {}) { return parse_config("dir/config.json", with(qwen_5, changed)); }
std::vector<bool> layers(const std::string& text) {
  std::vector<bool> out;
  for (const char c : text) out.push_back(c == 's');
  return out;
}

}  // namespace

TEST_CASE("mixtral in the spelling of transformers 5 and 4") {
  const model_config five = mixtral();
  CHECK(five.family == "mixtral");
  CHECK(five.vocabulary == 96);
  CHECK(five.hidden == 32);
  CHECK(five.layers == 2);
  CHECK(five.heads == 8);
  CHECK(five.kv_heads == 4);
  CHECK(five.head_dim == 8);
  CHECK(five.expert_intermediate == 24);
  CHECK(five.dense_intermediate == 0);
  CHECK(five.experts == 8);
  CHECK(five.top_k == 2);
  CHECK(five.router.normalise);
  CHECK(five.rms_epsilon == 1e-5);
  CHECK(five.rope_theta == 1e6);
  CHECK(five.aux_coefficient == 0.02);
  CHECK(five.aux_weight() == 0);
  CHECK_FALSE(five.query_key_norm);
  CHECK(five.sparse_layer == layers("ss"));
  CHECK(five.eos.empty());
  CHECK(five.bos == 1);
  CHECK(five.dtype == "bfloat16");
  CHECK(five.max_positions == 256);
  CHECK(five.raw_text == with(mixtral_5, {}));

  const edits spelled_4 = {
      {"dtype", ""}, {"torch_dtype", "\"bfloat16\""}, {"rope_parameters", ""}, {"rope_theta", "1e6"}, {"rope_scaling", "null"}};
  model_config four = mixtral(spelled_4);
  four.raw_text = five.raw_text;
  CHECK(four.rope_theta == five.rope_theta);
  CHECK(four.dtype == five.dtype);
  CHECK(mixtral({{"output_router_logits", "true"}}).aux_weight() == 0.02);
  const model_config stretched = mixtral({{"rope_parameters", ""}, {"rope_theta", "1e6"}, {"rope_scaling", R"({"type": "linear", "factor": 2.0})"}});
  CHECK(stretched.rope.type == rope_scaling::kind::linear);
  CHECK(stretched.rope.factor == 2);
  // also both spellings side by side, as long as they agree
  CHECK(mixtral({{"rope_theta", "1000000"}, {"torch_dtype", "\"bfloat16\""}, {"num_experts", "8"}}).rope_theta == 1e6);
  CHECK(mixtral({{"norm_topk_prob", "false"}}).router.normalise);  // the class has no such field
}

TEST_CASE("qwen3_moe: dense and sparse layers, its own defaults") {
  CHECK(qwen().sparse_layer == layers("dsss"));
  CHECK(qwen().dense_intermediate == 48);
  CHECK(qwen().query_key_norm);
  CHECK(qwen({{"mlp_only_layers", "[]"}}).sparse_layer == layers("ssss"));
  CHECK(qwen({{"mlp_only_layers", "null"}}).sparse_layer == layers("ssss"));
  CHECK(qwen({{"mlp_only_layers", ""}, {"decoder_sparse_step", "2"}}).sparse_layer == layers("dsds"));
  CHECK(qwen({{"mlp_only_layers", "[3, 1, 77]"}, {"decoder_sparse_step", "2"}}).sparse_layer == layers("dddd"));
  CHECK(qwen({{"mlp_only_layers", "[]"}, {"decoder_sparse_step", "3"}}).sparse_layer == layers("ddsd"));
  CHECK(qwen({{"num_local_experts", ""}, {"num_experts", "16"}}).experts == 16);
  CHECK_FALSE(qwen({{"norm_topk_prob", ""}}).router.normalise);
  CHECK(qwen({{"rope_parameters", ""}}).rope_theta == 1e4);
  CHECK(qwen().rms_epsilon == 1e-6);
  CHECK(qwen().bos == -1);
  CHECK(qwen().dtype == "float32");
  CHECK(qwen({{"tie_word_embeddings", "true"}}).tied);
  CHECK(qwen({{"intermediate_size", ""}, {"mlp_only_layers", "[]"}}).dense_intermediate == 0);
}

TEST_CASE("defaults of the classes") {
  const edits bare = {{"rms_norm_eps", ""},         {"rope_parameters", ""},     {"router_aux_loss_coef", ""},
                      {"output_router_logits", ""}, {"tie_word_embeddings", ""}, {"max_position_embeddings", ""},
                      {"bos_token_id", ""},         {"eos_token_id", ""},        {"dtype", ""},
                      {"hidden_act", ""},           {"sliding_window", ""},      {"num_key_value_heads", ""}};
  const model_config c = mixtral(bare);
  CHECK(c.rms_epsilon == 1e-5);
  CHECK(c.rope_theta == 1e6);
  CHECK(c.aux_coefficient == 0.001);
  CHECK_FALSE(c.output_router_logits);
  CHECK_FALSE(c.tied);
  CHECK(c.max_positions == 131072);
  CHECK(c.bos == 1);
  CHECK(c.eos.empty());  // generation does not stop at a token that the config lacks
  CHECK(c.kv_heads == 8);
  CHECK(mixtral({{"num_key_value_heads", "null"}}).kv_heads == 8);
  CHECK(mixtral({{"num_local_experts", ""}}).experts == 8);
  CHECK(mixtral({{"num_experts_per_tok", ""}}).top_k == 2);
  CHECK(qwen({{"num_local_experts", ""}, {"num_experts", ""}, {"num_experts_per_tok", ""}}).top_k == 8);
  CHECK(mixtral({{"num_experts_per_tok", "[1, 3, 7]"}}).top_k == 3);  // two layers
  CHECK(mixtral({{"num_experts_per_tok", "[1, 3, 7]"}}).chosen(0) == 1);
  CHECK(mixtral({{"head_dim", ""}}).head_dim == 4);
  CHECK(mixtral({{"head_dim", "null"}}).head_dim == 4);
  CHECK(mixtral({{"bos_token_id", "null"}}).bos == -1);
  CHECK(mixtral({{"eos_token_id", "2"}}).eos == std::vector<std::int64_t>{2});
  CHECK(mixtral({{"eos_token_id", "[2, 7]"}}).eos == std::vector<std::int64_t>{2, 7});
  CHECK(mixtral({{"dtype", "\"torch.float16\""}}).dtype == "float16");
  CHECK(mixtral({{"dtype", "\"float32\""}, {"torch_dtype", "\"float16\""}}).dtype == "float32");
  CHECK(mixtral().padding == -1);
  CHECK(mixtral({{"pad_token_id", "null"}}).padding == -1);
  CHECK(mixtral({{"pad_token_id", "3"}}).padding == 3);
  CHECK(mixtral({{"pad_token_id", "-1"}}).padding == 95);  // as torch.nn.Embedding counts
  CHECK(qwen({{"attention_bias", "true"}}).attention_bias);
  CHECK(mixtral({{"router_jitter_noise", "0.0"}, {"attention_dropout", "0.0"}}).layers == 2);
}

TEST_CASE("refused configurations: one line that names file and field") {
  struct bad {
    edits changed;
    const char* field;
    const char* says;
  };
  const bad for_both[] = {
      {{{"model_type", ""}}, "model_type", "missing"},
      {{{"model_type", "null"}}, "model_type", "missing"},
      {{{"model_type", "7"}}, "model_type", "a text"},
      {{{"model_type", "\"llama\\u001b[2J\""}}, "model_type", "\"llama\\x1b[2J\"; supported families: mixtral, qwen3_moe, llama"},
      {{{"quantization_config", "{\"bits\": 4}"}}, "quantization_config", "quantised"},
      {{{"vocab_size", ""}}, "vocab_size", "missing"},
      {{{"hidden_size", ""}}, "hidden_size", "missing"},
      {{{"hidden_size", "null"}}, "hidden_size", "missing"},
      {{{"num_hidden_layers", ""}}, "num_hidden_layers", "missing"},
      {{{"num_attention_heads", ""}}, "num_attention_heads", "missing"},
      {{{"hidden_size", "\"32\""}}, "hidden_size", "is a text; a whole number belongs here"},
      {{{"hidden_size", "32.0"}}, "hidden_size", "whole number"},
      {{{"hidden_size", "[32]"}}, "hidden_size", "is a list"},
      {{{"hidden_size", "{}"}}, "hidden_size", "is an object"},
      {{{"hidden_size", "true"}}, "hidden_size", "is true or false"},
      {{{"hidden_size", "-32"}}, "hidden_size", "cannot be negative"},
      {{{"hidden_size", "0"}}, "hidden_size", "at least 1"},
      {{{"hidden_size", "2147483649"}}, "hidden_size", "at most 2^31"},
      {{{"hidden_size", "18446744073709551615"}}, "hidden_size", "at most 2^31"},
      {{{"hidden_size", "18446744073709551616"}}, "hidden_size", "whole number"},
      {{{"hidden_size", "-9223372036854775809"}}, "hidden_size", "whole number"},
      {{{"vocab_size", "-1"}}, "vocab_size", "negative"},
      {{{"num_hidden_layers", "2000000000"}}, "num_hidden_layers", "at most 10000"},
      {{{"num_local_experts", "2000000000"}}, "num_local_experts", "at most 65536"},
      {{{"num_local_experts", "0"}}, "num_local_experts", "at least 1"},
      {{{"num_experts", "4"}}, "num_experts", "differ"},
      {{{"num_experts_per_tok", "9"}}, "num_experts_per_tok", "is 9, but there are only 8 experts"},
      {{{"num_experts_per_tok", "0"}}, "num_experts_per_tok", "at least 1"},
      {{{"num_key_value_heads", "3"}}, "num_attention_heads", "no multiple of num_key_value_heads (3)"},
      {{{"num_key_value_heads", "0"}}, "num_key_value_heads", "at least 1"},
      {{{"head_dim", "7"}}, "head_dim", "even"},
      {{{"head_dim", "1073741824"}}, "head_dim", "2^31"},
      {{{"head_dim", ""}, {"hidden_size", "33"}}, "hidden_size", "add head_dim"},
      {{{"hidden_act", "\"gelu\""}}, "hidden_act", "only \"silu\""},
      {{{"hidden_act", "5"}}, "hidden_act", "a text"},
      {{{"rms_norm_eps", "0"}}, "rms_norm_eps", "between 0 and 1"},
      {{{"rms_norm_eps", "-1e-5"}}, "rms_norm_eps", "between 0 and 1"},
      {{{"rms_norm_eps", "\"1e-5\""}}, "rms_norm_eps", "a number"},
      {{{"rope_parameters", "{\"rope_theta\": 0}"}}, "rope_parameters.rope_theta", "above 0"},
      {{{"rope_parameters", "{\"rope_theta\": -1.5}"}}, "rope_parameters.rope_theta", "above 0"},
      {{{"rope_parameters", "{\"rope_theta\": \"x\"}"}}, "rope_parameters.rope_theta", "a number"},
      {{{"rope_parameters", "{\"rope_theta\": 1e4, \"rope_type\": \"proportional\"}"}}, "rope_parameters.rope_type", "\"longrope\" are supported"},
      {{{"rope_parameters", "{\"rope_type\": \"longrope\"}"}}, "rope_parameters.short_factor", "missing"},
      {{{"rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": 2}"}}, "rope_parameters.short_factor", "a list of numbers"},
      {{{"rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": [1, 2]}"}}, "rope_parameters.short_factor", "has 2 entries; a head turns 4 pairs"},
      {{{"rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": [1, 2, 3, 0]}"}}, "rope_parameters.short_factor", "not above 0"},
      {{{"rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": [1, 2, 3, \"4\"]}"}}, "rope_parameters.short_factor", "a list of numbers"},
      {{{"rope_parameters", "{\"rope_type\": \"dynamic\"}"}}, "rope_parameters.factor", "missing"},
      {{{"rope_parameters", "{\"rope_type\": \"linear\"}"}}, "rope_parameters.factor", "missing"},
      {{{"rope_parameters", "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 4.0, \"high_freq_factor\": 3.0}"}},
       "rope_parameters.high_freq_factor", "below low_freq_factor"},
      {{{"rope_parameters", "{\"rope_type\": \"yarn\", \"factor\": -1}"}}, "rope_parameters.factor", "not above 0"},
      {{{"rope_parameters", "{\"rope_type\": \"yarn\", \"factor\": 4, \"attention_factor\": 0}"}}, "rope_parameters.attention_factor", "not above 0"},
      {{{"rope_parameters", "{\"rope_type\": \"yarn\", \"factor\": 4, \"truncate\": 1}"}}, "rope_parameters.truncate", "true or false"},
      {{{"original_max_position_embeddings", "0"}}, "original_max_position_embeddings", "at least 1"},
      {{{"rope_parameters", "{\"full_attention\": {\"rope_theta\": 1e4}}"}}, "rope_parameters", "per kind of layer"},
      {{{"rope_parameters", "{\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5}"}},
       "rope_parameters.partial_rotary_factor",
       "partial"},
      {{{"rope_parameters", "[]"}}, "rope_parameters", "an object"},
      {{{"rope_theta", "5.5"}}, "rope_theta", "differ"},
      {{{"rope_parameters", ""}, {"rope_theta", "0"}}, "rope_theta", "above 0"},
      {{{"rope_parameters", ""}, {"rope_theta", "-10000.0"}}, "rope_theta", "above 0"},
      {{{"rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0}"}}, "rope_scaling", "differ"},
      {{{"rope_scaling", "{\"rope_type\": \"su\", \"factor\": 2.0}"}}, "rope_scaling.rope_type", "\"su\""},
      {{{"pad_token_id", "96"}}, "pad_token_id", "outside of the vocabulary of 96"},
      {{{"pad_token_id", "-97"}}, "pad_token_id", "outside of the vocabulary"},
      {{{"pad_token_id", "0.5"}}, "pad_token_id", "a whole number"},
      {{{"per_layer_config", "{\"0\": {\"head_dim\": 4}}"}}, "per_layer_config", "one set for all layers"},
      {{{"num_experts_per_tok", "[2]"}}, "num_experts_per_tok", "1 entries for"},
      {{{"num_experts_per_tok", "[2, 9, 2, 3, 2]"}}, "num_experts_per_tok", "is 9, but there are only 8 experts"},
      {{{"rope_scaling", "{\"rope_type\": \"yarn\", \"type\": \"linear\", \"factor\": 2.0}"}}, "rope_scaling.type", "differ"},
      {{{"rope_scaling", "{\"factor\": 2.0}"}}, "rope_scaling", "rope_type"},
      {{{"rope_scaling", "2.0"}}, "rope_scaling", "an object or null"},
      {{{"partial_rotary_factor", "0.5"}}, "partial_rotary_factor", "partial"},
      {{{"router_aux_loss_coef", "-0.1"}}, "router_aux_loss_coef", "negative"},
      {{{"output_router_logits", "1"}}, "output_router_logits", "true or false"},
      {{{"tie_word_embeddings", "\"no\""}}, "tie_word_embeddings", "true or false"},
      {{{"attention_dropout", "0.1"}}, "attention_dropout", "dropout"},
      {{{"dtype", "\"int8\""}}, "dtype", "\"int8\""},
      {{{"eos_token_id", "\"</s>\""}}, "eos_token_id", "a whole number"},
      {{{"eos_token_id", "[1, -2]"}}, "eos_token_id", "negative"},
      {{{"bos_token_id", "[1]"}}, "bos_token_id", "a whole number"},
      {{{"max_position_embeddings", "0"}}, "max_position_embeddings", "at least 1"},
  };
  const bad for_mixtral[] = {
      {{{"intermediate_size", ""}}, "intermediate_size", "missing"},
      {{{"sliding_window", "0"}}, "sliding_window", "at least 1"},
      {{{"router_jitter_noise", "0.01"}}, "router_jitter_noise", "jitter"},
  };
  const bad for_qwen[] = {
      {{{"moe_intermediate_size", ""}}, "moe_intermediate_size", "missing"},
      {{{"intermediate_size", ""}}, "intermediate_size", "missing"},  // layer 0 is dense
      {{{"use_sliding_window", "true"}, {"layer_types", "[]"}}, "layer_types", "for all layers"},
      {{{"layer_types", "[\"sliding_attention\", \"full_attention\", \"full_attention\", \"full_attention\"]"}}, "layer_types", "use_sliding_window is not true"},
      {{{"decoder_sparse_step", "0"}}, "decoder_sparse_step", "at least 1"},
      {{{"mlp_only_layers", "[-1]"}}, "mlp_only_layers", "negative"},
      {{{"mlp_only_layers", "[0.5]"}}, "mlp_only_layers", "whole number"},
      {{{"mlp_only_layers", "0"}}, "mlp_only_layers", "a list"},
      {{{"mlp_layer_types", "[\"dense\"]"}}, "mlp_layer_types", "not supported"},
      {{{"attention_bias", "0"}}, "attention_bias", "true or false"},
      {{{"layer_types", "[\"full_attention\"]"}}, "layer_types", "1 entries for 4 layers"},
      {{{"layer_types", "[\"x\", \"full_attention\", \"full_attention\", \"full_attention\"]"}}, "layer_types", "full_attention"},
  };
  const auto check = [](const bad& b, const edits& base) {
    const auto message = refusal([&] { parse_config("dir/config.json", with(base, b.changed)); });
    CAPTURE(b.field);
    REQUIRE_MESSAGE(message, b.field << " " << b.says);
    CHECK_MESSAGE(message->starts_with("dir/config.json: field \"" + std::string(b.field) + "\": "), *message);
    CHECK_MESSAGE(message->find(b.says) != std::string::npos, *message);
  };
  for (const bad& b : for_both) {
    check(b, mixtral_5);
    check(b, qwen_5);
  }
  for (const bad& b : for_mixtral) check(b, mixtral_5);
  for (const bad& b : for_qwen) check(b, qwen_5);
}

TEST_CASE("refused texts") {
  const std::string good = with(mixtral_5, {});
  const auto says = [](const std::string& text, std::string_view part) {
    const auto message = refusal([&] { parse_config("dir/config.json", text); });
    CHECK_MESSAGE(contains(message, part), message.value_or("accepted"));
    CHECK(contains(message, "dir/config.json"));
  };
  says("", "not valid JSON");
  says("[]", "is a list, not an object");
  says("null", "is null, not an object");
  says("\"mixtral\"", "is a text, not an object");
  says(good + "x", "not valid JSON");
  says("\xef\xbb\xbf" + good, "byte-order mark");
  says(good.substr(0, good.size() / 2), "not valid JSON");
  says("{\"hidden_size\": 1, " + good.substr(1), "field \"hidden_size\": appears twice");
  says("{\"x\": {\"y\": 1, \"y\": 2}, " + good.substr(1), "field \"y\": appears twice");
  says("{\"x\": " + std::string(100, '[') + std::string(100, ']') + ", " + good.substr(1), "nested too deep");
  says("{\"x\": " + std::string(200'000, '['), "nested too deep");
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999"})
    says("{\"rms_norm_eps\": " + std::string(number) + "}", "not valid JSON");
  says(std::string((16u << 20) + 1, ' '), "larger than 16 MB");
  std::string many = "{";
  for (int i = 0; i < 200'000; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  says(many + "\"z\":1}", "too many fields");
}

TEST_CASE("layers that attend locally") {
  CHECK(mixtral({{"sliding_window", "16"}}).local_layer == std::vector<bool>{true, true});
  CHECK(mixtral({{"sliding_window", "16"}}).window == 16);
  CHECK(mixtral().local_layer.empty());
  CHECK(qwen().window == 0);
  CHECK(qwen({{"use_sliding_window", "true"}}).window == 4096);
  CHECK(qwen({{"use_sliding_window", "true"}}).local(3));
}

TEST_CASE("gpt_oss and llama4_text: their oracles' and their classes' defaults") {
  if (!has_oracle("gpt_oss") || !has_oracle("llama4_text")) return;
  const model_config g = read_config(oracle("gpt_oss"));
  CHECK(g.local_layer == std::vector<bool>{true, false});
  CHECK(g.window == 8);
  CHECK(g.rope.type == rope_scaling::kind::yarn);
  CHECK_FALSE(g.rope.truncate);
  CHECK((g.sinks && g.attention_bias && g.router_bias && g.expert_bias && g.transposed_experts && !g.weighs_inputs));
  const edits few = {{"vocab_size", "96"}, {"hidden_size", "32"}, {"intermediate_size", "24"}, {"num_hidden_layers", "5"},
                     {"num_attention_heads", "8"}, {"num_local_experts", "8"}, {"num_experts_per_tok", "2"}};
  const auto of = [&](const char* family, edits changed) {
    changed["model_type"] = "\"" + std::string(family) + "\"";
    return parse_config("config.json", with(few, changed));
  };
  const model_config plain = of("gpt_oss", {});
  CHECK(plain.local_layer == std::vector<bool>{true, false, true, false, true});
  CHECK(plain.window == 128);
  CHECK(plain.head_dim == 64);
  CHECK(plain.rope.factor == 32);
  CHECK(plain.rope.attention_factor == doctest::Approx(1.3465735902799727));
  CHECK(contains(refusal([&] { of("gpt_oss", {{"quantization_config", "{\"quant_method\": \"mxfp4\"}"}}); }), "Mxfp4Config(dequantize=True)"));

  const model_config l = read_config(oracle("llama4_text"));
  CHECK(l.chunk == 16);
  CHECK(l.router.scoring == plait::router_scoring::sigmoid);
  CHECK((l.weighs_inputs && l.rotary_pairs && l.rotated_norm && l.transposed_experts && !l.sinks));
  const model_config five = of("llama4_text", {{"interleave_moe_layer_step", "2"}});
  CHECK(five.local_layer == std::vector<bool>{true, true, true, false, true});
  CHECK((!five.turns(3) && five.turns(4)));
  CHECK(five.sparse_layer == std::vector<bool>{false, true, false, true, false});
  CHECK(five.chunk == 8192);
  CHECK(five.dense_intermediate == 16384);
  CHECK(of("llama4_text", {{"moe_layers", "[]"}}).sparse_layer == std::vector<bool>(5, false));
  CHECK(of("llama4_text", {{"moe_layers", "[4]"}}).sparse_layer[4]);
  CHECK(of("llama4_text", {{"attn_temperature_tuning", "false"}}).temperature_scale == 0);
  CHECK(of("llama4_text", {{"attn_temperature_tuning", "4"}}).temperature_scale == 0.1);
  CHECK(of("llama4_text", {{"no_rope_layers", "[1, 0, 1, 1, 1]"}}).local_layer == std::vector<bool>{true, false, true, true, true});
}

TEST_CASE("the folder's config.json") {
  const scratch folder;
  CHECK(contains(refusal([&] { read_config(folder.path); }), "\"config.json\" is not in the folder"));
  write(folder.file("config.json"), with(mixtral_5, {}));
  CHECK(read_config(folder.path).hidden == 32);
  fs::create_directory(folder.file("m"));
  fs::create_symlink("../config.json", folder.file("m/config.json"));
  CHECK(contains(refusal([&] { read_config(folder.file("m")); }), "a link that leaves the folder"));
  fs::remove(folder.file("m/config.json"));
  fs::create_directory(folder.file("m/config.json"));
  CHECK(contains(refusal([&] { read_config(folder.file("m")); }), "not a regular file"));
  fs::remove(folder.file("m/config.json"));
  { std::ofstream(folder.file("m/config.json")); }
  fs::resize_file(folder.file("m/config.json"), std::uintmax_t{1} << 40);  // sparse: must not be read into memory
  CHECK(contains(refusal([&] { read_config(folder.file("m")); }), "at most 16777216"));
}

TEST_CASE("oracles: the balancing loss is added where output_router_logits says so") {
  for (const char* name : {"mixtral", "mixtral_aux", "mixtral_padded", "qwen3_moe", "qwen3_moe_tied"}) {
    if (!has_oracle(name)) continue;
    const model_config c = read_config(oracle(name));
    CHECK(c.hidden == 32);
    CHECK(c.experts == 8);
    CHECK(c.top_k == 2);
    CHECK(c.head_dim == 8);
    const bool added = std::string_view(name) == "mixtral_aux" || std::string_view(name) == "mixtral_padded";
    CHECK(c.aux_weight() == (added ? 0.02 : 0.0));
    CHECK(c.tied == (std::string_view(name) == "qwen3_moe_tied"));
    CHECK(c.sparse_layer == layers(c.family == "mixtral" ? "ss" : "ds"));
  }
}
