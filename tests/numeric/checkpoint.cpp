// Checkpoints: every ordered pair of plans by value, damaged and foreign folders, and saves that are killed or fail at every call.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "plait/comm/rank_threads.hpp"
#include "plait/io/config.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/model/qwen3_moe.hpp"
#include "plait/train/load_checkpoint.hpp"
#include "plait/train/save.hpp"
#include "support/cpu_backend.hpp"
#include "support/small.hpp"

using namespace plait;
namespace fs = std::filesystem;

#ifndef PLAIT_TEST_DATA
#define PLAIT_TEST_DATA "tests"
#endif

namespace {

const std::vector<std::string> axes = {"fsdp_outer", "fsdp_inner", "tp"};

/// A folder of one's own that goes away with the test.
struct scratch {
  std::string path;
  scratch() {
    char name[] = "/tmp/plait-checkpoint-XXXXXX";
    path = ::mkdtemp(name);
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() { fs::remove_all(path); }
  operator const std::string&() const { return path; }
};

struct way {
  const char* name;
  int outer, inner, tp;
  bool sp, ep;
  mesh_shape mesh() const {
    mesh_shape m;
    m.atoms = 3;
    m.size[0] = outer, m.size[1] = inner, m.size[2] = tp;
    return m;
  }
};
constexpr way ways[] = {
    {"one", 1, 1, 1, false, false},          {"tp 2", 1, 1, 2, false, false},         {"tp 4", 1, 1, 4, false, false},
    {"sp 2", 1, 1, 2, true, false},          {"sp 4", 1, 1, 4, true, false},          {"tp+ep 2", 1, 1, 2, false, true},
    {"tp+ep 4", 1, 1, 4, false, true},       {"sp+ep 2", 1, 1, 2, true, true},        {"sp+ep 4", 1, 1, 4, true, true},
    {"fsdp 2", 2, 1, 1, false, false},       {"fsdp 3", 3, 1, 1, false, false},       {"fsdp 4", 4, 1, 1, false, false},
    {"fsdp 2 tp 2", 2, 1, 2, false, false},  {"fsdp 2 tp+ep 2", 2, 1, 2, false, true}, {"fsdp 2 sp+ep 2", 2, 1, 2, true, true},
    {"fsdp 4 ep 4", 1, 4, 1, false, true},   {"fsdp 4 ep 2", 2, 2, 1, false, true},   {"fsdp 2 tp 2 ep 4", 1, 2, 2, false, true},
    {"fsdp 2 tp 2 ep 4 sp", 1, 2, 2, true, true}, {"fsdp 4 tp 2 ep 4", 2, 2, 2, false, true}, {"fsdp 4 tp 2 ep 4 sp", 2, 2, 2, true, true},
};

/// Each plan once, over every kind of axis.
std::vector<way> tried() {
  if (small_tests()) return {ways[0], ways[4], ways[6], ways[14], ways[19]};
  return {std::begin(ways), std::end(ways)};
}

/// Plans as tables alone: no decoder is instantiated here.
template <class Model, class Tp, class Sp, class TpEp, class SpEp>
const plan_table& table_for(bool sp, bool ep) {
  if (sp) return ep ? table_of<SpEp, Model>() : table_of<Sp, Model>();
  return ep ? table_of<TpEp, Model>() : table_of<Tp, Model>();
}
template <class Plan>
struct in_bf16 : with_precision<Plan, bfloat16_precision> {};
using chooser = const plan_table& (*)(bool, bool);
constexpr chooser mixtral_f32 = &table_for<mixtral, mixtral_tp, mixtral_sp, mixtral_tp_ep, mixtral_sp_ep>;
constexpr chooser mixtral_bf16 = &table_for<mixtral, in_bf16<mixtral_tp>, in_bf16<mixtral_sp>, in_bf16<mixtral_tp_ep>, in_bf16<mixtral_sp_ep>>;
constexpr chooser qwen_f32 = &table_for<qwen3_moe, qwen3_moe_tp, qwen3_moe_sp, qwen3_moe_tp_ep, qwen3_moe_sp_ep>;

/// The plans' tables as they were when FSDP cut dim 0 of everything: what older checkpoints have.
const plan_table& mixtral_by_number(bool sp, bool ep) {
  static std::map<std::pair<bool, bool>, std::pair<std::vector<resolved_parameter>, plan_table>> made;
  static std::mutex lock;
  std::lock_guard hold(lock);
  const auto [place, fresh] = made.try_emplace({sp, ep});
  auto& [rows, table] = place->second;
  if (fresh) {
    table = mixtral_f32(sp, ep);
    rows.assign(table.resolved, table.resolved + (table.numbers->count + 1) * table.row_count);
    for (resolved_parameter& p : rows) p.dim_open = false;
    table.resolved = rows.data();
  }
  return table;
}

io::model_config config_of(const std::string& oracle) { return io::read_config(std::string(PLAIT_TEST_DATA) + "/oracles/" + oracle); }

/// Calls visit(value memory, element type, boxes) for each role that a store keeps in memory of its own.
template <class Visit>
void each_role(const parameter_store& store, Visit visit) {
  std::int64_t base = 0;
  for (const parameter_slot& s : store.slots) {
    std::int64_t n = 1;
    for (int d = 0; d < s.rank; ++d) n *= s.global[d];
    for (const view* v : {&s.master, &s.moment1, &s.moment2}) {
      visit(s, *v, base);
      base += n;
    }
  }
  CHECK(base < (1 << 24));  // every value below is exact in float32
}
/// Global index of the i-th element of a box.
std::int64_t global_index(const parameter_slot& s, const shard_box& b, std::int64_t i) {
  std::int64_t at[4] = {}, global = 0;
  for (int d = s.rank - 1; d >= 0; --d) {
    at[d] = b.box.start[static_cast<std::size_t>(d)] + i % b.box.count[static_cast<std::size_t>(d)];
    i /= b.box.count[static_cast<std::size_t>(d)];
  }
  for (int d = 0; d < s.rank; ++d) global = global * s.global[d] + at[d];
  return global;
}
/// Gives every logical element of weights and moments a number of its own (plus `shift`).
void fill_unique(context& c, parameter_store& store, float shift = 0) {
  each_role(store, [&](const parameter_slot& s, const view& v, std::int64_t base) {
    for (const shard_box& b : boxes_of(s)) {
      std::vector<float> values(static_cast<std::size_t>(b.box.volume(s.rank)));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = shift + static_cast<float>(base + global_index(s, b, static_cast<std::int64_t>(i)));
      place_box(c, s, v, b.box.count.data(), b.offset, values.data());
    }
  });
}
/// How many elements are not what fill_unique gives them. Reads the shard by its extents, not by boxes of the library.
std::int64_t count_wrong(const parameter_store& store, float shift = 0) {
  std::int64_t wrong = 0;
  each_role(store, [&](const parameter_slot& s, const view& v, std::int64_t base) {
    std::vector<std::vector<std::int64_t>> held(static_cast<std::size_t>(s.rank));
    for (std::size_t d = 0; d < held.size(); ++d)
      for (int r = 0; r < s.storage_held[d].count; ++r)
        for (std::int64_t i = s.storage_held[d].range[r].begin; i < s.storage_held[d].range[r].end; ++i) held[d].push_back(i);
    const float* const data = static_cast<const float*>(v.data);
    for (std::int64_t i = 0; i < v.size(); ++i) {
      std::int64_t rest = i, global = 0, at[4] = {};
      for (int d = s.rank - 1; d >= 0; --d) at[d] = held[static_cast<std::size_t>(d)][static_cast<std::size_t>(rest % v.extent[d])], rest /= v.extent[d];
      for (int d = 0; d < s.rank; ++d) global = global * s.global[d] + at[d];
      wrong += data[i] != shift + static_cast<float>(base + global);
    }
  });
  return wrong;
}

save_facts facts_for(const io::model_config& config, std::int64_t step) {
  save_facts f;
  f.training.step = step;
  f.training.rows_seen = 7 * step;
  f.family = config.family;
  f.plan = "test";
  f.element_types = "f32";
  f.axes = axes;
  f.files.emplace_back("config.json", config.raw_text);
  return f;
}

/// Fills with unique numbers and saves; the error of the outcome.
std::string save(const io::model_config& config, chooser plans, const way& w, io::checkpoint_store& folder, std::int64_t step, save_options options = {},
                 float shift = 0) {
  std::string error;
  run_ranks(w.mesh(), test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, plans(w.sp, w.ep), numbers_of(config));
    fill_unique(c, store, shift);
    checkpoint_saver saver(&folder, folder.path(), options);
    std::optional<save_outcome> outcome = saver.begin(c, store, facts_for(config, step));
    if (!outcome) outcome = saver.finish(c);
    if (c.rank == 0) error = outcome->error;
  });
  return error;
}
/// Loads into a store filled with NaN; how many elements are wrong, over all ranks.
std::int64_t load_and_count(const io::model_config& config, chooser plans, const way& w, const io::checkpoint& from, float shift = 0) {
  std::int64_t wrong = 0;
  std::mutex lock;
  io::require_model(from, config, true);
  run_ranks(w.mesh(), test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, plans(w.sp, w.ep), numbers_of(config));
    for (parameter_slot& s : store.slots)
      for (const view* v : {&s.master, &s.moment1, &s.moment2}) c.ops->fill(c.exec, *v, std::numeric_limits<double>::quiet_NaN());
    load_checkpoint(c, store, from, true);
    const std::int64_t mine = count_wrong(store, shift);
    std::lock_guard hold(lock);
    wrong += mine;
  });
  return wrong;
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("a checkpoint of every plan loads under every plan, element by element") {
  struct run {
    const char* oracle;
    chooser plans;
  };
  std::int64_t pairs = 0, good = 0;
  for (const run& r : {run{"mixtral", mixtral_f32}, run{"qwen3_moe", qwen_f32}, run{"mixtral", mixtral_bf16}, run{"qwen3_moe_tied", qwen_f32}}) {
    const io::model_config config = config_of(r.oracle);
    const scratch folder;
    io::checkpoint_store store(folder);
    std::int64_t step = 0;
    for (const way& w : tried()) REQUIRE(save(config, r.plans, w, store, ++step) == "");
    step = 0;
    for (const way& from : tried()) {
      const io::checkpoint saved = io::open_checkpoint(store.final_path(++step));
      for (const way& to : tried()) {
        CAPTURE(r.oracle);
        CAPTURE(from.name);
        CAPTURE(to.name);
        const std::int64_t wrong = load_and_count(config, r.plans, to, saved);
        CHECK(wrong == 0);
        ++pairs;
        good += wrong == 0;
      }
    }
  }
  MESSAGE(good << " of " << pairs << " ordered pairs of plans bit-identical, weights and optimizer");
}

