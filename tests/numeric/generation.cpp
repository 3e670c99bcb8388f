// Generation: logits with a cache equal those without under every plan, rows of a batch equal rows alone, what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <mutex>

#include "plait/comm/rank_threads.hpp"
#include "plait/cpu/memory.hpp"
#include "plait/io/config.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/family.hpp"
#include "plait/model/generation.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/model/qwen3_moe.hpp"
#include "plait/train/load.hpp"
#include "support/cpu_backend.hpp"

using namespace plait;

#ifndef PLAIT_TEST_DATA
#define PLAIT_TEST_DATA "tests"
#endif

namespace {

mesh_shape sizes(int outer, int inner, int tp_size) {
  mesh_shape m;
  m.atoms = 3;
  m.size[0] = outer, m.size[1] = inner, m.size[2] = tp_size;
  return m;
}

std::int64_t some_id(std::int64_t i) { return (7 * i * i + 3 * i + 5) % 96; }

/// Rows of 12, 5 and 9 tokens.
std::vector<token_list> some_rows() {
  std::vector<token_list> rows(3);
  std::int64_t i = 0;
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t n = 0; n < (r == 0 ? 12u : r == 1 ? 5u : 9u); ++n) rows[r].push_back(some_id(i++));
  return rows;
}

template <class Model>
std::string folder_of() {
  return std::string(PLAIT_TEST_DATA) + "/oracles/" + Model::name;
}

/// Runs body(context, model) or body(context, model, store) on every rank of a mesh with the oracle's weights.
template <class Plan, class Model, class Body>
void with_model(const mesh_shape& mesh, Body body, const io::rope_scaling& rope = {}) {
  io::model_config config = io::read_config(folder_of<Model>());
  config.rope = rope;
  const io::hf_folder folder(folder_of<Model>());
  run_ranks(mesh, test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, table_of<Plan, Model>(), numbers_of(config));
    load_weights(c, store, folder, config);
    decoder_model<Plan, Model> model(config, store, {});
    if constexpr (std::is_invocable_v<Body, context&, any_model&, parameter_store&>) body(c, model, store);
    else body(c, model);
  });
}

std::vector<double> wide(context& c, const array& a) {
  view to = a.local;
  to.type = dtype::f64;
  std::vector<double> out(static_cast<std::size_t>(to.size()));
  to.data = out.data();
  c.ops->cast(c.exec, a.local, to);
  return out;
}

/// Columns [from, to) of a batch.
batch columns(const batch& b, std::int64_t from, std::int64_t to) {
  batch out = batch::of(b.rows, to - from, token_list(static_cast<std::size_t>(b.rows * (to - from)), 0));
  for (std::int64_t r = 0; r < b.rows; ++r)
    for (std::int64_t i = from; i < to; ++i) {
      const std::size_t a = static_cast<std::size_t>(r * b.columns + i), z = static_cast<std::size_t>(r * (to - from) + i - from);
      out.ids[z] = b.ids[a], out.valid[z] = b.valid[a], out.positions[z] = b.positions[a], out.segment_start[z] = b.segment_start[a];
    }
  return out;
}

/// The prompt at once, single tokens, several at once: logits of the last position against those of the whole rows.
template <class Plan, class Model>
void check_cache(const mesh_shape& mesh, double tolerance) {
  const batch all = left_padded(some_rows());
  double worst = 0;
  int compared = 0;
  std::mutex mutex;
  poison_allocations() = true;  // unwritten positions of a cache are NaN
  with_model<Plan, Model>(mesh, [&](context& c, any_model& model) {
    const std::vector<double> want = wide(c, model.run(c, all, nullptr, false, true).logits);
    const std::size_t vocabulary = want.size() / static_cast<std::size_t>(all.rows * all.columns);
    decoder_cache cache(all.columns);
    double difference = 0, largest = 0;
    const std::int64_t ends[] = {4, 5, 6, 9, 10, 12};
    std::int64_t from = 0;
    for (const std::int64_t to : ends) {
      const array logits = model.next_logits(c, columns(all, from, to), cache);
      REQUIRE(logits.local.extent[0] == all.rows);
      REQUIRE(logits.local.extent[1] == 1);
      const std::vector<double> got = wide(c, logits);
      for (std::size_t r = 0; r < static_cast<std::size_t>(all.rows); ++r) {
        if (!all.valid[r * 12 + static_cast<std::size_t>(to - 1)]) continue;
        for (std::size_t i = 0; i < vocabulary; ++i) {
          const double w = want[(r * 12 + static_cast<std::size_t>(to - 1)) * vocabulary + i], d = std::abs(got[r * vocabulary + i] - w);
          difference = d > difference || d != d ? d : difference;
          largest = std::max(largest, std::abs(w));
        }
        std::lock_guard lock(mutex);
        ++compared;
      }
      from = to;
    }
    CHECK(cache.length() == all.columns);
    std::lock_guard lock(mutex);
    worst = std::max(worst, difference / largest);
    if (difference != difference) worst = difference;
  });
  poison_allocations() = false;
  CAPTURE(mesh.size[0]);
  CAPTURE(mesh.size[1]);
  CAPTURE(mesh.size[2]);
  CHECK(compared == 15 * mesh.ranks());
  CHECK(worst <= tolerance);
}

