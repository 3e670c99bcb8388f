// Reading parts of safetensors files, and writing them.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <numeric>
#include <random>
#include <thread>

#include "plait/io/safetensors.hpp"
#include "plait/io/write_safetensors.hpp"
#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

namespace {

std::vector<std::string> listing(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("random boxes of random tensors: the right bytes, and only those") {
  const scratch folder;
  std::mt19937 random(7);
  const auto pick = [&](std::int64_t most) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(most + 1)); };
  std::size_t boxes = 0;
  for (int round = 0; round < 60; ++round) {
    const std::string path = folder.file("r.safetensors");
    std::vector<tensor_to_write> tensors;
    std::vector<std::vector<std::uint16_t>> data;
    for (int t = 0; t < 3; ++t) {
      std::vector<std::int64_t> shape(static_cast<std::size_t>(pick(5)));
      std::int64_t size = 1;
      for (auto& extent : shape) size *= extent = 1 + pick(4);
      data.emplace_back(static_cast<std::size_t>(size));
      std::iota(data.back().begin(), data.back().end(), static_cast<std::uint16_t>(100 * t));
      tensors.push_back({"t" + std::to_string(t), element::u16, shape, data.back().data()});
    }
    write_safetensors(path, tensors);
    const safetensors_file file(path);
    REQUIRE(file.entries().size() == 3);
    for (int b = 0; b < 30; ++b) {
      const std::size_t t = static_cast<std::size_t>(pick(2));
      const auto& shape = tensors[t].shape;
      std::vector<std::int64_t> start, count;
      std::int64_t size = 1;
      for (const std::int64_t extent : shape) {
        start.push_back(pick(extent));
        count.push_back(random() % 3 == 0 && start.back() == 0 ? extent : pick(extent - start.back()));
        size *= count.back();
      }
      std::vector<std::uint16_t> expected, found(static_cast<std::size_t>(size) + 2, 0xabcd);
      std::vector<std::int64_t> at = start;
      for (std::int64_t i = 0; i < size; ++i) {
        std::int64_t flat = 0;
        for (std::size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + at[d];
        expected.push_back(data[t][static_cast<std::size_t>(flat)]);
        for (std::size_t d = shape.size(); d-- > 0;) {
          if (++at[d] < start[d] + count[d]) break;
          at[d] = start[d];
        }
      }
      const std::uint64_t before = file.bytes_read();
      file.read_box(*file.find("t" + std::to_string(t)), start, count, found.data() + 1);
      CHECK(file.bytes_read() - before == static_cast<std::uint64_t>(size) * 2);
      CHECK(found.front() == 0xabcd);
      CHECK(found.back() == 0xabcd);
      REQUIRE(std::vector<std::uint16_t>(found.begin() + 1, found.end() - 1) == expected);
      ++boxes;
    }
  }
  CHECK(boxes == 1800);
}

TEST_CASE("boxes outside the tensor are refused before anything is read") {
  const scratch folder;
  const std::vector<float> data(12);
  write_safetensors(folder.file("a.safetensors"), {{"a", element::f32, {3, 4}, data.data()}});
  const safetensors_file file(folder.file("a.safetensors"));
  const tensor_entry& a = *file.find("a");
  CHECK(file.find("b") == nullptr);
  using box = std::vector<std::int64_t>;
  std::vector<float> out(64);
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  for (const auto& [start, count] : {std::pair<box, box>{{0, 0}, {4, 4}},
                                     {{3, 0}, {1, 4}},
                                     {{-1, 0}, {1, 1}},
                                     {{0, 0}, {-1, 1}},
                                     {{1, 1}, {huge, 1}},
                                     {{huge, 0}, {1, 1}},
                                     {{0}, {1}},
                                     {{0, 0, 0}, {1, 1, 1}}})
    CHECK_THROWS_AS(file.read_box(a, start, count, out.data()), std::out_of_range);
  CHECK_THROWS_AS(file.read(a, 40, 9, out.data()), std::out_of_range);
  CHECK_THROWS_AS(file.read(a, ~std::uint64_t{0}, 2, out.data()), std::out_of_range);
  CHECK(file.bytes_read() == 0);
  file.read_box(a, box{3, 0}, box{0, 4}, out.data());
  CHECK(file.bytes_read() == 0);
}

TEST_CASE("elements of less than a byte load whole only") {
  const scratch folder;
  const char data[3] = {1, 2, 3};
  write_safetensors(folder.file("a.safetensors"), {{"a", element::f4, {2, 3}, data}});
  const safetensors_file file(folder.file("a.safetensors"));
  char out[3] = {};
  using box = std::vector<std::int64_t>;
  file.read_box(*file.find("a"), box{0, 0}, box{2, 3}, out);
  CHECK(std::memcmp(out, data, 3) == 0);
  CHECK(contains(refusal([&] { file.read_box(*file.find("a"), box{0, 0}, box{1, 3}, out); }), "only load whole"));
}

TEST_CASE("the bytes of a written file are exactly these") {
  const scratch folder;
  const std::int64_t ids[2] = {1, 2};
  const float w[3] = {1, 2, 3};
  const std::uint8_t flag = 1;
  const std::string path = folder.file("out.safetensors");
  // types of larger alignment first, then by name, whatever the order given
  write_safetensors(path,
                    {{"flag", element::boolean, {}, &flag},
                     {"b\"\n", element::f32, {1, 3}, w},
                     {"a", element::f32, {0}, nullptr},
                     {"ids", element::i64, {2}, ids}},
                    {{"format", "pt"}, {"a", "1"}});
  std::string header =
      R"({"__metadata__":{"a":"1","format":"pt"},"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
      R"("a":{"dtype":"F32","shape":[0],"data_offsets":[16,16]},"b\"\n":{"dtype":"F32","shape":[1,3],"data_offsets":[16,28]},)"
      R"("flag":{"dtype":"BOOL","shape":[],"data_offsets":[28,29]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string expected = safetensors_bytes(header);
  expected.append(reinterpret_cast<const char*>(ids), 16);
  expected.append(reinterpret_cast<const char*>(w), 12);
  expected += '\1';
  CHECK(slurp(path) == expected);
  CHECK(listing(folder.path) == std::vector<std::string>{"out.safetensors"});