TEST_CASE("where experts are fewer than ranks, another dim is stored in pieces: between such plans, others, and checkpoints by number") {
  const io::model_config config = config_of("mixtral");
  const std::vector<way> all = {{"fsdp 16", 16, 1, 1, false, false}, {"fsdp 5 tp 2", 5, 1, 2, false, false}, {"fsdp 6 sp+ep 2", 6, 1, 2, true, true},
                                {"fsdp 12 ep 4", 3, 4, 1, false, true}, {"one", 1, 1, 1, false, false}, {"fsdp 2 tp 2", 2, 1, 2, false, false}};
  const scratch folder;
  io::checkpoint_store store(folder);
  std::int64_t step = 0;
  for (const chooser plans : {mixtral_f32, chooser{&mixtral_by_number}})
    for (const way& w : all) REQUIRE(save(config, plans, w, store, ++step) == "");
  const auto layout = [&](std::int64_t at) {
    return io::open_checkpoint(store.final_path(at)).find(io::tensor_role::moment1, "model.layers.0.mlp.experts.down_proj")->layout;
  };
  CHECK(layout(1) == "fsdp_outer, fsdp_inner: Shard<1>; tp: Shard<2>");
  CHECK(layout(3) == "fsdp_inner, tp: Shard<0>; fsdp_outer: Shard<1>");
  CHECK(layout(1 + static_cast<std::int64_t>(all.size())) == "fsdp_outer, fsdp_inner: Shard<0>; tp: Shard<2>");
  step = 0;
  for (const chooser written : {mixtral_f32, chooser{&mixtral_by_number}})
    for (const way& from : all) {
      const io::checkpoint saved = io::open_checkpoint(store.final_path(++step));
      for (const chooser read : {mixtral_f32, chooser{&mixtral_by_number}})
        for (const way& to : all) {
          if (written == read && read != mixtral_f32) continue;  // both as they were
          CAPTURE(from.name);
          CAPTURE(to.name);
          CHECK(load_and_count(config, read, to, saved) == 0);
        }
    }
}

