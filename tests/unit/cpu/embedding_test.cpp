#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu embedding: rows of a slice of the vocabulary, other ids give zeros") {
  for (dtype type : float_types) {
    tensor table = random(type, {4, 3}), ids = of<int>(dtype::i64, {2, 3}, {5, 8, 2, 9, 5, 7}), out(type, {2, 3, 3});
    out.fill(9);
    fault_record faults;
    execution ex;
    ex.faults = &faults;
    cpu.embedding(ex, ids.v(), table.v(), 5, 10, out.v());
    CHECK(faults.kind() == fault::none);
    const i64 row[] = {0, 3, -1, -1, 0, 2};
    for (i64 t = 0; t < 6; ++t) {
      for (i64 c = 0; c < 3; ++c) CHECK(out[t * 3 + c] == (row[t] < 0 ? 0 : table[row[t] * 3 + c]));
    }
    tensor dtable(type == dtype::bf16 ? dtype::f32 : type, {4, 3}), dy = random(type, {2, 3, 3});
    dtable.fill(1);
    cpu.embedding_gradient(plain, ids.v(), dy.v(), 5, dtable.v());
    std::vector<double> want(12, 1.0);
    for (i64 t = 0; t < 6; ++t) {
      for (i64 c = 0; c < 3 && row[t] >= 0; ++c) want[static_cast<std::size_t>(row[t] * 3 + c)] += dy[t * 3 + c];
    }
    check_close(dtable, want, tolerance(dtable.type));
  }
}

TEST_CASE("cpu embedding: wild ids raise the fault and touch nothing") {
  tensor table = random(dtype::f32, {4, 3}), out(dtype::f32, {5, 3}), ids(dtype::i64, {5});
  const std::int64_t wild[] = {1, -1, 10, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
  std::copy(wild, wild + 5, ids.as<std::int64_t>());
  for (i64 first : {0, 2, 6}) {
    fault_record faults;
    execution ex;
    ex.faults = &faults;
    cpu.embedding(ex, ids.v(), table.v(), first, 10, out.v());
    CHECK(faults.kind() == fault::id_out_of_range);
    CHECK(faults.where() == 1);
    for (i64 i = 3; i < 15; ++i) CHECK(out[i] == 0);
    tensor dtable = zeros(dtype::f32, {4, 3}), dy = random(dtype::f32, {5, 3});
    cpu.embedding_gradient(plain, ids.v(), dy.v(), first, dtable.v());
    for (i64 i = 0; i < 12; ++i) CHECK(dtable[i] == (first == 0 && i / 3 == 1 ? dy[i % 3] : 0));
  }
  cpu.embedding(plain, view{nullptr, dtype::i64, 1, {0}}, table.v(), 0, 4, view{nullptr, dtype::f32, 2, {0, 3}});
}
