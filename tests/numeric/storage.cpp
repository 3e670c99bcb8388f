// What FSDP stores where there are more ranks than experts, or numbers that do not divide: every rank near its even share, gathers that
// give the weights back, and reduce-scatters that are their adjoints. Real families' tables, on meshes with too many ranks for their sizes.
#include "support.hpp"

#include <map>
#include <mutex>

#include "plait/io/config.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/gpt_oss.hpp"
#include "plait/model/llama4_text.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/model/qwen3_moe.hpp"
#include "plait/train/explain.hpp"
#include "plait/train/load.hpp"
#include "support/small.hpp"

using namespace numeric;

#ifndef PLAIT_TEST_DATA
#define PLAIT_TEST_DATA "tests"
#endif

namespace {

const std::vector<std::string> axis_names{"fsdp_outer", "fsdp_inner", "tp"};

struct subject {
  const char* oracle;
  const plan_table& inside;  // tensor parallelism cuts inside each expert
  const plan_table& experts; // expert parallelism cuts by number
};
const std::vector<subject>& subjects() {
  static const std::vector<subject> all{
      {"mixtral", table_of<mixtral_sp, mixtral>(), table_of<mixtral_sp_ep, mixtral>()},
      {"qwen3_moe", table_of<qwen3_moe_tp, qwen3_moe>(), table_of<qwen3_moe_tp_ep, qwen3_moe>()},
      {"gpt_oss", table_of<gpt_oss_tp, gpt_oss>(), table_of<gpt_oss_tp_ep, gpt_oss>()},               // [E, in, out], gate and up in turn
      {"llama4_text", table_of<llama4_text_sp, llama4_text>(), table_of<llama4_text_sp_ep, llama4_text>()},  // [E, in, out], packed
  };
  return all;
}
io::model_config config_of(const char* oracle) { return io::read_config(std::string(PLAIT_TEST_DATA) + "/oracles/" + oracle); }
std::vector<i64> extents_of(const parameter_slot& s) { return {s.global, s.global + s.rank}; }
struct lying {
  layout_value compute, storage;
  std::vector<i64> extent;
};
std::uint32_t seed_of(const std::string& name) {
  std::uint32_t h = 2166136261u;
  for (const char ch : name) h = (h ^ static_cast<unsigned char>(ch)) * 16777619u;
  return h;
}

/// Gathers every unit, compares what ops see with the whole tensors, and sends integer gradients back. What is wrong first, or nothing.
std::string gathered_and_reduced(const plan_table& plan, const io::model_config& config, const mesh_shape& mesh) {
  const poisoned nan;
  std::mutex mutex;
  std::string problem;
  const std::size_t ranks = static_cast<std::size_t>(mesh.ranks());
  std::map<std::string, std::vector<std::vector<double>>> computed, reduced;
  std::map<std::string, lying> slots;
  run_ranks(mesh, test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, plan, numbers_of(config));
    for (parameter_slot& s : store.slots) {
      const std::vector<double> mine = piece(integers(extents_of(s), seed_of(s.name), -99, 99), s.storage, c.mesh, c.rank, 0);
      for (std::size_t e = 0; e < mine.size(); ++e) set_element(s.master, static_cast<i64>(e), mine[e]);
    }
    store.zero_gradients(c);
    for (int u = 0; u < static_cast<int>(store.units.size()); ++u) {
      tape t;
      c.recording = &t;
      store.enter_unit(c, u, -1);
      for (const int i : store.units[static_cast<std::size_t>(u)].slots) {
        parameter_slot& s = store.slots[static_cast<std::size_t>(i)];
        const array w = store.compute_array(s);
        seed_gradient(c, w, integers(extents_of(s), seed_of(s.name) + 1, -9, 9), 5);
        std::lock_guard lock(mutex);
        computed[s.name].resize(ranks);
        computed[s.name][static_cast<std::size_t>(c.rank)] = read(w.now());
      }
      store.leave_unit(c, u, -1);
      run_backward(c, t);
      c.recording = nullptr;
    }
    store.synchronise_gradients(c);
    std::lock_guard lock(mutex);
    for (const parameter_slot& s : store.slots) {
      reduced[s.name].resize(ranks);
      reduced[s.name][static_cast<std::size_t>(c.rank)] = read(s.accumulated);
      const auto [known, first] = slots.emplace(s.name, lying{s.compute, s.storage, extents_of(s)});
      if (!first && !(known->second.storage == s.storage)) problem = s.name + ": ranks disagree on its storage";
    }
  });
  for (const auto& [name, s] : slots) {
    const denoted w = denote(computed[name], s.compute, s.extent, mesh), g = denote(reduced[name], s.storage, s.extent, mesh);
    if (!problem.empty()) break;
    if (!w.problem.empty() || !g.problem.empty()) problem = name + ": " + w.problem + g.problem;
    else if (first_difference(w.w, integers(s.extent, seed_of(name), -99, 99)) >= 0) problem = name + ": other weights are gathered";
    else if (first_difference(g.w, integers(s.extent, seed_of(name) + 1, -9, 9)) >= 0) problem = name + ": its gradient is reduced to another";
  }
  return problem;
}