TEST_CASE("each rank reads little more than its own shards") {
  const io::model_config config = config_of("mixtral");
  const scratch folder;
  io::checkpoint_store store(folder);
  REQUIRE(save(config, mixtral_f32, ways[0], store, 1, {4096, 0}) == "");
  const io::checkpoint saved = io::open_checkpoint(folder);
  run_ranks(ways[6].mesh(), test_backend(), [&](context& c) {
    parameter_store mine;
    build_store(c, mine, mixtral_f32(false, true), numbers_of(config));
    io::checkpoint_reader reader(saved);
    std::uint64_t wanted = 0, blocks = 0;
    for (const parameter_slot& s : mine.slots) {
      load_role(c, reader, *saved.find(io::tensor_role::moment1, s.name), s, s.moment1);
      wanted += s.moment1.bytes();
      blocks += 2 * boxes_of(s).size();
    }
    std::uint64_t header = 0;
    for (const io::stored_file& f : saved.m.files) header += f.header + 4096;
    // Rows of a column shard lie apart, so blocks between them are read as well: at most the tensor, once.
    CHECK(reader.bytes_read() <= header + 4 * wanted + blocks * 4096);
    CHECK(reader.bytes_read() < saved.m.bytes());
  });
}

TEST_CASE("what is wrong with a checkpoint is said before anything is loaded") {
  const io::model_config config = config_of("mixtral");
  const scratch folder;
  const auto message = [&](auto act) -> std::string {
    try {
      act();
    } catch (const io::input_error& e) {
      return e.what();
    }
    return "no error";
  };
  const auto holds = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(holds(message([&] { io::open_checkpoint(folder); }), "holds no checkpoint"));
  CHECK(holds(message([&] { io::open_checkpoint(folder.path + "/none"); }), "is not there"));
  io::checkpoint_store store(folder);
  for (std::int64_t step = 1; step <= 3; ++step) REQUIRE(save(config, mixtral_f32, ways[14], store, step) == "");
  CHECK(io::open_checkpoint(folder).m.training.step == 3);
  CHECK(io::open_checkpoint(folder).m.training.rows_seen == 21);
  CHECK(holds(message([&] { const io::checkpoint_store second(folder); }), "saves there"));
  CHECK(holds(save(config, mixtral_f32, ways[0], store, 3), "never overwritten"));
  CHECK(load_and_count(config, mixtral_f32, ways[0], io::open_checkpoint(folder)) == 0);

  const std::string third = store.final_path(3);
  SUBCASE("another model") {
    const std::string text = message([&] { io::require_model(io::open_checkpoint(folder), config_of("qwen3_moe"), true); });
    CHECK(holds(text, "another model"));
    CHECK(holds(text, "is missing"));
    CHECK(text.find('\n') == std::string::npos);
  }
  SUBCASE("a missing shard") {
    fs::remove(third + "/shard-00002-model-00001-of-00001.safetensors");
    CHECK(holds(message([&] { io::open_checkpoint(third); }), "shard-00002"));
  }
  SUBCASE("a cut shard") {
    fs::resize_file(third + "/optim-00003-model-00001-of-00001.safetensors", 1000);
    CHECK(holds(message([&] { io::open_checkpoint(third); }), "optim-00003"));
  }
  SUBCASE("a shard of another step") {
    fs::copy_file(store.final_path(2) + "/plait.json", third + "/plait.json", fs::copy_options::overwrite_existing);
    std::vector<std::string> passed_over;
    CHECK(io::latest_checkpoint(folder, &passed_over) == store.final_path(2));
    CHECK(passed_over.size() == 1);
  }
  SUBCASE("an extra file is nobody's business") {
    std::ofstream(third + "/notes.txt") << "mine";
    CHECK(load_and_count(config, mixtral_f32, ways[1], io::open_checkpoint(third)) == 0);
  }
  SUBCASE("a link out of the folder") {
    const std::string shard = third + "/shard-00001-model-00001-of-00001.safetensors";
    fs::rename(shard, folder.path + "/elsewhere");
    fs::create_symlink("../elsewhere", shard);
    CHECK(holds(message([&] { io::open_checkpoint(third); }), "leaves the folder"));
  }
  SUBCASE("a manifest cut short, or without the latest step") {
    fs::resize_file(third + "/plait.json", fs::file_size(third + "/plait.json") / 2);
    CHECK(io::open_checkpoint(folder).m.training.step == 2);
    CHECK(holds(message([&] { io::open_checkpoint(third); }), "digest"));
  }
  SUBCASE("manifests that were made wrong") {
    const io::manifest good = io::open_checkpoint(third).m;
    const auto said = [&](auto change) {
      io::manifest m = good;
      change(m);
      return message([&] { io::parse_manifest("plait.json", io::manifest_text(m)); });
    };
    CHECK(said([](io::manifest&) {}) == "no error");
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].chunks.pop_back(); }), "is a shard missing"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].chunks.push_back(m.tensors[0].chunks[0]); }), "overlap"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].chunks[0].box.start[0] += 1; }), "tensor"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].chunks[0].position = 1u << 30; }), "outside file"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].chunks[0].file = 1000; }), "not listed"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[1].name = m.tensors[0].name, m.tensors[1].role = m.tensors[0].role, m.tensors[1].shape = m.tensors[0].shape,
                                             m.tensors[1].chunks = m.tensors[0].chunks, m.tensors[1].rank = m.tensors[0].rank; }), "twice"));
    CHECK(holds(said([](io::manifest& m) { m.files[0].name = "../plait.json"; }), "files of its folder"));
    CHECK(holds(said([](io::manifest& m) { m.files[1].name = m.files[0].name; }), "twice"));
    CHECK(holds(said([](io::manifest& m) { m.files[0].blocks.pop_back(); }), "one digest a block"));
    CHECK(holds(said([](io::manifest& m) { m.block_bytes = 0; }), "block_bytes"));
    CHECK(holds(said([](io::manifest& m) { m.tensors[0].shape[0] = std::int64_t{1} << 62; }), "tensors[0]."));
  }
}

