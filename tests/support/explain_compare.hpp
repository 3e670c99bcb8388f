#pragma once
// Runs a step of a tiny model on every rank and compares the collectives that started with what explain predicts.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "support/cpu_backend.hpp"
#include "support/small.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/decoder_model.hpp"
#include "plait/model/training_mesh.hpp"
#include "plait/train/explain.hpp"
#include "plait/train/load.hpp"

namespace plait::explain_tests {

inline const std::vector<std::string> axis_names{"fsdp_outer", "fsdp_inner", "tp"};

inline io::model_config tiny(const std::string& family, std::vector<bool> sparse, bool tied) {
  io::model_config m;
  m.family = family;
  m.vocabulary = tied ? 25 : 24;  // of 25 the ranks of an axis hold unlike parts
  m.hidden = 16;
  m.layers = static_cast<std::int64_t>(sparse.size());
  m.heads = 8;
  m.kv_heads = 4;
  m.head_dim = 4;
  m.dense_intermediate = 16;
  m.expert_intermediate = 8;
  m.experts = 4;
  m.top_k = 2;
  m.rms_epsilon = 1e-5;
  m.rope_theta = 1e4;
  m.aux_coefficient = 0.02;
  m.tied = tied;
  m.sparse_layer = std::move(sparse);
  return m;
}

inline mesh_shape ranks_in(int outer, int inner, int tp_size) {
  mesh_shape s;
  s.atoms = 3;
  s.size[0] = outer;
  s.size[1] = inner;
  s.size[2] = tp_size;
  return s;
}

inline batch tokens(std::int64_t rows, std::int64_t columns) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>((7 * i + 3) % 24);
  return batch::of(rows, columns, std::move(ids));
}

using row = std::tuple<std::string, int, int, std::uint32_t, int, std::int64_t, bool>;

inline std::vector<row> rows_of(const std::vector<collective_record>& records) {
  std::vector<row> rows;
  for (const collective_record& r : records)
    rows.emplace_back(r.where, r.layer, static_cast<int>(r.kind), r.mask, r.ranks, r.payload, r.backward);
  return rows;
}
inline std::vector<row> rows_of(const explanation& e) {
  std::vector<row> rows;
  for (const explained_collective& r : e.collectives)
    rows.emplace_back(r.where, r.layer, static_cast<int>(r.kind), r.mask, r.ranks, r.payload, r.backward);
  return rows;
}
/// What explain says of rank `rank` with the counts of the run put in: those that the layer's exchanges towards the experts had, which
/// every other exchange of the layer must repeat.
inline std::vector<row> rows_of(const explanation& e, const mesh_shape& mesh, int rank, const std::vector<std::vector<collective_record>>& ran) {
  std::vector<row> rows = rows_of(e);
  std::map<int, std::vector<std::vector<std::int64_t>>> counts;  // of the layer's last forward
  context c;
  c.mesh = mesh;
  mesh.coordinates(rank, c.coordinate);
  for (std::size_t i = 0; i < e.collectives.size(); ++i) {
    const explained_collective& x = e.collectives[i];
    if (x.rows == rows_go::nowhere) continue;
    std::vector<std::vector<std::int64_t>> now;
    std::size_t member = 0;
    for (int m = 0; m < x.ranks; ++m) {
      int at[max_atoms];
      detail::member_coordinates(c, x.mask, m, at);
      const std::size_t other = static_cast<std::size_t>(mesh.rank_of(at));
      if (static_cast<int>(other) == rank) member = static_cast<std::size_t>(m);
      if (i >= ran[other].size() || ran[other][i].sent.size() != static_cast<std::size_t>(x.ranks)) return rows;  // what ran differs
      now.push_back(ran[other][i].sent);
      for (std::int64_t& n : now.back()) n /= x.row_bytes;
    }
    if (x.rows == rows_go::to_tokens) {
      auto turned = now;
      for (std::size_t a = 0; a < now.size(); ++a)
        for (std::size_t b = 0; b < now.size(); ++b) turned[a][b] = now[b][a];
      now = turned;
    }
    if (!x.backward && !x.recomputed && x.rows == rows_go::to_experts) counts[x.layer] = now;
    CHECK(now == counts[x.layer]);
    const exchanged_bytes moved = exchanged(x, counts[x.layer], member);
    if (x.rows == rows_go::to_experts) CHECK(moved.payload == x.payload);  // known beforehand
    CHECK(moved.leaving <= x.most);
    const std::vector<std::int64_t>& sent = ran[static_cast<std::size_t>(rank)][i].sent;
    CHECK(std::accumulate(sent.begin(), sent.end(), std::int64_t{0}) - sent[member] == moved.leaving);
    std::get<5>(rows[i]) = moved.payload;
  }
  return rows;
}
inline std::vector<row> sorted(std::vector<row> rows) {
  std::sort(rows.begin(), rows.end());
  return rows;
}
inline std::string text(const row& r) {
  return std::get<0>(r) + " layer " + std::to_string(std::get<1>(r)) + " " + name_of(static_cast<collective_kind>(std::get<2>(r))) + " mask " +
         std::to_string(std::get<3>(r)) + " payload " + std::to_string(std::get<5>(r)) + (std::get<6>(r) ? " backward" : " forward");
}
/// Empty if equal; else the first few rows that only one side has.
inline std::string difference(const std::vector<row>& ran, const std::vector<row>& predicted) {
  const std::vector<row> a = sorted(ran), b = sorted(predicted);
  std::vector<row> only_ran, only_predicted;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only_ran));
  std::set_difference(b.begin(), b.end(), a.begin(), a.end(), std::back_inserter(only_predicted));
  std::string out;
  for (std::size_t i = 0; i < only_ran.size() && i < 4; ++i) out += "\n  ran only: " + text(only_ran[i]);
  for (std::size_t i = 0; i < only_predicted.size() && i < 4; ++i) out += "\n  predicted only: " + text(only_predicted[i]);
  return out;
}