bool is_experts(const std::string& name) { return name.find(".experts.") != std::string::npos; }

/// The numbers of a model that is published: the rules are asked for shapes only.
model_numbers published(const char* oracle, i64 hidden, i64 intermediate, i64 experts) {
  io::model_config m = config_of(oracle);
  m.hidden = hidden;
  m.expert_intermediate = intermediate;
  m.experts = experts;
  return numbers_of(m);
}

}  // namespace

TEST_CASE("storage: gathers give the weights back and reduce-scatters sum the gradients, with more ranks than experts") {
  int good = 0, cases = 0;
  for (const subject& s : subjects()) {
    if (small_tests() && std::string(s.oracle) != "mixtral") continue;
    const io::model_config config = config_of(s.oracle);
    const auto check = [&](const plan_table& plan, std::initializer_list<mesh_shape> meshes) {
      for (const mesh_shape& mesh : meshes) {
        INFO(s.oracle, ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2]);
        const std::string problem = gathered_and_reduced(plan, config, mesh);
        CHECK(problem == "");
        good += problem.empty();
        ++cases;
      }
    };
    check(s.inside, {mesh_of({16, 1, 1}), mesh_of({5, 1, 1}), mesh_of({3, 4, 1}), mesh_of({5, 1, 2}), mesh_of({4, 3, 2})});
    check(s.experts, {mesh_of({3, 4, 1}), mesh_of({4, 2, 2}), mesh_of({6, 1, 2}), mesh_of({5, 2, 1})});
  }
  MESSAGE(good, " of ", cases, " plans and meshes");
}