TEST_CASE("one flipped bit anywhere is found, and the file named") {
  const io::model_config config = config_of("mixtral");
  const scratch folder;
  io::checkpoint_store store(folder);
  REQUIRE(save(config, mixtral_f32, ways[14], store, 1, {4096, 0}) == "");
  const std::string path = store.final_path(1);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  std::mt19937 random(11);
  int found = 0, named = 0;
  const int flips = small_tests() ? 60 : 1000;
  for (int i = 0; i < flips; ++i) {
    const std::string name = names[random() % names.size()];
    const std::string bytes = bytes_of(path + "/" + name);
    // A third of them in what stands before the data.
    const std::size_t at = i % 3 == 0 ? random() % std::min<std::size_t>(bytes.size(), 2000) : random() % bytes.size();
    std::fstream file(path + "/" + name, std::ios::in | std::ios::out | std::ios::binary);
    const char flipped = static_cast<char>(bytes[at] ^ static_cast<char>(1u << (random() % 8)));
    file.seekp(static_cast<std::streamoff>(at)).put(flipped).flush();
    try {
      const io::checkpoint saved = io::open_checkpoint(path);
      io::checkpoint_reader reader(saved);
      for (std::size_t f = 0; f < saved.m.files.size(); ++f)
        if (saved.m.files[f].header == 0) reader.read_file(static_cast<int>(f));
      load_and_count(config, mixtral_f32, ways[0], saved);
    } catch (const io::input_error& e) {
      ++found;
      named += std::string(e.what()).find(name) != std::string::npos;
    }
    file.seekp(static_cast<std::streamoff>(at)).put(bytes[at]).flush();
  }
  CHECK(found == flips);
  CHECK(named == flips);
  CHECK(load_and_count(config, mixtral_f32, ways[0], io::open_checkpoint(path)) == 0);
}