template <class Plan, class Model>
std::vector<token_list> generated(const mesh_shape& mesh, const std::vector<token_list>& prompts, const generation_options& o, const io::rope_scaling& rope = {}) {
  std::vector<token_list> out;
  const auto body = [&](context& c, any_model& model) {
    const std::vector<token_list> mine = generate(c, model, prompts, o);
    if (c.rank == 0) out = mine;
  };
  with_model<Plan, Model>(mesh, body, rope);
  return out;
}

struct mixtral_tp_f64 : with_precision<mixtral_tp, float64_precision> {};
struct mixtral_sp_ep_f64 : with_precision<mixtral_sp_ep, float64_precision> {};

}  // namespace

TEST_CASE("logits with a cache equal those without, under every plan and mesh") {
  for (const mesh_shape& m : {sizes(1, 1, 1), sizes(1, 1, 2), sizes(1, 1, 4), sizes(2, 1, 1), sizes(3, 1, 1), sizes(2, 1, 2), sizes(4, 1, 1), sizes(5, 1, 1)})
    check_cache<mixtral_tp, mixtral>(m, 1e-5);
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(2, 1, 2)}) check_cache<mixtral_sp, mixtral>(m, 1e-5);
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(1, 2, 1), sizes(1, 4, 1), sizes(2, 2, 1), sizes(1, 2, 2), sizes(2, 2, 2), sizes(3, 1, 2)}) {
    check_cache<mixtral_tp_ep, mixtral>(m, 1e-5);
    check_cache<mixtral_sp_ep, mixtral>(m, 1e-5);
  }
  for (const mesh_shape& m : {sizes(1, 1, 4), sizes(1, 4, 1), sizes(2, 2, 2)}) check_cache<qwen3_moe_sp_ep, qwen3_moe>(m, 1e-5);
}

TEST_CASE("in float64 they agree to rounding") {
  for (const mesh_shape& m : {sizes(1, 1, 1), sizes(1, 1, 2), sizes(1, 1, 4), sizes(2, 1, 1), sizes(3, 1, 1), sizes(2, 1, 2), sizes(4, 1, 1), sizes(5, 1, 1)})
    check_cache<mixtral_tp_f64, mixtral>(m, 1e-12);
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(1, 2, 1), sizes(1, 4, 1), sizes(2, 2, 1), sizes(1, 2, 2), sizes(2, 2, 2), sizes(3, 1, 2)})
    check_cache<mixtral_sp_ep_f64, mixtral>(m, 1e-12);
}

TEST_CASE("the ids of a row depend neither on the rest of its batch, nor on the cache, the plan or the mesh") {
  for (const double temperature : {0.0, 0.8}) {
    generation_options o;
    o.new_tokens = 12;
    o.sampling = {temperature, 50, 0.95, 7};
    std::vector<token_list> alone;
    for (std::size_t r = 0; r < 3; ++r) {
      o.first_row = r;
      alone.push_back(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), {some_rows()[r]}, o)[0]);
      CHECK(alone.back().size() == 12);
    }
    o.first_row = 0;
    CHECK(alone[0] != alone[1]);
    for (const bool cache : {true, false}) {
      o.cache = cache;
      CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o) == alone);
      CHECK(generated<mixtral_tp, mixtral>(sizes(5, 1, 1), some_rows(), o) == alone);
      CHECK(generated<mixtral_sp, mixtral>(sizes(2, 1, 2), some_rows(), o) == alone);
      CHECK(generated<mixtral_tp_ep, mixtral>(sizes(1, 4, 1), some_rows(), o) == alone);
      CHECK(generated<mixtral_sp_ep, mixtral>(sizes(2, 2, 2), some_rows(), o) == alone);
    }
  }
}

TEST_CASE("where the rotary embedding goes by a row's length, a row that crosses it is read again, and its neighbours do not matter") {
  using kind = io::rope_scaling::kind;
  io::rope_scaling longrope;
  longrope.type = kind::longrope;
  longrope.original_positions = 14;  // rows of 12, 5 and 9 tokens cross it at different steps
  longrope.short_factors.assign(4, 1.0);
  longrope.long_factors.assign(4, 0.01);
  io::rope_scaling louder;  // as Phi-3.5-MoE's
  louder.original_positions = 14;
  louder.beyond_factor = 12;
  io::rope_scaling dynamic;
  dynamic.type = kind::dynamic;
  dynamic.original_positions = 14;
  dynamic.factor = 1000;
  generation_options o;
  o.new_tokens = 12;
  for (io::rope_scaling rope : {longrope, louder, dynamic}) {
    CAPTURE(static_cast<int>(rope.type));
    rope.attention_factor = 6;  // scores that go by positions
    io::rope_scaling never = rope;
    never.original_positions = 1000;
    o.cache = false;
    std::vector<token_list> alone;
    for (o.first_row = 0; o.first_row < 3; ++o.first_row)
      alone.push_back(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), {some_rows()[o.first_row]}, o, rope)[0]);
    o.first_row = 0;
    CHECK(alone != generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o, never));
    CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o, rope) == alone);
    o.cache = true;
    CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o, rope) == alone);
    CHECK(generated<mixtral_sp_ep, mixtral>(sizes(2, 2, 2), some_rows(), o, rope) == alone);
    CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), {some_rows()[0]}, o, rope)[0] == alone[0]);
    o.stop_ids = {alone[1][3]};  // a row that has ended crosses nothing
    const std::vector<token_list> stopped = generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o, rope);
    o.cache = false;
    CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o, rope) == stopped);
    o.stop_ids.clear();
  }
}