struct setting {
  std::int64_t rows = 3, columns = 19, accumulation = 1;
  recomputation recompute = recomputation::none;
  bool balance = true, logits = false, prefetch = true;
};
inline constexpr setting settings[] = {
    {3, 19, 1, recomputation::none, true},    {3, 19, 1, recomputation::none, false},    {3, 19, 2, recomputation::none, true},
    {3, 19, 2, recomputation::none, false},   {3, 19, 1, recomputation::layer, true},    {3, 19, 1, recomputation::layer, false},
    {3, 19, 2, recomputation::layer, true},   {3, 19, 2, recomputation::layer, false},   {3, 19, 1, recomputation::experts, true},
    {3, 19, 1, recomputation::experts, false}, {3, 19, 2, recomputation::experts, true}, {3, 19, 2, recomputation::experts, false},
    {4, 8, 1, recomputation::none, true},     {4, 8, 2, recomputation::layer, true},     {1, 5, 2, recomputation::none, true},
    {3, 19, 2, recomputation::none, true, true}, {3, 19, 1, recomputation::none, true, false, false},
};

struct tally {
  int plans = 0, runs = 0, collectives = 0;
};

template <class Plan, class Model>
void compare(const io::model_config& config, const mesh_shape& mesh, const setting& s, tally& counted) {
  const model_numbers numbers = numbers_of(config);
  const int ranks = mesh.ranks();
  const batch input = tokens(s.rows, s.columns);
  std::vector<std::vector<collective_record>> ran(static_cast<std::size_t>(ranks));
  std::vector<explained_memory> memory(static_cast<std::size_t>(ranks));
  std::vector<std::int64_t> peak(static_cast<std::size_t>(ranks));
  run_ranks(mesh, test_backend(), [&](context& c) {
    const std::size_t rank = static_cast<std::size_t>(c.rank);
    parameter_store store;
    store.prefetch = s.prefetch;
    build_store(c, store, table_of<Plan, Model>(), numbers);
    initialise_weights(c, store, 1, 0.1);
    decoder_model<Plan, Model> model(config, store, {s.recompute});
    step_options o;
    o.accumulation = s.accumulation;
    o.aux_coefficient = s.balance ? config.aux_coefficient : 0.0;
    for (const bool sparse : config.sparse_layer) o.sparse_layers += sparse;
    c.records = &ran[rank];
    train_step(c, model, store, input, o, s.logits);
    c.records = nullptr;
    for (const parameter_slot& p : store.slots) {
      memory[rank].parameters += static_cast<std::int64_t>(p.memory[0]->bytes() + (p.memory[4] ? p.memory[4]->bytes() : 0));
      if (!p.trained) continue;
      memory[rank].moments += static_cast<std::int64_t>(p.memory[1]->bytes() + p.memory[2]->bytes());
      memory[rank].gradients += static_cast<std::int64_t>(p.memory[3]->bytes());
    }
    memory[rank].gathered = store.gathered_bound();
    peak[rank] = store.peak_gathered_bytes();
  });
  explain_options o;
  o.rows = s.rows;
  o.columns = s.columns;
  o.accumulation = s.accumulation;
  o.recompute = s.recompute;
  o.balance_weighs = s.balance;
  o.logits = s.logits;
  o.prefetch = s.prefetch;
  for (int r = 0; r < ranks; ++r) {
    const std::size_t rank = static_cast<std::size_t>(r);
    CAPTURE(r);
    const explanation e = explain(table_of<Plan, Model>(), numbers, mesh, axis_names, o, r);
    const std::vector<row> predicted = rows_of(e, mesh, r, ran), real = rows_of(ran[rank]);
    const std::string wrong = difference(real, predicted);
    CHECK_MESSAGE(wrong.empty(), wrong);
    CHECK_MESSAGE(real == predicted, "the order differs");
    CHECK(e.memory.parameters == memory[rank].parameters);
    CHECK(e.memory.gradients == memory[rank].gradients);
    CHECK(e.memory.moments == memory[rank].moments);
    CHECK(e.memory.gathered == memory[rank].gathered);
    CHECK(peak[rank] <= e.memory.gathered);
    std::int64_t times = 0;
    for (const explained_group& g : grouped(e.collectives)) times += g.times;
    CHECK(times == static_cast<std::int64_t>(real.size()));
    counted.collectives += static_cast<int>(real.size());
  }
  ++counted.runs;
}