namespace {

/// Counts the calls of each rank (known from the file's name; what belongs to no rank's file is rank 0's) and lets `decide` choose.
class planned_layer : public io::write_layer {
 public:
  enum class verdict { pass, die, die_half_written, fail };
  int rank = 0;              // whose calls are counted
  std::int64_t at = -1;      // the call, from 0; -1: never
  verdict then = verdict::die;
  int error = EIO;
  std::int64_t room = -1;    // bytes that fit in all; -1: any number

  std::int64_t seen() const { return seen_; }

  int create(const char* path) override {
    if (step(owner_of(path))) return -1;
    const int fd = io::write_layer::create(path);
    std::lock_guard hold(lock_);
    owner_[fd] = owner_of(path);
    return fd;
  }
  ssize_t write(int file, const void* data, std::size_t count) override {
    const int who = owner(file);
    if (then == verdict::die_half_written && who == rank && current() == at) {
      io::write_layer::write(file, data, count / 2);
      ::raise(SIGKILL);
    }
    if (step(who)) return -1;
    if (!take_room(count)) {
      errno = ENOSPC;
      return -1;
    }
    return io::write_layer::write(file, data, count);
  }
  int sync(int file) override { return step(owner(file)) ? -1 : io::write_layer::sync(file); }
  int close(int file) override {
    if (step(owner(file))) {
      io::write_layer::close(file);
      errno = EIO;
      return -1;
    }
    return io::write_layer::close(file);
  }
  int open_folder(const char* path) override { return step(0) ? -1 : io::write_layer::open_folder(path); }
  int rename(const char* from, const char* to) override { return step(0) ? -1 : io::write_layer::rename(from, to); }
  int remove_file(const char* path) override { return step(0) ? -1 : io::write_layer::remove_file(path); }
  int make_folder(const char* path) override { return step(0) ? -1 : io::write_layer::make_folder(path); }
  int remove_folder(const char* path) override { return step(0) ? -1 : io::write_layer::remove_folder(path); }