  const safetensors_file back(path);
  CHECK(back.metadata().at("format") == "pt");
  CHECK(back.find("b\"\n") != nullptr);

  write_safetensors(path, std::vector<tensor_to_write>{});  // replaces the old file
  CHECK(slurp(path) == safetensors_bytes("{}      "));
}

TEST_CASE("a written copy of a checkpoint has the same bytes as transformers wrote") {
  for (const char* name : {"mixtral", "qwen3_moe"}) {
    if (!has_oracle(name)) continue;
    const std::string path = oracle(name) + "/model.safetensors";
    const safetensors_file original(path);
    std::vector<tensor_header> tensors;
    for (const tensor_entry& t : original.entries()) tensors.push_back({t.name, t.type, {t.shape().begin(), t.shape().end()}});
    std::mt19937 random(1);
    std::shuffle(tensors.begin(), tensors.end(), random);
    const scratch folder;
    std::vector<std::string> order;
    write_safetensors(folder.file("copy.safetensors"), tensors, original.metadata(),
                      [&](const tensor_header& header, std::size_t index, const tensor_sink& sink) {
                        CHECK(tensors[index].name == header.name);
                        order.push_back(header.name);
                        const tensor_entry& entry = *original.find(header.name);
                        std::vector<char> half(static_cast<std::size_t>(entry.bytes()) / 2);
                        for (const std::uint64_t at : {std::uint64_t{0}, entry.bytes() / 2}) {
                          original.read(entry, at, half.size(), half.data());
                          sink(half.data(), half.size());
                        }
                      });
    CHECK(std::is_sorted(order.begin(), order.end()));  // all of one type
    CHECK(slurp(folder.file("copy.safetensors")) == slurp(path));
  }
}