TEST_CASE("a row ends with its stop id; the others go on as before") {
  generation_options o;
  o.new_tokens = 10;
  const std::vector<token_list> all = generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o);
  // An id of row 1 that the other rows do not choose before, as the stop.
  const std::int64_t stop = all[1][3];
  std::vector<token_list> want = all;
  for (token_list& row : want)
    for (std::size_t i = 0; i < row.size(); ++i)
      if (row[i] == stop) {
        row.resize(i + 1);
        break;
      }
  CHECK(want[1].size() <= 4);
  CHECK(want != all);
  o.stop_ids = {stop};
  for (const bool cache : {true, false}) {
    o.cache = cache;
    CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o) == want);
    CHECK(generated<mixtral_sp_ep, mixtral>(sizes(1, 1, 4), some_rows(), o) == want);
  }
  o.new_tokens = 0;
  CHECK(generated<mixtral_tp, mixtral>(sizes(1, 1, 1), some_rows(), o) == std::vector<token_list>(3));
}

TEST_CASE("a cache is refused on a tape, with a loss, beyond its capacity and for other rows") {
  with_model<mixtral_tp, mixtral>(sizes(1, 1, 1), [](context& c, any_model& model) {
    const batch three = left_padded(some_rows());
    {
      decoder_cache cache(20);
      tape recorded;
      const scoped_value<tape*> recording(c.recording, &recorded);
      CHECK_THROWS_WITH_AS(static_cast<void>(model.next_logits(c, three, cache)), doctest::Contains("recorded"), std::logic_error);
    }
    decoder_cache cache(13);
    static_cast<void>(model.next_logits(c, three, cache));
    CHECK_THROWS_WITH_AS(static_cast<void>(model.next_logits(c, columns(three, 0, 2), cache)), doctest::Contains("13 positions"), std::logic_error);
    decoder_cache other(20);
    static_cast<void>(model.next_logits(c, three, other));
    CHECK_THROWS_WITH_AS(static_cast<void>(model.next_logits(c, left_padded({{1, 2}}), other)), doctest::Contains("plait[cache-apart]"), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(generate(c, model, {{1}, {}}, {})), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(generate(c, model, {}, {})), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(generate(c, model, {{96}}, {})), numeric_fault);
  });
}

TEST_CASE("memory of a cache is taken once and is a rank's part of it") {
  with_model<mixtral_tp, mixtral>(sizes(2, 1, 2), [](context& c, any_model& model) {
    const batch three = left_padded(some_rows());
    decoder_cache cache(20);
    static_cast<void>(model.next_logits(c, three, cache));
    const void* const keys = cache.keys[1].all.local.data;
    const std::int64_t live = c.memory.live;
    static_cast<void>(model.next_logits(c, columns(three, 11, 12), cache));
    CHECK(cache.keys[1].all.local.data == keys);
    CHECK(c.memory.live == live);
    const view& v = cache.values[1].all.local;
    CHECK(v.extent[0] == (c.coordinate[0] == 0 ? 2 : 1));  // rows over the data ranks
    CHECK(v.extent[1] == 20);
    CHECK(v.extent[2] == 2);  // two of four heads
    CHECK(v.extent[3] == 8);
  });
}

TEST_CASE("weights that are held are gathered once, give the same ids, and cannot be updated meanwhile") {
  with_model<with_precision<mixtral_tp_ep, bfloat16_precision>, mixtral>(sizes(2, 1, 2), [](context& c, any_model& model, parameter_store& store) {
    const auto gathers = [&](std::vector<token_list>& ids) {
      std::vector<collective_record> records;
      const scoped_value<std::vector<collective_record>*> noted(c.records, &records);
      generation_options o;
      o.new_tokens = 3;
      ids = generate(c, model, some_rows(), o);
      int count = 0;
      for (const collective_record& r : records) count += r.kind == collective_kind::all_gather && (r.mask & 1u) != 0 && std::string(r.where) != "output";
      return count;
    };
    std::vector<token_list> freed, held, again;
    const int every_step = gathers(freed);
    CHECK(store.live_gathered_bytes() == 0);
    store.hold = true;
    const int first = gathers(held);
    CHECK(first * 3 == every_step);
    CHECK(gathers(again) == 0);
    CHECK(held == freed);
    CHECK(again == freed);
    CHECK(store.live_gathered_bytes() > 0);
    CHECK_THROWS_WITH_AS(store.update(c, {}), doctest::Contains("still gathered"), std::logic_error);
    store.hold = false;
    store.drop_all();
    CHECK(store.live_gathered_bytes() == 0);
  });
}