 private:
  static int owner_of(const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    return name.starts_with("shard-") || name.starts_with("optim-") ? std::stoi(name.substr(6, 5)) - 1 : 0;
  }
  int owner(int file) {
    std::lock_guard hold(lock_);
    const auto at_file = owner_.find(file);
    return at_file == owner_.end() ? 0 : at_file->second;
  }
  std::int64_t current() {
    std::lock_guard hold(lock_);
    return seen_;
  }
  /// Lowers `count` to what still fits; false: nothing does.
  bool take_room(std::size_t& count) {
    std::lock_guard hold(lock_);
    if (room < 0) return true;
    if (room == 0) return false;
    count = std::min<std::size_t>(count, static_cast<std::size_t>(room));
    room -= static_cast<std::int64_t>(count);
    return true;
  }
  bool step(int who) {
    std::lock_guard hold(lock_);
    if (who != rank || seen_++ != at) return false;
    if (then == verdict::die || then == verdict::die_half_written) ::raise(SIGKILL);
    errno = error;
    return then == verdict::fail;
  }
  std::mutex lock_;
  std::map<int, int> owner_;
  std::int64_t seen_ = 0;
};

/// A model small enough to be saved thousands of times.
io::model_config small_model() {
  return io::parse_config("small", R"({"model_type": "mixtral", "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 32,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "hidden_act": "silu",
    "tie_word_embeddings": false, "router_aux_loss_coef": 0.0, "output_router_logits": false, "attention_dropout": 0.0, "sliding_window": null})");
}

/// After whatever happened: the latest checkpoint is step 1 as it was, or step 2 complete; a new writer leaves nothing else behind.
std::int64_t require_whole(const io::model_config& config, const std::string& folder) {
  const io::checkpoint latest = io::open_checkpoint(folder);
  const std::int64_t step = latest.m.training.step;
  REQUIRE((step == 1 || step == 2));
  CHECK(load_and_count(config, mixtral_f32, ways[0], latest, step == 1 ? 0.0f : 0.5f) == 0);
  const io::checkpoint_store next(folder);
  for (const std::string& name : io::names_in(folder)) CHECK((name == ".lock" || io::step_of_folder(name) >= 0));
  return step;
}

}  // namespace