TEST_CASE("what cannot be written is refused, and nothing is left behind") {
  const scratch folder;
  const std::string path = folder.file("out.safetensors");
  const float w = 0;
  using tensors = std::vector<tensor_to_write>;
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"a", element::f32, {}, &w}, {"a", element::f32, {}, &w}}),
                  std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"__metadata__", element::f32, {}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"\xff", element::f32, {}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{std::string(4097, 'a'), element::f32, {}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"a", element::f32, {-1}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"a", element::f4, {1}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{{"a", element::f32, {std::int64_t{1} << 61, 2}, &w}}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, tensors{}, {{"a", "\xff"}}), std::invalid_argument);
  const std::vector<tensor_header> one = {{"a", element::f32, {2}}};
  CHECK_THROWS_AS(write_safetensors(path, one, {}, [&](const auto&, std::size_t, const auto& sink) { sink(&w, 4); }),
                  std::logic_error);
  CHECK_THROWS_AS(write_safetensors(path, one, {},
                                    [&](const auto&, std::size_t, const auto& sink) { sink(&w, 4), sink(&w, 4), sink(&w, 4); }),
                  std::logic_error);
  struct stop {};
  CHECK_THROWS_AS(write_safetensors(path, one, {}, [](const auto&, std::size_t, const auto&) { throw stop{}; }), stop);
  CHECK(listing(folder.path).empty());

  write_text_file(path, "old");
  CHECK_THROWS_AS(write_safetensors(path, one, {}, [](const auto&, std::size_t, const auto&) { throw stop{}; }), stop);
  CHECK(slurp(path) == "old");  // the old file is untouched
  CHECK(listing(folder.path) == std::vector<std::string>{"out.safetensors"});

  CHECK_THROWS_AS(write_text_file(folder.file("no/such/folder/x"), "x"), output_error);
  fs::create_directory(folder.file("taken"));
  CHECK_THROWS_AS(write_text_file(folder.file("taken"), "x"), output_error);  // the rename fails
  CHECK(listing(folder.path) == std::vector<std::string>{"out.safetensors", "taken"});
}

TEST_CASE("a full disk is an error, and leaves the old file") {
  const scratch folder;
  const std::string path = folder.file("out.safetensors");
  write_text_file(path, "old");
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit low = old;
  low.rlim_cur = 4096;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
  const std::vector<char> data(100'000);
  bool failed = false;
  try {
    write_safetensors(path, {{"a", element::u8, {100'000}, data.data()}});
  } catch (const output_error&) {
    failed = true;
  }
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(failed);
  CHECK(slurp(path) == "old");
  CHECK(listing(folder.path) == std::vector<std::string>{"out.safetensors"});
}

TEST_CASE("a file that becomes shorter while it is read is an error, not a crash") {
  const scratch folder;
  const std::vector<char> data(10'000, 'x');
  write_safetensors(folder.file("a.safetensors"), {{"a", element::u8, {10'000}, data.data()}});
  const safetensors_file file(folder.file("a.safetensors"));
  fs::resize_file(folder.file("a.safetensors"), 5'000);
  std::vector<char> out(10'000);
  CHECK(contains(refusal([&] { file.read(*file.find("a"), out.data()); }), "became shorter"));
}

TEST_CASE("many threads read one file") {
  const scratch folder;
  std::vector<std::uint32_t> data(64 * 256);
  std::iota(data.begin(), data.end(), 0u);
  write_safetensors(folder.file("a.safetensors"), {{"a", element::u32, {64, 256}, data.data()}});
  const safetensors_file file(folder.file("a.safetensors"));
  std::vector<std::thread> threads;
  std::vector<int> good(8, 0);
  for (std::size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      const std::vector<std::int64_t> start{static_cast<std::int64_t>(8 * t), 32}, count{8, 64};
      std::vector<std::uint32_t> out(8 * 64);
      file.read_box(*file.find("a"), start, count, out.data());
      good[t] = 1;
      for (std::size_t i = 0; i < out.size(); ++i)
        if (out[i] != (8 * t + i / 64) * 256 + 32 + i % 64) good[t] = 0;
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == std::vector<int>(8, 1));
  CHECK(file.bytes_read() == 64 * 64 * 4);
}
