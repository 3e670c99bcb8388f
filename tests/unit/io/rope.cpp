// Frequencies of the rotary embedding against transformers' (modeling_rope_utils, version 5.17).
#include "plait/model/rotary_angles.hpp"

#include <doctest/doctest.h>

#include "plait/io/config_rope.hpp"

using namespace plait;

namespace {

io::rope_scaling scaling(const std::string& parameters, std::int64_t max_positions, std::int64_t width = 8, const std::string& beside = {},
                         const io::detail::rope_class& family = {}) {
  const io::json_value tree = io::parse_json_tree("config.json", "{" + beside + "\"rope_parameters\": {" + parameters + "}}");
  return io::detail::read_rope(io::detail::fields("config.json", tree), max_positions, width, family);
}
void compare(std::int64_t width, double theta, const io::rope_scaling& s, double factor, const std::vector<double>& want, double length = 0) {
  CHECK(s.attention_factor == doctest::Approx(factor).epsilon(1e-12));
  const std::vector<float> got = rotary_frequencies<float>(width, theta, s, length);
  const std::vector<double> wide = rotary_frequencies<double>(width, theta, s, length);
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    CHECK(static_cast<double>(got[i]) == doctest::Approx(want[i]).epsilon(2e-7));
    CHECK(wide[i] == doctest::Approx(want[i]).epsilon(1e-6));
  }
}

}  // namespace

TEST_CASE("frequencies of every rope_type") {
  compare(8, 1e4, {}, 1, {1, 0.1, 0.01, 0.001});
  compare(8, 1e4, scaling(R"("rope_type": "linear", "factor": 4.0)", 256), 1, {0.25, 0.0250000004, 0.00249999994, 0.000250000012});
  compare(16, 5e5, scaling(R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 64)", 131072), 1,
          {1, 0.079403013, 0.00470075384, 0.000911583134, 0.000176776681, 3.42810235e-05, 6.64786967e-06, 1.28917316e-06});
  // Llama 4's, where nothing lies between
  compare(16, 5e5, scaling(R"("rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0,
                              "original_max_position_embeddings": 64)", 1024), 1,
          {1, 0.193922758, 0.00235037692, 0.000455791567, 8.83883404e-05, 1.71405118e-05, 3.32393483e-06, 6.44586578e-07});
  const std::string yarn = R"("rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32.0, "beta_slow": 1.0)";
  compare(16, 150000, scaling(yarn + ", \"truncate\": false", 256), 1.138629436111989,
          {1, 0.116900139, 0.0127033181, 0.00286355661, 0.000645497232, 0.000145506696, 3.27998277e-05, 7.39367169e-06});
  compare(16, 150000, scaling(yarn, 256), 1.138629436111989,
          {1, 0.140886247, 0.0127033181, 0.00286355661, 0.000645497232, 0.000145506696, 3.27998277e-05, 7.39367169e-06});
  const std::string long_yarn = R"("type": "yarn", "factor": 40, "original_max_position_embeddings": 4096)";
  const io::rope_scaling deepseek = scaling(long_yarn + R"(, "mscale": 0.707, "mscale_all_dim": 1.0)", 163840);
  compare(8, 1e4, deepseek, 0.9210423553163399, {1, 0.100000001, 0.00512499968, 2.49999994e-05});
  CHECK(deepseek.mscale_all_dim == 1);
  compare(8, 1e4, scaling(long_yarn + R"(, "attention_factor": 1.5)", 163840), 1.5, {1, 0.100000001, 0.00512499968, 2.49999994e-05});
  CHECK(scaling(R"("rope_type": "yarn", "factor": null, "original_max_position_embeddings": 4096)", 163840).factor == 40);
}

TEST_CASE("frequencies that go by the length of the batch") {
  const io::rope_scaling dynamic = scaling(R"("rope_type": "dynamic", "factor": 4.0)", 64);
  compare(8, 1e4, dynamic, 1, {1, 0.100000001, 0.00999999978, 0.00100000005}, 64);
  compare(8, 1e4, dynamic, 1, {1, 0.0675106421, 0.00455768639, 0.000307692331}, 100);
  io::rope_scaling hunyuan = dynamic;  // its class stretches theta at any length up to there
  hunyuan.alpha = 1000;
  compare(8, 1e4, hunyuan, 1, {1, 0.00999999978, 9.99999975e-05, 9.99999997e-07}, 64);
  compare(8, 1e4, hunyuan, 1, {1, 0.0675106421, 0.00455768639, 0.000307692331}, 100);
  const std::string both = R"("rope_type": "longrope", "short_factor": [1, 1.5, 2, 3], "long_factor": [1.0, 4.0, 16.0, 40.0])";
  const io::rope_scaling longrope = scaling(both + R"(, "original_max_position_embeddings": 64)", 256);
  compare(8, 1e4, longrope, 1.1547005383792517, {1, 0.0666666701, 0.00499999989, 0.00033333333}, 64);
  compare(8, 1e4, longrope, 1.1547005383792517, {1, 0.0250000004, 0.000624999986, 2.49999994e-05}, 65);
  CHECK(scaling(both + R"(, "factor": 8.0)", 256, 8, R"("original_max_position_embeddings": 64, )").attention_factor == doctest::Approx(1.224744871391589));
  CHECK(scaling(both, 256).attention_factor == 1);
  CHECK(scaling(both + R"(, "attention_factor": 1.25)", 256).attention_factor == 1.25);
  // beside the object it comes first
  CHECK(scaling(both + R"(, "original_max_position_embeddings": 64)", 256, 8, R"("original_max_position_embeddings": 32, )").original_positions == 32);
  // but not in Phi-3.5-MoE's class
  const io::detail::rope_class inside{.positions_beside = false};
  CHECK(scaling(both + R"(, "original_max_position_embeddings": 64)", 256, 8, R"("original_max_position_embeddings": 32, )", inside).original_positions == 64);
  CHECK(scaling(both, 256, 8, R"("original_max_position_embeddings": 32, )", inside).original_positions == 256);
}

TEST_CASE("a factor for batches that go beyond the original positions") {
  io::rope_scaling s;
  s.original_positions = 3;
  s.attention_factor = 2;
  s.beyond_factor = 5;
  CHECK(rotary_angles<double>(batch::of(1, 3, {1, 2, 3}), 4, 100, s).cosine[0] == 2);
  CHECK(rotary_angles<double>(batch::of(1, 4, {1, 2, 3, 4}), 4, 100, s).cosine[0] == 5);
}

TEST_CASE("yarn's factor is in the angles, and positions repeat") {
  const batch b = batch::of(2, 3, {1, 2, 3, 4, 5, 6});
  io::rope_scaling s;
  s.attention_factor = 2;
  const rotary_angles<double> a(b, 4, 100, s);
  REQUIRE(a.half == 2);
  CHECK(a.cosine[0] == 2);
  CHECK(a.sine[0] == 0);
  CHECK(a.cosine[2 * 2 + 1] == doctest::Approx(2 * std::cos(0.2)).epsilon(1e-12));
  CHECK(a.sine[11] == a.sine[5]);
}