TEST_CASE("storage: no rank has more experts than its even share and a row") {
  const model_numbers mixtral_8x7b = published("mixtral", 4096, 14336, 8), small_experts = published("qwen3_moe", 2048, 768, 160);
  struct one {
    const plan_table& plan;
    const model_numbers& numbers;
    mesh_shape mesh;
    const char *up, *down;  // FSDP's part of the layouts
  };
  const one all[] = {
      {table_of<mixtral_tp, mixtral>(), mixtral_8x7b, mesh_of({64, 1, 1}), "fsdp_outer, fsdp_inner: Shard<1>", "fsdp_outer, fsdp_inner: Shard<1>"},
      {table_of<mixtral_tp, mixtral>(), mixtral_8x7b, mesh_of({8, 1, 1}), "fsdp_outer, fsdp_inner: Shard<0>", "fsdp_outer, fsdp_inner: Shard<0>"},
      {table_of<mixtral_tp, mixtral>(), mixtral_8x7b, mesh_of({32, 1, 4}), "fsdp_outer, fsdp_inner: Shard<2>", "fsdp_outer, fsdp_inner: Shard<1>"},
      {table_of<mixtral_tp_ep, mixtral>(), mixtral_8x7b, mesh_of({16, 4, 1}), "fsdp_outer: Shard<1>", "fsdp_outer: Shard<1>"},
      {table_of<mixtral_tp_ep, mixtral>(), mixtral_8x7b, mesh_of({2, 4, 1}), "fsdp_outer: Shard<0>", "fsdp_outer: Shard<0>"},
      {table_of<qwen3_moe_tp_ep, qwen3_moe>(), small_experts, mesh_of({16, 8, 1}), "fsdp_outer: Shard<1>", "fsdp_outer: Shard<1>"},
      {table_of<qwen3_moe_tp, qwen3_moe>(), small_experts, mesh_of({96, 1, 1}), "fsdp_outer, fsdp_inner: Shard<1>", "fsdp_outer, fsdp_inner: Shard<1>"},
      {table_of<qwen3_moe_tp, qwen3_moe>(), small_experts, mesh_of({11, 1, 1}), "fsdp_outer, fsdp_inner: Shard<0>", "fsdp_outer, fsdp_inner: Shard<0>"},
  };
  for (const one& o : all) {
    INFO("mesh ", o.mesh.size[0], " x ", o.mesh.size[1], " x ", o.mesh.size[2]);
    i64 most = 0, least = -1, whole = 0, row_size = 0;
    for (int rank = 0; rank < o.mesh.ranks(); rank += small_tests() ? 9 : 1) {
      const explanation e = explain(o.plan, o.numbers, o.mesh, axis_names, {}, rank);
      i64 mine = 0;
      whole = row_size = 0;
      for (const explained_parameter& p : e.parameters) {
        if (!is_experts(p.name)) continue;
        i64 stored = 1, all_of_it = 1, largest_row = 0;
        for (const i64 n : p.storage_local) stored *= n;
        for (const i64 n : p.global) all_of_it *= n;
        for (std::size_t d = 0; d < p.global.size(); ++d)
          if (p.storage_local[d] > 0 && p.storage_local[d] < p.compute_local[d]) largest_row = std::max(largest_row, stored / p.storage_local[d]);
        mine += stored;
        whole += all_of_it;
        row_size += largest_row;
        const bool up = p.name.find("gate_up") != std::string::npos;
        CHECK(p.storage.find(up ? o.up : o.down) != std::string::npos);
      }
      most = std::max(most, mine);
      least = least < 0 ? mine : std::min(least, mine);
    }
    const i64 even = whole / o.mesh.ranks();
    CHECK(most <= even + row_size);
    CHECK(8 * most <= 9 * even);
    CHECK(least > 0);
  }
}

TEST_CASE("storage: fresh weights are the same numbers, whichever dim is cut") {
  const io::model_config config = config_of("mixtral");
  std::map<std::string, whole> alone;
  for (const mesh_shape& mesh : {mesh_of({1, 1, 1}), mesh_of({16, 1, 1}), mesh_of({5, 1, 2})}) {
    std::map<std::string, std::vector<std::vector<double>>> held;
    std::map<std::string, lying> slots;
    std::mutex mutex;
    run_ranks(mesh, test_backend(), [&](context& c) {
      parameter_store store;
      build_store(c, store, table_of<mixtral_tp, mixtral>(), numbers_of(config));
      initialise_weights(c, store, 11, 0.02);
      std::lock_guard lock(mutex);
      for (const parameter_slot& s : store.slots) {
        held[s.name].resize(static_cast<std::size_t>(mesh.ranks()));
        held[s.name][static_cast<std::size_t>(c.rank)] = read(s.master);
        slots.emplace(s.name, lying{s.compute, s.storage, extents_of(s)});
      }
    });
    for (const auto& slot : slots) {
      INFO(slot.first, ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2]);
      const denoted w = denote(held[slot.first], slot.second.storage, slot.second.extent, mesh);
      CHECK(w.problem == "");
      if (mesh.ranks() == 1) alone.emplace(slot.first, w.w);
      else CHECK(first_difference(w.w, alone.at(slot.first)) == -1);
    }
  }
}