TEST_CASE("a process that is killed at any call of a save leaves the previous checkpoint or the new one") {
  const io::model_config config = small_model();
  std::int64_t points = 0, old_seen = 0, new_seen = 0;
  // PLAIT_KILL_BLOCK: smaller blocks make more calls.
  const char* const wish = std::getenv("PLAIT_KILL_BLOCK");
  const save_options options{wish != nullptr ? std::atoll(wish) : small_tests() ? 8192 : 256, 1};
  const way& w = ways[14];
  for (const auto then : {planned_layer::verdict::die, planned_layer::verdict::die_half_written})
    for (int rank = 0; rank < w.mesh().ranks(); ++rank)
      for (std::int64_t at = 0;; ++at) {
        const scratch folder;
        {
          io::checkpoint_store store(folder);
          REQUIRE(save(config, mixtral_f32, w, store, 1) == "");
        }
        const pid_t child = ::fork();
        if (child == 0) {
          planned_layer layer;
          layer.rank = rank, layer.at = at, layer.then = then;
          {
            const io::scoped_write_layer scope(layer);
            io::checkpoint_store store(folder);
            const std::string error = save(config, mixtral_f32, w, store, 2, options, 0.5f);
            if (!error.empty()) ::_exit(3);
          }
          ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (!killed) REQUIRE((WIFEXITED(status) && WEXITSTATUS(status) == 0));
        CAPTURE(rank);
        CAPTURE(at);
        const std::int64_t step = require_whole(config, folder);
        if (!killed) {
          CHECK(step == 2);
          break;
        }
        ++points;
        ++(step == 1 ? old_seen : new_seen);
      }
  MESSAGE(points << " kill points: the previous checkpoint was the latest in " << old_seen << ", the new one in " << new_seen);
  CHECK(points >= (small_tests() ? 50 : 500));
  CHECK(old_seen > 0);
  CHECK(new_seen > 0);  // killed while the old one was removed
}

TEST_CASE("an error at any call of a save fails that save alone, and the next one succeeds") {
  const io::model_config config = small_model();
  const way& w = ways[14];
  std::int64_t calls = 0, reported = 0;
  for (int rank = 0; rank < w.mesh().ranks(); ++rank)
    for (std::int64_t at = 0;; ++at) {
      const scratch folder;
      io::checkpoint_store store(folder);
      REQUIRE(save(config, mixtral_f32, w, store, 1) == "");
      planned_layer layer;
      layer.rank = rank, layer.at = at, layer.then = planned_layer::verdict::fail;
      std::string error;
      {
        const io::scoped_write_layer scope(layer);
        error = save(config, mixtral_f32, w, store, 2, {small_tests() ? 8192 : 1024, 0}, 0.5f);
      }
      if (layer.seen() <= at) {
        CHECK(error == "");
        break;
      }
      CAPTURE(rank);
      CAPTURE(at);
      CAPTURE(error);
      ++calls;
      reported += !error.empty();
      const std::int64_t step = io::open_checkpoint(folder).m.training.step;
      CHECK((step == 2 || !error.empty()));  // a save that failed says so
      CHECK(load_and_count(config, mixtral_f32, ways[0], io::open_checkpoint(folder), step == 1 ? 0.0f : 0.5f) == 0);
      CHECK(save(config, mixtral_f32, w, store, 3) == "");
      for (const std::string& name : io::names_in(folder)) CHECK((name == ".lock" || io::step_of_folder(name) >= 0));
    }
  MESSAGE(calls << " calls failed, " << reported << " saves said so");
  CHECK(calls > (small_tests() ? 40 : 100));
}

TEST_CASE("a disk that is full after any number of bytes fails that save alone") {
  const io::model_config config = small_model();
  const way& w = ways[14];
  const scratch folder;
  io::checkpoint_store store(folder);
  REQUIRE(save(config, mixtral_f32, w, store, 1) == "");
  int sizes = 0;
  for (std::int64_t room = 0;; room += small_tests() ? 8192 : 512) {
    planned_layer layer;
    layer.room = room;
    std::string error;
    {
      const io::scoped_write_layer scope(layer);
      error = save(config, mixtral_f32, w, store, 2, {1024, 0}, 0.5f);
    }
    if (error.empty()) break;
    ++sizes;
    CHECK(error.find("No space left") != std::string::npos);
    CHECK(io::open_checkpoint(folder).m.training.step == 1);
    CHECK(io::names_in(folder) == std::vector<std::string>{".lock", "step-00000001"});
  }
  CHECK(load_and_count(config, mixtral_f32, ways[0], io::open_checkpoint(folder), 0.5f) == 0);
  MESSAGE(sizes << " sizes of a full disk");
  CHECK(sizes > (small_tests() ? 5 : 50));
}

TEST_CASE("when one rank fails, the save in flight is ended by each rank alone, if all of its state was copied") {
  const io::model_config config = small_model();
  const way& w = ways[14];
  const int ranks = w.mesh().ranks();
  enum class failing { after_begin, before_begin, while_writing };
  for (const failing how : {failing::after_begin, failing::before_begin, failing::while_writing})
    for (const bool others_finish : {true, false})  // or they wait in another collective
      for (int bad = 0; bad < ranks; ++bad)
        for (const bool apart : {false, true}) {  // ranks that are processes come to it when they do
          CAPTURE(static_cast<int>(how));
          CAPTURE(others_finish);
          CAPTURE(bad);
          CAPTURE(apart);
          const scratch folder;
          io::checkpoint_store store(folder);
          REQUIRE(save(config, mixtral_f32, w, store, 1) == "");
          std::vector<std::optional<checkpoint_saver>> savers(static_cast<std::size_t>(ranks));
          planned_layer layer;
          layer.rank = bad, layer.at = how == failing::while_writing ? 2 : -1, layer.then = planned_layer::verdict::fail;
          std::optional<save_outcome> ended;
          {
            const io::scoped_write_layer scope(layer);
            CHECK_THROWS_WITH(run_ranks(w.mesh(), test_backend(), [&](context& c) {
              parameter_store parameters;
              build_store(c, parameters, mixtral_f32(w.sp, w.ep), numbers_of(config));
              fill_unique(c, parameters, 0.5f);
              checkpoint_saver& saver = savers[static_cast<std::size_t>(c.rank)].emplace(&store, folder.path, save_options{1024, 1});
              if (c.rank == bad && how == failing::before_begin) throw std::runtime_error("no memory");
              const auto outcome = saver.begin(c, parameters, facts_for(config, 2));
              CHECK(!outcome);
              if (c.rank == bad) throw std::runtime_error("no memory");
              if (others_finish) static_cast<void>(saver.finish(c));
              else gather_texts(c, "a step");
            }), "no memory");
            std::thread rank_0;
            const auto end = [&](int r, double patience) {
              const auto outcome = savers[static_cast<std::size_t>(r)]->finish_alone(r, ranks, patience);
              if (r == 0) ended = outcome;
              else CHECK(!outcome);
            };
            if (apart) rank_0 = std::thread([&] { end(0, 60); });
            for (int r = ranks - 1; r > 0; --r) end(r, 0);
            if (apart) rank_0.join();
            else end(0, 0);
          }
          if (how == failing::before_begin) {
            CHECK(!ended);
          } else {
            REQUIRE(ended);
            CHECK(ended->step == 2);
            CHECK((ended->error == "") == (how == failing::after_begin));
          }
          const std::int64_t step = how == failing::after_begin ? 2 : 1;
          CHECK(io::steps_in(folder) == std::vector<std::int64_t>{step});
          if (how != failing::before_begin) CHECK(io::names_in(folder) == std::vector<std::string>{".lock", io::step_folder_name(step)});
          CHECK(load_and_count(config, mixtral_f32, ways[0], io::open_checkpoint(folder), step == 2 ? 0.5f : 0.0f) == 0);
        }
}

TEST_CASE("a rank that never ends its part of a save is waited for as long as was said, and the save given up") {
  const io::model_config config = small_model();
  const way& w = ways[14];
  const scratch folder;
  io::checkpoint_store store(folder);
  std::vector<std::optional<checkpoint_saver>> savers(static_cast<std::size_t>(w.mesh().ranks()));
  run_ranks(w.mesh(), test_backend(), [&](context& c) {
    parameter_store parameters;
    build_store(c, parameters, mixtral_f32(w.sp, w.ep), numbers_of(config));
    CHECK(!savers[static_cast<std::size_t>(c.rank)].emplace(&store, folder.path).begin(c, parameters, facts_for(config, 1)));
  });
  CHECK(!savers[1]->finish_alone(1, w.mesh().ranks(), 0));
  const auto ended = savers[0]->finish_alone(0, w.mesh().ranks(), 0.2);
  REQUIRE(ended);
  CHECK(ended->error == "rank 2 failed before it had written its part");
  CHECK(!savers[0]->finish_alone(0, w.mesh().ranks(), 0.2));
  for (std::optional<checkpoint_saver>& s : savers) s.reset();
  CHECK(io::steps_in(folder).empty());
}

TEST_CASE("only the newest are kept") {
  const io::model_config config = small_model();
  const scratch folder;
  io::checkpoint_store store(folder);
  for (std::int64_t step = 1; step <= 5; ++step) REQUIRE(save(config, mixtral_f32, ways[1], store, step, {4096, 2}) == "");
  CHECK(store.steps() == std::vector<std::int64_t>{4, 5});
}