template <class Plan, class Model>
void compare_all(const char* plan, const io::model_config& config, std::vector<mesh_shape> meshes, tally& counted) {
  for (const mesh_shape& mesh : meshes) {
    std::size_t number = 0;
    for (const setting& s : settings) {
      if (small_tests() && (number++ + static_cast<std::size_t>(counted.plans)) % 5 != 0) continue;  // meshes take turns
      INFO(config.family << std::string(config.tied ? " tied " : " ") << std::string(plan) << " mesh " << mesh.size[0] << "," << mesh.size[1] << "," << mesh.size[2]
                         << " B " << s.rows << " S " << s.columns << " accumulation " << s.accumulation << " recompute "
                         << static_cast<int>(s.recompute) << " balance " << s.balance);
      compare<Plan, Model>(config, mesh, s, counted);
    }
    ++counted.plans;
  }
}

inline const std::vector<mesh_shape> tp_meshes{ranks_in(1, 1, 1), ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 1), ranks_in(3, 1, 1),
                                        ranks_in(4, 1, 1), ranks_in(2, 2, 1), ranks_in(2, 1, 2)};
inline const std::vector<mesh_shape> sp_meshes{ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 2)};
inline const std::vector<mesh_shape> ep_meshes{ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 2), ranks_in(1, 4, 1),
                                        ranks_in(2, 2, 1), ranks_in(1, 2, 2), ranks_in(2, 2, 2)};

}  // namespace plait::explain_tests
